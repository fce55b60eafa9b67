//! Joining by a password or a link: the invitation is proven to the home, the chain verified from
//! CREATE on, and the JOIN signed. Nobody else need be online.

use crate::crypto::invite::{InviteClaim, InviteKey, InviteSecret};
use crate::crypto::operation::Change;
use crate::limits;
use crate::roster::Roster;
use crate::types::{GroupId, GroupName, Seq};
use crate::wire::Code;
use crate::wire::client::{JoinOffer, Roster as RosterPage};

use super::super::Client;
use super::super::api::{GroupError, GroupView, JoinState, RequestError, Standing};
use super::super::core::Core;
use super::super::session::{GroupRequest, Request};
use super::super::store::StoreError;
use super::making::too_many_groups;
use super::rows::{fill_epoch, insert_candidate, insert_group, set_standing};
use super::welcome::groups;
use super::{Group, TookOperation};

impl Client {
    /// Which group the home knows under a name.
    pub(super) async fn offer(&self, name: &GroupName) -> Result<JoinOffer, GroupError> {
        let group = name.clone();
        let offer = self.ask(|reply| Request::Group(GroupRequest::JoinAsk { group, reply })).await;
        offer.map_err(|error| self.why_not(name, error))
    }

    pub(super) async fn join_state(&self, name: &GroupName) -> Result<JoinState, GroupError> {
        let standing = self.core.lock().group(name)?.map(|group| group.standing);
        if standing == Some(Standing::Member) {
            return Ok(JoinState::AlreadyIn);
        }
        let offer = self.offer(name).await?;
        Ok(if offer.member { JoinState::AlreadyIn } else { JoinState::Open })
    }

    /// Joins with the secret that `secret` makes of the group's id.
    pub(super) async fn join(
        &self,
        name: &GroupName,
        expected: Option<GroupId>,
        secret: impl AsyncFnOnce(GroupId) -> Result<InviteSecret, GroupError>,
    ) -> Result<GroupView, GroupError> {
        let own = self.core.lock().user().clone();
        if self.core.lock().own_group(name).is_ok() {
            return Err(GroupError::AlreadyAMember(own));
        }
        let offer = self.offer(name).await?;
        let id =
            GroupId::from_bytes(&offer.group_id).ok_or(GroupError::Refused(Code::Malformed))?;
        let known = self.core.lock().group(name)?.map(|group| (group.id, group.standing));
        let another = expected.is_some_and(|expected| expected != id)
            || known.is_some_and(|(known, standing)| known != id || standing == Standing::Forked);
        if another {
            return Err(GroupError::Forked(name.clone()));
        }
        let (cluster, device) = {
            let core = self.core.lock();
            (core.cluster(), core.profile.device)
        };
        let invite = secret(id).await?.invite_key(&cluster, &id);
        let nonce: &[u8; 32] =
            offer.nonce.as_ref().try_into().map_err(|_| GroupError::Refused(Code::Malformed))?;
        let claim = InviteClaim { cluster: &cluster, group: &id, nonce, user: &own, device };
        let (group, public, signature) = (name.clone(), invite.public(), invite.prove(&claim));
        let proven = self.ask(|reply| {
            let invite = public;
            Request::Group(GroupRequest::Prove { group, invite, signature, reply })
        });
        proven.await.map_err(|error| self.why_not(name, error))?;
        self.disk(|core| core.begin_joining(name, &id)).await?;
        let joined = self.join_proven(name, &invite).await;
        if let Err(error) = &joined
            && is_final(error)
        {
            self.disk(|core| core.end_joining(name)).await?;
        }
        joined?;
        let view = self.core.lock().group_view(name)?;
        view.ok_or_else(|| GroupError::NoSuchGroup(name.clone()))
    }

    async fn join_proven(&self, name: &GroupName, invite: &InviteKey) -> Result<(), GroupError> {
        for _ in 0..TRIES {
            self.read_chain(name).await?;
            let own = self.core.lock().user().clone();
            let join = self.disk(|core| core.plan_join(name, invite)).await?;
            let Some(join) = join else {
                // An earlier JOIN of ours whose answer was lost, or somebody added us meanwhile.
                return Err(GroupError::AlreadyAMember(own));
            };
            match self.hand_in(name, join).await {
                Err(GroupError::Busy(_)) => {}
                other => return other,
            }
        }
        Err(GroupError::Busy(name.clone()))
    }

