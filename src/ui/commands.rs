//! The one table of slash commands: names, usage, help, completion and parsing come from its rows.
//!
//! Pure: a line in, a [`Command`] or a sentence out. A new command is a row here, a variant, and an
//! arm in [`super::line`](mod@super::line); the tests ask each row for examples that parse.

use std::fmt::Write as _;

use crate::types::UserName;

use super::text;

/// What a typed line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing was typed.
    Nothing,
    /// Send this to the current chat.
    Say(String),
    /// Send this to somebody.
    Message(UserName, String),
    /// Make somebody's chat the current one.
    To(UserName),
    /// Answer the last writer.
    Reply(String),
    /// List the chats.
    Chats,
    /// Show the last lines of the current chat.
    History(usize),
    /// Who is there?
    Who(Scope),
    /// Show the safety number.
    Verify(UserName),
    /// The safety number was compared and is the same.
    Verified(UserName),
    /// Trust a changed key.
    AcceptKey(UserName),
    /// Take no more mail from somebody.
    Block(UserName),
    /// Take mail again.
    Unblock(UserName),
    /// Talk to somebody who wrote first.
    Accept(UserName),
    /// Where the client stands.
    Status,
    /// Help: everything, or one command.
    Help(Option<&'static Row>),
    /// Leave.
    Quit,
}

/// Whom `/who` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Who is signed in now.
    Online,
    /// Everybody who has an account.
    All,
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

/// What a command is followed by: decides what Tab offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing to complete.
    None,
    /// A person.
    Person,
    /// One of these words.
    Word(&'static str),
    /// A command.
    Command,
}

