//! A group's log as a hostile home may show it: every check of a message, in its order, and the
//! place of what has to wait.

use super::group_bed::{Signer, Team};
use super::*;
use crate::client::api::{ChatChange, Standing};
use crate::client::group_log::Arrived;
use crate::crypto::operation::Change;
use crate::types::KeyEpoch;

/// Alice's client in a group of Bob, whom she knows, and of Carol.
fn alice_in_a_team() -> (Desk, Signer, Signer, Team) {
    let mut alice = Desk::new("alice", 0);
    let (bob, carol) = (Signer::from(&Peer::new("bob", 1)), Signer::from(&Peer::new("carol", 2)));
    let team = Team::made(&bob, &[&Signer::from(&alice), &carol]);
    team.with(&mut alice, &[&bob, &carol]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees().len(), 1);
    (alice, bob, carol, team)
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

/// What Alice sees, but for the lines that tell of changes.
fn texts(alice: &mut Desk) -> Vec<String> {
    alice.sees().into_iter().filter(|line| !line.contains('*')).collect()
}

#[test]
fn messages_of_all_members_are_shown_in_the_order_of_the_log() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    team.gets([
        team.text(&bob, 1, "one"),
        team.text(&carol, 1, "two"),
        team.text(&bob, 2, "three"),
    ]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team: one", "#team: two", "#team: three"]);
    assert_eq!(alice.inbox_rows(), 0);
    let newest = alice.core.history(&team.chat(), 1).unwrap()[0].id();
    assert_eq!(alice.message(newest).author, Author::Them(bob.user.clone()));
    assert_eq!(alice.core.line_seq(newest).unwrap(), Seq(4));
    let chat = &alice.core.chats().unwrap()[0];
    assert_eq!((chat.chat.clone(), chat.unread, chat.contact), (team.chat(), 0, Contact::Accepted));
}

#[test]
fn a_line_about_a_change_stands_at_its_place_although_the_roster_is_here_first() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    team.gets([team.text(&carol, 1, "before")]);
    team.changes(&bob, Change::Title("New".into()));
    team.gets([team.text(&carol, 2, "between")]);
    team.removes(&bob, &name("alice"), &[&bob, &carol]);
    team.shows_chain(&mut alice);
    assert!(alice.sees().is_empty(), "the log is not there yet");
    // Also with a start in between.
    let mut alice = alice.restarted(|_| ());
    team.pushes(&mut alice);
    let seen = alice.sees();
    assert_eq!(
        (seen.len(), seen[0].as_str(), seen[2].as_str()),
        (4, "#team: before", "#team: between")
    );
    assert!(seen[1].starts_with("#team* bob Title"), "{seen:?}");
    assert!(seen[3].starts_with("#team* bob Removed"), "{seen:?}");
    team.shows_chain(&mut alice);
    team.pushes(&mut alice);
    assert!(alice.sees().is_empty(), "nothing is told twice");
}

#[test]
fn a_line_about_a_change_is_shown_at_once_when_its_place_in_the_log_was_passed() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    team.changes(&bob, Change::Title("New".into()));
    team.changes(&bob, Change::Topic("Old".into()));
    team.gets([team.text(&carol, 1, "after")]);
    // What was kept of the log begins after the first change; the second has come, and waits.
    alice.core.group_opened(&team.name, EPOCH, Seq(3)).unwrap();
    let entries = [(Seq(3), team.log[2].clone()), (Seq(4), team.log[3].clone())];
    alice.core.store_group_entries(&team.name, EPOCH, &entries).unwrap();
    team.shows_chain(&mut alice);
    let seen = alice.sees();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("Expired") && seen[1].starts_with("#team* bob Title"), "{seen:?}");
    alice.opens();
    let seen = alice.sees();
    assert!(seen[0].starts_with("#team* bob Topic") && seen[1] == "#team: after", "{seen:?}");
    // And one that was kept for its place is shown when the log is found to begin behind it.
    team.changes(&bob, Change::Title("Newer".into()));
    team.shows_chain(&mut alice);
    assert!(alice.sees().is_empty());
    alice.core.group_opened(&team.name, EPOCH, Seq(6)).unwrap();
    let seen = alice.sees();
    assert!(seen.iter().any(|line| line.starts_with("#team* bob Title")), "{seen:?}");
}

