//! What was done to messages that are on the screen already, and who comes, goes or types: one dim
//! line each. Texts of strangers are cleaned here.

use crate::client::{Author, MessageView};
use crate::types::{ChatName, UserName};
use crate::ui::text::excerpt;

use super::Screen;
use super::message::emoji;

/// Columns of an excerpt that names a message.
const EXCERPT_COLUMNS: usize = 30;

impl Screen {
    /// The text of a message was changed.
    pub fn edited(&self, message: &MessageView) -> String {
        let text = excerpt(&message.text, EXCERPT_COLUMNS.max(self.room(40)));
        let who = self.author(&message.author);
        self.notice(&format!("{who} changed {}: \"{text}\"", self.that(message)))
    }

    /// A message was taken back. Its text is not shown once more.
    pub fn deleted(&self, message: &MessageView) -> String {
        let who = self.author(&message.author);
        self.notice(&format!("{who} deleted {}", self.that(message)))
    }

    /// Somebody reacted to a message, or took that back.
    pub fn reacted(&self, message: &MessageView, by: &Author, with: Option<&str>) -> String {
        let who = self.author(by);
        let text = match message.text.as_str() {
            "" => self.that(message),
            text => format!("\"{}\"", excerpt(text, EXCERPT_COLUMNS)),
        };
        let text = match (by, &message.author) {
            (by, author) if by == author => text,
            (_, Author::Me) => format!("your {text}"),
            (_, Author::Them(user)) => format!("{}'s {text}", self.names.label(user)),
        };
        self.notice(&match with {
            Some(with) => format!("{who}: {} to {text}", emoji(with)),
            None => format!("{who} took back a reaction to {text}"),
        })
    }

    /// The time of some messages has run out.
    pub fn expired(&self, count: usize) -> String {
        self.notice(&match count {
            1 => "a message has expired and is gone here".to_owned(),
            more => format!("{more} messages have expired and are gone here"),
        })
    }

    /// Somebody is typing.
    pub fn typing(&self, chat: &ChatName, user: &UserName) -> String {
        let indent = if self.theme.rich() { "        " } else { "" };
        let place = chat.group().map(|group| format!(" in {group}")).unwrap_or_default();
        self.notice(&format!("{indent}{} is typing{place}", self.names.label(user)))
    }

    /// Who of a group has read a message, as they say, and who has not yet.
    pub fn read_by(&self, read: &[UserName], not: &[UserName]) -> String {
        let counted = format!("{} of {}", read.len(), read.len() + not.len());
        match (read, not) {
            ([], _) => format!("read by nobody yet ({counted})"),
            (read, []) => format!("read by {} ({counted})", self.several(read)),
            (read, not) => {
                let (read, not) = (self.several(read), self.several(not));
                format!("read by {read} ({counted}); not yet: {not}")
            }
        }
    }

    /// Some people came (or went).
    pub fn presence(&self, people: &[&UserName], online: bool) -> String {
        let names: Vec<&str> = people.iter().map(|user| self.names.label(user)).collect();
        let verb = if people.len() == 1 { "is" } else { "are" };
        let what = if online { "online" } else { "offline" };
        self.notice(&format!("{} {verb} {what}", names.join(", ")))
    }

    /// "message 42 of 12:01".
    fn that(&self, message: &MessageView) -> String {
        format!("message {} of {}", message.id, self.clock(message.at_unix_ms))
    }

    pub(super) fn author(&self, author: &Author) -> String {
        match author {
            Author::Me => "you".to_owned(),
            Author::Them(user) => self.names.label(user).to_owned(),
        }
    }

    fn room(&self, used: usize) -> usize {
        self.width.unwrap_or(80).saturating_sub(used)
    }
}
