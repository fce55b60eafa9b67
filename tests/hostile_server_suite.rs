//! The real server against the real client, with the server's words rewritten on their way out: one
//! test per attack. What the person is told stands in each, and that an honest message still comes
//! through afterwards. `docs/ATTACKS.md` is the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastchat::client::{Event, Line, MessageState, Offline, RequestError, SendError, Trust};
use fastchat::crypto::envelope::MessageRef;
use fastchat::crypto::{Body, parse_header, seal_void, testkeys};
use fastchat::types::{ClusterId, LogId, N, UserName};
use fastchat::ui::say;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    self as wire, Appended, Delivered, Done, Envelope, Payload, PutBundle, ServerFrame,
};
use prost::Message;
use tokio::time::sleep;
use town::scene::*;

const UNSIGNED: &str = "is not signed by";
const ELSEWHERE: &str = "was made for another place and put here";
const MISSING: &str = "is missing here: a server lost it or holds it back";

// ---------------------------------------------------------------- entries

#[tokio::test(start_paused = true)]
async fn without_an_attack_everything_is_as_it_was() {
    let scene = scene().await;
    assert_eq!(scene.under("two", |envelope| vec![envelope]).await, ["two", "honest"]);
    let (alice, bob) = (&scene.alice, &scene.bob);
    let seen_by_alice = alice.client.key_of(&bob.name).await.unwrap();
    assert_eq!(
        seen_by_alice.safety_number,
        bob.client.key_of(&alice.name).await.unwrap().safety_number
    );
}