/// One command.
#[derive(Debug)]
pub struct Row {
    /// Its name, without the slash.
    pub name: &'static str,
    /// Shorter names.
    pub aliases: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Lines that work, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
    /// What Tab offers after it.
    pub argument: Argument,
    parse: fn(&str) -> Result<Command, String>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Row {}

/// Lines that `/history` shows when no number is given.
pub const HISTORY_LINES: usize = 20;
/// Most lines that `/history` shows.
pub const HISTORY_LINES_MAX: usize = 1_000;

/// Every command, in the order in which help lists them.
pub static TABLE: &[Row] = &[
    Row {
        name: "msg",
        aliases: &["m", "w"],
        usage: "/msg WHO [TEXT]",
        summary: "send TEXT to WHO; without TEXT as /to",
        examples: &[
            ("/msg bob are you coming?", "sends it to bob, and opens the chat if none is open"),
            ("/msg bob", "the next lines go to bob"),
        ],
        argument: Argument::Person,
        parse: |rest| match rest.split_once(char::is_whitespace) {
            Some((who, text)) if !text.trim().is_empty() => {
                Ok(Command::Message(person(who)?, text.trim_start().to_owned()))
            }
            Some((who, _)) => Ok(Command::To(person(who)?)),
            None => Ok(Command::To(person(rest)?)),
        },
    },
    Row {
        name: "to",
        aliases: &[],
        usage: "/to WHO",
        summary: "what you type next goes to WHO",
        examples: &[("/to bob", "the next lines go to bob")],
        argument: Argument::Person,
        parse: |rest| Ok(Command::To(person(rest)?)),
    },
    Row {
        name: "r",
        aliases: &["reply"],
        usage: "/r TEXT",
        summary: "answer whoever wrote last",
        examples: &[("/r on my way", "sends it to whoever wrote last")],
        argument: Argument::None,
        parse: |rest| match rest {
            "" => Err("a text is missing".into()),
            text => Ok(Command::Reply(text.to_owned())),
        },
    },
    Row {
        name: "chats",
        aliases: &[],
        usage: "/chats",
        summary: "list your chats, newest first",
        examples: &[("/chats", "one line per chat, with what is unread or waits")],
        argument: Argument::None,
        parse: |rest| nothing(rest, Command::Chats),
    },
    Row {
        name: "history",
        aliases: &[],
        usage: "/history [N]",
        summary: "show the last N lines of this chat",
        examples: &[("/history", "the last 20"), ("/history 100", "the last 100")],
        argument: Argument::None,
        parse: |rest| match rest {
            "" => Ok(Command::History(HISTORY_LINES)),
            number => match number.parse() {
                Ok(lines @ 1..=HISTORY_LINES_MAX) => Ok(Command::History(lines)),
                Ok(_) | Err(_) => Err(format!("N is a number from 1 to {HISTORY_LINES_MAX}")),
            },
        },
    },
    Row {
        name: "who",
        aliases: &["online"],
        usage: "/who [all]",
        summary: "who is online; all: everybody",
        examples: &[("/who", "who is signed in now"), ("/who all", "everybody with an account")],
        argument: Argument::Word("all"),
        parse: |rest| match rest {
            "" => Ok(Command::Who(Scope::Online)),
            "all" => Ok(Command::Who(Scope::All)),
            _ => Err("only the word all may follow".into()),
        },
    },
    Row {
        name: "verify",
        aliases: &[],
        usage: "/verify WHO [yes]",
        summary: "show the number that proves WHO's key; yes: it is the same",
        examples: &[
            ("/verify bob", "shows the number to compare with bob, by voice or side by side"),
            ("/verify bob yes", "you compared: bob's key is marked verified"),
        ],
        argument: Argument::Person,
        parse: |rest| match rest.split_once(char::is_whitespace) {
            Some((who, "yes")) => Ok(Command::Verified(person(who)?)),
            Some(_) => Err("only the word yes may follow the name".into()),
            None => Ok(Command::Verify(person(rest)?)),
        },
    },
    Row {
        name: "accept-key",
        aliases: &[],
        usage: "/accept-key WHO",
        summary: "trust WHO's new key without comparing",
        examples: &[("/accept-key bob", "what waits for bob is sent under the new key")],
        argument: Argument::Person,
        parse: |rest| Ok(Command::AcceptKey(person(rest)?)),
    },
    Row {
        name: "accept",
        aliases: &[],
        usage: "/accept WHO",
        summary: "talk to somebody who wrote first",
        examples: &[("/accept bob", "bob's messages are no longer marked as a request")],
        argument: Argument::Person,
        parse: |rest| Ok(Command::Accept(person(rest)?)),
    },
    Row {
        name: "block",
        aliases: &[],
        usage: "/block WHO",
        summary: "take no more messages from WHO",
        examples: &[("/block bob", "bob is told that you do not take messages from him")],
        argument: Argument::Person,
        parse: |rest| Ok(Command::Block(person(rest)?)),
    },
    Row {
        name: "unblock",
        aliases: &[],
        usage: "/unblock WHO",
        summary: "take messages from WHO again",
        examples: &[("/unblock bob", "bob can write to you again")],
        argument: Argument::Person,
        parse: |rest| Ok(Command::Unblock(person(rest)?)),
    },
    Row {
        name: "status",
        aliases: &[],
        usage: "/status",
        summary: "who you are, where connected, what waits",
        examples: &[("/status", "a few lines")],
        argument: Argument::None,
        parse: |rest| nothing(rest, Command::Status),
    },
    Row {
        name: "help",
        aliases: &["h"],
        usage: "/help [COMMAND]",
        summary: "this list; with a command: examples",
        examples: &[("/help msg", "how to use /msg")],
        argument: Argument::Command,
        parse: |rest| match rest.trim_start_matches('/') {
            "" => Ok(Command::Help(None)),
            word => match find(word) {
                Some(row) => Ok(Command::Help(Some(row))),
                None => Err(format!("there is no command /{}", text::clean_line(word))),
            },
        },
    },
    Row {
        name: "quit",
        aliases: &["q", "exit"],
        usage: "/quit",
        summary: "leave (also Ctrl-D); what waits is kept",
        examples: &[("/quit", "messages not sent yet go first the next time")],
        argument: Argument::None,
        parse: |rest| nothing(rest, Command::Quit),
    },
];

fn nothing(rest: &str, command: Command) -> Result<Command, String> {
    if rest.is_empty() { Ok(command) } else { Err("nothing may follow".into()) }
}

fn person(word: &str) -> Result<UserName, String> {
    let word = word.trim();
    if word.is_empty() {
        return Err("a name is missing".into());
    }
    UserName::parse(word.strip_prefix('@').unwrap_or(word)).map_err(|error| error.to_string())
}

/// The row of a command, by name or alias.
pub fn find(word: &str) -> Option<&'static Row> {
    let word = word.to_lowercase();
    TABLE.iter().find(|row| row.name == word || row.aliases.contains(&word.as_str()))
}

