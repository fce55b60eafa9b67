//! A conversation between two people, over a real server in the simulated network: answers,
//! reactions, changes, deletions, receipts, texts that go away, and who comes, goes and writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::time::Duration;

use fastchat::client::{
    AccountChange, Author, Draft, Event, Line, LocalId, MessageState, MessageView, ReactionView,
};
use fastchat::types::ChatName;
use tokio::time::{Instant, sleep, timeout};
use town::{LONG, Life, Town};

/// Alice and Bob, who have written to each other: the numbers of her "hi" with her and with him.
async fn acquainted(town: &mut Town) -> (Life, Life, LocalId, LocalId) {
    let (alices, bobs) = (town.name("alice"), town.name("bob"));
    let alice = town.sign_up(&alices).await;
    let bob = town.sign_up(&bobs).await;
    let hers = alice.writes(&bobs, "hi");
    bob.reads_until("hi").await;
    bob.writes(&alices, "hello");
    alice.reads_until("hello").await;
    let his = first(&bob, &alices.clone().into());
    (alice, bob, hers, his)
}

fn first(life: &Life, chat: &ChatName) -> LocalId {
    life.client.history(chat, 100).unwrap()[0].id()
}

fn message(life: &Life, id: LocalId) -> MessageView {
    life.client.message(id).unwrap().unwrap()
}

/// Waits until that is so.
async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(LONG, wait).await.is_ok(), "that never happened");
}

#[tokio::test(start_paused = true)]
async fn two_people_answer_react_change_and_take_back() {
    let mut town = Town::new().await;
    let (mut alice, mut bob, hers, his) = acquainted(&mut town).await;
    let (alices, bobs) = (alice.name.clone(), bob.name.clone());
    let draft = Draft { reply_to: Some(his), ..Draft::text("how are you?") };
    bob.client.send(&alices.clone().into(), &draft).unwrap();
    alice.reads_until("how").await;
    let got = match alice.client.history(&bobs.clone().into(), 1).unwrap().remove(0) {
        Line::Message(message) => message,
        Line::Trouble { .. } | Line::Membership { .. } => panic!("trouble"),
    };
    let reply = got.reply_to.unwrap();
    assert_eq!((reply.id, reply.author, reply.excerpt.as_str()), (Some(hers), Author::Me, "hi"));

    alice.client.react(got.id, Some("👍")).unwrap();
    bob.told(|event| matches!(event, Event::Reacted { by: Author::Them(_), .. })).await;
    alice.client.edit(hers, "hi there").unwrap();
    let edited = Event::Edited { id: his, chat: alices.clone().into() };
    bob.told(|event| *event == edited).await;
    assert_eq!(message(&bob, his).text, "hi there");
    alice.client.delete(hers).unwrap();
    bob.told(|event| matches!(event, Event::Deleted { .. })).await;
    assert!(message(&bob, his).deleted);

    // What is done while the other one is away is there when they come back.
    let bob_again = town.restarted(bob).await;
    alice.client.react(got.id, Some("🎉")).unwrap();
    let theirs = || {
        let asked = bob_again.client.history(&alices.clone().into(), 1).unwrap().remove(0);
        message(&bob_again, asked.id()).reactions
    };
    until(|| {
        theirs()
            == [ReactionView { author: Author::Them(alices.clone()), emoji: "🎉".to_owned() }]
    })
    .await;
    assert!(bob_again.client.take_unshown(9).unwrap().is_empty(), "nothing of it is a line");
    alice.told(|event| matches!(event, Event::Reacted { by: Author::Me, .. })).await;
}

#[tokio::test(start_paused = true)]
async fn reading_is_told_within_seconds_and_at_most_once_in_each() {
    let mut town = Town::new().await;
    let (alice, bob, hers, _) = acquainted(&mut town).await;
    let bobs = bob.name.clone();
    bob.client.mark_read(&alice.name.clone().into()).unwrap();
    alice.stands(hers, &MessageState::Read).await;
    let began = Instant::now();
    let mut last = hers;
    for n in 0..20 {
        last = alice.writes(&bobs, &format!("number {n}"));
        bob.reads_until(&format!("number {n}")).await;
        bob.client.mark_read(&alice.name.clone().into()).unwrap();
    }
    alice.stands(last, &MessageState::Read).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    bob.client.change_account(AccountChange::Receipts(false)).unwrap();
    let unread = alice.writes(&bobs, "secretly");
    bob.reads_until("secretly").await;
    bob.client.mark_read(&alice.name.clone().into()).unwrap();
    alice.stands(unread, &MessageState::Delivered).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(alice.state(unread), MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_text_with_a_life_is_gone_on_both_sides_by_itself() {
    let mut town = Town::new().await;
    let (mut alice, mut bob, ..) = acquainted(&mut town).await;
    let draft = Draft { expire: Some(Duration::from_secs(60)), ..Draft::text("burn this") };
    let id = alice.client.send(&bob.name.clone().into(), &draft).unwrap();
    bob.reads_until("burn").await;
    bob.told(|event| matches!(event, Event::Expired { .. })).await;
    alice.told(|event| *event == Event::Expired { ids: vec![id] }).await;
    assert!(alice.client.message(id).unwrap().is_none());
    assert!(bob.client.search("burn", None, 9).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn contacts_see_each_other_come_go_and_write_unless_one_is_invisible() {
    let mut town = Town::new().await;
    let (mut alice, bob, ..) = acquainted(&mut town).await;
    let (alices, bobs) = (alice.name.clone(), bob.name.clone());
    let seen = |online| Event::Presence { user: bobs.clone(), online };
    let knows = |alice: &Life| alice.client.contacts().unwrap()[0].online;
    until(|| knows(&alice) == Some(true)).await;
    // A notice may be lost; the next key brings another one.
    let typing = Event::Typing { chat: bobs.clone().into(), user: bobs.clone() };
    let key = async {
        loop {
            bob.client.typing(&alices.clone().into());
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        _ = alice.told(|event| *event == typing) => {}
        () = key => {}
    }
    bob.client.change_account(AccountChange::Invisible(true)).unwrap();
    alice.told(|event| *event == seen(false)).await;
    let bob = town.restarted(bob).await;
    bob.writes(&alices, "only you know");
    alice.reads_until("only").await;
    assert_eq!(knows(&alice), Some(false), "invisible from the first moment on");
    bob.client.change_account(AccountChange::Invisible(false)).unwrap();
    alice.told(|event| *event == seen(true)).await;
    bob.client.stop().await;
    alice.told(|event| *event == seen(false)).await;
}
