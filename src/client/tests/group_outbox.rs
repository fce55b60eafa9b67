//! What goes to a group: under which key, in which order, and what becomes of it when the group
//! changes under way.

use super::group_bed::{Signer, Team};
use super::outgoing::{envelopes, numbers};
use super::*;
use crate::client::api::{Refusal, SendError, Standing};
use crate::client::core::NewBundle;
use crate::crypto::envelope::{Kind, parse_header};
use crate::crypto::operation::Change;
use crate::types::KeyEpoch;
use crate::wire::Code;

/// Alice's client in a group of Bob and Carol.
fn alice_in_a_team() -> (Desk, Signer, Signer, Team) {
    let mut alice = Desk::new("alice", 0);
    let (bob, carol) = (Signer::from(&Peer::new("bob", 1)), Signer::from(&Peer::new("carol", 2)));
    let team = Team::made(&bob, &[&Signer::from(&alice), &carol]);
    team.with(&mut alice, &[&bob, &carol]);
    alice.core.log_opened(&team.chat(), EPOCH, N(0)).unwrap();
    alice.sees();
    (alice, bob, carol, team)
}

fn epochs(sealed: &[Outgoing]) -> Vec<(u64, KeyEpoch)> {
    let header = |outgoing: &Outgoing| parse_header(&outgoing.envelope).unwrap();
    sealed.iter().map(|outgoing| (outgoing.n.0, header(outgoing).key_epoch)).collect()
}

#[test]
fn what_waited_when_the_key_changed_is_sealed_again_under_its_own_numbers() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let ids = ["one", "two"].map(|text| alice.core.queue_text(&team.chat(), text).unwrap());
    let before = alice.sends_to(&team.chat());
    assert_eq!(epochs(&before), [(1, KeyEpoch(1)), (2, KeyEpoch(1))]);
    // The home took the first of them before Carol was put out, and that answer is on its way.
    team.gets([before[0].envelope.clone()]);
    team.removes(&bob, &carol.user, &[&bob, &Signer::from(&alice)]);
    alice.core.queue_text(&team.chat(), "three").unwrap();
    team.shows_chain(&mut alice);
    let mut alice = alice.restarted(|_| ());
    let after = alice.sends_to(&team.chat());
    assert_eq!(epochs(&after), [(1, KeyEpoch(2)), (2, KeyEpoch(2)), (3, KeyEpoch(2))]);
    // Both versions of number 1 are ours.
    alice.core.log_appended(&team.chat(), N(1), &hash(&before[0].envelope)).unwrap();
    assert_eq!(alice.state(ids[0]), MessageState::Sent);
    let rest = alice.sends_to(&team.chat());
    assert_eq!(epochs(&rest), [(2, KeyEpoch(2)), (3, KeyEpoch(2))]);
    team.stores(&mut alice, &rest);
    assert_eq!(alice.state(ids[1]), MessageState::Sent);
    alice.core.log_delivered(&team.chat(), N(2)).unwrap();
    assert_eq!(alice.state(ids[1]), MessageState::Delivered);
    team.pushes(&mut alice);
    assert_eq!(alice.sees().iter().filter(|line| !line.contains('*')).count(), 0, "our own");
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn after_somebody_left_nothing_is_sealed_before_the_key_is_new() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    alice.core.queue_text(&team.chat(), "one").unwrap();
    assert_eq!(alice.sends_to(&team.chat()).len(), 1);
    team.changes(&carol, Change::Leave);
    team.shows_chain(&mut alice);
    assert!(matches!(alice.core.ready(&team.chat(), N(1), 9).unwrap(), Ready::Renew));
    let key = team.new_key(&[&bob, &Signer::from(&alice)]);
    team.changes(&bob, Change::Rekey(key));
    team.shows_chain(&mut alice);
    assert_eq!(epochs(&alice.sends_to(&team.chat())), [(1, KeyEpoch(2))]);
}

