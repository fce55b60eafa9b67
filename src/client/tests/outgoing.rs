//! The outbox: numbers, keys that ride along, what happens to what is unanswered.

use super::*;
use crate::client::answers::Answered;
use crate::client::api::{Cancelled, Refusal, SendError};
use crate::client::sender::After;
use crate::crypto::envelope::{Kind, parse_header, verify};
use crate::limits::TEXT_BYTES_MAX;
use crate::wire::Code;

/// Alice's client, and Bob as a client that can read hers.
pub(super) fn pair() -> (Desk, Desk) {
    let (mut alice, mut bob) = (Desk::new("alice", 0), Desk::new("bob", 1));
    let (to_alice, to_bob) = (alice.bundle(), bob.bundle());
    alice.knows(&to_bob);
    bob.knows(&to_alice);
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    (alice, bob)
}

pub(super) fn envelopes(sealed: &[Outgoing]) -> Vec<Bytes> {
    sealed.iter().map(|outgoing| outgoing.envelope.clone()).collect()
}

pub(super) fn numbers(sealed: &[Outgoing]) -> Vec<(u64, u64)> {
    sealed.iter().map(|outgoing| (outgoing.n.0, outgoing.upto.0)).collect()
}

/// The home stores these; answered by what it stored.
pub(super) fn stored(alice: &mut Desk, bob: &UserName, sealed: &[Outgoing]) {
    for outgoing in sealed {
        let answered =
            alice.core.log_appended(&bob.clone().into(), outgoing.upto, &hash(&outgoing.envelope));
        assert_eq!(answered.unwrap(), Answered::Stored);
    }
}

#[test]
fn a_key_whose_first_carrier_was_cancelled_still_rides_along() {
    let (mut alice, mut bob) = pair();
    let to = bob.name.clone();
    let first = alice.writes(&to, "never mind");
    assert_eq!(alice.sends(&to).len(), 1);
    assert_eq!(alice.core.cancel(first).unwrap(), Cancelled::Yes);
    let void = alice.sends(&to);
    stored(&mut alice, &to, &void);
    alice.core.log_delivered(&to.clone().into(), N(1)).unwrap();
    bob.gets(&envelopes(&void));

    alice.writes(&to, "hello");
    let text = alice.sends(&to);
    bob.gets(&envelopes(&text));
    assert_eq!(bob.sees(), ["alice: hello"]);
}

#[test]
fn a_key_rides_until_one_that_carried_it_is_delivered_and_no_longer() {
    let (mut alice, mut bob) = pair();
    let to = bob.name.clone();
    let carries = |alice: &Desk, outgoing: &Outgoing| {
        verify(&outgoing.envelope, &CLUSTER, &alice.bundle()).unwrap().wrapped().is_some()
    };
    alice.writes(&to, "one");
    alice.writes(&to, "two");
    let sealed = alice.sends(&to);
    assert!(sealed.iter().all(|outgoing| carries(&alice, outgoing)));
    stored(&mut alice, &to, &sealed);
    alice.writes(&to, "three");
    let third = alice.sends(&to);
    assert!(carries(&alice, &third[0]), "stored is not delivered");
    stored(&mut alice, &to, &third);
    alice.core.log_delivered(&to.clone().into(), N(1)).unwrap();
    alice.writes(&to, "four");
    let fourth = alice.sends(&to);
    assert!(!carries(&alice, &fourth[0]));
    bob.gets(&envelopes(&[sealed, third, fourth].concat()));
    assert_eq!(bob.sees(), ["alice: one", "alice: two", "alice: three", "alice: four"]);
}

