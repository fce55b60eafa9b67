//! What the writer remembers of logs, so that an append needs no query for what it just wrote.
//!
//! Always derived from the database: dropped whole after a rollback, written back before each
//! COMMIT, bounded. Right because nobody else writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rusqlite::Connection;

use super::members::{Group, Sight};
use super::producer::{Appended, Beyond, Producer};
use super::refusal::Fault;
use super::sql::logs::EntryKind;
use super::sql::logs::LogRow;
use super::sql::{self, ProducerId, RowId};
use crate::types::{DeviceId, LogEpoch, LogName, N, Seq, UserName};

/// What the cache may hold, by its own estimate.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Growths between two looks at the size.
const GROWTHS_PER_SWEEP: usize = 4_096;
/// Estimates of what a log, an unread entry, and a producer take.
const LOG_BYTES: usize = 512;
const UNREAD_BYTES: usize = 64;
const PRODUCER_BYTES: usize = 2_560;

/// An entry beyond the cursor.
struct Unread {
    seq: Seq,
    producer: ProducerId,
    author: Arc<UserName>,
    n: N,
    kind: EntryKind,
    bytes: u64,
}

/// What stands beyond the cursor: of a whole log, or of one author.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Voids count in no quota of messages, only among themselves.
    pub(super) voids: u64,
}

impl Load {
    fn add(&mut self, entry: &Unread) {
        match entry.kind {
            EntryKind::Message => {
                self.messages += 1;
                self.bytes += entry.bytes;
            }
            EntryKind::Void => self.voids += 1,
            // Not written by anybody's choice of how much: it is never refused for want of room.
            EntryKind::Operation => {}
        }
    }

    fn remove(&mut self, entry: &Unread) {
        match entry.kind {
            EntryKind::Message => {
                self.messages = self.messages.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(entry.bytes);
            }
            EntryKind::Void => self.voids = self.voids.saturating_sub(1),
            EntryKind::Operation => {}
        }
    }
}

/// One inbox, or one group's log.
pub(super) struct Log {
    pub(super) id: RowId,
    pub(super) epoch: LogEpoch,
    /// Oldest entry kept, or head + 1.
    pub(super) first: Seq,
    pub(super) head: Seq,
    /// The device that reads an inbox.
    pub(super) reader: Option<DeviceId>,
    /// Up to where every reader has read: an inbox has one.
    pub(super) cursor: Seq,
    /// Of a group's log.
    pub(super) group: Option<Group>,
    pub(super) blocked: BTreeSet<UserName>,
    unread: VecDeque<Unread>,
    total: Load,
    authors: BTreeMap<Arc<UserName>, Load>,
    producers: BTreeMap<(UserName, DeviceId), Producer>,
    dirty_producers: BTreeSet<(UserName, DeviceId)>,
    row_dirty: bool,
    cursor_dirty: bool,
    used: u64,
}

/// What is counted of an entry.
#[derive(Clone, Copy)]
struct Added {
    seq: Seq,
    n: N,
    kind: EntryKind,
    bytes: u64,
}

impl Log {
    fn load(conn: &Connection, name: &LogName) -> Result<Option<Self>, Fault> {
        match name {
            LogName::Inbox(owner) => Self::load_inbox(conn, owner),
            LogName::Group(group) => Self::load_group(conn, group),
        }
    }

    pub(super) fn new(row: &LogRow) -> Self {
        Self {
            id: row.id,
            epoch: row.epoch,
            first: row.first,
            head: row.head,
            reader: None,
            cursor: Seq(row.first.0.saturating_sub(1)),
            group: None,
            blocked: BTreeSet::new(),
            unread: VecDeque::new(),
            total: Load::default(),
            authors: BTreeMap::new(),
            producers: BTreeMap::new(),
            dirty_producers: BTreeSet::new(),
            row_dirty: false,
            cursor_dirty: false,
            used: 0,
        }
    }

    fn load_inbox(conn: &Connection, owner: &UserName) -> Result<Option<Self>, Fault> {
        let Some(row) = sql::logs::log(conn, owner)? else { return Ok(None) };
        let mut log = Self::new(&row);
        if let Some((device, seq)) = sql::logs::cursor(conn, row.id, owner)? {
            log.reader = Some(device);
            log.cursor = log.cursor.max(seq);
        }
        let blocked = sql::accounts::blocks(conn, row.id)?;
        log.blocked =
            blocked.iter().map(|name| UserName::canonical(name)).collect::<Result<_, _>>()?;
        log.load_unread(conn)?;
        Ok(Some(log))
    }

