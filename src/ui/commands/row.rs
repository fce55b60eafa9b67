//! What a row of the table of commands is.

use super::Command;
use super::words::Words;

/// What a command is followed by: decides what Tab offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing to complete.
    None,
    /// A person.
    Person,
    /// A person or a group.
    Chat,
    /// A new name, then people.
    PeopleAfterName,
    /// People of the current group, or of the one that is named first.
    InGroup(Whom),
    /// One of these words.
    Words(&'static [&'static str]),
    /// Names of files, and what goes with them.
    Files,
    /// A number, then the name of a file.
    PathAfterId,
    /// A command.
    Command,
    /// A setting.
    Setting,
}

/// Whom a command about a group can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Who is not in it.
    Outsiders,
    /// Who is in it.
    Members,
    /// Who is in it and no admin.
    Plain,
    /// Its admins.
    Admins,
    /// Nobody; the word off may follow.
    Off,
    /// Nobody.
    Nobody,
}

/// Under which heading help lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// To write.
    Write,
    /// To do something with a message.
    Messages,
    /// Files.
    Files,
    /// To move about.
    Move,
    /// About groups.
    Groups,
    /// About people.
    People,
    /// About keys.
    Keys,
    /// To be left alone.
    Quiet,
    /// Everything else.
    Client,
}

impl Heading {
    /// All, in the order of help.
    pub const ALL: [Self; 9] = [
        Self::Write,
        Self::Messages,
        Self::Files,
        Self::Move,
        Self::Groups,
        Self::People,
        Self::Keys,
        Self::Quiet,
        Self::Client,
    ];

    /// Its heading.
    pub fn words(self) -> &'static str {
        match self {
            Self::Write => "Write",
            Self::Messages => "Messages",
            Self::Files => "Files",
            Self::Move => "Chats",
            Self::Groups => "Groups",
            Self::People => "People",
            Self::Keys => "Keys",
            Self::Quiet => "Quiet",
            Self::Client => "Client",
        }
    }
}

/// Whether a typed command may be remembered on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Names and numbers: yes.
    Names,
    /// Words meant for somebody, or about what was written: never.
    Texts,
}

/// One command.
#[derive(Debug)]
pub struct Row {
    /// Its name, without the slash.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Lines that work, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
    /// What Tab offers after it.
    pub argument: Argument,
    /// Its heading in help.
    pub heading: Heading,
    /// Whether it may be remembered on disk.
    pub holds: Holds,
    pub(super) parse: fn(Words<'_>) -> Result<Command, String>,
}

/// A row for names and numbers only, with nothing to complete.
pub(super) const fn row(
    heading: Heading,
    name: &'static str,
    usage: &'static str,
    summary: &'static str,
    examples: &'static [(&'static str, &'static str)],
    parse: fn(Words<'_>) -> Result<Command, String>,
) -> Row {
    let (argument, holds) = (Argument::None, Holds::Names);
    Row { name, aliases: &[], usage, summary, examples, argument, heading, holds, parse }
}

impl Row {
    pub(super) const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn offers(self, argument: Argument) -> Self {
        Self { argument, ..self }
    }

    pub(super) const fn of_texts(self) -> Self {
        Self { holds: Holds::Texts, ..self }
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Row {}