#[test]
fn what_is_unanswered_is_sealed_again_when_the_person_has_another_encryption_key() {
    let (mut alice, bob) = pair();
    let to = bob.name.clone();
    let waits = alice.writes(&to, "for you");
    let before = alice.sends(&to);
    // Bob lost his device and is on another one now: same identity, another encryption key.
    let mut other = Peer::new("bob", 1);
    (other.encryption, other.version) = (testkeys::encryption(5), 2);
    alice.knows(&other.bundle());
    let after = alice.sends(&to);
    assert_eq!(numbers(&after), numbers(&before), "no other number");
    let verified = verify(&after[0].envelope, &CLUSTER, &alice.bundle()).unwrap();
    assert_eq!(verified.wrapped().unwrap().to, other.encryption.key_id());

    // The home may still have the first version: that is "sent", not a rolled-back database.
    assert_eq!(
        alice.core.log_appended(&to.clone().into(), N(1), &hash(&before[0].envelope)).unwrap(),
        Answered::Stored
    );
    assert_eq!(alice.state(waits), MessageState::Sent);
    // After a restore the home gets what readers may have seen, and nothing else.
    alice.core.log_opened(&to.clone().into(), LogEpoch(5), N(0)).unwrap();
    assert_eq!(envelopes(&alice.sends(&to)), envelopes(&before));
    // Delivered was what carried the old key: the new one still has to ride.
    stored(&mut alice, &to, &before);
    alice.core.log_delivered(&to.clone().into(), N(1)).unwrap();
    alice.writes(&to, "more");
    let more = alice.sends(&to);
    assert!(verify(&more[0].envelope, &CLUSTER, &alice.bundle()).unwrap().wrapped().is_some());
}

#[test]
fn nothing_goes_to_a_changed_identity_before_it_is_accepted_and_then_everything_does() {
    let (mut alice, bob) = pair();
    let to = bob.name.clone();
    let first = alice.writes(&to, "one");
    let second = alice.writes(&to, "two");
    let third = alice.writes(&to, "three");
    assert_eq!(alice.sends(&to).len(), 3);
    let mut bob2 = Desk::new("bob", 2);
    let known = alice.bundle();
    bob2.knows(&known);
    alice.knows(&bob2.bundle());
    assert!(alice.sends(&to).is_empty(), "sealed before, and still not sent");
    assert_eq!(
        alice.core.queue_text(&to.clone().into(), "x"),
        Err(SendError::KeyChanged(to.clone()))
    );
    // A number in the middle is given up meanwhile.
    assert_eq!(alice.core.cancel(second).unwrap(), Cancelled::Yes);
    assert!(alice.sends(&to).is_empty());

    alice.core.accept_changed_key(&to).unwrap();
    let sealed = alice.sends(&to);
    assert_eq!(numbers(&sealed), [(1, 1), (2, 2), (3, 3)]);
    bob2.gets(&envelopes(&sealed));
    assert_eq!(bob2.sees(), ["alice: one", "alice: three"]);
    stored(&mut alice, &to, &sealed);
    let states = [first, second, third].map(|id| alice.state(id));
    assert_eq!(states, [MessageState::Sent, MessageState::Cancelled, MessageState::Sent]);
}

#[test]
fn a_verified_key_that_did_not_change_leaves_what_is_sealed_as_it_is() {
    let (mut alice, bob) = pair();
    alice.writes(&bob.name, "one");
    let before = envelopes(&alice.sends(&bob.name));
    alice.core.set_verified(&bob.name).unwrap();
    assert_eq!(envelopes(&alice.sends(&bob.name)), before);
}

#[test]
fn a_cancelled_text_that_was_stored_is_known_as_sent() {
    let (mut alice, bob) = pair();
    let to = bob.name;
    let id = alice.writes(&to, "oops");
    let sealed = alice.sends(&to);
    assert_eq!(alice.core.cancel(id).unwrap(), Cancelled::Yes);
    let void = alice.sends(&to);
    assert_eq!(parse_header(&void[0].envelope).unwrap().kind, Kind::Void);
    alice.told();
    stored(&mut alice, &to, &sealed);
    assert_eq!(alice.state(id), MessageState::Sent);
    assert!(alice.told().contains(&Event::WasAlreadySent { id, chat: to.clone().into() }));
    // A restored home gets the text again: readers may have it.
    alice.core.log_opened(&to.clone().into(), LogEpoch(5), N(0)).unwrap();
    assert_eq!(envelopes(&alice.sends(&to)), envelopes(&sealed));
    stored(&mut alice, &to, &sealed);
    alice.core.log_delivered(&to.clone().into(), N(1)).unwrap();
    assert_eq!(alice.state(id), MessageState::Delivered);
    assert_eq!(alice.core.cancel(id).unwrap(), Cancelled::TooLate);
    assert_eq!(alice.core.cancel(LocalId(4_711)).unwrap(), Cancelled::NoSuchMessage);
}

