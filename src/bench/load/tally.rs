//! What became of every message: when it was meant to go, whether it arrived, and how often.
//!
//! A message is known by author, reader and number, as in the protocol. Deliberately believes
//! no answer of a server about what arrived: only the recipient's session counts.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::Durations;

/// Locks; a panic elsewhere has spoilt no more than a figure.
pub(in super::super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The messages that one author wrote into one log, and what arrived at each of its readers.
#[derive(Debug)]
pub(super) struct Book {
    /// The last number used before this run.
    base: u64,
    /// When each was meant to go, in order of number from `base + 1`: 16 bytes a message.
    meant_at: Vec<Duration>,
    readers: Vec<Arrivals>,
}

/// What arrived at one reader.
#[derive(Clone, Debug, Default)]
struct Arrivals {
    /// The highest number that did.
    high: u64,
    /// Below `high`, and did not.
    missing: BTreeSet<u64>,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first of its number, meant to go at that time.
    New(Duration),
    /// The first of its number, after a later one.
    Late(Duration),
    /// Had arrived before.
    Again,
    /// Nobody wrote that.
    Unknown,
}

impl Book {
    /// A book for so many readers.
    pub(super) fn new(readers: usize) -> Self {
        Self { base: 0, meant_at: Vec::new(), readers: vec![Arrivals::default(); readers] }
    }

    /// Starts with the last number of earlier runs.
    pub(super) fn start(&mut self, base: u64) {
        self.base = base;
        self.meant_at.clear();
        self.readers.fill(Arrivals { high: base, missing: BTreeSet::new() });
    }

    /// How many get each message.
    pub(super) fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Takes the next number for a message that was meant to go at `at`.
    pub(super) fn write(&mut self, at: Duration) -> u64 {
        self.meant_at.push(at);
        self.base + self.meant_at.len() as u64
    }

    /// Notes an arrival at one reader, counted from 0.
    pub(super) fn arrive(&mut self, reader: usize, n: u64) -> Arrival {
        let index = n.checked_sub(self.base + 1).and_then(|index| usize::try_from(index).ok());
        let at = index.and_then(|index| self.meant_at.get(index));
        let Some((&at, reader)) = at.zip(self.readers.get_mut(reader)) else {
            return Arrival::Unknown;
        };
        if n > reader.high {
            reader.missing.extend(reader.high + 1..n);
            reader.high = n;
            return Arrival::New(at);
        }
        if reader.missing.remove(&n) { Arrival::Late(at) } else { Arrival::Again }
    }

    /// Messages that the slowest reader has not seen yet.
    pub(super) fn behind(&self) -> usize {
        let last = self.base + self.meant_at.len() as u64;
        let slowest = self.readers.iter().map(|reader| reader.high).min();
        usize::try_from(last - slowest.unwrap_or(last).min(last)).unwrap_or(usize::MAX)
    }

    /// Written, and not arrived: each message once for each reader who misses it.
    pub(super) fn lost(&self) -> u64 {
        let last = self.base + self.meant_at.len() as u64;
        let of = |reader: &Arrivals| reader.missing.len() as u64 + last - reader.high;
        self.readers.iter().map(of).sum()
    }
}

/// Durations of the current second, and of the whole run.
#[derive(Debug)]
pub(super) struct Recorder(Mutex<[Durations; 2]>);

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    /// From the moment a message was meant to go until its author knows that it is on disk.
    Sent,
    /// From that moment until it is at its recipient.
    Delivered,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self(Mutex::new([Durations::new(), Durations::new()]))
    }

    fn add(&self, what: Timed, took: Duration) {
        let [sent, delivered] = &mut *lock(&self.0);
        match what {
            Timed::Sent => sent.add(took),
            Timed::Delivered => delivered.add(took),
        }
    }

    /// Sent and delivered since the last call.
    pub(super) fn take(&self) -> [Durations; 2] {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// What all sessions count together.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) recorder: Recorder,
    /// Messages meant to go before this are not timed, but must arrive.
    warm_at: Duration,
    /// Nothing new is written from here on.
    end_at: Duration,
    pub(super) written: AtomicU64,
    /// Times that what was written has to arrive: once for each of its readers.
    pub(super) expected: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) arrived: AtomicU64,
    pub(super) answered_in_time: AtomicU64,
    pub(super) arrived_in_time: AtomicU64,
    pub(super) doubled: AtomicU64,
    pub(super) reordered: AtomicU64,
    /// Did not verify, did not decrypt, or was never written.
    pub(super) damaged: AtomicU64,
    /// Answers that told a sender to wait or to begin again.
    pub(super) put_off: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Totals {
    pub(super) fn new(warm_at: Duration, end_at: Duration) -> Self {
        let zero = AtomicU64::default;
        Self {
            recorder: Recorder::new(),
            warm_at,
            end_at,
            written: zero(),
            expected: zero(),
            answered: zero(),
            arrived: zero(),
            answered_in_time: zero(),
            arrived_in_time: zero(),
            doubled: zero(),
            reordered: zero(),
            damaged: zero(),
            put_off: zero(),
        }
    }

    pub(super) fn end_at(&self) -> Duration {
        self.end_at
    }

    /// A message was written for so many readers.
    pub(super) fn wrote(&self, readers: usize) {
        count(&self.written);
        self.expected.fetch_add(readers as u64, Ordering::Relaxed);
    }

    /// A message meant to go at `meant_at` got so far at `now`.
    pub(super) fn done(&self, what: Timed, meant_at: Duration, now: Duration) {
        let (all, in_time) = match what {
            Timed::Sent => (&self.answered, &self.answered_in_time),
            Timed::Delivered => (&self.arrived, &self.arrived_in_time),
        };
        count(all);
        if (self.warm_at..self.end_at).contains(&now) {
            count(in_time);
        }
        if meant_at >= self.warm_at {
            self.recorder.add(what, now.saturating_sub(meant_at));
        }
    }

    /// Whether everything written was answered and has arrived at everybody.
    pub(super) fn is_quiet(&self) -> bool {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        of(&self.written) == of(&self.answered) && of(&self.expected) == of(&self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(1);

    fn book(base: u64, messages: u64) -> Book {
        let mut book = Book::new(1);
        book.start(base);
        for number in 1..=messages {
            assert_eq!(book.write(AT), base + number);
        }
        book
    }

    #[test]
    fn what_arrives_in_order_is_all_new() {
        let mut book = book(40, 3);
        assert_eq!(book.lost(), 3);
        for n in 41..=43 {
            assert_eq!(book.arrive(0, n), Arrival::New(AT));
        }
        assert_eq!(book.lost(), 0);
    }

    #[test]
    fn lost_late_doubled_and_made_up_messages_are_told_apart() {
        let mut book = book(0, 5);
        assert_eq!(book.arrive(0, 1), Arrival::New(AT));
        assert_eq!(book.arrive(0, 4), Arrival::New(AT));
        assert_eq!(book.lost(), 3, "2, 3 and 5");
        assert_eq!(book.arrive(0, 2), Arrival::Late(AT));
        assert_eq!(book.arrive(0, 2), Arrival::Again);
        assert_eq!(book.arrive(0, 4), Arrival::Again);
        assert_eq!(book.arrive(0, 6), Arrival::Unknown);
        assert_eq!(book.arrive(0, 0), Arrival::Unknown);
        assert_eq!(book.lost(), 2, "3 and 5");
    }

    #[test]
    fn each_reader_of_a_message_is_missed_alone() {
        let mut book = Book::new(3);
        book.start(7);
        assert_eq!((book.write(AT), book.write(AT), book.readers()), (8, 9, 3));
        for (reader, n) in [(0, 8), (0, 9), (2, 9)] {
            assert_eq!(book.arrive(reader, n), Arrival::New(AT));
        }
        assert_eq!(book.lost(), 3, "8 and 9 at the second, 8 at the third");
        assert_eq!(book.arrive(0, 9), Arrival::Again);
        assert_eq!(book.arrive(2, 8), Arrival::Late(AT));
        assert_eq!((book.arrive(3, 8), book.lost()), (Arrival::Unknown, 2));
    }

    #[test]
    fn a_run_is_quiet_when_every_reader_has_everything() {
        let totals = Totals::new(Duration::ZERO, AT);
        totals.wrote(2);
        totals.done(Timed::Sent, AT, AT);
        totals.done(Timed::Delivered, AT, AT);
        assert!(!totals.is_quiet());
        totals.done(Timed::Delivered, AT, AT);
        assert!(totals.is_quiet());
    }

    #[test]
    fn only_what_was_meant_to_go_after_the_warm_up_is_timed_but_everything_must_arrive() {
        let second = Duration::from_secs;
        let totals = Totals::new(second(1), second(3));
        (0..3).for_each(|_| totals.wrote(1));
        for (meant, now) in [(0, 1), (1, 2), (2, 4)] {
            totals.done(Timed::Sent, second(meant), second(now));
            totals.done(Timed::Delivered, second(meant), second(now));
        }
        assert!(totals.is_quiet());
        assert_eq!(totals.answered_in_time.load(Ordering::Relaxed), 2);
        let [sent, delivered] = totals.recorder.take();
        assert_eq!((sent.summary().count, delivered.summary().count), (2, 2));
    }
}
