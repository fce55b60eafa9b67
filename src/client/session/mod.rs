//! One connection's life: opens logs, sends what waits, takes in what comes, answers the front
//! end's requests. Everything that must survive is decided and stored by [`Core`].

mod answers;
mod reading;
mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::limits;
use crate::net::Env;
use crate::net::stream::ReadError;
use zeroize::Zeroizing;

use crate::types::{DeviceId, LogName, N, Seq, UserName};
use crate::wire::Code;
use crate::wire::client::{
    Block, ChangePassword, ClientFrame, DeleteAccount, Logout, ServerFrame, SetPresence, Typing,
    Who, client_frame, server_frame,
};

use super::Mode;
use super::api::{Event, RequestError, WhoView};
use super::connection::{DialError, Refused, Wire};
use super::core::{Core, SharedCore};
use super::handover::Handover;
use super::inbox::Position;
use super::sender::{Phase, Sender};
use super::store::StoreError;

use answers::Waiting;
use reading::OWN_LOG_PAUSE;

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
        to: UserName,
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
            Self::Stop { reply } => drop(reply.send(())),
        }
    }
}

/// Why a session ended.
pub(crate) enum End {
    /// The connection is gone.
    Lost,
    /// Reconnect at once: the device changed, or the home wants to see us again.
    Again,
    /// The next connection stands; this one is still open.
    Left(Box<Wire>),
    /// Another connection has the session.
    Replaced,
    /// The front end asked.
    Stopped(Option<oneshot::Sender<()>>),
    /// The local database failed.
    Local(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Local(error)
    }
}

/// The own log on this connection.
struct Own {
    open_id: u32,
    /// None until the home has opened it.
    at: Option<Position>,
    head: Seq,
    caught_up: bool,
    reopen_at: Option<Instant>,
    batch: Vec<(Seq, Bytes)>,
    cursor_due: Option<Instant>,
    cursor_sent: Option<Instant>,
    cursor_told: Seq,
}

