//! What a group is, who is in it and which key is its key, under a real server whose words are
//! rewritten on their way out, and with a member who works for it: one test per attack.
//! `docs/ATTACKS.md` is the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fastchat::client::{
    GroupCommand, GroupError, GroupView, LocalId, MessageState, Refusal, Role, Standing,
};
use fastchat::crypto::envelope::Welcome;
use fastchat::crypto::invite::InviteSecret;
use fastchat::crypto::operation::{Change, NewMember, VerifiedOperation};
use fastchat::crypto::{Body, GroupKey};
use fastchat::types::{GroupId, GroupName, KeyEpoch, KeyId};
use fastchat::wire::Code;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Changed, Done, Entry, Error, Refused, Roster, RosterEntry, ServerFrame,
};
use tokio::time::{sleep, timeout};
use town::scene::{answers, is_trouble};
use town::team::*;
use town::{LONG, Life};

const FORKED: &str = "shows another history of #team";

fn entries(operations: &[VerifiedOperation]) -> Vec<RosterEntry> {
    (1..)
        .zip(operations)
        .map(|(number, operation)| RosterEntry {
            number,
            seq: number,
            operation: operation.encoded().clone(),
        })
        .collect()
}

/// A chain that looks like the group's and is the server's own work: another person under Alice's
/// name made it, with Bob and whom the server likes in it.
fn made_up(team: &Team, with: &Life) -> Vec<VerifiedOperation> {
    let fake = team.stranger(team.alice.name.as_str(), 0);
    let ghost = team.stranger("ghost", 1);
    let identity = with.client.status().unwrap().fingerprint;
    let identity = KeyId::parse(&identity.replace(' ', "")).unwrap();
    let member = NewMember { user: with.name.clone(), identity };
    let create = fake.create(team.name.as_str(), &[&ghost], &GroupKey::generate());
    let add = fake.sign(create.group(), create.hash(), Change::Add(member));
    vec![create, add]
}

/// Bob gave the group up: he is told why, writes nothing there, and reads what Alice tells him.
async fn is_given_up(team: &Team, seen: &[String]) {
    let troubles: Vec<_> = seen.iter().filter(|line| line.starts_with("! ")).collect();
    assert_eq!(troubles.len(), 1, "{seen:?}");
    is_trouble(troubles[0], "forked", FORKED);
    team.stands(&team.bob, Standing::Forked);
    let written = team.bob.client.send_text(&team.chat(), "secret");
    assert!(written.is_err(), "{written:?}");
    team.says("to the others").await;
    let rest = team.rest_of(&team.bob).await;
    assert!(rest.iter().all(|line| line.starts_with("* ")), "{rest:?}");
    team.alice.writes(&team.bob.name, "honest");
    team.bob.reads_until("honest").await;
}

/// Everybody sees the same group, and Bob reads what Alice writes there and the other way round.
async fn is_well(team: &Team) {
    team.says("all is well").await;
    team.reads_until(&team.bob, "all is well").await;
    let id = team.bob.client.send_text(&team.chat(), "so it is").unwrap();
    is_out(&team.bob, id).await;
    team.reads_until(&team.alice, "so it is").await;
    let (hers, his) = (team.seen_by(&team.alice), team.seen_by(&team.bob));
    // How well each knows the keys of the others is not the group's.
    let roles = |view: &GroupView| -> Vec<_> {
        view.members.iter().map(|member| (member.user.clone(), member.role)).collect()
    };
    assert_eq!((&hers.head, roles(&hers)), (&his.head, roles(&his)));
    assert_eq!(his.standing, Standing::Member);
}

/// What Bob reads when this operation comes to the group's log before the next message.
async fn given(team: &Team, operation: &Bytes, number: u64) -> Vec<String> {
    let mut made = Some(operation.clone());
    team.attacked("after it", move |entry| match made.take() {
        Some(made) => vec![with_operation(&entry, &made, number), entry],
        None => vec![entry],
    })
    .await;
    team.rest_of(&team.bob).await
}

// ---------------------------------------------------------------- operations that nobody may make