#[tokio::test(start_paused = true)]
async fn a_replayed_entry_is_shown_once() {
    let scene = scene().await;
    let old = scene.town.hostile.had(&scene.bob.name)[0].clone();
    let seen = scene
        .under("two", move |envelope| vec![old.clone(), envelope.clone(), envelope, old.clone()]);
    assert_eq!(seen.await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn ones_own_message_sent_back_is_not_the_others() {
    let scene = scene().await;
    let own = scene.town.hostile.had(&scene.alice.name)[0].clone();
    let readdressed = altered(&own, |envelope| {
        let mut header = wire::Header::decode(envelope.header.clone()).unwrap();
        header.log = format!("@{}", scene.bob.name);
        envelope.header = header.encode_to_vec().into();
    });
    let seen = scene.under("two", move |envelope| vec![own.clone(), readdressed.clone(), envelope]);
    let (troubles, texts) = sorted(seen.await);
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    is_trouble(&troubles[0], "bad_binding", ELSEWHERE);
    is_trouble(&troubles[1], "bad_signature", UNSIGNED);
    assert_eq!(texts, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_out_of_order_leaves_a_hole_that_is_told() {
    let scene = scene().await;
    scene.alice.writes(&scene.bob.name, "two");
    let mut held: Option<Bytes> = None;
    let seen = scene.under("three", move |envelope| match held.take() {
        None => {
            held = Some(envelope);
            Vec::new()
        }
        Some(first) => vec![envelope, first],
    });
    let seen = seen.await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "hole", MISSING);
    assert_eq!(seen[1..], ["three", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_message_is_missed_and_delivered_is_the_servers_word_alone() {
    let scene = scene().await;
    let lie = |frame: ServerFrame| match body(&frame) {
        // It says that Bob has whatever it stored.
        Answer::Appended(Appended { log, open_id, n, .. }) => {
            let (log, open_id, delivered_n) = (log.clone(), *open_id, *n);
            let told = Answer::Delivered(Delivered { log, open_id, delivered_n });
            vec![frame, ServerFrame { rid: 0, optional: false, body: Some(told) }]
        }
        _ => vec![frame],
    };
    scene.town.hostile.rewrite_frames(&scene.alice.name, lie);
    scene.town.hostile.rewrite_entries(&scene.bob.name, |_| Vec::new());
    let id = scene.alice.writes(&scene.bob.name, "two");
    scene.alice.stands(id, &MessageState::Delivered).await;
    scene.town.hostile.relent(&scene.alice.name);
    let seen = scene.under("three", |envelope| vec![envelope]).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "hole", MISSING);
    assert_eq!(seen[1..], ["three", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_header_with_another_payload_is_not_signed() {
    let scene = scene().await;
    let old = Envelope::decode(scene.town.hostile.had(&scene.bob.name)[0].clone()).unwrap();
    let seen = scene.under("two", move |envelope| {
        let payload = old.payload.clone();
        let header = old.header.clone();
        vec![
            altered(&envelope, |envelope| envelope.payload = payload),
            altered(&envelope, |envelope| envelope.header = header),
            envelope,
        ]
    });
    let seen = seen.await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    is_trouble(&seen[0], "bad_signature", UNSIGNED);
    is_trouble(&seen[1], "bad_signature", UNSIGNED);
    assert_eq!(seen[2..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_somebody_else_is_not_shown() {
    let mut scene = scene().await;
    let carol = scene.town.name("carol");
    let carol = scene.town.sign_up(&carol).await;
    scene.alice.writes(&carol.name, "for carol alone");
    carol.reads_until("for carol").await;
    let hers = scene.town.hostile.had(&carol.name)[0].clone();
    let seen = scene.under("two", move |envelope| vec![hers.clone(), envelope]).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    is_trouble(&seen[0], "bad_binding", ELSEWHERE);
    assert_eq!(seen[1..], ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_sealed_for_somebody_else_under_ones_own_address_is_not_shown() {
    let mut scene = scene().await;
    let (name, forger) = eve(&scene).await;
    let carol = scene.town.name("carol");
    let carol = scene.town.sign_up(&carol).await;
    let (to_bob, to_carol) =
        (bundle_at(&scene, &scene.bob.name).await, bundle_at(&scene, &carol.name).await);
    // Eve signs Bob's address over what she sealed for Carol.
    let place = (&forger.cluster, &scene.bob.name);
    let mixed = forger.writes_at(place, &name, &to_carol, 1, "for carol alone");
    let sound = forger.writes(&name, &to_bob, 2, "for bob");
    let seen = scene.under("two", move |envelope| vec![mixed.clone(), sound.clone(), envelope]);
    let (troubles, texts) = sorted(seen.await);
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    is_trouble(&troubles[0], "no_key", "sealed to a key that this device does not have");
    // The key is there now, and what it opens says for whom it was.
    is_trouble(&troubles[1], "bad_binding", ELSEWHERE);
    assert_eq!(texts, ["two", "for bob", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_cluster_is_not_shown() {
    let scene = scene().await;
    let (name, forger) = eve(&scene).await;
    let to_bob = bundle_at(&scene, &scene.bob.name).await;
    // The same keys, the same names: what was written there is no word here.
    let place = (&ClusterId([1; 32]), &scene.bob.name);
    let foreign = forger.writes_at(place, &name, &to_bob, 1, "from elsewhere");
    let log = LogId::Inbox(scene.bob.name.clone());
    let (key, device) = (&forger.device_key, forger.device);
    let void = seal_void(&ClusterId([1; 32]), key, &log, &name, device, N(1), N(9)).unwrap();
    let sound = forger.writes(&name, &to_bob, 1, "from here");
    let seen = scene
        .under("two", move |envelope| vec![foreign.clone(), void.clone(), sound.clone(), envelope]);
    let seen = seen.await;
    assert_eq!(seen.len(), 5, "{seen:?}");
    let troubles: Vec<_> = seen.iter().filter(|line| line.starts_with("! ")).collect();
    is_trouble(troubles[0], "bad_signature", UNSIGNED);
    is_trouble(troubles[1], "bad_signature", UNSIGNED);
    assert!(seen.iter().any(|line| line == "from here"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stripped_or_foreign_signature_is_none() {
    let scene = scene().await;
    let forger = Forger::new(scene.cluster());
    let seen = scene.under("two", move |envelope| {
        let own = parse_header(&envelope).unwrap();
        let (log, author) = (&own.log, &own.author);
        let (key, device) = (&forger.device_key, own.device);
        let foreign = seal_void(&forger.cluster, key, log, author, device, own.n, N(99)).unwrap();
        let signature = Envelope::decode(foreign).unwrap().signature;
        vec![
            altered(&envelope, |envelope| envelope.signature = Bytes::new()),
            altered(&envelope, |envelope| envelope.signature = vec![0; 64].into()),
            altered(&envelope, |envelope| envelope.signature = signature),
            envelope,
        ]
    });
    let seen = seen.await;
    assert_eq!(seen.len(), 5, "{seen:?}");
    let troubles: Vec<_> = seen.iter().filter(|line| line.starts_with("! ")).collect();
    assert_eq!(troubles.len(), 3);
    for line in troubles {
        is_trouble(line, "bad_signature", UNSIGNED);
    }
    assert!(seen.iter().any(|line| line == "two"));
}

#[tokio::test(start_paused = true)]
async fn a_second_body_under_one_number_is_told_and_not_shown() {
    let scene = scene().await;
    let (name, forger) = eve(&scene).await;
    let to_bob = bundle_at(&scene, &scene.bob.name).await;
    let first = forger.writes(&name, &to_bob, 1, "what all were told");
    let second = forger.writes(&name, &to_bob, 1, "what only bob was told");
    let third = forger.writes(&name, &to_bob, 2, "and more");
    let seen = scene
        .under("two", move |envelope| vec![first.clone(), second.clone(), third.clone(), envelope]);
    let seen = seen.await;
    assert_eq!(seen.len(), 5, "{seen:?}");
    let eves: Vec<_> =
        seen.iter().filter(|line| !["two", "honest"].contains(&line.as_str())).collect();
    assert_eq!((eves[0].as_str(), eves[2].as_str()), ("what all were told", "and more"));
    is_trouble(eves[1], "equivocation", "signed two messages under one number");
}

#[tokio::test(start_paused = true)]
async fn a_forged_entry_takes_no_place_from_the_genuine_one() {
    let scene = scene().await;
    let forger = Forger::new(scene.cluster());
    let to_bob = bundle_at(&scene, &scene.bob.name).await;
    let seen = scene.under("two", move |envelope| {
        let own = parse_header(&envelope).unwrap();
        let as_alice = Forger { device: own.device, ..Forger::new(forger.cluster) };
        let (log, key) = (&own.log, &as_alice.device_key);
        let void = seal_void(&forger.cluster, key, log, &own.author, own.device, own.n, N(99));
        let text = as_alice.writes(&own.author, &to_bob, own.n.0, "forged");
        let other = forger.writes(&own.author, &to_bob, own.n.0, "forged by another device");
        vec![text, void.unwrap(), other, envelope]
    });
    let seen = seen.await;
    assert_eq!(seen.len(), 5, "{seen:?}");
    for line in seen.iter().filter(|line| line.starts_with("! ")) {
        is_trouble(line, "bad_signature", UNSIGNED);
    }
    assert!(
        seen.iter().any(|line| line == "two") && !seen.iter().any(|line| line.contains("forged"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_forged_receipt_edit_deletion_or_reaction_changes_nothing() {
    let scene = scene().await;
    let (alice, bob) = (&scene.alice, &scene.bob);
    let (eve, forger) = eve(&scene).await;
    let to_bob = bundle_at(&scene, &bob.name).await;
    let hers = parse_header(&scene.town.hostile.had(&bob.name)[0]).unwrap();
    let his = parse_header(&scene.town.hostile.had(&alice.name)[0]).unwrap();
    let to = MessageRef { author: alice.name.clone(), device: hers.device, n: hers.n };
    let bodies = [
        Body::Read { device: his.device, n: his.n },
        Body::Edit { to: to.clone(), text: "forged".to_owned() },
        Body::Reaction { to: to.clone(), emoji: Some("👍".to_owned()) },
        Body::Delete { to },
    ];
    // In Alice's name under other keys, and by Eve's own hand about what is not hers.
    let as_alice = Forger { device: hers.device, ..Forger::new(scene.cluster()) };
    let forged: Vec<Bytes> = (2..)
        .zip(&bodies)
        .map(|(n, body)| as_alice.says(&alice.name, &to_bob, n, body))
        .chain((1..).zip(&bodies).map(|(n, body)| forger.says(&eve, &to_bob, n, body)))
        .collect();
    let seen = scene.under("two", move |envelope| {
        let mut all = forged.clone();
        all.push(envelope);
        all
    });
    let (troubles, texts) = sorted(seen.await);
    assert_eq!((troubles.len(), texts.len()), (bodies.len(), 2), "{troubles:?}");
    for line in &troubles {
        is_trouble(line, "bad_signature", UNSIGNED);
    }
    let history = bob.client.history(&alice.name.clone().into(), 100).unwrap();
    let messages: Vec<_> = history
        .iter()
        .filter_map(|line| match line {
            Line::Message(message) => Some(message),
            Line::Trouble { .. } | Line::Membership { .. } => None,
        })
        .collect();
    let genuine = messages.iter().find(|message| message.text == "hello bob").unwrap();
    assert!(!genuine.edited && !genuine.deleted && genuine.reactions.is_empty(), "{genuine:?}");
    let own = messages.iter().find(|message| message.text == "hello alice").unwrap();
    assert_eq!(own.state, Some(MessageState::Delivered), "she has not read it");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_envelope_is_told_and_does_not_stop_what_follows() {
    let scene = scene().await;
    let seen = scene.under("two", |envelope| {
        let cut = envelope.slice(..envelope.len() / 2);
        vec![Bytes::new(), Bytes::from_static(b"hello"), cut, envelope]
    });
    let seen = seen.await;
    assert_eq!(seen.iter().filter(|line| line.starts_with("! bad_signature")).count(), 3);
    assert_eq!(seen[3..], ["two", "honest"]);
}

// ---------------------------------------------------------------- keys

/// A look-up of `user` is answered with this bundle.
fn says_of(
    user: &UserName,
    bundle: Bytes,
) -> impl FnMut(ServerFrame) -> Vec<ServerFrame> + Send + use<> {
    let user = user.to_string();
    answers(move |answer| match answer {
        Answer::Account(account) if account.user == user => account.bundle = bundle.clone(),
        _ => {}
    })
}

async fn safety_numbers(scene: &Scene) -> (String, String) {
    let (alice, bob) = (&scene.alice, &scene.bob);
    let by_alice = alice.client.key_of(&bob.name).await.unwrap().safety_number;
    (by_alice, bob.client.key_of(&alice.name).await.unwrap().safety_number)
}

#[tokio::test(start_paused = true)]
async fn a_key_swapped_at_first_contact_shows_in_the_safety_number_and_cannot_be_swapped_back() {
    let scene = strangers().await;
    let (alice, bob) = (&scene.alice, &scene.bob);
    let forger = Forger::new(scene.cluster());
    let fake = forger.bundle_of(&alice.name, 1, 14);
    scene.town.hostile.rewrite_frames(&bob.name, says_of(&alice.name, fake));
    bob.client.look_up(&alice.name).await.unwrap();
    assert_eq!(bob.client.key_of(&alice.name).await.unwrap().trust, Trust::Pinned);
    alice.client.look_up(&bob.name).await.unwrap();
    let (by_alice, by_bob) = safety_numbers(&scene).await;
    assert_ne!(by_alice, by_bob, "this is what comparing finds");
    // Once she gets through, Bob is told; and told the truth when he accepts her key.
    scene.town.hostile.relent(&bob.name);
    alice.writes(&bob.name, "one");
    let seen = bob.reads_until("one").await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    is_trouble(&seen[0], "key_changed", "key has changed (new device, or someone in between)");
    assert_eq!(seen[1], "one (new key)");
    bob.client.accept_key(&alice.name).unwrap();
    let (by_alice, by_bob) = safety_numbers(&scene).await;
    assert_eq!(by_alice, by_bob);
    alice.writes(&bob.name, "honest");
    assert_eq!(bob.reads_until("honest").await, ["honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_swapped_later_stops_sending_and_its_mail_is_marked() {
    let mut scene = scene().await;
    let forger = Forger::new(scene.cluster());
    let alice = scene.alice.name.clone();
    let to_bob = bundle_at(&scene, &scene.bob.name).await;
    let fake = forger.bundle_of(&alice, 9, 14);
    let hostile = scene.town.hostile.clone();
    hostile.rewrite_frames(&scene.bob.name, says_of(&alice, fake));
    scene.bob.client.mark_verified(&alice).unwrap();
    scene.bob.client.look_up(&alice).await.unwrap();
    scene.bob.told(|event| matches!(event, Event::KeyChanged { .. })).await;
    let refused = scene.bob.client.send_text(&alice.clone().into(), "secret").unwrap_err();
    assert_eq!(refused, SendError::KeyChanged(alice.clone()));
    let told = say::send_error(&refused);
    assert!(told.what.contains("Nothing is sent to"), "{told:?}");
    assert!(told.remedy.contains("/verify") && told.remedy.contains("/accept-key"), "{told:?}");
    assert_eq!(scene.bob.client.key_of(&alice).await.unwrap().trust, Trust::Changed);
    // Mail under the new key cannot pass for hers; hers is as it was.
    let forged = forger.writes(&alice, &to_bob, 1, "send it to me");
    let seen = scene.under("two", move |envelope| vec![forged.clone(), envelope]).await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    is_trouble(&seen[0], "key_changed", "new device, or someone in between");
    assert_eq!(seen[1..], ["send it to me (new key)", "two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_bundle_is_not_taken_for_the_newest() {
    let scene = scene().await;
    let bob = &scene.bob;
    let (name, forger, mut raw) = eve_online(&scene).await;
    let old = forger.bundle_of(&name, 1, forger.identity);
    bob.client.look_up(&name).await.unwrap();
    let bundle = forger.bundle_of(&name, 2, 14);
    assert_eq!(raw.ask(Ask::PutBundle(PutBundle { bundle })).await, Answer::Done(Done::default()));
    bob.client.look_up(&name).await.unwrap();
    scene.town.hostile.rewrite_frames(&bob.name, says_of(&name, old));
    bob.client.look_up(&name).await.unwrap();
    assert_eq!(bob.client.key_of(&name).await.unwrap().trust, Trust::Pinned);
    raw.opened(&format!("@{name}"), 1, 0).await;
    bob.writes(&name, "for the newest key");
    let Answer::Entry(entry) = raw.next().await else { panic!("no entry") };
    let envelope = Envelope::decode(entry.envelope).unwrap();
    let payload = Payload::decode(envelope.payload).unwrap();
    assert_eq!(payload.wrapped_to, testkeys::encryption(14).key_id().0.as_slice());
    assert_eq!(scene.under("two", |envelope| vec![envelope]).await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_of_somebody_else_or_another_cluster_is_refused_and_nothing_is_sent() {
    let scene = strangers().await;
    let (alice, bob) = (&scene.alice, &scene.bob);
    let foreign = Forger { cluster: ClusterId([1; 32]), ..Forger::new(scene.cluster()) };
    let other = bundle_at(&scene, &bob.name).await.encoded().clone();
    for bundle in [other, foreign.bundle_of(&alice.name, 1, 14), Bytes::from_static(b"keys")] {
        scene.town.hostile.rewrite_frames(&bob.name, says_of(&alice.name, bundle));
        let refused = bob.client.look_up(&alice.name).await.unwrap_err();
        assert_eq!(refused, RequestError::BadBundle);
        let told = say::request_error(&refused, Some(&alice.name));
        assert!(told.what.contains("does not verify"), "{told:?}");
        assert_eq!(told.remedy, "Nothing was trusted or sent.");
    }
    let id = bob.writes(&alice.name, "for alice");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(bob.state(id), MessageState::Waiting);
    scene.town.hostile.relent(&bob.name);
    bob.stands(id, &MessageState::Delivered).await;
    assert_eq!(alice.reads_until("for alice").await, ["for alice"]);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_at_the_same_address_hears_nothing() {
    let mut scene = scene().await;
    let (town, alice, bob) = (&mut scene.town, &scene.alice, &mut scene.bob);
    let wrong = bob.told(|event| matches!(event, Event::Offline { reason: Offline::WrongCluster }));
    let (_, event) = tokio::join!(town.usurped_for(Duration::from_secs(60)), wrong);
    let Event::Offline { reason } = event else { panic!("{event:?}") };
    assert_eq!(say::offline(&reason), "another cluster answers there");
    assert!(say::wrong_cluster().what.contains("Nothing was sent to it"));
    alice.writes(&bob.name, "honest");
    assert_eq!(bob.reads_until("honest").await, ["honest"]);
}

// ---------------------------------------------------------------- answers and positions

#[tokio::test(start_paused = true)]
async fn a_wrong_hash_makes_a_new_device_and_nothing_is_lost() {
    let mut scene = scene().await;
    let hash = answers(|answer| {
        if let Answer::Appended(appended) = answer {
            appended.hash = vec![1; 8].into();
        }
    });
    scene.town.hostile.rewrite_frames(&scene.alice.name, hash);
    let id = scene.alice.writes(&scene.bob.name, "two");
    scene.alice.told(|event| *event == Event::RolledBack).await;
    assert!(say::rolled_back().what.contains("older than what the server knows"));
    scene.town.hostile.relent(&scene.alice.name);
    scene.alice.stands(id, &MessageState::Delivered).await;
    scene.alice.writes(&scene.bob.name, "honest");
    let seen = scene.bob.reads_until("honest").await;
    assert_eq!(seen, ["two", "two", "honest"], "the server made her say it twice");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_claims_to_be_further_makes_a_new_device_and_nothing_is_lost() {
    let mut scene = scene().await;
    let log = format!("@{}", scene.bob.name);
    let further = answers(move |answer| {
        if let Answer::Opened(opened) = answer
            && opened.log == log
        {
            opened.last_n = 50;
        }
    });
    scene.town.hostile.rewrite_frames(&scene.alice.name, further);
    scene.alice = scene.town.restarted(scene.alice).await;
    scene.alice.writes(&scene.bob.name, "two");
    scene.alice.told(|event| *event == Event::RolledBack).await;
    scene.town.hostile.relent(&scene.alice.name);
    scene.alice.writes(&scene.bob.name, "honest");
    assert_eq!(scene.bob.reads_until("honest").await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_claims_to_be_set_back_gets_everything_again_and_shows_it_once() {
    let mut scene = scene().await;
    let log = format!("@{}", scene.bob.name);
    let back = answers(move |answer| match answer {
        Answer::Opened(opened) if opened.log == log => {
            (opened.last_n, opened.delivered_n) = (0, 0);
        }
        Answer::Appended(appended) => appended.n = 0,
        _ => {}
    });
    scene.town.hostile.rewrite_frames(&scene.alice.name, back);
    scene.alice = scene.town.restarted(scene.alice).await;
    let id = scene.alice.writes(&scene.bob.name, "two");
    assert_eq!(scene.bob.reads_until("two").await, ["two"]);
    assert_ne!(scene.alice.state(id), MessageState::Sent, "that answer is not about it");
    scene.town.hostile.relent(&scene.alice.name);
    scene.alice = scene.town.restarted(scene.alice).await;
    scene.alice.stands(id, &MessageState::Delivered).await;
    assert_eq!(scene.under("three", |envelope| vec![envelope]).await, ["three", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn positions_that_cannot_be_are_asked_for_again_and_not_all_the_time() {
    let scene = scene().await;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let ahead = answers(move |answer| {
        if let Answer::Entry(entry) = answer {
            entry.seq += 1_000;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    scene.town.hostile.rewrite_frames(&scene.bob.name, ahead);
    scene.alice.writes(&scene.bob.name, "two");
    sleep(Duration::from_secs(10)).await;
    let count = asked.load(Ordering::Relaxed);
    assert!((2..2_000).contains(&count), "{count} times in ten seconds");
    assert_eq!(scene.under("three", |envelope| vec![envelope]).await, ["two", "three", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn mail_said_to_be_gone_is_told_and_what_comes_later_is_read() {
    let mut scene = scene().await;
    let own = format!("@{}", scene.bob.name);
    let gone = answers(move |answer| {
        if let Answer::Opened(opened) = answer
            && opened.log == own
        {
            (opened.first_seq, opened.head_seq) = (100, 99);
        }
    });
    scene.town.hostile.rewrite_frames(&scene.bob.name, gone);
    scene.bob = scene.town.restarted(scene.bob).await;
    let seen = scene.bob.reads_until("! expired").await;
    is_trouble(&seen[0], "expired", "Older messages expired at the server");
    scene.town.hostile.relent(&scene.bob.name);
    scene.bob = scene.town.restarted(scene.bob).await;
    assert_eq!(scene.under("two", |envelope| vec![envelope]).await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_behind_its_end_is_not_believed() {
    let mut scene = scene().await;
    let own = format!("@{}", scene.bob.name);
    let impossible = answers(move |answer| {
        if let Answer::Opened(opened) = answer
            && opened.log == own
        {
            (opened.first_seq, opened.head_seq) = (100, 5);
        }
    });
    scene.town.hostile.rewrite_frames(&scene.bob.name, impossible);
    scene.bob = scene.town.restarted(scene.bob).await;
    sleep(Duration::from_secs(10)).await;
    scene.town.hostile.relent(&scene.bob.name);
    assert_eq!(scene.under("two", |envelope| vec![envelope]).await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn another_epoch_shows_nothing_twice() {
    let mut scene = scene().await;
    let own = format!("@{}", scene.bob.name);
    let anew = answers(move |answer| {
        if let Answer::Opened(opened) = answer
            && opened.log == own
        {
            opened.epoch ^= 1;
        }
    });
    let old = scene.town.hostile.had(&scene.bob.name);
    scene.town.hostile.rewrite_frames(&scene.bob.name, anew);
    scene.bob = scene.town.restarted(scene.bob).await;
    scene.town.hostile.relent(&scene.bob.name);
    scene.bob = scene.town.restarted(scene.bob).await;
    let seen = scene.under("two", move |envelope| {
        let mut all = old.clone();
        all.push(envelope);
        all
    });
    assert_eq!(seen.await, ["two", "honest"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_yes_to_everything_decides_nothing_that_is_not_its_own() {
    let scene = scene().await;
    let (alice, bob) = (&scene.alice, &scene.bob);
    bob.client.block(&alice.name, true).await.unwrap();
    let yes = answers(|answer| match answer {
        Answer::Refused(refused) if refused.n > 0 => {
            let (log, open_id, n) = (refused.log.clone(), refused.open_id, refused.n);
            *answer = Answer::Appended(Appended { log, open_id, n, ..Appended::default() });
        }
        Answer::Error(_) => *answer = Answer::Done(Done::default()),
        _ => {}
    });
    scene.town.hostile.rewrite_frames(&alice.name, yes);
    // "Sent" is its word, and it lies. That somebody is there who is not, it cannot say.
    let id = alice.writes(&bob.name, "two");
    alice.stands(id, &MessageState::Sent).await;
    let nobody = scene.town.name("nobody");
    let found = alice.client.look_up(&nobody).await;
    assert!(matches!(found, Err(RequestError::BadBundle | RequestError::Timeout)), "{found:?}");
    // Honest again, it gets what it never had.
    scene.town.hostile.relent(&alice.name);
    bob.client.block(&alice.name, false).await.unwrap();
    let last = alice.writes(&bob.name, "honest");
    alice.stands(last, &MessageState::Delivered).await;
    assert_eq!(bob.reads_until("honest").await, ["two", "honest"]);
    alice.stands(id, &MessageState::Delivered).await;
}

// ---------------------------------------------------------------- the list

#[test]
fn every_attack_stands_in_the_list_and_the_list_names_no_other() {
    let list = include_str!("../docs/ATTACKS.md");
    let other = [
        include_str!("hostile_server.rs"),
        include_str!("chunks.rs"),
        include_str!("hostile_chunks.rs"),
    ]
    .concat();
    let here = [
        include_str!("hostile_server_suite.rs"),
        include_str!("hostile_groups.rs"),
        include_str!("hostile_rosters.rs"),
        include_str!("hostile_files.rs"),
    ];
    let tests: Vec<&str> = here
        .iter()
        .flat_map(|file| file.split("#[tokio::test(start_paused = true)]\nasync fn ").skip(1))
        .filter_map(|rest| rest.split_once('(').map(|(name, _)| name))
        .collect();
    assert!(tests.len() > 60, "{}", tests.len());
    for name in tests.iter().filter(|name| !name.starts_with("without_an_attack")) {
        assert!(list.contains(&format!("`{name}`")), "{name} is not in the list");
    }
    for name in list.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2) {
        let known = tests.contains(&name) || other.contains(&format!("fn {name}("));
        assert!(known, "no test {name}");
    }
}
