//! The judges of the simulation can fail: each thing that must not happen in a group is put on
//! paper here, and found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use fastchat::client::{Author, Form, Line, LocalId, MessageView, Trouble, WireId};
use fastchat::testkit::checkers::{Books, Chain, Deed, Diary, Place, Step, Tap, groups};
use fastchat::types::{ChatName, DeviceId, GroupName, N, UserName};

fn user(name: &str) -> UserName {
    UserName::canonical(name).unwrap()
}

fn team() -> GroupName {
    GroupName::canonical("team").unwrap()
}

/// A day in a group: alice makes it with bob, and later brings carol in and puts bob out.
///
/// ```text
/// 1 CREATE alice bob   2 "one"   3 ADD carol   4 "two"   5 REMOVE bob   6 "three"
/// ```
struct Day {
    diary: Diary,
    books: Books,
    tap: Tap,
    chain: Chain,
}

impl Day {
    fn new() -> Self {
        let mut day = Self {
            diary: Diary::default(),
            books: Books::default(),
            tap: Tap::default(),
            chain: Chain::default(),
        };
        day.does("alice", 1, Deed::Create(vec![user("alice"), user("bob")]));
        day.writes(1, 2, "one");
        day.does("alice", 3, Deed::Add(user("carol")));
        day.writes(2, 4, "two");
        day.does("alice", 5, Deed::Remove(user("bob")));
        day.writes(3, 6, "three");
        day
    }

    fn does(&mut self, author: &str, seq: u64, deed: Deed) {
        let prev = self.chain.steps.last().map_or(Vec::new(), |step| step.hash.clone());
        let hash = vec![u8::try_from(seq).unwrap(); 32];
        self.chain.steps.push(Step { seq, hash, prev, author: user(author), deed });
        self.books.note_chain(&team(), self.chain.clone());
    }

    fn writes(&mut self, n: u64, seq: u64, text: &str) {
        let chat = ChatName::Group(team());
        self.diary.wrote(&user("alice"), &chat, text);
        self.diary.told_sent(text);
        let id = WireId { device: DeviceId(7), n: N(n) };
        self.diary.told_stored(&user("alice"), &chat, &id, text);
        self.books.note_place(Place::of(&team(), &user("alice"), 7, n), seq);
    }

    fn line(n: u64, text: &str) -> Line {
        Line::Message(MessageView {
            id: LocalId(1),
            chat: ChatName::Group(team()),
            author: Author::Them(user("alice")),
            text: text.to_owned(),
            at_unix_ms: 0,
            sent_at_unix_ms: 0,
            state: None,
            wire_id: Some(WireId { device: DeviceId(7), n: N(n) }),
            again: false,
            unaccepted_key: false,
            form: Form::Text,
            reply_to: None,
            edited: false,
            deleted: false,
            reactions: Vec::new(),
            file: None,
            expires_unix_ms: None,
        })
    }

    fn sees(&mut self, reader: &str, n: u64, text: &str) {
        self.diary.saw(&user(reader), &Self::line(n, text));
    }

    fn all_see_theirs(mut self) -> Self {
        for (reader, n, text) in
            [("bob", 1, "one"), ("bob", 2, "two"), ("carol", 2, "two"), ("carol", 3, "three")]
        {
            self.sees(reader, n, text);
        }
        for (reader, seqs) in [("bob", 1..=5), ("carol", 3..=6)] {
            seqs.for_each(|seq| self.tap.hears(&user(reader), &team(), seq));
        }
        self
    }

    fn found(&self) -> Vec<String> {
        let mut found = self.diary.violations();
        found.extend(groups::violations(&self.diary, &self.books, &self.tap));
        found
    }

    #[track_caller]
    fn check(&self, expected: &str) {
        let found = self.found();
        assert!(found.iter().any(|line| line.contains(expected)), "{expected:?} in {found:#?}");
    }
}

#[test]
fn an_orderly_day_is_found_in_order() {
    assert_eq!(Day::new().all_see_theirs().found(), Vec::<String>::new());
}

#[test]
fn a_text_that_a_member_never_saw_is_found() {
    let mut day = Day::new();
    day.sees("bob", 1, "one");
    day.check("I1: sent at 4 of #team, carol never saw it: \"two\"");
    day.check("I1: sent at 6 of #team, carol never saw it: \"three\"");
    // Who is out at the end need not have read everything.
    assert!(!day.found().iter().any(|line| line.contains("bob never")));
}