#[tokio::test(start_paused = true)]
async fn a_ghost_that_no_admin_brought_in_ends_the_group_here_and_gets_nothing() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let ghost = team.stranger("ghost", 0);
    // Eve is a member and no admin.
    let add = team.eve.signs(&chain, Change::Add(ghost.member()));
    let seen = given(&team, add.encoded(), chain.number() + 1).await;
    is_given_up(&team, &seen).await;
    let members = team.seen_by(&team.bob).members;
    assert!(members.iter().all(|member| member.user != ghost.user), "{members:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operation_in_an_admins_name_under_other_keys_changes_nothing() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let fake = team.stranger(team.alice.name.as_str(), 0);
    let ghost = team.stranger("ghost", 1);
    let add = fake.sign(chain.roster.id(), chain.head(), Change::Add(ghost.member()));
    let seen = given(&team, add.encoded(), chain.number() + 1).await;
    is_given_up(&team, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn an_altered_operation_and_rubbish_change_nothing() {
    for rubbish in [true, false] {
        let mut team = team().await;
        let chain = team.eve.chain(&team.name).await;
        let operation = if rubbish {
            Bytes::from_static(b"an operation")
        } else {
            let mut leave = team.eve.signs(&chain, Change::Leave).encoded().to_vec();
            *leave.last_mut().unwrap() ^= 1;
            leave.into()
        };
        let seen = given(&team, &operation, chain.number() + 1).await;
        is_given_up(&team, &seen).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_of_another_group_changes_nothing() {
    let mut team = team().await;
    let other = GroupName::canonical("other").unwrap();
    let with = [team.bob.name.clone(), team.eve.person.user.clone()];
    team.alice.client.create_group(&other, &with, "", None).await.unwrap();
    let topic = GroupCommand::Topic("of the other".to_owned());
    team.alice.client.change_group(&other, topic).await.unwrap();
    let foreign = team.eve.chain(&other).await.operations.pop().unwrap();
    let number = team.eve.chain(&team.name).await.number() + 1;
    let seen = given(&team, foreign.encoded(), number).await;
    is_given_up(&team, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn an_invitation_that_is_used_up_or_was_never_made_brings_nobody_in() {
    for used_up in [true, false] {
        let mut team = team().await;
        let cluster = team.eve.person.bundle.cluster;
        let (carol, dave) = (team.stranger("carol", 0), team.stranger("dave", 1));
        let id = team.id();
        let secret = if used_up {
            let link = team.does(GroupCommand::Invite { uses: 1 }).await.link.unwrap();
            secret_of(&link)
        } else {
            InviteSecret::generate()
        };
        let invite = secret.invite_key(&cluster, &id);
        let chain = team.eve.chain(&team.name).await;
        if used_up {
            team.reads_until(&team.bob, "* ").await;
        }
        let joins = if used_up {
            let first = carol.join(id, chain.head(), &invite);
            let second = dave.join(id, first.hash(), &invite);
            vec![first, second]
        } else {
            vec![dave.join(id, chain.head(), &invite)]
        };
        let next = chain.number() + 1;
        let mut made = Some(joins);
        team.attacked("after it", move |entry| {
            let made = made.take().unwrap_or_default();
            let made = (next..).zip(&made).map(|(n, op)| with_operation(&entry, op.encoded(), n));
            made.chain([entry.clone()]).collect()
        })
        .await;
        let seen = team.rest_of(&team.bob).await;
        is_given_up(&team, &seen).await;
        let members = team.seen_by(&team.bob).members;
        assert!(members.iter().all(|member| member.user != dave.user), "{members:?}");
    }
}

/// What is in a link that Alice made, behind the group's id.
fn secret_of(link: &str) -> InviteSecret {
    let secrets = URL_SAFE_NO_PAD.decode(link.rsplit('/').next().unwrap()).unwrap();
    InviteSecret::from_bytes(&secrets[32..][..InviteSecret::BYTES]).unwrap()
}

// ---------------------------------------------------------------- two histories

#[tokio::test(start_paused = true)]
async fn who_is_shown_another_history_finds_out_with_the_next_change() {
    let mut team = team().await;
    team.does(GroupCommand::Grant(vec![team.eve.person.user.clone()])).await;
    let chain = team.eve.chain(&team.name).await;
    let ghost = team.stranger("ghost", 0);
    // An admin signs both; the others are shown the first, Bob the second.
    let for_all = team.eve.signs(&chain, Change::Topic("for all".to_owned()));
    let for_bob = team.eve.signs(&chain, Change::Add(ghost.member()));
    let swapped = for_bob.encoded().clone();
    team.town.hostile.rewrite_log(&team.bob.name, &team.log(), move |entry| {
        let swapped = with_operation(&entry, &swapped, entry.number);
        vec![if entry.operation.is_empty() { entry } else { swapped }]
    });
    let answer = team.eve.hands_in(&team.name, &for_all).await;
    assert!(matches!(answer, Answer::Changed(_)), "{answer:?}");
    sleep(Duration::from_secs(2)).await;
    team.town.hostile.relent(&team.bob.name);
    assert_ne!(team.seen_by(&team.alice).head, team.seen_by(&team.bob).head, "comparing finds it");
    // What Alice writes names her history, which is not Bob's.
    team.says("two").await;
    let seen = team.rest_of(&team.bob).await;
    assert!(seen.iter().any(|line| line.starts_with("! bad_binding: ")), "{seen:?}");
    assert!(seen.iter().all(|line| line != "two"), "{seen:?}");
    team.does(GroupCommand::Title("the next change".to_owned())).await;
    let seen = team.rest_of(&team.bob).await;
    is_given_up(&team, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn a_roster_that_is_not_the_logs_ends_the_group_here() {
    let mut team = team().await;
    team.does(GroupCommand::Grant(vec![team.eve.person.user.clone()])).await;
    team.reads_until(&team.bob, "* ").await;
    let chain = team.eve.chain(&team.name).await;
    // Bob misses one change of the log and asks; what he is told next is another history.
    let other = team.eve.signs(&chain, Change::Topic("for bob".to_owned()));
    let lie = RosterEntry {
        number: chain.number() + 1,
        seq: chain.number() + 1,
        operation: other.encoded().clone(),
    };
    let log = team.log();
    let mut dropped = false;
    team.town.hostile.rewrite_frames(&team.bob.name, move |frame| match frame.body.clone() {
        Some(Answer::Entry(entry)) if entry.log == log && !dropped => {
            dropped = true;
            Vec::new()
        }
        Some(Answer::Roster(roster)) => {
            let roster = Roster { entries: vec![lie.clone()], more: false, ..roster };
            vec![ServerFrame { body: Some(Answer::Roster(roster)), ..frame }]
        }
        _ => vec![frame],
    });
    team.does(GroupCommand::Topic("for all".to_owned())).await;
    team.does(GroupCommand::Title("and more".to_owned())).await;
    let seen = team.rest_of(&team.bob).await;
    team.town.hostile.relent(&team.bob.name);
    is_given_up(&team, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn operations_left_out_swapped_or_repeated_do_no_harm_when_the_roster_has_them() {
    let mut team = team().await;
    let old = team.eve.chain(&team.name).await.operations[0].encoded().clone();
    let mut held: Option<Entry> = None;
    team.town.hostile.rewrite_log(&team.bob.name, &team.log(), move |entry| {
        if entry.operation.is_empty() {
            return vec![entry];
        }
        match held.take() {
            None => {
                held = Some(entry);
                Vec::new()
            }
            Some(first) => vec![
                with_operation(&entry, &old, 1),
                entry.clone(),
                with_operation(&entry, &first.operation, first.number),
                entry.clone(),
            ],
        }
    });
    team.does(GroupCommand::Topic("tea".to_owned())).await;
    team.does(GroupCommand::Title("the tea group".to_owned())).await;
    // And one that is left out altogether, before another.
    team.does(GroupCommand::Topic("coffee".to_owned())).await;
    sleep(Duration::from_secs(2)).await;
    team.town.hostile.relent(&team.bob.name);
    team.does(GroupCommand::Title("the coffee group".to_owned())).await;
    is_well(&team).await;
    assert_eq!(team.seen_by(&team.bob).topic, "coffee");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_kept_from_somebody_for_ever_stops_the_group_and_nothing_spins() {
    let mut team = team().await;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let log = team.log();
    let known = team.eve.chain(&team.name).await.number();
    team.town.hostile.rewrite_frames(&team.bob.name, move |frame| match frame.body.clone() {
        Some(Answer::Entry(entry)) if entry.log == log && entry.number == known + 1 => Vec::new(),
        Some(Answer::Roster(roster)) => {
            counted.fetch_add(1, Ordering::Relaxed);
            let roster = Roster { entries: Vec::new(), more: false, ..roster };
            vec![ServerFrame { body: Some(Answer::Roster(roster)), ..frame }]
        }
        _ => vec![frame],
    });
    team.does(GroupCommand::Topic("tea".to_owned())).await;
    team.does(GroupCommand::Title("the tea group".to_owned())).await;
    team.says("two").await;
    sleep(Duration::from_secs(60)).await;
    let seen = team.rest_of(&team.bob).await;
    assert!(seen.iter().all(|line| line != "two"), "{seen:?}");
    let count = asked.load(Ordering::Relaxed);
    assert!(count < 200, "asked {count} times in a minute");
    team.town.hostile.relent(&team.bob.name);
    // It waited: told the truth, he has it all.
    if team.seen_by(&team.bob).standing == Standing::Member {
        team.reads_until(&team.bob, "two").await;
        is_well(&team).await;
    } else {
        is_given_up(&team, &seen).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_held_back_is_found_out_with_the_next_message() {
    let mut team = team().await;
    let log = team.log();
    let held_back = move |frame: ServerFrame| match frame.body.clone() {
        Some(Answer::Entry(entry)) if entry.log == log => Vec::new(),
        Some(Answer::Roster(roster)) => {
            let roster = Roster { entries: Vec::new(), more: false, ..roster };
            vec![ServerFrame { body: Some(Answer::Roster(roster)), ..frame }]
        }
        _ => vec![frame],
    };
    team.town.hostile.rewrite_frames(&team.bob.name, held_back);
    let chain = team.eve.chain(&team.name).await;
    team.does(GroupCommand::Kick(team.eve.person.user.clone())).await;
    sleep(Duration::from_secs(5)).await;
    // This is what nobody can find out alone: for Bob, Eve is still in it.
    let members = team.seen_by(&team.bob).members;
    assert_eq!(members.len(), chain.roster.members().len());
    team.town.hostile.relent(&team.bob.name);
    // Under a key that the removal brought, which is not in the log that Bob was shown.
    team.says("without eve").await;
    let seen = team.reads_until(&team.bob, "! ").await;
    is_trouble(&seen[0], "not_a_member", "by who may not write there");
    sleep(Duration::from_secs(2)).await;
    let members = team.seen_by(&team.bob).members;
    assert!(members.iter().all(|member| member.user != team.eve.person.user), "{members:?}");
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_read_is_not_moved_to_a_later_place() {
    let mut team = team().await;
    let before = team.eve.chain(&team.name).await;
    team.does(GroupCommand::Kick(team.eve.person.user.clone())).await;
    team.reads_until(&team.bob, "* ").await;
    // Asked for the chain, the server says that the removal comes much later in the log.
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = asked.clone();
    let removal = team.town.hostile.had_in(&team.bob.name, &team.log());
    let removal = removal.into_iter().rfind(|entry| !entry.operation.is_empty()).unwrap();
    let later = answers(move |answer| {
        if let Answer::Roster(roster) = answer {
            was_asked.store(true, Ordering::Relaxed);
            let (number, operation) = (removal.number, removal.operation.clone());
            roster.entries = vec![RosterEntry { number, seq: 1_000_000, operation }];
        }
    });
    team.town.hostile.rewrite_frames(&team.bob.name, later);
    let goodbye = Body::Goodbye { group: team.name.clone(), id: team.id() };
    team.eve.tells(&team.bob.name, &goodbye).await;
    sleep(Duration::from_secs(5)).await;
    assert!(asked.load(Ordering::Relaxed), "the chain was not asked for");
    let after = team.eve.seals(&before, 1, "not any more", |_| {});
    let mut made = Some(after);
    let seen = team.under("two", move |entry| match made.take() {
        Some(made) => vec![with_envelope(&entry, made), entry],
        None => vec![entry],
    });
    let seen = seen.await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "not_a_member", "by who may not write there");
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_never_ends_is_not_read_for_ever() {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    let link = team.does(GroupCommand::Invite { uses: 0 }).await.link.unwrap();
    let pages = Arc::new(AtomicU64::new(0));
    let endless = |pages: Arc<AtomicU64>| {
        answers(move |answer| {
            if let Answer::Roster(roster) = answer {
                pages.fetch_add(1, Ordering::Relaxed);
                roster.more = true;
            }
        })
    };
    // The whole chain again, whatever is asked for.
    let chain = entries(&team.eve.chain(&team.name).await.operations);
    let mut more = endless(pages.clone());
    team.town.hostile.rewrite_frames(&team.bob.name, move |mut frame| {
        if let Some(Answer::Roster(roster)) = &mut frame.body {
            roster.entries.clone_from(&chain);
        }
        more(frame)
    });
    let goodbye = Body::Goodbye { group: team.name.clone(), id: team.id() };
    team.eve.tells(&team.bob.name, &goodbye).await;
    team.town.hostile.rewrite_frames(&carol.name, endless(pages.clone()));
    let joined = timeout(LONG, carol.client.join_by_link(&link)).await.expect("an answer");
    assert_eq!(joined.unwrap().standing, Standing::Member);
    sleep(Duration::from_secs(10)).await;
    let count = pages.load(Ordering::Relaxed);
    assert!((2..60).contains(&count), "{count} pages");
    team.town.hostile.relent(&team.bob.name);
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_given_up_can_be_forgotten_and_found_again() {
    let mut team = team().await;
    let chain = team.eve.chain(&team.name).await;
    let ghost = team.stranger("ghost", 0);
    let add = team.eve.signs(&chain, Change::Add(ghost.member()));
    // In place of a message: an honest log has no place for it when Bob reads all of it again.
    let (made, number) = (add.encoded().clone(), chain.number() + 1);
    team.attacked("never seen", move |entry| vec![with_operation(&entry, &made, number)]).await;
    let seen = team.rest_of(&team.bob).await;
    is_given_up(&team, &seen).await;
    team.bob.client.forget_group(&team.name).unwrap();
    // The server is honest again, and somebody gives Bob the key again.
    let again = team.does(GroupCommand::Add(vec![team.bob.name.clone()])).await;
    assert_eq!(again.already, std::slice::from_ref(&team.bob.name));
    let found = async {
        while team.bob.client.group(&team.name).unwrap().is_none_or(|view| view.members.is_empty())
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, found).await.expect("it was not found again");
    is_well(&team).await;
    assert_eq!(team.seen_by(&team.bob).members.len(), chain.roster.members().len());
}

// ---------------------------------------------------------------- which group it is

#[tokio::test(start_paused = true)]
async fn a_group_made_again_under_its_name_does_not_take_its_place() {
    let team = team().await;
    let id = team.seen_by(&team.bob).id;
    let again = made_up(&team, &team.bob);
    let new_id = Bytes::copy_from_slice(&again[0].group().0);
    let again = entries(&again);
    let roster = Roster { group_id: new_id, entries: again, more: false };
    let mut dropped = false;
    let log = team.log();
    team.town.hostile.rewrite_frames(&team.bob.name, move |frame| match frame.body.clone() {
        Some(Answer::Entry(entry)) if entry.log == log && !dropped => {
            dropped = true;
            Vec::new()
        }
        Some(Answer::Roster(_)) => {
            vec![ServerFrame { body: Some(Answer::Roster(roster.clone())), ..frame }]
        }
        _ => vec![frame],
    });
    team.does(GroupCommand::Topic("for all".to_owned())).await;
    team.does(GroupCommand::Title("and more".to_owned())).await;
    let seen = team.rest_of(&team.bob).await;
    let troubles: Vec<_> = seen.iter().filter(|line| line.starts_with("! ")).collect();
    assert_eq!(troubles.len(), 1, "{seen:?}");
    is_trouble(troubles[0], "another_group", "another group under the name of #team");
    let view = team.seen_by(&team.bob);
    assert_eq!((view.id, view.standing), (id, Standing::Forked));
    assert!(team.bob.client.send_text(&team.chat(), "secret").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_welcome_to_another_group_of_a_known_name_is_told_and_changes_nothing() {
    let mut team = team().await;
    let id = team.seen_by(&team.bob).id;
    let (epoch, key) = team.eve.key().clone();
    let other = GroupId([7; 32]);
    let welcome = Welcome { group: team.name.clone(), id: other, epoch, key };
    team.eve.tells(&team.bob.name, &Body::Welcome(welcome)).await;
    let chat = team.eve.person.user.clone().into();
    let seen = lines_until(&team.bob, &chat, "! ").await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    is_trouble(&seen[0], "another_group", "another group under the name of");
    assert_eq!(team.seen_by(&team.bob).id, id);
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_list_of_the_servers_own_is_not_taken_by_who_is_brought_in() {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    let roster =
        Roster { group_id: Bytes::new(), entries: entries(&made_up(&team, &carol)), more: false };
    let lie = answers(move |answer| {
        if let Answer::Roster(genuine) = answer {
            let group_id = genuine.group_id.clone();
            *answer = Answer::Roster(Roster { group_id, ..roster.clone() });
        }
    });
    team.town.hostile.rewrite_frames(&carol.name, lie);
    team.does(GroupCommand::Add(vec![carol.name.clone()])).await;
    team.says("two").await;
    let seen = lines_until(&carol, &team.chat(), "! ").await;
    assert!(seen.iter().all(|line| line != "two"), "{seen:?}");
    let view = carol.client.group(&team.name).unwrap().unwrap();
    assert_ne!(view.standing, Standing::Member, "{view:?}");
    assert!(view.members.iter().all(|member| member.user.as_str() != "ghost"), "{view:?}");
    assert!(carol.client.send_text(&team.chat(), "secret").is_err());
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_told_of_a_group_they_are_not_in_is_in_none() {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    let (epoch, key) = team.eve.key().clone();
    let welcome = Welcome { group: team.name.clone(), id: team.id(), epoch, key };
    team.eve.tells(&carol.name, &Body::Welcome(welcome)).await;
    sleep(Duration::from_secs(30)).await;
    let view = carol.client.group(&team.name).unwrap();
    assert!(view.is_none_or(|view| view.standing == Standing::Joining));
    assert!(carol.client.send_text(&team.chat(), "may I?").is_err());
    // Brought in by who may do that, she is.
    team.does(GroupCommand::Add(vec![carol.name.clone()])).await;
    team.says("welcome").await;
    lines_until(&carol, &team.chat(), "welcome").await;
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_told_that_they_are_out_is_not() {
    let mut team = team().await;
    let goodbye = Body::Goodbye { group: team.name.clone(), id: team.id() };
    team.eve.tells(&team.bob.name, &goodbye).await;
    sleep(Duration::from_secs(10)).await;
    let chat = team.eve.person.user.clone().into();
    assert_eq!(unread(&team.bob, &chat), Vec::<String>::new());
    is_well(&team).await;
}

// ---------------------------------------------------------------- keys

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_fit_what_the_chain_says_is_not_used() {
    let mut team = team().await;
    let mallory = team.another_eve("mallory").await.person.user;
    team.does(GroupCommand::Add(vec![mallory.clone()])).await;
    team.does(GroupCommand::Grant(vec![team.eve.person.user.clone()])).await;
    let chain = team.eve.chain(&team.name).await;
    let bob = team.bob.name.clone();
    let (_key, new) = team.eve.next_key(&chain, &mallory, &[&bob]).await;
    let remove = team.eve.signs(&chain, Change::Remove { user: mallory, key: new });
    let answer = team.eve.hands_in(&team.name, &remove).await;
    assert!(matches!(answer, Answer::Changed(_)), "{answer:?}");
    sleep(Duration::from_secs(2)).await;
    let _ = team.rest_of(&team.bob).await;
    team.says("two").await;
    let seen = team.reads_until(&team.bob, "! ").await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    is_trouble(&seen[0], "no_key", "sealed to a key that this device does not have");
    // He writes nothing under it either.
    let id = team.bob.client.send_text(&team.chat(), "three").unwrap();
    sleep(Duration::from_secs(10)).await;
    assert!(matches!(team.bob.state(id), MessageState::Waiting), "{:?}", team.bob.state(id));
    // The next key is one.
    team.does(GroupCommand::Kick(team.eve.person.user.clone())).await;
    is_out(&team.bob, id).await;
    is_well(&team).await;
}

#[tokio::test(start_paused = true)]
async fn a_welcome_with_a_key_that_does_not_fit_is_not_used() {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    team.does(GroupCommand::Grant(vec![team.eve.person.user.clone()])).await;
    let chain = team.eve.chain(&team.name).await;
    let bundle = team.eve.bundle_of(&carol.name).await;
    let member = NewMember { user: carol.name.clone(), identity: bundle.identity() };
    let add = team.eve.signs(&chain, Change::Add(member));
    let answer = team.eve.hands_in(&team.name, &add).await;
    assert!(matches!(answer, Answer::Changed(_)), "{answer:?}");
    let (group, id) = (team.name.clone(), team.id());
    let welcome = Welcome { group, id, epoch: KeyEpoch(1), key: GroupKey::generate() };
    team.eve.tells(&carol.name, &Body::Welcome(welcome)).await;
    sleep(Duration::from_secs(2)).await;
    team.says("two").await;
    let seen = lines_until(&carol, &team.chat(), "! ").await;
    let troubles: Vec<_> = seen.iter().filter(|line| !line.starts_with("* ")).collect();
    assert_eq!(troubles.len(), 1, "{seen:?}");
    is_trouble(troubles[0], "no_key", "sealed to a key that this device does not have");
    // Alice gives her the right one.
    let again = team.does(GroupCommand::Add(vec![carol.name.clone()])).await;
    assert_eq!(again.already, std::slice::from_ref(&carol.name));
    lines_until(&carol, &team.chat(), "two").await;
    is_well(&team).await;
}

// ---------------------------------------------------------------- who joins

async fn joins_under(attack: impl FnMut(&mut Answer) + Send + 'static) -> (Team, Life, GroupError) {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    let link = team.does(GroupCommand::Invite { uses: 0 }).await.link.unwrap();
    team.town.hostile.rewrite_frames(&carol.name, answers(attack));
    let joined = timeout(LONG, carol.client.join_by_link(&link)).await.expect("an answer");
    let refused = joined.unwrap_err();
    team.says("without carol").await;
    let seen = unread(&carol, &team.chat());
    assert!(seen.iter().all(|line| line.starts_with("! ")), "{seen:?}");
    assert!(carol.client.send_text(&team.chat(), "secret").is_err());
    team.town.hostile.relent(&carol.name);
    let _ = carol.client.forget_group(&team.name);
    let joined = timeout(LONG, carol.client.join_by_link(&link)).await.expect("an answer");
    assert_eq!(joined.unwrap().standing, Standing::Member);
    team.says("with carol").await;
    lines_until(&carol, &team.chat(), "with carol").await;
    is_well(&team).await;
    (team, carol, refused)
}

#[tokio::test(start_paused = true)]
async fn a_link_leads_to_no_other_group() {
    let (team, _carol, refused) = joins_under(|answer| {
        if let Answer::JoinOffer(offer) = answer {
            offer.group_id = Bytes::from_static(&[7; 32]);
        }
    })
    .await;
    assert_eq!(refused, GroupError::Forked(team.name.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_is_not_the_links_is_not_joined() {
    let cut = AtomicBool::new(false);
    let (team, _carol, refused) = joins_under(move |answer| {
        // Its first operation is left out: what remains begins nowhere.
        if let Answer::Roster(roster) = answer
            && !roster.entries.is_empty()
            && !cut.swap(true, Ordering::Relaxed)
        {
            roster.entries.remove(0);
        }
    })
    .await;
    assert_eq!(refused, GroupError::Forked(team.name.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_home_that_takes_any_proof_lets_nobody_in() {
    let mut team = team().await;
    let carol = team.town.name("carol");
    let carol = team.town.sign_up(&carol).await;
    let done = GroupCommand::Password(Some("horse battery staple correct".to_owned().into()));
    team.does(done).await;
    let yes = answers(|answer| {
        if let Answer::Error(_) = answer {
            *answer = Answer::Done(Done::default());
        }
    });
    team.town.hostile.rewrite_frames(&carol.name, yes);
    let wrong = "quite another long password".to_owned().into();
    let joined = timeout(LONG, carol.client.join_by_password(&team.name, wrong)).await;
    assert!(joined.expect("an answer").is_err());
    team.town.hostile.relent(&carol.name);
    let chain = team.eve.chain(&team.name).await;
    assert!(chain.roster.member(&carol.name).is_none());
    is_well(&team).await;
}

// ---------------------------------------------------------------- answers

#[tokio::test(start_paused = true)]
async fn changed_said_of_what_is_not_in_the_chain_is_found_out_by_the_log() {
    let mut team = team().await;
    let (alice, eve) = (team.alice.name.clone(), team.eve.person.user.clone());
    team.does(GroupCommand::Grant(vec![eve])).await;
    let chain = team.eve.chain(&team.name).await;
    // Eve is first. Alice, kept in the dark, is told that she was.
    let log = team.log();
    let number = chain.number() + 1;
    let kept: Arc<Mutex<Vec<Entry>>> = Arc::default();
    let keep = kept.clone();
    team.town.hostile.rewrite_frames(&alice, move |frame| match frame.body.clone() {
        Some(Answer::Entry(entry)) if entry.log == log => {
            keep.lock().unwrap().push(entry);
            Vec::new()
        }
        Some(Answer::Error(_)) => {
            let changed = Answer::Changed(Changed { number, seq: 9 });
            vec![ServerFrame { body: Some(changed), ..frame }]
        }
        _ => vec![frame],
    });
    let eves = team.eve.signs(&chain, Change::Topic("eve's".to_owned()));
    let answer = team.eve.hands_in(&team.name, &eves).await;
    assert!(matches!(answer, Answer::Changed(_)), "{answer:?}");
    sleep(Duration::from_secs(2)).await;
    let topic = GroupCommand::Topic("alice's".to_owned());
    let _ = team.alice.client.change_group(&team.name, topic).await;
    // The log says otherwise.
    let log = team.log();
    team.town.hostile.rewrite_log(&alice, &log, move |entry| {
        let mut all = std::mem::take(&mut *kept.lock().unwrap());
        all.iter_mut().for_each(|kept| kept.seq = entry.seq);
        all.push(entry);
        all
    });
    let id = team.bob.client.send_text(&team.chat(), "two").unwrap();
    is_out(&team.bob, id).await;
    let seen = team.reads_until(&team.alice, "! ").await;
    let troubles: Vec<_> = seen.iter().filter(|line| line.starts_with("! ")).collect();
    assert_eq!(troubles.len(), 1, "{seen:?}");
    is_trouble(troubles[0], "forked", FORKED);
    team.stands(&team.alice, Standing::Forked);
}

#[tokio::test(start_paused = true)]
async fn a_home_that_says_conflict_for_ever_is_given_up_on() {
    let team = team().await;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let conflict = answers(move |answer| {
        if let Answer::Changed(_) = answer {
            counted.fetch_add(1, Ordering::Relaxed);
            let code = Code::RosterConflict as u32;
            *answer = Answer::Error(Error { code, ..Error::default() });
        }
    });
    team.town.hostile.rewrite_frames(&team.alice.name, conflict);
    let title = GroupCommand::Title("never".to_owned());
    let changed = timeout(LONG, team.alice.client.change_group(&team.name, title)).await;
    let refused = changed.expect("an answer");
    assert!(asked.load(Ordering::Relaxed) < 20, "{asked:?}");
    team.town.hostile.relent(&team.alice.name);
    // The home took the first one, and its log says so: that is what counts.
    let done = refused.is_ok_and(|done| done.group.title == "never");
    assert!(done || team.seen_by(&team.alice).title == "never");
    is_well(&team).await;
}

/// Bob writes while every answer to what he writes is a refusal with this code. How often he tried,
/// and how his message stands.
async fn refused_for_ever(team: &Team, code: Code) -> (u64, LocalId) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let log = team.log();
    let refuse = answers(move |answer| match answer {
        Answer::Appended(appended) if appended.log == log => {
            counted.fetch_add(1, Ordering::Relaxed);
            let (log, open_id, n) = (appended.log.clone(), appended.open_id, appended.n);
            let code = code as u32;
            *answer = Answer::Refused(Refused { log, open_id, n, code, ..Refused::default() });
        }
        _ => {}
    });
    team.town.hostile.rewrite_frames(&team.bob.name, refuse);
    let id = team.bob.client.send_text(&team.chat(), "two").unwrap();
    sleep(Duration::from_secs(60)).await;
    team.town.hostile.relent(&team.bob.name);
    (asked.load(Ordering::Relaxed), id)
}

#[tokio::test(start_paused = true)]
async fn a_home_that_calls_every_key_stale_gets_no_flood_and_nothing_is_lost() {
    for code in [Code::StaleEpoch, Code::RosterBehind] {
        let team = team().await;
        let (count, id) = refused_for_ever(&team, code).await;
        assert!((1..200).contains(&count), "{code}: {count} times in a minute");
        is_out(&team.bob, id).await;
        let seen = team.reads_until(&team.alice, "two").await;
        assert_eq!(seen.iter().filter(|line| *line == "two").count(), 1, "{seen:?}");
        is_well(&team).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_who_is_called_none_is_told_and_goes_on_writing() {
    let team = team().await;
    let (_count, id) = refused_for_ever(&team, Code::NotAMember).await;
    let state = team.bob.state(id);
    assert_eq!(state, MessageState::Refused(Refusal::Server(Code::NotAMember)));
    team.stands(&team.bob, Standing::Member);
    is_well(&team).await;
    assert_eq!(team.seen_by(&team.bob).role, Some(Role::Member));
}
