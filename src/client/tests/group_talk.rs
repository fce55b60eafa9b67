//! A conversation of three: answers, reactions, changes and deletions by name, who has read what,
//! and who is writing.

use super::group_bed::{Signer, Team};
use super::*;
use crate::client::api::{AccountChange, ActionError, ChatChange, Draft, ReactionView};
use crate::limits::{READ_INTERVAL, READ_INTERVAL_PER_MEMBER};
use tokio::time::advance;

/// Alice, Bob and Carol, who are in a group that Alice made.
fn three() -> (Desk, Desk, Desk, Team) {
    let mut desks = [Desk::new("alice", 0), Desk::new("bob", 1), Desk::new("carol", 2)];
    let signers: Vec<Signer> = desks.iter().map(Signer::from).collect();
    let team = Team::made(&signers[0], &[&signers[1], &signers[2]]);
    for desk in &mut desks {
        let others: Vec<&Signer> = signers.iter().filter(|s| s.user != desk.name).collect();
        team.with(desk, &others);
        desk.core.log_opened(&team.chat(), EPOCH, N(0)).unwrap();
        desk.sees();
    }
    let [alice, bob, carol] = desks;
    (alice, bob, carol, team)
}

/// All that waits of one goes to all. Returns how many envelopes that were.
fn talk(team: &mut Team, from: &mut Desk, others: [&mut Desk; 2]) -> usize {
    let sent = team.takes(from);
    team.pushes(from);
    others.into_iter().for_each(|other| team.pushes(other));
    sent
}

fn newest(desk: &Desk, team: &Team) -> MessageView {
    let id = desk.core.history(&team.chat(), 1).unwrap()[0].id();
    desk.message(id)
}

#[test]
fn answers_reactions_changes_and_deletions_go_by_name_and_only_the_author_may() {
    let (mut alice, mut bob, mut carol, mut team) = three();
    let chat = team.chat();
    let hers = alice.core.queue_text(&chat, "lunch?").unwrap();
    talk(&mut team, &mut alice, [&mut bob, &mut carol]);
    let his = newest(&bob, &team).id;
    let reply = Draft { reply_to: Some(his), ..Draft::text("yes") };
    let answer = bob.core.queue_draft(&chat, &reply).unwrap();
    talk(&mut team, &mut bob, [&mut alice, &mut carol]);
    let got = newest(&carol, &team);
    assert_eq!(got.author, bob.them());
    let reply = got.reply_to.unwrap();
    assert_eq!((reply.author, reply.excerpt.as_str()), (alice.them(), "lunch?"));
    let reply = newest(&alice, &team).reply_to.unwrap();
    assert_eq!((reply.author, reply.id), (Author::Me, Some(hers)));
    // Carol answers Bob, and Alice is told whom.
    let bobs = newest(&carol, &team).id;
    let draft = Draft { reply_to: Some(bobs), ..Draft::text("me too") };
    carol.core.queue_draft(&chat, &draft).unwrap();
    carol.core.react(bobs, Some("x")).unwrap();
    talk(&mut team, &mut carol, [&mut alice, &mut bob]);
    assert_eq!(newest(&alice, &team).reply_to.unwrap().author, bob.them());
    alice.core.react(newest(&alice, &team).id, Some("y")).unwrap();
    talk(&mut team, &mut alice, [&mut bob, &mut carol]);
    let by = |desk: &Desk, id| -> Vec<(Author, String)> {
        let reactions = desk.message(id).reactions.into_iter();
        reactions.map(|ReactionView { author, emoji }| (author, emoji)).collect()
    };
    assert_eq!(by(&bob, answer), [(carol.them(), "x".to_owned())]);
    assert_eq!(bob.core.edit(his, "no"), Err(ActionError::NotYours));

    bob.core.edit(answer, "no").unwrap();
    alice.core.delete(hers).unwrap();
    talk(&mut team, &mut bob, [&mut alice, &mut carol]);
    talk(&mut team, &mut alice, [&mut bob, &mut carol]);
    let lines: Vec<MessageView> = carol
        .core
        .history(&chat, 9)
        .unwrap()
        .iter()
        .filter_map(|line| match line {
            Line::Message(message) => Some(message.clone()),
            Line::Trouble { .. } | Line::Membership { .. } => None,
        })
        .collect();
    assert!(lines[0].deleted);
    assert_eq!((lines[1].text.as_str(), lines[1].edited), ("no", true));
    assert_eq!(alice.core.chats().unwrap()[0].unread, 2);
    assert_eq!(alice.core.status().unwrap().unread, 2, "changes of the group do not count");
}

