//! Lines as drawn text: columns, wrapping, words for plain screens, and hostile text made safe.

use super::samples::{NOON, answer_from_bob, from_bob, name, to_bob};
use super::*;
use crate::client::{Author, Form, LocalId, ReactionView};
use crate::types::N;
use crate::ui::text::clean;
use crate::ui::theme::{Colour, Style};

const MINUTE: u64 = 60_000;

fn screen(style: Style, colour: Colour, width: Option<usize>) -> Screen {
    Screen::new(Theme { style, colour }, width, TimeZone::UTC, name("alice"))
}

fn rich(width: usize) -> Screen {
    screen(Style::Rich, Colour::Off, Some(width))
}

fn plain() -> Screen {
    screen(Style::Plain, Colour::Off, Some(80))
}

#[test]
fn a_message_stands_in_its_columns() {
    let mut at_80 = rich(80);
    assert_eq!(
        at_80.line(&Line::Message(from_bob("are you coming tonight?"))),
        "[12:01] bob        are you coming tonight?"
    );
    let own = at_80.line(&Line::Message(to_bob("on my way", MessageState::Delivered)));
    assert!(own.starts_with("[12:01] you → bob  on my way  "), "{own}");
    assert!(own.ends_with(" ✓"), "{own}");
    assert_eq!(columns(&own), 79);
    assert_eq!(
        rich(40).line(&Line::Message(from_bob("hi"))),
        "[12:01] bob  hi",
        "no padding on a narrow screen"
    );
}

#[test]
fn long_texts_wrap_under_themselves() {
    let text = "the quick brown fox jumps over the lazy dog and runs away from it all again";
    let at_80 = rich(80).line(&Line::Message(from_bob(text)));
    assert_eq!(
        at_80,
        "[12:01] bob        the quick brown fox jumps over the lazy dog and runs away\n\
         \x20                  from it all again"
    );
    let at_40 = rich(40).line(&Line::Message(from_bob(text)));
    assert!(at_40.lines().all(|line| columns(line) <= 40), "{at_40}");
    assert!(at_40.lines().skip(1).all(|line| line.starts_with("        ")), "{at_40}");
    let piped = screen(Style::Rich, Colour::Off, None).line(&Line::Message(from_bob(text)));
    assert_eq!(piped.lines().count(), 1);
}

#[test]
fn a_second_line_of_a_text_cannot_pose_as_another_message() {
    let text = "hi\n[12:02] carol       I owe you money";
    let shown = rich(80).line(&Line::Message(from_bob(text)));
    assert!(shown.lines().nth(1).unwrap().starts_with("         "), "{shown}");
    let spoken = plain().line(&Line::Message(from_bob("hi\ncarol says: yes")));
    assert_eq!(spoken, "bob says: hi | carol says: yes");
}

#[test]
fn plain_is_ascii_and_says_words() {
    let mut screen = plain();
    assert_eq!(screen.line(&Line::Message(from_bob("hi"))), "bob says: hi");
    assert_eq!(
        screen.line(&Line::Message(to_bob("on my way", MessageState::Sent))),
        "you say to bob: on my way (sent)"
    );
    let trouble = Line::Trouble {
        id: LocalId(2),
        chat: name("bob").into(),
        trouble: Trouble::Hole { from: N(1), to: N(2) },
        at_unix_ms: NOON + 24 * 60 * MINUTE,
        again: true,
    };
    let shown = screen.line(&trouble);
    assert!(shown.is_ascii(), "{shown}");
    assert!(shown.starts_with("Saturday 21 November\nwarning: 2 messages"), "{shown}");
    assert!(shown.ends_with("(again)"), "{shown}");
    assert!(screen.key_changed(&name("bob")).is_ascii());
    for state in [
        MessageState::Waiting,
        MessageState::Pending,
        MessageState::Sent,
        MessageState::Delivered,
        MessageState::Read,
        MessageState::Cancelled,
    ] {
        assert!(screen.mark(&state).is_ascii());
    }
}

