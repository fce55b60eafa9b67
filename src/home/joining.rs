//! Who is about to join a group: nonces, proven invitations, and wrong ones.
//!
//! Only in memory: after a restart one asks again. Bounded, and short-lived.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::live::{EdgeNumber, Place};
use super::refusal::{No, Refusal};
use super::state::{Asker, Home};
use crate::crypto::invite::{InviteClaim, verify_invite};
use crate::limits::{
    JOIN_GRANT_LIFE, JOINS_TRACKED_MAX, WRONG_INVITE_DELAY_MAX, WRONG_INVITE_DELAY_MIN,
    WRONG_INVITES_FREE,
};
use crate::types::{GroupName, LogName, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// When to try again while others join.
const BUSY_RETRY_MS: u64 = 5_000;

/// What a connection has of one group, until some time.
#[derive(Clone)]
struct Pass<T> {
    user: UserName,
    group: GroupName,
    until: Instant,
    what: T,
}

impl<T> Pass<T> {
    fn is_for(&self, user: &UserName, group: &GroupName) -> bool {
        self.user == *user && self.group == *group && Instant::now() < self.until
    }
}

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    not_before: Instant,
}

/// What was before a change.
enum Undo {
    Nonce(Place, Option<Pass<[u8; 32]>>),
    Grant(Place, Option<Pass<()>>),
    Wrong((UserName, GroupName), Option<Wrong>),
}

/// Nonces, grants and failures. Changes are undone with their transaction, which comes again.
#[derive(Default)]
pub(super) struct Joins {
    nonces: BTreeMap<Place, Pass<[u8; 32]>>,
    grants: BTreeMap<Place, Pass<()>>,
    wrong: BTreeMap<(UserName, GroupName), Wrong>,
    undo: Vec<Undo>,
}

fn keep_fresh<T>(passes: &mut BTreeMap<Place, Pass<T>>) -> bool {
    if passes.len() >= JOINS_TRACKED_MAX {
        let now = Instant::now();
        passes.retain(|_, pass| now < pass.until);
    }
    passes.len() < JOINS_TRACKED_MAX
}

impl Joins {
    /// The transaction was committed: what changed stays.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// The transaction was rolled back: everything is as it was before it.
    pub(super) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Nonce(place, before) => drop(put(&mut self.nonces, place, before)),
                Undo::Grant(place, before) => drop(put(&mut self.grants, place, before)),
                Undo::Wrong(key, before) => drop(put(&mut self.wrong, key, before)),
            }
        }
    }

    fn put_nonce(&mut self, place: Place, nonce: Option<Pass<[u8; 32]>>) {
        let before = put(&mut self.nonces, place, nonce);
        self.undo.push(Undo::Nonce(place, before));
    }

    fn take_nonce(&mut self, place: Place) -> Option<Pass<[u8; 32]>> {
        let nonce = self.nonces.get(&place).cloned();
        self.put_nonce(place, None);
        nonce
    }

    fn put_grant(&mut self, place: Place, grant: Pass<()>) {
        let before = put(&mut self.grants, place, Some(grant));
        self.undo.push(Undo::Grant(place, before));
    }

    fn put_wrong(&mut self, key: (UserName, GroupName), wrong: Option<Wrong>) {
        let before = put(&mut self.wrong, key.clone(), wrong);
        self.undo.push(Undo::Wrong(key, before));
    }

    pub(super) fn forget(&mut self, place: Place) {
        self.nonces.remove(&place);
        self.grants.remove(&place);
    }

    pub(super) fn forget_edge(&mut self, edge: EdgeNumber) {
        let of = |place: &Place| place.edge == edge;
        self.nonces.retain(|place, _| !of(place));
        self.grants.retain(|place, _| !of(place));
    }

    /// Whether this connection has proven an invitation to the group.
    pub(super) fn is_granted(&self, place: Place, user: &UserName, group: &GroupName) -> bool {
        self.grants.get(&place).is_some_and(|grant| grant.is_for(user, group))
    }

    /// Whether one more attempt may be made now.
    pub(super) fn check_pace(&self, user: &UserName, group: &GroupName) -> Result<(), No> {
        let Some(wrong) = self.wrong.get(&(user.clone(), group.clone())) else { return Ok(()) };
        let left = wrong.not_before.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Err(Refusal::later(Code::SlowDown, ms).into())
    }

    /// Counts a wrong invitation.
    pub(super) fn failed(&mut self, user: &UserName, group: &GroupName) {
        if self.wrong.len() >= JOINS_TRACKED_MAX {
            // Whose delay is over first.
            let first = self.wrong.iter().min_by_key(|(_, wrong)| wrong.not_before);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.put_wrong(key, None);
            }
        }
        let now = Instant::now();
        let key = (user.clone(), group.clone());
        let count = self.wrong.get(&key).map_or(0, |wrong| wrong.count).saturating_add(1);
        self.put_wrong(key, Some(Wrong { count, not_before: now + delay_after(count) }));
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

