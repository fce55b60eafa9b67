//! What comes from the edge, given to whom it is for. Answers to numbered requests go to `answers`.

use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use crate::net::stream::ReadError;
use crate::types::{ChatName, LogName, N, UserName};
use crate::wire::Code;
use crate::wire::client::{ServerFrame, server_frame};

use super::super::connection::{DialError, Refused};
use super::reading::OWN_LOG_PAUSE;
use super::{End, Session};

impl Session<'_> {
    pub(super) async fn frame(&mut self, frame: ServerFrame) -> Result<(), End> {
        match frame.body {
            Some(server_frame::Body::Entry(entry)) => self.entry(entry)?,
            Some(server_frame::Body::Appended(appended)) => {
                if let Some(chat) = self.current(&appended.log, appended.open_id) {
                    self.chat_appended(&chat, N(appended.n), &appended.hash).await?;
                }
            }
            Some(server_frame::Body::Refused(refused)) => {
                if refused.open_id == self.own.open_id {
                    self.own.reopen_at = Some(Instant::now() + OWN_LOG_PAUSE);
                } else if let Some(chat) = self.current(&refused.log, refused.open_id) {
                    self.chat_refused(&chat, &refused).await?;
                }
            }
            Some(server_frame::Body::Opened(opened)) => {
                if opened.open_id == self.own.open_id {
                    self.own_opened(&opened).await?;
                } else if let Some(chat) = self.current(&opened.log, opened.open_id) {
                    self.chat_opened(&chat, &opened).await?;
                }
            }
            Some(server_frame::Body::Delivered(delivered)) => {
                if let Some(chat) = self.current(&delivered.log, delivered.open_id) {
                    let upto = N(delivered.delivered_n);
                    self.disk(|core| core.log_delivered(&chat, upto)).await?;
                }
            }
            Some(server_frame::Body::Closed(closed)) => {
                let code = Code::from_number(closed.code).unwrap_or(Code::Internal);
                if closed.open_id == self.own.open_id {
                    self.own.reopen_at = Some(Instant::now() + OWN_LOG_PAUSE);
                } else if let Some(chat) = self.current(&closed.log, closed.open_id) {
                    self.pause(&chat, code, Duration::ZERO, &closed.detail);
                }
            }
            Some(server_frame::Body::Error(error)) if frame.rid == 0 => {
                let refused = Refused::of(&error);
                return Err(match refused.code {
                    Code::SessionReplaced => End::Replaced,
                    _ => End::Lost,
                });
            }
            Some(server_frame::Body::GoAway(_)) => self.handover.asked.cancel(),
            Some(server_frame::Body::Online(online)) => {
                let chat = self.current(&online.log, online.open_id);
                if let Some(ChatName::Person(user)) = chat {
                    self.core.lock().presence_heard(&user, online.online)?;
                }
            }
            // Typing comes in datagrams.
            Some(server_frame::Body::Typing(_)) => {}
            Some(body) => self.answer(frame.rid, body).await?,
            None => {}
        }
        Ok(())
    }

    /// Anything may stand in a datagram; all that is not a notice of typing is nothing.
    pub(super) fn datagram(&self, datagram: &[u8]) -> Result<(), End> {
        let body = ServerFrame::decode(datagram).ok().and_then(|frame| frame.body);
        if let Some(server_frame::Body::Typing(typing)) = body
            && let Ok(user) = UserName::canonical(&typing.user)
        {
            match ChatName::canonical(&typing.group) {
                Ok(ChatName::Group(group)) => self.core.lock().typing_heard_in(&group, &user)?,
                Err(_) if typing.group.is_empty() => self.core.lock().typing_heard(&user)?,
                Ok(ChatName::Person(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The chat of an answer, if the answer is to its present Open.
    pub(super) fn current(&self, log: &str, open_id: u32) -> Option<ChatName> {
        let chat = ChatName::from(LogName::canonical(log).ok()?);
        self.senders.get(&chat).filter(|sender| sender.open_id == open_id)?;
        Some(chat)
    }
}

/// A frame that was read, or what it means that there is none.
pub(super) fn read(frame: Result<Option<ServerFrame>, ReadError>) -> Result<ServerFrame, End> {
    match frame {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(End::Lost),
        Err(error) => Err(match DialError::from(error) {
            DialError::Refused(Refused { code: Code::SessionReplaced, .. }) => End::Replaced,
            DialError::Refused(_) | DialError::Unreachable | DialError::WrongCluster { .. } => {
                End::Lost
            }
        }),
    }
}
