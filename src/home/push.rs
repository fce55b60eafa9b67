//! After the COMMIT: answers, entries, `delivered_n`; and the removal of what everybody has passed.
//!
//! Nothing here runs before the transaction it tells about is durable.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::warn;

use super::cache::Flush;
use super::edges::Waiting;
use super::live::{EdgeNumber, Place, Reader};
use super::refusal::{Fault, Severity};
use super::request::{HomeFailure, Output, Target};
use super::sql;
use super::state::{Fresh, Home};
use crate::limits::ENTRIES_BEYOND_CURSOR_MAX;
use crate::ops::meters::{self, Stage, StoreOp};
use crate::types::{LogName, N, Seq, UserName};
use crate::wire::client::{self as wire, server_frame::Body};

/// Entries of one page read for a reader who fell behind.
const PAGE_ENTRIES_MAX: usize = 64;
/// Bytes of such a page.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Pages read between two batches.
const PAGES_PER_ROUND_MAX: usize = 16;
/// Passed entries that are worth a transaction: deleting one by one costs ten times as much.
pub(super) const REAP_ENTRIES_MIN: u64 = 1_000;
/// Entries deleted in one transaction.
const REAP_ENTRIES_MAX: u64 = 10_000;

impl Home {
    /// Sends what the committed batch has to say.
    pub(super) fn publish(&mut self) -> Result<(), HomeFailure> {
        let (mut appended, mut refused) = (0, 0);
        for (place, output) in std::mem::take(&mut self.out) {
            appended += u64::from(matches!(output.frame.body, Some(Body::Appended(_))));
            let is_refusal = matches!(&output.frame.body, Some(Body::Refused(no)) if no.n != 0);
            refused += u64::from(is_refusal);
            self.edges.send(place.edge, output);
        }
        self.count(appended, refused);
        for (owner, entries) in std::mem::take(&mut self.fresh) {
            self.push_fresh(&owner, &entries);
        }
        for owner in std::mem::take(&mut self.moved) {
            self.tell_moved(&owner).map_err(Fault::fatal)?;
        }
        self.logs.sweep();
        Ok(())
    }

    /// Counts what became of the messages of this batch.
    fn count(&self, appended: u64, refused: u64) {
        let meters = self.env.meters();
        if !meters.is_on() {
            return;
        }
        let (mut stored, now) = (0, Instant::now());
        for entry in self.fresh.values().flatten() {
            stored += 1;
            meters.delivered(Stage::Stored, now.saturating_duration_since(entry.since));
        }
        meters.messages(meters::Fate::Stored, stored);
        meters.messages(meters::Fate::Repeated, appended.saturating_sub(stored));
        meters.messages(meters::Fate::Refused, refused);
    }

    /// Entries of this batch, to readers who have everything before them.
    fn push_fresh(&mut self, owner: &UserName, entries: &[Fresh]) {
        let now = Instant::now();
        let readers: Vec<Place> = self.readers(owner).map(|(place, _)| place).collect();
        for place in readers {
            let mut behind = false;
            for Fresh { seq, envelope, since } in entries {
                let room = self.edges.has_room(place.edge);
                let Some((open_id, reader)) = self.reader_mut(owner, place) else { break };
                if reader.queued || *seq <= reader.pushed {
                    continue;
                }
                if seq.0 != reader.pushed.0 + 1 || *seq > window_end(*reader) || !room {
                    behind = true;
                    break;
                }
                reader.pushed = *seq;
                reader.timed = reader.timed.or(Some((*seq, *since)));
                self.send_entry(owner, place, open_id, *seq, envelope.clone());
                let after = now.saturating_duration_since(*since);
                self.env.meters().delivered(Stage::Forwarded, after);
            }
            // Beyond the window the next Cursor wakes the reader; it is queued here for the other
            // reasons, and found idle otherwise.
            if behind {
                self.live.queue_reader(owner, place);
            }
        }
    }

    /// A cursor moved, or an Open began: authors hear what is delivered, readers get more.
    fn tell_moved(&mut self, owner: &UserName) -> Result<(), Fault> {
        let Some(log) = self.logs.get(&self.database.conn, owner)? else { return Ok(()) };
        let mut news: Vec<(Place, N)> = Vec::new();
        let mut readers = Vec::new();
        for (place, open) in self.live.opens(owner) {
            let delivered = log.delivered(&self.database.conn, &open.author, open.device)?;
            if delivered > open.told {
                news.push((place, delivered));
            }
            if open.reader.is_some_and(|reader| reader.pushed < log.head) {
                readers.push(place);
            }
        }
        for (place, delivered) in news {
            let Some(open) = self.live.open_mut(owner, place) else { continue };
            open.told = delivered;
            let open_id = open.open_id;
            let log = LogName::inbox(owner.clone()).to_string();
            let body = Body::Delivered(wire::Delivered { log, open_id, delivered_n: delivered.0 });
            let target = Target { sid: place.sid, open_id };
            self.edges.send(place.edge, Output::one(target, 0, body));
        }
        for place in readers {
            self.live.queue_reader(owner, place);
        }
        Ok(())
    }

    /// Whether a reader waits for a page that can be sent now.
    pub(super) fn has_pages(&self) -> bool {
        !self.live.behind.is_empty()
    }

