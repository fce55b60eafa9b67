//! The inbox: every way in which an envelope can be wrong, and its place when it has to wait.

use super::*;
use crate::client::core::check_bundle;
use crate::crypto::envelope::verify;
use crate::limits::UNWRAPS_PER_PEER_PER_HOUR_MAX;
use crate::wire::client as wire;
use prost::Message as _;

fn alice_and_bob() -> (Desk, Peer) {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    (alice, bob)
}

/// The envelope with its parts changed, and not signed again.
fn altered(envelope: &[u8], change: impl FnOnce(&mut wire::Envelope)) -> Bytes {
    let mut parts = wire::Envelope::decode(envelope).unwrap();
    change(&mut parts);
    parts.encode_to_vec().into()
}

fn of_suite_two(envelope: &[u8]) -> Bytes {
    altered(envelope, |parts| {
        let mut header = wire::Header::decode(parts.header.clone()).unwrap();
        header.suite = 2;
        parts.header = header.encode_to_vec().into();
    })
}

#[test]
fn good_envelopes_are_shown_in_order() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "one"), bob.writes(&to, 2, "two")]);
    assert_eq!(alice.sees(), ["bob: one", "bob: two"]);
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn whatever_is_altered_or_signed_by_others_is_a_bad_signature() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let (one, two) = (bob.writes(&to, 1, "one"), bob.writes(&to, 2, "two"));
    let second = wire::Envelope::decode(two.clone()).unwrap();
    let spliced = altered(&one, |parts| parts.payload = second.payload.clone());
    let other_header = altered(&one, |parts| parts.header = second.header.clone());
    let stranger = Peer { device_key: DeviceKey::generate(), ..Peer::new("bob", 1) };
    let forged = stranger.writes(&to, 1, "forged");
    let text = Body::Text("elsewhere".to_owned());
    let other_cluster = bob.seals_with(&to, 1, &text, |letter| letter.cluster = ClusterId([8; 32]));
    alice.gets(&[spliced, other_header, forged, other_cluster]);
    assert_eq!(alice.sees(), ["bob! BadSignature"; 4]);
    // None of them took a number.
    alice.gets(&[one, two]);
    assert_eq!(alice.sees(), ["bob: one", "bob: two"]);
}

#[test]
fn what_is_no_envelope_at_all_is_shown_in_ones_own_chat() {
    let (mut alice, _) = alice_and_bob();
    alice.gets(&[Bytes::new(), Bytes::from_static(b"junk"), Bytes::from(vec![0xff; 70_000])]);
    assert_eq!(alice.sees(), ["alice! BadSignature"; 3]);
}

#[test]
fn an_envelope_for_another_log_or_person_is_a_bad_binding() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let carol = Peer::new("carol", 2).bundle();
    let text = Body::Text("x".to_owned());
    // A server turns a message to Carol into one to Alice.
    let to_carol = bob.writes(&carol, 1, "for carol");
    let wrong_log =
        bob.seals_with(&to, 1, &text, |letter| letter.log = LogId::Inbox(name("carol")));
    alice.gets(&[to_carol, wrong_log]);
    assert_eq!(alice.sees(), ["bob! BadBinding"; 2]);
    // Bob's own client names other people inside: he signed it, so the number is his and gone.
    let as_carol =
        bob.seals_with(&to, 1, &text, |letter| letter.author_identity = carol.identity());
    let for_carol =
        bob.seals_with(&to, 2, &text, |letter| letter.recipient_identity = carol.identity());
    let wrapped = bob.wrapped_for(&carol);
    let wrong_label = WrappedKey { to: to.encryption_key_id(), ..wrapped };
    let other = Peer { key: ConversationKey::generate(), ..Peer::new("bob", 1) };
    let other = Peer { device_key: bob.device_key.clone(), ..other };
    let bad_wrap = other.seals_with(&to, 3, &text, |letter| letter.wrapped = Some(wrong_label));
    let not_its_key = bob.wrapped_for(&to);
    let wrong_key = other.seals_with(&to, 4, &text, |letter| letter.wrapped = Some(not_its_key));
    alice.gets(&[as_carol, for_carol, bad_wrap, wrong_key, bob.writes(&to, 5, "good")]);
    assert_eq!(
        alice.sees(),
        ["bob! BadBinding", "bob! BadBinding", "bob! BadBinding", "bob! BadBinding", "bob: good"]
    );
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn the_same_envelope_again_is_dropped_in_silence_and_another_is_an_equivocation() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let (one, two) = (bob.writes(&to, 1, "one"), bob.writes(&to, 2, "two"));
    alice.gets(&[one.clone(), one.clone(), two.clone()]);
    assert_eq!(alice.sees(), ["bob: one", "bob: two"]);
    // A restored home reads everything out again, under another epoch.
    alice.stores(LogEpoch(5), &[one, two, bob.writes(&to, 3, "three")]);
    alice.opens();
    assert_eq!(alice.sees(), ["bob: three"]);
    alice.stores(LogEpoch(5), &[bob.writes(&to, 2, "never two")]);
    alice.opens();
    assert_eq!(alice.sees(), ["bob! Equivocation"]);
    // A void over old numbers says nothing and hides nothing.
    let alices = alice.name.clone();
    alice.stores(LogEpoch(5), &[bob.voids(&alices, 1, 3), bob.writes(&to, 2, "nor this")]);
    alice.opens();
    assert_eq!(alice.sees(), ["bob! Equivocation"]);
}

