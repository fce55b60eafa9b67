//! Where the reading of one log stands on this connection: a small state machine without IO, for
//! one's own inbox and for each group.

use std::cmp::Ordering;

use tokio::time::Instant;

use crate::limits;
use crate::types::Seq;
use crate::wire::client::Cursor;

use super::super::inbox::Position;

/// A log that is read. `E`: an entry as it is kept until it is stored.
pub(super) struct Reader<E> {
    pub(super) open_id: u32,
    /// None until the home has opened it.
    pub(super) at: Option<Position>,
    head: Seq,
    /// When to open it again.
    pub(super) reopen_at: Option<Instant>,
    batch: Vec<(Seq, E)>,
    pub(super) cursor_due: Option<Instant>,
    cursor_sent: Option<Instant>,
    cursor_told: Seq,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the next one, or one that is here already.
    Fine,
    /// Something before it is missing: the home tells it again from the cursor.
    Missing,
}

impl<E> Reader<E> {
    pub(super) fn new() -> Self {
        Self {
            open_id: 0,
            at: None,
            head: Seq(0),
            reopen_at: None,
            batch: Vec::new(),
            cursor_due: None,
            cursor_sent: None,
            cursor_told: Seq(0),
        }
    }

    /// A new Open was sent.
    pub(super) fn reopened(&mut self, open_id: u32) {
        self.open_id = open_id;
        self.at = None;
        self.reopen_at = None;
        self.batch.clear();
    }

    /// The log is open: entries are taken from this position on.
    pub(super) fn opened(&mut self, at: Position, head: Seq) {
        self.batch.clear();
        self.at = Some(at);
        self.head = head;
        self.cursor_told = at.cursor;
    }

    /// Whether all that was there when the log was opened is on this disk.
    pub(super) fn is_caught_up(&self) -> bool {
        self.at.is_some_and(|at| at.cursor >= self.head)
    }

    /// Takes an entry of this Open, if it follows.
    pub(super) fn take(&mut self, open_id: u32, seq: Seq, entry: E) -> Taken {
        let Some(at) = self.at.filter(|_| open_id == self.open_id) else { return Taken::Fine };
        let last = self.batch.last().map_or(at.cursor, |(last, _)| *last);
        match seq.0.cmp(&last.0.saturating_add(1)) {
            // Behind the last number there is: a home that counts so far makes it up.
            _ if last.0 == u64::MAX => {}
            Ordering::Equal => self.batch.push((seq, entry)),
            Ordering::Greater => return Taken::Missing,
            Ordering::Less => {}
        }
        Taken::Fine
    }

    /// The entries that are to be stored, and where this device stands once they are.
    pub(super) fn take_batch(&mut self) -> Option<(Vec<(Seq, E)>, Position)> {
        let at = self.at?;
        let (last, _) = self.batch.last()?;
        let moved = Position { epoch: at.epoch, cursor: *last };
        Some((std::mem::take(&mut self.batch), moved))
    }

    /// They are on the disk. True when the home can be told at once.
    pub(super) fn stored(&mut self, moved: Position) -> bool {
        self.at = Some(moved);
        let now = Instant::now();
        let due = self.cursor_sent.map_or(now, |at| at + limits::CURSOR_INTERVAL);
        self.cursor_due = Some(due);
        due <= now
    }

    /// What the home has to hear of this disk, if it does not know.
    pub(super) fn cursor(&mut self, log: impl FnOnce() -> String) -> Option<Cursor> {
        self.cursor_due = None;
        let at = self.at.filter(|at| at.cursor > self.cursor_told)?;
        self.cursor_told = at.cursor;
        self.cursor_sent = Some(Instant::now());
        Some(Cursor { log: log(), open_id: self.open_id, epoch: at.epoch.0, upto: at.cursor.0 })
    }
}
