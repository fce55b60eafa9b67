//! One message as a line: who, text, what it answers, what was done to it, and its mark.
//!
//! Texts, excerpts and emoji come from strangers: everything is cleaned here.

use crate::client::{Author, Form, MessageView, ReplyView};
use crate::ui::text::{clean, columns, excerpt, wrap};
use crate::ui::theme::Role;
use crate::ui::time;

use super::{Ids, Screen};

/// The clock of a sender is mentioned when it is off by more than this.
const CLOCK_DIFFERENCE_MS: u64 = 5 * 60 * 1_000;
/// Columns of the name in front of a text.
const NAME_COLUMNS: usize = 10;
/// Below this width names are not padded: the text needs the room.
const NARROW: usize = 60;
/// Columns of what is quoted in a reply, where nothing else bounds it.
const QUOTE_COLUMNS: usize = 60;
/// With less room than this, a quote stands on a line of its own.
const QUOTE_COLUMNS_MIN: usize = 20;
/// Columns of a reaction: the widest emoji takes two, its words in a flag a few more.
const EMOJI_COLUMNS: usize = 8;

/// What stands in one message, made safe.
struct Parts {
    text: String,
    remarks: Vec<String>,
    mark: Option<String>,
}

impl Screen {
    pub(super) fn message(&self, message: &MessageView) -> String {
        let parts = Parts {
            text: self.said(message),
            remarks: self.remarks(message),
            mark: message.state.as_ref().filter(|_| !message.deleted).map(|s| self.mark(s)),
        };
        if !self.theme.rich() {
            return self.spoken(message, &parts);
        }
        let (mut out, indent) = self.rich(message, &parts);
        if let Some(file) = message.file.as_deref().filter(|_| !message.deleted) {
            out.push_str(&self.below_file(file, &clean(&message.text), indent));
        }
        out
    }

    fn is_narrow(&self) -> bool {
        self.width.is_some_and(|width| width < NARROW)
    }

    /// A name and the room up to the text behind it.
    pub(super) fn column(&self, name: &str) -> String {
        let padding = if self.is_narrow() { 0 } else { NAME_COLUMNS.saturating_sub(columns(name)) };
        format!("{name}{}  ", " ".repeat(padding.saturating_sub(1)))
    }

    fn said(&self, message: &MessageView) -> String {
        if message.deleted {
            return "(deleted)".to_owned();
        }
        if let Some(file) = &message.file {
            return self.file(file, message);
        }
        let text = clean(&message.text);
        match (message.form, &message.author) {
            (Form::Text, _) => text,
            (Form::Emote, Author::Me) => format!("* {} {text}", self.me),
            (Form::Emote, Author::Them(user)) => format!("* {} {text}", self.names.label(user)),
        }
    }

    /// What a message answers, in `room` columns: who wrote that, and how it begins.
    fn quote(&self, reply: &ReplyView, room: usize) -> String {
        let who = self.author(&reply.author);
        let quoted = |begin: &str, end: &str| {
            let used = columns(begin) + columns(end);
            format!("{begin}{}{end}", excerpt(&reply.excerpt, room.saturating_sub(used).max(4)))
        };
        match (self.theme.rich(), excerpt(&reply.excerpt, room).is_empty()) {
            (true, true) => excerpt("↪ a message that is not here", room),
            (true, false) => quoted(&format!("↪ {who}: "), ""),
            (false, true) => "in answer to a message that is not here".to_owned(),
            (false, false) => quoted("in answer to \"", &format!("\" by {who}")),
        }
    }

    fn remarks(&self, message: &MessageView) -> Vec<String> {
        let mut remarks = Vec::new();
        if message.at_unix_ms.abs_diff(message.sent_at_unix_ms) > CLOCK_DIFFERENCE_MS
            && message.author != Author::Me
        {
            let written = time::moment(message.sent_at_unix_ms, message.at_unix_ms, &self.zone);
            remarks.push(format!("(written {written})"));
        }
        if message.edited && !message.deleted {
            remarks.push("(edited)".to_owned());
        }
        if let Some(end) = message.expires_unix_ms.filter(|_| !message.deleted) {
            let until = time::moment(end, message.at_unix_ms, &self.zone);
            remarks.push(format!("(until {until})"));
        }
        if !message.reactions.is_empty() && !message.deleted {
            let all: Vec<String> = message
                .reactions
                .iter()
                .map(|reaction| {
                    let who = self.author(&reaction.author);
                    format!("{who}: {}", emoji(&reaction.emoji))
                })
                .collect();
            remarks.push(format!("({})", all.join(", ")));
        }
        if message.unaccepted_key {
            remarks.push("(under a new key that you have not accepted)".to_owned());
        }
        if message.again {
            remarks.push("(again)".to_owned());
        }
        remarks
    }

