//! `recv`: prints what has arrived, each line once.
//!
//! Taken, written, flushed, marked as shown, in this order: killed anywhere in between, a line
//! comes again, marked so; nobody reading any more, it stays unshown.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use crate::cli::exit::Exit;
use crate::cli::signals::Signals;
use crate::client::{Client, Event, Line, LocalId, Mode, Offline, TransferPolicy};
use crate::types::{ChatName, UserName};
use crate::ui::line::TrustPolicy;
use crate::ui::say;
use crate::ui::screen::Screen;
use crate::wire::Code;

use super::args::Recv;
use super::json::Record;
use super::open::{self, Session, Whose};
use super::report::{Outcome, Stop};
use super::saving::{Had, Saving};
use super::socket::serve::serve;
use super::{Context, failures};

/// Lines taken at once.
const LINES_AT_ONCE: usize = 32;
/// Lines looked at by `--peek`.
const PEEKED_MAX: usize = 100_000;

/// `client recv`.
pub(super) async fn recv(context: &Context, options: &Recv) -> Outcome {
    let mut session = open::session(context, Mode::SendAndReceive).await?;
    if session.whose == Whose::Ours && options.follow {
        session.client.set_transfers(TransferPolicy {
            auto_fetch_bytes: context.settings.known.auto_fetch_bytes,
            resumes: true,
        });
    }
    let service = match session.whose {
        Whose::Ours => {
            let (_, nothing) = tokio::sync::mpsc::channel(1);
            let events = std::mem::replace(&mut session.events, nothing);
            let (service, events) =
                serve(context, &session.profile, &session.me, &session.client, events);
            session.events = events;
            Some(service)
        }
        Whose::Holders => None,
    };
    let outcome = print(context, options, &mut session).await;
    if let Some(service) = service {
        service.end().await;
    }
    session.end().await;
    outcome
}

async fn print(context: &Context, options: &Recv, session: &mut Session) -> Outcome {
    let me = session.me.clone();
    let screen = context.report.screen(&me).on_day_of(context.env.unix_ms());
    let client = &session.client;
    let beside = match session.whose {
        Whose::Ours => None,
        Whose::Holders => Some(LocalId(0)),
    };
    let from = options.from.as_ref().map(|who| open::chat(client, who)).transpose()?;
    let folder = options.save_dir.as_deref();
    let saving = folder.map(|folder| Saving::into(context, client, folder)).transpose()?;
    let mut printing =
        Printing { context, client, options, from, me, screen, beside, printed: 0, saving };
    match session.whose {
        Whose::Ours => {
            let mut signals = Signals::listen()
                .map_err(|error| Stop::new(Exit::Internal, format!("No signals: {error}."), ""))?;
            tokio::select! {
                biased;
                exit = signals.next() => Ok(exit),
                outcome = printing.run(&mut session.events) => outcome,
            }
        }
        Whose::Holders => tokio::select! {
            biased;
            () = context.report.io.interrupted() => Ok(Exit::Interrupted),
            outcome = printing.run(&mut session.events) => outcome,
        },
    }
}

struct Printing<'a> {
    context: &'a Context,
    client: &'a Client,
    options: &'a Recv,
    from: Option<ChatName>,
    me: UserName,
    screen: Screen,
    /// On the client of another process, which shows lines itself and notes that: the last line
    /// that is old here.
    beside: Option<LocalId>,
    printed: u64,
    /// Files that came go into a folder.
    saving: Option<Saving<'a>>,
}

/// Whether more is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Wanted,
    Enough,
}

