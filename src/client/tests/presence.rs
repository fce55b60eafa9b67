//! Who comes, goes and writes: only of contacts, only news, and never too often.

use super::conversations::two;
use super::*;
use crate::client::api::{AccountChange, ChatChange};
use crate::limits::{TYPING_HEARD_INTERVAL, TYPING_INTERVAL};
use tokio::time::advance;

#[test]
fn comings_and_goings_of_contacts_are_told_and_of_nobody_else() {
    let (mut alice, bob) = two();
    let bobs = bob.name.clone();
    alice.told();
    alice.core.presence_heard(&bobs, false).unwrap();
    assert!(alice.told().is_empty(), "away is what everybody is at first");
    let online = |online| Event::Presence { user: bobs.clone(), online };
    for (word, told) in [(true, true), (true, false), (false, true), (false, false), (true, true)] {
        alice.core.presence_heard(&bobs, word).unwrap();
        assert_eq!(alice.told(), if told { vec![online(word)] } else { Vec::new() });
    }
    let of_bob = |alice: &mut Desk| alice.core.contacts().unwrap()[0].online;
    assert_eq!(of_bob(&mut alice), Some(true));
    // Another connection: nothing is known, and only a difference is news.
    alice.core.presence.forget();
    assert_eq!(of_bob(&mut alice), None);
    alice.core.presence_heard(&bobs, false).unwrap();
    assert_eq!(alice.told(), [online(false)]);

    for contact in [Contact::Request, Contact::Blocked] {
        alice.core.set_contact(&bobs, contact).unwrap();
        alice.core.presence_heard(&bobs, true).unwrap();
        alice.core.typing_heard(&bobs).unwrap();
    }
    alice.core.presence_heard(&name("carol"), true).unwrap();
    alice.core.typing_heard(&name("carol")).unwrap();
    assert!(alice.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn writing_is_told_every_three_seconds_at_most() {
    let (mut alice, bob) = two();
    let bobs = &bob.name;
    assert!(alice.core.typing_due(&bobs.clone().into()).unwrap());
    for _ in 0..5 {
        assert!(!alice.core.typing_due(&bobs.clone().into()).unwrap());
    }
    advance(TYPING_INTERVAL - Duration::from_millis(1)).await;
    assert!(!alice.core.typing_due(&bobs.clone().into()).unwrap());
    advance(Duration::from_millis(1)).await;
    assert!(alice.core.typing_due(&bobs.clone().into()).unwrap());
    assert!(
        !alice.core.typing_due(&name("carol").into()).unwrap(),
        "no stranger learns that we write"
    );
    advance(TYPING_INTERVAL).await;
    alice.core.change_account(AccountChange::Typing(false)).unwrap();
    assert!(!alice.core.typing_due(&bobs.clone().into()).unwrap());
    alice.core.change_chat(&bobs.clone().into(), &ChatChange::Typing(Some(true))).unwrap();
    assert!(alice.core.typing_due(&bobs.clone().into()).unwrap());
    advance(TYPING_INTERVAL).await;
    alice.core.change_account(AccountChange::Invisible(true)).unwrap();
    assert!(
        !alice.core.typing_due(&bobs.clone().into()).unwrap(),
        "it would say that she is there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_writing_is_one_event_a_second() {
    let (mut alice, bob) = two();
    alice.told();
    let typing = Event::Typing { chat: bob.chat(), user: bob.name.clone() };
    for _ in 0..100 {
        alice.core.typing_heard(&bob.name).unwrap();
    }
    assert_eq!(alice.told(), std::slice::from_ref(&typing));
    advance(TYPING_HEARD_INTERVAL).await;
    alice.core.typing_heard(&bob.name).unwrap();
    assert_eq!(alice.told(), [typing]);
    advance(TYPING_HEARD_INTERVAL).await;
    alice.core.change_chat(&bob.chat(), &ChatChange::Typing(Some(false))).unwrap();
    alice.core.typing_heard(&bob.name).unwrap();
    assert!(alice.told().is_empty());
}

#[test]
fn the_logs_of_those_last_talked_to_are_followed_and_of_no_stranger() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    let (carol, dave) = (Peer::new("carol", 2), Peer::new("dave", 3));
    for peer in [&bob, &carol, &dave] {
        alice.knows(&peer.bundle());
    }
    alice.core.set_contact(&dave.name, Contact::Request).unwrap();
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "x"), dave.writes(&to, 1, "x"), carol.writes(&to, 1, "x")]);
    assert_eq!(alice.core.chats_to_follow().unwrap(), [carol.chat(), bob.chat()]);
}
