//! Groups on this connection: changes handed in, rosters fetched, invitations proven.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::types::{ChatName, GroupName, Seq, UserName};
use crate::wire::Code;
use crate::wire::client::{
    Change, Changed, GetRoster, JoinAsk, JoinOffer, JoinProof, Roster, client_frame, server_frame,
};

use super::super::api::RequestError;
use super::super::connection::Refused;
use super::super::groups::{Fetched, TookOperation};
use super::answers::Waiting;
use super::reading::OWN_LOG_PAUSE;
use super::{End, Session};

pub(super) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What the front end's calls ask about groups.
pub(crate) enum GroupRequest {
    /// Hand this operation in; it is in the chain here when the answer comes.
    Change { group: GroupName, operation: Bytes, reply: Reply<()> },
    /// Bring the chain of a known group up to date.
    Fetch { group: GroupName, reply: Reply<()> },
    /// One page of the chain of a group that may be unknown here.
    Page { group: GroupName, after: u64, reply: Reply<Roster> },
    /// Which group it is, and what to sign.
    JoinAsk { group: GroupName, reply: Reply<JoinOffer> },
    /// Prove an invitation.
    Prove { group: GroupName, invite: [u8; 32], signature: [u8; 64], reply: Reply<()> },
    /// Look all these people up. Done when each is answered, if only with "nobody".
    LookUp { users: Vec<UserName>, reply: Reply<()> },
}

