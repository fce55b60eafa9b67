//! What happened, as lines of text: messages, marks, notices, lists.
//!
//! Pure: no terminal, no clock, no client. The only state is what stands above on the screen: the
//! last day line, and for whom a key warning was shown.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::client::{Line, MessageState, Trouble};
use crate::types::{ChatName, UserName};

use super::names::Names;
use super::pictures::{Room, Way};
use super::say;
use super::settings::TimeForm;
use super::text::{columns, wrap};
use super::theme::{Role, Theme};
use super::time;
use membership::Changed;

mod file;
mod membership;
mod message;
mod news;
#[cfg(test)]
pub(super) mod samples;

/// Whether the numbers of messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// At the left of each message.
    Shown,
    /// Not.
    Hidden,
}

/// Whether the pictures of files are shown below their lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previews {
    /// As the terminal can.
    Shown(Way, Room),
    /// Not.
    Hidden,
}

/// Turns what happened into lines. No line ends with a newline.
#[derive(Clone, Debug)]
pub struct Screen {
    /// How lines look.
    pub theme: Theme,
    /// Columns; `None` when the output is no terminal: nothing is wrapped then.
    pub width: Option<usize>,
    /// What people are called.
    pub names: Names,
    /// How times are written.
    pub time: TimeForm,
    /// Whether the numbers of messages stand at the left.
    pub ids: Ids,
    /// Whether pictures are shown.
    pub previews: Previews,
    zone: TimeZone,
    me: UserName,
    last_day: Option<Date>,
    warned: BTreeSet<UserName>,
}

impl Screen {
    /// An empty screen of `me`.
    pub fn new(theme: Theme, width: Option<usize>, zone: TimeZone, me: UserName) -> Self {
        Self {
            theme,
            width,
            names: Names::default(),
            time: TimeForm::Short,
            ids: Ids::Hidden,
            previews: Previews::Hidden,
            zone,
            me,
            last_day: None,
            warned: BTreeSet::new(),
        }
    }

    /// Lines of another day than this moment's get a day line above them.
    pub fn on_day_of(mut self, unix_ms: u64) -> Self {
        self.last_day = Some(time::day(unix_ms, &self.zone));
        self
    }

    /// This screen with the numbers of messages at the left.
    pub fn with_ids(mut self) -> Self {
        self.ids = Ids::Shown;
        self
    }

    /// The time of day of a line.
    pub(super) fn clock(&self, unix_ms: u64) -> String {
        match self.time {
            TimeForm::Short => time::clock(unix_ms, &self.zone),
            TimeForm::Full => time::clock_with_seconds(unix_ms, &self.zone),
        }
    }

    /// What somebody is called, in the colour of their name.
    pub fn called(&self, user: &UserName) -> String {
        self.theme.name(user, self.names.label(user))
    }

    /// Whose screen it is.
    pub fn me(&self) -> &UserName {
        &self.me
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
            Line::Membership { chat, group, by, change, at_unix_ms, again, .. } => {
                let (at_unix_ms, again) = (*at_unix_ms, *again);
                let changed = Changed { chat, group, by, change, at_unix_ms, again };
                self.day_line(at_unix_ms) + &self.membership(&changed)
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

    fn trouble(
        &mut self,
        trouble: &Trouble,
        chat: &ChatName,
        at_unix_ms: u64,
        again: bool,
    ) -> String {
        if let (Trouble::KeyChanged, Some(user)) = (trouble, chat.person()) {
            return self.key_changed(user);
        }
        let told = say::trouble(trouble, chat);
        let again = if again { " (again)" } else { "" };
        if self.theme.rich() {
            let clock = self.clock(at_unix_ms);
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
        let (sign, word) = Self::sign_and_word(state);
        if self.theme.rich() { sign.to_owned() } else { word.to_owned() }
    }

    /// The same as a word in every style.
    pub fn state(&self, state: &MessageState) -> &'static str {
        Self::sign_and_word(state).1
    }

    fn sign_and_word(state: &MessageState) -> (&'static str, &'static str) {
        match state {
            MessageState::Uploading => ("…", "uploading"),
            MessageState::Waiting | MessageState::Pending => ("…", "waiting"),
            MessageState::Sent => ("·", "sent"),
            MessageState::Delivered => ("✓", "delivered"),
            MessageState::Read => ("✓✓", "read"),
            MessageState::Refused(_) => ("✗", "failed"),
            MessageState::Cancelled => ("✗", "cancelled"),
        }
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
    pub fn prompt(&self, chat: Option<&ChatName>) -> String {
        let called = chat.map(|chat| self.names.chat(chat));
        format!("{}> ", called.as_deref().unwrap_or(self.me.as_str()))
    }
}

#[cfg(test)]
mod tests;