/// Understands one typed line.
///
/// # Errors
/// [`Misunderstood`]: nothing may be sent then.
pub fn parse(line: &str) -> Result<Command, Misunderstood> {
    let line = line.trim_end();
    if line.trim_start().is_empty() {
        return Ok(Command::Nothing);
    }
    let Some(rest) = line.strip_prefix('/') else {
        return Ok(Command::Say(line.to_owned()));
    };
    // `//etc/hosts` sends `/etc/hosts`.
    if rest.starts_with('/') {
        return Ok(Command::Say(rest.to_owned()));
    }
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let Some(row) = find(word) else {
        let names = TABLE.iter().map(|row| row.name);
        let meant = text::nearest(word, names);
        return Err(Misunderstood::Unknown { word: text::excerpt(word, 40), meant });
    };
    (row.parse)(rest.trim_start()).map_err(|why| Misunderstood::Usage { row, why })
}

impl Misunderstood {
    /// A sentence, and what to type instead.
    pub fn sentence(&self) -> String {
        match self {
            Self::Unknown { word, meant: Some(meant) } => {
                format!("There is no /{word}; nothing was sent. Did you mean /{meant}?")
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

/// All commands on one screen.
pub fn help() -> String {
    let mut out = String::new();
    for row in TABLE {
        let _ = writeln!(out, "{:<18}{}", row.usage, row.summary);
    }
    out.push_str("//TEXT            send a text that starts with a slash\n");
    out.push_str("Examples of one command: /help msg");
    out
}

/// One command with its examples.
pub fn help_of(row: &Row) -> String {
    let mut out = format!("{}   {}", row.usage, row.summary);
    for (line, effect) in row.examples {
        let _ = write!(out, "\n  {line:<26} {effect}");
    }
    if !row.aliases.is_empty() {
        let names: Vec<String> = row.aliases.iter().map(|alias| format!("/{alias}")).collect();
        let _ = write!(out, "\n  also: {}", names.join(", "));
    }
    out
}

/// What Tab offers for the word that ends at the end of `line`: where that word starts, and its
/// possible endings. `people` are the names known.
pub fn complete(line: &str, people: &[String]) -> (usize, Vec<String>) {
    let start = line.rfind(' ').map_or(0, |space| space + 1);
    let (before, word) = line.split_at(start);
    let names = |word: &str| -> Vec<String> {
        let at = if word.starts_with('@') { "@" } else { "" };
        let typed = word.trim_start_matches('@');
        people
            .iter()
            .filter(|name| name.starts_with(typed))
            .map(|name| format!("{at}{name} "))
            .collect()
    };
    let commands = |typed: &str, slash: &str| -> Vec<String> {
        TABLE
            .iter()
            .filter(|row| row.name.starts_with(typed))
            .map(|row| format!("{slash}{} ", row.name))
            .collect()
    };
    let mut earlier = before.split_whitespace();
    let offers = match (earlier.next(), earlier.next()) {
        (None, _) => word.strip_prefix('/').map_or_else(Vec::new, |typed| commands(typed, "/")),
        (Some(first), None) => {
            match first.strip_prefix('/').and_then(find).map(|row| row.argument) {
                Some(Argument::Person) => names(word),
                Some(Argument::Word(only)) if only.starts_with(word) => vec![only.to_owned()],
                Some(Argument::Command) => commands(word.trim_start_matches('/'), ""),
                Some(Argument::Word(_) | Argument::None) | None => Vec::new(),
            }
        }
        (Some(_), Some(_)) => Vec::new(),
    };
    (start, offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    #[test]
    fn each_row_has_usage_summary_and_examples_that_parse_to_something_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for row in TABLE {
            assert!(row.usage.starts_with(&format!("/{}", row.name)), "{}", row.usage);
            assert!(!row.summary.is_empty() && !row.examples.is_empty(), "{}", row.name);
            for (example, effect) in row.examples {
                assert!(!effect.is_empty());
                let parsed = parse(example);
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
                assert!(!matches!(parsed, Ok(Command::Say(_) | Command::Nothing)), "{example}");
            }
            for word in row.aliases.iter().chain([&row.name]) {
                assert!(seen.insert(*word), "two commands are called {word}");
                assert_eq!(find(word), Some(row));
                assert_eq!(find(&word.to_uppercase()), Some(row));
            }
        }
    }

    #[test]
    fn each_command_is_understood_with_its_arguments() {
        let bob = || name("bob");
        for (line, command) in [
            ("", Command::Nothing),
            ("   ", Command::Nothing),
            ("hi there ", Command::Say("hi there".into())),
            ("  indented", Command::Say("  indented".into())),
            ("//etc/hosts", Command::Say("/etc/hosts".into())),
            ("\\o/", Command::Say("\\o/".into())),
            ("/msg bob hi  there", Command::Message(bob(), "hi  there".into())),
            ("/M @Bob hi", Command::Message(bob(), "hi".into())),
            ("/w bob", Command::To(bob())),
            ("/msg bob  ", Command::To(bob())),
            ("/to bob", Command::To(bob())),
            ("/r yes", Command::Reply("yes".into())),
            ("/chats", Command::Chats),
            ("/history", Command::History(HISTORY_LINES)),
            ("/history 7", Command::History(7)),
            ("/who", Command::Who(Scope::Online)),
            ("/who all", Command::Who(Scope::All)),
            ("/verify bob", Command::Verify(bob())),
            ("/verify bob yes", Command::Verified(bob())),
            ("/accept-key bob", Command::AcceptKey(bob())),
            ("/accept bob", Command::Accept(bob())),
            ("/block bob", Command::Block(bob())),
            ("/unblock bob", Command::Unblock(bob())),
            ("/status", Command::Status),
            ("/help", Command::Help(None)),
            ("/help /msg", Command::Help(find("msg"))),
            ("/quit", Command::Quit),
        ] {
            assert_eq!(parse(line), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn an_unknown_command_sends_nothing_and_offers_the_nearest() {
        let sentence = |line: &str| parse(line).unwrap_err().sentence();
        assert!(sentence("/mgs bob hi").ends_with("Did you mean /msg?"));
        assert!(sentence("/histroy").ends_with("Did you mean /history?"));
        assert!(sentence("/zzzzzz").contains("nothing was sent"));
        assert!(!sentence("/a\x1b[2Jb").contains('\x1b'));
    }

    #[test]
    fn a_command_without_what_it_needs_says_its_usage() {
        for (line, usage) in [
            ("/msg", "/msg WHO [TEXT]"),
            ("/to", "/to WHO"),
            ("/to ä", "/to WHO"),
            ("/r", "/r TEXT"),
            ("/history x", "/history [N]"),
            ("/history 0", "/history [N]"),
            ("/history 1001", "/history [N]"),
            ("/who x", "/who [all]"),
            ("/verify bob no", "/verify WHO [yes]"),
            ("/chats x", "/chats"),
            ("/help zzz", "/help [COMMAND]"),
            ("/quit now", "/quit"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(matches!(error, Misunderstood::Usage { .. }), "{line}: {error:?}");
            assert!(error.sentence().ends_with(usage), "{}", error.sentence());
        }
    }

    #[test]
    fn help_fits_one_screen_and_lists_every_row() {
        let help = help();
        assert!(help.lines().count() <= 23, "{}", help.lines().count());
        assert!(help.lines().all(|line| text::columns(line) <= 79), "{help}");
        for row in TABLE {
            assert!(help.contains(row.usage) && help.contains(row.summary));
            assert!(help_of(row).lines().count() > 1);
        }
    }

    #[test]
    fn tab_completes_commands_and_names() {
        let people = ["bob".to_owned(), "boris".to_owned(), "carol".to_owned()];
        let tab = |line: &str| complete(line, &people);
        assert_eq!(tab("/ch"), (0, vec!["/chats ".into()]));
        assert_eq!(tab("/acc"), (0, vec!["/accept-key ".into(), "/accept ".into()]));
        assert_eq!(tab("/msg bo"), (5, vec!["bob ".into(), "boris ".into()]));
        assert_eq!(tab("/m @c"), (3, vec!["@carol ".into()]));
        assert_eq!(tab("/help ver"), (6, vec!["verify ".into()]));
        assert_eq!(tab("/who "), (5, vec!["all".into()]));
        for nothing in ["", "bo", "/msg bob bo", "/chats ", "/nope b", "hi /ch"] {
            assert_eq!(tab(nothing).1, Vec::<String>::new(), "{nothing}");
        }
    }
}
