//! One person's session while a run lasts: one task that writes, reads and keeps the books.
//!
//! Does what a client does on the wire (numbers, answers, cursors, opening again), and nothing on
//! disk. Deliberately gives up when the connection is lost: that is another test's subject.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{BenchError, PATIENCE, unexpected};
use super::dial::Line;
use super::pattern::{Next, Writing};
use super::people::{Conversation, Person};
use super::tally::{Arrival, Book, Timed, Totals, count, lock};
use crate::crypto::parse_header;
use crate::limits::{CURSOR_INTERVAL, UNANSWERED_PER_LOG_MAX};
use crate::net::Env;
use crate::wire::Code;
use crate::wire::client::{
    Append, Closed, Cursor, Entry, Open, Opened, Refused, client_frame, server_frame,
};

/// A log is opened again after this at the earliest.
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// Longer than any run.
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One direction of a conversation with what became of its messages.
pub(super) struct Stream {
    pub(super) talk: Conversation,
    pub(super) book: Mutex<Book>,
}

/// What a session writes to.
struct Out {
    stream: Arc<Stream>,
    log: String,
    open_id: u32,
    epoch: u64,
    /// The last number it had when it was opened.
    last_n: u64,
    state: Opening,
    unanswered: VecDeque<Written>,
}

/// How far the opening of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Asked,
    Open,
    /// To be asked for at that time.
    Later(Instant),
}

struct Written {
    n: u64,
    envelope: Bytes,
    meant_at: Duration,
}

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
    own_log: String,
    own_open_id: u32,
    own_epoch: u64,
    /// The last entry of the own inbox.
    cursor: u64,
    cursor_told: u64,
    cursor_due: Option<Instant>,
    cursor_sent: Option<Instant>,
    ins: HashMap<String, Arc<Stream>>,
    outs: Vec<Out>,
    out_of_log: HashMap<String, usize>,
    /// Whose turn it is.
    turn: usize,
    in_flight: usize,
    writing: Writing,
    /// Planted: the entry with this number is treated as if it had never come.
    forget: Option<u64>,
    started: Instant,
    /// When to look again if nothing happens.
    idle_until: Instant,
}

/// Who takes part in a session.
pub(super) struct Part {
    pub(super) line: Line,
    pub(super) me: Arc<Person>,
    pub(super) ins: Vec<Arc<Stream>>,
    pub(super) outs: Vec<Arc<Stream>>,
    pub(super) writing: Writing,
    pub(super) forget: Option<u64>,
}

impl Session {
    /// Opens all logs. The clock does not run yet.
    pub(super) async fn prepare(run: Arc<Run>, part: Part) -> Result<Self, BenchError> {
        let out = |stream: Arc<Stream>| Out {
            log: stream.talk.recipient().log.to_string(),
            stream,
            open_id: 0,
            epoch: 0,
            last_n: 0,
            state: Opening::Later(Instant::now()),
            unanswered: VecDeque::new(),
        };
        let outs: Vec<Out> = part.outs.into_iter().map(out).collect();
        let ins = part.ins.into_iter();
        let mut session = Self {
            line: part.line,
            run,
            own_log: part.me.log.to_string(),
            own_open_id: 0,
            own_epoch: 0,
            cursor: 0,
            cursor_told: 0,
            cursor_due: None,
            cursor_sent: None,
            ins: ins.map(|s| (s.talk.author().user.to_string(), s)).collect(),
            out_of_log: outs.iter().enumerate().map(|(i, out)| (out.log.clone(), i)).collect(),
            outs,
            turn: 0,
            in_flight: 0,
            writing: part.writing,
            forget: part.forget,
            started: Instant::now(),
            idle_until: Instant::now() + IDLE,
        };
        session.open_own()?;
        let opening = async {
            loop {
                session.open_due(Instant::now())?;
                session.line.writer.flush().await.map_err(unexpected)?;
                let ready = session.outs.iter().all(|out| out.state == Opening::Open);
                if ready && session.own_epoch != 0 {
                    return Ok::<(), BenchError>(());
                }
                session.read().await?;
            }
        };
        timeout(PATIENCE, opening).await.map_err(|_| BenchError::TooSlow("a log"))??;
        for out in &session.outs {
            lock(&out.stream.book).start(out.last_n);
        }
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
        self.line.conn.close(0u32.into(), b"bye");
        Ok(())
    }