#[test]
fn a_suite_of_a_later_version_is_told_as_such() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    alice.gets(&[of_suite_two(&bob.writes(&to, 1, "x"))]);
    assert_eq!(alice.sees(), ["alice! UnknownSuite"]);
}

#[test]
fn missing_numbers_are_holes_per_device_and_voids_are_not() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let alices = alice.name.clone();
    alice.gets(&[bob.writes(&to, 3, "three")]);
    assert_eq!(alice.sees(), ["bob! hole 1-2", "bob: three"], "the log was read from its first");
    alice.gets(&[bob.voids(&alices, 4, 6), bob.writes(&to, 7, "seven")]);
    assert_eq!(alice.sees(), ["bob: seven"]);
    alice.gets(&[bob.voids(&alices, 9, 9), bob.voids(&alices, 9, 12), bob.writes(&to, 13, "x")]);
    assert_eq!(alice.sees(), ["bob! hole 8-8", "bob: x"]);
    // Another device of Bob has numbers of its own.
    let mut phone = Peer::new("bob", 1);
    (phone.device, phone.version) = (DeviceId(55), 2);
    let devices = [phone.bundle().devices.clone(), bob.bundle().devices.clone()].concat();
    let devices = devices.into_iter().map(|d| BundleDevice { state: DeviceState::Retired, ..d });
    alice.knows(&phone.bundle_with(devices.collect()));
    alice.gets(&[phone.writes(&to, 2, "phone"), bob.writes(&to, 14, "again here")]);
    assert_eq!(alice.sees(), ["bob! hole 1-1", "bob: phone", "bob: again here"]);
}

#[test]
fn a_device_that_did_not_see_the_beginning_takes_the_first_number_as_it_comes() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    alice.core.inbox_opened(EPOCH, Seq(9)).unwrap();
    alice.gets(&[bob.writes(&to, 5, "five"), bob.writes(&to, 7, "seven")]);
    assert_eq!(alice.sees(), ["bob: five", "bob! hole 6-6", "bob: seven"]);
    // What expired while this device was away is one line.
    alice.core.inbox_opened(EPOCH, Seq(40)).unwrap();
    assert_eq!(alice.sees(), ["alice! Expired"]);
    assert_eq!(alice.core.position().unwrap().cursor, Seq(39));
}

#[test]
fn absurd_positions_and_numbers_are_survived() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let alices = alice.name.clone();
    for (epoch, first) in [(1, 0), (2, u64::MAX), (2, u64::MAX), (3, u64::MAX / 2 + 1), (4, 1)] {
        alice.core.inbox_opened(LogEpoch(epoch), Seq(first)).unwrap();
    }
    alice.core.store_entries(LogEpoch(4), &[(Seq(u64::MAX), bob.writes(&to, 1, "x"))]).unwrap();
    alice.core.inbox_opened(LogEpoch(4), Seq(u64::MAX)).unwrap();
    alice.core.inbox_opened(LogEpoch(0), Seq(0)).unwrap();
    alice.opens();
    alice.sees();
    alice.gets(&[
        bob.voids(&alices, 2, u64::MAX),
        bob.voids(&alices, u64::MAX, u64::MAX),
        bob.writes(&to, u64::MAX, "last"),
        bob.writes(&to, u64::MAX / 2 + 1, "middle"),
        bob.writes(&to, 2, "two"),
    ]);
    let seen = alice.sees();
    assert_eq!(seen.last().map(String::as_str), Some("bob: two"), "{seen:?}");
    assert_eq!(seen.iter().filter(|line| *line == "bob! BadBinding").count(), 4);
}

#[test]
fn an_author_whose_bundle_is_missing_keeps_the_place_and_others_go_on() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let carol = Peer::new("carol", 2);
    alice.stores(EPOCH, &[carol.writes(&to, 1, "one"), bob.writes(&to, 1, "hi")]);
    assert_eq!(alice.opens(), std::slice::from_ref(&carol.name));
    alice.stores(EPOCH, &[carol.writes(&to, 2, "two")]);
    alice.opens();
    assert_eq!(alice.sees(), ["bob: hi"]);
    let devices = [carol.device].into();
    let bundle = carol.bundle();
    alice.core.bundle_arrived(&carol.name, &devices, Some(bundle.encoded())).unwrap();
    alice.told();
    alice.opens();
    assert_eq!(alice.sees(), ["carol: one", "carol: two"]);
    let told = alice.told();
    let request = Event::Request { from: carol.name.clone() };
    assert_eq!(told.iter().filter(|event| **event == request).count(), 1, "{told:?}");
}

