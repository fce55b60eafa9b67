//! What the front end asks of a running session, and how it is passed on to the edge. The answers
//! are the business of `answers`.

use prost::Message as _;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::types::{ChatName, UserName};
use crate::wire::client::{
    Block, ChangePassword, ClientFrame, DeleteAccount, Logout, SetPresence, Typing, Who,
    client_frame,
};

use super::super::api::{RequestError, WhoView};
use super::answers::Waiting;
use super::blobs::BlobRequest;
use super::groups::GroupRequest;
use super::{End, Session};

/// What the front end asks of a running session.
pub(crate) enum Request {
    /// Something new waits in the database.
    Look,
    /// Try everything now.
    Hurry,
    /// Somebody became a contact.
    Follow,
    /// There may be a new version of the own bundle.
    Offer,
    /// Somebody is told that we are writing to them.
    Typing {
        to: ChatName,
    },
    /// Others see us, or do not.
    SetPresence {
        invisible: bool,
    },
    Who {
        all: bool,
        reply: oneshot::Sender<Result<WhoView, RequestError>>,
    },
    LookUp {
        user: UserName,
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    Block {
        user: UserName,
        blocked: bool,
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    ChangePassword {
        old_auth_key: Zeroizing<String>,
        new_auth_key: Zeroizing<String>,
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    DeleteAccount {
        auth_key: Zeroizing<String>,
        reply: oneshot::Sender<Result<u64, RequestError>>,
    },
    Group(GroupRequest),
    Blob(BlobRequest),
    LogOut {
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

impl Request {
    /// Answers a request that cannot be done now.
    pub(crate) fn fail(self, error: RequestError) {
        // A caller that is gone needs no answer.
        match self {
            Self::Look
            | Self::Hurry
            | Self::Follow
            | Self::Offer
            | Self::Typing { .. }
            | Self::SetPresence { .. } => {}
            Self::Who { reply, .. } => drop(reply.send(Err(error))),
            Self::LookUp { reply, .. }
            | Self::Block { reply, .. }
            | Self::ChangePassword { reply, .. }
            | Self::LogOut { reply } => drop(reply.send(Err(error))),
            Self::DeleteAccount { reply, .. } => drop(reply.send(Err(error))),
            Self::Group(request) => request.fail(error),
            Self::Blob(request) => request.fail(),
            Self::Stop { reply } => drop(reply.send(())),
        }
    }
}

impl Session<'_> {
    pub(super) async fn request(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Look => self.look().await?,
            Request::Hurry => {
                for sender in self.senders.values_mut() {
                    sender.hurry();
                }
                self.look().await?;
            }
            Request::Follow => {
                // What was read of them can be told now.
                self.look().await?;
                if self.caught_up {
                    self.follow_contacts()?;
                }
            }
            Request::Offer => self.offer_bundle().await?,
            Request::Typing { to } => self.tell_typing(&to),
            Request::SetPresence { invisible } => {
                // An edge that does not know it answers with an error, which nobody waits for.
                let _ = self.push(client_frame::Body::SetPresence(SetPresence { invisible }))?;
            }
            Request::Who { all, reply } => {
                let rid = self.push(client_frame::Body::Who(Who { all }))?;
                self.waiting.insert(rid, Waiting::Who(reply));
            }
            Request::LookUp { user, reply } => self.look_up(user, Some(reply))?,
            Request::Block { user, blocked, reply } => {
                let body = Block { user: user.to_string(), blocked };
                let rid = self.push(client_frame::Body::Block(body))?;
                self.waiting.insert(rid, Waiting::Done(reply));
            }
            Request::ChangePassword { old_auth_key, new_auth_key, reply } => {
                let body = ChangePassword {
                    old_auth_key: old_auth_key.to_string(),
                    new_auth_key: new_auth_key.to_string(),
                };
                let rid = self.push(client_frame::Body::ChangePassword(body))?;
                self.waiting.insert(rid, Waiting::Done(reply));
            }
            Request::DeleteAccount { auth_key, reply } => {
                let body = DeleteAccount { auth_key: auth_key.to_string() };
                let rid = self.push(client_frame::Body::DeleteAccount(body))?;
                self.waiting.insert(rid, Waiting::At(reply));
            }
            Request::Group(request) => self.group_request(request).await?,
            Request::Blob(request) => self.blob_request(request)?,
            Request::LogOut { reply } => {
                let rid = self.push(client_frame::Body::Logout(Logout {}))?;
                self.waiting.insert(rid, Waiting::LogOut(reply));
            }
            Request::Stop { reply } => return Err(End::Stopped(Some(reply))),
        }
        Ok(())
    }

    /// One datagram, which may be lost.
    pub(super) fn tell_typing(&self, to: &ChatName) {
        let typing = match to {
            ChatName::Person(user) => Typing { user: user.to_string(), group: String::new() },
            ChatName::Group(group) => Typing { user: String::new(), group: group.to_string() },
        };
        let body = Some(client_frame::Body::Typing(typing));
        let frame = ClientFrame { rid: 0, optional: true, body }.encode_to_vec();
        if self.wire.conn.max_datagram_size().is_some_and(|max| frame.len() <= max) {
            let _ = self.wire.conn.send_datagram(frame.into());
        }
    }
}