pub(crate) struct Session<'a> {
    env: Env,
    core: SharedCore,
    mode: Mode,
    wire: Wire,
    requests: &'a mut mpsc::Receiver<Request>,
    senders: BTreeMap<UserName, Sender>,
    own: Own,
    waiting: BTreeMap<u64, Waiting>,
    /// Authors whose bundle was asked for, and the devices it was asked for.
    asked: BTreeMap<UserName, BTreeSet<DeviceId>>,
    /// When to ask again for bundles that could not be had.
    ask_again: Option<Instant>,
    /// When to reconnect and offer a bundle again that the home did not take.
    offer_again: Option<Instant>,
    /// When a read receipt that waits for its second can go.
    read_due: Option<Instant>,
    /// Chats whose logs are still to be opened, only to learn who comes and goes; and when.
    to_follow: VecDeque<UserName>,
    follow_due: Option<Instant>,
    /// Some chat could not send for want of room in the session.
    starved: bool,
    last_open_id: u32,
    handover: Handover,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        env: &Env,
        core: &SharedCore,
        mode: Mode,
        wire: Wire,
        requests: &'a mut mpsc::Receiver<Request>,
        handover: Handover,
    ) -> Self {
        Self {
            env: env.clone(),
            core: core.clone(),
            mode,
            wire,
            requests,
            senders: BTreeMap::new(),
            own: Own {
                open_id: 0,
                at: None,
                head: Seq(0),
                caught_up: false,
                reopen_at: None,
                batch: Vec::new(),
                cursor_due: None,
                cursor_sent: None,
                cursor_told: Seq(0),
            },
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            ask_again: None,
            offer_again: None,
            read_due: None,
            to_follow: VecDeque::new(),
            follow_due: None,
            starved: false,
            last_open_id: 0,
            handover,
        }
    }

    /// Runs until the connection or the front end ends it.
    pub(crate) async fn run(mut self, backlog: Vec<Request>) -> End {
        let end = match self.begin(backlog).await {
            Ok(()) => match self.turn().await {
                Ok(never) => match never {},
                Err(end) => end,
            },
            Err(end) => end,
        };
        self.core.lock().presence.forget();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.fail(RequestError::Offline);
        }
        if matches!(end, End::Again) && self.handover.ready.is_cancelled() {
            self.push_cursor();
            let _ = self.wire.writer.flush().await;
            return End::Left(Box::new(self.wire));
        }
        if matches!(end, End::Stopped(_) | End::Again) {
            // A cursor the home never hears of costs a second delivery later; nothing else that was
            // written can still be unanswered and matter.
            let told = self.push_cursor();
            let _ = self.wire.writer.flush().await;
            self.wire.close(told).await;
        }
        end
    }

    pub(super) async fn begin(&mut self, backlog: Vec<Request>) -> Result<(), End> {
        self.core.lock().fresh_bundles.clear();
        self.offer_bundle().await?;
        if self.mode == Mode::SendAndReceive {
            self.open_own();
        }
        self.look().await?;
        for request in backlog {
            self.request(request).await?;
        }
        self.flush().await
    }

    pub(super) async fn turn(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let may_leave = self.handover.ready.is_cancelled();
            if may_leave && self.waiting.is_empty() {
                return Err(End::Again);
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.handover.ready.cancelled(), if !may_leave => {}
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request).await?,
                    None => return Err(End::Stopped(None)),
                },
                frame = self.wire.reader.read() => {
                    self.frame(read(frame)?).await?;
                    self.take_what_arrived().await?;
                }
                datagram = self.wire.conn.read_datagram() => match datagram {
                    Ok(datagram) => self.datagram(&datagram)?,
                    Err(_) => return Err(End::Lost),
                },
                () = sleep_until_some(deadline) => self.timers().await?,
            }
            self.flush().await?;
        }
    }

    /// Takes the frames that are here already, so that entries share a transaction.
    pub(super) async fn take_what_arrived(&mut self) -> Result<(), End> {
        for _ in 0..limits::ENTRIES_BEYOND_CURSOR_MAX {
            let frame = tokio::select! {
                biased;
                frame = self.wire.reader.read() => read(frame)?,
                () = std::future::ready(()) => break,
            };
            self.frame(frame).await?;
        }
        self.store_batch().await
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        self.wire.writer.flush().await.map_err(|_| End::Lost)
    }

    /// One change of the profile, on disk when this returns. The simulator can strike before it.
    pub(super) async fn disk<T>(
        &self,
        change: impl FnOnce(&mut Core) -> Result<T, StoreError>,
    ) -> Result<T, End> {
        self.env.disk_pause().await;
        Ok(self.env.in_place(|| change(&mut self.core.lock()))?)
    }

    pub(super) fn emit(&self, event: Event) {
        self.core.lock().emit(event);
    }

    pub(super) fn push(&mut self, body: client_frame::Body) -> Result<u64, End> {
        self.wire.push(body).map_err(|_| End::Lost)
    }

    pub(super) fn next_open_id(&mut self) -> u32 {
        self.last_open_id += 1;
        self.last_open_id
    }

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
                if self.own.caught_up {
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
            Request::LogOut { reply } => {
                let rid = self.push(client_frame::Body::Logout(Logout {}))?;
                self.waiting.insert(rid, Waiting::LogOut(reply));
            }
            Request::Stop { reply } => return Err(End::Stopped(Some(reply))),
        }
        Ok(())
    }

    /// One datagram, which may be lost.
    pub(super) fn tell_typing(&self, to: &UserName) {
        let typing = Typing { user: to.to_string() };
        let body = Some(client_frame::Body::Typing(typing));
        let frame = ClientFrame { rid: 0, optional: true, body }.encode_to_vec();
        if self.wire.conn.max_datagram_size().is_some_and(|max| frame.len() <= max) {
            let _ = self.wire.conn.send_datagram(frame.into());
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let paused = self.senders.values().filter_map(|sender| match sender.phase {
            Phase::Paused(until) => Some(until),
            Phase::Opening | Phase::Flowing | Phase::Draining(_) => None,
        });
        paused
            .chain(self.own.cursor_due)
            .chain(self.own.reopen_at)
            .chain(self.ask_again)
            .chain(self.offer_again)
            .chain(self.read_due)
            .chain(self.follow_due)
            .min()
    }

    pub(super) async fn timers(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let due: Vec<UserName> = self
            .senders
            .iter()
            .filter(|(_, sender)| matches!(sender.phase, Phase::Paused(until) if until <= now))
            .map(|(chat, _)| chat.clone())
            .collect();
        for chat in due {
            self.open_chat(&chat)?;
        }
        if self.own.cursor_due.is_some_and(|due| due <= now) {
            self.push_cursor();
        }
        if self.own.reopen_at.is_some_and(|at| at <= now) {
            self.open_own();
        }
        if self.ask_again.is_some_and(|at| at <= now) {
            self.ask_again = None;
            self.asked.clear();
            self.ask_for_recipients()?;
            self.open_entries().await?;
        }
        if self.read_due.is_some_and(|at| at <= now) {
            self.look().await?;
        }
        if self.follow_due.is_some_and(|at| at <= now) {
            self.follow_next()?;
        }
        if self.offer_again.is_some_and(|at| at <= now) {
            // The Welcome of a new session says where the home stands.
            return Err(End::Again);
        }
        Ok(())
    }

    pub(super) async fn frame(&mut self, frame: ServerFrame) -> Result<(), End> {
        match frame.body {
            Some(server_frame::Body::Entry(entry)) => self.entry(entry),
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
                if let Some(chat) = self.current(&online.log, online.open_id) {
                    self.core.lock().presence_heard(&chat, online.online)?;
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
    fn datagram(&self, datagram: &[u8]) -> Result<(), End> {
        let body = ServerFrame::decode(datagram).ok().and_then(|frame| frame.body);
        if let Some(server_frame::Body::Typing(typing)) = body
            && let Ok(user) = UserName::canonical(&typing.user)
        {
            self.core.lock().typing_heard(&user)?;
        }
        Ok(())
    }

    /// The chat of an answer, if the answer is to its present Open.
    pub(super) fn current(&self, log: &str, open_id: u32) -> Option<UserName> {
        let chat = LogName::canonical(log).ok()?.owner().clone();
        self.senders.get(&chat).filter(|sender| sender.open_id == open_id)?;
        Some(chat)
    }
}

fn read(frame: Result<Option<ServerFrame>, ReadError>) -> Result<ServerFrame, End> {
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

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