fn delay_after(count: u32) -> Duration {
    match count.checked_sub(WRONG_INVITES_FREE) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
            WRONG_INVITE_DELAY_MIN.saturating_mul(factor).min(WRONG_INVITE_DELAY_MAX)
        }
    }
}

impl Home {
    /// Says which group it is, and gives a nonce to sign.
    pub(super) fn join_ask(&mut self, asker: Asker<'_>, group: &GroupName) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let name = LogName::Group(group.clone());
        self.own_log(&name)?;
        let log = self.logs.get(&self.database.conn, &name)?.ok_or(Code::NoSuchGroup)?;
        let members = log.group.as_ref().filter(|members| !members.closed);
        let members = members.ok_or(Refusal::because(Code::NoSuchGroup, "the group is closed"))?;
        if !keep_fresh(&mut self.joins.nonces) {
            return Err(Refusal::later(Code::Busy, BUSY_RETRY_MS).into());
        }
        let mut nonce = [0; 32];
        self.env.fill(&mut nonce);
        let until = Instant::now() + JOIN_GRANT_LIFE;
        let pass = Pass { user: user.clone(), group: group.clone(), until, what: nonce };
        self.joins.put_nonce(asker.place, Some(pass));
        Ok(Body::JoinOffer(wire::JoinOffer {
            group_id: members.id.0.to_vec().into(),
            nonce: nonce.to_vec().into(),
            member: members.is_present(user),
        }))
    }

    /// Checks an invitation over the nonce of this connection, which counts once.
    pub(super) fn join_proof(
        &mut self,
        asker: Asker<'_>,
        group: &GroupName,
        invite: &[u8],
        signature: &[u8],
    ) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let name = LogName::Group(group.clone());
        self.own_log(&name)?;
        self.joins.check_pace(user, group)?;
        let nonce = self.joins.take_nonce(asker.place);
        let Some(Pass { what: nonce, .. }) = nonce.filter(|nonce| nonce.is_for(user, group)) else {
            let why = "ask first: a nonce counts once, and for a minute";
            return Err(Refusal::because(Code::WrongInvite, why).into());
        };
        let log = self.logs.get(&self.database.conn, &name)?.ok_or(Code::NoSuchGroup)?;
        let group_id = log.group.as_ref().ok_or(Code::NoSuchGroup)?.id;
        let claim = InviteClaim {
            cluster: &self.cluster,
            group: &group_id,
            nonce: &nonce,
            user,
            device: asker.from.device,
        };
        let public: Option<[u8; 32]> = invite.try_into().ok();
        let signed = public.filter(|public| verify_invite(&claim, public, signature).is_ok());
        let lives = match signed {
            None => false,
            Some(public) => self.roster(&name)?.live_invite(&public).is_some(),
        };
        if !lives {
            self.joins.failed(user, group);
            return Err(Code::WrongInvite.into());
        }
        if !keep_fresh(&mut self.joins.grants) {
            return Err(Refusal::later(Code::Busy, BUSY_RETRY_MS).into());
        }
        self.joins.put_wrong((user.clone(), group.clone()), None);
        let until = Instant::now() + JOIN_GRANT_LIFE;
        let pass = Pass { user: user.clone(), group: group.clone(), until, what: () };
        self.joins.put_grant(asker.place, pass);
        Ok(Body::Done(wire::Done::default()))
    }
}
