//! Making operations: what they say, tried on the roster that is here, and signed.
//!
//! A new key is on this disk before the operation that opens its epoch leaves it.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::group::GroupKey;
use crate::crypto::invite::{InviteKey, WrapKey};
use crate::crypto::operation::{
    Change, InvitedKey, KeyFor, NewKey, NewMember, Operation, OperationError, SignedOperation,
    VerifiedOperation,
};
use crate::limits;
use crate::roster::{Roster, RosterError};
use crate::types::{GroupId, GroupName, KeyEpoch, KeyId, OpHash, UserName};

use super::super::api::{GroupError, RequestError, Standing};
use super::super::core::Core;
use super::super::store::StoreError;
use super::Group;
use super::rows::{insert_candidate, insert_group};
use super::welcome::groups;

impl From<StoreError> for GroupError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}

/// Why a roster does not take an operation, to the person who wants it.
pub(super) fn refused(error: RosterError, name: &GroupName, own: &UserName) -> GroupError {
    let name = name.clone();
    match error {
        RosterError::AnotherGroup | RosterError::Create => GroupError::Forked(name),
        RosterError::Conflict | RosterError::WrongKeys => GroupError::Busy(name),
        RosterError::Closed => GroupError::Closed(name),
        RosterError::NotAMember(_) | RosterError::AnotherIdentity(_) => {
            GroupError::NotAMember(name)
        }
        RosterError::NotAnAdmin => GroupError::NotAnAdmin(name),
        RosterError::AlreadyAMember(user) => GroupError::AlreadyAMember(user),
        RosterError::NoSuchMember(user) => GroupError::NoSuchMember(user),
        RosterError::Oneself => GroupError::NoSuchMember(own.clone()),
        RosterError::LastAdmin | RosterError::LastMember => GroupError::LastAdmin(name),
        RosterError::NoSuchInvite => GroupError::WrongInvite(name),
        RosterError::InviteTwice | RosterError::NotDue | RosterError::Nothing => {
            GroupError::Nothing
        }
        RosterError::TooMany(what) => {
            let max = match what {
                "members" => limits::GROUP_MEMBERS_MAX,
                _ => limits::GROUP_INVITES_MAX,
            };
            GroupError::TooMany { what, max }
        }
    }
}

impl Core {
    /// A group that the owner can change, as this device knows it.
    pub(super) fn own_group(&mut self, name: &GroupName) -> Result<(Group, Roster), GroupError> {
        let Some(group) = self.group(name)? else {
            return Err(GroupError::NoSuchGroup(name.clone()));
        };
        match (group.standing, &group.roster) {
            (Standing::Member, Some(roster)) => Ok((group.clone(), roster.clone())),
            (Standing::Closed, _) => Err(GroupError::Closed(name.clone())),
            (Standing::Forked, _) => Err(GroupError::Forked(name.clone())),
            _ => Err(GroupError::NotAMember(name.clone())),
        }
    }

    /// Signs an operation that follows the chain here, if the roster takes it.
    pub(super) fn sign_after(
        &self,
        roster: &Roster,
        change: Change,
        invite: Option<&InviteKey>,
    ) -> Result<SignedOperation, GroupError> {
        let after = Some((roster.id(), roster.head()));
        let (signed, verified) = self.sign_change(after, change, invite)?;
        let mut tried = roster.clone();
        tried.apply(&verified).map_err(|why| refused(why, roster.name(), self.user()))?;
        Ok(signed)
    }

    fn sign_change(
        &self,
        after: Option<(GroupId, OpHash)>,
        change: Change,
        invite: Option<&InviteKey>,
    ) -> Result<(SignedOperation, VerifiedOperation), GroupError> {
        let operation = Operation {
            group: after.map(|(group, _)| group),
            prev: after.map(|(_, prev)| prev),
            author: self.user().clone(),
            device: self.profile.device,
            at_unix_ms: self.now(),
            change,
        };
        let own = &self.profile;
        let signed = operation
            .sign(&self.cluster(), &own.bundle, &own.device_key, invite)
            .map_err(unsigned)?;
        let verified = self.verified(&signed.encoded).map_err(unsigned)?;
        Ok((signed, verified))
    }

