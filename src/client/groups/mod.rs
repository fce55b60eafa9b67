//! Groups on this device: which ones, the verified chain of each, and their keys.
//!
//! What a group is, `roster` says; here its operations are kept, applied as they come, made, and
//! handed in. `chain` takes operations in, `keys` and `welcome` bring the keys. `calls` is what
//! front ends ask.

mod calls;
mod chain;
mod commands;
mod joining;
mod keys;
mod link;
mod making;
mod rows;
mod settling;
mod telling;
mod views;
mod welcome;

pub(crate) use chain::TookOperation;
pub(crate) use rows::{KIND_MEMBERSHIP, Membership};
pub(crate) use settling::Fetched;
pub(super) use telling::tell_passed;
pub(crate) use welcome::{Herald, NOTE_GOODBYE, NOTE_WELCOME, welcome_body};

use std::collections::{BTreeMap, BTreeSet};

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

impl Group {
    /// How many operations of it are here.
    pub(crate) fn number(&self) -> u64 {
        self.roster.as_ref().map_or(0, Roster::number)
    }
}

/// The groups that were used since the start, with their rosters.
#[derive(Default)]
pub(crate) struct Groups {
    known: BTreeMap<GroupName, Group>,
    /// The last earlier state that somebody asked for.
    past: Option<Roster>,
    /// Their rosters are to be fetched.
    pub(crate) wanted: BTreeSet<GroupName>,
}

impl Groups {
    /// Where this device stands in a group's log now.
    pub(super) fn moved_to(&mut self, name: &GroupName, epoch: LogEpoch, cursor: Seq, whole: bool) {
        if let Some(group) = self.known.get_mut(name) {
            (group.epoch, group.cursor, group.whole) = (epoch, cursor, whole);
        }
    }

    fn put(&mut self, group: Group) {
        self.known.insert(group.name.clone(), group);
    }

    fn past(&self, id: &GroupId, number: u64) -> Option<Roster> {
        let past = self.past.as_ref()?;
        (past.id() == *id && past.number() == number).then(|| past.clone())
    }

    fn remember(&mut self, past: Option<&Roster>) {
        self.past = past.cloned();
    }
}

impl Core {
    /// A group that this profile knows, with its roster.
    pub(crate) fn group(&mut self, name: &GroupName) -> Result<Option<&Group>, StoreError> {
        if !self.groups.known.contains_key(name) {
            let Some(group) = self.load_group(name)? else { return Ok(None) };
            self.groups.put(group);
        }
        Ok(self.groups.known.get(name))
    }

    /// Forgets what is in memory of a group: its rows changed.
    pub(crate) fn group_changed(&mut self, name: &GroupName) {
        self.groups.known.remove(name);
    }

    /// The key of one epoch of a group, if it is here.
    pub(crate) fn group_key(
        &self,
        id: &GroupId,
        epoch: KeyEpoch,
    ) -> Result<Option<GroupKey>, StoreError> {
        let sealed: Option<Option<Vec<u8>>> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT sealed_key FROM group_keys WHERE grp = ?1 AND epoch = ?2")?
            .query_row(params![id.0, bits(epoch.0)], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed.flatten() else { return Ok(None) };
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

    /// The groups whose logs are to be open: those the owner is in, and those with something left
    /// to read up to the operation that ended it.
    pub(crate) fn groups_to_open(&self) -> Result<Vec<GroupName>, StoreError> {
        self.group_names(
            "SELECT name FROM groups g WHERE standing = 2
               OR standing IN (3, 4, 5) AND cursor <
                 (SELECT max(seq) FROM roster_ops WHERE grp = g.id)
             ORDER BY name",
        )
    }

    /// The groups that the owner is in.
    pub(crate) fn member_of(&self) -> Result<Vec<GroupName>, StoreError> {
        self.group_names("SELECT name FROM groups WHERE standing = 2 ORDER BY name")
    }

    fn group_names(&self, sql: &str) -> Result<Vec<GroupName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(sql)?;
        let names = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for name in names {
            found.extend(GroupName::canonical(&name?).ok());
        }
        Ok(found)
    }

    /// Somebody left since the group's key was made: who writes next renews it first.
    pub(crate) fn rekey_due(&mut self, name: &GroupName) -> Result<bool, StoreError> {
        let group = self.group(name)?.filter(|group| group.standing == Standing::Member);
        Ok(group.and_then(|group| group.roster.as_ref()).is_some_and(Roster::key_due))
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
            roster: self.replay(&id, u64::MAX)?,
            epoch: LogEpoch(unbits(epoch)),
            cursor: Seq(unbits(cursor)),
            whole,
            from: Seq(unbits(from)),
        }))
    }

    /// The roster after the first stored operations. They were verified before they were stored;
    /// this does it again, for nothing but a verified operation changes a roster.
    fn replay(&self, id: &GroupId, upto: u64) -> Result<Option<Roster>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT operation FROM roster_ops WHERE grp = ?1 AND number <= ?2 ORDER BY number",
        )?;
        let upto = i64::try_from(upto).unwrap_or(i64::MAX);
        let rows = rows.query_map(params![id.0, upto], |row| row.get::<_, Vec<u8>>(0))?;
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