    /// The whole chain as the home has it, for one who is not in the group yet.
    async fn read_chain(&self, name: &GroupName) -> Result<(), GroupError> {
        loop {
            let after = self.core.lock().group(name)?.map(Group::number);
            let after = after.ok_or_else(|| GroupError::NoSuchGroup(name.clone()))?;
            let group = name.clone();
            let page = self
                .ask(|reply| Request::Group(GroupRequest::Page { group, after, reply }))
                .await
                .map_err(|error| self.why_not(name, error))?;
            self.disk(|core| core.take_chain(name, &page)).await?;
            let known = self.core.lock().group(name)?.map_or(0, Group::number);
            // A home that shows the same again for ever is not listened to for ever.
            if !page.more || known <= after {
                return Ok(());
            }
        }
    }
}

impl Core {
    /// A row for a group that the owner joins. What is lost between the home and here is found
    /// again by it: the chain is fetched when the next session begins.
    fn begin_joining(&mut self, name: &GroupName, id: &GroupId) -> Result<(), GroupError> {
        let known = self.group(name)?.map(|group| group.standing);
        if known.is_none()
            && groups(self.profile.store.db()).map_err(StoreError::from)?
                >= limits::GROUPS_PER_USER_MAX
        {
            return Err(too_many_groups());
        }
        self.profile
            .store
            .commit(|tx| match known {
                None => insert_group(tx, name, id, Standing::Joining, None),
                Some(Standing::Removed | Standing::Left) => {
                    set_standing(tx, name, Standing::Joining)
                }
                // Somebody may have brought the owner in while the invitation was proven.
                Some(
                    Standing::Making
                    | Standing::Joining
                    | Standing::Member
                    | Standing::Closed
                    | Standing::Forked,
                ) => Ok(()),
            })
            .map_err(StoreError::from)?;
        self.group_changed(name);
        Ok(())
    }

    fn end_joining(&mut self, name: &GroupName) -> Result<(), GroupError> {
        let group = self.group(name)?.filter(|group| group.standing == Standing::Joining);
        match group.cloned() {
            Some(group) => Ok(self.give_up_joining(&group)?),
            None => Ok(()),
        }
    }

    fn take_chain(&mut self, name: &GroupName, page: &RosterPage) -> Result<(), GroupError> {
        let other = || GroupError::Forked(name.clone());
        let same = self.group(name)?.is_some_and(|group| group.id.0 == page.group_id.as_ref());
        if !same {
            return Err(other());
        }
        for entry in &page.entries {
            let seq = Seq(entry.seq);
            match self.take_operation(name, entry.number, seq, &entry.operation)? {
                TookOperation::Applied | TookOperation::Known => {}
                TookOperation::NeedsRoster | TookOperation::Forked => return Err(other()),
            }
        }
        Ok(())
    }

    /// The JOIN by an invitation that lives in the chain here, and the group's key out of it.
    /// `None`: the owner is in the group.
    fn plan_join(
        &mut self,
        name: &GroupName,
        invite: &InviteKey,
    ) -> Result<Option<bytes::Bytes>, GroupError> {
        let wrong = || GroupError::WrongInvite(name.clone());
        let Some(group) = self.group(name)? else {
            return Err(GroupError::NoSuchGroup(name.clone()));
        };
        let standing = group.standing;
        let roster: Roster = group.roster.clone().ok_or_else(wrong)?;
        if roster.is_closed() {
            return Err(GroupError::Closed(name.clone()));
        }
        let (cluster, id, epoch) = (self.cluster(), roster.id(), roster.key_epoch());
        let found = roster.live_invite(&invite.public()).ok_or_else(wrong)?;
        let key = invite.wrap.unwrap(&found.key);
        let key = key.filter(|key| key.commit(&cluster, &id, epoch) == roster.key_commit());
        let key = key.ok_or_else(wrong)?;
        let at_rest = self.profile.key.clone();
        self.profile.store.commit(|tx| {
            insert_candidate(tx, &at_rest, &cluster, (&id, epoch), &key)?;
            fill_epoch(tx, &at_rest, &cluster, (name, &id, epoch), &key)
        })?;
        if standing == Standing::Member {
            return Ok(None);
        }
        let change =
            Change::Join { identity: self.profile.bundle.identity(), invite: invite.public() };
        Ok(Some(self.sign_after(&roster, change, Some(invite))?.encoded))
    }
}

/// Whether the JOIN certainly was not taken.
fn is_final(error: &GroupError) -> bool {
    !matches!(
        error,
        GroupError::Request(
            RequestError::Offline
                | RequestError::Timeout
                | RequestError::Local(_)
                | RequestError::Refused { code: Code::HomeDown, .. }
        )
    )
}

const TRIES: usize = 8;
