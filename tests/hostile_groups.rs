//! Messages of a group, under a real server whose words are rewritten on their way out, and with a
//! member who works for it: one test per attack. What the person is told stands in each, and that
//! an honest message still comes through afterwards. `docs/ATTACKS.md` is the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastchat::client::{GroupCommand, Line, Standing};
use fastchat::crypto::envelope::MessageRef;
use fastchat::crypto::{Body, GroupKey, parse_header};
use fastchat::types::{GroupName, KeyEpoch, OpHash};
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{Account, Entry, Envelope};
use prost::Message;
use tokio::time::sleep;
use town::eve::Sealing;
use town::scene::{altered, answers, is_trouble, sorted};
use town::team::*;

const UNSIGNED: &str = "is not signed by";
const ELSEWHERE: &str = "was made for another place and put here";
const MISSING: &str = "missing here: a server lost";
const INTRUDER: &str = "was put into #team by who may not write there";

/// The texts alone: what a group's changes are called is told elsewhere.
fn texts(seen: Vec<String>) -> Vec<String> {
    seen.into_iter().filter(|line| !line.starts_with("* ")).collect()
}

/// These before the genuine one.
fn put_before(made: Vec<Bytes>) -> impl FnMut(Entry) -> Vec<Entry> + Send + 'static {
    let mut made = Some(made);
    move |entry| {
        let before = made.take().unwrap_or_default();
        before
            .into_iter()
            .map(|envelope| with_envelope(&entry, envelope))
            .chain([entry.clone()])
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_attack_a_group_is_as_it_was() {
    let mut team = team().await;
    assert_eq!(team.under("two", |entry| vec![entry]).await, ["two", "honest"]);
    let chain = team.eve.chain(&team.name).await;
    team.eve.opens(&team.name).await;
    let first = team.eve.seals(&chain, 1, "from eve", |_| {});
    let answer = team.eve.appends(&team.name, first).await;
    assert!(matches!(answer, Answer::Appended(_)), "{answer:?}");
    assert_eq!(team.reads_until(&team.bob, "from eve").await, ["from eve"]);
    assert_eq!(texts(team.reads_until(&team.alice, "from eve").await), ["from eve"]);
    assert_eq!(team.seen_by(&team.alice).head, team.seen_by(&team.bob).head);
    team.stands(&team.bob, Standing::Member);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_message_of_a_group_is_shown_once() {
    let team = team().await;
    let old = team.envelopes()[0].clone();
    let seen = team.under("two", move |entry| {
        let again = with_envelope(&entry, old.clone());
        vec![again.clone(), entry.clone(), entry, again]
    });
    assert_eq!(seen.await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_group_is_not_shown_in_this_one() {
    let team = team().await;
    let other = GroupName::canonical("other").unwrap();
    let with = [team.bob.name.clone()];
    team.alice.client.create_group(&other, &with, "", None).await.unwrap();
    let chat = other.clone().into();
    let id = team.alice.client.send_text(&chat, "for the other group").unwrap();
    is_out(&team.alice, id).await;
    lines_until(&team.bob, &chat, "for the other group").await;
    let had = team.town.hostile.had_in(&team.bob.name, &other.to_string());
    let foreign = had.into_iter().rfind(|entry| !entry.envelope.is_empty()).unwrap().envelope;
    let seen = team.under("two", put_before(vec![foreign])).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "bad_binding", ELSEWHERE);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_direct_message_is_not_shown_in_a_group_nor_a_groups_in_an_inbox() {
    let team = team().await;
    let (alice, bob) = (&team.alice, &team.bob);
    alice.writes(&bob.name, "for bob alone");
    bob.reads_until("for bob alone").await;
    let direct = team.town.hostile.had(&bob.name).pop().unwrap();
    let seen = team.under("two", put_before(vec![direct])).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "bad_binding", ELSEWHERE);
    assert_eq!(seen[1..], ["two", "honest"]);
    let of_the_group = team.envelopes()[0].clone();
    team.town
        .hostile
        .rewrite_entries(&bob.name, move |envelope| vec![of_the_group.clone(), envelope]);
    alice.writes(&bob.name, "three");
    let seen = lines_until(bob, &alice.name.clone().into(), "three").await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    is_trouble(&seen[0], "bad_binding", ELSEWHERE);
}

#[tokio::test(start_paused = true)]
async fn a_groups_message_that_was_altered_is_not_signed() {
    let team = team().await;
    let old = Envelope::decode(team.envelopes()[0].clone()).unwrap();
    let seen = team.under("two", move |entry| {
        let genuine = &entry.envelope;
        let made = [
            altered(genuine, |envelope| envelope.payload = old.payload.clone()),
            altered(genuine, |envelope| envelope.header = old.header.clone()),
            altered(genuine, |envelope| envelope.signature = vec![0; 64].into()),
            altered(genuine, |envelope| envelope.signature = Bytes::new()),
        ];
        made.into_iter()
            .map(|envelope| with_envelope(&entry, envelope))
            .chain([entry.clone()])
            .collect()
    });
    let (troubles, texts) = sorted(seen.await);
    assert_eq!(texts, ["two", "honest"]);
    // The same for every entry that came in the time.
    assert!(troubles.len() >= 4, "{troubles:?}");
    for line in &troubles {
        is_trouble(line, "bad_signature", UNSIGNED);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_body_under_one_number_of_a_group_is_told_and_not_shown() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let first = team.eve.seals(&chain, 1, "what all were told", |_| {});
    let second = team.eve.seals(&chain, 1, "what only bob was told", |_| {});
    let third = team.eve.seals(&chain, 2, "and more", |_| {});
    let seen = team.under("two", put_before(vec![first, second, third])).await;
    assert_eq!(seen.len(), 5, "{seen:?}");
    is_trouble(&seen[1], "equivocation", "signed two messages under one number");
    assert_eq!(
        (&seen[0][..], &seen[2..]),
        ("what all were told", &["and more", "two", "honest"].map(str::to_owned)[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_left_out_of_a_group_is_missed_with_the_next_of_its_author() {
    let team = team().await;
    team.attacked("two", |entry| if entry.operation.is_empty() { Vec::new() } else { vec![entry] })
        .await;
    team.says("honest").await;
    let seen = team.reads_until(&team.bob, "honest").await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    is_trouble(&seen[0], "hole", MISSING);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_group_out_of_order_leave_a_hole_that_is_told() {
    let team = team().await;
    let mut held = None;
    team.town.hostile.rewrite_log(&team.bob.name, &team.log(), move |entry| match held.take() {
        None => {
            held = Some(entry);
            Vec::new()
        }
        Some(first) => vec![entry.clone(), with_envelope(&entry, first.envelope)],
    });
    team.says("two").await;
    team.says("three").await;
    sleep(Duration::from_secs(2)).await;
    team.town.hostile.relent(&team.bob.name);
    team.says("honest").await;
    let seen = team.reads_until(&team.bob, "honest").await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "hole", MISSING);
    assert_eq!(seen[1..], ["three", "honest"]);
}

// ---------------------------------------------------------------- who may write, under what key

#[tokio::test(start_paused = true)]
async fn what_somebody_writes_who_is_not_in_the_group_is_not_shown() {
    let mut team = team().await;
    let mut mallory = team.another_eve("mallory").await;
    let chain = team.eve.chain(&team.name).await;
    // Eve gave her the key, and the home takes her in.
    mallory.keys = team.eve.keys.clone();
    let made = mallory.seals(&chain, 1, "from outside", |_| {});
    let seen = team.under("two", put_before(vec![made])).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "not_a_member", INTRUDER);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_writes_after_their_removal_is_not_shown() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let before = team.eve.seals(&chain, 1, "still in", |_| {});
    team.eve.opens(&team.name).await;
    let answer = team.eve.appends(&team.name, before).await;
    assert!(matches!(answer, Answer::Appended(_)), "{answer:?}");
    team.does(GroupCommand::Kick(team.eve.person.user.clone())).await;
    let seen = team.reads_until(&team.bob, "* alice").await;
    assert_eq!(seen[0], "still in", "{seen:?}");
    let after = team.eve.seals(&chain, 2, "not any more", |_| {});
    let seen = team.under("two", put_before(vec![after])).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "not_a_member", INTRUDER);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_member_who_goes_on_under_the_key_of_who_was_removed_is_not_shown() {
    let mut team = team().await;
    let mallory = team.another_eve("mallory").await;
    let hers = mallory.person.user.clone();
    team.does(GroupCommand::Add(vec![hers.clone()])).await;
    team.does(GroupCommand::Kick(hers)).await;
    let chain = team.eve.chain(&team.name).await;
    assert_eq!(chain.roster.key_epoch(), KeyEpoch(2));
    // Mallory would read it: she has the key of epoch 1.
    let made = team.eve.seals(&chain, 1, "mallory reads this", |_| {});
    let seen = texts(team.under("two", put_before(vec![made])).await);
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "not_a_member", INTRUDER);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_under_a_key_that_is_not_the_groups_is_not_shown() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let own = GroupKey::generate();
    let foreign = team.eve.seals(&chain, 1, "under another key", |s| s.key = own.clone());
    let future = team.eve.seals(&chain, 2, "under the next key", |s| {
        (s.key, s.key_epoch) = (own.clone(), KeyEpoch(2));
    });
    let seen = team.under("two", put_before(vec![foreign, future])).await;
    let (troubles, texts) = sorted(seen);
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    is_trouble(&troubles[0], "bad_binding", ELSEWHERE);
    is_trouble(&troubles[1], "not_a_member", INTRUDER);
    assert_eq!(texts, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_names_another_history_is_not_shown() {
    let mut team = team().await;
    let old = team.eve.chain(&team.name).await;
    team.does(GroupCommand::Topic("tea".to_owned())).await;
    let new = team.eve.chain(&team.name).await;
    let made = vec![
        // An operation of no chain.
        team.eve.seals(&new, 1, "a history of its own", |s| s.head = OpHash([9; 32])),
        team.eve.seals(&new, 2, "sound", |_| {}),
        // As old as before hers.
        team.eve.seals(&old, 3, "back in time", |_| {}),
    ];
    let seen = texts(team.under("two", put_before(made)).await);
    let (troubles, texts) = sorted(seen);
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    for line in &troubles {
        is_trouble(line, "bad_binding", ELSEWHERE);
    }
    assert_eq!(texts, ["sound", "two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_put_before_the_change_it_knows_of_is_not_shown() {
    let mut team = team().await;
    // For Bob the topic comes after a message whose author knew it already.
    let (bob, log) = (team.bob.name.clone(), team.log());
    let held = Arc::new(Mutex::new(None));
    let keep = held.clone();
    team.town.hostile.rewrite_log(&bob, &log, move |entry| {
        *keep.lock().unwrap() = Some(entry);
        Vec::new()
    });
    team.does(GroupCommand::Topic("tea".to_owned())).await;
    sleep(Duration::from_secs(2)).await;
    let chain = team.eve.chain(&team.name).await;
    let early = team.eve.seals(&chain, 1, "too early", |_| {});
    let topic = held.lock().unwrap().take().unwrap();
    let mut made = Some((early, topic));
    let seen = team.under("two", move |entry| match made.take() {
        Some((early, topic)) => vec![
            with_envelope(&entry, early),
            with_operation(&entry, &topic.operation, topic.number),
            entry,
        ],
        None => vec![entry],
    });
    let (troubles, texts) = sorted(texts(seen.await));
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    is_trouble(&troubles[0], "bad_binding", ELSEWHERE);
    assert_eq!(texts, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn another_identity_under_a_members_name_says_nothing_in_the_group() {
    let mut team = team().await;
    let (alice, bob) = (team.alice.name.clone(), team.bob.name.clone());
    let chain = team.eve.chain(&team.name).await;
    // Sound in everything, but for whose key it is; and the server vouches for that key.
    let fake = team.stranger(alice.as_str(), 0);
    let vouched = fake.with_version(9).bundle.encoded().clone();
    let user = alice.to_string();
    let lie = answers(move |answer| match answer {
        Answer::Account(Account { user: asked, bundle }) if *asked == user => {
            *bundle = vouched.clone();
        }
        _ => {}
    });
    team.town.hostile.rewrite_frames(&bob, lie);
    team.bob.client.look_up(&alice).await.unwrap();
    let (epoch, key) = team.eve.key().clone();
    let forged = Sealing {
        group: chain.roster.id(),
        key,
        key_epoch: epoch,
        head: chain.head(),
        identity: fake.identity(),
        body: Body::Text("send it to me".to_owned()),
    };
    let forged = forged.seal(&fake, 1);
    let seen = team.under("two", put_before(vec![forged])).await;
    let (troubles, texts) = sorted(seen);
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    is_trouble(&troubles[0], "bad_signature", UNSIGNED);
    // Alice is who she was when she was brought in, whatever is asked about her now.
    assert_eq!(texts, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_names_another_author_inside_is_not_shown() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let alices = chain.roster.member(&team.alice.name).unwrap().identity;
    let made = team.eve.seals(&chain, 1, "by alice", |s| s.identity = alices);
    let seen = team.under("two", put_before(vec![made])).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "bad_binding", ELSEWHERE);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_member_changes_nothing_of_what_another_wrote() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let genuine = parse_header(&team.envelopes()[0]).unwrap();
    let to = MessageRef { author: genuine.author, device: genuine.device, n: genuine.n };
    let bodies = [Body::Edit { to: to.clone(), text: "forged".to_owned() }, Body::Delete { to }];
    let made = (1..)
        .zip(bodies)
        .map(|(n, body)| team.eve.seals(&chain, n, "", |s| s.body = body))
        .collect();
    assert_eq!(team.under("two", put_before(made)).await, ["two", "honest"]);
    let history = team.bob.client.history(&team.chat(), 100).unwrap();
    let hello = history.iter().find_map(|line| match line {
        Line::Message(message) if message.text == "hello team" => Some(message),
        _ => None,
    });
    let hello = hello.expect("it is there as it was");
    assert!(!hello.edited && !hello.deleted, "{hello:?}");
}

#[tokio::test(start_paused = true)]
async fn rubbish_in_a_groups_log_is_told_and_does_not_stop_what_follows() {
    let team = team().await;
    let half = {
        let whole = &team.envelopes()[0];
        whole.slice(..whole.len() / 2)
    };
    let made = vec![Bytes::from_static(b"hello"), half];
    let seen = team.under("two", put_before(made)).await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    is_trouble(&seen[0], "bad_signature", UNSIGNED);
    is_trouble(&seen[1], "bad_signature", UNSIGNED);
    assert_eq!(seen[2..], ["two", "honest"]);
}
