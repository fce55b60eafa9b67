//! Answers, reactions, changes and deletions: who may do what to which message, and that all of it
//! arrives like a text without being one.

use super::outgoing::{envelopes, numbers, pair, stored};
use super::*;
use crate::client::api::{
    ActionError, Author, Draft, Form, ReactionView, Refusal, ReplyView, SendError,
};
use crate::client::core::NewBundle;
use crate::crypto::envelope::{Kind, MessageRef, Rich, parse_header};
use crate::wire::Code;

/// Alice and Bob, each with a log open at the other's home.
pub(super) fn two() -> (Desk, Desk) {
    let (alice, mut bob) = pair();
    bob.core.log_opened(&alice.chat(), EPOCH, N(0)).unwrap();
    (alice, bob)
}

/// All that waits goes over and is delivered. Returns how many envelopes that were.
pub(super) fn talk(from: &mut Desk, to: &mut Desk) -> usize {
    let sealed = from.sends(&to.name);
    stored(from, &to.name, &sealed);
    to.gets(&envelopes(&sealed));
    if let Some(last) = sealed.last() {
        from.core.log_delivered(&to.chat(), last.upto).unwrap();
    }
    sealed.len()
}

/// Alice wrote this to Bob, and he has seen it. Her number of it, and his.
pub(super) fn said(alice: &mut Desk, bob: &mut Desk, text: &str) -> (LocalId, LocalId) {
    let hers = alice.writes(&bob.name, text);
    talk(alice, bob);
    bob.sees();
    let his = bob.newest(&alice.name).id;
    (hers, his)
}

fn reply(to: LocalId, text: &str) -> Draft {
    Draft { reply_to: Some(to), ..Draft::text(text) }
}

fn emojis(desk: &Desk, id: LocalId) -> Vec<(Author, String)> {
    let reactions = desk.message(id).reactions.into_iter();
    reactions.map(|ReactionView { author, emoji }| (author, emoji)).collect()
}

fn named(author: &UserName, device: DeviceId, n: u64) -> MessageRef {
    MessageRef { author: author.clone(), device, n: N(n) }
}

fn rows(desk: &Desk, table: &str) -> i64 {
    let db = desk.core.profile.store.db();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn an_answer_names_its_message_on_both_sides_and_shows_its_beginning() {
    let (mut alice, mut bob) = two();
    let long = "where are you? ".repeat(20);
    let (hers, his) = said(&mut alice, &mut bob, &long);
    let answer = bob.core.queue_draft(&alice.chat(), &reply(his, "here")).unwrap();
    talk(&mut bob, &mut alice);
    let excerpt: String = long.chars().take(80).collect();
    let to = |id, author| Some(ReplyView { id: Some(id), author, excerpt: excerpt.clone() });
    assert_eq!(bob.message(answer).reply_to, to(his, alice.them()));
    let got = alice.newest(&bob.name);
    assert_eq!((got.text.as_str(), got.reply_to), ("here", to(hers, Author::Me)));
    // To one's own message, which has no number yet: it gets one first.
    let first = alice.writes(&bob.name, "a question");
    alice.core.queue_draft(&bob.chat(), &reply(first, "and its answer")).unwrap();
    talk(&mut alice, &mut bob);
    let reply_to = bob.newest(&alice.name).reply_to.unwrap();
    assert_eq!((reply_to.author, reply_to.excerpt.as_str()), (alice.them(), "a question"));
}

#[test]
fn an_answer_to_what_is_not_here_says_whose_it_was_and_no_more() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    let to = alice.bundle();
    let rich = |reply_to| {
        let text = "yes".to_owned();
        Body::Rich(Rich { text, reply_to: Some(reply_to), emote: false, expire: None })
    };
    let gone = rich(named(&to.user, DeviceId(5), 99));
    let carols = rich(named(&name("carol"), DeviceId(5), 1));
    alice.gets(&[bob.seals_with(&to, 1, &gone, |_| ())]);
    let lost = ReplyView { id: None, author: Author::Me, excerpt: String::new() };
    assert_eq!(alice.newest(&bob.name).reply_to, Some(lost));
    alice.gets(&[bob.seals_with(&to, 2, &carols, |_| ())]);
    assert_eq!(alice.newest(&bob.name).reply_to, None, "nobody of this conversation");
    assert_eq!(alice.sees(), ["bob: yes", "bob: yes"]);
}

