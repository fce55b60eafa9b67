//! Where a command reads and writes: this process's own standard streams and terminal, or those of
//! another process that asked us, who hold the profile, to run its command.
//!
//! Decides nothing about what is read or written.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cli::exit::Exit;

use super::ask::{self, NewPassword};
use super::report::Stop;
use super::socket::caller::{Caller, Question};

/// Bytes of standard input that are read at once.
pub(super) const INPUT_PIECE_BYTES: usize = 16 * 1024;

/// The streams of one command.
#[derive(Clone, Debug, Default)]
pub(super) enum Io {
    /// Those of this process.
    #[default]
    Own,
    /// Those of the process at the other end of the profile's socket.
    Of(Arc<Caller>),
}

impl Io {
    /// Writes a line of data; returns when it is written and flushed.
    pub(super) async fn out(&self, line: &str) -> io::Result<()> {
        match self {
            Self::Own => {
                let mut out = io::stdout().lock();
                writeln!(out, "{line}").and_then(|()| out.flush())
            }
            Self::Of(caller) => caller.out(line).await,
        }
    }

    /// Says a line that is not data.
    pub(super) fn err(&self, line: &str) {
        match self {
            // A closed standard error changes nothing of what is done.
            Self::Own => drop(writeln!(io::stderr(), "{line}")),
            Self::Of(caller) => caller.err(line),
        }
    }

    /// The next piece of standard input; empty at its end.
    pub(super) async fn input(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Own => {
                let read = || {
                    let mut piece = vec![0; INPUT_PIECE_BYTES];
                    let count = io::stdin().lock().read(&mut piece)?;
                    piece.truncate(count);
                    Ok(piece)
                };
                tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
            }
            Self::Of(caller) => caller.ask(&Question::Input).await.map(|piece| piece.to_vec()),
        }
    }

    /// Whether standard input is a terminal, where nothing is to be read without being asked for.
    pub(super) fn input_is_terminal(&self) -> bool {
        match self {
            Self::Own => io::stdin().is_terminal(),
            Self::Of(caller) => caller.facts.input_is_terminal,
        }
    }

    /// Whether a person can be asked.
    pub(super) fn can_ask(&self) -> bool {
        match self {
            Self::Own => ask::possible(),
            Self::Of(caller) => caller.facts.can_ask,
        }
    }

    /// Asks for a line.
    pub(super) async fn ask_line(&self, question: &str) -> Result<String, Stop> {
        match self {
            Self::Own => ask::line(question),
            Self::Of(caller) => {
                let answer = caller.ask(&Question::Line(question.to_owned())).await;
                let answer = answer.map_err(|_| Stop::quiet(Exit::Interrupted))?;
                Ok(String::from_utf8_lossy(&answer).into_owned())
            }
        }
    }

    /// Asks for a password, without echo.
    pub(super) async fn ask_password(&self, question: &str) -> Result<Zeroizing<String>, Stop> {
        match self {
            Self::Own => ask::password(question),
            Self::Of(caller) => secret_of(caller, &Question::Password(question.to_owned())).await,
        }
    }

    /// Asks for a new password, without echo.
    pub(super) async fn ask_new_password(
        &self,
        new: NewPassword,
    ) -> Result<Zeroizing<String>, Stop> {
        match self {
            Self::Own => ask::new_password(&new),
            Self::Of(caller) => secret_of(caller, &Question::NewPassword(new)).await,
        }
    }

    /// The first line of a file that holds a password. The process that was given its name opens
    /// it: it may be one of its own descriptors.
    pub(super) async fn password_of(&self, path: &Path) -> Result<Zeroizing<String>, Stop> {
        match self {
            Self::Own => ask::password_of(path),
            Self::Of(caller) => {
                let answer = caller.ask(&Question::PasswordFile(path.to_owned())).await;
                // Why not was said there.
                let answer = answer.map_err(|_| Stop::quiet(Exit::NotFound))?;
                Ok(Zeroizing::new(String::from_utf8_lossy(&answer).into_owned()))
            }
        }
    }

    /// Waits for Ctrl-C.
    pub(super) async fn interrupted(&self) {
        match self {
            Self::Own => drop(tokio::signal::ctrl_c().await),
            Self::Of(caller) => caller.interrupted().await,
        }
    }

    /// A path as it is meant where the command was typed.
    pub(super) fn path(&self, typed: &Path) -> PathBuf {
        match self {
            Self::Own => typed.to_owned(),
            Self::Of(caller) => caller.facts.folder.join(typed),
        }
    }
}

async fn secret_of(caller: &Caller, question: &Question) -> Result<Zeroizing<String>, Stop> {
    let answer = caller.ask(question).await.map_err(|_| Stop::quiet(Exit::Interrupted))?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&answer).into_owned()))
}