#[test]
fn nothing_is_written_where_one_is_not_or_without_the_key() {
    let mut alice = Desk::new("alice", 0);
    let bob = Signer::from(&Peer::new("bob", 1));
    let team = Team::made(&bob, &[&Signer::from(&alice)]);
    let nowhere = alice.core.queue_text(&team.chat(), "x");
    assert_eq!(nowhere, Err(SendError::NoSuchGroup(team.name.clone())));
    team.welcomes(&mut alice, None);
    alice.core.queue_text(&team.chat(), "x").unwrap();
    assert!(matches!(alice.core.ready(&team.chat(), N(1), 9).unwrap(), Ready::NeedsKey));
    assert_eq!(alice.core.seal_waiting(&team.chat(), 9).unwrap(), Sealing::NeedsKey);
    assert_eq!(alice.core.chats_to_open().unwrap(), [team.chat()]);
}

#[test]
fn whoever_is_put_out_hears_that_their_messages_failed_and_goes_on_when_let_in_again() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let sent = alice.core.queue_text(&team.chat(), "sent").unwrap();
    team.takes(&mut alice);
    let sealed = alice.core.queue_text(&team.chat(), "sealed").unwrap();
    assert_eq!(numbers(&alice.sends_to(&team.chat())), [(2, 2)]);
    let waits = alice.core.queue_text(&team.chat(), "waits").unwrap();
    team.removes(&bob, &alice.name, &[&bob, &carol]);
    team.pushes(&mut alice);
    assert_eq!(alice.core.chats_to_open().unwrap(), []);
    assert_eq!(alice.core.chats_lost().unwrap(), [team.chat()]);
    alice.core.refuse_log(&team.chat(), Code::NotAMember).unwrap();
    let refused = MessageState::Refused(Refusal::Server(Code::NotAMember));
    assert_eq!([sealed, waits].map(|id| alice.state(id)), [refused.clone(), refused]);
    assert_eq!(alice.state(sent), MessageState::Sent);
    assert_eq!(alice.core.chats_lost().unwrap(), []);
    let mut alice = alice.restarted(|_| ());
    let out = alice.core.queue_text(&team.chat(), "let me in");
    assert_eq!(out, Err(SendError::NoSuchGroup(team.name.clone())));

    team.adds(&bob, &Signer::from(&alice));
    team.welcomes(&mut alice, team.keys.last());
    assert_eq!(alice.core.group(&team.name).unwrap().unwrap().standing, Standing::Member);
    // The home stands where it stood: the lost number comes first, as nothing.
    alice.core.log_opened(&team.chat(), EPOCH, N(1)).unwrap();
    alice.core.queue_text(&team.chat(), "back").unwrap();
    let void = alice.sends_to(&team.chat());
    assert_eq!(numbers(&void), [(2, 2), (3, 3)]);
    assert_eq!(parse_header(&void[0].envelope).unwrap().kind, Kind::Void);
    team.stores(&mut alice, &void);
    let again = alice.core.queue_text(&team.chat(), "and again").unwrap();
    assert_eq!(epochs(&alice.sends_to(&team.chat())), [(4, KeyEpoch(2))]);
    assert_eq!(alice.state(again), MessageState::Pending);
}

#[test]
fn a_number_in_the_log_that_this_profile_never_gave_means_that_it_is_old() {
    let (mut alice, _, _, mut team) = alice_in_a_team();
    let me = Signer::from(&alice);
    alice.core.queue_text(&team.chat(), "one").unwrap();
    team.takes(&mut alice);
    let one = alice.core.last_own(&team.chat()).unwrap().unwrap();
    team.pushes(&mut alice);
    assert_eq!(alice.core.line_seq(one).unwrap(), Seq(2));
    team.gets([team.text(&me, 2, "from before the copy was put back")]);
    let at = alice.core.group_position(&team.name).unwrap();
    let entry = vec![(Seq(at.cursor.0 + 1), team.log.last().unwrap().clone())];
    alice.core.store_group_entries(&team.name, EPOCH, &entry).unwrap();
    assert!(alice.core.open_entries(64).unwrap().foreign);
    // Under the new device all numbers start again.
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    alice.core.queue_text(&team.chat(), "two").unwrap();
    let sealed = alice.sends_to(&team.chat());
    assert_eq!(numbers(&sealed), [(1, 1)]);
    assert_ne!(parse_header(&envelopes(&sealed)[0]).unwrap().device, me.device);
}
