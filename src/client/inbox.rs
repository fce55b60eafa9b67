//! The inbox: from an entry of the own log to a line that is shown once.
//!
//! Arrival and opening are two steps. Arrival stores entries and moves the cursor in one
//! transaction, and only then does the home hear of it. Opening comes after the cursor, in `seq`
//! order, so that nothing a sender can observe depends on whether decryption worked.

use bytes::Bytes;
use rusqlite::{Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::{EnvelopeError, parse_header};
use crate::types::{DeviceId, GroupName, LogEpoch, Seq, UserName};

use super::api::{Contact, Event, Trouble};
use super::contacts::Learned;
use super::core::{Core, check_bundle};
use super::judging::Outcome;
use super::store::{StoreError, bits, meta_u64, set_meta_u64};
use super::views::insert_trouble;

/// Where this device stands in its own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: LogEpoch,
    pub(crate) cursor: Seq,
}

/// What opening some entries came to.
#[derive(Debug, Default)]
pub(crate) struct OpenReport {
    /// Lines were added.
    pub(crate) lines: usize,
    /// Entries were taken from the inbox; call again.
    pub(crate) progress: bool,
    /// Authors whose bundle is needed before theirs can be opened.
    pub(crate) need_bundle: Vec<(UserName, DeviceId)>,
    /// An author has used up the hour's unwraps; theirs waits.
    pub(crate) over_budget: bool,
    /// Groups whose chain is needed before their entries can be opened.
    pub(crate) need_roster: Vec<GroupName>,
    /// Something of our own that this database does not know: it is an old copy.
    pub(crate) foreign: bool,
}

/// What became of one entry.
pub(super) enum Step {
    /// It left the queue of what can be opened.
    Done {
        /// Lines added.
        lines: usize,
    },
    /// It was tried again, in vain.
    Nothing,
    /// Its author's bundle has to be fetched first.
    NeedsBundle,
    /// Its author has used up the hour's unwraps.
    OverBudget,
}

pub(super) struct Entry {
    /// '' for the own inbox, else the chat of the group.
    pub(super) log: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) envelope: Bytes,
    /// It waited for a key: its numbers are taken, and the person was told.
    pub(super) tried: bool,
}

impl Entry {
    /// It keeps its place until a key comes.
    pub(super) fn wait(&self, tx: &Transaction<'_>) -> Result<usize, rusqlite::Error> {
        tx.prepare_cached("UPDATE inbox SET waits = 1 WHERE log = ?1 AND epoch = ?2 AND seq = ?3")?
            .execute(params![self.log, self.epoch, self.seq])
    }

    /// It is done.
    pub(super) fn delete(&self, tx: &Transaction<'_>) -> Result<usize, rusqlite::Error> {
        tx.prepare_cached("DELETE FROM inbox WHERE log = ?1 AND epoch = ?2 AND seq = ?3")?
            .execute(params![self.log, self.epoch, self.seq])
    }
}