impl Printing<'_> {
    async fn run(&mut self, events: &mut Receiver<Event>) -> Outcome {
        let started = Instant::now();
        // Without --wait the network has --timeout to hand over what is there.
        let patience = self.options.wait.unwrap_or(self.context.globals.timeout);
        let mut deadline = Some(started + patience);
        let mut caught_up = false;
        let mut reason = Offline::Unreachable;
        let mut more = if self.options.peek { More::Wanted } else { self.show().await? };
        loop {
            let through = more == More::Enough || (caught_up && self.is_done().await?);
            if through && self.is_saved() {
                return self.outcome();
            }
            let event = tokio::select! {
                biased;
                had = had(&mut self.saving) => {
                    self.settled(&had).await?;
                    deadline = deadline.map(|_| Instant::now() + patience);
                    continue;
                }
                event = events.recv() => event,
                () = sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => {
                    if through || (caught_up && !self.options.follow && !self.is_saved()) {
                        return self.give_up_files();
                    }
                    match self.time_is_up(caught_up, &reason).await? {
                        Some(exit) => return self.outcome().map(|_| exit),
                        None => { deadline = None; continue }
                    }
                }
            };
            let Some(event) = event else {
                return Err(Stop::new(
                    Exit::Internal,
                    "The client stopped by itself.",
                    "Run it again with -v to see why.",
                ));
            };
            match event {
                Event::CaughtUp => caught_up = true,
                Event::Offline { reason: why } => {
                    self.offline(&why)?;
                    reason = why;
                }
                Event::Transfer { view } => {
                    if let Some(saving) = &mut self.saving
                        && saving.heard(&view).await?
                    {
                        deadline = deadline.map(|_| Instant::now() + patience);
                    }
                }
                other => self.heard(&other)?,
            }
            if !self.options.peek && more == More::Wanted {
                more = self.show().await?;
            }
        }
    }

    // --- files ---

    fn is_saved(&self) -> bool {
        self.saving.as_ref().is_none_or(Saving::is_idle)
    }

    async fn settled(&mut self, had: &Had) -> Result<(), Stop> {
        match &mut self.saving {
            Some(saving) => saving.settled(had).await,
            None => Ok(()),
        }
    }

    fn mark(&self, id: LocalId) -> Result<(), Stop> {
        self.client.mark_shown(&[id]).map_err(|error| failures::request(&error, None))
    }

    /// Nothing comes any more of what is missing.
    fn give_up_files(&mut self) -> Outcome {
        if let Some(saving) = &mut self.saving {
            saving.give_up();
        }
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        self.saving.as_ref().map_or(Ok(Exit::Done), Saving::outcome)
    }

    /// After catching up: nothing is left, and what was waited for is there.
    async fn is_done(&mut self) -> Result<bool, Stop> {
        if self.options.peek {
            self.peek().await?;
            return Ok(self.printed > 0 || self.options.wait.is_none());
        }
        Ok(!self.options.follow && (self.printed > 0 || self.options.wait.is_none()))
    }

    /// The exit code, or `None` to go on.
    async fn time_is_up(
        &mut self,
        caught_up: bool,
        reason: &Offline,
    ) -> Result<Option<Exit>, Stop> {
        if self.options.peek && self.printed == 0 {
            self.peek().await?;
        }
        if self.options.follow && self.options.wait.is_none() {
            return Ok(None);
        }
        if self.options.follow && self.printed > 0 {
            return Ok(None);
        }
        if self.options.wait.is_some() && self.printed == 0 {
            return Err(Stop::new(
                Exit::NothingArrived,
                format!("Nothing arrived in {} s.", seconds(self.options.wait)),
                if caught_up {
                    String::new()
                } else {
                    format!("No connection: {}.", say::offline(reason))
                },
            ));
        }
        if caught_up {
            return Ok(Some(Exit::Done));
        }
        let server = self.client.status().map(|status| status.balancer).unwrap_or_default();
        Err(Stop::new(
            Exit::Unreachable,
            format!("Cannot reach {server} ({}).", say::offline(reason)),
            "What had arrived on this machine was printed.",
        ))
    }

    /// Prints all that was never shown.
    async fn show(&mut self) -> Result<More, Stop> {
        if self.beside.is_some() {
            return self.show_beside().await;
        }
        loop {
            let left = self.options.max.map_or(u64::MAX, |max| max.saturating_sub(self.printed));
            if left == 0 {
                return Ok(More::Enough);
            }
            let max = usize::try_from(left).unwrap_or(usize::MAX).min(LINES_AT_ONCE);
            let lines = match &self.from {
                Some(from) => self.client.take_unshown_of(from, max),
                None => self.client.take_unshown(max),
            }
            .map_err(|error| failures::request(&error, None))?;
            if lines.is_empty() {
                return Ok(More::Wanted);
            }
            for line in &lines {
                self.print(line).await?;
                self.mark(line.id())?;
                self.saves(line);
            }
        }
    }

    /// Prints what is not shown yet, and then what arrives, and leaves the noting to the holder:
    /// each of the two shows everything.
    async fn show_beside(&mut self) -> Result<More, Stop> {
        let local = |error| failures::request(&error, None);
        loop {
            let last = self.beside.unwrap_or(LocalId(0));
            let lines = if last.0 == 0 {
                self.beside = Some(self.client.last_line().map_err(local)?.unwrap_or(LocalId(-1)));
                self.client.peek_unshown(PEEKED_MAX).map_err(local)?
            } else {
                self.client.lines_after(last, LINES_AT_ONCE).map_err(local)?
            };
            if lines.is_empty() && last.0 != 0 {
                return Ok(More::Wanted);
            }
            for line in &lines {
                self.beside = self.beside.max(Some(line.id()));
                if self.from.as_ref().is_some_and(|from| line.chat() != from) {
                    continue;
                }
                if self.options.max.is_some_and(|max| self.printed >= max) {
                    return Ok(More::Enough);
                }
                self.print(line).await?;
                self.saves(line);
            }
            if self.options.max.is_some_and(|max| self.printed >= max) {
                return Ok(More::Enough);
            }
        }
    }

    /// Begins to store what a line brings; the lines after it do not wait for that.
    fn saves(&mut self, line: &Line) {
        if let Some(saving) = &mut self.saving {
            saving.add(line);
        }
    }

    async fn peek(&mut self) -> Result<(), Stop> {
        let lines = self
            .client
            .peek_unshown(PEEKED_MAX)
            .map_err(|error| failures::request(&error, None))?;
        let max = usize::try_from(self.options.max.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let from = self.from.clone();
        for line in lines.iter().filter(|l| from.as_ref().is_none_or(|f| l.chat() == f)).take(max) {
            self.print(line).await?;
        }
        Ok(())
    }

    async fn print(&mut self, line: &Line) -> Result<(), Stop> {
        let record = Record::of_line(line, &self.me);
        let screen = &mut self.screen;
        self.context.report.data(&record, || screen.line(line)).await?;
        self.printed += 1;
        Ok(())
    }

    fn offline(&self, reason: &Offline) -> Result<(), Stop> {
        if *reason == Offline::WrongCluster {
            return Err(failures::wrong_cluster());
        }
        if self.options.follow {
            let why = say::offline(reason);
            self.context.report.notice(&format!("offline ({why}); trying again by itself"));
        }
        Ok(())
    }

    fn heard(&self, event: &Event) -> Result<(), Stop> {
        match event {
            Event::SignedOut { code } => {
                Err(Stop::told(Exit::NotSignedIn, say::code(*code, None, "", 0)))
            }
            Event::SessionReplaced => {
                Err(Stop::told(Exit::NotSignedIn, say::code(Code::SessionReplaced, None, "", 0)))
            }
            Event::LocalData { error } => Err(Stop::told(Exit::LocalData, say::local_data(error))),
            Event::KeyChanged { user } if self.context.globals.trust == TrustPolicy::Always => {
                self.client.accept_key(user).map_err(|error| failures::request(&error, Some(user)))
            }
            Event::RolledBack => {
                self.context.report.notice(&say::rolled_back().line());
                Ok(())
            }
            Event::Edited { .. }
            | Event::Deleted { .. }
            | Event::Reacted { .. }
            | Event::Expired { .. }
            | Event::Typing { .. }
            | Event::Presence { .. }
            | Event::Online { .. }
            | Event::Offline { .. }
            | Event::Lines
            | Event::CaughtUp
            | Event::State { .. }
            | Event::ChatWaits { .. }
            | Event::Request { .. }
            | Event::Group { .. }
            | Event::Transfer { .. }
            | Event::KeyChanged { .. }
            | Event::WasAlreadySent { .. } => Ok(()),
        }
    }
}

/// The next file that is settled; waits for ever where none are stored.
async fn had(saving: &mut Option<Saving<'_>>) -> Had {
    match saving {
        Some(saving) => saving.next().await,
        None => std::future::pending().await,
    }
}

fn seconds(wait: Option<Duration>) -> String {
    let seconds = wait.unwrap_or_default().as_secs_f64();
    if seconds.fract() == 0.0 { format!("{seconds:.0}") } else { format!("{seconds:.1}") }
}
