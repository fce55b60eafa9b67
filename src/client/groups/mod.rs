//! Groups on this device: which ones, the verified chain of each, and their keys.
//!
//! What a group is, `roster` says; here its operations are kept, applied as they come, made, and
//! handed in. `calls` is what front ends ask.

mod calls;

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use crate::crypto::group::GroupKey;
use crate::crypto::operation::{VerifiedOperation, verify_operation};
use crate::roster::Roster;
use crate::types::{GroupId, GroupName, KeyEpoch, LogEpoch, OpHash, Seq};

use super::api::Standing;
use super::core::Core;
use super::store::{StoreError, bits, unbits, unseal};

/// A group as this device knows it.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: GroupName,
    pub(crate) id: GroupId,
    pub(crate) standing: Standing,
    /// After every operation that this device has applied; `None` before CREATE is here.
    pub(crate) roster: Option<Roster>,
    /// Of its log.
    pub(crate) epoch: LogEpoch,
    /// Everything up to here is in the inbox or done.
    pub(crate) cursor: Seq,
    /// This device has read the log from its first entry.
    pub(crate) whole: bool,
    /// What was written up to here is older than we are in it.
    pub(crate) from: Seq,
}

/// The groups that were used since the start, with their rosters.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<GroupName, Group>);

impl Core {
    /// A group that this profile knows, with its roster.
    pub(crate) fn group(&mut self, name: &GroupName) -> Result<Option<&Group>, StoreError> {
        if !self.groups.0.contains_key(name) {
            let Some(group) = self.load_group(name)? else { return Ok(None) };
            self.groups.0.insert(name.clone(), group);
        }
        Ok(self.groups.0.get(name))
    }

    /// Forgets what is in memory of a group: its rows changed.
    pub(crate) fn group_changed(&mut self, name: &GroupName) {
        self.groups.0.remove(name);
    }

    /// The key of one epoch of a group, if it is here.
    pub(crate) fn group_key(
        &self,
        id: &GroupId,
        epoch: KeyEpoch,
    ) -> Result<Option<GroupKey>, StoreError> {
        let sealed: Option<Vec<u8>> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT sealed_key FROM group_keys WHERE grp = ?1 AND epoch = ?2")?
            .query_row(params![id.0, bits(epoch.0)], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else { return Ok(None) };
        let bytes = unseal(&self.profile.key, &sealed)?;
        GroupKey::from_bytes(&bytes).map(Some).ok_or(StoreError::Sealed)
    }

    /// Number and seq of an operation of a group's chain.
    pub(crate) fn operation_place(
        &self,
        id: &GroupId,
        hash: &OpHash,
    ) -> Result<Option<(u64, Seq)>, StoreError> {
        Ok(self
            .profile
            .store
            .db()
            .prepare_cached("SELECT number, seq FROM roster_ops WHERE grp = ?1 AND hash = ?2")?
            .query_row(params![id.0, hash.0], |row| {
                Ok((unbits(row.get(0)?), Seq(unbits(row.get(1)?))))
            })
            .optional()?)
    }

    fn load_group(&self, name: &GroupName) -> Result<Option<Group>, StoreError> {
        let row: Option<(Vec<u8>, i64, i64, i64, bool, i64)> = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT id, standing, epoch, cursor, whole, from_seq FROM groups WHERE name = ?1",
            )?
            .query_row([name.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .optional()?;
        let Some((id, standing, epoch, cursor, whole, from)) = row else { return Ok(None) };
        let id = GroupId::from_bytes(&id).ok_or(StoreError::Sealed)?;
        Ok(Some(Group {
            name: name.clone(),
            id,
            standing: standing_of(standing),
            roster: self.replay(&id)?,
            epoch: LogEpoch(unbits(epoch)),
            cursor: Seq(unbits(cursor)),
            whole,
            from: Seq(unbits(from)),
        }))
    }

    /// The roster after all stored operations. They were verified before they were stored; this
    /// does it again, for nothing but a verified operation changes a roster.
    fn replay(&self, id: &GroupId) -> Result<Option<Roster>, StoreError> {
        let mut rows =
            self.profile.store.db().prepare_cached(
                "SELECT operation FROM roster_ops WHERE grp = ?1 ORDER BY number",
            )?;
        let rows = rows.query_map([id.0], |row| row.get::<_, Vec<u8>>(0))?;
        let damaged = |error: &dyn std::fmt::Display| StoreError::Crypto(error.to_string());
        let mut roster: Option<Roster> = None;
        for row in rows {
            let operation = self.verified(&row?.into()).map_err(|error| damaged(&error))?;
            match &mut roster {
                None => roster = Some(Roster::create(&operation).map_err(|error| damaged(&error))?),
                Some(roster) => roster.apply(&operation).map_err(|error| damaged(&error))?,
            }
        }
        Ok(roster)
    }

    /// Checks the signatures of an operation.
    pub(crate) fn verified(
        &self,
        encoded: &Bytes,
    ) -> Result<VerifiedOperation, crate::crypto::operation::OperationError> {
        verify_operation(encoded, &self.cluster())
    }
}

pub(crate) fn standing_number(standing: Standing) -> i64 {
    match standing {
        Standing::Making => 0,
        Standing::Joining => 1,
        Standing::Member => 2,
        Standing::Removed => 3,
        Standing::Left => 4,
        Standing::Closed => 5,
        Standing::Forked => 6,
    }
}

fn standing_of(number: i64) -> Standing {
    match number {
        0 => Standing::Making,
        1 => Standing::Joining,
        2 => Standing::Member,
        3 => Standing::Removed,
        4 => Standing::Left,
        5 => Standing::Closed,
        _ => Standing::Forked,
    }
}
