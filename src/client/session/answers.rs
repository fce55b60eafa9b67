//! Answers to requests by number: look-ups, one's own bundle, what the front end asked.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::types::{ChatName, UserName};
use crate::wire::Code;
use crate::wire::client::{LookUp, PutBundle, WhoList, client_frame, server_frame};

use super::super::api::{RequestError, WhoView};
use super::super::connection::Refused;
use super::super::core::{Core, NewBundle};
use super::blobs::{BlobAnswer, BlobRefusal, blob_answer};
use super::groups::Asked;
use super::reading::OWN_LOG_PAUSE;
use super::{End, Session};

/// What an answer is for.
pub(super) enum Waiting {
    Who(oneshot::Sender<Result<WhoView, RequestError>>),
    LookUp { user: UserName, reply: Option<oneshot::Sender<Result<(), RequestError>>> },
    Done(oneshot::Sender<Result<(), RequestError>>),
    At(oneshot::Sender<Result<u64, RequestError>>),
    LogOut(oneshot::Sender<Result<(), RequestError>>),
    PutBundle(Vec<u8>),
    Group(Asked),
    Blob(oneshot::Sender<BlobAnswer>),
}

impl Waiting {
    pub(super) fn fail(self, error: RequestError) {
        match self {
            Self::Who(reply) => drop(reply.send(Err(error))),
            Self::LookUp { reply: Some(reply), .. } | Self::Done(reply) | Self::LogOut(reply) => {
                drop(reply.send(Err(error)));
            }
            Self::At(reply) => drop(reply.send(Err(error))),
            Self::LookUp { reply: None, .. } | Self::PutBundle(_) => {}
            Self::Group(asked) => asked.fail(error),
            Self::Blob(reply) => drop(reply.send(Err(BlobRefusal::Lost))),
        }
    }
}

