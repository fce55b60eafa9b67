//! What happened, as lines of text: messages, marks, notices, lists.
//!
//! Pure: no terminal, no clock, no client. The only state is what stands above on the screen: the
//! last day line, and for whom a key warning was shown.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::client::{Author, Line, MessageState, MessageView, Trouble};
use crate::types::UserName;

use super::say;
use super::text::{clean, columns, wrap};
use super::theme::{Role, Theme};
use super::time;

/// The clock of a sender is mentioned when it is off by more than this.
const CLOCK_DIFFERENCE_MS: u64 = 5 * 60 * 1_000;
/// Columns of the name in front of a text.
const NAME_COLUMNS: usize = 10;
/// Below this width names are not padded: the text needs the room.
const NARROW: usize = 60;

/// Turns what happened into lines. No line ends with a newline.
#[derive(Clone, Debug)]
pub struct Screen {
    /// How lines look.
    pub theme: Theme,
    /// Columns; `None` when the output is no terminal: nothing is wrapped then.
    pub width: Option<usize>,
    zone: TimeZone,
    me: UserName,
    last_day: Option<Date>,
    warned: BTreeSet<UserName>,
}

impl Screen {
    /// An empty screen of `me`.
    pub fn new(theme: Theme, width: Option<usize>, zone: TimeZone, me: UserName) -> Self {
        Self { theme, width, zone, me, last_day: None, warned: BTreeSet::new() }
    }

    /// Lines of another day than this moment's get a day line above them.
    pub fn on_day_of(mut self, unix_ms: u64) -> Self {
        self.last_day = Some(time::day(unix_ms, &self.zone));
        self
    }

    /// The zone in which times are shown.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// One line of a chat, with a day line above it when the day changed.
    pub fn line(&mut self, line: &Line) -> String {
        match line {
            Line::Message(message) => {
                let day = self.day_line(message.at_unix_ms);
                day + &self.message(message)
            }
            Line::Trouble { chat, trouble, at_unix_ms, again, .. } => {
                let day = self.day_line(*at_unix_ms);
                day + &self.trouble(trouble, chat, *at_unix_ms, *again)
            }
        }
    }

    fn day_line(&mut self, at_unix_ms: u64) -> String {
        let day = time::day(at_unix_ms, &self.zone);
        match self.last_day.replace(day) {
            Some(last) if last != day => {
                let name = time::day_name(day);
                let line = if self.theme.rich() { format!("── {name} ──") } else { name };
                self.theme.paint(Role::Dim, &line) + "\n"
            }
            Some(_) | None => String::new(),
        }
    }

    fn message(&self, message: &MessageView) -> String {
        let text = clean(&message.text);
        let mut remarks = Vec::new();
        if message.at_unix_ms.abs_diff(message.sent_at_unix_ms) > CLOCK_DIFFERENCE_MS
            && message.author == Author::Peer
        {
            let written = time::moment(message.sent_at_unix_ms, message.at_unix_ms, &self.zone);
            remarks.push(format!("(written {written})"));
        }
        if message.unaccepted_key {
            remarks.push("(under a new key that you have not accepted)".to_owned());
        }
        if message.again {
            remarks.push("(again)".to_owned());
        }
        let who = match (&message.author, self.theme.rich()) {
            (Author::Peer, _) => message.chat.to_string(),
            (Author::Me, true) => format!("you → {}", message.chat),
            (Author::Me, false) => format!("you to {}", message.chat),
        };
        let mark = message.state.as_ref().map(|state| self.mark(state));
        if self.theme.rich() {
            self.rich(message.at_unix_ms, &message.chat, &who, &text, &remarks, mark.as_deref())
        } else {
            let verb = if message.author == Author::Me { "say" } else { "says" };
            let who = who.replacen("you to", "you", 1);
            let to = match message.author {
                Author::Me => format!("you {verb} to {}", message.chat),
                Author::Peer => format!("{who} {verb}"),
            };
            let mut line = format!("{to}: {}", text.replace('\n', " | "));
            for remark in remarks {
                line.push(' ');
                line.push_str(&remark);
            }
            if let Some(mark) = mark {
                line.push_str(&format!(" ({mark})"));
            }
            line
        }
    }

