//! Notices that somebody is writing: datagrams in, datagrams out, lost whenever it is better so.
//!
//! Nothing here is answered, stored or waited for. What does not fit is dropped and counted.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::time::Instant;

use super::Edge;
use super::limits::{Meter, Rate};
use super::router::ToHome;
use super::state::{Phase, State};
use crate::limits::{
    DATAGRAM_BYTES_MAX, TYPING_ACCEPTED_INTERVAL, TYPING_QUEUE_MAX, TYPING_RECIPIENTS_MAX,
};
use crate::types::{LogName, ServerId, UserName};
use crate::wire::client::{ClientFrame, ServerFrame, Typing, client_frame, server_frame};
use crate::wire::peer::Forward;

/// What became of a client's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// On its way to the recipient's home.
    Passed,
    /// Too early, too fast, too long, not understood, or no room.
    Dropped,
}

/// The datagrams of one session.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// All that come, good or bad.
    coming: Meter,
    /// To whom, and when; the oldest first.
    typing: VecDeque<(LogName, Instant)>,
    /// What waits to be sent to the client.
    out: VecDeque<Bytes>,
}

impl Datagrams {
    pub(super) fn new(now: Instant) -> Self {
        Self { coming: Meter::new(now), typing: VecDeque::new(), out: VecDeque::new() }
    }

    /// One notice per recipient and interval, and so many recipients.
    fn may_type(&mut self, to: &LogName, now: Instant) -> bool {
        while self.typing.front().is_some_and(|(_, at)| *at + TYPING_ACCEPTED_INTERVAL <= now) {
            self.typing.pop_front();
        }
        if self.typing.len() >= TYPING_RECIPIENTS_MAX
            || self.typing.iter().any(|(to_, _)| to_ == to)
        {
            return false;
        }
        self.typing.push_back((to.clone(), now));
        true
    }

    /// Takes the next datagram to send.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }
}

impl State {
    /// Takes one datagram of the client.
    pub(super) fn on_datagram(&mut self, edge: &Edge, bytes: &[u8], now: Instant) -> Fate {
        let rate = Rate::new(
            u32::try_from(TYPING_RECIPIENTS_MAX).unwrap_or(u32::MAX),
            Duration::from_secs(1),
            u32::try_from(TYPING_RECIPIENTS_MAX).unwrap_or(u32::MAX),
        );
        let Phase::LoggedIn(me) = &self.phase else { return Fate::Dropped };
        if self.datagrams.coming.check(rate, now).is_err() || bytes.len() > DATAGRAM_BYTES_MAX {
            return Fate::Dropped;
        }
        let Some(to) = read_typing(bytes) else { return Fate::Dropped };
        if to.owner() == Some(&me.user) || !self.datagrams.may_type(&to, now) {
            return Fate::Dropped;
        }
        let Some(port) = edge.router().home_of_log(&to).and_then(|home| edge.router().port(home))
        else {
            return Fate::Dropped;
        };
        let body = client_frame::Body::Typing(match &to {
            LogName::Inbox(user) => Typing { user: user.to_string(), group: String::new() },
            LogName::Group(_) => Typing { user: String::new(), group: to.to_string() },
        });
        let forward = Forward {
            sid: self.sid.0,
            user: me.user.to_string(),
            device: me.device.0,
            session_epoch: me.session_epoch.0,
            frame: Some(ClientFrame { rid: 0, optional: true, body: Some(body) }),
        };
        match port.offer(ToHome::Forward(forward)) {
            Ok(()) => Fate::Passed,
            Err(_) => Fate::Dropped,
        }
    }

    /// Somebody is writing to the person here: only their own home may say so, or that of a group
    /// which they have open.
    pub(super) fn hear_typing(&mut self, home: &ServerId, frame: ServerFrame) {
        let Phase::LoggedIn(me) = &self.phase else { return };
        let group = match &frame.body {
            Some(server_frame::Body::Typing(typing)) => typing.group.as_str(),
            Some(_) | None => return,
        };
        let may_say = match group {
            "" => me.home == *home,
            group => self.opens.get(group).is_some_and(|open| open.via.home == *home),
        };
        if may_say && self.end.is_none() && self.datagrams.out.len() < TYPING_QUEUE_MAX {
            self.datagrams.out.push_back(frame.encode_to_vec().into());
        }
    }
}

/// Whose inbox, or which group, is in a datagram that is what it must be.
fn read_typing(bytes: &[u8]) -> Option<LogName> {
    match ClientFrame::decode(bytes).ok()?.body? {
        client_frame::Body::Typing(Typing { user, group }) => match (user.as_str(), group.as_str())
        {
            (user, "") => UserName::canonical(user).ok().map(LogName::Inbox),
            ("", group) => LogName::canonical(group).ok().filter(|log| log.owner().is_none()),
            _ => None,
        },
        client_frame::Body::Hello(_)
        | client_frame::Body::LookUp(_)
        | client_frame::Body::SignUp(_)
        | client_frame::Body::Login(_)
        | client_frame::Body::Resume(_)
        | client_frame::Body::Logout(_)
        | client_frame::Body::PutBundle(_)
        | client_frame::Body::Who(_)
        | client_frame::Body::Block(_)
        | client_frame::Body::ChangePassword(_)
        | client_frame::Body::DeleteAccount(_)
        | client_frame::Body::SetPresence(_)
        | client_frame::Body::Change(_)
        | client_frame::Body::GetRoster(_)
        | client_frame::Body::JoinAsk(_)
        | client_frame::Body::JoinProof(_)
        | client_frame::Body::BeginBlob(_)
        | client_frame::Body::CommitBlob(_)
        | client_frame::Body::DropBlob(_)
        | client_frame::Body::GetBlob(_)
        | client_frame::Body::Open(_)
        | client_frame::Body::Append(_)
        | client_frame::Body::Cursor(_) => None,
    }
}
