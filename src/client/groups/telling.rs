//! When the line of a change is shown: at its place in the group's log, behind all that was written
//! before. The roster alone often comes earlier; its lines are kept in the chain until then.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::types::{ChatName, GroupId, GroupName, Seq};

use super::super::store::{StoreError, bits, unbits};
use super::rows::{Membership, insert_membership};

/// The log has come to this operation. False when its line was shown before, or is none of ours.
pub(super) fn tell(
    tx: &Transaction<'_>,
    chat: &ChatName,
    id: &GroupId,
    number: u64,
    now: u64,
) -> Result<bool, StoreError> {
    let place = params![id.0, bits(number)];
    let line: Option<Option<String>> = tx
        .prepare_cached("SELECT untold FROM roster_ops WHERE grp = ?1 AND number = ?2")?
        .query_row(place, |row| row.get(0))
        .optional()?;
    let Some(line) = line.flatten() else { return Ok(false) };
    insert_membership(tx, chat, &Membership::read(&line)?, now)?;
    tx.prepare_cached("UPDATE roster_ops SET untold = NULL WHERE grp = ?1 AND number = ?2")?
        .execute(place)?;
    Ok(true)
}

/// Shows what the log will not come to any more, for it was read further than that. Returns how
/// many lines that were.
pub(in crate::client) fn tell_passed(
    tx: &Transaction<'_>,
    name: &GroupName,
    cursor: Seq,
    now: u64,
) -> Result<usize, StoreError> {
    let chat = ChatName::Group(name.clone());
    // What has arrived and was not opened yet is told then.
    let coming = "SELECT 1 FROM inbox WHERE log = ?2 AND kind = 1 AND number = o.number";
    tell_where(tx, &chat, &format!("o.seq <= ?3 AND NOT EXISTS ({coming})"), cursor, now)
}

/// Shows all that is left: nothing of this log is opened any more.
pub(super) fn tell_all(
    tx: &Transaction<'_>,
    name: &GroupName,
    now: u64,
) -> Result<usize, StoreError> {
    let chat = ChatName::Group(name.clone());
    tell_where(tx, &chat, "?2 <> '' AND ?3 >= 0", Seq(0), now)
}

fn tell_where(
    tx: &Transaction<'_>,
    chat: &ChatName,
    which: &str,
    cursor: Seq,
    now: u64,
) -> Result<usize, StoreError> {
    let name = chat.group().map_or("", GroupName::as_str);
    let found: Vec<(Vec<u8>, i64)> = tx
        .prepare_cached(&format!(
            "SELECT o.grp, o.number FROM roster_ops o JOIN groups g ON g.id = o.grp
             WHERE g.name = ?1 AND o.untold IS NOT NULL AND {which} ORDER BY o.number"
        ))?
        .query_map(params![name, chat, bits(cursor.0)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut told = 0;
    for (id, number) in found {
        let id = GroupId::from_bytes(&id).ok_or(StoreError::Sealed)?;
        told += usize::from(tell(tx, chat, &id, unbits(number), now)?);
    }
    Ok(told)
}