#[test]
fn what_is_for_another_log_or_by_nobody_of_the_group_is_not_shown_and_takes_no_number() {
    let (mut alice, bob, _, mut team) = alice_in_a_team();
    let dave = Signer::from(&Peer::new("dave", 3));
    alice.knows(&dave.bundle);
    let other = Team::named("other", &bob, &[&Signer::from(&alice)]);
    // Genuine, but said in another group; or to Alice alone.
    let replayed = other.text(&bob, 1, "from there");
    let direct = Peer::new("bob", 1).writes(&alice.bundle(), 1, "direct");
    let stranger = team.text(&dave, 1, "let me in");
    let mut forged = Signer::from(&Peer::new("bob", 1));
    forged.device_key = DeviceKey::generate();
    let forged = team.text(&forged, 1, "forged");
    team.gets([replayed, direct, stranger, forged, team.text(&bob, 1, "good")]);
    team.pushes(&mut alice);
    assert_eq!(
        alice.sees(),
        [
            "#team! BadBinding",
            "#team! BadBinding",
            "#team! NotAMember",
            "#team! BadSignature",
            "#team: good"
        ]
    );
}

#[test]
fn another_identity_under_a_members_name_is_nobody() {
    let (mut alice, bob, _, mut team) = alice_in_a_team();
    let new = Signer::from(&Peer::new("bob", 4));
    alice.core.learn(&bob.user, &new.bundle, Contact::Accepted).unwrap();
    alice.sees();
    team.gets([team.text(&new, 1, "it is me")]);
    team.pushes(&mut alice);
    assert_eq!(
        alice.opens(),
        std::slice::from_ref(&bob.user),
        "perhaps a newer bundle has this device"
    );
    let devices = [new.device].into();
    alice.core.bundle_arrived(&bob.user, &devices, Some(new.bundle.encoded())).unwrap();
    alice.opens();
    assert_eq!(alice.sees(), ["#team! BadSignature"]);
    // Even after Alice took Bob's new key: in this group Bob is another one.
    alice.core.accept_changed_key(&bob.user).unwrap();
    team.gets([team.text(&new, 2, "really")]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team! BadSignature"]);
}

#[test]
fn the_same_again_is_silent_another_under_its_number_is_an_equivocation_and_gaps_are_holes() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let one = team.text(&bob, 1, "one");
    team.gets([one.clone(), one, team.text(&bob, 1, "other"), team.text(&bob, 3, "three")]);
    team.gets([team.text(&carol, 2, "two")]);
    team.pushes(&mut alice);
    let seen = alice.sees();
    assert_eq!(
        seen,
        [
            "#team: one",
            "#team! Equivocation",
            "#team! hole 2-2",
            "#team: three",
            "#team! hole 1-1",
            "#team: two"
        ]
    );
}

#[test]
fn who_was_put_out_says_nothing_more_and_the_key_before_counts_no_more() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let early = team.text(&carol, 1, "bye");
    let late = team.text(&carol, 2, "still here");
    let old = team.text(&bob, 1, "under the old key");
    team.gets([early]);
    team.removes(&bob, &carol.user, &[&bob, &Signer::from(&alice)]);
    let new = team.text(&bob, 1, "under the new key");
    team.gets([late, old, new]);
    // However far the chain here has gone: each message is judged at its place.
    team.shows_chain(&mut alice);
    team.pushes(&mut alice);
    assert_eq!(
        texts(&mut alice),
        ["#team: bye", "#team! NotAMember", "#team! NotAMember", "#team: under the new key"]
    );
    // A home that shows the new key before the operation that made it.
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let mut later = team.log.clone();
    team.removes(&bob, &carol.user, &[&bob, &Signer::from(&alice)]);
    let early = team.text(&bob, 1, "too early");
    later.push(Arrived::Envelope(early));
    std::mem::swap(&mut team.log, &mut later);
    team.pushes(&mut alice);
    assert_eq!(texts(&mut alice), ["#team! NotAMember"]);
}

