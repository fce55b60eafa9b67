//! What people wrote, were told and saw.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{Author, Line, Trouble, WireId};
use crate::types::{ChatName, UserName};

/// Everything people wrote, were told and saw, in order. Survives every crash.
#[derive(Debug, Default)]
pub struct Diary {
    /// Texts that a client took, by author. Each text is unique in the run.
    written: BTreeMap<String, (UserName, UserName)>,
    /// Texts of which the author was told "sent".
    sent: BTreeSet<String>,
    /// Numbers that are "sent": (recipient, author, device, n).
    pub(super) stored: BTreeSet<(UserName, UserName, u64, u64)>,
    /// What readers saw: reader, chat, device, n, text, and whether it was marked "(again)".
    shown: Vec<Shown>,
    /// Holes and other troubles on anybody's screen.
    troubles: Vec<(UserName, ChatName, Trouble)>,
}

#[derive(Debug)]
struct Shown {
    reader: UserName,
    chat: UserName,
    device: u64,
    n: u64,
    text: String,
    again: bool,
}

impl Diary {
    /// A client took this text.
    pub fn wrote(&mut self, from: &UserName, to: &UserName, text: &str) {
        self.written.insert(text.to_owned(), (from.clone(), to.clone()));
    }

    /// The author was told that it is sent.
    pub fn told_sent(&mut self, text: &str) {
        self.sent.insert(text.to_owned());
    }

    /// The author was told that the home of `to` has this number on its disk.
    pub fn told_stored(&mut self, from: &UserName, to: &UserName, id: &WireId) {
        self.stored.insert((to.clone(), from.clone(), id.device.0, id.n.0));
    }

    /// A line stood on somebody's screen.
    pub fn saw(&mut self, reader: &UserName, line: &Line) {
        match line {
            Line::Message(message) => {
                let Author::Them(author) = &message.author else { return };
                let id = message.wire_id.as_ref();
                self.shown.push(Shown {
                    reader: reader.clone(),
                    chat: author.clone(),
                    device: id.map_or(0, |id| id.device.0),
                    n: id.map_or(0, |id| id.n.0),
                    text: message.text.clone(),
                    again: message.again,
                });
            }
            Line::Trouble { chat, trouble, .. } => {
                self.troubles.push((reader.clone(), chat.clone(), trouble.clone()));
            }
            Line::Membership { .. } => {}
        }
    }

    /// How many texts were written, told sent, and shown.
    pub fn counts(&self) -> (usize, usize, usize) {
        let seen: BTreeSet<(&UserName, &str)> =
            self.shown.iter().map(|s| (&s.reader, s.text.as_str())).collect();
        (self.written.len(), self.sent.len(), seen.len())
    }

    /// Texts written and not shown to their reader.
    pub fn missing(&self) -> Vec<&str> {
        let seen: BTreeSet<(&UserName, &str)> =
            self.shown.iter().map(|s| (&s.reader, s.text.as_str())).collect();
        self.written
            .iter()
            .filter(|(text, (_, to))| !seen.contains(&(to, text.as_str())))
            .map(|(text, _)| text.as_str())
            .collect()
    }

    /// What was promised and did not hold, one line each. Empty: all is well.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for text in self.missing() {
            let told = if self.sent.contains(text) { "I1: sent and lost" } else { "never shown" };
            found.push(format!("{told}: {text:?}"));
        }
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(&UserName, &UserName, u64), u64> = BTreeMap::new();
        for shown in &self.shown {
            let Shown { reader, chat, device, n, text, again } = shown;
            let first = seen.insert((reader, text.as_str()));
            if !first && !again {
                found.push(format!("I2: shown twice to {reader}: {text:?}"));
            }
            match self.written.get(text) {
                Some((from, to)) if from == chat && to == reader => {}
                Some(_) | None => found.push(format!("shown to {reader}, never written: {text:?}")),
            }
            let before = last.entry((reader, chat, *device)).or_default();
            if first && *n <= *before {
                found.push(format!("I3: {reader} saw n {n} of {chat} after {before}: {text:?}"));
            }
            *before = (*before).max(*n);
        }
        for (reader, chat, trouble) in &self.troubles {
            found.push(format!("on the screen of {reader}, chat {chat}: {trouble:?}"));
        }
        found
    }
}