#[test]
fn colour_adds_only_escape_codes() {
    let lines = [
        Line::Message(from_bob("hi there")),
        Line::Message(to_bob("a\nb", MessageState::Waiting)),
        Line::Trouble {
            id: LocalId(3),
            chat: name("bob").into(),
            trouble: Trouble::BadSignature,
            at_unix_ms: NOON,
            again: false,
        },
    ];
    let mut coloured = screen(Style::Rich, Colour::On, Some(80));
    let mut bare = rich(80);
    for line in &lines {
        let with = coloured.line(line);
        assert!(with.contains("\x1b["), "{with}");
        assert_eq!(clean(&with), bare.line(line));
    }
}

#[test]
fn what_a_peer_writes_cannot_reach_the_terminal_as_codes() {
    let hostile = from_bob("x\x1b[2J\x1b]0;t\x07\r\u{9b}1Ay\u{202e}");
    for style in [Style::Rich, Style::Plain] {
        let shown = screen(style, Colour::Off, Some(80)).line(&Line::Message(hostile.clone()));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(shown.ends_with("xy<U+202E>"), "{shown:?}");
    }
}

#[test]
fn a_day_line_stands_at_midnight_only() {
    let mut screen = rich(80);
    let mut message = from_bob("hi");
    assert!(!screen.line(&Line::Message(message.clone())).contains('─'));
    message.at_unix_ms += 60 * MINUTE;
    assert!(!screen.line(&Line::Message(message.clone())).contains('─'));
    message.at_unix_ms += 12 * 60 * MINUTE;
    message.sent_at_unix_ms = message.at_unix_ms;
    let next = screen.line(&Line::Message(message));
    assert!(next.starts_with("── Saturday 21 November ──\n[01:01] bob"), "{next}");
}

#[test]
fn the_writers_clock_is_shown_only_when_it_differs_by_more_than_five_minutes() {
    let mut message = from_bob("hi");
    message.sent_at_unix_ms = NOON - 5 * MINUTE;
    assert!(!rich(80).line(&Line::Message(message.clone())).contains("written"));
    message.sent_at_unix_ms = NOON - 6 * MINUTE;
    assert!(rich(80).line(&Line::Message(message)).ends_with("hi (written 11:55)"));
}

#[test]
fn a_changed_key_is_loud_once_until_it_is_accepted() {
    let mut screen = rich(80);
    let bob = name("bob");
    let first = screen.key_changed(&bob);
    assert!(first.starts_with("!! bob's key has changed"), "{first}");
    assert!(first.lines().all(|line| line.starts_with("!! ")), "{first}");
    assert!(first.contains("/verify bob") && first.contains("/accept-key bob"));
    assert_eq!(screen.key_changed(&bob), "bob's key changed here");
    assert!(screen.key_warning_stands(&bob));
    screen.key_accepted(&bob);
    assert_eq!(screen.key_changed(&bob), first);
}

#[test]
fn messages_shown_again_or_under_an_unaccepted_key_are_marked() {
    let mut message = from_bob("hi");
    message.again = true;
    message.unaccepted_key = true;
    let shown = rich(120).line(&Line::Message(message));
    assert!(shown.contains("new key") && shown.ends_with("(again)"), "{shown}");
}

#[test]
fn the_prompt_names_the_chat() {
    assert_eq!(rich(80).prompt(None), "alice> ");
    assert_eq!(rich(80).prompt(Some(&name("bob").into())), "bob> ");
}