    pub(super) fn load_unread(&mut self, conn: &Connection) -> Result<(), Fault> {
        self.unread.clear();
        self.authors.clear();
        self.total = Load::default();
        for row in sql::logs::entries_after(conn, self.id, self.cursor)? {
            let (seq, n, kind, bytes) = (row.seq, row.n, row.kind, row.bytes);
            if kind != EntryKind::Operation {
                let author = UserName::canonical(&row.author)?;
                self.count(&author, row.producer, Added { seq, n, kind, bytes });
            }
        }
        Ok(())
    }

    fn count(&mut self, author: &UserName, producer: ProducerId, added: Added) {
        let author = match self.authors.get_key_value(author) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(author.clone()),
        };
        let entry = Unread {
            seq: added.seq,
            producer,
            author: Arc::clone(&author),
            n: added.n,
            kind: added.kind,
            bytes: added.bytes,
        };
        self.total.add(&entry);
        self.authors.entry(author).or_default().add(&entry);
        self.unread.push_back(entry);
    }

    /// What stands beyond the cursor in all, and from one author.
    pub(super) fn loads(&self, author: &UserName) -> (Load, Load) {
        (self.total, self.authors.get(author).copied().unwrap_or_default())
    }

    pub(super) fn producer(
        &mut self,
        conn: &Connection,
        author: &UserName,
        device: DeviceId,
    ) -> Result<Option<&mut Producer>, Fault> {
        let key = (author.clone(), device);
        if !self.producers.contains_key(&key) {
            let Some(row) = sql::logs::producer(conn, self.id, author, device)? else {
                return Ok(None);
            };
            let producer = Producer::decode(row.id, row.last, &row.recent)
                .ok_or_else(|| Fault::Damaged("the appends of a producer".to_owned()))?;
            self.producers.insert(key.clone(), producer);
        }
        Ok(self.producers.get_mut(&key))
    }

    pub(super) fn add_producer(&mut self, author: &UserName, device: DeviceId, id: ProducerId) {
        self.producers.insert((author.clone(), device), Producer::new(id));
    }

    /// Takes note of an entry that was inserted at the head. Its producer must be known.
    pub(super) fn add_entry(
        &mut self,
        author: &UserName,
        device: DeviceId,
        append: Appended,
        kind: EntryKind,
        bytes: u64,
    ) {
        let key = (author.clone(), device);
        let Some(producer) = self.producers.get_mut(&key) else { return };
        producer.add(append);
        let id = producer.id;
        self.dirty_producers.insert(key);
        self.head = append.seq;
        self.row_dirty = true;
        self.count(author, id, Added { seq: append.seq, n: append.n, kind, bytes });
    }

    /// Takes note of an operation that was inserted at the head: nobody counts those.
    pub(super) fn add_operation(&mut self, seq: Seq) {
        self.head = seq;
        self.row_dirty = true;
    }

    /// What a reader who was sent everything up to `pushed` may be sent next.
    pub(super) fn sight(&self, user: &UserName, pushed: Seq) -> Sight {
        match &self.group {
            None => Sight::Upto(self.head),
            Some(group) => group.sight(user, pushed, self.head),
        }
    }

    /// Moves the cursor; it never goes back and never past the head.
    pub(super) fn pass(&mut self, upto: Seq) {
        let upto = upto.min(self.head);
        if upto <= self.cursor {
            return;
        }
        self.cursor = upto;
        self.cursor_dirty = true;
        while self.unread.front().is_some_and(|entry| entry.seq <= upto)
            && let Some(entry) = self.unread.pop_front()
        {
            self.total.remove(&entry);
            if let Some(load) = self.authors.get_mut(&entry.author) {
                load.remove(&entry);
                if *load == Load::default() {
                    self.authors.remove(&entry.author);
                }
            }
        }
    }

    /// Gives the log to another device, which starts at the oldest entry kept.
    pub(super) fn start_reader(
        &mut self,
        conn: &Connection,
        owner: &UserName,
        device: DeviceId,
    ) -> Result<(), Fault> {
        sql::logs::drop_cursors(conn, self.id, owner)?;
        self.reader = Some(device);
        self.cursor = Seq(self.first.0.saturating_sub(1));
        self.cursor_dirty = true;
        self.load_unread(conn)
    }

    /// Every number of this producer up to here has passed the cursor.
    pub(super) fn delivered(
        &mut self,
        conn: &Connection,
        author: &UserName,
        device: DeviceId,
    ) -> Result<N, Fault> {
        let cursor = self.cursor;
        let Some(producer) = self.producer(conn, author, device)? else { return Ok(N(0)) };
        let (id, last) = (producer.id, producer.last);
        let lowest = match producer.beyond(cursor) {
            Beyond::Nothing => return Ok(last),
            Beyond::Lowest(n) => Some(n),
            Beyond::Unknown => {
                self.unread.iter().find(|entry| entry.producer == id).map(|entry| entry.n)
            }
        };
        Ok(lowest.map_or(last, |n| N(n.0.saturating_sub(1))))
    }

    /// Entries that every reader has passed, and that can go.
    pub(super) fn passed(&self) -> u64 {
        (self.cursor.0 + 1).saturating_sub(self.first.0)
    }

    /// Takes note of entries that were deleted.
    pub(super) fn reaped(&mut self, upto: Seq) {
        self.first = Seq(upto.0 + 1);
        self.row_dirty = true;
    }

    fn weight(&self) -> usize {
        LOG_BYTES
            + self.unread.len() * UNREAD_BYTES
            + self.producers.len() * PRODUCER_BYTES
            + self.blocked.len() * UNREAD_BYTES
            + self.group.as_ref().map_or(0, Group::weight)
    }

    fn flush(&mut self, conn: &Connection, name: &LogName, what: Flush) -> Result<(), Fault> {
        if self.row_dirty {
            sql::logs::set_log(conn, self.id, self.first, self.head)?;
            self.row_dirty = false;
        }
        if self.cursor_dirty
            && let (Some(device), Some(owner)) = (self.reader, name.owner())
        {
            sql::logs::put_cursor(conn, self.id, owner, device, self.cursor)?;
            self.cursor_dirty = false;
        }
        for (user, device, seq) in self.group.as_mut().map_or(Vec::new(), Group::take_dirty) {
            sql::logs::put_cursor(conn, self.id, &user, device, seq)?;
        }
        match what {
            Flush::LogsOnly => return Ok(()),
            Flush::All => {}
        }
        while let Some(key) = self.dirty_producers.pop_first() {
            if let Some(producer) = self.producers.get(&key) {
                sql::logs::set_producer(conn, producer.id, producer.last, &producer.encode())?;
            }
        }
        Ok(())
    }
}