    /// `[12:01] bob        text`, wrapped with the text's column kept, the mark at the right.
    fn rich(
        &self,
        at_unix_ms: u64,
        chat: &UserName,
        who: &str,
        text: &str,
        remarks: &[String],
        mark: Option<&str>,
    ) -> String {
        let clock = format!("[{}] ", time::clock(at_unix_ms, &self.zone));
        let narrow = self.width.is_some_and(|width| width < NARROW);
        let padding = if narrow { 0 } else { NAME_COLUMNS.saturating_sub(columns(who)) };
        let name = format!("{who}{}  ", " ".repeat(padding.saturating_sub(1)));
        let start = columns(&clock) + columns(&name);
        let indent = if narrow { 8 } else { start };
        let mut body: Vec<String> = Vec::new();
        for (index, line) in text.split('\n').enumerate() {
            match self.width {
                Some(width) => {
                    let first = if index == 0 { start } else { indent };
                    body.extend(wrap_after(line, width, first, indent));
                }
                None => body.push(line.to_owned()),
            }
        }
        let mut last_columns = body.last().map_or(0, |line| columns(line))
            + if body.len() == 1 { start } else { indent };
        let mut out = self.theme.paint(Role::Dim, &clock) + &self.theme.name(chat, &name);
        out.push_str(&body.join(&format!("\n{}", " ".repeat(indent))));
        if !remarks.is_empty() {
            let remarks = format!(" {}", remarks.join(" "));
            last_columns += columns(&remarks);
            out.push_str(&self.theme.paint(Role::Dim, &remarks));
        }
        if let Some(mark) = mark {
            let right = self.width.map_or(0, |width| width.min(80));
            let gap = right.saturating_sub(last_columns + columns(mark) + 1).max(2);
            out.push_str(&" ".repeat(gap));
            out.push_str(&self.theme.paint(Role::Dim, mark));
        }
        out
    }

    fn trouble(
        &mut self,
        trouble: &Trouble,
        chat: &UserName,
        at_unix_ms: u64,
        again: bool,
    ) -> String {
        if *trouble == Trouble::KeyChanged {
            return self.key_changed(chat);
        }
        let told = say::trouble(trouble, chat);
        let again = if again { " (again)" } else { "" };
        if self.theme.rich() {
            let clock = time::clock(at_unix_ms, &self.zone);
            self.warning(&format!("[{clock}] {chat}: {}{again}", told.line()))
        } else {
            self.warning(&format!("{}{again}", told.line()))
        }
    }

    /// A changed key: a line that cannot be missed, once per person until they are accepted.
    pub fn key_changed(&mut self, user: &UserName) -> String {
        if !self.warned.insert(user.clone()) {
            return self.notice(&format!("{user}'s key changed here"));
        }
        let told = say::key_changed(user);
        let bar = if self.theme.rich() { "!! " } else { "WARNING: " };
        let text = format!("{bar}{}\n{bar}{}", told.what, told.remedy);
        if self.theme.rich() {
            self.theme.paint(Role::Alarm, &self.wrapped(&text, "!! "))
        } else {
            text.replace("\nWARNING: ", " ")
        }
    }

    /// Whether this person's changed key was shown and not accepted yet.
    pub fn key_warning_stands(&self, user: &UserName) -> bool {
        self.warned.contains(user)
    }

    /// The key of `user` was accepted: another change warns again.
    pub fn key_accepted(&mut self, user: &UserName) {
        self.warned.remove(user);
    }

    /// One dim line.
    pub fn notice(&self, text: &str) -> String {
        self.theme.paint(Role::Dim, &self.wrapped(text, "  "))
    }