#[test]
fn only_a_message_of_the_same_chat_is_answered() {
    let (mut alice, mut bob) = two();
    let (hers, _) = said(&mut alice, &mut bob, "hi");
    let carol = name("carol");
    for (to, id) in [(&carol, hers), (&bob.name, LocalId(4_711))] {
        let refused = alice.core.queue_draft(&to.clone().into(), &reply(id, "x"));
        assert_eq!(refused, Err(SendError::NoSuchMessage(id)));
    }
    alice.core.delete(hers).unwrap();
    let refused = alice.core.queue_draft(&bob.chat(), &reply(hers, "x"));
    assert_eq!(refused, Err(SendError::NoSuchMessage(hers)));
}

#[test]
fn what_an_author_does_arrives_as_that() {
    let (mut alice, mut bob) = two();
    let draft = Draft { form: Form::Emote, ..Draft::text("waves") };
    let id = alice.core.queue_draft(&bob.chat(), &draft).unwrap();
    talk(&mut alice, &mut bob);
    assert_eq!(alice.message(id).form, Form::Emote);
    assert_eq!(bob.newest(&alice.name).form, Form::Emote);
    assert_eq!(bob.told().last(), Some(&Event::Lines));
}

#[test]
fn one_reaction_of_each_side_stands_and_the_next_one_replaces_it() {
    let (mut alice, mut bob) = two();
    let (hers, his) = said(&mut alice, &mut bob, "done");
    bob.core.react(his, Some("👍")).unwrap();
    alice.core.react(hers, Some("🎉")).unwrap();
    talk(&mut bob, &mut alice);
    talk(&mut alice, &mut bob);
    let both = |mine: &str, them: Author, theirs: &str| {
        vec![(Author::Me, mine.to_owned()), (them, theirs.to_owned())]
    };
    assert_eq!(emojis(&alice, hers), both("🎉", bob.them(), "👍"));
    assert_eq!(emojis(&bob, his), both("👍", alice.them(), "🎉"));
    // Two changes of mind before anything is sent are one envelope.
    bob.core.react(his, Some("👎")).unwrap();
    bob.core.react(his, Some("❤️")).unwrap();
    alice.told();
    assert_eq!(talk(&mut bob, &mut alice), 1);
    assert_eq!(emojis(&alice, hers), both("🎉", bob.them(), "❤️"));
    let chat = bob.chat();
    let by = bob.them();
    let emoji = Some("❤️".to_owned());
    assert_eq!(alice.told(), [Event::Reacted { id: hers, chat: chat.clone(), by, emoji }]);
    bob.core.react(his, None).unwrap();
    bob.core.react(his, None).unwrap();
    assert_eq!(talk(&mut bob, &mut alice), 1, "there was nothing left to take back");
    assert_eq!(emojis(&alice, hers), [(Author::Me, "🎉".to_owned())]);
    let by = bob.them();
    assert_eq!(alice.told(), [Event::Reacted { id: hers, chat, by, emoji: None }]);
    assert!(alice.sees().is_empty() && bob.sees().is_empty(), "no line, nothing unread");
    assert_eq!(rows(&bob, "notes"), 0, "delivered is done");
}

#[test]
fn a_reaction_is_one_character_to_a_message_that_stands() {
    let (mut alice, mut bob) = two();
    let (hers, his) = said(&mut alice, &mut bob, "hi");
    for emoji in ["👩‍👩‍👧‍👦", "❤️", "🇩🇪", "e\u{301}", "+"] {
        alice.core.react(hers, Some(emoji)).unwrap();
    }
    let zalgo = format!("e{}", "\u{301}".repeat(32));
    for emoji in ["", "ok", "👍👍", " ", "\n", "\u{7}", zalgo.as_str()] {
        assert_eq!(alice.core.react(hers, Some(emoji)), Err(ActionError::NotAnEmoji), "{emoji:?}");
    }
    assert_eq!(alice.core.react(LocalId(99), Some("x")), Err(ActionError::NoSuchMessage));
    alice.core.delete(hers).unwrap();
    assert_eq!(alice.core.react(hers, Some("x")), Err(ActionError::Deleted));
    bob.core.set_contact(&alice.name, Contact::Blocked).unwrap();
    let blocked = Err(ActionError::Send(SendError::Blocked(alice.name.clone())));
    assert_eq!(bob.core.react(his, Some("x")), blocked);
}