/// What is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything.
    All,
    /// All but the producers: half of a planted bug.
    LogsOnly,
}

/// The logs used of late.
#[derive(Default)]
pub(super) struct Logs {
    logs: BTreeMap<LogName, Log>,
    dirty: BTreeSet<LogName>,
    clock: u64,
    growths: usize,
}

impl Logs {
    /// A log; `None` when there is no such account or group.
    pub(super) fn get(
        &mut self,
        conn: &Connection,
        name: &LogName,
    ) -> Result<Option<&mut Log>, Fault> {
        if !self.logs.contains_key(name) {
            let Some(log) = Log::load(conn, name)? else { return Ok(None) };
            self.growths += 1 + log.weight() / UNREAD_BYTES;
            self.logs.insert(name.clone(), log);
        }
        self.clock += 1;
        let mut log = self.logs.get_mut(name);
        if let Some(log) = &mut log {
            log.used = self.clock;
        }
        Ok(log)
    }

    /// Has a log written back before the COMMIT. To be called for every change of it.
    pub(super) fn touch(&mut self, name: &LogName) {
        self.growths += 1;
        if !self.dirty.contains(name) {
            self.dirty.insert(name.clone());
        }
    }

    /// Takes note that a roster of so many members is kept with a log.
    pub(super) fn grown(&mut self, members: usize) {
        self.growths += members;
    }

    /// Writes back what changed, inside the transaction that changed it.
    pub(super) fn flush(&mut self, conn: &Connection, what: Flush) -> Result<(), Fault> {
        for name in &self.dirty {
            if let Some(log) = self.logs.get_mut(name) {
                log.flush(conn, name, what)?;
            }
        }
        match what {
            Flush::All => self.dirty.clear(),
            Flush::LogsOnly => {}
        }
        Ok(())
    }

    /// Forgets the log of an account that is gone. Between transactions only.
    pub(super) fn forget(&mut self, name: &LogName) {
        self.logs.remove(name);
    }

    /// Forgets everything, after a rollback.
    pub(super) fn clear(&mut self) {
        self.logs.clear();
        self.dirty.clear();
    }

    /// Forgets the longest unused logs when there is too much. Between transactions only.
    pub(super) fn sweep(&mut self) {
        if self.growths < GROWTHS_PER_SWEEP {
            return;
        }
        self.growths = 0;
        let mut weight: usize = self.logs.values().map(Log::weight).sum();
        if weight <= CACHE_BYTES_MAX {
            return;
        }
        let mut by_age: Vec<(u64, LogName)> =
            self.logs.iter().map(|(name, log)| (log.used, name.clone())).collect();
        by_age.sort_unstable();
        for (_, name) in by_age {
            if weight <= CACHE_BYTES_MAX / 2 {
                break;
            }
            weight -= self.logs.remove(&name).map_or(0, |log| log.weight());
        }
    }
}
