//! The slash commands: what a typed line means.
//!
//! Pure: a line in, a [`Command`] or a sentence out. A new command is a row in `table`, a variant
//! here, and an arm in [`super::line`](mod@super::line); names, usage, help, completion and parsing
//! come from the row, and the tests ask each row for examples that parse.

use crate::client::{LocalId, Notify, PictureChoice};
use crate::types::{ChatName, GroupName, UserName};

use super::names::Names;
use super::settings::TimeForm;
use super::text;

mod complete;
mod help;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod wish;
mod words;

pub use complete::{Group, Known, complete, wants_file};
pub use help::{help, help_of};
pub use row::{Argument, Heading, Holds, Row, Whom};
pub use table::{HISTORY_LINES, LINES_MAX, rows};
pub use wish::{Sure, Wish};
pub use words::{Lasting, duration, numbered};

use words::Words;

/// What a typed line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing was typed.
    Nothing,
    /// Send this to the current chat.
    Say(String),
    /// Send this to somebody.
    Message(ChatName, String),
    /// Make a chat the current one.
    To(ChatName),
    /// Answer the last writer.
    Answer(String),
    /// Tell the current chat what one does.
    Emote(String),
    /// Answer one message.
    Reply(LocalId, String),
    /// React to a message; `None` takes the reaction back.
    React(LocalId, Option<String>),
    /// Replace the last own message of the current chat, or the one whose number comes first.
    Edit(String),
    /// Delete a message.
    Delete(LocalId),
    /// Send what waits now, or one refused message again.
    Retry(Option<LocalId>),
    /// Who has read an own message.
    Seen(LocalId),
    /// Show or hide the numbers of messages; `None` changes over.
    Ids(Option<Switch>),
    /// Send files to the current chat.
    Send(Sending),
    /// Look at the file of a message with the program that this machine has for it.
    Open(LocalId),
    /// Store the file of a message; a name of its own, or where files go by themselves.
    Save(LocalId, Option<String>),
    /// List the files on their way.
    Transfers,
    /// Stop a file, or take back a message that is not sent yet.
    Cancel(LocalId),
    /// Write a text of several lines.
    Multi,
    /// Write in the editor of the person's choice; begins with this text.
    Editor(String),
    /// Take what is pasted as one text, and ask before it goes.
    Paste,
    /// List the chats.
    Chats,
    /// Go to the next chat with something unread.
    Next,
    /// List the chats with something unread.
    Unread,
    /// Leave the current chat.
    Close,
    /// Show the last lines of the current chat.
    History(usize),
    /// Look for a text.
    Search(String),
    /// Show the current chat from a day on.
    Goto(String),
    /// Make a group with these people.
    Create(GroupName, Vec<UserName>),
    /// Join a group by its password.
    Join(GroupName),
    /// Join a group by a link.
    JoinLink(String),
    /// Something about a group; `None`: that of the current chat.
    InGroup(Option<GroupName>, Wish),
    /// List the groups.
    Groups,
    /// List the people known here.
    Contacts,
    /// Who is there?
    Who(Scope),
    /// Call somebody something; `None`: by their name again.
    Alias(UserName, Option<String>),
    /// Take no more mail from somebody.
    Block(UserName),
    /// Take mail again.
    Unblock(UserName),
    /// Talk to somebody who wrote first.
    Accept(UserName),
    /// Show the safety number.
    Verify(UserName),
    /// The safety number was compared and is the same.
    Verified(UserName),
    /// Trust a changed key.
    AcceptKey(UserName),
    /// Show one's own keys and how well those of others are known.
    Keys,
    /// Make a chat (`None`: the current one) quiet.
    Mute(Option<ChatName>, Lasting),
    /// What rings.
    Notify(Notify, Reach),
    /// Whether others learn what was read.
    Receipts(Switch, Reach),
    /// Whether others learn that one is typing.
    Typing(Switch, Reach),
    /// On: others do not see that one is online.
    Invisible(Switch),
    /// How long messages of the current chat are kept; `None` asks.
    Expire(Option<Lasting>),
    /// Where the client stands.
    Status,
    /// What works and what does not.
    Doctor,
    /// Show all settings, one, or change one.
    Set(Option<String>, Option<String>),
    /// How times are shown; `None` changes over.
    Time(Option<TimeForm>),
    /// An empty screen.
    Clear,
    /// Help: everything, or one command.
    Help(Option<&'static Row>),
    /// Leave.
    Quit,
}

/// Files to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// As they were typed; `~` is still there.
    pub files: Vec<String>,
    /// Goes with the first.
    pub caption: String,
    /// What of pictures is sent.
    pub picture: PictureChoice,
}