#[test]
fn what_a_peers_client_may_not_say_changes_nothing() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    let (to, own) = (alice.bundle(), alice.name.clone());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    let mine = alice.writes(&bob.name, "mine");
    alice.sends(&bob.name);
    alice.gets(&[bob.writes(&to, 1, "his")]);
    alice.sees();
    alice.told();
    let his = alice.newest(&bob.name).id;
    let device = alice.core.profile.device;
    let hers = named(&own, device, 1);
    let text = "forged".to_owned();
    let carols = named(&name("carol"), bob.device, 1);
    let unknown = named(&bob.name, bob.device, 50);
    let bodies = [
        Body::Edit { to: hers.clone(), text: text.clone() },
        Body::Delete { to: hers.clone() },
        Body::Edit { to: unknown.clone(), text: text.clone() },
        Body::Delete { to: unknown.clone() },
        Body::Edit { to: carols.clone(), text },
        Body::Reaction { to: carols, emoji: Some("x".to_owned()) },
        Body::Reaction { to: unknown, emoji: Some("x".to_owned()) },
        Body::Reaction { to: hers, emoji: Some("two words".to_owned()) },
        Body::Read { device: DeviceId(12), n: N(u64::MAX) },
    ];
    let sealed: Vec<Bytes> =
        (2..).zip(&bodies).map(|(n, body)| bob.seals_with(&to, n, body, |_| ())).collect();
    alice.gets(&sealed);
    assert_eq!(
        (alice.message(mine).text.as_str(), alice.message(his).text.as_str()),
        ("mine", "his")
    );
    assert!(alice.sees().is_empty() && alice.told().is_empty());
    assert!(emojis(&alice, mine).is_empty());
    // What comes after is no hole.
    alice.gets(&[bob.writes(&to, 11, "next")]);
    assert_eq!(alice.sees(), ["bob: next"]);
}

#[test]
fn nobody_changes_or_deletes_what_somebody_else_wrote() {
    let (mut alice, mut bob) = two();
    let (_, his) = said(&mut alice, &mut bob, "hers");
    assert_eq!(bob.core.edit(his, "his"), Err(ActionError::NotYours));
    assert_eq!(bob.core.delete(his), Err(ActionError::NotYours));
    assert_eq!(bob.core.edit(LocalId(99), "x"), Err(ActionError::NoSuchMessage));
    assert_eq!(bob.core.edit(his, ""), Err(ActionError::Send(SendError::Empty)));
    let broken = Peer { device_key: DeviceKey::generate(), ..Peer::new("alice", 0) };
    let to = bob.bundle();
    bob.gets(&[broken.writes(&to, 2, "x")]);
    let trouble = bob.core.history(&alice.chat(), 1).unwrap()[0].id();
    assert_eq!(bob.core.delete(trouble), Err(ActionError::NotAText));
}

#[test]
fn a_text_that_waits_is_just_changed_and_a_sent_one_is_changed_on_both_sides() {
    let (mut alice, mut bob) = two();
    let waits = alice.writes(&bob.name, "helo");
    alice.core.edit(waits, "hello").unwrap();
    assert!(!alice.message(waits).edited);
    assert_eq!(talk(&mut alice, &mut bob), 1);
    assert_eq!(bob.sees(), ["alice: hello"]);
    let his = bob.newest(&alice.name).id;
    bob.told();
    assert_eq!(alice.core.last_own(&bob.chat()).unwrap(), Some(waits));
    alice.core.edit(waits, "good").unwrap();
    alice.core.edit(waits, "good day").unwrap();
    assert!(alice.told().contains(&Event::Edited { id: waits, chat: bob.name.clone().into() }));
    assert_eq!(talk(&mut alice, &mut bob), 1, "the last word counts");
    for (desk, id) in [(&alice, waits), (&bob, his)] {
        let message = desk.message(id);
        assert_eq!((message.text.as_str(), message.edited), ("good day", true));
    }
    assert_eq!(bob.told(), [Event::Edited { id: his, chat: alice.name.clone().into() }]);
    assert!(bob.sees().is_empty(), "no line, nothing unread");
}

