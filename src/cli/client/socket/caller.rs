//! A process that asked for a command, as the holder of the profile sees it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, mpsc};
use zeroize::Zeroizing;

use crate::limits::SOCKET_FRAME_BYTES_MAX;
use crate::types::UserName;
use crate::ui::line::TrustPolicy;

use super::super::args::Command;
use super::super::ask::NewPassword;
use super::super::progress::Bar;
use super::frame::{Frame, Tag};

/// What a caller says first.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Hello {
    /// Version of its program: the two must agree on what a command is.
    pub(super) version: String,
    pub(in super::super) command: Command,
    pub(in super::super) facts: Facts,
}

/// What the caller's process and terminal are like, as far as a command cares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Facts {
    pub(in super::super) folder: PathBuf,
    pub(in super::super) profile: UserName,
    pub(in super::super) server: Option<String>,
    pub(in super::super) can_ask: bool,
    pub(in super::super) input_is_terminal: bool,
    pub(in super::super) error_is_terminal: bool,
    pub(in super::super) json: bool,
    pub(in super::super) plain: bool,
    pub(in super::super) coloured: bool,
    pub(in super::super) quiet: bool,
    /// Name of its time zone, if it has one.
    pub(in super::super) zone: Option<String>,
    pub(in super::super) timeout: Duration,
    pub(in super::super) trust: TrustPolicy,
    /// File of the account's password, if it was named.
    pub(in super::super) password_file: Option<PathBuf>,
}

/// What only the caller can find out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) enum Question {
    /// The next piece of its standard input; empty at its end.
    Input,
    /// A line that a person types.
    Line(String),
    /// A password that a person types.
    Password(String),
    /// A new password that a person types.
    NewPassword(NewPassword),
    /// The first line of a file.
    PasswordFile(PathBuf),
}

/// The other end of a connection.
#[derive(Debug)]
pub(in super::super) struct Caller {
    pub(in super::super) facts: Facts,
    frames: mpsc::Sender<Frame>,
    /// Answers, in order of the questions: one is open at a time.
    answers: Mutex<mpsc::Receiver<Option<Zeroizing<Vec<u8>>>>>,
    /// What it has flushed, in order. Apart from the answers: a question may be open for long.
    written: Mutex<mpsc::Receiver<()>>,
    interrupt: Notify,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl Caller {
    pub(super) fn new(
        facts: Facts,
        frames: mpsc::Sender<Frame>,
        answers: mpsc::Receiver<Option<Zeroizing<Vec<u8>>>>,
        written: mpsc::Receiver<()>,
    ) -> Self {
        let (answers, written) = (Mutex::new(answers), Mutex::new(written));
        Self { facts, frames, answers, written, interrupt: Notify::new() }
    }

    /// Writes a line to its standard output; returns when that is flushed.
    pub(in super::super) async fn out(&self, line: &str) -> io::Result<()> {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        let mut written = self.written.lock().await;
        for piece in bytes.chunks(SOCKET_FRAME_BYTES_MAX) {
            self.frames.send(Frame::new(Tag::Out, piece)).await.map_err(|_| gone())?;
            written.recv().await.ok_or_else(gone)?;
        }
        Ok(())
    }

    /// Writes a line to its standard error. One too many for a caller that does not read is lost.
    pub(in super::super) fn err(&self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.truncate(SOCKET_FRAME_BYTES_MAX - 1);
        bytes.push(b'\n');
        let _ = self.frames.try_send(Frame::new(Tag::Err, bytes));
    }

    /// Shows how far a file is on its terminal. One too many is lost: the next one says more.
    pub(in super::super) fn bar(&self, bar: &Bar) {
        if let Ok(bytes) = serde_json::to_vec(bar) {
            let _ = self.frames.try_send(Frame::new(Tag::Bar, bytes));
        }
    }

    /// Asks it; an error when there is no answer.
    pub(in super::super) async fn ask(
        &self,
        question: &Question,
    ) -> io::Result<Zeroizing<Vec<u8>>> {
        let question = serde_json::to_vec(question).map_err(io::Error::other)?;
        let mut answers = self.answers.lock().await;
        self.frames.send(Frame::new(Tag::Ask, question)).await.map_err(|_| gone())?;
        answers.recv().await.flatten().ok_or_else(gone)
    }

    pub(super) fn interrupt(&self) {
        self.interrupt.notify_one();
    }

    /// Waits until Ctrl-C was pressed there.
    pub(in super::super) async fn interrupted(&self) {
        self.interrupt.notified().await;
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