#[test]
fn the_inside_has_to_fit_and_its_author_cannot_know_more_than_stood_there_or_forget() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    let create = team.roster.head();
    let dave = Signer::from(&Peer::new("dave", 3));
    let before_add = team.log.clone();
    team.adds(&bob, &dave);
    let newer = team.seals_with(&bob, 1, &text("newer"), |_| ());
    let add = team.log.split_off(before_add.len());
    // Before its place, the operation it names was not there.
    team.gets([newer]);
    team.log.extend(add);
    team.chain[1].0 = Seq(3);
    let as_carol = team.seals_with(&bob, 2, &text("x"), |l| l.identity = carol.bundle.identity());
    let wrong_key = crate::crypto::group::GroupKey::generate();
    let wrong_key = team.seals_with(&bob, 3, &text("x"), |letter| letter.key = wrong_key);
    let nowhere = team.seals_with(&bob, 4, &text("x"), |l| l.head = crate::types::OpHash([5; 32]));
    let good = team.text(&bob, 5, "good");
    let forgetful = team.seals_with(&bob, 6, &text("x"), |letter| letter.head = create);
    let others = team.seals_with(&carol, 1, &text("slow"), |letter| letter.head = create);
    team.gets([as_carol, wrong_key, nowhere, good, forgetful, others]);
    team.shows_chain(&mut alice);
    team.pushes(&mut alice);
    assert_eq!(
        texts(&mut alice),
        [
            "#team! BadBinding",
            "#team! BadBinding",
            "#team! BadBinding",
            "#team! BadBinding",
            "#team: good",
            "#team! BadBinding",
            "#team: slow"
        ]
    );
}

#[test]
fn a_message_whose_key_is_not_here_keeps_its_place_and_is_opened_once_it_is() {
    let mut alice = Desk::new("alice", 0);
    let bob = Signer::from(&Peer::new("bob", 1));
    alice.knows(&bob.bundle);
    let mut team = Team::made(&bob, &[&Signer::from(&alice)]);
    team.welcomes(&mut alice, None);
    alice.sees();
    team.gets([team.text(&bob, 1, "one"), team.text(&bob, 2, "two")]);
    team.pushes(&mut alice);
    assert_eq!(texts(&mut alice), ["#team! NoKey", "#team! NoKey"]);
    assert_eq!(alice.inbox_rows(), 2);
    let mut alice = alice.restarted(|_| ());
    alice.core.retry_all_groups().unwrap();
    alice.opens();
    assert!(alice.sees().is_empty(), "nobody is told twice");
    let welcome = crate::crypto::envelope::Welcome {
        group: team.name.clone(),
        id: team.id,
        epoch: KeyEpoch(1),
        key: team.keys[0].clone(),
    };
    let to = alice.bundle();
    let letter = Peer { device_key: bob.device_key.clone(), ..Peer::new("bob", 1) };
    alice.gets(&[letter.seals_with(&to, 1, &Body::Welcome(welcome), |_| ())]);
    assert_eq!(alice.sees(), ["#team: one", "#team: two"]);
    assert_eq!(alice.inbox_rows(), 0);
}

#[test]
fn an_unknown_author_holds_the_log_up_until_the_look_up_is_answered() {
    let mut alice = Desk::new("alice", 0);
    let (bob, carol) = (Signer::from(&Peer::new("bob", 1)), Signer::from(&Peer::new("carol", 2)));
    let mut team = Team::made(&bob, &[&Signer::from(&alice), &carol]);
    team.with(&mut alice, &[&bob]);
    alice.sees();
    team.gets([team.text(&carol, 1, "one"), team.text(&bob, 1, "two")]);
    team.pushes(&mut alice);
    assert_eq!(alice.opens(), std::slice::from_ref(&carol.user));
    assert!(texts(&mut alice).is_empty(), "the order is the log's");
    let mut alice = alice.restarted(|_| ());
    let devices = [carol.device].into();
    alice.core.bundle_arrived(&carol.user, &devices, Some(carol.bundle.encoded())).unwrap();
    alice.opens();
    assert_eq!(alice.sees(), ["#team: one", "#team: two"]);
    assert!(alice.core.contacts().unwrap().iter().all(|c| c.user != carol.user));
}

#[test]
fn a_newcomer_is_shown_nothing_of_before_and_begins_at_any_number() {
    let mut alice = Desk::new("alice", 0);
    let (bob, carol) = (Signer::from(&Peer::new("bob", 1)), Signer::from(&Peer::new("carol", 2)));
    let mut team = Team::made(&bob, &[&carol]);
    team.gets([team.text(&carol, 1, "secret")]);
    team.adds(&bob, &Signer::from(&alice));
    team.gets([team.text(&carol, 2, "welcome")]);
    team.with(&mut alice, &[&bob, &carol]);
    alice.sees();
    // Even from a home that shows it all.
    team.pushes(&mut alice);
    assert_eq!(texts(&mut alice), ["#team! hole 1-1", "#team: welcome"]);
    let mut honest = Desk::new("alice", 0);
    let mut team = Team::made(&bob, &[&carol]);
    team.gets([team.text(&carol, 1, "secret")]);
    team.adds(&bob, &Signer::from(&honest));
    team.gets([team.text(&carol, 2, "welcome")]);
    team.with(&mut honest, &[&bob, &carol]);
    honest.sees();
    team.pushes_from(&mut honest, Seq(3));
    assert_eq!(texts(&mut honest), ["#team: welcome"]);
}

