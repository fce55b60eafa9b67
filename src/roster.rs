//! A group's membership as a value: signed operations in, who may do what out.
//!
//! The home runs it to decide what it takes; every client runs it again over the whole chain, from
//! CREATE on, and encrypts only to the members that come out. Pure: the same operations always give
//! the same roster, and nothing but a [`VerifiedOperation`] changes one.

use std::collections::BTreeMap;

use crate::crypto::operation::{
    Change, Invitation, InvitedKey, NewKey, NewMember, VerifiedOperation,
};
use crate::limits;
use crate::types::{GroupId, GroupName, KeyEpoch, KeyId, OpHash, UserName};

mod error;
#[cfg(test)]
mod tests;

pub use error::RosterError;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Write, leave, renew the key after somebody left.
    Member,
    /// Also everything else.
    Admin,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Fingerprint of the identity key: in this group, this is they.
    pub identity: KeyId,
    /// What they may do.
    pub role: Role,
    /// Number of the operation that brought them in.
    pub since: u64,
    /// Highest version of their bundle that came with an operation: an older one signs nothing.
    bundle_version: u64,
}

/// A live invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Its keys under the present epoch.
    pub key: InvitedKey,
    /// It is the group's password.
    pub password: bool,
    /// People who may still join by it; `None`: no bound.
    pub uses_left: Option<u32>,
    /// Who made it.
    pub by: UserName,
}

/// A group after some chain of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    id: GroupId,
    name: GroupName,
    title: String,
    topic: String,
    members: BTreeMap<UserName, Member>,
    invites: BTreeMap<[u8; 32], Invite>,
    head: OpHash,
    number: u64,
    key_epoch: KeyEpoch,
    key_commit: [u8; 32],
    key_due: bool,
    closed: bool,
}

impl Roster {
    /// The group that a CREATE makes.
    ///
    /// # Errors
    /// [`RosterError::Create`] for anything else; [`RosterError::NotAMember`] or
    /// [`RosterError::AnotherIdentity`] when its author is not among the members under the identity
    /// that signed.
    pub fn create(operation: &VerifiedOperation) -> Result<Self, RosterError> {
        let Change::Create { name, nonce: _, members, key_commit, title } =
            &operation.operation().change
        else {
            return Err(RosterError::Create);
        };
        let author = &operation.operation().author;
        if members.len() > limits::GROUP_MEMBERS_MAX {
            return Err(RosterError::TooMany("members"));
        }
        let member = |new: &NewMember| {
            let founder = new.user == *author;
            let role = if founder { Role::Admin } else { Role::Member };
            let bundle_version = if founder { operation.bundle().version } else { 0 };
            (new.user.clone(), Member { identity: new.identity, role, since: 1, bundle_version })
        };
        let members: BTreeMap<UserName, Member> = members.iter().map(member).collect();
        match members.get(author) {
            Some(founder) if founder.identity == operation.bundle().identity() => {}
            Some(_) => return Err(RosterError::AnotherIdentity(author.clone())),
            None => return Err(RosterError::NotAMember(author.clone())),
        }
        Ok(Self {
            id: operation.group(),
            name: name.clone(),
            title: title.clone(),
            topic: String::new(),
            members,
            invites: BTreeMap::new(),
            head: operation.hash(),
            number: 1,
            key_epoch: KeyEpoch(1),
            key_commit: *key_commit,
            key_due: false,
            closed: false,
        })
    }

    /// Applies the operation that follows. On an error nothing has changed.
    ///
    /// # Errors
    /// [`RosterError`] says which rule it breaks.
    pub fn apply(&mut self, operation: &VerifiedOperation) -> Result<(), RosterError> {
        let signed = operation.operation();
        if operation.group() != self.id {
            return Err(RosterError::AnotherGroup);
        }
        if signed.prev != Some(self.head) {
            return Err(RosterError::Conflict);
        }
        self.follow(operation)
    }

    /// As [`Self::apply`], whatever operation it was made after: what is planted in a home to see
    /// whether that is noticed.
    pub(crate) fn follow(&mut self, operation: &VerifiedOperation) -> Result<(), RosterError> {
        let signed = operation.operation();
        if self.closed {
            return Err(RosterError::Closed);
        }
        let author = &signed.author;
        match &signed.change {
            Change::Join { identity, invite } => self.join(operation, *identity, invite)?,
            change => {
                let role = self.authorised(operation)?;
                self.change(author, role, change)?;
            }
        }
        if let Some(member) = self.members.get_mut(author) {
            member.bundle_version = operation.bundle().version;
        }
        self.head = operation.hash();
        self.number += 1;
        Ok(())
    }

