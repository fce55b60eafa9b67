//! A group's chain on this device: each operation verified, applied and stored in one transaction,
//! with everything that follows from it.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::operation::{Change, VerifiedOperation};
use crate::crypto::secret::DbKey;
use crate::roster::Roster;
use crate::types::{ChatName, ClusterId, GroupId, GroupName, KeyId, OpHash, Seq, UserName};

use super::super::api::{Event, GroupChange, Standing, Trouble};
use super::super::core::Core;
use super::super::store::{StoreError, bits, unbits};
use super::super::views::insert_trouble;
use super::keys::{new_key_of, our_key};
use super::rows::{Membership, fill_epoch, insert_epoch, insert_membership, set_standing};
use super::telling::{tell, tell_all, tell_passed};
use super::welcome::{queue_goodbye, queue_welcome};
use super::{Group, standing_number};

/// What taking in an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TookOperation {
    /// It is in the chain here, and was before.
    Known,
    /// It followed, and is in the chain now.
    Applied,
    /// Some before it are missing here, or the group is unknown: fetch the roster.
    NeedsRoster,
    /// It does not follow from the chain that is here: the group is given up, and the person told.
    Forked,
}

/// The two sides of a step: who we are, and with what things are kept.
struct Us<'a> {
    at_rest: &'a DbKey,
    cluster: ClusterId,
    user: &'a UserName,
    identity: KeyId,
    now: u64,
}

impl Us<'_> {
    fn is_in(&self, roster: Option<&Roster>) -> bool {
        let member = roster.and_then(|roster| roster.member(self.user));
        member.is_some_and(|member| member.identity == self.identity)
    }
}

impl Core {
    /// Takes in one operation of a group, from its log, from the roster or as the answer to our
    /// own. Each call is one transaction; the same again changes nothing.
    pub(crate) fn take_operation(
        &mut self,
        name: &GroupName,
        number: u64,
        seq: Seq,
        encoded: &Bytes,
    ) -> Result<TookOperation, StoreError> {
        let Some(group) = self.group(name)? else { return Ok(TookOperation::NeedsRoster) };
        if group.standing == Standing::Forked {
            return Ok(TookOperation::Forked);
        }
        let known = group.roster.as_ref().map_or(0, Roster::number);
        if number > known.saturating_add(1) {
            return Ok(TookOperation::NeedsRoster);
        }
        let group = group.clone();
        if number <= known {
            return self.is_known(&group, number, encoded);
        }
        let Some((operation, roster)) = self.following(&group, encoded) else {
            self.fork(name, &Trouble::Forked)?;
            return Ok(TookOperation::Forked);
        };
        self.append(group, &operation, roster, seq)?;
        Ok(TookOperation::Applied)
    }

    /// The operation and the roster after it, if it follows from what is here.
    fn following(&self, group: &Group, encoded: &Bytes) -> Option<(VerifiedOperation, Roster)> {
        let operation = self.verified(encoded).ok()?;
        let roster = match &group.roster {
            Some(roster) => {
                let mut roster = roster.clone();
                roster.apply(&operation).ok()?;
                roster
            }
            None => {
                let roster = Roster::create(&operation).ok()?;
                (roster.id() == group.id && *roster.name() == group.name).then_some(roster)?
            }
        };
        Some((operation, roster))
    }

