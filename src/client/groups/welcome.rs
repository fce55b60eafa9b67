//! Direct messages about groups: who was brought in is given the key, who was put out is told. And
//! what is made of them here.
//!
//! Neither is believed: the chain says who is in a group and which key is its key.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::envelope::{Body, Welcome};
use crate::crypto::group::GroupKey;
use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{ChatName, ClusterId, GroupId, GroupName, KeyEpoch, UserName};

use super::super::api::{Event, GroupChange, Standing, Trouble};
use super::super::hearing::Effect;
use super::super::store::{StoreError, bits, unbits, unseal};
use super::super::views::insert_trouble;
use super::rows::{
    Membership, candidates, fill_epoch, insert_candidate, insert_group, insert_membership,
    set_standing,
};
use super::standing_of;

pub(crate) const NOTE_WELCOME: i64 = 8;
pub(crate) const NOTE_GOODBYE: i64 = 9;

/// Somebody is to be given the key of a group.
pub(super) fn queue_welcome(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    to: &UserName,
    group: (&GroupName, &GroupId),
    epoch: KeyEpoch,
) -> Result<(), StoreError> {
    queue(tx, at_rest, to, group, NOTE_WELCOME, epoch)
}

/// Somebody is to be told that they are out.
pub(super) fn queue_goodbye(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    to: &UserName,
    group: (&GroupName, &GroupId),
) -> Result<(), StoreError> {
    queue(tx, at_rest, to, group, NOTE_GOODBYE, KeyEpoch(0))
}