#[test]
fn a_device_that_is_not_in_a_fresh_bundle_is_not_the_authors() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let mut other = Peer::new("bob", 1);
    other.device = DeviceId(66);
    alice.stores(EPOCH, &[other.writes(&to, 1, "x")]);
    assert_eq!(alice.opens(), std::slice::from_ref(&bob.name));
    let asked = [other.device].into();
    alice.core.bundle_arrived(&bob.name, &asked, Some(bob.bundle().encoded())).unwrap();
    alice.opens();
    // Nobody of that name, or a bundle that is not one: the same.
    let ghost = Peer::new("ghost", 3);
    alice.stores(EPOCH, &[ghost.writes(&to, 1, "boo")]);
    alice.core.bundle_arrived(&ghost.name, &[ghost.device].into(), None).unwrap();
    alice.opens();
    assert_eq!(alice.sees(), ["bob! BadSignature", "ghost! BadSignature"]);
    let not_his = alice.core.bundle_arrived(&bob.name, &asked, Some(b"junk"));
    assert_eq!(not_his.unwrap(), None);
    let not_his = alice.core.bundle_arrived(&bob.name, &asked, Some(ghost.bundle().encoded()));
    assert_eq!(not_his.unwrap(), None);
}

#[test]
fn what_has_no_key_stays_and_is_read_when_the_key_comes() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let text = |text: &str| Body::Text(text.to_owned());
    let keyless = |n, body: &Body| bob.seals_with(&to, n, body, |letter| letter.wrapped = None);
    let (one, two) = (keyless(1, &text("one")), keyless(2, &text("two")));
    alice.gets(&[one.clone(), two]);
    assert_eq!(alice.sees(), ["bob! NoKey", "bob! NoKey"]);
    // Read out again, it is still the same message.
    alice.stores(LogEpoch(5), &[one]);
    alice.opens();
    assert_eq!(alice.inbox_rows(), 2);
    alice.stores(LogEpoch(5), &[bob.writes(&to, 3, "three")]);
    alice.opens();
    assert_eq!(alice.sees(), ["bob: three", "bob: one", "bob: two"], "no hole, nothing twice");
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn an_author_who_used_up_the_unwraps_waits_in_place_for_the_next_hour() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let max = u64::from(UNWRAPS_PER_PEER_PER_HOUR_MAX);
    let mut texts = Vec::new();
    for n in 1..=max + 2 {
        let fresh = Peer { device_key: bob.device_key.clone(), ..Peer::new("bob", 1) };
        texts.push(fresh.writes(&to, n, &format!("{n}")));
    }
    alice.gets(&texts);
    assert_eq!(alice.sees().len() as u64, max);
    alice.gets(&[bob.voids(&to.user, max + 3, max + 3)]);
    assert!(alice.core.open_entries(64).unwrap().over_budget);
    assert!(alice.sees().is_empty());
    alice.later(3_600_000);
    alice.opens();
    assert_eq!(alice.sees(), [format!("bob: {}", max + 1), format!("bob: {}", max + 2)]);
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn what_arrived_first_is_opened_first_across_the_epochs_of_a_restored_home() {
    for (before, after) in [(1, 2), (2, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let mut alice = Desk::new("alice", 0);
        let (bob, to) = (Peer::new("bob", 1), alice.bundle());
        alice.core.inbox_opened(LogEpoch(before), Seq(1)).unwrap();
        // Arrived and told as delivered, not opened yet: Bob is not known.
        alice.stores(LogEpoch(before), &[bob.writes(&to, 1, "one"), bob.writes(&to, 2, "two")]);
        // The backup ends before the second; Bob no longer holds it.
        let void = bob.voids(&to.user, 2, 2);
        let rest = [bob.writes(&to, 1, "one"), void, bob.writes(&to, 3, "three")];
        alice.stores(LogEpoch(after), &rest[1..]);
        alice.knows(&bob.bundle());
        alice.opens();
        assert_eq!(alice.sees(), ["bob: one", "bob: two", "bob: three"], "{before} {after}");
    }
}

#[test]
fn mail_under_a_changed_key_is_marked_even_if_it_borrows_a_known_device_number() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "one")]);
    // The server makes up a Bob with the same device number and keys of its own.
    let mut fake = Peer::new("bob", 7);
    fake.device = bob.device;
    alice.knows(&fake.bundle());
    assert!(alice.told().contains(&Event::KeyChanged { user: bob.name.clone() }));
    alice.gets(&[fake.writes(&to, 2, "trust me"), bob.writes(&to, 3, "still me")]);
    assert_eq!(
        alice.sees(),
        ["bob: one", "bob! KeyChanged", "bob: trust me (new key)", "bob: still me"]
    );
}