    fn is_known(
        &mut self,
        group: &Group,
        number: u64,
        encoded: &Bytes,
    ) -> Result<TookOperation, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>)> = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT hash, operation FROM roster_ops WHERE grp = ?1 AND number = ?2",
            )?
            .query_row(params![group.id.0, bits(number)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let same = row.as_ref().is_some_and(|(hash, operation)| {
            // The same change can come under other bytes: with another bundle of its author.
            operation == encoded
                || self.verified(encoded).is_ok_and(|op| op.hash().0.as_slice() == hash)
        });
        if !same {
            self.fork(&group.name, &Trouble::Forked)?;
            return Ok(TookOperation::Forked);
        }
        Ok(TookOperation::Known)
    }

    /// An operation of the chain here came in the group's log: there is its place, and that of its
    /// line. A restored home was handed it again, or had only claimed a place before. No other
    /// answer moves one, or a removal could be put behind what the removed one wrote after it.
    pub(crate) fn operation_came(
        &mut self,
        name: &GroupName,
        number: u64,
        seq: Seq,
    ) -> Result<(), StoreError> {
        let Some(id) = self.group(name)?.map(|group| group.id) else { return Ok(()) };
        let place: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT seq FROM roster_ops WHERE grp = ?1 AND number = ?2")?
            .query_row(params![id.0, bits(number)], |row| row.get(0))
            .optional()?;
        if place.is_some_and(|place| unbits(place) != seq.0) {
            self.profile.store.commit(|tx| {
                tx.execute(
                    "UPDATE roster_ops SET seq = ?3 WHERE grp = ?1 AND number = ?2",
                    params![id.0, bits(number), bits(seq.0)],
                )
            })?;
        }
        let (now, chat) = (self.now(), ChatName::Group(name.clone()));
        let told = self.profile.store.commit(|tx| tell(tx, &chat, &id, number, now))?;
        if told {
            self.emit(Event::Lines);
        }
        Ok(())
    }

    /// Nothing of this group is believed or sent any more, and the person is told why, once.
    pub(crate) fn fork(&mut self, name: &GroupName, trouble: &Trouble) -> Result<(), StoreError> {
        let now = self.now();
        let chat = ChatName::Group(name.clone());
        self.profile.store.commit(|tx| {
            // Nothing of its log is opened any more.
            tell_all(tx, name, now)?;
            set_standing(tx, name, Standing::Forked)?;
            insert_trouble(tx, &chat, trouble, now)
        })?;
        self.group_changed(name);
        self.emit(Event::Group { group: name.clone() });
        self.emit(Event::Lines);
        Ok(())
    }

    /// Stores an operation that follows, and all that comes of it.
    fn append(
        &mut self,
        mut group: Group,
        operation: &VerifiedOperation,
        roster: Roster,
        seq: Seq,
    ) -> Result<(), StoreError> {
        let us = Us {
            at_rest: &self.profile.key,
            cluster: self.cluster(),
            user: &self.profile.owner.user,
            identity: self.profile.bundle.identity(),
            now: self.env.unix_ms(),
        };
        let step = Step { operation, roster: &roster, seq, before: &group };
        let after = self.profile.store.commit(|tx| step.store(tx, &us))?;
        (group.standing, group.from) = (after.standing, after.from);
        group.roster = Some(roster);
        let name = group.name.clone();
        self.groups.put(group);
        self.emit(Event::Group { group: name });
        if after.lines {
            self.emit(Event::Lines);
        }
        Ok(())
    }

    /// The roster as it was when the entry with this `seq` came to the group's log: what its author
    /// may do is judged by this one, however far the chain here has gone since.
    pub(crate) fn roster_at(
        &mut self,
        name: &GroupName,
        seq: Seq,
    ) -> Result<Option<Roster>, StoreError> {
        let Some(group) = self.group(name)? else { return Ok(None) };
        let Some(roster) = group.roster.clone() else { return Ok(None) };
        let id = group.id;
        let number: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT max(number) FROM roster_ops WHERE grp = ?1 AND seq <= ?2")?
            .query_row(params![id.0, bits(seq.0)], |row| row.get(0))?;
        let Some(number) = number.map(unbits) else { return Ok(None) };
        if number >= roster.number() {
            return Ok(Some(roster));
        }
        if let Some(past) = self.groups.past(&id, number) {
            return Ok(Some(past));
        }
        let past = self.replay(&id, number)?;
        self.groups.remember(past.as_ref());
        Ok(past)
    }

    /// An operation of the chain here by its number: its hash and bytes.
    pub(crate) fn operation_numbered(
        &self,
        id: &GroupId,
        number: u64,
    ) -> Result<Option<(OpHash, Bytes)>, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>)> = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT hash, operation FROM roster_ops WHERE grp = ?1 AND number = ?2",
            )?
            .query_row(params![id.0, bits(number)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(row.and_then(|(hash, bytes)| Some((OpHash::from_bytes(&hash)?, bytes.into()))))
    }
}

/// One operation on its way into the chain.
struct Step<'a> {
    operation: &'a VerifiedOperation,
    /// After it.
    roster: &'a Roster,
    seq: Seq,
    before: &'a Group,
}

/// What it made of the group.
struct After {
    standing: Standing,
    from: Seq,
    lines: bool,
}