#[test]
fn nobody_changes_or_deletes_the_message_of_another_even_under_the_same_device_number() {
    let mut alice = Desk::new("alice", 0);
    let (bob, mut mallory) = (Signer::from(&Peer::new("bob", 1)), Peer::new("mallory", 2));
    // Mallory's bundle names the device that Bob has.
    mallory.device = bob.device;
    let mallory = Signer::from(&mallory);
    let mut team = Team::made(&bob, &[&Signer::from(&alice), &mallory]);
    team.with(&mut alice, &[&bob, &mallory]);
    team.pushes(&mut alice);
    alice.sees();
    let to = |author: &Signer| crate::crypto::envelope::MessageRef {
        author: author.user.clone(),
        device: author.device,
        n: N(1),
    };
    let edit = |to| Body::Edit { to, text: "bob is a fool".to_owned() };
    team.gets([team.text(&bob, 1, "hello")]);
    team.gets([team.seals_with(&mallory, 1, &edit(to(&bob)), |_| ())]);
    team.gets([team.seals_with(&mallory, 2, &edit(to(&mallory)), |_| ())]);
    team.gets([team.seals_with(&mallory, 3, &Body::Delete { to: to(&bob) }, |_| ())]);
    team.pushes(&mut alice);
    assert_eq!(alice.sees(), ["#team: hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_once_every_other_present_member_has_read_it() {
    let (mut alice, mut bob, mut carol, mut team) = three();
    let chat = team.chat();
    let hers = alice.core.queue_text(&chat, "hello").unwrap();
    talk(&mut team, &mut alice, [&mut bob, &mut carol]);
    assert!(!bob.core.mark_read(&chat).unwrap(), "delivered is not shown");
    bob.sees();
    assert!(bob.core.mark_read(&chat).unwrap());
    assert!(!bob.core.mark_read(&chat).unwrap());
    assert_eq!(talk(&mut team, &mut bob, [&mut alice, &mut carol]), 1);
    assert_eq!(alice.core.read_by(hers).unwrap(), [bob.name.clone()]);
    assert_eq!(alice.state(hers), MessageState::Sent, "carol has not");
    carol.sees();
    carol.core.mark_read(&chat).unwrap();
    alice.told();
    talk(&mut team, &mut carol, [&mut alice, &mut bob]);
    assert_eq!(alice.state(hers), MessageState::Read);
    let state = MessageState::Read;
    assert!(alice.told().contains(&Event::State { id: hers, chat: chat.clone(), state }));
    assert_eq!(alice.core.read_by(hers).unwrap(), [bob.name.clone(), carol.name.clone()]);
    // Whoever goes is not waited for; whoever came later never was.
    let second = alice.core.queue_text(&chat, "again").unwrap();
    talk(&mut team, &mut alice, [&mut bob, &mut carol]);
    let dave = Signer::from(&Peer::new("dave", 3));
    team.adds(&Signer::from(&alice), &dave);
    advance(Duration::from_secs(60)).await;
    bob.sees();
    bob.core.mark_read(&chat).unwrap();
    talk(&mut team, &mut bob, [&mut alice, &mut carol]);
    assert_eq!(alice.state(second), MessageState::Sent);
    let rest = [Signer::from(&alice), Signer::from(&bob), dave];
    team.removes(&rest[0], &carol.name, &[&rest[0], &rest[1], &rest[2]]);
    team.pushes(&mut alice);
    assert_eq!(alice.state(second), MessageState::Read);
}

#[tokio::test(start_paused = true)]
async fn receipts_of_a_group_are_the_rarer_the_larger_it_is_and_none_when_off() {
    let (mut alice, mut bob, mut carol, mut team) = three();
    let chat = team.chat();
    let mut says = |team: &mut Team, bob: &mut Desk, carol: &mut Desk| {
        alice.core.queue_text(&team.chat(), "x").unwrap();
        talk(team, &mut alice, [bob, carol]);
        bob.sees();
        bob.core.mark_read(&team.chat()).unwrap()
    };
    assert!(says(&mut team, &mut bob, &mut carol));
    assert_eq!(team.takes(&mut bob), 1);
    let interval = READ_INTERVAL_PER_MEMBER * 3;
    assert!(interval > READ_INTERVAL);
    assert!(says(&mut team, &mut bob, &mut carol));
    advance(interval - Duration::from_millis(1)).await;
    assert_eq!(team.takes(&mut bob), 0);
    assert!(bob.core.next_read().unwrap().is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(team.takes(&mut bob), 1);
    bob.core.change_account(AccountChange::Receipts(false)).unwrap();
    assert!(!says(&mut team, &mut bob, &mut carol));
    bob.core.change_chat(&chat, &ChatChange::Receipts(Some(true))).unwrap();
    assert!(says(&mut team, &mut bob, &mut carol));
}

#[test]
fn a_receipt_says_nothing_of_what_was_written_after_it() {
    let mut alice = Desk::new("alice", 0);
    let bob = Signer::from(&Peer::new("bob", 1));
    let mut team = Team::made(&bob, &[&Signer::from(&alice)]);
    team.with(&mut alice, &[&bob]);
    alice.core.log_opened(&team.chat(), EPOCH, N(0)).unwrap();
    team.gets([team.seals_with(&bob, 1, &Body::ReadGroup { seq: Seq(u64::MAX / 4) }, |_| ())]);
    team.pushes(&mut alice);
    let id = alice.core.queue_text(&team.chat(), "hi").unwrap();
    team.takes(&mut alice);
    team.pushes(&mut alice);
    team.gets([team.seals_with(&bob, 2, &Body::ReadGroup { seq: Seq(1) }, |_| ())]);
    team.pushes(&mut alice);
    assert_eq!(alice.state(id), MessageState::Sent);
    assert!(alice.core.read_by(id).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn typing_is_heard_of_members_and_told_where_one_is() {
    let (mut alice, bob, _, team) = three();
    alice.told();
    let typing = Event::Typing { chat: team.chat(), user: bob.name.clone() };
    alice.core.typing_heard_in(&team.name, &bob.name).unwrap();
    alice.core.typing_heard_in(&team.name, &bob.name).unwrap();
    alice.core.typing_heard_in(&team.name, &name("dave")).unwrap();
    let alices = alice.name.clone();
    alice.core.typing_heard_in(&team.name, &alices).unwrap();
    alice.core.typing_heard_in(&GroupName::canonical("other").unwrap(), &bob.name).unwrap();
    assert_eq!(alice.told(), [typing]);
    alice.core.set_contact(&bob.name, Contact::Blocked).unwrap();
    advance(Duration::from_secs(5)).await;
    alice.core.typing_heard_in(&team.name, &bob.name).unwrap();
    assert_eq!(alice.told(), []);
    assert!(alice.core.typing_due(&team.chat()).unwrap());
    assert!(!alice.core.typing_due(&team.chat()).unwrap());
    let elsewhere = ChatName::parse("#other").unwrap();
    assert!(!alice.core.typing_due(&elsewhere).unwrap());
}
