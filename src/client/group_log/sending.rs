//! The outbox of a group: which key its messages are sealed with, and when they can be.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::limits;
use crate::roster::Roster;
use crate::types::{ChatName, GroupId, GroupName, KeyEpoch, N};

use super::super::api::Standing;
use super::super::core::Core;
use super::super::outbox::Ready;
use super::super::sealing::GroupSeal;
use super::super::store::{StoreError, unbits};

impl Core {
    /// What a message to a group is sealed with now; `None` while the chain or its key is not here,
    /// or when the owner is not in the group.
    pub(in crate::client) fn group_seal(
        &mut self,
        name: &GroupName,
    ) -> Result<Option<GroupSeal>, StoreError> {
        let member = self.group(name)?.filter(|group| group.standing == Standing::Member);
        let Some(roster) = member.and_then(|group| group.roster.as_ref()) else {
            return Ok(None);
        };
        let (id, epoch, head) = (roster.id(), roster.key_epoch(), roster.head());
        let key = self.group_key(&id, epoch)?;
        Ok(key.map(|key| GroupSeal { id, key, epoch, head }))
    }

    /// What may be sent to a group now, from number `from` on.
    pub(in crate::client) fn ready_for_group(
        &mut self,
        chat: &ChatName,
        name: &GroupName,
        from: N,
        max: usize,
    ) -> Result<Ready, StoreError> {
        let Some(seal) = self.group_seal(name)? else { return Ok(Ready::NeedsKey) };
        let sealed = self.unanswered(chat, from, max)?;
        if self.rekey_due(name)? && (!sealed.is_empty() || self.has_to_say(chat)?) {
            return Ok(Ready::Renew);
        }
        let sealed_under: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT key_epoch FROM send_logs WHERE chat = ?1")?
            .query_row([chat], |row| row.get(0))
            .optional()?;
        let fits = sealed_under.is_none_or(|epoch| KeyEpoch(unbits(epoch)) == seal.epoch);
        Ok(if sealed.is_empty() || !fits { Ready::Seal } else { Ready::Send(sealed) })
    }

    /// Whether something waits that a person wrote. Receipts alone are no reason for a new key: all
    /// that are there would make one at the same time.
    fn has_to_say(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT 1 FROM lines WHERE chat = ?1 AND state = 0
             UNION ALL SELECT 1 FROM notes WHERE chat = ?1 AND waits = 1",
        )?;
        Ok(rows.exists([chat])?)
    }

    /// The id of a group that this profile knows.
    pub(in crate::client) fn group_id(&self, name: &GroupName) -> Result<GroupId, StoreError> {
        let id: Option<Vec<u8>> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT id FROM groups WHERE name = ?1")?
            .query_row(params![name.as_str()], |row| row.get(0))
            .optional()?;
        id.and_then(|id| GroupId::from_bytes(&id))
            .ok_or_else(|| StoreError::NoSuchGroup(name.clone()))
    }

    /// Between two read receipts in a chat: in a group all members together send about two a
    /// second, however many they are.
    pub(in crate::client) fn read_interval(
        &mut self,
        chat: &ChatName,
    ) -> Result<Duration, StoreError> {
        let Some(name) = chat.group() else { return Ok(limits::READ_INTERVAL) };
        let roster = self.group(name)?.and_then(|group| group.roster.as_ref());
        let members = roster.map_or(1, |roster: &Roster| roster.members().len());
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        Ok(limits::READ_INTERVAL.max(limits::READ_INTERVAL_PER_MEMBER * members))
    }
}