#[test]
fn a_deleted_message_is_forgotten_on_both_sides_with_all_that_was_said_about_it() {
    let (mut alice, mut bob) = two();
    let (hers, his) = said(&mut alice, &mut bob, "oh no");
    bob.core.react(his, Some("x")).unwrap();
    talk(&mut bob, &mut alice);
    let answer = bob.core.queue_draft(&alice.chat(), &reply(his, "what?")).unwrap();
    talk(&mut bob, &mut alice);
    // Never sent, so it needs no taking back.
    alice.core.react(hers, Some("y")).unwrap();
    alice.core.edit(hers, "better").unwrap();
    bob.told();
    alice.core.delete(hers).unwrap();
    assert_eq!(talk(&mut alice, &mut bob), 1);
    for (desk, id) in [(&alice, hers), (&bob, his)] {
        let message = desk.message(id);
        assert_eq!((message.text.as_str(), message.deleted, message.edited), ("", true, false));
        assert!(message.reactions.is_empty());
        let sealed: Vec<u8> = desk
            .core
            .profile
            .store
            .db()
            .query_row("SELECT sealed_text FROM lines WHERE id = ?1", [id.0], |row| row.get(0))
            .unwrap();
        assert!(sealed.is_empty(), "nothing is left of it");
    }
    assert_eq!(bob.told(), [Event::Deleted { id: his, chat: alice.name.clone().into() }]);
    assert_eq!(bob.message(answer).reply_to.unwrap().excerpt, "");
    assert_eq!(alice.core.delete(hers), Err(ActionError::Deleted));
    assert_eq!(alice.core.edit(hers, "x"), Err(ActionError::Deleted));
    assert_eq!(alice.core.last_own(&bob.chat()).unwrap(), None);
    assert_eq!(rows(&alice, "notes"), 0);
}

#[test]
fn a_message_that_is_deleted_before_it_is_shown_is_not_unread() {
    let (mut alice, mut bob) = two();
    let hers = alice.writes(&bob.name, "oops");
    talk(&mut alice, &mut bob);
    assert_eq!(bob.core.status().unwrap().unread, 1);
    alice.core.delete(hers).unwrap();
    talk(&mut alice, &mut bob);
    assert_eq!(bob.core.status().unwrap().unread, 0);
    assert!(bob.sees().is_empty());
}

#[test]
fn deleting_what_waits_sends_nothing() {
    let (mut alice, mut bob) = two();
    let id = alice.writes(&bob.name, "never mind");
    alice.core.delete(id).unwrap();
    assert_eq!(talk(&mut alice, &mut bob), 0);
    let message = alice.message(id);
    assert_eq!((message.state, message.deleted), (Some(MessageState::Cancelled), true));
}

#[test]
fn a_deleted_message_that_had_been_sent_after_all_is_deleted_there_too() {
    let (mut alice, mut bob) = two();
    let id = alice.writes(&bob.name, "oops");
    let sealed = alice.sends(&bob.name);
    alice.core.delete(id).unwrap();
    // The home had it before the void came.
    stored(&mut alice, &bob.name, &sealed);
    bob.gets(&envelopes(&sealed));
    assert_eq!(alice.state(id), MessageState::Sent);
    let rest = alice.sends(&bob.name);
    assert_eq!(numbers(&rest), [(2, 2)]);
    bob.gets(&envelopes(&rest));
    assert!(bob.newest(&alice.name).deleted && alice.message(id).deleted);
}

#[test]
fn what_is_said_about_messages_survives_a_restart_and_a_new_key() {
    let (mut alice, mut bob) = two();
    let (seen, _) = said(&mut alice, &mut bob, "zero");
    let changed = alice.writes(&bob.name, "first");
    let before = alice.sends(&bob.name);
    alice.core.edit(changed, "second").unwrap();
    alice.core.react(seen, Some("x")).unwrap();
    alice.core.seal_waiting(&bob.chat(), 64).unwrap();
    let all = alice.sends(&bob.name);
    assert_eq!(numbers(&all), [(2, 2), (3, 3), (4, 4)]);
    let mut alice = alice.restarted(|_| ());
    assert_eq!(envelopes(&alice.sends(&bob.name)), envelopes(&all));

    bob.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    bob.core.adopt_next_bundle().unwrap();
    alice.knows(&bob.bundle());
    let again = alice.sends(&bob.name);
    assert_eq!(numbers(&again), numbers(&all), "no other number");
    assert_ne!(envelopes(&again)[0], before[0].envelope);
    // Bob's old keys are gone: these are readable by the new ones alone.
    let db = bob.core.profile.store.db();
    db.execute("DELETE FROM encryption_keys WHERE retired_unix_ms IS NOT NULL", []).unwrap();
    bob.gets(&envelopes(&again[..1]));
    assert_eq!(bob.sees(), ["alice: first"], "a number never gets another text");
    bob.gets(&envelopes(&again[1..]));
    assert_eq!(bob.newest(&alice.name).text, "second");
    let zero = bob.core.history(&alice.chat(), 9).unwrap()[0].id();
    assert_eq!(emojis(&bob, zero), [(alice.them(), "x".to_owned())]);
}

