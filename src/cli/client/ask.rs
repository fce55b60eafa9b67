//! Questions on a terminal, and passwords from where they may come from.
//!
//! Nothing is ever asked when standard input or error is no terminal: the caller checks
//! [`possible`] and names the command to run instead.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::limits::PASSWORD_CHARS_MIN;
use crate::ui::hidden::Hidden;

use super::args::Globals;
use super::report::Stop;

/// Bytes of a password file that are read at most.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Whether a person can be asked.
pub(super) fn possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line. Ctrl-D ends the program as Ctrl-C does.
pub(super) fn line(question: &str) -> Result<String, Stop> {
    let mut out = io::stderr();
    let _ = write!(out, "{question}").and_then(|()| out.flush());
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(read) if read > 0 => Ok(answer.trim().to_owned()),
        Ok(_) | Err(_) => {
            let _ = writeln!(out);
            Err(Stop::quiet(Exit::Interrupted))
        }
    }
}

/// Asks a question whose answer is no unless it is clearly yes.
pub(super) fn yes(question: &str) -> Result<bool, Stop> {
    let answer = line(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Tells something while asking.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks for a password, without echo.
pub(super) fn password(question: &str) -> Result<Zeroizing<String>, Stop> {
    read(&hidden()?, question)
}

/// A password that is new: typed twice alike, for nobody sees what is typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NewPassword {
    /// What else is said stands as far to the right.
    pub(super) question: String,
    pub(super) takes: Takes,
}

/// Which new passwords are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Takes {
    /// Long ones, and how good each is is said.
    Judged,
    /// Long ones.
    Long,
    /// Any. An empty one means none, and is not typed again.
    AnyOrNone,
}

/// Asks for a new password until it is good enough and typed twice alike. Without echo from the
/// first question to the last.
pub(super) fn new_password(new: &NewPassword) -> Result<Zeroizing<String>, Stop> {
    let indent = " ".repeat(new.question.len() - new.question.trim_start().len());
    let say = |text: &str| tell(&format!("{indent}{text}"));
    let hidden = hidden()?;
    loop {
        let first = read(&hidden, &new.question)?;
        let judged = strength(&first);
        match (new.takes, judged) {
            (Takes::AnyOrNone, _) if first.is_empty() => return Ok(first),
            (Takes::AnyOrNone, _) => {}
            (Takes::Long, Strength::TooShort) => {
                say(&format!("{PASSWORD_CHARS_MIN} characters at least."));
                continue;
            }
            (Takes::Long, _) => {}
            (Takes::Judged, judged) => {
                say(&judged.word());
                if judged == Strength::TooShort {
                    continue;
                }
            }
        }
        if read(&hidden, &format!("{indent}Once more: "))? == first {
            return Ok(first);
        }
        say("That was not the same. Again:");
    }
}

/// The new password of somebody's account.
pub(super) fn new_account_password() -> Result<Zeroizing<String>, Stop> {
    let question = format!(
        "  Password ({PASSWORD_CHARS_MIN} characters or more; \"correct horse...\" is fine): "
    );
    new_password(&NewPassword { question, takes: Takes::Judged })
}

fn hidden() -> Result<Hidden, Stop> {
    Hidden::begin().map_err(|_| Stop::quiet(Exit::Interrupted))
}

fn read(hidden: &Hidden, question: &str) -> Result<Zeroizing<String>, Stop> {
    hidden.ask(question).map_err(|_| Stop::quiet(Exit::Interrupted))
}

/// How hard a password is to guess, by the only thing that can be known honestly: its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    TooShort,
    Fair,
    Good,
    Strong,
}

impl Strength {
    pub(super) fn word(self) -> String {
        match self {
            Self::TooShort => format!("too short: {PASSWORD_CHARS_MIN} characters at least"),
            Self::Fair => "fair: longer is better".to_owned(),
            Self::Good => "good".to_owned(),
            Self::Strong => "strong".to_owned(),
        }
    }
}

/// Judges a password. Repeated characters count once each: "aaaaaaaaaaaaaaaa" is not strong.
pub(super) fn strength(password: &str) -> Strength {
    let length = password.chars().count();
    let different: std::collections::BTreeSet<char> = password.chars().collect();
    match length {
        0..PASSWORD_CHARS_MIN => Strength::TooShort,
        _ if different.len() < 6 => Strength::Fair,
        PASSWORD_CHARS_MIN..14 => Strength::Fair,
        14..20 => Strength::Good,
        _ => Strength::Strong,
    }
}

/// The password of `--password-file` or `--password-fd`, if one of them is given.
pub(super) fn given_password(globals: &Globals) -> Result<Option<Zeroizing<String>>, Stop> {
    let path = match (&globals.password_file, globals.password_fd) {
        (Some(path), _) => path.clone(),
        (None, Some(number)) => format!("/dev/fd/{number}").into(),
        (None, None) => return Ok(None),
    };
    password_of(&path).map(Some)
}

/// The first line of a file.
pub(super) fn password_of(path: &Path) -> Result<Zeroizing<String>, Stop> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(PASSWORD_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| {
            Stop::new(
                Exit::NotFound,
                format!("Cannot read the password from {}: {error}.", path.display()),
                "Name a file whose first line is the password.",
            )
        })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Stop::new(Exit::Usage, format!("{} is not text.", path.display()), "UTF-8 is expected.")
    })?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_is_length_and_variety() {
        assert_eq!(strength("short"), Strength::TooShort);
        assert_eq!(strength("123456789"), Strength::TooShort);
        assert_eq!(strength("0123456789"), Strength::Fair);
        assert_eq!(strength("correct horse"), Strength::Fair);
        assert_eq!(strength("correct horse b"), Strength::Good);
        assert_eq!(strength("correct horse battery staple"), Strength::Strong);
        assert_eq!(strength(&"a".repeat(40)), Strength::Fair);
        assert_eq!(strength("äöüßéèçñøå"), Strength::Fair, "characters, not bytes");
    }
}