    /// Reads pages for readers who are behind, in turn.
    pub(super) fn page_round(&mut self) -> Result<(), HomeFailure> {
        for _ in 0..PAGES_PER_ROUND_MAX {
            let Some((owner, place)) = self.live.behind.pop_front() else { return Ok(()) };
            self.page(owner, place).map_err(Fault::fatal)?;
        }
        Ok(())
    }

    fn page(&mut self, owner: UserName, place: Place) -> Result<(), Fault> {
        let began = Instant::now();
        let room = self.edges.room(place.edge);
        let Some((open_id, reader)) = self.reader_mut(&owner, place) else { return Ok(()) };
        if room == 0 {
            if self.edges.stall((owner, place)) == Waiting::First {
                self.wake.push(place.edge);
            }
            return Ok(());
        }
        reader.queued = false;
        let reader = *reader;
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, &owner)? else { return Ok(()) };
        let upto = window_end(reader).min(log.head);
        if reader.pushed >= upto {
            return Ok(());
        }
        let entries = room.min(PAGE_ENTRIES_MAX);
        let page = sql::logs::page(conn, log.id, reader.pushed, upto, entries, PAGE_BYTES_MAX)?;
        self.env.meters().stored(StoreOp::Page, began.elapsed());
        let Some(last) = page.last().map(|entry| entry.seq) else { return Ok(()) };
        for entry in page {
            let sha256: [u8; 32] = Sha256::digest(&entry.envelope).into();
            if sha256 != *entry.sha256 {
                let owner = self.env.names().of(&owner);
                return Err(Fault::Damaged(format!("entry {} of log {owner}", entry.seq)));
            }
            self.send_entry(&owner, place, open_id, entry.seq, entry.envelope);
        }
        if let Some((_, reader)) = self.reader_mut(&owner, place) {
            reader.pushed = last;
        }
        if last < upto {
            self.live.queue_reader(&owner, place);
        }
        Ok(())
    }

    /// There may be room towards an edge again.
    pub(super) fn resume_edge(&mut self, edge: EdgeNumber) {
        for (owner, place) in self.edges.take_stalled(edge) {
            if let Some((_, reader)) = self.reader_mut(&owner, place) {
                reader.queued = false;
            }
            self.live.queue_reader(&owner, place);
        }
    }

    fn send_entry(
        &mut self,
        owner: &UserName,
        place: Place,
        open_id: u32,
        seq: Seq,
        envelope: Bytes,
    ) {
        let log = LogName::inbox(owner.clone()).to_string();
        let body = Body::Entry(wire::Entry {
            log,
            open_id,
            seq: seq.0,
            envelope,
            ..wire::Entry::default()
        });
        let target = Target { sid: place.sid, open_id };
        self.edges.send(place.edge, Output::one(target, 0, body));
    }

    fn readers(&self, owner: &UserName) -> impl Iterator<Item = (Place, Reader)> {
        self.live.opens(owner).filter_map(|(place, open)| Some((place, open.reader?)))
    }

    fn reader_mut(&mut self, owner: &UserName, place: Place) -> Option<(u32, &mut Reader)> {
        let open = self.live.open_mut(owner, place)?;
        Some((open.open_id, open.reader.as_mut()?))
    }

    /// Deletes passed entries once there are enough of them for a transaction of their own.
    pub(super) fn reap_if_due(&mut self) -> Result<(), HomeFailure> {
        if self.passed < REAP_ENTRIES_MIN {
            return Ok(());
        }
        self.reap()
    }

    /// Deletes passed entries, as many as fit one transaction.
    pub(super) fn reap(&mut self) -> Result<(), HomeFailure> {
        self.passed = 0;
        let began = Instant::now();
        let Err(fault) = self.try_reap() else {
            self.env.meters().stored(StoreOp::Reap, began.elapsed());
            return Ok(());
        };
        self.rollback()?;
        match fault.severity() {
            Severity::Full => {
                warn!("the disk is full: passed entries stay for now");
                Ok(())
            }
            Severity::Operation => Err(HomeFailure::Storage("deleting entries".to_owned())),
            Severity::Fatal(failure) => Err(failure),
        }
    }

    fn try_reap(&mut self) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut budget = REAP_ENTRIES_MAX;
        let mut done = Vec::new();
        for owner in &self.reapable {
            let conn = &self.database.conn;
            let Some(log) = self.logs.get(conn, owner)? else { continue };
            let count = log.passed().min(budget);
            if count > 0 {
                let upto = Seq(log.first.0 + count - 1);
                sql::logs::delete_entries(conn, log.id, log.first, upto)?;
                log.reaped(upto);
                budget -= count;
            }
            if log.passed() == 0 {
                done.push(owner.clone());
            }
            self.logs.touch(owner);
            if budget == 0 {
                self.passed = REAP_ENTRIES_MIN;
                break;
            }
        }
        self.logs.flush(&self.database.conn, Flush::All)?;
        self.execute("COMMIT")?;
        for owner in done {
            self.reapable.remove(&owner);
        }
        Ok(())
    }
}

/// The last entry that may be pushed before the reader's cursor moves.
fn window_end(reader: Reader) -> Seq {
    Seq(reader.cursor.0.saturating_add(ENTRIES_BEYOND_CURSOR_MAX))
}