#[test]
fn what_was_forgotten_is_not_sealed_again() {
    let (mut alice, mut bob) = two();
    let id = alice.writes(&bob.name, "gone soon");
    let sealed = alice.sends(&bob.name);
    stored(&mut alice, &bob.name, &sealed);
    alice.core.edit(id, "still here").unwrap();
    alice.sends(&bob.name);
    alice.core.delete(id).unwrap();
    // The home is put back, and Bob has other keys: all of it would have to be sealed again.
    alice.core.log_opened(&bob.chat(), LogEpoch(5), N(0)).unwrap();
    bob.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    bob.core.adopt_next_bundle().unwrap();
    alice.knows(&bob.bundle());
    let sealed = alice.sends(&bob.name);
    let kinds = sealed.iter().map(|o| parse_header(&o.envelope).unwrap().kind);
    assert_eq!(kinds.collect::<Vec<_>>(), [Kind::Void, Kind::Void, Kind::Message]);
    stored(&mut alice, &bob.name, &sealed);
    bob.gets(&envelopes(&sealed));
    assert!(bob.sees().is_empty(), "no text, no hole, and nothing to delete");
}

#[test]
fn on_another_device_what_was_not_stored_is_said_again_and_a_change_is_just_the_text() {
    let (mut alice, mut bob) = two();
    let (seen, his) = said(&mut alice, &mut bob, "zero");
    alice.core.edit(seen, "null").unwrap();
    let stored_edit = alice.sends(&bob.name);
    stored(&mut alice, &bob.name, &stored_edit);
    bob.gets(&envelopes(&stored_edit));
    let waits = alice.writes(&bob.name, "first");
    alice.sends(&bob.name);
    alice.core.edit(waits, "second").unwrap();
    alice.core.react(seen, Some("x")).unwrap();
    alice.core.seal_waiting(&bob.chat(), 64).unwrap();
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    bob.knows(&alice.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    assert_eq!(talk(&mut alice, &mut bob), 3, "keys, the text as it is now, and the reaction");
    assert_eq!(bob.sees(), ["alice: second"]);
    assert!(!bob.newest(&alice.name).edited);
    assert_eq!(emojis(&bob, his), [(alice.them(), "x".to_owned())]);
    assert_eq!(bob.message(his).text, "null");
}

#[test]
fn what_is_refused_and_no_message_fails_in_silence() {
    let (mut alice, mut bob) = two();
    let (hers, _) = said(&mut alice, &mut bob, "hi");
    alice.core.react(hers, Some("x")).unwrap();
    let sealed = alice.sends(&bob.name);
    assert_eq!(sealed.len(), 1);
    alice.core.edit(hers, "ho").unwrap();
    alice.told();
    alice.core.refuse_log(&bob.chat(), Code::Blocked).unwrap();
    assert!(alice.told().is_empty());
    assert_eq!(rows(&alice, "notes"), 0);
    let void = alice.sends(&bob.name);
    assert_eq!(numbers(&void), [(2, 2)]);
    stored(&mut alice, &bob.name, &void);
    // The same for one alone.
    alice.core.react(hers, None).unwrap();
    alice.sends(&bob.name);
    alice.core.refuse_message(&bob.chat(), N(3), Code::Malformed).unwrap();
    assert_eq!(rows(&alice, "notes"), 0);
    assert_eq!(alice.state(hers), MessageState::Delivered);
}

#[test]
fn a_stranger_who_says_something_about_nothing_is_no_request() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.core.learn(&bob.name, &bob.bundle(), Contact::Request).unwrap();
    let to = alice.bundle();
    let hers = named(&alice.name, DeviceId(1), 1);
    let bodies = [
        Body::Reaction { to: hers.clone(), emoji: Some("x".to_owned()) },
        Body::Delete { to: named(&bob.name, bob.device, 1) },
        Body::Read { device: DeviceId(1), n: N(5) },
    ];
    let sealed: Vec<Bytes> =
        (1..).zip(&bodies).map(|(n, body)| bob.seals_with(&to, n, body, |_| ())).collect();
    alice.gets(&sealed);
    assert!(alice.told().is_empty() && alice.sees().is_empty());
    assert!(alice.core.chats().unwrap().is_empty());
    let rich = Rich { text: "hi".to_owned(), reply_to: None, emote: true, expire: None };
    alice.gets(&[bob.seals_with(&to, 4, &Body::Rich(rich), |_| ())]);
    assert!(alice.told().contains(&Event::Request { from: bob.name.clone() }));
}