    /// One line in words.
    fn spoken(&self, message: &MessageView, parts: &Parts) -> String {
        let label = self.names.chat(&message.chat);
        let mut line = match self.ids {
            Ids::Shown => format!("{}: ", message.id),
            Ids::Hidden => String::new(),
        };
        line.push_str(&match &message.author {
            Author::Me => format!("you say to {label}"),
            Author::Them(user) => match message.chat.group() {
                Some(_) => format!("{} says in {label}", self.names.label(user)),
                None => format!("{} says", self.names.label(user)),
            },
        });
        if let Some(reply) = &message.reply_to {
            line.push_str(&format!(" {}", self.quote(reply, QUOTE_COLUMNS)));
        }
        line.push_str(&format!(": {}", parts.text.replace('\n', " | ")));
        if message.file.is_some() && !message.deleted && !message.text.is_empty() {
            line.push_str(&format!(": {}", clean(&message.text).replace('\n', " | ")));
        }
        for remark in &parts.remarks {
            line.push_str(&format!(" {remark}"));
        }
        if let Some(mark) = &parts.mark {
            line.push_str(&format!(" ({mark})"));
        }
        line
    }

    /// `[12:01] bob        text`, wrapped with the text's column kept, the mark at the right.
    /// Returns also the column at which its text stands.
    fn rich(&self, message: &MessageView, parts: &Parts) -> (String, usize) {
        let label = self.names.chat(&message.chat);
        // In a group, the group stands where in other chats the person stands: what everybody
        // reads never looks like what only one does.
        let (who, author) = match (&message.author, message.chat.group()) {
            (Author::Me, _) => (format!("you → {label}"), None),
            (Author::Them(_), Some(_)) if message.form == Form::Emote => (label.to_string(), None),
            (Author::Them(user), Some(_)) => (label.to_string(), Some(user)),
            (Author::Them(user), None) => (self.names.label(user).to_owned(), None),
        };
        let said = author.map(|user| format!("{}: ", self.names.label(user))).unwrap_or_default();
        let id = match self.ids {
            Ids::Shown => format!("{:>4} ", message.id),
            Ids::Hidden => String::new(),
        };
        let clock = format!("{id}[{}] ", self.clock(message.at_unix_ms));
        let narrow = self.is_narrow();
        let name = self.column(&who);
        let start = columns(&clock) + columns(&name) + columns(&said);
        let indent = if narrow { 8 } else { start };
        let mut body = Vec::new();
        if let Some(reply) = &message.reply_to {
            let room = |used: usize| {
                self.width.map_or(QUOTE_COLUMNS, |width| width.saturating_sub(used + 1))
            };
            let beside = room(start) >= QUOTE_COLUMNS_MIN;
            if !beside {
                body.push(String::new());
            }
            let room = room(if beside { start } else { indent }).min(QUOTE_COLUMNS);
            body.push(self.theme.paint(Role::Dim, &self.quote(reply, room)));
        }
        let quoted = body.len();
        for (index, line) in parts.text.split('\n').enumerate() {
            match self.width {
                Some(width) => {
                    let first = if index + quoted == 0 { start } else { indent };
                    body.extend(wrap_after(line, width, first, indent));
                }
                None => body.push(line.to_owned()),
            }
        }
        let mut used = body.last().map_or(0, |line| columns(line))
            + if body.len() == 1 { start } else { indent };
        let mut out = self.theme.paint(Role::Dim, &clock) + &self.theme.name(&message.chat, &name);
        if let Some(user) = author {
            out.push_str(&self.theme.name(user, &said));
        }
        out.push_str(&body.join(&format!("\n{}", " ".repeat(indent))));
        for remark in &parts.remarks {
            let room = self.width.unwrap_or(usize::MAX);
            if used + 1 + columns(remark) >= room {
                out.push_str(&format!("\n{}", " ".repeat(indent)));
                used = indent;
            } else {
                out.push(' ');
                used += 1;
            }
            out.push_str(&self.theme.paint(Role::Dim, remark));
            used += columns(remark);
        }
        if let Some(mark) = &parts.mark {
            let right = self.width.map_or(0, |width| width.min(80));
            if self.width.is_some_and(|width| used + 2 + columns(mark) >= width) {
                out.push_str(&format!("\n{}", " ".repeat(indent)));
                used = indent;
            }
            let gap = right.saturating_sub(used + columns(mark) + 1).max(2);
            out.push_str(&" ".repeat(gap));
            out.push_str(&self.theme.paint(Role::Dim, mark));
        }
        (out, indent)
    }
}

/// A reaction, made safe and short.
pub(super) fn emoji(emoji: &str) -> String {
    excerpt(emoji, EMOJI_COLUMNS)
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
