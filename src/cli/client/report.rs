//! How a command ends, and what it prints: data on standard output, everything else on standard
//! error; as text, or as the JSON of `docs/json.md`.

use std::io;

use jiff::tz::TimeZone;

use crate::cli::exit::{Exit, Failure};
use crate::client::LocalId;
use crate::types::UserName;
use crate::ui::say::Told;
use crate::ui::screen::Screen;
use crate::ui::text;
use crate::ui::theme::{Colour, Style, Theme};

use super::io::Io;
use super::json::Record;

/// Why a command ends early.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) failure: Failure,
    /// A message that was taken, and goes first at the next contact.
    pub(super) kept: Option<LocalId>,
    /// Nothing was done, because another process holds the profile.
    pub(super) is_locked: bool,
}

/// How a command ends.
pub(super) type Outcome = Result<Exit, Stop>;

impl Stop {
    pub(super) fn new(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { failure: Failure::new(exit, what, remedy), kept: None, is_locked: false }
    }

    pub(super) fn told(exit: Exit, told: Told) -> Self {
        Self::new(exit, told.what, told.remedy)
    }

    /// Ends without a word: it was said, or nobody listens.
    pub(super) fn quiet(exit: Exit) -> Self {
        Self { failure: Failure::explained(exit), kept: None, is_locked: false }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { failure, kept: None, is_locked: false }
    }
}

/// The stable word for an exit code in JSON.
pub(super) fn code_word(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "done",
        Exit::Internal => "internal",
        Exit::Usage => "usage",
        Exit::Unreachable => "unreachable",
        Exit::NotSignedIn => "not_signed_in",
        Exit::NotFound => "not_found",
        Exit::KeyRefused => "key_refused",
        Exit::Partly => "partly",
        Exit::Refused => "refused",
        Exit::LocalData => "local_data",
        Exit::NothingArrived => "nothing_arrived",
        Exit::Interrupted => "interrupted",
    }
}

/// Whether people or programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// Whether notices are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notices {
    Shown,
    Quiet,
}

/// Where output goes and how it looks.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) form: Form,
    pub(super) theme: Theme,
    pub(super) zone: TimeZone,
    pub(super) notices: Notices,
    pub(super) io: Io,
}

/// Why data could not be written. A pipe that nobody reads any more ends a command quietly.
pub(super) fn not_written(error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::quiet(Exit::Done),
        _ => Stop::new(Exit::LocalData, format!("Cannot write the output: {error}."), ""),
    }
}

impl Report {
    /// A screen without width: what is printed may be a file.
    pub(super) fn screen(&self, me: &UserName) -> Screen {
        Screen::new(self.theme, None, self.zone.clone(), me.clone())
    }

    /// Prints data; returns when it is written and flushed.
    ///
    /// # Errors
    /// A pipe that nobody reads any more ends the command quietly; anything else is said.
    pub(super) async fn data(
        &self,
        record: &Record<'_>,
        text: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let line = match self.form {
            Form::Json => record.line(),
            Form::Text => text(),
        };
        self.io.out(&line).await.map_err(|error| not_written(&error))
    }

    /// Says something that is not data, on standard error.
    pub(super) fn notice(&self, text: &str) {
        if self.notices == Notices::Quiet {
            return;
        }
        let line = match self.form {
            Form::Json => Record::Notice { text }.line(),
            // Standard error may be a file when standard output is none, so it stays uncoloured.
            Form::Text => text.to_owned(),
        };
        self.io.err(&line);
    }

    /// Explains why the command ends early.
    pub(super) fn stop(&self, stop: &Stop) {
        let Failure { exit, what, remedy } = &stop.failure;
        if what.is_empty() {
            return;
        }
        let line = match (self.form, self.theme.style) {
            (Form::Json, _) => Record::Error {
                code: code_word(*exit),
                exit: exit.number(),
                text: what,
                hint: remedy,
                kept: stop.kept.map(|id| id.to_string()),
            }
            .line(),
            (Form::Text, Style::Rich) => stop.failure.to_string(),
            (Form::Text, Style::Plain) => format!("error: {what} {remedy}").trim_end().to_owned(),
        };
        // What it quotes may come out of a file that somebody else made.
        self.io.err(&text::clean(&line));
    }
}

impl Default for Report {
    /// For what goes wrong before the arguments are understood.
    fn default() -> Self {
        Self {
            form: Form::Text,
            theme: Theme { style: Style::Rich, colour: Colour::Off },
            zone: TimeZone::UTC,
            notices: Notices::Shown,
            io: Io::Own,
        }
    }
}