#[test]
fn an_answer_stands_under_the_message_it_answers() {
    let shown = rich(80).line(&Line::Message(answer_from_bob("good")));
    assert_eq!(shown, "[12:01] bob        ↪ you: on my way\n                   good");
    let narrow = rich(40).line(&Line::Message(answer_from_bob("good")));
    assert_eq!(narrow, "[12:01] bob  ↪ you: on my way\n        good");
    let mut own = answer_from_bob("good");
    own.author = Author::Me;
    own.reply_to.as_mut().unwrap().excerpt = "a long text that cannot stand there at all".into();
    let narrow = rich(40).with_ids().line(&Line::Message(own));
    assert!(narrow.lines().all(|line| columns(line) < 40), "{narrow}");
    let spoken = plain().line(&Line::Message(answer_from_bob("good")));
    assert_eq!(spoken, "bob says in answer to \"on my way\" by you: good");
    let mut lost = answer_from_bob("good");
    lost.reply_to.as_mut().unwrap().excerpt.clear();
    assert!(rich(80).line(&Line::Message(lost)).contains("↪ a message that is not here"));
}

#[test]
fn in_a_group_the_group_and_the_author_stand_in_front() {
    let team = ChatName::parse("#team").unwrap();
    let mut message = from_bob("the quick brown fox jumps over the lazy dog and runs away");
    message.chat = team.clone();
    let shown = rich(50).line(&Line::Message(message.clone()));
    assert_eq!(
        shown,
        "[12:01] #team  bob: the quick brown fox jumps\n        over the lazy dog and runs away"
    );
    message.text = "hi".into();
    let shown = rich(80).line(&Line::Message(message.clone()));
    assert_eq!(shown, "[12:01] #team      bob: hi");
    assert_eq!(plain().line(&Line::Message(message.clone())), "bob says in #team: hi");
    message.form = Form::Emote;
    let shown = rich(80).line(&Line::Message(message.clone()));
    assert_eq!(shown, "[12:01] #team      * bob hi");
    let mut own = to_bob("hi", MessageState::Read);
    own.chat = team.clone();
    assert!(rich(80).line(&Line::Message(own.clone())).starts_with("[12:01] you → #team  hi  "));
    assert_eq!(plain().line(&Line::Message(own)), "you say to #team: hi (read)");
    assert_eq!(plain().typing(&team, &name("bob")), "bob is typing in #team");
    assert_eq!(rich(80).prompt(Some(&team)), "#team> ");
    let (bob, carol) = (name("bob"), name("carol"));
    assert_eq!(plain().read_by(&[], std::slice::from_ref(&bob)), "read by nobody yet (0 of 1)");
    assert_eq!(plain().read_by(std::slice::from_ref(&bob), &[]), "read by bob (1 of 1)");
    assert_eq!(plain().read_by(&[bob], &[carol]), "read by bob (1 of 2); not yet: carol");
}

#[test]
fn what_was_done_to_a_message_stands_behind_it() {
    let mut message = to_bob("at nine", MessageState::Read);
    message.edited = true;
    message.expires_unix_ms = Some(NOON + 60 * MINUTE);
    message.reactions = vec![
        ReactionView { author: Author::Me, emoji: "👍".into() },
        ReactionView { author: Author::Them(name("bob")), emoji: "❤".into() },
    ];
    let shown = rich(80).line(&Line::Message(message.clone()));
    assert!(
        shown.starts_with("[12:01] you → bob  at nine (edited) (until 13:01) (you: 👍, bob: ❤)"),
        "{shown}"
    );
    assert!(shown.ends_with(" ✓✓") && columns(&shown) == 79, "{shown}");
    let narrow = rich(40).line(&Line::Message(message.clone()));
    assert!(narrow.lines().count() > 1, "{narrow}");
    assert!(narrow.lines().all(|line| columns(line) <= 40), "{narrow}");
    message.deleted = true;
    message.text.clear();
    assert_eq!(rich(80).line(&Line::Message(message.clone())), "[12:01] you → bob  (deleted)");
    assert_eq!(plain().line(&Line::Message(message)), "you say to bob: (deleted)");
}

