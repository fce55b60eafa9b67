//! One person's session while a run lasts: one task that writes, reads and keeps the books.
//!
//! Does what a client does on the wire (numbers, answers, cursors, opening again), and nothing on
//! disk. Deliberately gives up when the connection is lost: that is another test's subject.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{BenchError, PATIENCE, unexpected};
use super::dial::Line;
use super::group::CLOSING;
use super::log::{Log, Need};
use super::pace::{Next, Writing};
use super::pattern::Turns;
use super::tally::{Arrival, Timed, Totals, count, lock};
use crate::crypto::parse_header;
use crate::net::Env;
use crate::wire::Code;
use crate::wire::client::{Entry, Opened, Refused, client_frame, server_frame};

/// Before a writer looks again how far its readers are.
const READERS_LOOK: Duration = Duration::from_millis(1);
/// Longer than any run.
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What all sessions of a run know.
pub(super) struct Run {
    pub(super) env: Env,
    pub(super) totals: Totals,
    /// Everything written has arrived, or has had the time to.
    pub(super) over: CancellationToken,
}

/// One person, connected.
pub(super) struct Session {
    line: Line,
    run: Arc<Run>,
    logs: Vec<Log>,
    log_of_name: HashMap<String, usize>,
    me: String,
    /// Those that are written to.
    outs: Vec<usize>,
    turns: Turns,
    in_flight: usize,
    writing: Writing,
    follows_readers: bool,
    close: Option<client_frame::Body>,
    /// Planted: the entry with this number is treated as if it had never come.
    forget: Option<u64>,
    started: Instant,
    /// When to look again if nothing happens.
    idle_until: Instant,
}

/// Who takes part in a session.
pub(super) struct Part {
    pub(super) line: Line,
    pub(super) me: String,
    /// The own inbox, and whatever else is read or written.
    pub(super) logs: Vec<Log>,
    pub(super) writing: Writing,
    /// What the readers have not seen yet counts as under way.
    pub(super) follows_readers: bool,
    pub(super) turns: Turns,
    /// What ends the group that this person made.
    pub(super) close: Option<client_frame::Body>,
    pub(super) forget: Option<u64>,
}

impl Session {
    /// Opens all logs. The clock does not run yet.
    pub(super) async fn prepare(run: Arc<Run>, part: Part) -> Result<Self, BenchError> {
        let logs = part.logs;
        let mut session = Self {
            line: part.line,
            run,
            log_of_name: (0..).zip(&logs).map(|(i, log)| (log.name().to_owned(), i)).collect(),
            outs: (0..).zip(&logs).filter(|(_, log)| log.is_written()).map(|(i, _)| i).collect(),
            logs,
            me: part.me,
            turns: part.turns,
            in_flight: 0,
            writing: part.writing,
            follows_readers: part.follows_readers,
            close: part.close,
            forget: part.forget,
            started: Instant::now(),
            idle_until: Instant::now() + IDLE,
        };
        let opening = async {
            loop {
                session.tend(Instant::now())?;
                session.line.writer.flush().await.map_err(unexpected)?;
                if session.logs.iter().all(Log::is_open) {
                    return Ok::<(), BenchError>(());
                }
                session.read().await?;
            }
        };
        timeout(PATIENCE, opening).await.map_err(|_| BenchError::TooSlow("a log"))??;
        Ok(session)
    }

