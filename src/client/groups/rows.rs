//! The rows of groups: small named statements, each inside of somebody's transaction.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::crypto::group::GroupKey;
use crate::crypto::secret::DbKey;
use crate::types::{ChatName, ClusterId, GroupId, GroupName, KeyEpoch, UserName};

use super::super::api::{GroupChange, Standing};
use super::super::group_log::retry_waiting;
use super::super::store::{StoreError, bits};
use super::standing_number;

pub(crate) const KIND_MEMBERSHIP: i64 = 3;

/// What a line of kind 3 says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) group: GroupName,
    pub(crate) by: UserName,
    pub(crate) change: GroupChange,
}

impl Membership {
    /// As it stands in the column `change`.
    pub(crate) fn read(json: &str) -> Result<Self, StoreError> {
        serde_json::from_str(json).map_err(|error| StoreError::Crypto(error.to_string()))
    }

    pub(super) fn write(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|error| StoreError::Crypto(error.to_string()))
    }
}

/// Adds a dim line: `by` changed a group.
pub(super) fn insert_membership(
    tx: &Transaction<'_>,
    chat: &ChatName,
    membership: &Membership,
    now: u64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms, state, shown,
         change) VALUES (?1, ?2, x'', ?3, ?3, -1, 0, ?4)",
    )?
    .execute(params![chat, KIND_MEMBERSHIP, bits(now), membership.write()?])?;
    Ok(())
}

/// Adds a group whose chain is not here yet.
pub(super) fn insert_group(
    tx: &Transaction<'_>,
    name: &GroupName,
    id: &GroupId,
    standing: Standing,
    making: Option<&[u8]>,
) -> Result<(), rusqlite::Error> {
    tx.execute(
        "INSERT INTO groups (name, id, standing, making) VALUES (?1, ?2, ?3, ?4)",
        params![name.as_str(), id.0, standing_number(standing), making],
    )
    .map(drop)
}

/// Forgets a group; the lines of its chat stay.
pub(super) fn delete_group(
    tx: &Transaction<'_>,
    name: &GroupName,
    id: &GroupId,
) -> Result<(), rusqlite::Error> {
    for table in ["roster_ops", "group_keys", "key_candidates"] {
        tx.execute(&format!("DELETE FROM {table} WHERE grp = ?1"), [id.0])?;
    }
    tx.execute("DELETE FROM groups WHERE name = ?1", [name.as_str()]).map(drop)
}

pub(super) fn set_standing(
    tx: &Transaction<'_>,
    name: &GroupName,
    standing: Standing,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE groups SET standing = ?2 WHERE name = ?1")?
        .execute(params![name.as_str(), standing_number(standing)])
        .map(drop)
}

/// How many keys are kept that the chain of this group does not speak of.
pub(super) fn candidates(tx: &Transaction<'_>, id: &GroupId) -> Result<i64, rusqlite::Error> {
    tx.query_row("SELECT count(*) FROM key_candidates WHERE grp = ?1", [id.0], |row| row.get(0))
}

/// Keeps a key that the chain does not speak of yet.
pub(super) fn insert_candidate(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    cluster: &ClusterId,
    (id, epoch): (&GroupId, KeyEpoch),
    key: &GroupKey,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO key_candidates (grp, epoch, key_commit, sealed_key)
         VALUES (?1, ?2, ?3, ?4)",
        params![id.0, bits(epoch.0), key.commit(cluster, id, epoch), at_rest.seal(key.as_bytes())],
    )?;
    Ok(())
}

/// The chain opened an epoch: from here on only the key that fits counts. True when it is here.
pub(super) fn insert_epoch(
    tx: &Transaction<'_>,
    id: &GroupId,
    epoch: KeyEpoch,
    commit: &[u8; 32],
) -> Result<bool, StoreError> {
    let sealed: Option<Vec<u8>> = tx
        .prepare_cached(
            "SELECT sealed_key FROM key_candidates
             WHERE grp = ?1 AND epoch = ?2 AND key_commit = ?3",
        )?
        .query_row(params![id.0, bits(epoch.0), commit], |row| row.get(0))
        .optional()?;
    tx.execute(
        "INSERT OR REPLACE INTO group_keys (grp, epoch, key_commit, sealed_key)
         VALUES (?1, ?2, ?3, ?4)",
        params![id.0, bits(epoch.0), commit, sealed],
    )?;
    tx.execute(
        "DELETE FROM key_candidates WHERE grp = ?1 AND epoch <= ?2",
        params![id.0, bits(epoch.0)],
    )?;
    Ok(sealed.is_some())
}

/// Stores the key of an epoch of the chain, if it fits. True when it was missing: what waited for
/// it is tried again.
pub(super) fn fill_epoch(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    cluster: &ClusterId,
    (name, id, epoch): (&GroupName, &GroupId, KeyEpoch),
    key: &GroupKey,
) -> Result<bool, StoreError> {
    let filled = tx.execute(
        "UPDATE group_keys SET sealed_key = ?4
         WHERE grp = ?1 AND epoch = ?2 AND key_commit = ?3 AND sealed_key IS NULL",
        params![id.0, bits(epoch.0), key.commit(cluster, id, epoch), at_rest.seal(key.as_bytes())],
    )?;
    if filled > 0 {
        retry_waiting(tx, name)?;
    }
    Ok(filled > 0)
}