impl Core {
    /// Where this device stands in its own log.
    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        let db = self.profile.store.db();
        Ok(Position {
            epoch: LogEpoch(meta_u64(db, "inbox_epoch")?),
            cursor: Seq(meta_u64(db, "inbox_cursor")?),
        })
    }

    /// The home opened the own log. Returns the position from which entries are accepted.
    pub(crate) fn inbox_opened(
        &mut self,
        epoch: LogEpoch,
        first_seq: Seq,
    ) -> Result<Position, StoreError> {
        let before = self.position()?;
        let same = before.epoch == epoch;
        let cursor = if same { before.cursor } else { Seq(0) };
        let jump = first_seq.0 > cursor.0.saturating_add(1);
        if same && !jump {
            return Ok(before);
        }
        let now = self.now();
        let own = self.user().clone().into();
        let cursor = if jump { Seq(first_seq.0 - 1) } else { cursor };
        self.profile.store.commit(|tx| {
            set_meta_u64(tx, "inbox_epoch", epoch.0)?;
            set_meta_u64(tx, "inbox_cursor", cursor.0)?;
            // Only a device that saw the log from its first entry can tell that an author's first
            // number is missing.
            let whole = before.epoch.0 == 0 && !jump;
            if whole || jump {
                set_meta_u64(tx, "inbox_whole", u64::from(whole))?;
            }
            if same && jump && before.cursor.0 > 0 {
                insert_trouble(tx, &own, &Trouble::Expired, now)?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(Position { epoch, cursor })
    }

    /// This device claims to have read more than the home ever had: all that is kept there is read
    /// again, and what was seen before is known by its numbers.
    pub(crate) fn inbox_set_back(&mut self, first_seq: Seq) -> Result<(), StoreError> {
        let cursor = first_seq.0.saturating_sub(1);
        self.profile.store.commit(|tx| set_meta_u64(tx, "inbox_cursor", cursor))?;
        Ok(())
    }

    /// Stores entries that follow the cursor without a gap, and moves it: one transaction.
    pub(crate) fn store_entries(
        &mut self,
        epoch: LogEpoch,
        entries: &[(Seq, Bytes)],
    ) -> Result<(), StoreError> {
        let Some((last, _)) = entries.last() else { return Ok(()) };
        self.profile.store.commit(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO inbox (log, epoch, seq, kind, author, envelope)
                 VALUES ('', ?1, ?2, 0, ?3, ?4)",
            )?;
            for (seq, envelope) in entries {
                let author = parse_header(envelope).map(|h| h.author.to_string());
                insert.execute(params![
                    bits(epoch.0),
                    bits(seq.0),
                    author.unwrap_or_default(),
                    envelope.as_ref()
                ])?;
            }
            set_meta_u64(tx, "inbox_cursor", last.0)?;
            Ok(())
        })
    }

    /// Opens what can be opened, in order, at most `max` entries. An author whose bundle is not
    /// here keeps their place; the others go on.
    pub(crate) fn open_entries(&mut self, max: usize) -> Result<OpenReport, StoreError> {
        let mut report = OpenReport::default();
        for author in self.authors_with_mail()? {
            for entry in self.entries_of(&author, max)? {
                match self.open_entry(&entry)? {
                    Step::Done { lines } => {
                        report.lines += lines;
                        report.progress = true;
                    }
                    Step::Nothing => {}
                    Step::NeedsBundle => {
                        report.need_bundle.extend(entry_author(&entry));
                        break;
                    }
                    Step::OverBudget => {
                        report.over_budget = true;
                        break;
                    }
                }
            }
        }
        self.open_group_entries(max, &mut report)?;
        if report.lines > 0 {
            self.emit(Event::Lines);
        }
        Ok(report)
    }

    pub(super) fn authors_with_mail(&self) -> Result<Vec<String>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT author FROM inbox WHERE log = '' AND waits <> 1
             GROUP BY author ORDER BY min(arrival)",
        )?;
        let found = rows.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// In order of arrival. That is the order of `seq`, and it holds across the epochs of a home
    /// that was restored, which have no order of their own.
    pub(super) fn entries_of(&self, author: &str, max: usize) -> Result<Vec<Entry>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT epoch, seq, envelope, waits FROM inbox
             WHERE log = '' AND author = ?1 AND waits <> 1 ORDER BY arrival LIMIT ?2",
        )?;
        let found =
            rows.query_map(params![author, i64::try_from(max).unwrap_or(i64::MAX)], |row| {
                Ok(Entry {
                    log: String::new(),
                    epoch: row.get(0)?,
                    seq: row.get(1)?,
                    envelope: row.get::<_, Vec<u8>>(2)?.into(),
                    tried: row.get::<_, i64>(3)? == 2,
                })
            })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Opens one entry.
    pub(super) fn open_entry(&mut self, entry: &Entry) -> Result<Step, StoreError> {
        let header = match parse_header(&entry.envelope) {
            Ok(header) => header,
            Err(error) => return self.finish_unreadable(entry, &error),
        };
        let person = self.person(&header.author)?.cloned();
        let knows_device = |bundle: Option<&VerifiedBundle>| {
            bundle.is_some_and(|bundle| bundle.device(header.device).is_some())
        };
        let known = person.as_ref().is_some_and(|person| {
            knows_device(person.bundle.as_ref()) || knows_device(person.changed.as_ref())
        });
        let fresh = self.fresh_bundles.contains(&(header.author.clone(), header.device));
        if !known && !fresh {
            return Ok(Step::NeedsBundle);
        }
        let Some(person) = person else {
            return self.finish(
                entry,
                Some(&header),
                &header.author,
                Outcome::Trouble { trouble: Trouble::BadSignature, takes_id: false },
            );
        };
        let outcome = self.judge(&header, entry, person)?;
        self.finish(entry, Some(&header), &header.author, outcome)
    }

    /// No header of ours: a server made this up, or the author has a newer version. There is no
    /// author to believe in, so no chat to show it in but one's own.
    pub(super) fn finish_unreadable(
        &mut self,
        entry: &Entry,
        error: &EnvelopeError,
    ) -> Result<Step, StoreError> {
        let own = self.user().clone();
        let trouble = match error {
            EnvelopeError::UnknownSuite(_) => Trouble::UnknownSuite,
            _ => Trouble::BadSignature,
        };
        self.finish(entry, None, &own, Outcome::Trouble { trouble, takes_id: false })
    }

    /// The server answered a look-up: a bundle, or that there is nobody of that name.
    pub(crate) fn bundle_arrived(
        &mut self,
        user: &UserName,
        devices: &std::collections::BTreeSet<DeviceId>,
        encoded: Option<&[u8]>,
    ) -> Result<Option<Learned>, StoreError> {
        self.stale_bundles.remove(user);
        if self.fresh_bundles.len() >= FRESH_BUNDLES_MAX {
            self.fresh_bundles.clear();
        }
        self.fresh_bundles.extend(devices.iter().map(|&device| (user.clone(), device)));
        let cluster = self.cluster();
        let Some(bundle) = encoded.and_then(|bytes| check_bundle(bytes, &cluster, user)) else {
            return Ok(None);
        };
        self.learn(user, &bundle, Contact::Request).map(Some)
    }
}

fn entry_author(entry: &Entry) -> Option<(UserName, DeviceId)> {
    parse_header(&entry.envelope).ok().map(|header| (header.author, header.device))
}

/// Look-ups remembered in one session.
const FRESH_BUNDLES_MAX: usize = 1_000;