    /// Plans a group of the owner and these people: its row, its key and its CREATE are on the disk
    /// when this returns.
    pub(crate) fn plan_group(
        &mut self,
        name: &GroupName,
        with: &[NewMember],
        title: &str,
    ) -> Result<Bytes, GroupError> {
        if groups(self.profile.store.db()).map_err(StoreError::from)? >= limits::GROUPS_PER_USER_MAX
        {
            return Err(too_many_groups());
        }
        let own = NewMember { user: self.user().clone(), identity: self.profile.bundle.identity() };
        let mut members: Vec<NewMember> = with.iter().cloned().chain([own]).collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        members.dedup_by(|a, b| a.user == b.user);
        if members.len() > limits::GROUP_MEMBERS_MAX {
            let max = limits::GROUP_MEMBERS_MAX;
            return Err(GroupError::TooMany { what: "members", max });
        }
        let mut nonce = [0; 16];
        self.env.fill(&mut nonce);
        let key = GroupKey::generate();
        let change = Change::Create {
            name: name.clone(),
            nonce,
            members,
            key_commit: key.first_commit(&self.cluster()),
            title: title.to_owned(),
        };
        let (signed, verified) = self.sign_change(None, change, None)?;
        let roster = Roster::create(&verified).map_err(|why| refused(why, name, self.user()))?;
        let (at_rest, cluster, id) = (&self.profile.key, self.cluster(), roster.id());
        self.profile.store.commit(|tx| {
            insert_group(tx, name, &id, Standing::Making, Some(&signed.encoded))?;
            insert_candidate(tx, at_rest, &cluster, (&id, KeyEpoch(1)), &key)
        })?;
        Ok(signed.encoded)
    }

    /// A person as a group takes them in: the key that is pinned, and no other is known.
    pub(crate) fn as_member(&mut self, user: &UserName) -> Result<NewMember, GroupError> {
        let person = self.person(user)?;
        if person.is_some_and(|person| person.changed.is_some()) {
            return Err(GroupError::KeyChanged(user.clone()));
        }
        let bundle = person.and_then(|person| person.bundle.as_ref());
        let bundle = bundle.ok_or_else(|| GroupError::NoSuchUser(user.clone()))?;
        Ok(NewMember { user: user.clone(), identity: bundle.identity() })
    }

    /// Everybody in a group but the owner.
    pub(crate) fn others_in(&mut self, name: &GroupName) -> Result<Vec<UserName>, StoreError> {
        let own = self.user().clone();
        let roster = self.group(name)?.and_then(|group| group.roster.as_ref());
        let members = roster.into_iter().flat_map(|roster| roster.members().keys());
        Ok(members.filter(|user| **user != own).cloned().collect())
    }