    /// Something that went wrong.
    pub fn warning(&self, text: &str) -> String {
        let sign = if self.theme.rich() { "✗ " } else { "warning: " };
        self.theme.paint(Role::Strong, &self.wrapped(&format!("{sign}{text}"), "  "))
    }

    /// What went wrong and, on a second line, what to do.
    pub fn told(&self, told: &say::Told) -> String {
        if !self.theme.rich() || told.remedy.is_empty() {
            return self.warning(&told.line());
        }
        let remedy = self.wrapped(&format!("  {}", told.remedy), "  ");
        format!("{}\n{remedy}", self.warning(&told.what))
    }

    /// The mark of an own message (a word in plain style).
    pub fn mark(&self, state: &MessageState) -> String {
        let (sign, word) = match state {
            MessageState::Waiting | MessageState::Pending => ("…", "waiting"),
            MessageState::Sent => ("·", "sent"),
            MessageState::Delivered => ("✓", "delivered"),
            MessageState::Read => ("✓✓", "read"),
            MessageState::Refused(_) => ("✗", "not sent"),
            MessageState::Cancelled => ("✗", "cancelled"),
        };
        if self.theme.rich() { sign.to_owned() } else { word.to_owned() }
    }

    /// A text broken at the width of the screen; further lines start with `indent`.
    pub fn wrapped(&self, text: &str, indent: &str) -> String {
        let Some(width) = self.width.filter(|_| self.theme.rich()) else {
            return text.to_owned();
        };
        let lines: Vec<String> = text
            .split('\n')
            .map(|line| {
                let room = width.saturating_sub(columns(indent)).max(20);
                wrap(line, room).join(&format!("\n{indent}"))
            })
            .collect();
        lines.join("\n")
    }

    /// The prompt: the current chat, or one's own name when there is none.
    pub fn prompt(&self, chat: Option<&UserName>) -> String {
        format!("{}> ", chat.unwrap_or(&self.me))
    }
}

/// Wraps a line whose first part starts at column `first` and whose others start at `indent`.
fn wrap_after(line: &str, width: usize, first: usize, indent: usize) -> Vec<String> {
    let rest = width.saturating_sub(indent + 1).max(16);
    let begin = width.saturating_sub(first + 1).max(16);
    let mut lines = wrap(line, begin);
    if lines.len() > 1 && begin != rest {
        let tail = lines.split_off(1).join(" ");
        lines.extend(wrap(&tail, rest));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Form, LocalId};
    use crate::types::N;
    use crate::ui::theme::{Colour, Style};

    // 2026-11-20 12:01:02 UTC, a Friday.
    const NOON: u64 = 1_795_176_062_000;
    const MINUTE: u64 = 60_000;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn screen(style: Style, colour: Colour, width: Option<usize>) -> Screen {
        Screen::new(Theme { style, colour }, width, TimeZone::UTC, name("alice"))
    }

    fn rich(width: usize) -> Screen {
        screen(Style::Rich, Colour::Off, Some(width))
    }

    fn plain() -> Screen {
        screen(Style::Plain, Colour::Off, Some(80))
    }

    fn from_bob(text: &str) -> MessageView {
        MessageView {
            id: LocalId(1),
            chat: name("bob"),
            author: Author::Peer,
            text: text.to_owned(),
            at_unix_ms: NOON,
            sent_at_unix_ms: NOON,
            state: None,
            wire_id: None,
            again: false,
            unaccepted_key: false,
            form: Form::Text,
            reply_to: None,
            edited: false,
            deleted: false,
            reactions: Vec::new(),
            expires_unix_ms: None,
        }
    }

    fn to_bob(text: &str, state: MessageState) -> MessageView {
        MessageView { author: Author::Me, state: Some(state), ..from_bob(text) }
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
            chat: name("bob"),
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
                chat: name("bob"),
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
        assert_eq!(rich(80).prompt(Some(&name("bob"))), "bob> ");
    }
}