    /// Takes part from `started` until the run is over.
    pub(super) async fn run(mut self, started: Instant) -> Result<(), BenchError> {
        self.started = started;
        let over = self.run.over.clone();
        let timer = sleep_until(started);
        tokio::pin!(timer);
        loop {
            let due = self.act(Instant::now())?;
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            // Reading first: all that arrived together is answered with one write.
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                frame = self.line.reader.read() => {
                    let frame = frame.map_err(unexpected)?;
                    self.take(frame.and_then(|frame| frame.body))?;
                }
                flushed = self.line.writer.flush(), if self.line.writer.buffered_bytes() > 0 => {
                    flushed.map_err(unexpected)?;
                }
                () = &mut timer => {}
            }
        }
        if let Some(close) = self.close.take() {
            // What was measured does not depend on it.
            let _ = timeout(CLOSING, self.line.request(close)).await;
        }
        self.line.conn.close(0u32.into(), b"bye");
        Ok(())
    }

    /// Does what is due, and says when to look again.
    fn act(&mut self, now: Instant) -> Result<Instant, BenchError> {
        let due = self.tend(now)?;
        Ok(due.min(self.write(now)?))
    }

    /// Opens logs and tells cursors whose time has come; says when the next one's comes.
    fn tend(&mut self, now: Instant) -> Result<Instant, BenchError> {
        let mut due = self.idle_until;
        for log in &mut self.logs {
            match log.need(now) {
                Need::Push(body) => self.line.push(body)?,
                Need::At(at) => due = due.min(at),
                Need::Nothing => {}
            }
        }
        Ok(due)
    }

    /// Writes all that may go now; says when the next one may, if only time is in its way.
    fn write(&mut self, now: Instant) -> Result<Instant, BenchError> {
        if now < self.started {
            return Ok(self.started);
        }
        let end_at = self.run.totals.end_at();
        loop {
            let turn = self.outs.get(self.turns.next_of(self.outs.len()));
            let log = turn.and_then(|&index| self.logs.get_mut(index));
            let Some(log) = log.filter(|log| log.has_room()) else { break };
            let behind = if self.follows_readers { log.behind() } else { 0 };
            match self.writing.next(now - self.started, end_at, self.in_flight.max(behind)) {
                Next::Write { meant_at } => {
                    if let Some((body, readers)) = log.write(meant_at, self.run.env.unix_ms())? {
                        self.line.push(body)?;
                        self.run.totals.wrote(readers);
                        self.in_flight += 1;
                    }
                    self.turns.advance();
                }
                Next::At(at) => return Ok(self.started + at),
                // Nobody tells this session what arrived at others.
                Next::Later if behind > 0 && now < self.started + end_at => {
                    return Ok(now + READERS_LOOK);
                }
                Next::Later => break,
            }
        }
        Ok(self.idle_until)
    }

    async fn read(&mut self) -> Result<(), BenchError> {
        let frame = self.line.reader.read().await.map_err(unexpected)?;
        self.take(frame.and_then(|frame| frame.body))
    }

    fn take(&mut self, body: Option<server_frame::Body>) -> Result<(), BenchError> {
        use server_frame::Body;
        match body {
            Some(Body::Appended(appended)) => {
                self.answered(&appended.log, appended.open_id, appended.n);
                Ok(())
            }
            Some(Body::Entry(entry)) => {
                self.entry(&entry);
                Ok(())
            }
            Some(Body::Opened(opened)) => self.opened(&opened),
            Some(Body::Refused(refused)) => self.refused(&refused),
            Some(Body::Closed(closed)) => {
                self.put_off(&closed.log, closed.open_id, Duration::ZERO);
                Ok(())
            }
            Some(Body::Error(error)) => {
                let code = Code::from_number(error.code).unwrap_or(Code::Internal);
                Err(BenchError::Refused { code, after: Duration::ZERO, detail: error.detail })
            }
            // News that a run has no use for.
            Some(_) => Ok(()),
            None => Err(BenchError::Unexpected("a server closed the session".to_owned())),
        }
    }

    fn since_start(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    /// The log of that name, as it is open now.
    fn log(&mut self, name: &str, open_id: u32) -> Option<&mut Log> {
        let log = self.log_of_name.get(name).and_then(|&index| self.logs.get_mut(index));
        log.filter(|log| log.is_of(open_id))
    }

    fn answered(&mut self, name: &str, open_id: u32, n: u64) {
        let now = self.since_start();
        while let Some(meant_at) = self.log(name, open_id).and_then(|log| log.answered(n)) {
            self.in_flight -= 1;
            self.run.totals.done(Timed::Sent, meant_at, now);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let forgotten = self.forget == Some(entry.seq);
        let Some(log) = self.log(&entry.log, entry.open_id) else { return };
        let follows = log.take(entry, Instant::now());
        // Operations of a group are no messages.
        if follows && !forgotten && entry.operation.is_empty() {
            self.count_entry(&entry.log, &entry.envelope);
        }
    }

    fn count_entry(&self, log: &str, envelope: &[u8]) {
        let (totals, now) = (&self.run.totals, self.since_start());
        let Ok(header) = parse_header(envelope) else { return count(&totals.damaged) };
        let log = self.log_of_name.get(log).and_then(|&index| self.logs.get(index));
        if header.author.as_str() == self.me && log.is_some_and(Log::is_written) {
            // A group hands everybody's messages to everybody.
            return;
        }
        let Some(incoming) = log.and_then(|log| log.author(header.author.as_str())) else {
            return count(&totals.damaged);
        };
        let stream = &incoming.stream;
        let arrival = lock(&stream.book).arrive(incoming.reader, header.n.0);
        match arrival {
            Arrival::New(meant_at) => totals.done(Timed::Delivered, meant_at, now),
            Arrival::Late(meant_at) => {
                count(&totals.reordered);
                totals.done(Timed::Delivered, meant_at, now);
            }
            Arrival::Again => count(&totals.doubled),
            Arrival::Unknown => count(&totals.damaged),
        }
        if !stream.talk.is_good(envelope) {
            count(&totals.damaged);
        }
    }

    fn opened(&mut self, opened: &Opened) -> Result<(), BenchError> {
        let Some(log) = self.log(&opened.log, opened.open_id) else { return Ok(()) };
        log.opened(opened);
        self.answered(&opened.log, opened.open_id, opened.last_n);
        // What it does not have goes again.
        let log = self.log_of_name.get(&opened.log).and_then(|&index| self.logs.get(index));
        for body in log.iter().flat_map(|log| log.again()) {
            self.line.push(body)?;
        }
        Ok(())
    }

    /// Something was not taken: after a while the log is opened again, and says where it stands.
    fn refused(&mut self, refused: &Refused) -> Result<(), BenchError> {
        let code = Code::from_number(refused.code).unwrap_or(Code::Internal);
        let after = Duration::from_millis(refused.retry_after_ms);
        let passes = [
            Code::SlowDown,
            Code::Busy,
            Code::HomeDown,
            Code::RetryLater,
            Code::Gap,
            Code::Reopen,
            Code::MailboxFull,
            Code::StorageFull,
        ];
        if !passes.contains(&code) {
            return Err(BenchError::Refused { code, after, detail: refused.detail.clone() });
        }
        self.put_off(&refused.log, refused.open_id, after);
        Ok(())
    }

    fn put_off(&mut self, log: &str, open_id: u32, after: Duration) {
        count(&self.run.totals.put_off);
        if let Some(log) = self.log(log, open_id) {
            log.put_off(Instant::now(), after);
        }
    }
}
