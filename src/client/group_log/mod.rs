//! The log of a group on this device: from an entry to a line, and from a line to an entry.
//!
//! Arrival is as in one's own inbox. Opening goes strictly in the order of the log: operations are
//! applied to the chain as they come, and each message is judged by the roster as it was at its
//! place. `judging` decides, `taking` stores, `reads` is who has read what, `sending` the outbox.

mod judging;
mod reads;
mod sending;
mod taking;

pub(super) use reads::{group_reads_moved, hear_group_read};
pub(super) use taking::retry_waiting;

use bytes::Bytes;
use rusqlite::{Transaction, params};

use crate::crypto::envelope::{EnvelopeError, parse_header};
use crate::types::{ChatName, DeviceId, GroupName, LogEpoch, Seq, UserName};

use super::api::{Event, Standing, Trouble};
use super::core::Core;
use super::groups::{TookOperation, tell_passed};
use super::inbox::{Entry, OpenReport, Position};
use super::store::{StoreError, bits, unbits};
use super::views::insert_trouble;
use judging::{Judged, Verdict};

/// One entry as the home pushed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// A message or a void.
    Envelope(Bytes),
    /// A change of the group.
    Operation {
        /// In the chain, by the home's word.
        number: u64,
        /// As it was signed.
        encoded: Bytes,
    },
}

/// An entry between arrival and opening.
struct GroupEntry {
    entry: Entry,
    /// Of an operation.
    number: Option<u64>,
}

/// What became of an entry.
enum Step {
    Done {
        lines: usize,
    },
    /// It was tried again, in vain.
    Nothing,
    /// Nothing behind it can be judged before this bundle is here.
    NeedsBundle(UserName, DeviceId),
    /// Nothing behind it can be judged before the chain is here.
    NeedsRoster,
    /// Ours, and not known here: this database is an old copy.
    Foreign,
}

impl Core {
    /// Whether the owner is in a group and may write there.
    pub(crate) fn is_in(&mut self, name: &GroupName) -> Result<bool, StoreError> {
        Ok(self.group(name)?.is_some_and(|group| group.standing == Standing::Member))
    }

    /// Where this device stands in a group's log.
    pub(crate) fn group_position(&mut self, name: &GroupName) -> Result<Position, StoreError> {
        let group = self.group(name)?;
        Ok(group.map_or_else(Position::default, |group| Position {
            epoch: group.epoch,
            cursor: group.cursor,
        }))
    }

    /// The home opened a group's log. Returns the position from which entries are accepted.
    pub(crate) fn group_opened(
        &mut self,
        name: &GroupName,
        epoch: LogEpoch,
        first_seq: Seq,
    ) -> Result<Position, StoreError> {
        let Some(group) = self.group(name)? else {
            return Err(StoreError::NoSuchGroup(name.clone()));
        };
        let (before, from) = ((group.epoch, group.cursor), group.from);
        let same = before.0 == epoch;
        let cursor = if same { before.1 } else { Seq(0) };
        let jump = first_seq.0 > cursor.0.saturating_add(1);
        if same && !jump {
            return Ok(Position { epoch, cursor });
        }
        let cursor = if jump { Seq(first_seq.0 - 1) } else { cursor };
        // What lies before the operation that brought us in again was never ours to read.
        let explained = from > before.1 && first_seq <= from;
        let expired = same && jump && before.1.0 > 0 && !explained;
        let whole = !jump && (before.0.0 == 0 || group.whole);
        let (now, chat) = (self.now(), ChatName::Group(name.clone()));
        let told = self.profile.store.commit(|tx| {
            tx.execute(
                "UPDATE groups SET epoch = ?2, cursor = ?3, whole = ?4 WHERE name = ?1",
                params![name.as_str(), bits(epoch.0), bits(cursor.0), whole],
            )?;
            if expired {
                insert_trouble(tx, &chat, &Trouble::Expired, now)?;
            }
            if !same {
                // Places in the log before are none in this one.
                reads::forget_places(tx, &chat)?;
            }
            tell_passed(tx, name, cursor, now)
        })?;
        self.groups.moved_to(name, epoch, cursor, whole);
        if expired || told > 0 {
            self.emit(Event::Lines);
        }
        Ok(Position { epoch, cursor })
    }

    /// This device claims to have read more of a group than its home ever had: all that is kept
    /// there is read again.
    pub(crate) fn group_set_back(
        &mut self,
        name: &GroupName,
        first_seq: Seq,
    ) -> Result<(), StoreError> {
        let Some(group) = self.group(name)? else { return Ok(()) };
        let (epoch, whole, cursor) = (group.epoch, group.whole, Seq(first_seq.0.saturating_sub(1)));
        self.profile.store.commit(|tx| write_cursor(tx, name, cursor))?;
        self.groups.moved_to(name, epoch, cursor, whole);
        Ok(())
    }