impl Session<'_> {
    pub(super) fn look_up(
        &mut self,
        user: UserName,
        reply: Option<oneshot::Sender<Result<(), RequestError>>>,
    ) -> Result<(), End> {
        let body = LookUp { user: user.to_string() };
        let rid = self.push(client_frame::Body::LookUp(body))?;
        self.waiting.insert(rid, Waiting::LookUp { user, reply });
        Ok(())
    }

    /// This database is older than what the home holds: no number may be used twice, so from here
    /// on this is another device.
    pub(super) async fn rolled_back(&mut self) -> Result<(), End> {
        if self.core.lock().next_device()?.is_none() {
            self.disk(|core| core.plan_bundle(NewBundle::NewDevice)).await?;
        }
        self.offer_bundle().await
    }

    pub(super) async fn offer_bundle(&mut self) -> Result<(), End> {
        if self.offer_again.is_some()
            || self.waiting.values().any(|waiting| matches!(waiting, Waiting::PutBundle(_)))
        {
            return Ok(());
        }
        if let Some(bundle) = self.disk(Core::bundle_to_offer).await? {
            let put = PutBundle { bundle: bundle.clone().into() };
            let rid = self.push(client_frame::Body::PutBundle(put))?;
            self.waiting.insert(rid, Waiting::PutBundle(bundle));
        }
        Ok(())
    }

    pub(super) async fn answer(&mut self, rid: u64, body: server_frame::Body) -> Result<(), End> {
        let Some(waiting) = self.waiting.remove(&rid) else { return Ok(()) };
        let error = match &body {
            server_frame::Body::Error(error) => Some(Refused::of(error)),
            _ => None,
        };
        match (waiting, body) {
            (Waiting::LookUp { user, reply }, body) => {
                return self.looked_up(user, reply, body, error).await;
            }
            (Waiting::Group(asked), body) => return self.group_answer(asked, body, error).await,
            (Waiting::Blob(reply), body) => drop(reply.send(blob_answer(body, error))),
            (Waiting::PutBundle(put), server_frame::Body::Done(_)) => {
                return self.bundle_put(&put).await;
            }
            (Waiting::PutBundle(_), _) => self.bundle_refused(error),
            (Waiting::LogOut(reply), server_frame::Body::Done(_)) => {
                let _ = reply.send(Ok(()));
                return Err(End::Stopped(None));
            }
            (Waiting::Who(reply), server_frame::Body::WhoList(list)) => {
                let _ = reply.send(Ok(who_view(list)));
            }
            (Waiting::Done(reply), server_frame::Body::Done(_)) => drop(reply.send(Ok(()))),
            (Waiting::At(reply), server_frame::Body::Done(done)) => {
                drop(reply.send(Ok(done.at_unix_ms)));
            }
            (waiting, _) => waiting.fail(error.map_or(RequestError::Timeout, Refused::into_error)),
        }
        Ok(())
    }

    pub(super) async fn bundle_put(&mut self, put: &[u8]) -> Result<(), End> {
        // Another one may have been planned since.
        if self.core.lock().next_bundle()?.as_deref() == Some(put) {
            self.disk(Core::adopt_next_bundle).await?;
        }
        // All keys and perhaps the device are new: begin with a fresh session.
        Err(End::Again)
    }

    pub(super) fn bundle_refused(&mut self, error: Option<Refused>) {
        let after = error.as_ref().map_or(0, |refused| refused.retry_after_ms);
        let after = Duration::from_millis(after).clamp(OFFER_PAUSE_MIN, OFFER_PAUSE_MAX);
        self.offer_again = Some(Instant::now() + after);
        let code = error.map_or(Code::Internal, |refused| refused.code);
        tracing::warn!(%code, "the home does not take the new bundle");
    }

    pub(super) async fn looked_up(
        &mut self,
        user: UserName,
        reply: Option<oneshot::Sender<Result<(), RequestError>>>,
        body: server_frame::Body,
        error: Option<Refused>,
    ) -> Result<(), End> {
        let bundle = match (&body, &error) {
            (server_frame::Body::Account(account), _) => Some(account.bundle.clone()),
            (_, Some(refused)) if refused.code == Code::NoSuchUser => None,
            _ => {
                // Not an answer about the person: ask again later.
                self.ask_again = Some(Instant::now() + OWN_LOG_PAUSE);
                let error = error.map_or(RequestError::Timeout, Refused::into_error);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(error.clone()));
                }
                self.gathered(&user, Some(error)).await?;
                return self.note_caught_up().await;
            }
        };
        let devices = self.asked.remove(&user).unwrap_or_default();
        let learned =
            self.disk(|core| core.bundle_arrived(&user, &devices, bundle.as_deref())).await?;
        if let Some(reply) = reply {
            let _ = reply.send(match (&bundle, learned) {
                (None, _) => Err(error.map_or(RequestError::BadBundle, Refused::into_error)),
                (Some(_), None) => Err(RequestError::BadBundle),
                (Some(_), Some(_)) => Ok(()),
            });
        }
        self.gathered(&user, None).await?;
        let chat = ChatName::from(user);
        if let Some(sender) = self.senders.get_mut(&chat) {
            let had = bundle.is_none() || learned.is_some();
            sender.looked_up = had.then(Instant::now);
        }
        if bundle.is_some() && learned.is_none() && self.senders.contains_key(&chat) {
            self.pause_unknown(&chat);
        }
        self.open_entries().await?;
        self.pump(&chat).await
    }
}

impl Refused {
    pub(super) fn into_error(self) -> RequestError {
        RequestError::Refused {
            code: self.code,
            detail: self.detail,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

fn who_view(list: WhoList) -> WhoView {
    let names = list.users.into_iter();
    let mut users: Vec<(UserName, bool)> = names
        .filter_map(|p| UserName::canonical(&p.user).ok().map(|name| (name, p.online)))
        .collect();
    users.sort();
    users.dedup();
    WhoView { users, truncated: list.truncated, missing: list.missing }
}

/// Before a bundle that the home did not take is offered again.
const OFFER_PAUSE_MIN: Duration = Duration::from_secs(60);
const OFFER_PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