impl Step<'_> {
    fn store(&self, tx: &Transaction<'_>, us: &Us<'_>) -> Result<After, StoreError> {
        let (id, number) = (self.roster.id(), self.roster.number());
        tx.execute(
            "INSERT INTO roster_ops (grp, number, seq, hash, operation) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                id.0,
                bits(number),
                bits(self.seq.0),
                self.operation.hash().0,
                self.operation.encoded().as_ref()
            ],
        )?;
        self.open_epoch(tx, us)?;
        let was_in = us.is_in(self.before.roster.as_ref());
        let is_in = us.is_in(Some(self.roster));
        let standing = self.standing(us, was_in, is_in);
        let from = if is_in && !was_in { self.seq } else { self.before.from };
        tx.execute(
            "UPDATE groups SET standing = ?2, from_seq = ?3, making = NULL WHERE name = ?1",
            params![self.before.name.as_str(), standing_number(standing), bits(from.0)],
        )?;
        let mut told = false;
        if was_in || is_in {
            self.keep_line(tx)?;
            let lines = tell_passed(tx, &self.before.name, self.before.cursor, us.now)?;
            told = self.tell_person(tx, us, was_in, is_in)? || lines > 0;
        }
        let here = matches!(self.before.standing, Standing::Making | Standing::Member);
        if here && self.is_ours(us) {
            self.say(tx, us)?;
        }
        Ok(After { standing, from, lines: told })
    }

    /// The line stands where the log has its operation, behind all that was written before: the
    /// roster alone comes earlier than that.
    fn keep_line(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let (id, number) = (self.roster.id(), self.roster.number());
        tx.prepare_cached("UPDATE roster_ops SET untold = ?3 WHERE grp = ?1 AND number = ?2")?
            .execute(params![id.0, bits(number), self.membership().write()?])?;
        Ok(())
    }

    fn is_ours(&self, us: &Us<'_>) -> bool {
        self.operation.operation().author == *us.user
            && self.operation.bundle().identity() == us.identity
    }

    fn standing(&self, us: &Us<'_>, was_in: bool, is_in: bool) -> Standing {
        if self.roster.is_closed() && is_in {
            Standing::Closed
        } else if is_in {
            Standing::Member
        } else if !was_in {
            self.before.standing
        } else if self.operation.operation().author == *us.user {
            Standing::Left
        } else {
            Standing::Removed
        }
    }

    /// A new epoch's key: the one that waits for this, or the one that is wrapped for us.
    fn open_epoch(&self, tx: &Transaction<'_>, us: &Us<'_>) -> Result<(), StoreError> {
        let commit = match &self.operation.operation().change {
            Change::Create { key_commit, .. } => key_commit,
            change => match new_key_of(change) {
                Some(key) => &key.key_commit,
                None => return Ok(()),
            },
        };
        let (id, epoch) = (self.roster.id(), self.roster.key_epoch());
        if insert_epoch(tx, &id, epoch, commit)? {
            return Ok(());
        }
        let Some(new) = new_key_of(&self.operation.operation().change) else { return Ok(()) };
        let for_us = (us.user, us.identity);
        if let Some(key) = our_key(tx, us.at_rest, &us.cluster, (&id, epoch), for_us, new)? {
            let place = (&self.before.name, &id, epoch);
            fill_epoch(tx, us.at_rest, &us.cluster, place, &key)?;
        }
        Ok(())
    }

    fn membership(&self) -> Membership {
        let operation = self.operation.operation();
        let by = operation.author.clone();
        let change = match &operation.change {
            Change::Create { members, .. } => {
                let with = members.iter().map(|member| member.user.clone());
                GroupChange::Created { with: with.filter(|user| *user != by).collect() }
            }
            Change::Add(member) => GroupChange::Added { user: member.user.clone() },
            Change::Remove { user, key: _ } => GroupChange::Removed { user: user.clone() },
            Change::Join { .. } => GroupChange::Joined,
            Change::Leave => GroupChange::Left,
            Change::Rekey(_) => GroupChange::NewKey,
            Change::Grant { user, admin: true } => GroupChange::AdminGiven { user: user.clone() },
            Change::Grant { user, admin: false } => GroupChange::AdminTaken { user: user.clone() },
            Change::Title(text) => GroupChange::Title { text: text.clone() },
            Change::Topic(text) => GroupChange::Topic { text: text.clone() },
            Change::Invite(invite) if invite.password => GroupChange::PasswordSet,
            Change::Invite(invite) => GroupChange::Invited { uses: invite.uses },
            Change::Withdraw(_) => GroupChange::InvitesWithdrawn,
            Change::Close => GroupChange::Closed,
        };
        Membership { group: self.before.name.clone(), by, change }
    }

    /// What somebody told us about ourselves is so: it is shown where they told it.
    fn tell_person(
        &self,
        tx: &Transaction<'_>,
        us: &Us<'_>,
        was_in: bool,
        is_in: bool,
    ) -> Result<bool, StoreError> {
        let user = us.user.clone();
        let (column, change) = match (was_in, is_in) {
            (false, true) => ("inviter", GroupChange::Added { user }),
            (true, false) => ("goodbye", GroupChange::Removed { user }),
            (true, true) | (false, false) => return Ok(false),
        };
        let name = self.before.name.as_str();
        let who: Option<String> =
            tx.query_row(&format!("SELECT {column} FROM groups WHERE name = ?1"), [name], |row| {
                row.get(0)
            })?;
        let Some(who) = who.and_then(|who| UserName::canonical(&who).ok()) else {
            return Ok(false);
        };
        let membership = Membership { change, ..self.membership() };
        insert_membership(tx, &ChatName::from(who), &membership, us.now)?;
        tx.execute("UPDATE groups SET inviter = NULL, goodbye = NULL WHERE name = ?1", [name])?;
        Ok(true)
    }

    /// Whoever we brought in or put out is told: in the transaction that makes it so.
    fn say(&self, tx: &Transaction<'_>, us: &Us<'_>) -> Result<(), StoreError> {
        let group = (&self.before.name, &self.roster.id());
        let epoch = self.roster.key_epoch();
        match &self.operation.operation().change {
            Change::Create { members, .. } => {
                for member in members.iter().filter(|member| member.user != *us.user) {
                    queue_welcome(tx, us.at_rest, &member.user, group, epoch)?;
                }
            }
            Change::Add(member) => queue_welcome(tx, us.at_rest, &member.user, group, epoch)?,
            Change::Remove { user, key: _ } => queue_goodbye(tx, us.at_rest, user, group)?,
            _ => {}
        }
        Ok(())
    }
}