    /// Stores entries that follow the cursor without a gap, and moves it: one transaction.
    pub(crate) fn store_group_entries(
        &mut self,
        name: &GroupName,
        epoch: LogEpoch,
        entries: &[(Seq, Arrived)],
    ) -> Result<(), StoreError> {
        let Some((last, _)) = entries.last() else { return Ok(()) };
        let Some(group) = self.group(name)? else { return Ok(()) };
        let (whole, last, log) = (group.whole, *last, ChatName::Group(name.clone()));
        self.profile.store.commit(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO inbox (log, epoch, seq, kind, number, author, envelope)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for (seq, arrived) in entries {
                let (kind, number, bytes) = match arrived {
                    Arrived::Envelope(bytes) => (0, 0, bytes),
                    Arrived::Operation { number, encoded } => (1, *number, encoded),
                };
                let author = match arrived {
                    Arrived::Envelope(bytes) => parse_header(bytes).map(|h| h.author.to_string()),
                    Arrived::Operation { .. } => Ok(String::new()),
                };
                let author = author.unwrap_or_default();
                let (epoch, seq) = (bits(epoch.0), bits(seq.0));
                let number = bits(number);
                insert.execute(params![log, epoch, seq, kind, number, author, bytes.as_ref()])?;
            }
            Ok::<_, StoreError>(write_cursor(tx, name, last)?)
        })?;
        self.groups.moved_to(name, epoch, last, whole);
        Ok(())
    }

    /// After a start: a key may have come just before the end.
    pub(crate) fn retry_all_groups(&mut self) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| {
            tx.execute("UPDATE inbox SET waits = 2 WHERE log <> '' AND waits = 1", [])
        })?;
        Ok(())
    }

    /// Opens what can be opened of groups' logs, at most `max` entries of each.
    pub(crate) fn open_group_entries(
        &mut self,
        max: usize,
        report: &mut OpenReport,
    ) -> Result<(), StoreError> {
        for name in self.groups_with_mail()? {
            for entry in self.entries_of_group(&name, max)? {
                match self.open_group_entry(&name, &entry)? {
                    Step::Done { lines } => {
                        report.lines += lines;
                        report.progress = true;
                    }
                    Step::Foreign => {
                        report.foreign = true;
                        report.progress = true;
                    }
                    Step::Nothing => {}
                    Step::NeedsBundle(user, device) => {
                        report.need_bundle.push((user, device));
                        break;
                    }
                    Step::NeedsRoster => {
                        report.need_roster.push(name.clone());
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn groups_with_mail(&self) -> Result<Vec<GroupName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT log FROM inbox WHERE log <> '' AND waits <> 1
             GROUP BY log ORDER BY min(arrival)",
        )?;
        let logs = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for log in logs {
            if let Ok(ChatName::Group(name)) = ChatName::canonical(&log?) {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn entries_of_group(
        &self,
        name: &GroupName,
        max: usize,
    ) -> Result<Vec<GroupEntry>, StoreError> {
        let log = ChatName::Group(name.clone()).to_string();
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT epoch, seq, envelope, waits, kind, number FROM inbox
             WHERE log = ?1 AND waits <> 1 ORDER BY arrival LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let found = rows.query_map(params![log, max], |row| {
            let number = unbits(row.get(5)?);
            Ok(GroupEntry {
                entry: Entry {
                    log: log.clone(),
                    epoch: row.get(0)?,
                    seq: row.get(1)?,
                    envelope: row.get::<_, Vec<u8>>(2)?.into(),
                    tried: row.get::<_, i64>(3)? == 2,
                },
                number: (row.get::<_, i64>(4)? == 1).then_some(number),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn open_group_entry(
        &mut self,
        name: &GroupName,
        GroupEntry { entry, number }: &GroupEntry,
    ) -> Result<Step, StoreError> {
        let Some(group) = self.group(name)?.cloned() else { return self.drop_entry(entry) };
        if group.standing == Standing::Forked {
            return self.drop_entry(entry);
        }
        if let Some(number) = number {
            return self.open_operation(name, entry, *number);
        }
        let header = match parse_header(&entry.envelope) {
            Ok(header) => header,
            Err(error) => {
                let trouble = match error {
                    EnvelopeError::UnknownSuite(_) => Trouble::UnknownSuite,
                    _ => Trouble::BadSignature,
                };
                let verdict = Verdict::Trouble { trouble, takes_id: false };
                return self.finish_in_group(name, entry, None, verdict);
            }
        };
        match self.judge_in_group(&group, &header, entry)? {
            Judged::As(verdict) => self.finish_in_group(name, entry, Some(&header), verdict),
            Judged::NeedsBundle => Ok(Step::NeedsBundle(header.author, header.device)),
            Judged::NeedsRoster => Ok(Step::NeedsRoster),
        }
    }

    fn open_operation(
        &mut self,
        name: &GroupName,
        entry: &Entry,
        number: u64,
    ) -> Result<Step, StoreError> {
        let seq = Seq(unbits(entry.seq));
        match self.take_operation(name, number, seq, &entry.envelope)? {
            TookOperation::NeedsRoster => return Ok(Step::NeedsRoster),
            TookOperation::Known | TookOperation::Applied => {
                self.operation_came(name, number, seq)?;
            }
            TookOperation::Forked => {}
        }
        self.members_moved(name)?;
        self.drop_entry(entry)
    }

    fn drop_entry(&mut self, entry: &Entry) -> Result<Step, StoreError> {
        self.profile.store.commit(|tx| entry.delete(tx))?;
        Ok(Step::Done { lines: 0 })
    }
}

fn write_cursor(
    tx: &Transaction<'_>,
    name: &GroupName,
    cursor: Seq,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE groups SET cursor = ?2 WHERE name = ?1")?
        .execute(params![name.as_str(), bits(cursor.0)])
        .map(drop)
}