/// Whom `/who` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Who is signed in now.
    Online,
    /// Everybody who has an account.
    All,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// How far a wish for quiet reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The current chat; every chat when there is none.
    Here,
    /// Every chat that has no wish of its own.
    Everywhere,
}

/// Why a line is no command. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misunderstood {
    /// No command of that name; perhaps this one was meant.
    Unknown {
        /// As typed, cleaned.
        word: String,
        /// The nearest.
        meant: Option<&'static str>,
    },
    /// What follows the command makes no sense.
    Usage {
        /// The row.
        row: &'static Row,
        /// What is wrong: a clause.
        why: String,
    },
}

/// What a link to join a group by begins with.
pub const LINK_BEGINS: &str = "fastchat://";

/// Words of the systems that this one grew from, and what they are called here.
const OLD_WORDS: &[(&str, &str)] = &[("all", "who all"), ("read", "history")];

/// The row of a command, by name or alias.
pub fn find(word: &str) -> Option<&'static Row> {
    let word = word.to_lowercase();
    rows()
        .find(|row| row.name == word || row.aliases.contains(&word.as_str()))
        .or_else(|| table::old(&word))
}

/// The row of a typed line that begins like a command, and what follows its name.
pub fn row_of(line: &str) -> Option<(&'static Row, &str)> {
    match split(line) {
        Split::Row(row, rest) => Some((row, rest)),
        Split::Text(_) | Split::Unknown(_) => None,
    }
}

enum Split<'a> {
    Row(&'static Row, &'a str),
    Text(&'a str),
    Unknown(&'a str),
}

/// Tells commands from texts.
///
/// A backslash begins a command only in front of a word that is one: `\o/` is a greeting.
fn split(line: &str) -> Split<'_> {
    // Whoever is used to typing this without a slash must not send it to the wrong person.
    for word in ["single_message", "group_message", "create_group"] {
        if let Some(rest) = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) {
            return known(word, rest).unwrap_or(Split::Text(line));
        }
    }
    match (line.strip_prefix('/'), line.strip_prefix('\\')) {
        // `//etc/hosts` sends `/etc/hosts`.
        (Some(rest), _) if rest.starts_with('/') => Split::Text(rest),
        (Some(rest), _) => {
            let (word, rest) = first_word(rest);
            known(word, rest).unwrap_or(Split::Unknown(word))
        }
        (None, Some(rest)) if rest.starts_with('\\') => Split::Text(rest),
        (None, Some(rest)) => {
            let (word, rest) = first_word(rest);
            known(word, rest).unwrap_or(Split::Text(line))
        }
        (None, None) => Split::Text(line),
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn known<'a>(word: &str, rest: &'a str) -> Option<Split<'a>> {
    let lower = word.to_lowercase();
    match OLD_WORDS.iter().find(|(old, _)| *old == lower).map(|(_, new)| first_word(new)) {
        Some((new, argument)) if rest.is_empty() => Some(Split::Row(find(new)?, argument)),
        Some((new, _)) => Some(Split::Row(find(new)?, rest)),
        None => Some(Split::Row(find(word)?, rest)),
    }
}

/// Understands one typed line; `names` knows what people are called here.
///
/// # Errors
/// [`Misunderstood`]: nothing may be sent then.
pub fn parse(line: &str, names: &Names) -> Result<Command, Misunderstood> {
    let line = line.trim_end();
    if line.trim_start().is_empty() {
        return Ok(Command::Nothing);
    }
    match split(line) {
        Split::Text(text) => Ok(Command::Say(text.to_owned())),
        Split::Row(row, rest) => {
            (row.parse)(Words { rest, names }).map_err(|why| Misunderstood::Usage { row, why })
        }
        Split::Unknown(word) => {
            let names = rows().map(|row| row.name);
            let meant = text::nearest(word, names);
            Err(Misunderstood::Unknown { word: text::excerpt(word, 40), meant })
        }
    }
}

impl Misunderstood {
    /// A sentence, and what to type instead.
    pub fn sentence(&self) -> String {
        match self {
            Self::Unknown { word, meant: Some(meant) } => {
                format!("There is no /{word}; nothing was sent. Did you mean /{meant}?")
            }
            Self::Unknown { word, .. } if word.is_empty() => {
                "There is no command after the /; nothing was sent. To send it: // TEXT".to_owned()
            }
            Self::Unknown { word, meant: None } => format!(
                "There is no /{word}; nothing was sent. All commands: /help   To send it: //{word}"
            ),
            Self::Usage { row, why } => {
                format!("{}: {why}. Usage: {}", text::excerpt(row.name, 20), row.usage)
            }
        }
    }
}