#[test]
fn a_refused_text_that_was_stored_is_known_as_sent() {
    let (mut alice, bob) = pair();
    let id = alice.writes(&bob.name, "hello");
    let sealed = alice.sends(&bob.name);
    alice.core.refuse_log(&bob.chat(), Code::NoSuchUser).unwrap();
    assert_eq!(alice.state(id), MessageState::Refused(Refusal::Server(Code::NoSuchUser)));
    stored(&mut alice, &bob.name, &sealed);
    assert_eq!(alice.state(id), MessageState::Sent);
}

#[test]
fn a_refusal_of_the_log_ends_what_was_before_it_and_not_what_comes_after() {
    let (mut alice, mut bob) = pair();
    let to = bob.name.clone();
    let refused = [alice.writes(&to, "one"), alice.writes(&to, "two")];
    assert_eq!(alice.sends(&to).len(), 2);
    let waiting = alice.writes(&to, "three");
    alice.core.refuse_log(&to.clone().into(), Code::Blocked).unwrap();
    for id in [refused[0], refused[1], waiting] {
        assert_eq!(alice.state(id), MessageState::Refused(Refusal::Server(Code::Blocked)));
    }
    let voids = alice.sends(&to);
    assert_eq!(numbers(&voids), [(1, 1), (2, 2)]);
    stored(&mut alice, &to, &voids);
    alice.core.log_delivered(&to.clone().into(), N(2)).unwrap();
    let later = alice.writes(&to, "unblocked");
    let sealed = alice.sends(&to);
    assert_eq!(numbers(&sealed), [(3, 3)]);
    bob.gets(&envelopes(&[voids, sealed.clone()].concat()));
    assert_eq!(bob.sees(), ["alice: unblocked"], "no hole, and a key to read it with");
    stored(&mut alice, &to, &sealed);
    assert_eq!(alice.state(later), MessageState::Sent);
}

#[test]
fn one_refused_message_does_not_hold_up_the_next() {
    let (mut alice, bob) = pair();
    let ids = [alice.writes(&bob.name, "one"), alice.writes(&bob.name, "two")];
    alice.sends(&bob.name);
    alice.core.refuse_message(&bob.chat(), N(1), Code::Malformed).unwrap();
    assert_eq!(alice.state(ids[0]), MessageState::Refused(Refusal::Server(Code::Malformed)));
    let sealed = alice.sends(&bob.name);
    let kinds: Vec<Kind> = sealed.iter().map(|o| parse_header(&o.envelope).unwrap().kind).collect();
    assert_eq!(kinds, [Kind::Void, Kind::Message]);
}

#[test]
fn a_restored_home_gets_what_is_held_and_one_void_for_what_is_not() {
    let (mut alice, bob) = pair();
    let to = bob.name;
    let ids: Vec<LocalId> = (1..=6).map(|n| alice.writes(&to, &format!("{n}"))).collect();
    let sealed = alice.sends(&to);
    stored(&mut alice, &to, &sealed);
    alice.core.log_delivered(&to.clone().into(), N(4)).unwrap();
    assert!(alice.sends(&to).is_empty());
    // The backup had only the first one.
    assert_eq!(
        alice.core.log_opened(&to.clone().into(), LogEpoch(5), N(1)).unwrap(),
        Answered::Stored
    );
    alice.core.fill_gap(&to.clone().into(), N(2)).unwrap();
    let again = alice.sends(&to);
    assert_eq!(numbers(&again), [(2, 4), (5, 5), (6, 6)]);
    assert_eq!(envelopes(&again[1..]), envelopes(&sealed[4..]), "byte for byte");
    assert_eq!(alice.state(ids[3]), MessageState::Delivered);
    // A second backup has three of the four: the VOID begins where that ends.
    assert_eq!(
        alice.core.log_opened(&to.clone().into(), LogEpoch(6), N(3)).unwrap(),
        Answered::Stored
    );
    alice.core.fill_gap(&to.clone().into(), N(4)).unwrap();
    let third = alice.sends(&to);
    assert_eq!(numbers(&third), [(4, 4), (5, 5), (6, 6)]);
    // And the first VOID counts as ours if a third one holds it.
    stored(&mut alice, &to, &again[..1]);
}