#[test]
fn a_changed_key_is_told_once_and_clears_verified() {
    let (mut alice, bob) = alice_and_bob();
    alice.core.set_verified(&bob.name).unwrap();
    let mut other = Peer::new("bob", 7);
    alice.knows(&other.bundle());
    alice.knows(&other.bundle());
    other.version = 2;
    alice.knows(&other.bundle());
    assert_eq!(alice.sees(), ["bob! KeyChanged"]);
    alice.core.accept_changed_key(&bob.name).unwrap();
    let person = alice.core.person(&bob.name).unwrap().unwrap();
    assert!(!person.verified);
    assert_eq!(person.bundle.as_ref().unwrap().version, 2);
}

#[test]
fn an_older_bundle_of_the_same_identity_changes_nothing() {
    let (mut alice, mut bob) = alice_and_bob();
    let old = bob.bundle();
    (bob.version, bob.encryption) = (4, testkeys::encryption(5));
    alice.knows(&bob.bundle());
    alice.knows(&old);
    let person = alice.core.person(&bob.name).unwrap().unwrap();
    assert_eq!(person.bundle.as_ref().unwrap().version, 4);
}

#[test]
fn nothing_of_a_blocked_person_is_shown_and_their_numbers_count_on() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    alice.core.set_contact(&bob.name, Contact::Blocked).unwrap();
    let one = bob.writes(&to, 1, "one");
    let broken = altered(&one, |parts| parts.payload = Bytes::from_static(b"x"));
    let keyless = Body::Text("two".to_owned());
    let fresh = Peer { device_key: bob.device_key.clone(), ..Peer::new("bob", 1) };
    let keyless = fresh.seals_with(&to, 3, &keyless, |letter| letter.wrapped = None);
    alice.gets(&[broken, one.clone(), keyless, bob.writes(&to, 1, "twice")]);
    assert!(alice.sees().is_empty());
    alice.core.set_contact(&bob.name, Contact::Accepted).unwrap();
    alice.gets(&[bob.writes(&to, 4, "four")]);
    assert_eq!(alice.sees(), ["bob: four"]);
}

#[test]
fn whoever_knows_an_old_bundle_is_sent_the_new_one_sealed() {
    let mut alice = Desk::new("alice", 0);
    let mut bob = Desk::new("bob", 1);
    let (old, bobs) = (alice.bundle(), bob.bundle());
    bob.knows(&old);
    alice.knows(&bobs);
    alice.core.plan_bundle(super::super::core::NewBundle::NewEncryptionKey).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    let (alices, bobs) = (alice.name.clone(), bob.name.clone());
    bob.writes(&alices, "hi");
    let sealed: Vec<Bytes> = bob.sends(&alices).into_iter().map(|o| o.envelope).collect();
    alice.gets(&sealed);
    assert_eq!(alice.sees(), ["bob: hi"], "the key before is still held");
    let sealed: Vec<Bytes> = alice.sends(&bobs).into_iter().map(|o| o.envelope).collect();
    assert_eq!(sealed.len(), 1);
    bob.gets(&sealed);
    assert!(bob.sees().is_empty());
    let known = bob.core.person(&alices).unwrap().unwrap().bundle.clone().unwrap();
    assert_eq!(known, alice.bundle());
    assert!(alice.sends(&bobs).len() <= 1, "told once");
    bob.writes(&alices, "with the new key");
    let sealed = bob.sends(&alices);
    let verified = verify(&sealed[1].envelope, &CLUSTER, &bob.bundle()).unwrap();
    assert_eq!(verified.wrapped().unwrap().to, alice.bundle().encryption_key_id());
}

#[test]
fn a_bundle_of_another_identity_inside_a_message_is_not_taken() {
    let (mut alice, bob) = alice_and_bob();
    let to = alice.bundle();
    let other = Peer::new("bob", 7);
    let body = Body::Bundle(other.bundle().encoded().clone());
    alice.gets(&[bob.seals_with(&to, 1, &body, |_| ())]);
    assert!(alice.sees().is_empty());
    let person = alice.core.person(&bob.name).unwrap().unwrap();
    assert!(person.changed.is_none());
    let not_even_one = Body::Bundle(Bytes::from_static(b"junk"));
    alice.gets(&[bob.seals_with(&to, 2, &not_even_one, |_| ())]);
    assert!(alice.sees().is_empty());
    assert!(check_bundle(b"junk", &CLUSTER, &bob.name).is_none());
}
