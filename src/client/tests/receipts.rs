//! Read receipts: what is told, when, to whom, and what is made of those of others.

use super::conversations::{said, talk, two};
use super::*;
use crate::client::api::{AccountChange, ChatChange};
use crate::limits::READ_INTERVAL;
use tokio::time::{Instant, advance};

#[test]
fn what_was_read_is_told_once_and_moves_the_other_side_to_read() {
    let (mut alice, mut bob) = two();
    let one = alice.writes(&bob.name, "one");
    let two = alice.writes(&bob.name, "two");
    talk(&mut alice, &mut bob);
    assert!(!bob.core.mark_read(&alice.chat()).unwrap(), "delivered is not shown");
    bob.sees();
    assert!(bob.core.mark_read(&alice.chat()).unwrap());
    assert!(!bob.core.mark_read(&alice.chat()).unwrap(), "noted already");
    alice.told();
    assert_eq!(talk(&mut bob, &mut alice), 1, "both in one");
    assert_eq!([one, two].map(|id| alice.state(id)), [MessageState::Read, MessageState::Read]);
    let chat = bob.name.clone();
    let read = |id| Event::State { id, chat: chat.clone().into(), state: MessageState::Read };
    assert_eq!(alice.told(), [read(one), read(two)]);
    assert!(alice.sees().is_empty());
    // It only moves to the right.
    alice.core.log_delivered(&bob.chat(), N(2)).unwrap();
    assert_eq!(alice.state(one), MessageState::Read);
    assert_eq!(alice.core.waiting_count().unwrap(), 0);
    let mut bob = bob.restarted(|_| ());
    assert!(!bob.core.mark_read(&alice.chat()).unwrap());
    assert_eq!(talk(&mut bob, &mut alice), 0, "a restart tells nothing again");
}

#[test]
fn a_receipt_that_overtakes_the_homes_answer_counts() {
    let (mut alice, mut bob) = two();
    let id = alice.writes(&bob.name, "hi");
    let sealed = alice.sends(&bob.name);
    bob.gets(&[sealed[0].envelope.clone()]);
    bob.sees();
    bob.core.mark_read(&alice.chat()).unwrap();
    talk(&mut bob, &mut alice);
    assert_eq!(alice.state(id), MessageState::Read);
    super::outgoing::stored(&mut alice, &bob.name, &sealed);
    alice.core.log_delivered(&bob.chat(), N(1)).unwrap();
    assert_eq!(alice.state(id), MessageState::Read);
}

#[test]
fn receipts_that_are_off_go_neither_way_and_nothing_is_made_up_for() {
    let (mut alice, mut bob) = two();
    let (hers, _) = said(&mut alice, &mut bob, "one");
    bob.core.change_account(AccountChange::Receipts(false)).unwrap();
    assert!(!bob.core.mark_read(&alice.chat()).unwrap());
    bob.core.change_account(AccountChange::Receipts(true)).unwrap();
    assert!(!bob.core.mark_read(&alice.chat()).unwrap());
    assert_eq!(talk(&mut bob, &mut alice), 0);
    assert_eq!(alice.state(hers), MessageState::Delivered);
    // Switched off between reading and telling.
    let (hers, _) = said(&mut alice, &mut bob, "two");
    assert!(bob.core.mark_read(&alice.chat()).unwrap());
    bob.core.change_chat(&alice.chat(), &ChatChange::Receipts(Some(false))).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 0);
    assert!(!bob.core.chats_to_open().unwrap().contains(&alice.chat()));
    // The chat's word is stronger than the account's.
    let (last, _) = said(&mut alice, &mut bob, "three");
    bob.core.change_account(AccountChange::Receipts(false)).unwrap();
    bob.core.change_chat(&alice.chat(), &ChatChange::Receipts(Some(true))).unwrap();
    assert!(bob.core.mark_read(&alice.chat()).unwrap());
    alice.core.change_chat(&bob.chat(), &ChatChange::Receipts(Some(false))).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 1);
    let states = [hers, last].map(|id| alice.state(id));
    assert_eq!(states, [MessageState::Delivered, MessageState::Delivered], "then you see none");
}

#[tokio::test(start_paused = true)]
async fn one_receipt_a_second_goes_to_a_person_and_the_last_is_never_forgotten() {
    let (mut alice, mut bob) = two();
    said(&mut alice, &mut bob, "one");
    bob.core.mark_read(&alice.chat()).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 1);
    let (hers, _) = said(&mut alice, &mut bob, "two");
    assert!(bob.core.mark_read(&alice.chat()).unwrap());
    assert_eq!(talk(&mut bob, &mut alice), 0);
    let due = bob.core.next_read().unwrap().unwrap();
    assert_eq!(due - Instant::now(), READ_INTERVAL);
    assert!(bob.core.chats_to_open().unwrap().contains(&alice.chat()));
    advance(READ_INTERVAL).await;
    assert_eq!(bob.core.next_read().unwrap(), None, "it can go now");
    assert_eq!(talk(&mut bob, &mut alice), 1);
    assert_eq!(alice.state(hers), MessageState::Read);
    // Killed within the second: it goes after the restart.
    let (hers, _) = said(&mut alice, &mut bob, "three");
    bob.core.mark_read(&alice.chat()).unwrap();
    let mut bob = bob.restarted(|_| ());
    assert_eq!(talk(&mut bob, &mut alice), 1);
    assert_eq!(alice.state(hers), MessageState::Read);
}

#[test]
fn a_stranger_learns_of_the_reading_once_accepted() {
    let (mut alice, mut bob) = two();
    bob.core.set_contact(&alice.name, Contact::Request).unwrap();
    let (hers, _) = said(&mut alice, &mut bob, "do you know me?");
    bob.core.mark_read(&alice.chat()).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 0);
    assert!(!bob.core.chats_to_open().unwrap().contains(&alice.chat()));
    assert_eq!(bob.core.next_read().unwrap(), None);
    bob.core.set_contact(&alice.name, Contact::Accepted).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 1);
    assert_eq!(alice.state(hers), MessageState::Read);
}

#[test]
fn a_receipt_moves_nothing_that_was_given_up_or_is_of_another_device() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    let to = alice.bundle();
    let cancelled = alice.writes(&bob.name, "one");
    let sent = alice.writes(&bob.name, "two");
    let sealed = alice.sends(&bob.name);
    alice.core.cancel(cancelled).unwrap();
    super::outgoing::stored(&mut alice, &bob.name, &sealed[1..]);
    let read = |device, n| Body::Read { device, n: N(n) };
    alice.gets(&[bob.seals_with(&to, 1, &read(DeviceId(4), 9), |_| ())]);
    assert_eq!(alice.state(sent), MessageState::Sent);
    let device = alice.core.profile.device;
    alice.gets(&[bob.seals_with(&to, 2, &read(device, u64::MAX), |_| ())]);
    assert_eq!(alice.state(sent), MessageState::Read);
    assert_eq!(alice.state(cancelled), MessageState::Cancelled);
}