#[test]
fn numbers_that_no_home_can_mean_change_nothing() {
    let (mut alice, bob) = pair();
    let to = bob.name;
    alice.writes(&to, "one");
    let before = numbers(&alice.sends(&to));
    for absurd in [0, 2, 3, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX] {
        alice.core.fill_gap(&to.clone().into(), N(absurd)).unwrap();
        alice
            .core
            .refuse_message(
                &to.clone().into(),
                N(absurd + u64::from(absurd == 0) * 9),
                Code::Malformed,
            )
            .unwrap();
        alice.core.log_appended(&to.clone().into(), N(absurd), &[]).unwrap();
        alice.core.fill_gap(&name("nobody").into(), N(absurd)).unwrap();
        assert_eq!(numbers(&alice.sends(&to)), before, "{absurd}");
    }
    for absurd in [1 << 62, u64::MAX / 2 + 1, u64::MAX] {
        alice.core.log_delivered(&to.clone().into(), N(absurd)).unwrap();
        assert_eq!(
            alice.core.log_opened(&to.clone().into(), EPOCH, N(absurd)).unwrap(),
            Answered::Foreign
        );
    }
    assert_eq!(numbers(&alice.sends(&to)), before);
}

#[test]
fn an_answer_without_a_hash_is_not_taken_for_another_text() {
    let (mut alice, bob) = pair();
    let id = alice.writes(&bob.name, "one");
    alice.sends(&bob.name);
    assert_eq!(alice.core.log_appended(&bob.chat(), N(1), &[]).unwrap(), Answered::Stored);
    assert_eq!(alice.state(id), MessageState::Sent);
    alice.writes(&bob.name, "two");
    alice.sends(&bob.name);
    assert_eq!(alice.core.log_appended(&bob.chat(), N(2), &[7; 8]).unwrap(), Answered::Foreign);
}

#[test]
fn the_longest_text_is_taken_and_arrives_and_a_longer_one_is_not_taken() {
    let (mut alice, mut bob) = pair();
    let longest = "ä".repeat(TEXT_BYTES_MAX / 2);
    alice.writes(&bob.name, &longest);
    let sealed = alice.sends(&bob.name);
    bob.gets(&envelopes(&sealed));
    assert_eq!(bob.sees(), [format!("alice: {longest}")]);
    let longer = "x".repeat(TEXT_BYTES_MAX + 1);
    let refused = alice.core.queue_text(&bob.chat(), &longer);
    assert_eq!(refused, Err(SendError::TooLarge(TEXT_BYTES_MAX + 1)));
    assert_eq!(alice.core.queue_text(&bob.chat(), ""), Err(SendError::Empty));
    let own = alice.name.clone();
    assert_eq!(alice.core.queue_text(&own.clone().into(), "x"), Err(SendError::ToSelf));
    let team = GroupName::parse("team").unwrap();
    let refused = alice.core.queue_text(&team.clone().into(), "x");
    assert_eq!(refused, Err(SendError::NoSuchGroup(team)));
    alice.core.set_contact(&bob.name, Contact::Blocked).unwrap();
    let refused = alice.core.queue_text(&bob.chat(), "x");
    assert_eq!(refused, Err(SendError::Blocked(bob.name.clone())));
}

#[test]
fn every_kind_of_refusal_is_told_from_the_others() {
    assert_eq!(After::of(Code::Gap, N(9), 4, 0), After::Gap(N(4)));
    assert_eq!(After::of(Code::Reopen, N(9), 0, 0), After::Reopen);
    assert_eq!(After::of(Code::Malformed, N(9), 0, 0), After::Void(N(9), Code::Malformed));
    assert_eq!(After::of(Code::Blocked, N(9), 0, 0), After::RefuseAll(Code::Blocked));
    for code in [Code::SlowDown, Code::Busy, Code::HomeDown, Code::StorageFull, Code::MailboxFull] {
        assert!(matches!(After::of(code, N(9), 0, u64::MAX), After::Pause { .. }), "{code}");
    }
}