#[test]
fn whoever_comes_in_again_sees_no_holes_of_the_time_between_and_no_line_of_loss() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    team.gets([team.text(&bob, 1, "one")]);
    team.removes(&bob, &alice.name, &[&bob, &carol]);
    team.pushes(&mut alice);
    assert_eq!(texts(&mut alice), ["#team: one"]);
    assert_eq!(alice.core.group(&team.name).unwrap().unwrap().standing, Standing::Removed);
    team.gets([team.text(&bob, 2, "not for alice"), team.text(&carol, 1, "nor this")]);
    team.adds(&bob, &Signer::from(&alice));
    let first = team.head();
    team.gets([team.text(&bob, 3, "hello again"), team.text(&carol, 2, "hi")]);
    team.welcomes(&mut alice, team.keys.last());
    team.pushes_from(&mut alice, first);
    assert_eq!(texts(&mut alice), ["#team: hello again", "#team: hi"]);
    // A home that is restored reads everything out again.
    let at = alice.core.group_opened(&team.name, LogEpoch(8), first).unwrap();
    let again: Vec<_> = (first.0..).map(Seq).zip(team.log[2..].iter().cloned()).collect();
    let again = again[usize::try_from(first.0).unwrap() - 3..].to_vec();
    assert_eq!(at.cursor.0 + 1, first.0);
    alice.core.store_group_entries(&team.name, LogEpoch(8), &again).unwrap();
    alice.opens();
    assert!(texts(&mut alice).is_empty());
}

#[test]
fn entries_that_went_after_their_time_are_one_line() {
    let (mut alice, bob, _, mut team) = alice_in_a_team();
    team.gets([team.text(&bob, 1, "one"), team.text(&bob, 2, "gone"), team.text(&bob, 3, "three")]);
    let rest = team.log.split_off(2);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team: one"]);
    team.log.extend(rest);
    team.pushes_from(&mut alice, Seq(4));
    assert_eq!(alice.sees(), ["#team! Expired", "#team! hole 2-2", "#team: three"]);
}

#[test]
fn what_a_blocked_member_says_takes_its_place_and_is_not_shown() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    alice.core.set_contact(&carol.user, Contact::Blocked).unwrap();
    team.gets([team.text(&carol, 1, "hear me"), team.text(&bob, 1, "hello")]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team: hello"]);
    alice.core.set_contact(&carol.user, Contact::Accepted).unwrap();
    team.gets([team.text(&carol, 2, "now")]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team: now"]);
}

#[test]
fn a_chain_that_does_not_follow_ends_the_group_here() {
    let (mut alice, bob, _, mut team) = alice_in_a_team();
    let fork = Team::made(&bob, &[&Signer::from(&alice)]);
    let Arrived::Operation { encoded, .. } = fork.log[0].clone() else { panic!("no operation") };
    team.log.push(Arrived::Operation { number: 1, encoded });
    team.gets([team.text(&bob, 1, "believe me")]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team! Forked"]);
    assert!(alice.core.queue_text(&team.chat(), "hello?").is_err());
}

#[test]
fn an_operation_that_is_missing_here_holds_the_log_up_until_the_roster_is_fetched() {
    let (mut alice, bob, carol, mut team) = alice_in_a_team();
    team.changes(&bob, Change::Title("Us".to_owned()));
    team.changes(&bob, Change::Topic("all of it".to_owned()));
    team.log.remove(1);
    team.gets([team.text(&carol, 1, "hi")]);
    team.pushes(&mut alice);
    let report = alice.core.open_entries(64).unwrap();
    assert_eq!((report.need_roster, report.progress), (vec![team.name.clone()], false));
    assert!(alice.sees().is_empty());
    team.shows_chain(&mut alice);
    alice.opens();
    assert_eq!(texts(&mut alice), ["#team: hi"]);
    alice.core.change_chat(&team.chat(), &ChatChange::Closed(true)).unwrap();
    assert!(alice.core.chats().unwrap().is_empty());
}
