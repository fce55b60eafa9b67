//! Read receipts, both ways: what was shown here, and what others say was shown there.
//!
//! What was read is noted on disk with the last number that was told, so that nothing is told
//! twice; the telling itself waits until a second has passed since the one before, in a group
//! longer.

use rusqlite::{Transaction, params};
use tokio::time::Instant;

use crate::types::{ChatName, DeviceId, N};

use super::api::LocalId;
use super::core::Core;
use super::store::{StoreError, bits, unbits};
use super::views::{STATE_DELIVERED, STATE_PENDING, STATE_READ, STATE_SENT};

/// Whether a chat's receipts go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// They go.
    Now,
    /// There is nothing to tell, the last one went less than a second ago, or the person is not
    /// accepted yet.
    Later,
    /// They are switched off: what was read until now is never told.
    Never,
}

impl Core {
    /// Notes that all that was shown in a chat was read. True when somebody has to be told.
    pub(crate) fn mark_read(&mut self, chat: &ChatName) -> Result<bool, StoreError> {
        // In a group one number says it for everybody: the place in its log.
        let (device, n) = match chat {
            ChatName::Person(_) => ("device", "n"),
            ChatName::Group(_) => ("0", "seq"),
        };
        let seen: Vec<(i64, i64)> = {
            let mut rows = self.profile.store.db().prepare_cached(&format!(
                "SELECT l.device, max(l.n) FROM
                   (SELECT {device} device, {n} n FROM lines WHERE chat = ?1 AND kind = 1
                      AND shown = 2 AND {n} <> 0 AND unaccepted_key = 0
                    ORDER BY id DESC LIMIT ?2) l
                 GROUP BY l.device
                 HAVING max(l.n) > coalesce((SELECT seen_n FROM read_marks
                                             WHERE chat = ?1 AND device = l.device), 0)",
            ))?;
            let found =
                rows.query_map(params![chat, LOOKED_BACK], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect::<Result<_, _>>()?
        };
        if seen.is_empty() {
            return Ok(false);
        }
        let on = self.receipts_on(chat)?;
        self.profile.store.commit(|tx| {
            for (device, n) in seen {
                tx.prepare_cached(
                    "INSERT INTO read_marks (chat, device, seen_n, told_n)
                     VALUES (?1, ?2, ?3, iif(?4, 0, ?3))
                     ON CONFLICT (chat, device)
                     DO UPDATE SET seen_n = ?3, told_n = iif(?4, told_n, ?3)",
                )?
                .execute(params![chat, device, n, on])?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(on)
    }

    /// Whether what was read in a chat can be told now.
    pub(super) fn telling(&mut self, chat: &ChatName) -> Result<Telling, StoreError> {
        let untold = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT 1 FROM read_marks WHERE chat = ?1 AND seen_n > told_n")?
            .exists([chat])?;
        if !untold {
            return Ok(Telling::Later);
        }
        if !self.receipts_on(chat)? {
            return Ok(Telling::Never);
        }
        let now = Instant::now();
        self.reads_told.retain(|_, due| *due > now);
        let renewed_first = match chat.group() {
            Some(group) => self.rekey_due(group)?,
            None => false,
        };
        let later = self.reads_told.contains_key(chat) || renewed_first || !self.is_agreed(chat)?;
        Ok(if later { Telling::Later } else { Telling::Now })
    }

    /// When the next receipt that waits for its second can go.
    pub(crate) fn next_read(&self) -> Result<Option<Instant>, StoreError> {
        let mut rows = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT DISTINCT chat FROM read_marks WHERE seen_n > told_n")?;
        let chats = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut next = None;
        for chat in chats {
            let Ok(chat) = ChatName::canonical(&chat?) else { continue };
            // Whose time is over waits for something else.
            let due = self.reads_told.get(&chat).copied().filter(|due| *due > Instant::now());
            next = next.into_iter().chain(due).min();
        }
        Ok(next)
    }
}

/// What was read and is not told yet.
pub(super) fn untold_reads(
    tx: &Transaction<'_>,
    chat: &ChatName,
) -> Result<Vec<(DeviceId, N)>, StoreError> {
    let mut rows = tx.prepare_cached(
        "SELECT device, seen_n FROM read_marks WHERE chat = ?1 AND seen_n > told_n ORDER BY device",
    )?;
    let found =
        rows.query_map([chat], |row| Ok((DeviceId(unbits(row.get(0)?)), N(unbits(row.get(1)?)))))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What was read is told, or never will be.
pub(super) fn reads_settled(tx: &Transaction<'_>, chat: &ChatName) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE read_marks SET told_n = seen_n WHERE chat = ?1 AND seen_n > told_n")?
        .execute([chat])
        .map(drop)
}

/// The other side says that all of this device up to `n` was shown there. Returns what moved.
pub(super) fn apply_read(
    tx: &Transaction<'_>,
    chat: &ChatName,
    device: DeviceId,
    n: N,
) -> Result<Vec<LocalId>, StoreError> {
    let upto = i64::try_from(n.0).unwrap_or(i64::MAX);
    let mut rows = tx.prepare_cached(
        "UPDATE lines SET state = ?4
         WHERE chat = ?1 AND kind = 0 AND device = ?2 AND n BETWEEN 1 AND ?3
           AND state IN (?5, ?6, ?7)
         RETURNING id",
    )?;
    let states = [STATE_PENDING, STATE_SENT, STATE_DELIVERED];
    let moved = rows.query_map(
        params![chat, bits(device.0), upto, STATE_READ, states[0], states[1], states[2]],
        |row| row.get(0).map(LocalId),
    )?;
    let mut moved: Vec<LocalId> = moved.collect::<Result<_, _>>()?;
    moved.sort();
    Ok(moved)
}

/// Lines that one call of `mark_read` looks through: more than stand on a screen.
const LOOKED_BACK: i64 = 256;