fn queue(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    to: &UserName,
    (name, id): (&GroupName, &GroupId),
    kind: i64,
    epoch: KeyEpoch,
) -> Result<(), StoreError> {
    let mut plain = id.0.to_vec();
    plain.extend_from_slice(name.as_str().as_bytes());
    tx.prepare_cached("INSERT INTO notes (chat, kind, n, sealed) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![ChatName::from(to.clone()), kind, bits(epoch.0), at_rest.seal(&plain)])?;
    Ok(())
}

/// What such a note says now; `None` while the key that it is to bring is not here itself.
pub(crate) fn welcome_body(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    kind: i64,
    epoch: i64,
    sealed: &[u8],
) -> Result<Option<Body>, StoreError> {
    let plain = unseal(at_rest, sealed)?;
    let (id, name) = plain.split_at_checked(32).ok_or(StoreError::Sealed)?;
    let id = GroupId::from_bytes(id).ok_or(StoreError::Sealed)?;
    let name = String::from_utf8_lossy(name);
    let group = GroupName::canonical(&name).map_err(|_| StoreError::Sealed)?;
    if kind == NOTE_GOODBYE {
        return Ok(Some(Body::Goodbye { group, id }));
    }
    let sealed: Option<Vec<u8>> = tx
        .prepare_cached("SELECT sealed_key FROM group_keys WHERE grp = ?1 AND epoch = ?2")?
        .query_row(params![id.0, epoch], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(sealed) = sealed else { return Ok(None) };
    let key = GroupKey::from_bytes(&unseal(at_rest, &sealed)?).ok_or(StoreError::Sealed)?;
    Ok(Some(Body::Welcome(Welcome { group, id, epoch: KeyEpoch(unbits(epoch)), key })))
}

/// Who says something about our being in a group.
pub(crate) struct Herald<'a> {
    pub(crate) at_rest: &'a DbKey,
    pub(crate) cluster: ClusterId,
    pub(crate) own: &'a UserName,
    pub(crate) author: &'a UserName,
    pub(crate) now: u64,
}

impl Herald<'_> {
    /// A key and where it is said to fit.
    pub(crate) fn welcome(
        &self,
        tx: &Transaction<'_>,
        welcome: &Welcome,
    ) -> Result<Effect, StoreError> {
        let Welcome { group, id, epoch, key } = welcome;
        let known = known_group(tx, group)?;
        if known.is_some_and(|(known, _)| known != *id) {
            return self.another_group(tx);
        }
        let fits = (id, *epoch);
        let filled = fill_epoch(tx, self.at_rest, &self.cluster, (group, id, *epoch), key)?;
        // With the roster, what waited for the key is looked at.
        let rosters = if filled { vec![group.clone()] } else { Vec::new() };
        let key_only = Effect { rosters, ..Effect::default() };
        match known.map(|(_, standing)| standing) {
            Some(Standing::Making | Standing::Closed | Standing::Forked) => return Ok(key_only),
            // Of an epoch that the chain here has reached, there is nothing more to learn.
            Some(Standing::Member) if has_epoch(tx, id, *epoch)? => return Ok(key_only),
            Some(Standing::Member | Standing::Joining) => {}
            Some(Standing::Removed | Standing::Left) => {
                set_standing(tx, group, Standing::Joining)?;
            }
            None if groups(tx)? >= limits::GROUPS_PER_USER_MAX => return Ok(Effect::default()),
            None => insert_group(tx, group, id, Standing::Joining, None)?,
        }
        tx.execute(
            "UPDATE groups SET inviter = ?2 WHERE name = ?1",
            params![group.as_str(), self.author.as_str()],
        )?;
        if !filled && candidates(tx, id)? < CANDIDATES_MAX {
            insert_candidate(tx, self.at_rest, &self.cluster, fits, key)?;
        }
        let events = vec![Event::Group { group: group.clone() }];
        Ok(Effect { rosters: vec![group.clone()], events, ..Effect::default() })
    }

    /// We are said to be out of a group.
    pub(crate) fn goodbye(
        &self,
        tx: &Transaction<'_>,
        group: &GroupName,
        id: &GroupId,
    ) -> Result<Effect, StoreError> {
        let Some((known, standing)) = known_group(tx, group)? else {
            return Ok(Effect::default());
        };
        if known != *id {
            return self.another_group(tx);
        }
        match standing {
            Standing::Removed => {
                let change = GroupChange::Removed { user: self.own.clone() };
                let by = self.author.clone();
                let membership = Membership { group: group.clone(), by, change };
                let chat = ChatName::from(self.author.clone());
                insert_membership(tx, &chat, &membership, self.now)?;
                Ok(Effect::lines(1))
            }
            Standing::Member | Standing::Joining => {
                tx.execute(
                    "UPDATE groups SET goodbye = ?2 WHERE name = ?1",
                    params![group.as_str(), self.author.as_str()],
                )?;
                Ok(Effect { rosters: vec![group.clone()], ..Effect::default() })
            }
            Standing::Making | Standing::Left | Standing::Closed | Standing::Forked => {
                Ok(Effect::default())
            }
        }
    }

    fn another_group(&self, tx: &Transaction<'_>) -> Result<Effect, StoreError> {
        let chat = ChatName::from(self.author.clone());
        insert_trouble(tx, &chat, &Trouble::AnotherGroup, self.now)?;
        Ok(Effect::lines(1))
    }
}

fn known_group(
    tx: &Transaction<'_>,
    name: &GroupName,
) -> Result<Option<(GroupId, Standing)>, StoreError> {
    let row: Option<(Vec<u8>, i64)> = tx
        .prepare_cached("SELECT id, standing FROM groups WHERE name = ?1")?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, standing)) = row else { return Ok(None) };
    Ok(Some((GroupId::from_bytes(&id).ok_or(StoreError::Sealed)?, standing_of(standing))))
}

fn has_epoch(tx: &Transaction<'_>, id: &GroupId, epoch: KeyEpoch) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM group_keys WHERE grp = ?1 AND epoch = ?2")?
        .exists(params![id.0, bits(epoch.0)])
}

/// Groups that the owner is in, or comes into.
pub(super) fn groups(tx: &rusqlite::Connection) -> Result<usize, rusqlite::Error> {
    let count: i64 =
        tx.query_row("SELECT count(*) FROM groups WHERE standing <= 2", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Keys kept for one group before its chain is here.
const CANDIDATES_MAX: i64 = 16;
