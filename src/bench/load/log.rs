//! One log that a session has open: what it reads there, what it writes there, and how far it is.
//!
//! Makes frames and takes answers. Deliberately knows no connection and keeps no totals: that is
//! the session's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::BenchError;
use super::talk::Talk;
use super::tally::{Book, lock};
use crate::limits::{CURSOR_INTERVAL, UNANSWERED_PER_LOG_MAX};
use crate::wire::client::{Append, Cursor, Entry, Open, Opened, client_frame};

/// A log is opened again after this at the earliest.
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// What one author writes into one log, with what became of it.
pub(super) struct Stream {
    pub(super) talk: Talk,
    pub(super) book: Mutex<Book>,
}

impl Stream {
    /// For so many readers.
    pub(super) fn new(talk: Talk, readers: usize) -> Self {
        Self { talk, book: Mutex::new(Book::new(readers)) }
    }
}

/// A stream as one of its readers counts it.
pub(super) struct Incoming {
    pub(super) stream: Arc<Stream>,
    /// Which of the readers, from 0.
    pub(super) reader: usize,
}

/// How far the opening of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Asked,
    Open,
    /// To be asked for at that time.
    Later(Instant),
}

/// The part of a log that is read.
pub(super) struct Reading {
    /// The last entry that came.
    cursor: u64,
    /// What the home was told of that.
    told: u64,
    told_at: Option<Instant>,
    tell_at: Option<Instant>,
    authors: HashMap<String, Incoming>,
}

impl Reading {
    /// What comes after the entry `cursor`, of authors by their names.
    pub(super) fn new(cursor: u64, authors: HashMap<String, Incoming>) -> Self {
        Self { cursor, told: cursor, told_at: None, tell_at: None, authors }
    }
}

/// The part of a log that is written.
pub(super) struct Sending {
    stream: Arc<Stream>,
    unanswered: VecDeque<Written>,
}

impl Sending {
    /// Nothing so far.
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, unanswered: VecDeque::new() }
    }
}

struct Written {
    n: u64,
    envelope: Bytes,
    meant_at: Duration,
}

/// What a log needs.
pub(super) enum Need {
    /// This frame goes out.
    Push(client_frame::Body),
    /// Nothing before that time.
    At(Instant),
    /// Nothing.
    Nothing,
}

/// An open log.
pub(super) struct Log {
    name: String,
    open_id: u32,
    epoch: u64,
    state: Opening,
    reading: Option<Reading>,
    sending: Option<Sending>,
}

