//! Exit codes, the same for every program, and the two lines that explain one that is not 0.
//!
//! Deliberately knows no program: each decides which code its failure is.

use std::fmt;
use std::process::ExitCode;

/// What a program says to the shell. The numbers are documented and fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A bug of ours.
    Internal = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Somebody cannot be reached, did not answer in time, or a port is taken.
    Unreachable = 3,
    /// Nobody is signed in, or the password is wrong.
    NotSignedIn = 4,
    /// No such user or file.
    NotFound = 5,
    /// A key is new or has changed, and the policy refuses it.
    KeyRefused = 6,
    /// Part of it is done.
    Partly = 7,
    /// The server refused.
    Refused = 8,
    /// Local data is locked, damaged, or cannot be read or written.
    LocalData = 9,
    /// Nothing arrived in time.
    NothingArrived = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every code, in order of number.
    pub const ALL: &'static [Self] = &[
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::Unreachable,
        Self::NotSignedIn,
        Self::NotFound,
        Self::KeyRefused,
        Self::Partly,
        Self::Refused,
        Self::LocalData,
        Self::NothingArrived,
        Self::Interrupted,
    ];

    /// The number the shell sees.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|exit| i32::from(exit.number()) == number)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a program ends with something other than [`Exit::Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the shell is told.
    pub exit: Exit,
    /// What happened, to what: one sentence. Empty: somebody has already said it.
    pub what: String,
    /// What to do about it: one sentence or command.
    pub remedy: String,
}

impl Failure {
    /// A failure that explains itself.
    pub fn new(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit, what: what.into(), remedy: remedy.into() }
    }

    /// A failure that has been explained already, by a child on the same terminal for example.
    pub fn explained(exit: Exit) -> Self {
        Self::new(exit, "", "")
    }

    /// Prints the two lines to standard error, if there is anything to say.
    pub fn print(&self) {
        use std::io::Write as _;
        if !self.what.is_empty() {
            // A closed terminal is no reason to fail in another way than we already do.
            let _ = writeln!(std::io::stderr(), "{self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "✗ {}", self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.remedy) }
    }
}

/// The end of a `main`: prints what there is to say and yields the code.
pub fn finish(outcome: Result<Exit, Failure>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

/// An error and its causes as one sentence: `Cannot write a/b: permission denied.`
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let first = text.split(' ').next().unwrap_or_default();
    if !first.chars().all(|letter| letter.is_ascii_lowercase()) {
        // A path or a name: written as it is.
        return format!("{text}.");
    }
    let mut letters = text.chars();
    let capital = letters.next().map(char::to_uppercase).into_iter().flatten();
    capital.chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_maps_back_to_its_code_and_others_to_none() {
        for &exit in Exit::ALL {
            assert_eq!(Exit::from_number(i32::from(exit.number())), Some(exit));
        }
        assert_eq!(Exit::from_number(77), None);
    }

    #[test]
    fn an_error_with_its_causes_is_one_sentence() {
        let cause = std::io::Error::other("disk gone");
        let path = "a/b".into();
        let error = crate::net::files::FileError { action: "write", path, source: cause };
        assert_eq!(sentence(&error), "Cannot write a/b: disk gone.");
        let error = std::io::Error::other("data/s1.sqlite is missing");
        assert_eq!(sentence(&error), "data/s1.sqlite is missing.");
    }

    #[test]
    fn a_failure_is_two_lines_what_happened_and_what_to_do() {
        let failure = Failure::new(Exit::Unreachable, "UDP 9000 is taken.", "Choose another.");
        assert_eq!(failure.to_string(), "✗ UDP 9000 is taken.\n  Choose another.");
        assert_eq!(Failure::new(Exit::Usage, "No.", "").to_string(), "✗ No.");
    }
}