#[test]
fn an_emote_says_who_does_it() {
    let mut message = from_bob("waves");
    message.form = Form::Emote;
    let shown = rich(80).line(&Line::Message(message.clone()));
    assert_eq!(shown, "[12:01] bob        * bob waves");
    message.author = Author::Me;
    message.state = Some(MessageState::Sent);
    let shown = rich(80).line(&Line::Message(message.clone()));
    assert!(shown.starts_with("[12:01] you → bob  * alice waves"), "{shown}");
    assert_eq!(plain().line(&Line::Message(message)), "you say to bob: * alice waves (sent)");
}

#[test]
fn numbers_and_seconds_are_shown_on_demand() {
    let mut screen = rich(80).with_ids();
    screen.time = TimeForm::Full;
    let shown = screen.line(&Line::Message(from_bob("hi")));
    assert_eq!(shown, "   1 [12:01:02] bob        hi");
    assert_eq!(plain().with_ids().line(&Line::Message(from_bob("hi"))), "1: bob says: hi");
}

#[test]
fn people_are_called_by_their_alias_and_by_both_names_when_in_doubt() {
    let mut screen = rich(80);
    screen.names = Names::of([(name("bob"), Some("Bobby".to_owned()))]);
    let shown = screen.line(&Line::Message(from_bob("hi")));
    assert_eq!(shown, "[12:01] Bobby      hi");
    screen.names = Names::of([(name("bob"), Some("carol".to_owned())), (name("carol"), None)]);
    let shown = screen.line(&Line::Message(from_bob("hi")));
    assert_eq!(shown, "[12:01] carol (bob)  hi");
    assert_eq!(screen.prompt(Some(&name("bob").into())), "carol (bob)> ");
}

#[test]
fn news_of_a_message_name_it_in_one_line() {
    let screen = rich(80);
    let mut own = to_bob("at nine\nor so", MessageState::Sent);
    assert_eq!(screen.edited(&from_bob("at nine")), "bob changed message 1 of 12:01: \"at nine\"");
    assert_eq!(
        screen.reacted(&own, &Author::Them(name("bob")), Some("👍")),
        "bob: 👍 to your \"at nine or so\""
    );
    assert_eq!(
        screen.reacted(&own, &Author::Them(name("bob")), None),
        "bob took back a reaction to your \"at nine or so\""
    );
    own.text.clear();
    own.deleted = true;
    assert_eq!(screen.deleted(&own), "you deleted message 1 of 12:01");
    assert_eq!(screen.expired(2), "2 messages have expired and are gone here");
    assert_eq!(screen.typing(&name("bob").into(), &name("bob")), "        bob is typing");
    assert_eq!(plain().typing(&name("bob").into(), &name("bob")), "bob is typing");
    let (bob, carol) = (name("bob"), name("carol"));
    assert_eq!(plain().presence(&[&bob], true), "bob is online");
    assert_eq!(plain().presence(&[&bob, &carol], false), "bob, carol are offline");
}

#[test]
fn nothing_that_a_peer_chooses_reaches_the_terminal_as_codes() {
    let evil = "x\x1b[2J\x1b]0;t\x07\r\u{9b}1Ay\u{202e}";
    let mut message = answer_from_bob(evil);
    message.reply_to.as_mut().unwrap().excerpt = evil.to_owned();
    message.reactions =
        vec![ReactionView { author: Author::Them(name("bob")), emoji: evil.to_owned() }];
    message.form = Form::Emote;
    for mut screen in [rich(80), plain()] {
        screen.names = Names::of([(name("bob"), Some(evil.to_owned()))]);
        for shown in [
            screen.line(&Line::Message(message.clone())),
            screen.edited(&message),
            screen.reacted(&message, &Author::Them(name("bob")), Some(evil)),
            screen.typing(&name("bob").into(), &name("bob")),
            screen.prompt(Some(&name("bob").into())),
        ] {
            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!shown.chars().any(bad), "{shown:?}");
        }
    }
}
