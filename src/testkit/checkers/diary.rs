//! What people wrote, were told and saw.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::client::{Author, Line, LocalId, MessageView, Trouble, WireId};
use crate::types::{ChatName, UserName};

/// Everything people wrote, were told and saw, in order. Survives every crash.
#[derive(Debug, Default)]
pub struct Diary {
    /// Texts that a client took: by whom, and for which chat. Each text is unique in the run.
    pub(super) written: BTreeMap<String, (UserName, ChatName)>,
    /// Texts of which the author was told "sent".
    pub(super) sent: BTreeSet<String>,
    /// Texts of which the author was told that they never will be.
    pub(super) refused: BTreeSet<String>,
    /// Numbers that are "sent": (chat, author, device, n).
    pub(super) stored: BTreeSet<(ChatName, UserName, u64, u64)>,
    /// The device and number of texts that are "sent".
    pub(super) numbers: BTreeMap<String, (u64, u64)>,
    /// What readers saw, in order.
    pub(super) shown: Vec<Shown>,
    /// Holes and other troubles on anybody's screen.
    pub(super) troubles: Vec<(UserName, ChatName, Trouble)>,
    /// Files that a client took, by the words that go with them.
    pub(super) files: BTreeMap<String, SentFile>,
    /// Files on screens: whose, where, and the words that go with them.
    pub(super) files_shown: BTreeSet<(UserName, LocalId, String)>,
    /// Words of a file on a screen without their file: whose screen.
    pub(super) bare: BTreeSet<(UserName, String)>,
}

/// SHA-256, as a judge reckons it.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A file as it was handed to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

/// A text on a screen.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) reader: UserName,
    pub(super) chat: ChatName,
    pub(super) author: UserName,
    pub(super) device: u64,
    pub(super) n: u64,
    pub(super) text: String,
    /// It was marked "(again)".
    pub(super) again: bool,
}

impl Diary {
    /// A client took this text.
    pub fn wrote(&mut self, from: &UserName, to: &ChatName, text: &str) {
        self.written.insert(text.to_owned(), (from.clone(), to.clone()));
    }

    /// The author was told that it is sent.
    pub fn told_sent(&mut self, text: &str) {
        self.sent.insert(text.to_owned());
    }

    /// The author was told that it will never be sent.
    pub fn told_refused(&mut self, text: &str) {
        self.refused.insert(text.to_owned());
    }

    /// The author was told that the chat's home has this text under this number on its disk.
    pub fn told_stored(&mut self, from: &UserName, to: &ChatName, id: &WireId, text: &str) {
        let (device, n) = (id.device.0, id.n.0);
        self.stored.insert((to.clone(), from.clone(), device, n));
        self.numbers.insert(text.to_owned(), (device, n));
    }

    /// A line stood on somebody's screen.
    pub fn saw(&mut self, reader: &UserName, line: &Line) {
        match line {
            Line::Message(message) => {
                let Author::Them(author) = &message.author else { return };
                self.saw_file(reader, message);
                let id = message.wire_id.as_ref();
                self.shown.push(Shown {
                    reader: reader.clone(),
                    chat: message.chat.clone(),
                    author: author.clone(),
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

    /// A client took this file, with these words.
    pub fn sent_file(&mut self, caption: &str, file: SentFile) {
        self.files.insert(caption.to_owned(), file);
    }

    fn saw_file(&mut self, reader: &UserName, message: &MessageView) {
        let caption = message.text.clone();
        if message.file.is_some() {
            self.files_shown.insert((reader.clone(), message.id, caption));
        } else if self.files.contains_key(&message.text) {
            self.bare.insert((reader.clone(), caption));
        }
    }

    /// The files that this reader was shown, and what they were when they were sent; `None`: nobody
    /// sent one with these words.
    pub fn files_of(&self, reader: &UserName) -> Vec<(LocalId, String, Option<SentFile>)> {
        let shown = self.files_shown.iter().filter(|(who, ..)| who == reader);
        shown
            .map(|(_, id, caption)| (*id, caption.clone(), self.files.get(caption).cloned()))
            .collect()
    }

    /// Files that clients took.
    pub fn files_sent(&self) -> usize {
        self.files.len()
    }

    /// How many texts were written, told sent, and shown to somebody for the first time.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.written.len(), self.sent.len(), self.seen().len())
    }

    /// Who saw what.
    pub(super) fn seen(&self) -> BTreeSet<(&UserName, &str)> {
        self.shown.iter().map(|shown| (&shown.reader, shown.text.as_str())).collect()
    }

    /// Texts written to one person and not shown to them.
    pub fn missing(&self) -> Vec<&str> {
        let seen = self.seen();
        let is_missing = |text: &str, to: &ChatName| {
            to.person().is_some_and(|reader| !seen.contains(&(reader, text)))
        };
        let missing = self.written.iter().filter(|(text, (_, to))| is_missing(text, to));
        missing.map(|(text, _)| text.as_str()).collect()
    }

    /// What was promised and did not hold, one line each, as far as paper alone tells. Empty: all
    /// is well.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for text in self.missing() {
            let told = if self.sent.contains(text) { "I1: sent and lost" } else { "never shown" };
            found.push(format!("{told}: {text:?}"));
        }
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(&UserName, &ChatName, &UserName, u64), u64> = BTreeMap::new();
        for shown in &self.shown {
            let Shown { reader, chat, author, device, n, text, again } = shown;
            let first = seen.insert((reader, text.as_str()));
            if !first && !again {
                found.push(format!("I2: shown twice to {reader}: {text:?}"));
            }
            if !self.was_written(shown) {
                found.push(format!("shown to {reader} in {chat}, never written: {text:?}"));
            }
            if self.refused.contains(text) {
                found.push(format!("shown to {reader}, and its author was told no: {text:?}"));
            }
            let before = last.entry((reader, chat, author, *device)).or_default();
            if first && *n <= *before {
                found.push(format!("I3: {reader} saw n {n} of {author} after {before}: {text:?}"));
            }
            *before = (*before).max(*n);
        }
        for (reader, caption) in &self.bare {
            found.push(format!("F1: shown to {reader} without its file: {caption:?}"));
        }
        for (reader, chat, trouble) in &self.troubles {
            if *trouble == Trouble::Expired && chat.person().is_none() {
                // Who is out does not hold up what goes: the judge of groups knows who that is.
                continue;
            }
            found.push(format!("on the screen of {reader}, chat {chat}: {trouble:?}"));
        }
        found
    }

    /// Whether its author wrote it, and for this reader: a chat with a person has the other one's
    /// name on each screen.
    fn was_written(&self, shown: &Shown) -> bool {
        let Shown { reader, chat, author, text, .. } = shown;
        self.written.get(text).is_some_and(|(from, to)| {
            from == author
                && match to {
                    ChatName::Person(person) => person == reader && chat.person() == Some(author),
                    ChatName::Group(_) => to == chat,
                }
        })
    }
}