    /// Groups with others in them that the owner is the only admin of.
    pub(crate) fn led_alone(&mut self) -> Result<Vec<GroupName>, StoreError> {
        let own = self.user().clone();
        let mut found = Vec::new();
        for name in self.member_of()? {
            let roster = self.group(&name)?.and_then(|group| group.roster.as_ref());
            if roster.is_some_and(|r| r.is_last_admin(&own) && r.members().len() > 1) {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The key of a group's present epoch.
    pub(super) fn present_key(&self, roster: &Roster) -> Result<GroupKey, GroupError> {
        let key = self.group_key(&roster.id(), roster.key_epoch())?;
        key.ok_or_else(|| {
            let why = "the key of the group is not here yet".to_owned();
            GroupError::Request(RequestError::Local(why))
        })
    }

    /// A new key for everybody but `without`, and for the invitations that live on; on the disk
    /// when this returns. `asked`: who was looked up for it; [`GroupError::Busy`] when somebody has
    /// come in since, who would be left without the key.
    pub(super) fn plan_key(
        &mut self,
        roster: &Roster,
        without: Option<&UserName>,
        asked: &BTreeSet<UserName>,
    ) -> Result<NewKey, GroupError> {
        let unasked = |user: &UserName| Some(user) != without && !asked.contains(user);
        if roster.members().keys().any(|user| user != self.user() && unasked(user)) {
            return Err(GroupError::Busy(roster.name().clone()));
        }
        let (id, epoch) = (roster.id(), KeyEpoch(roster.key_epoch().0.saturating_add(1)));
        let (cluster, key) = (self.cluster(), GroupKey::generate());
        let mut keys = Vec::new();
        for (user, member) in roster.members() {
            if Some(user) != without {
                keys.push(self.wrap_for(&key, (&id, epoch), user, member.identity)?);
            }
        }
        let mut invited = Vec::new();
        // A REMOVE ends every invitation.
        if without.is_none() && !roster.invites().is_empty() {
            let present = self.present_key(roster)?;
            for invite in roster.invites().values() {
                invited.push(rewrapped(&invite.key, &present, &key));
            }
        }
        let at_rest = &self.profile.key;
        self.profile
            .store
            .commit(|tx| insert_candidate(tx, at_rest, &cluster, (&id, epoch), &key))?;
        Ok(NewKey { key_commit: key.commit(&cluster, &id, epoch), keys, invited })
    }

    /// The key for one member. One whose bundle is not to be had, or is of another identity than
    /// the group's, gets none until they are removed and added again.
    fn wrap_for(
        &mut self,
        key: &GroupKey,
        (id, epoch): (&GroupId, KeyEpoch),
        user: &UserName,
        identity: KeyId,
    ) -> Result<KeyFor, GroupError> {
        let cluster = self.cluster();
        let bundle = self.bundle_of(user, identity)?;
        let wrapped = bundle
            .and_then(|bundle| key.wrap_for(&cluster, id, epoch, &identity, &bundle.enc_spki).ok());
        Ok(match wrapped {
            Some(wrapped) => KeyFor {
                user: user.clone(),
                wrapped_to: wrapped.to,
                wrapped_key: wrapped.bytes.into(),
            },
            None => KeyFor { user: user.clone(), wrapped_to: identity, wrapped_key: Bytes::new() },
        })
    }

    /// The newest bundle that is known of a member under the identity that the group knows.
    fn bundle_of(
        &mut self,
        user: &UserName,
        identity: KeyId,
    ) -> Result<Option<VerifiedBundle>, StoreError> {
        if user == self.user() {
            return Ok(Some(self.profile.bundle.clone()));
        }
        let Some(person) = self.person(user)? else { return Ok(None) };
        let bundles = [&person.bundle, &person.changed].into_iter().flatten();
        Ok(bundles
            .filter(|bundle| bundle.identity() == identity)
            .max_by_key(|b| b.version)
            .cloned())
    }

    /// The REKEY that is due, if it still is and can be made here.
    pub(crate) fn renewal(
        &mut self,
        name: &GroupName,
        asked: &BTreeSet<UserName>,
    ) -> Result<Option<Bytes>, StoreError> {
        if !self.rekey_due(name)? {
            return Ok(None);
        }
        let made = self.own_group(name).and_then(|(_, roster)| {
            let key = self.plan_key(&roster, None, asked)?;
            self.sign_after(&roster, Change::Rekey(key), None)
        });
        match made {
            Ok(signed) => Ok(Some(signed.encoded)),
            Err(why) => {
                tracing::warn!(%why, group = %name, "the key cannot be renewed here");
                Ok(None)
            }
        }
    }
}

/// An invitation's keys under the next key. One whose author made it so that nobody can carry it on
/// stays as it is: it opens the old key only.
fn rewrapped(invited: &InvitedKey, present: &GroupKey, next: &GroupKey) -> InvitedKey {
    WrapKey::unseal(invited, present)
        .map_or_else(|| invited.clone(), |wrap| wrap.wrap(invited.invite, next))
}

pub(super) fn too_many_groups() -> GroupError {
    GroupError::TooMany { what: "groups", max: limits::GROUPS_PER_USER_MAX }
}

fn unsigned(error: OperationError) -> GroupError {
    match error {
        OperationError::TooLarge(_) => {
            GroupError::TooMany { what: "bytes", max: limits::OPERATION_BYTES_MAX }
        }
        error => GroupError::Request(RequestError::Local(error.to_string())),
    }
}