    /// Does what is due, and says when to look again.
    fn act(&mut self, now: Instant) -> Result<Instant, BenchError> {
        let mut due = self.open_due(now)?;
        if let Some(at) = self.cursor_due {
            if at <= now {
                self.push_cursor(now)?;
            } else {
                due = due.min(at);
            }
        }
        Ok(due.min(self.write(now)?))
    }

    /// Writes all that may go now; says when the next one may, if only time is in its way.
    fn write(&mut self, now: Instant) -> Result<Instant, BenchError> {
        if now < self.started {
            return Ok(self.started);
        }
        let end_at = self.run.totals.end_at();
        while self.outs.get(self.turn).is_some_and(Out::has_room) {
            match self.writing.next(now - self.started, end_at, self.in_flight) {
                Next::Write { meant_at } => self.write_one(meant_at)?,
                Next::At(at) => return Ok(self.started + at),
                Next::Later => break,
            }
        }
        Ok(self.idle_until)
    }

    fn write_one(&mut self, meant_at: Duration) -> Result<(), BenchError> {
        let Some(out) = self.outs.get_mut(self.turn) else { return Ok(()) };
        let n = lock(&out.stream.book).write(meant_at);
        let envelope = out.stream.talk.seal(n, self.run.env.unix_ms())?;
        self.line.push(out.append(envelope.clone()))?;
        out.unanswered.push_back(Written { n, envelope, meant_at });
        count(&self.run.totals.written);
        self.in_flight += 1;
        self.turn = (self.turn + 1) % self.outs.len();
        Ok(())
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
            Some(Body::Entry(entry)) => self.entry(&entry),
            Some(Body::Opened(opened)) => self.opened(&opened),
            Some(Body::Refused(refused)) => self.refused(&refused),
            Some(Body::Closed(closed)) => self.closed(&closed),
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

    fn answered(&mut self, log: &str, open_id: u32, n: u64) {
        let now = self.since_start();
        let out = self.out_of_log.get(log).and_then(|&index| self.outs.get_mut(index));
        let Some(out) = out.filter(|out| out.open_id == open_id) else { return };
        while out.unanswered.front().is_some_and(|written| written.n <= n)
            && let Some(written) = out.unanswered.pop_front()
        {
            self.in_flight -= 1;
            self.run.totals.done(Timed::Sent, written.meant_at, now);
        }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), BenchError> {
        if entry.open_id != self.own_open_id || entry.seq <= self.cursor {
            return Ok(());
        }
        if entry.seq > self.cursor + 1 {
            return self.open_own();
        }
        self.cursor = entry.seq;
        self.count_entry(&entry.envelope);
        let now = Instant::now();
        match self.cursor_sent.map(|at| at + CURSOR_INTERVAL).filter(|due| *due > now) {
            Some(due) => self.cursor_due = Some(due),
            None => self.push_cursor(now)?,
        }
        Ok(())
    }

    fn count_entry(&mut self, envelope: &[u8]) {
        if self.forget == Some(self.cursor) {
            return;
        }
        let (totals, now) = (&self.run.totals, self.since_start());
        let Ok(header) = parse_header(envelope) else { return count(&totals.damaged) };
        let Some(stream) = self.ins.get(header.author.as_str()) else {
            return count(&totals.damaged);
        };
        let arrival = lock(&stream.book).arrive(header.n.0);
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

    fn push_cursor(&mut self, now: Instant) -> Result<(), BenchError> {
        self.cursor_due = None;
        if self.cursor <= self.cursor_told {
            return Ok(());
        }
        (self.cursor_told, self.cursor_sent) = (self.cursor, Some(now));
        let (log, open_id) = (self.own_log.clone(), self.own_open_id);
        let cursor = Cursor { log, open_id, epoch: self.own_epoch, upto: self.cursor };
        self.line.push(client_frame::Body::Cursor(cursor))
    }

    fn open_own(&mut self) -> Result<(), BenchError> {
        self.own_open_id += 1;
        let (log, open_id) = (self.own_log.clone(), self.own_open_id);
        let open =
            Open { log, open_id, epoch: self.own_epoch, cursor: self.cursor, write_only: false };
        self.line.push(client_frame::Body::Open(open))
    }

    /// Opens every log whose time has come; says when the next one's comes.
    fn open_due(&mut self, now: Instant) -> Result<Instant, BenchError> {
        let mut due = self.idle_until;
        for out in &mut self.outs {
            match out.state {
                Opening::Later(at) if at <= now => {
                    out.open_id += 1;
                    out.state = Opening::Asked;
                    let (log, open_id) = (out.log.clone(), out.open_id);
                    let open =
                        Open { log, open_id, epoch: out.epoch, cursor: 0, write_only: false };
                    self.line.push(client_frame::Body::Open(open))?;
                }
                Opening::Later(at) => due = due.min(at),
                Opening::Asked | Opening::Open => {}
            }
        }
        Ok(due)
    }

    fn opened(&mut self, opened: &Opened) -> Result<(), BenchError> {
        if opened.log == self.own_log {
            if opened.open_id == self.own_open_id {
                self.own_opened(opened)?;
            }
            return Ok(());
        }
        let Some(&index) = self.out_of_log.get(&opened.log) else { return Ok(()) };
        match self.outs.get_mut(index) {
            Some(out) if out.open_id == opened.open_id => {
                (out.epoch, out.last_n, out.state) = (opened.epoch, opened.last_n, Opening::Open);
            }
            Some(_) | None => return Ok(()),
        }
        self.answered(&opened.log, opened.open_id, opened.last_n);
        // What it does not have goes again.
        if let Some(out) = self.outs.get(index) {
            for written in &out.unanswered {
                self.line.push(out.append(written.envelope.clone()))?;
            }
        }
        Ok(())
    }

    fn own_opened(&mut self, opened: &Opened) -> Result<(), BenchError> {
        let is_first = self.own_epoch == 0;
        self.own_epoch = opened.epoch;
        if is_first && opened.head_seq > 0 {
            // Left from another run.
            self.cursor = opened.head_seq;
            return self.open_own();
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
        self.put_off(&refused.log, refused.open_id, after)
    }

    fn closed(&mut self, closed: &Closed) -> Result<(), BenchError> {
        self.put_off(&closed.log, closed.open_id, Duration::ZERO)
    }

    fn put_off(&mut self, log: &str, open_id: u32, after: Duration) -> Result<(), BenchError> {
        count(&self.run.totals.put_off);
        if log == self.own_log && open_id == self.own_open_id {
            return self.open_own();
        }
        let out = self.out_of_log.get(log).and_then(|&index| self.outs.get_mut(index));
        if let Some(out) = out.filter(|out| out.open_id == open_id) {
            out.state = Opening::Later(Instant::now() + after.max(REOPEN_PAUSE));
        }
        Ok(())
    }
}

impl Out {
    fn has_room(&self) -> bool {
        self.state == Opening::Open && self.unanswered.len() < UNANSWERED_PER_LOG_MAX
    }

    fn append(&self, envelope: Bytes) -> client_frame::Body {
        let (log, open_id, epoch) = (self.log.clone(), self.open_id, self.epoch);
        client_frame::Body::Append(Append { log, open_id, epoch, envelope })
    }
}