impl Log {
    /// A log by its name in frames; it is to be opened at once.
    pub(super) fn new(name: String, reading: Option<Reading>, sending: Option<Sending>) -> Self {
        let state = Opening::Later(Instant::now());
        Self { name, open_id: 0, epoch: 0, state, reading, sending }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether an answer or a push belongs to this log as it is open now.
    pub(super) fn is_of(&self, open_id: u32) -> bool {
        self.open_id == open_id
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == Opening::Open
    }

    pub(super) fn is_written(&self) -> bool {
        self.sending.is_some()
    }

    pub(super) fn has_room(&self) -> bool {
        let room = |sending: &Sending| sending.unanswered.len() < UNANSWERED_PER_LOG_MAX;
        self.is_open() && self.sending.as_ref().is_some_and(room)
    }

    /// What has to be asked or told at `now`.
    pub(super) fn need(&mut self, now: Instant) -> Need {
        match self.state {
            Opening::Later(at) if at > now => Need::At(at),
            Opening::Later(_) => {
                self.open_id += 1;
                self.state = Opening::Asked;
                let (log, open_id, epoch) = (self.name.clone(), self.open_id, self.epoch);
                let cursor = self.reading.as_ref().map_or(0, |reading| reading.cursor);
                let open = Open { log, open_id, epoch, cursor, write_only: false };
                Need::Push(client_frame::Body::Open(open))
            }
            // It opens with the newest cursor.
            Opening::Asked => Need::Nothing,
            Opening::Open => self.tell(now),
        }
    }

    fn tell(&mut self, now: Instant) -> Need {
        let Some(reading) = &mut self.reading else { return Need::Nothing };
        match reading.tell_at {
            Some(at) if at > now => Need::At(at),
            Some(_) => {
                (reading.told, reading.told_at, reading.tell_at) =
                    (reading.cursor, Some(now), None);
                let (log, open_id, epoch) = (self.name.clone(), self.open_id, self.epoch);
                let cursor = Cursor { log, open_id, epoch, upto: reading.cursor };
                Need::Push(client_frame::Body::Cursor(cursor))
            }
            None => Need::Nothing,
        }
    }

    /// Opens it again: one that is written to not at once.
    pub(super) fn put_off(&mut self, now: Instant, after: Duration) {
        let pause = if self.is_written() { after.max(REOPEN_PAUSE) } else { Duration::ZERO };
        self.state = Opening::Later(now + pause);
    }

    /// Takes the answer to an `Open`. From then on, [`Self::again`] goes out again.
    pub(super) fn opened(&mut self, opened: &Opened) {
        let is_first = self.epoch == 0;
        (self.epoch, self.state) = (opened.epoch, Opening::Open);
        if let Some(sending) = self.sending.as_ref().filter(|_| is_first) {
            lock(&sending.stream.book).start(opened.last_n);
        }
        if let Some(reading) = &mut self.reading
            && is_first
            && opened.head_seq > reading.cursor
        {
            // Left from another run.
            (reading.cursor, reading.told) = (opened.head_seq, opened.head_seq);
            self.state = Opening::Later(Instant::now());
        }
    }

    /// What was not answered so far.
    pub(super) fn again(&self) -> impl Iterator<Item = client_frame::Body> {
        let unanswered = self.sending.iter().flat_map(|sending| &sending.unanswered);
        unanswered.map(|written| self.append(written.envelope.clone()))
    }

    fn append(&self, envelope: Bytes) -> client_frame::Body {
        let (log, open_id, epoch) = (self.name.clone(), self.open_id, self.epoch);
        client_frame::Body::Append(Append { log, open_id, epoch, envelope })
    }

    /// Writes a message that was meant to go at `meant_at`: the frame, and how many get it.
    pub(super) fn write(
        &mut self,
        meant_at: Duration,
        unix_ms: u64,
    ) -> Result<Option<(client_frame::Body, usize)>, BenchError> {
        let Some(sending) = &mut self.sending else { return Ok(None) };
        let mut book = lock(&sending.stream.book);
        let (n, readers) = (book.write(meant_at), book.readers());
        drop(book);
        let envelope = sending.stream.talk.seal(n, unix_ms)?;
        sending.unanswered.push_back(Written { n, envelope: envelope.clone(), meant_at });
        Ok(Some((self.append(envelope), readers)))
    }

    /// Messages written here that the slowest reader has not seen yet.
    pub(super) fn behind(&self) -> usize {
        self.sending.as_ref().map_or(0, |sending| lock(&sending.stream.book).behind())
    }

    /// Takes the oldest message that was not answered, if that is up to `n`: when it was meant to
    /// go.
    pub(super) fn answered(&mut self, n: u64) -> Option<Duration> {
        let unanswered = &mut self.sending.as_mut()?.unanswered;
        unanswered.front().filter(|written| written.n <= n)?;
        unanswered.pop_front().map(|written| written.meant_at)
    }

    /// Takes an entry; false for one that does not follow. After a gap the log is opened again.
    pub(super) fn take(&mut self, entry: &Entry, now: Instant) -> bool {
        let Some(reading) = self.reading.as_mut().filter(|_| entry.open_id == self.open_id) else {
            return false;
        };
        if entry.seq > reading.cursor + 1 {
            self.state = Opening::Later(now);
        }
        if entry.seq != reading.cursor + 1 {
            return false;
        }
        reading.cursor = entry.seq;
        reading.tell_at = match reading.told_at {
            Some(at) => Some(now.max(at + CURSOR_INTERVAL)),
            None => Some(now),
        };
        true
    }

    /// A stream that comes by this log, by its author.
    pub(super) fn author(&self, name: &str) -> Option<&Incoming> {
        self.reading.as_ref()?.authors.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::{Person, RsaKeys};
    use super::super::talk::Sealed;
    use super::*;
    use crate::net::Env;
    use crate::types::{ClusterId, UserName};

    const SECOND: Duration = Duration::from_secs(1);

    async fn stream(readers: usize) -> Arc<Stream> {
        let env = Env::system_for_tests();
        let rsa = RsaKeys::generate(&env).await.unwrap();
        let person = |name, number| {
            let user = UserName::parse(name).unwrap();
            Arc::new(Person::new(&env, &rsa, ClusterId([7; 32]), &user, number).unwrap())
        };
        let (ann, ben) = (person("ann", 0), person("ben", 1));
        let talk = Talk::to_person(&ann, &ben, 16, Sealed::Pre).unwrap();
        Arc::new(Stream::new(talk, readers))
    }

    /// As a group's: read and written.
    async fn both() -> Log {
        let reading = Reading::new(1, HashMap::new());
        Log::new("#team".to_owned(), Some(reading), Some(Sending::new(stream(3).await)))
    }

    fn pushed(need: Need) -> client_frame::Body {
        match need {
            Need::Push(body) => body,
            Need::At(at) => panic!("nothing before {at:?}"),
            Need::Nothing => panic!("nothing"),
        }
    }

    fn open(log: &mut Log, (head_seq, last_n): (u64, u64)) {
        let client_frame::Body::Open(open) = pushed(log.need(Instant::now())) else { panic!() };
        let Open { log: name, open_id, .. } = open;
        let epoch = 9;
        log.opened(&Opened { log: name, open_id, epoch, head_seq, last_n, ..Opened::default() });
    }

    fn entry(log: &Log, seq: u64) -> Entry {
        Entry { open_id: log.open_id, seq, ..Entry::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_is_told_at_once_and_then_at_most_every_interval() {
        let mut log = both().await;
        open(&mut log, (1, 0));
        let told = |log: &mut Log| match pushed(log.need(Instant::now())) {
            client_frame::Body::Cursor(cursor) => cursor.upto,
            other => panic!("{other:?}"),
        };
        assert!(log.take(&entry(&log, 2), Instant::now()));
        assert_eq!(told(&mut log), 2);
        assert!(matches!(log.need(Instant::now()), Need::Nothing));
        assert!(log.take(&entry(&log, 3), Instant::now()));
        assert!(log.take(&entry(&log, 4), Instant::now()));
        assert!(matches!(log.need(Instant::now()), Need::At(_)));
        tokio::time::advance(CURSOR_INTERVAL).await;
        assert_eq!(told(&mut log), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_gap_the_log_is_opened_again_from_where_it_stands() {
        let mut log = both().await;
        open(&mut log, (1, 0));
        let old = entry(&log, 2);
        assert!(!log.take(&entry(&log, 3), Instant::now()));
        let client_frame::Body::Open(again) = pushed(log.need(Instant::now())) else { panic!() };
        assert_eq!((again.open_id, again.epoch, again.cursor), (2, 9, 1));
        assert!(!log.take(&old, Instant::now()), "of the Open before");
        assert!(log.take(&entry(&log, 2), Instant::now()));
        assert!(!log.take(&entry(&log, 2), Instant::now()), "again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_goes_again_when_the_log_is_open_again() {
        let mut log = both().await;
        assert!(!log.has_room());
        open(&mut log, (1, 40));
        for _ in 0..3 {
            assert_eq!(log.write(SECOND, 0).unwrap().unwrap().1, 3, "readers");
        }
        assert_eq!((log.answered(41), log.answered(41)), (Some(SECOND), None));
        log.put_off(Instant::now(), Duration::ZERO);
        assert!(!log.has_room() && matches!(log.need(Instant::now()), Need::At(_)));
        tokio::time::advance(REOPEN_PAUSE).await;
        open(&mut log, (1, 41));
        let epochs = log.again().map(|body| match body {
            client_frame::Body::Append(append) => (append.open_id, append.epoch),
            other => panic!("{other:?}"),
        });
        assert_eq!(epochs.collect::<Vec<_>>(), [(2, 9); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_run_left_in_an_inbox_is_passed_over() {
        let mut log = Log::new("@ben".to_owned(), Some(Reading::new(0, HashMap::new())), None);
        open(&mut log, (70, 0));
        assert!(!log.is_open());
        let client_frame::Body::Open(again) = pushed(log.need(Instant::now())) else { panic!() };
        assert_eq!((again.open_id, again.cursor), (2, 70));
    }
}
