//! The caller's side: hands a command to the process that holds the profile, and lends it this
//! process's streams.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::types::UserName;
use crate::ui::theme::{Colour, Style};

use super::super::args::Command;
use super::super::io::Io;
use super::super::progress::Bars;
use super::super::report::{Form, Notices, Outcome, Stop};
use super::super::{Context, ask};
use super::caller::{Facts, Hello, Question};
use super::frame::{self, Frame, Tag};

/// For the holder's last words after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(3);
const FRAMES_MAX: usize = 64;

/// Has the holder of the profile run a command. `None`: nobody listens there.
pub(in super::super) async fn call(
    context: &Context,
    profile: &UserName,
    command: &Command,
) -> Option<Outcome> {
    let path = context.places.socket(profile).ok()?;
    let stream = UnixStream::connect(&path).await.ok()?;
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command.clone(),
        facts: facts(context, profile),
    };
    let hello = serde_json::to_vec(&hello).ok()?;
    let (reader, mut writer) = stream.into_split();
    if frame::write(&mut writer, &Frame::new(Tag::Hello, hello)).await.is_err() {
        return None;
    }
    let (frames, incoming) = mpsc::channel(FRAMES_MAX);
    context.env.spawn(read_all(reader, frames));
    let (answers, answered) = mpsc::channel(1);
    let progress = Progress::Asked;
    let bars = Bars::default();
    Some(Call { context, incoming, writer, answers, answered, progress, bars }.run().await)
}

fn facts(context: &Context, profile: &UserName) -> Facts {
    let report = &context.report;
    let fd = context.globals.password_fd.map(|fd| PathBuf::from(format!("/dev/fd/{fd}")));
    Facts {
        folder: std::env::current_dir().unwrap_or_default(),
        profile: profile.clone(),
        server: context.globals.server.as_ref().map(ToString::to_string),
        can_ask: Io::Own.can_ask(),
        input_is_terminal: Io::Own.input_is_terminal(),
        error_is_terminal: io::stderr().is_terminal(),
        json: report.form == Form::Json,
        plain: report.theme.style == Style::Plain,
        coloured: report.theme.colour == Colour::On,
        quiet: report.notices == Notices::Quiet,
        zone: report.zone.iana_name().map(str::to_owned),
        timeout: context.globals.timeout,
        trust: context.globals.trust,
        password_file: context.globals.password_file.clone().or(fd),
    }
}

async fn read_all(mut reader: OwnedReadHalf, frames: mpsc::Sender<Frame>) {
    while let Ok(Some(next)) = frame::read(&mut reader).await {
        if frames.send(next).await.is_err() {
            return;
        }
    }
}

/// Why a command that another process ran has no end of its own.
pub(in super::super) fn holder_left() -> Stop {
    Stop::new(
        Exit::Unreachable,
        "The client that held the profile ended before this was done. A message that it had taken \
         is kept, and goes first at the next contact.",
        "What waits: client status     Send it: client retry",
    )
}

/// How far the holder came with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Asked,
    Begun,
}

impl Progress {
    /// Why the command has no end when the holder is gone.
    pub(super) fn left(self) -> Stop {
        match self {
            Self::Begun => holder_left(),
            Self::Asked => Stop::new(
                Exit::Unreachable,
                "The client that held the profile ended before it could do this. Nothing was done.",
                "Do the same once more.",
            ),
        }
    }
}

type Answer = Option<Zeroizing<Vec<u8>>>;

struct Call<'a> {
    context: &'a Context,
    incoming: mpsc::Receiver<Frame>,
    writer: tokio::net::unix::OwnedWriteHalf,
    answers: mpsc::Sender<Answer>,
    answered: mpsc::Receiver<Answer>,
    progress: Progress,
    bars: Bars,
}

impl Call<'_> {
    async fn run(mut self) -> Outcome {
        let mut interrupted: Option<Instant> = None;
        loop {
            let patience = sleep_until(interrupted.unwrap_or_else(Instant::now));
            let frame = tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c(), if interrupted.is_none() => {
                    interrupted = Some(Instant::now() + PATIENCE);
                    Frame::new(Tag::Interrupt, [])
                }
                () = patience, if interrupted.is_some() => {
                    return Err(Stop::quiet(Exit::Interrupted));
                }
                Some(answer) = self.answered.recv() => match answer {
                    Some(bytes) => Frame { tag: Tag::Answer, bytes },
                    None => Frame::new(Tag::NoAnswer, []),
                },
                frame = self.incoming.recv() => match self.heard(frame)? {
                    Heard::Ended(exit) => return Ok(exit),
                    Heard::Nothing => continue,
                    Heard::Answer(frame) => frame,
                },
            };
            // Gone: the reader says so next.
            let _ = frame::write(&mut self.writer, &frame).await;
        }
    }

    fn heard(&mut self, frame: Option<Frame>) -> Result<Heard, Stop> {
        let Some(frame) = frame else {
            return Err(self.progress.left());
        };
        match frame.tag {
            Tag::Begun => {
                self.progress = Progress::Begun;
                Ok(Heard::Nothing)
            }
            Tag::Bar => {
                if let Ok(bar) = serde_json::from_slice(&frame.bytes) {
                    self.bars.show(&bar);
                }
                Ok(Heard::Nothing)
            }
            Tag::Out => {
                self.bars.rest();
                let mut out = io::stdout().lock();
                let written = out.write_all(&frame.bytes).and_then(|()| out.flush());
                written.map_err(|error| super::super::report::not_written(&error))?;
                Ok(Heard::Answer(Frame::new(Tag::Written, [])))
            }
            Tag::Err => {
                self.bars.rest();
                let _ = io::stderr().write_all(&frame.bytes);
                Ok(Heard::Nothing)
            }
            Tag::Ask => {
                let question = serde_json::from_slice(&frame.bytes).map_err(|_| holder_left())?;
                self.find_out(question);
                Ok(Heard::Nothing)
            }
            Tag::Exit => {
                let number = frame.bytes.first().copied().map_or(1, i32::from);
                Ok(Heard::Ended(Exit::from_number(number).unwrap_or(Exit::Internal)))
            }
            Tag::Hello | Tag::Answer | Tag::NoAnswer | Tag::Interrupt | Tag::Written => {
                Err(holder_left())
            }
        }
    }

    /// Answers in its own time: a person may take long, and Ctrl-C must work meanwhile.
    fn find_out(&self, question: Question) {
        let (answers, report) = (self.answers.clone(), self.context.report.clone());
        tokio::task::spawn_blocking(move || {
            let _ = answers.blocking_send(answer(question, &report));
        });
    }
}

enum Heard {
    Nothing,
    Answer(Frame),
    Ended(Exit),
}

fn answer(question: Question, report: &super::super::report::Report) -> Answer {
    let text = match question {
        Question::Input => {
            let mut piece = Zeroizing::new(vec![0; super::super::io::INPUT_PIECE_BYTES]);
            let count = io::Read::read(&mut io::stdin().lock(), &mut piece).ok()?;
            piece.truncate(count);
            return Some(piece);
        }
        Question::Line(question) => ask::line(&question).map(Zeroizing::new),
        Question::Password(question) => ask::password(&question),
        Question::NewPassword(new) => ask::new_password(&new),
        Question::PasswordFile(path) => {
            ask::password_of(&path).inspect_err(|stop| report.stop(stop))
        }
    };
    text.ok().map(|text| Zeroizing::new(text.as_bytes().to_vec()))
}