    /// The author's role, if they are a member under the key that signed.
    fn authorised(&self, operation: &VerifiedOperation) -> Result<Role, RosterError> {
        let author = &operation.operation().author;
        let member =
            self.members.get(author).ok_or_else(|| RosterError::NotAMember(author.clone()))?;
        let bundle = operation.bundle();
        if member.identity != bundle.identity() || bundle.version < member.bundle_version {
            return Err(RosterError::AnotherIdentity(author.clone()));
        }
        Ok(member.role)
    }

    fn change(
        &mut self,
        author: &UserName,
        role: Role,
        change: &Change,
    ) -> Result<(), RosterError> {
        match change {
            Change::Leave => return self.leave(author),
            Change::Rekey(key) => return self.rekey(key),
            Change::Create { .. } | Change::Join { .. } => return Err(RosterError::Create),
            _ if role != Role::Admin => return Err(RosterError::NotAnAdmin),
            _ => {}
        }
        match change {
            Change::Add(new) => self.add(new),
            Change::Remove { user, key: _ } if user == author => Err(RosterError::Oneself),
            Change::Remove { user, key } => self.remove(user, key),
            Change::Grant { user, admin } => self.grant(user, *admin),
            Change::Title(text) => set(&mut self.title, text),
            Change::Topic(text) => set(&mut self.topic, text),
            Change::Invite(invitation) => self.invite(author, invitation),
            Change::Withdraw(invite) => self.withdraw(invite.as_ref()),
            Change::Close => {
                self.closed = true;
                self.invites.clear();
                Ok(())
            }
            Change::Create { .. } | Change::Join { .. } | Change::Leave | Change::Rekey(_) => {
                Err(RosterError::Create)
            }
        }
    }

    fn add(&mut self, new: &NewMember) -> Result<(), RosterError> {
        if self.members.contains_key(&new.user) {
            return Err(RosterError::AlreadyAMember(new.user.clone()));
        }
        if self.members.len() >= limits::GROUP_MEMBERS_MAX {
            return Err(RosterError::TooMany("members"));
        }
        let since = self.number + 1;
        let member =
            Member { identity: new.identity, role: Role::Member, since, bundle_version: 0 };
        self.members.insert(new.user.clone(), member);
        Ok(())
    }

    fn join(
        &mut self,
        operation: &VerifiedOperation,
        identity: KeyId,
        invite: &[u8; 32],
    ) -> Result<(), RosterError> {
        let found = self.invites.get(invite).ok_or(RosterError::NoSuchInvite)?;
        let uses_left = found.uses_left;
        if uses_left == Some(0) {
            return Err(RosterError::NoSuchInvite);
        }
        let user = operation.operation().author.clone();
        self.add(&NewMember { user, identity })?;
        match uses_left {
            Some(1) => {
                self.invites.remove(invite);
            }
            Some(left) => {
                if let Some(invite) = self.invites.get_mut(invite) {
                    invite.uses_left = Some(left - 1);
                }
            }
            None => {}
        }
        Ok(())
    }

    fn leave(&mut self, user: &UserName) -> Result<(), RosterError> {
        if self.members.len() == 1 {
            return Err(RosterError::LastMember);
        }
        self.keep_an_admin(user)?;
        self.members.remove(user);
        self.key_due = true;
        Ok(())
    }

    fn remove(&mut self, user: &UserName, key: &NewKey) -> Result<(), RosterError> {
        if !self.members.contains_key(user) {
            return Err(RosterError::NoSuchMember(user.clone()));
        }
        self.keep_an_admin(user)?;
        let remaining = self.members.keys().filter(|name| *name != user);
        if !remaining.eq(key.keys.iter().map(|key| &key.user)) || !key.invited.is_empty() {
            return Err(RosterError::WrongKeys);
        }
        self.members.remove(user);
        self.invites.clear();
        self.open_epoch(key);
        Ok(())
    }

