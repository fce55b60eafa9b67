//! Messages in a group over a real server in the simulated network: who gets them, in which order,
//! and what becomes of them when somebody is away, leaves or is put out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::time::Duration;

use fastchat::client::{
    Author, Draft, Event, GroupCommand, Line, LocalId, MessageState, MessageView, SendError,
    Standing,
};
use fastchat::types::{ChatName, GroupName, UserName};
use tokio::time::{sleep, timeout};
use town::{LONG, Life, Town};

fn team() -> GroupName {
    GroupName::parse("team").unwrap()
}

fn chat() -> ChatName {
    team().into()
}

async fn three(town: &mut Town) -> [Life; 3] {
    let mut lives = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let name = town.name(name);
        lives.push(town.sign_up(&name).await);
    }
    let with: Vec<UserName> = lives[1..].iter().map(|life| life.name.clone()).collect();
    lives[0].client.create_group(&team(), &with, "", None).await.unwrap();
    for life in &lives {
        until(|| standing(life) == Some(Standing::Member)).await;
    }
    lives.try_into().ok().unwrap()
}

fn standing(life: &Life) -> Option<Standing> {
    life.client.group(&team()).unwrap().map(|group| group.standing)
}

async fn change(life: &Life, command: GroupCommand) {
    life.client.change_group(&team(), command).await.unwrap();
}

#[track_caller]
fn until(what: impl Fn() -> bool) -> impl Future<Output = ()> {
    let from = std::panic::Location::caller();
    async move {
        let wait = async {
            while !what() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(LONG, wait).await.is_ok(), "{from}: that never happened");
    }
}

fn says(life: &Life, text: &str) -> LocalId {
    life.client.send_text(&chat(), text).unwrap()
}

/// All texts of the group that this person has, in order.
fn texts(life: &Life) -> Vec<String> {
    let lines = life.client.history(&chat(), 1_000).unwrap();
    let texts = lines.into_iter().filter_map(|line| match line {
        Line::Message(message) => Some(message.text),
        Line::Trouble { trouble, .. } => Some(format!("! {trouble:?}")),
        Line::Membership { .. } => None,
    });
    texts.collect()
}

#[track_caller]
fn has(life: &Life, text: &str) -> impl Future<Output = ()> {
    until(move || texts(life).iter().any(|line| line == text))
}

fn newest(life: &Life) -> MessageView {
    let lines = life.client.history(&chat(), 1).unwrap();
    let Line::Message(message) = lines[0].clone() else { panic!("no message: {lines:?}") };
    message
}

fn reads(life: &Life) {
    let lines = life.client.take_unshown(1_000).unwrap();
    let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
    life.client.mark_shown(&ids).unwrap();
    life.client.mark_read(&chat()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_says_all_others_get_and_it_is_read_when_all_have_read_it() {
    let mut town = Town::new().await;
    let [alice, mut bob, carol] = three(&mut town).await;
    let hello = says(&alice, "hello");
    for life in [&bob, &carol] {
        has(life, "hello").await;
        assert_eq!(newest(life).author, Author::Them(alice.name.clone()));
    }
    alice.stands(hello, &MessageState::Delivered).await;
    bob.client
        .send(&chat(), &Draft { reply_to: Some(newest(&bob).id), ..Draft::text("hi") })
        .unwrap();
    has(&alice, "hi").await;
    assert_eq!(newest(&alice).reply_to.unwrap().id, Some(hello));
    reads(&bob);
    until(|| alice.client.read_by(hello).unwrap() == [bob.name.clone()]).await;
    assert_eq!(alice.state(hello), MessageState::Delivered);
    reads(&carol);
    alice.stands(hello, &MessageState::Read).await;
    alice.client.typing(&chat());
    let typing = Event::Typing { chat: chat(), user: alice.name.clone() };
    bob.told(|event| *event == typing).await;
}

#[tokio::test(start_paused = true)]
async fn who_was_away_gets_all_of_it_in_order_and_the_end_of_it_is_told() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = three(&mut town).await;
    says(&alice, "before");
    has(&bob, "before").await;
    bob.client.stop().await;
    // More than a home pushes beyond a cursor.
    for number in 0..400 {
        says(if number % 2 == 0 { &alice } else { &carol }, &format!("{number}"));
    }
    let last = says(&alice, "last");
    alice.stands(last, &MessageState::Sent).await;
    until(|| texts(&alice).len() == 402 && texts(&carol).len() == 402).await;
    let waiting = bob.client.send_text(&chat(), "from the train").unwrap();
    let mut bob = town.restarted(bob).await;
    bob.told(|event| *event == Event::CaughtUp).await;
    has(&bob, "last").await;
    // Carol's and Alice's are each in their order; all have the log's.
    let seen: Vec<String> =
        texts(&bob).into_iter().filter(|text| text != "from the train").collect();
    assert_eq!(seen.len(), 402);
    for parity in [0, 1] {
        let of_one: Vec<u64> =
            seen.iter().filter_map(|text| text.parse().ok()).filter(|n| n % 2 == parity).collect();
        assert_eq!(of_one, (0..400).filter(|n| n % 2 == parity).collect::<Vec<u64>>());
    }
    has(&carol, "from the train").await;
    bob.stands(waiting, &MessageState::Delivered).await;
    assert!(texts(&bob).iter().all(|text| !text.starts_with('!')));
}

#[tokio::test(start_paused = true)]
async fn what_was_written_while_the_key_changed_goes_under_the_new_one() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = three(&mut town).await;
    says(&bob, "one");
    has(&carol, "one").await;
    bob.client.stop().await;
    change(&alice, GroupCommand::Kick(carol.name.clone())).await;
    says(&alice, "carol is out");
    let waits = bob.client.send_text(&chat(), "two").unwrap();
    let bob = town.restarted(bob).await;
    has(&alice, "two").await;
    has(&bob, "carol is out").await;
    bob.stands(waits, &MessageState::Delivered).await;
    until(|| standing(&carol) == Some(Standing::Removed)).await;
    assert_eq!(texts(&carol), ["one"]);
    let refused = carol.client.send_text(&chat(), "hello?");
    assert_eq!(refused, Err(SendError::NoSuchGroup(team())));
    // In again: she sees what comes from then on, and writes.
    change(&alice, GroupCommand::Add(vec![carol.name.clone()])).await;
    until(|| standing(&carol) == Some(Standing::Member)).await;
    says(&bob, "welcome back");
    has(&carol, "welcome back").await;
    says(&carol, "thanks");
    has(&bob, "thanks").await;
    assert_eq!(texts(&carol), ["one", "welcome back", "thanks"]);
}

#[tokio::test(start_paused = true)]
async fn after_somebody_left_the_next_who_writes_renews_the_key() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = three(&mut town).await;
    says(&alice, "one");
    has(&carol, "one").await;
    change(&carol, GroupCommand::Leave { successor: None }).await;
    assert_eq!(standing(&carol), Some(Standing::Left));
    until(|| bob.client.group(&team()).unwrap().unwrap().members.len() == 2).await;
    let epoch = |life: &Life| life.client.group(&team()).unwrap().unwrap().key_epoch;
    assert_eq!(epoch(&bob), 1);
    says(&bob, "two");
    has(&alice, "two").await;
    assert_eq!((epoch(&alice), epoch(&bob)), (2, 2));
    assert_eq!(texts(&carol), ["one"]);
}