#[test]
fn who_is_blocked_can_only_take_back() {
    let (mut alice, mut bob) = two();
    let (hers, his) = said(&mut alice, &mut bob, "one");
    let (other, kept) = said(&mut alice, &mut bob, "two");
    bob.core.set_contact(&alice.name, Contact::Blocked).unwrap();
    alice.core.edit(other, "an insult").unwrap();
    alice.core.react(other, Some("x")).unwrap();
    alice.core.delete(hers).unwrap();
    assert_eq!(talk(&mut alice, &mut bob), 3);
    assert_eq!(bob.message(kept).text, "two");
    assert!(bob.message(kept).reactions.is_empty());
    assert!(bob.message(his).deleted);
}

#[test]
fn a_key_that_nobody_accepted_changes_nothing() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "true")]);
    alice.sees();
    let id = alice.newest(&bob.name).id;
    // The server makes up a Bob with the same device number and keys of its own.
    let mut fake = Peer::new("bob", 7);
    fake.device = bob.device;
    alice.knows(&fake.bundle());
    let ours = named(&bob.name, bob.device, 1);
    let edit = Body::Edit { to: ours.clone(), text: "false".to_owned() };
    let bodies = [edit.clone(), Body::Delete { to: ours.clone() }];
    let reaction = Body::Reaction { to: ours, emoji: Some("x".to_owned()) };
    alice.gets(&[
        fake.seals_with(&to, 2, &bodies[0], |_| ()),
        fake.seals_with(&to, 3, &bodies[1], |_| ()),
        fake.seals_with(&to, 4, &reaction, |_| ()),
    ]);
    let message = alice.message(id);
    assert_eq!((message.text.as_str(), message.deleted), ("true", false));
    assert!(message.reactions.is_empty());
    alice.gets(&[bob.seals_with(&to, 5, &edit, |_| ())]);
    assert_eq!(alice.message(id).text, "false", "the pinned key still does");
}

#[test]
fn a_refused_message_goes_again_as_a_new_one_and_never_twice() {
    let (mut alice, mut bob) = two();
    let (seen, _) = said(&mut alice, &mut bob, "zero");
    let draft = Draft { form: Form::Emote, ..reply(seen, "waves") };
    let refused = alice.core.queue_draft(&bob.chat(), &draft).unwrap();
    assert_eq!(alice.core.retry_one(refused), Ok(refused), "it waits anyway");
    alice.sends(&bob.name);
    alice.core.refuse_log(&bob.chat(), Code::Blocked).unwrap();
    assert_eq!(alice.state(refused), MessageState::Refused(Refusal::Server(Code::Blocked)));
    let again = alice.core.retry_one(refused).unwrap();
    assert_eq!(alice.state(refused), MessageState::Cancelled);
    assert_eq!(alice.core.retry_one(refused), Err(ActionError::Deleted));
    talk(&mut alice, &mut bob);
    talk(&mut alice, &mut bob);
    let got = bob.newest(&alice.name);
    assert_eq!((got.text.as_str(), got.form), ("waves", Form::Emote));
    assert_eq!(got.reply_to.unwrap().excerpt, "zero");
    assert_eq!(bob.sees(), ["alice: waves"]);
    assert_eq!(alice.core.retry_one(again), Err(ActionError::AlreadySent));
}
