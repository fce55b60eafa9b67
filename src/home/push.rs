//! After the COMMIT: answers, entries, `delivered_n`.
//!
//! Nothing here runs before the transaction it tells about is durable.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::edges::Waiting;
use super::live::{EdgeNumber, OpenLog, Place, Reader};
use super::members::Sight;
use super::refusal::Fault;
use super::request::{HomeFailure, Output, Target};
use super::sql::{self, logs::EntryKind};
use super::state::{Fresh, Home, Pushed};
use crate::limits::ENTRIES_BEYOND_CURSOR_MAX;
use crate::ops::meters::{self, Stage, StoreOp};
use crate::types::{LogName, Seq};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// Entries of one page read for a reader who fell behind.
const PAGE_ENTRIES_MAX: usize = 64;
/// Bytes of such a page.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Pages read between two batches.
const PAGES_PER_ROUND_MAX: usize = 16;

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
        for (name, entries) in std::mem::take(&mut self.fresh) {
            self.push_fresh(&name, &entries).map_err(Fault::fatal)?;
        }
        for name in std::mem::take(&mut self.moved) {
            self.tell_moved(&name).map_err(Fault::fatal)?;
        }
        self.logs.sweep();
        Ok(())
    }

    /// Messages and voids that this batch stored.
    pub(super) fn fresh_messages(&self) -> usize {
        let entries = self.fresh.values().flatten();
        entries.filter(|entry| matches!(entry.what, Pushed::Envelope(_))).count()
    }

    /// Counts what became of the messages of this batch.
    fn count(&self, appended: u64, refused: u64) {
        let meters = self.env.meters();
        if !meters.is_on() {
            return;
        }
        let (mut stored, now) = (0, Instant::now());
        for entry in self.fresh.values().flatten() {
            if let Pushed::Operation(..) = entry.what {
                continue;
            }
            stored += 1;
            meters.delivered(Stage::Stored, now.saturating_duration_since(entry.since));
        }
        meters.messages(meters::Fate::Stored, stored);
        meters.messages(meters::Fate::Repeated, appended.saturating_sub(stored));
        meters.messages(meters::Fate::Refused, refused);
    }

    /// Entries of this batch, to readers who have everything before them: once per edge, however
    /// many of its connections read.
    fn push_fresh(&mut self, name: &LogName, entries: &[Fresh]) -> Result<(), Fault> {
        let now = Instant::now();
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, name)? else { return Ok(()) };
        let mut targets: Vec<BTreeMap<EdgeNumber, Vec<Target>>> = Vec::new();
        targets.resize_with(entries.len(), BTreeMap::new);
        let (mut behind, mut ended) = (Vec::new(), Vec::new());
        for (place, open) in self.live.opens_mut(name) {
            let OpenLog { author, open_id, reader: Some(reader), .. } = open else { continue };
            let room = self.edges.room(place.edge);
            let target = Target { sid: place.sid, open_id: *open_id };
            let mut sight = log.sight(author, reader.pushed);
            for (index, (fresh, targets)) in entries.iter().zip(&mut targets).enumerate() {
                if reader.queued || fresh.seq <= reader.pushed {
                    continue;
                }
                let Sight::Upto(end) = sight else { break };
                if fresh.seq.0 != reader.pushed.0 + 1
                    || fresh.seq > window_end(*reader)
                    || index >= room
                {
                    behind.push(place);
                    break;
                }
                reader.pushed = fresh.seq;
                reader.timed = reader.timed.or(Some((fresh.seq, fresh.since)));
                targets.entry(place.edge).or_default().push(target);
                let after = now.saturating_duration_since(fresh.since);
                self.env.meters().delivered(Stage::Forwarded, after);
                if fresh.seq == end {
                    sight = log.sight(author, reader.pushed);
                }
            }
            match log.sight(author, reader.pushed) {
                Sight::Upto(_) => {}
                over @ (Sight::Again | Sight::Over) => ended.push((place, over)),
            }
        }
        for (fresh, targets) in entries.iter().zip(targets) {
            for (edge, to) in targets {
                self.edges.send(edge, Output { to, frame: entry(name, fresh.seq, &fresh.what) });
            }
        }
        // Beyond the window the next Cursor wakes the reader; it is queued here for the other
        // reasons, and found idle otherwise.
        for place in behind {
            self.live.queue_reader(name, place);
        }
        for (place, over) in ended {
            self.end_reader(name, place, over);
        }
        Ok(())
    }

    /// Ends the Open of a reader who was sent all there is of their stay in a group.
    fn end_reader(&mut self, name: &LogName, place: Place, over: Sight) {
        let (code, detail) = match over {
            Sight::Upto(_) => return,
            Sight::Again => (Code::Reopen, "what comes now belongs to another membership"),
            Sight::Over => (Code::NotAMember, "not a member any more"),
        };
        let Some(open_id) = self.live.open_log(name, place).map(|open| open.open_id) else {
            return;
        };
        let (log, detail) = (name.to_string(), detail.to_owned());
        let body = Body::Closed(wire::Closed { log, open_id, code: code as u32, detail });
        let target = Target { sid: place.sid, open_id };
        self.edges.send(place.edge, Output::one(target, 0, body));
        self.live.end_open(name, place);
        // Nothing of this belongs to a transaction.
        self.live.commit();
    }

    /// A cursor moved, or an Open began: authors hear what is delivered, readers get more.
    fn tell_moved(&mut self, name: &LogName) -> Result<(), Fault> {
        let Some(log) = self.logs.get(&self.database.conn, name)? else { return Ok(()) };
        let mut readers = Vec::new();
        for (place, open) in self.live.opens_mut(name) {
            let delivered = log.delivered(&self.database.conn, &open.author, open.device)?;
            if delivered > open.told {
                open.told = delivered;
                let (log, open_id) = (name.to_string(), open.open_id);
                let body =
                    Body::Delivered(wire::Delivered { log, open_id, delivered_n: delivered.0 });
                let target = Target { sid: place.sid, open_id };
                self.edges.send(place.edge, Output::one(target, 0, body));
            }
            if open.reader.is_some_and(|reader| reader.pushed < log.head) {
                readers.push(place);
            }
        }
        for place in readers {
            self.live.queue_reader(name, place);
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
            let Some((name, place)) = self.live.behind.pop_front() else { return Ok(()) };
            self.page(name, place).map_err(Fault::fatal)?;
        }
        Ok(())
    }

    fn page(&mut self, name: LogName, place: Place) -> Result<(), Fault> {
        let began = Instant::now();
        let room = self.edges.room(place.edge);
        let Some(open) = self.live.open_mut(&name, place) else { return Ok(()) };
        let (open_id, author) = (open.open_id, open.author.clone());
        let Some(reader) = &mut open.reader else { return Ok(()) };
        if room == 0 {
            if self.edges.stall((name, place)) == Waiting::First {
                self.wake.push(place.edge);
            }
            return Ok(());
        }
        reader.queued = false;
        let reader = *reader;
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, &name)? else { return Ok(()) };
        let end = match log.sight(&author, reader.pushed) {
            Sight::Upto(end) => end,
            over @ (Sight::Again | Sight::Over) => {
                self.end_reader(&name, place, over);
                return Ok(());
            }
        };
        let upto = window_end(reader).min(end);
        if reader.pushed >= upto {
            return Ok(());
        }
        let entries = room.min(PAGE_ENTRIES_MAX);
        let page = sql::logs::page(conn, log.id, reader.pushed, upto, entries, PAGE_BYTES_MAX)?;
        self.env.meters().stored(StoreOp::Page, began.elapsed());
        // What is not there any more has expired.
        let last = page.last().map_or(upto, |entry| entry.seq);
        let over = log.sight(&author, last);
        for stored in page {
            let sha256: [u8; 32] = Sha256::digest(&stored.envelope).into();
            if sha256 != *stored.sha256 {
                let log = match &name {
                    LogName::Inbox(owner) => self.env.names().of(owner).to_string(),
                    LogName::Group(_) => "of a group".to_owned(),
                };
                return Err(Fault::Damaged(format!("entry {} of log {log}", stored.seq)));
            }
            let what = match stored.kind {
                EntryKind::Message | EntryKind::Void => Pushed::Envelope(stored.envelope),
                EntryKind::Operation => Pushed::Operation(stored.n.0, stored.envelope),
            };
            let to = vec![Target { sid: place.sid, open_id }];
            let frame = entry(&name, stored.seq, &what);
            self.edges.send(place.edge, Output { to, frame });
        }
        if let Some(reader) = self.reader_mut(&name, place) {
            reader.pushed = last;
        }
        match over {
            Sight::Upto(_) if last < upto => self.live.queue_reader(&name, place),
            Sight::Upto(_) => {}
            Sight::Again | Sight::Over => self.end_reader(&name, place, over),
        }
        Ok(())
    }

    /// There may be room towards an edge again.
    pub(super) fn resume_edge(&mut self, edge: EdgeNumber) {
        for (name, place) in self.edges.take_stalled(edge) {
            if let Some(reader) = self.reader_mut(&name, place) {
                reader.queued = false;
            }
            self.live.queue_reader(&name, place);
        }
    }

    fn reader_mut(&mut self, name: &LogName, place: Place) -> Option<&mut Reader> {
        self.live.open_mut(name, place)?.reader.as_mut()
    }
}

/// The last entry that may be pushed before the reader's cursor moves.
fn window_end(reader: Reader) -> Seq {
    Seq(reader.cursor.0.saturating_add(ENTRIES_BEYOND_CURSOR_MAX))
}

fn entry(name: &LogName, seq: Seq, what: &Pushed) -> wire::ServerFrame {
    let entry = wire::Entry { log: name.to_string(), seq: seq.0, ..wire::Entry::default() };
    let entry = match what {
        Pushed::Envelope(envelope) => wire::Entry { envelope: envelope.clone(), ..entry },
        Pushed::Operation(number, operation) => {
            wire::Entry { operation: operation.clone(), number: *number, ..entry }
        }
    };
    wire::ServerFrame { rid: 0, optional: false, body: Some(Body::Entry(entry)) }
}