#[test]
fn a_text_that_was_told_sent_and_has_no_place_is_found() {
    let mut day = Day::new().all_see_theirs();
    let chat = ChatName::Group(team());
    day.diary.wrote(&user("alice"), &chat, "four");
    day.diary.told_sent("four");
    day.check("I1: sent, and not in the log of #team: \"four\"");
}

#[test]
fn a_text_shown_twice_is_found() {
    let mut day = Day::new().all_see_theirs();
    day.sees("carol", 3, "three");
    day.check("I2: shown twice to carol");
}

#[test]
fn a_number_out_of_order_is_found() {
    let mut day = Day::new();
    day.sees("carol", 3, "three");
    day.sees("carol", 2, "two");
    day.check("I3: carol saw n 2 of alice after 3");
    day.check("carol saw 4 of #team after 6");
}

#[test]
fn two_readers_who_disagree_are_found() {
    let mut day = Day::new();
    day.does("alice", 7, Deed::Add(user("bob")));
    day.writes(4, 8, "four");
    day.writes(5, 9, "five");
    for (reader, n, text) in
        [("bob", 4, "four"), ("bob", 5, "five"), ("carol", 5, "five"), ("carol", 4, "four")]
    {
        day.sees(reader, n, text);
    }
    day.check("carol saw \"five\" before \"four\" in #team, bob after it");
}

#[test]
fn a_text_from_after_the_removal_or_before_the_coming_is_found() {
    let mut day = Day::new().all_see_theirs();
    day.sees("bob", 3, "three");
    day.check("I8: bob saw \"three\", 6 of #team, and was not in it");
    let mut day = Day::new();
    day.sees("carol", 1, "one");
    day.check("I8: carol saw \"one\", 2 of #team, and was not in it");
}

#[test]
fn an_entry_sent_to_who_is_out_is_found_although_nobody_sees_it() {
    let day = Day::new().all_see_theirs();
    day.tap.hears(&user("bob"), &team(), 6);
    day.check("I8: 6 of #team was sent to bob, who was not in it");
}

#[test]
fn a_text_that_nobody_wrote_and_one_of_which_its_author_was_told_no_are_found() {
    let mut day = Day::new().all_see_theirs();
    day.sees("carol", 4, "made up");
    day.check("never written: \"made up\"");
    day.check("which its log does not have");
    let mut day = Day::new().all_see_theirs();
    day.diary.told_refused("three");
    day.check("shown to carol, and its author was told no: \"three\"");
}

#[test]
fn a_trouble_on_a_screen_is_found() {
    let line = |trouble| {
        let (id, chat) = (LocalId(9), ChatName::Group(team()));
        Line::Trouble { id, chat, trouble, at_unix_ms: 0, again: false }
    };
    let mut day = Day::new().all_see_theirs();
    day.diary.saw(&user("carol"), &line(Trouble::NotAMember));
    day.check("on the screen of carol, chat #team: NotAMember");
    // What came while somebody was in goes without them once they are out.
    let mut day = Day::new().all_see_theirs();
    day.diary.saw(&user("bob"), &line(Trouble::Expired));
    assert_eq!(day.found(), Vec::<String>::new());
    day.diary.saw(&user("carol"), &line(Trouble::Expired));
    day.check("carol was in #team all the time, and something expired");
}

#[test]
fn what_a_home_must_not_take_is_found() {
    let mut day = Day::new();
    day.does("carol", 7, Deed::Add(user("dave")));
    day.check("carol may not Add(@dave)");
    let mut day = Day::new();
    day.does("alice", 7, Deed::Leave);
    day.check("leaves a group without an admin");
    let mut day = Day::new();
    day.does("alice", 7, Deed::Other);
    day.chain.steps.last_mut().unwrap().prev = vec![3; 32];
    day.books.note_chain(&team(), day.chain.clone());
    day.check("operation 4 does not follow the one before it");
    let mut day = Day::new();
    day.does("alice", 7, Deed::Close);
    day.does("alice", 8, Deed::Other);
    day.check("operation 5 came after the end of the group");
}