    fn rekey(&mut self, key: &NewKey) -> Result<(), RosterError> {
        if !self.key_due {
            return Err(RosterError::NotDue);
        }
        let for_members = self.members.keys().eq(key.keys.iter().map(|key| &key.user));
        let for_invites = self.invites.keys().eq(key.invited.iter().map(|key| &key.invite));
        if !for_members || !for_invites {
            return Err(RosterError::WrongKeys);
        }
        for (invite, key) in self.invites.values_mut().zip(&key.invited) {
            invite.key = key.clone();
        }
        self.open_epoch(key);
        Ok(())
    }

    fn open_epoch(&mut self, key: &NewKey) {
        self.key_epoch.0 += 1;
        self.key_commit = key.key_commit;
        self.key_due = false;
    }

    fn grant(&mut self, user: &UserName, admin: bool) -> Result<(), RosterError> {
        let role = if admin { Role::Admin } else { Role::Member };
        match self.members.get(user).map(|member| member.role) {
            None => return Err(RosterError::NoSuchMember(user.clone())),
            Some(present) if present == role => return Err(RosterError::Nothing),
            Some(_) => {}
        }
        if !admin {
            self.keep_an_admin(user)?;
        }
        if let Some(member) = self.members.get_mut(user) {
            member.role = role;
        }
        Ok(())
    }

    fn invite(&mut self, by: &UserName, invitation: &Invitation) -> Result<(), RosterError> {
        let key = invitation.key.clone();
        if self.invites.contains_key(&key.invite) {
            return Err(RosterError::InviteTwice);
        }
        let stays = |invite: &Invite| !(invitation.password && invite.password);
        let count = self.invites.values().filter(|invite| stays(invite)).count();
        if count >= limits::GROUP_INVITES_MAX {
            return Err(RosterError::TooMany("invitations"));
        }
        self.invites.retain(|_, invite| stays(invite));
        let uses_left = (invitation.uses > 0).then_some(invitation.uses);
        let invite = Invite { key, password: invitation.password, uses_left, by: by.clone() };
        self.invites.insert(invitation.key.invite, invite);
        Ok(())
    }

    fn withdraw(&mut self, invite: Option<&[u8; 32]>) -> Result<(), RosterError> {
        match invite {
            Some(invite) => self.invites.remove(invite).map(drop).ok_or(RosterError::NoSuchInvite),
            None if self.invites.is_empty() => Err(RosterError::NoSuchInvite),
            None => {
                self.invites.clear();
                Ok(())
            }
        }
    }

    /// Whether somebody else could still change the group.
    fn keep_an_admin(&self, without: &UserName) -> Result<(), RosterError> {
        let others = self.members.iter().any(|(name, m)| name != without && m.role == Role::Admin);
        if others { Ok(()) } else { Err(RosterError::LastAdmin) }
    }

    /// Which group it is.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// Its title; may be empty.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its topic; may be empty.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Everybody in it, by name.
    pub fn members(&self) -> &BTreeMap<UserName, Member> {
        &self.members
    }

    /// One member.
    pub fn member(&self, user: &UserName) -> Option<&Member> {
        self.members.get(user)
    }

    /// Whether this person is an admin of it.
    pub fn is_admin(&self, user: &UserName) -> bool {
        self.member(user).is_some_and(|member| member.role == Role::Admin)
    }

    /// Whether this person is its only admin.
    pub fn is_last_admin(&self, user: &UserName) -> bool {
        self.is_admin(user) && self.keep_an_admin(user).is_err()
    }

    /// The invitations that live, by their public key.
    pub fn invites(&self) -> &BTreeMap<[u8; 32], Invite> {
        &self.invites
    }

    /// One that lives and is not used up.
    pub fn live_invite(&self, invite: &[u8; 32]) -> Option<&Invite> {
        self.invites.get(invite)
    }

    /// The password, if one is set.
    pub fn password(&self) -> Option<&Invite> {
        self.invites.values().find(|invite| invite.password)
    }

    /// The newest operation.
    pub fn head(&self) -> OpHash {
        self.head
    }

    /// How many operations there were.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The epoch that messages are sealed under now.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.key_epoch
    }

    /// What that epoch's key has to fit.
    pub fn key_commit(&self) -> [u8; 32] {
        self.key_commit
    }

    /// Somebody left since: the next member who writes renews the key first.
    pub fn key_due(&self) -> bool {
        self.key_due
    }

    /// Nobody can write or change anything any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

fn set(field: &mut String, text: &str) -> Result<(), RosterError> {
    if field == text {
        return Err(RosterError::Nothing);
    }
    text.clone_into(field);
    Ok(())
}