impl GroupRequest {
    pub(super) fn fail(self, error: RequestError) {
        match self {
            Self::Change { reply, .. }
            | Self::Fetch { reply, .. }
            | Self::Prove { reply, .. }
            | Self::LookUp { reply, .. } => drop(reply.send(Err(error))),
            Self::Page { reply, .. } => drop(reply.send(Err(error))),
            Self::JoinAsk { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// What an answer about a group is for.
pub(super) enum Asked {
    Change {
        group: GroupName,
        operation: Bytes,
        reply: Option<Reply<()>>,
    },
    Roster {
        group: GroupName,
        replies: Vec<Reply<()>>,
    },
    Page(Reply<Roster>),
    JoinAsk(Reply<JoinOffer>),
    /// Where the home's chain ends: it is older than ours.
    Head {
        group: GroupName,
        /// Asked for what comes after this number.
        after: u64,
    },
    /// Our operation of this number, to a home that lost it.
    Given {
        group: GroupName,
        number: u64,
        operation: Bytes,
    },
}

impl Asked {
    pub(super) fn fail(self, error: RequestError) {
        match self {
            Self::Change { reply, .. } => drop(reply.map(|reply| reply.send(Err(error)))),
            Self::Roster { replies, .. } => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            Self::Page(reply) => drop(reply.send(Err(error))),
            Self::JoinAsk(reply) => drop(reply.send(Err(error))),
            Self::Head { .. } | Self::Given { .. } => {}
        }
    }
}

impl Session<'_> {
    pub(super) async fn group_request(&mut self, request: GroupRequest) -> Result<(), End> {
        match request {
            GroupRequest::Change { group, operation, reply } => {
                self.change(group, operation, Some(reply))
            }
            GroupRequest::Fetch { group, reply } => self.fetch(&group, Some(reply)),
            GroupRequest::Page { group, after, reply } => {
                let ask = GetRoster { group: group.as_str().to_owned(), after };
                let rid = self.push(client_frame::Body::GetRoster(ask))?;
                self.asked_about(rid, Asked::Page(reply));
                Ok(())
            }
            GroupRequest::JoinAsk { group, reply } => {
                let ask = JoinAsk { group: group.as_str().to_owned() };
                let rid = self.push(client_frame::Body::JoinAsk(ask))?;
                self.asked_about(rid, Asked::JoinAsk(reply));
                Ok(())
            }
            GroupRequest::Prove { group, invite, signature, reply } => {
                let proof = JoinProof {
                    group: group.as_str().to_owned(),
                    invite: Bytes::copy_from_slice(&invite),
                    signature: Bytes::copy_from_slice(&signature),
                };
                let rid = self.push(client_frame::Body::JoinProof(proof))?;
                self.waiting.insert(rid, Waiting::Done(reply));
                Ok(())
            }
            GroupRequest::LookUp { users, reply } => self.look_up_all(users, reply).await,
        }
    }

    /// What an earlier session left open: groups whose CREATE was not answered, and those that we
    /// were brought into and whose chain is not here.
    pub(super) fn begin_groups(&mut self) -> Result<(), End> {
        let unsettled = self.core.lock().unsettled_groups()?;
        for (group, making) in unsettled {
            match making {
                Some(operation) => self.change(group, operation, None)?,
                None => self.fetch(&group, None)?,
            }
        }
        Ok(())
    }

    /// Fetches the rosters that something told us to fetch.
    pub(super) fn fetch_wanted(&mut self) -> Result<(), End> {
        let wanted = std::mem::take(&mut self.core.lock().groups.wanted);
        wanted.iter().try_for_each(|group| self.fetch_roster(group))
    }

    /// Brings the chain of a group up to date; then everything that waits for it goes on.
    pub(super) fn fetch_roster(&mut self, group: &GroupName) -> Result<(), End> {
        self.fetch(group, None)
    }

    fn fetch(&mut self, name: &GroupName, reply: Option<Reply<()>>) -> Result<(), End> {
        let under_way = self.waiting.values_mut().find_map(|waiting| match waiting {
            Waiting::Group(Asked::Roster { group, replies }) if group == name => Some(replies),
            _ => None,
        });
        if let Some(replies) = under_way {
            replies.extend(reply);
            return Ok(());
        }
        self.fetch_page(name.clone(), reply.into_iter().collect())
    }

    /// Whether the chain of a group is asked for at this moment.
    pub(super) fn fetches_rosters(&self) -> bool {
        let is_roster = |one: &Waiting| matches!(one, Waiting::Group(Asked::Roster { .. }));
        self.waiting.values().any(is_roster)
    }

    fn fetch_page(&mut self, group: GroupName, replies: Vec<Reply<()>>) -> Result<(), End> {
        let after = self.core.lock().group(&group)?.map(|group| group.number());
        let Some(after) = after else {
            // Given up meanwhile: who waits for it looks and sees.
            replies.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
            return Ok(());
        };
        let ask = GetRoster { group: group.as_str().to_owned(), after };
        let rid = self.push(client_frame::Body::GetRoster(ask))?;
        self.asked_about(rid, Asked::Roster { group, replies });
        Ok(())
    }

    /// The home's roster is older than ours: it was restored. It is given what it lost.
    pub(super) fn hand_in(&mut self, name: &GroupName) -> Result<(), End> {
        let under_way = self.waiting.values().any(|waiting| match waiting {
            Waiting::Group(Asked::Head { group, .. } | Asked::Given { group, .. }) => group == name,
            _ => false,
        });
        if under_way { Ok(()) } else { self.head(name.clone(), 0) }
    }

    fn head(&mut self, group: GroupName, after: u64) -> Result<(), End> {
        let ask = GetRoster { group: group.as_str().to_owned(), after };
        let rid = self.push(client_frame::Body::GetRoster(ask))?;
        self.asked_about(rid, Asked::Head { group, after });
        Ok(())
    }

    fn asked_about(&mut self, rid: u64, asked: Asked) {
        self.waiting.insert(rid, Waiting::Group(asked));
    }

    pub(super) fn change(
        &mut self,
        group: GroupName,
        operation: Bytes,
        reply: Option<Reply<()>>,
    ) -> Result<(), End> {
        let change = Change { group: group.as_str().to_owned(), operation: operation.clone() };
        let rid = self.push(client_frame::Body::Change(change))?;
        self.asked_about(rid, Asked::Change { group, operation, reply });
        Ok(())
    }

    pub(super) async fn group_answer(
        &mut self,
        asked: Asked,
        body: server_frame::Body,
        error: Option<Refused>,
    ) -> Result<(), End> {
        match (asked, body) {
            (Asked::Change { group, operation, reply }, server_frame::Body::Changed(changed)) => {
                self.changed(group, &operation, reply, &changed).await
            }
            (Asked::Change { group, operation: _, reply }, _) => {
                self.not_changed(&group, reply, error).await
            }
            (Asked::Roster { group, replies }, server_frame::Body::Roster(roster)) => {
                self.roster_page(group, replies, &roster).await
            }
            (Asked::Roster { group, replies }, _) => self.no_roster(group, replies, error).await,
            (Asked::Page(reply), server_frame::Body::Roster(roster)) => {
                let _ = reply.send(Ok(roster));
                Ok(())
            }
            (Asked::JoinAsk(reply), server_frame::Body::JoinOffer(offer)) => {
                let _ = reply.send(Ok(offer));
                Ok(())
            }
            (Asked::Head { group, after }, server_frame::Body::Roster(roster)) => {
                self.head_page(group, after, &roster).await
            }
            (Asked::Head { group, .. }, _) => match error.map(|refused| refused.code) {
                Some(Code::NoSuchGroup) => self.give(group, 1).await,
                code => {
                    self.pause_group(&group, code, Duration::ZERO);
                    Ok(())
                }
            },
            (Asked::Given { group, number, operation }, server_frame::Body::Changed(changed)) => {
                if changed.number == number {
                    let seq = Seq(changed.seq);
                    self.disk(|core| core.take_operation(&group, number, seq, &operation)).await?;
                    self.give(group, number + 1).await
                } else {
                    self.fetch_roster(&group)
                }
            }
            (Asked::Given { group, .. }, _) => match error.map(|refused| refused.code) {
                Some(Code::RosterConflict) => self.fetch_roster(&group),
                code => {
                    self.pause_group(&group, code, Duration::ZERO);
                    Ok(())
                }
            },
            (asked, _) => {
                asked.fail(error.map_or(RequestError::Timeout, Refused::into_error));
                Ok(())
            }
        }
    }

    /// The home has an operation of ours.
    async fn changed(
        &mut self,
        group: GroupName,
        operation: &Bytes,
        reply: Option<Reply<()>>,
        changed: &Changed,
    ) -> Result<(), End> {
        let (number, seq) = (changed.number, Seq(changed.seq));
        let took = self.disk(|core| core.take_operation(&group, number, seq, operation)).await?;
        self.renewing.remove(&group);
        if took == TookOperation::NeedsRoster {
            return self.fetch(&group, reply);
        }
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
        // Whoever is to hear of it, and what waited for a new key.
        self.look().await?;
        self.group_goes_on(&group).await
    }

    /// The home does not take an operation of ours.
    async fn not_changed(
        &mut self,
        group: &GroupName,
        reply: Option<Reply<()>>,
        error: Option<Refused>,
    ) -> Result<(), End> {
        let code = error.as_ref().map(|refused| refused.code);
        let after = error.as_ref().map_or(0, |refused| refused.retry_after_ms);
        let renewing = self.renewing.remove(group);
        if let Some(code) = code {
            self.disk(|core| core.making_refused(group, code)).await?;
        }
        if let Some(reply) = reply {
            let error = error.map_or(RequestError::Timeout, Refused::into_error);
            let _ = reply.send(Err(error));
        }
        match code {
            // Somebody else was first: it may even have been renewed.
            Some(Code::RosterConflict) if renewing => self.fetch_roster(group),
            _ if renewing => {
                self.pause_group(group, code, Duration::from_millis(after));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn roster_page(
        &mut self,
        group: GroupName,
        replies: Vec<Reply<()>>,
        roster: &Roster,
    ) -> Result<(), End> {
        let before = self.chain_length(&group)?;
        let took = self.take_page(&group, roster).await?;
        let is_longer = self.chain_length(&group)? > before;
        if took == Page::Progress && roster.more && is_longer {
            return self.fetch_page(group, replies);
        }
        if is_longer {
            self.in_vain.remove(&group);
        } else {
            self.in_vain.insert(group.clone());
        }
        self.disk(|core| core.roster_fetched(&group, Fetched::Whole)).await?;
        self.roster_is_here(&group, replies).await
    }

    fn chain_length(&self, group: &GroupName) -> Result<u64, End> {
        Ok(self.core.lock().group(group)?.map_or(0, |group| group.number()))
    }

    /// An entry cannot be judged without more of the chain. A home that pushes what does not follow
    /// from the chain that it shows is asked again, but not all the time.
    pub(super) fn want_roster(&mut self, group: GroupName) {
        if self.in_vain.contains(&group) {
            self.ask_again.get_or_insert(Instant::now() + OWN_LOG_PAUSE);
        } else {
            self.core.lock().groups.wanted.insert(group);
        }
    }

    async fn take_page(&mut self, group: &GroupName, roster: &Roster) -> Result<Page, End> {
        if !self.disk(|core| core.is_this_group(group, &roster.group_id)).await? {
            return Ok(Page::End);
        }
        for entry in &roster.entries {
            let (number, seq) = (entry.number, Seq(entry.seq));
            let operation = &entry.operation;
            match self.disk(|core| core.take_operation(group, number, seq, operation)).await? {
                TookOperation::Applied | TookOperation::Known => {}
                TookOperation::NeedsRoster | TookOperation::Forked => return Ok(Page::End),
            }
        }
        Ok(if roster.entries.is_empty() { Page::End } else { Page::Progress })
    }

    /// Everything that waited for a roster goes on.
    async fn roster_is_here(
        &mut self,
        group: &GroupName,
        replies: Vec<Reply<()>>,
    ) -> Result<(), End> {
        replies.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        // Looks for logs to open, too.
        self.open_entries().await?;
        self.group_goes_on(group).await
    }

    async fn no_roster(
        &mut self,
        group: GroupName,
        replies: Vec<Reply<()>>,
        error: Option<Refused>,
    ) -> Result<(), End> {
        let fetched = match error.as_ref().map(|refused| refused.code) {
            Some(Code::NoSuchGroup | Code::NotAMember) => Fetched::Refused,
            _ => Fetched::Later,
        };
        let lost = error.as_ref().is_some_and(|refused| refused.code == Code::NoSuchGroup);
        self.disk(|core| core.roster_fetched(&group, fetched)).await?;
        let error = error.map_or(RequestError::Timeout, Refused::into_error);
        for reply in replies {
            let _ = reply.send(Err(error.clone()));
        }
        if fetched == Fetched::Later {
            self.ask_again.get_or_insert(Instant::now() + OWN_LOG_PAUSE);
        }
        let chain = self.core.lock().group(&group)?.is_some_and(|group| group.roster.is_some());
        if lost && chain {
            return self.hand_in(&group);
        }
        Ok(())
    }

    async fn head_page(
        &mut self,
        group: GroupName,
        after: u64,
        roster: &Roster,
    ) -> Result<(), End> {
        let took = self.take_page(&group, roster).await?;
        let last = roster.entries.last().map_or(after, |entry| entry.number);
        // A home that shows the same again for ever is not listened to for ever.
        if took == Page::Progress && roster.more && last > after {
            return self.head(group, last);
        }
        self.give(group, last.saturating_add(1)).await
    }

    /// Hands in our operation of this number; when there is none, the home has all of them.
    async fn give(&mut self, group: GroupName, number: u64) -> Result<(), End> {
        let operation = {
            let mut core = self.core.lock();
            let id = core.group(&group)?.map(|group| group.id);
            id.map(|id| core.operation_numbered(&id, number)).transpose()?.flatten()
        };
        let Some((_, operation)) = operation else {
            return self.group_goes_on(&group).await;
        };
        let change = Change { group: group.as_str().to_owned(), operation: operation.clone() };
        let rid = self.push(client_frame::Body::Change(change))?;
        self.asked_about(rid, Asked::Given { group, number, operation });
        Ok(())
    }

    pub(super) fn pause_group(
        &mut self,
        group: &GroupName,
        code: Option<Code>,
        at_least: Duration,
    ) {
        let chat = ChatName::Group(group.clone());
        self.pause(&chat, code.unwrap_or(Code::RetryLater), at_least, "");
    }
}

/// What a page of a chain came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    Progress,
    /// There was nothing in it, or nothing that follows.
    End,
}
