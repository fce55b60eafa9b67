//! One connection's life: opens logs, sends what waits, takes in what comes, answers the front
//! end's requests. Everything that must survive is decided and stored by [`Core`].
//!
//! Here the loop and its timers; `requests` come from the front end, `frames` from the edge,
//! `answers` belong to the one by the number of the other. `sending` is the chats on this
//! connection, `reading` the own log, `group_reading` those of groups, both with `reader`; `groups`
//! is their changes and rosters, `gathering` what a new key needs; `blobs` what is asked about
//! files, whose bytes have streams of their own (`transfers`).

mod answers;
mod blobs;
mod frames;
mod gathering;
mod group_reading;
mod groups;
mod reader;
mod reading;
mod requests;
mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::limits;
use crate::net::Env;
use crate::types::{ChatName, DeviceId, GroupName, UserName};
use crate::wire::client::client_frame;

use super::Mode;
use super::api::{Event, RequestError};
use super::connection::Wire;
use super::core::{Core, SharedCore};
use super::group_log::Arrived;
use super::handover::Handover;
use super::sender::{Phase, Sender};
use super::store::StoreError;

pub(crate) use blobs::{BlobAnswer, BlobAsk, BlobRefusal, BlobReply, BlobRequest};
pub(crate) use groups::GroupRequest;
pub(crate) use requests::Request;

use answers::Waiting;
use frames::read;
use gathering::Gathering;
use reader::Reader;

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

pub(crate) struct Session<'a> {
    env: Env,
    core: SharedCore,
    mode: Mode,
    wire: Wire,
    requests: &'a mut mpsc::Receiver<Request>,
    senders: BTreeMap<ChatName, Sender>,
    own: Reader<Bytes>,
    /// Everything that waited in the own log and in groups has been handed out.
    caught_up: bool,
    /// Groups whose logs are read.
    readers: BTreeMap<GroupName, Reader<Arrived>>,
    /// Groups whose logs are still to be opened, and when the next one is.
    to_read: VecDeque<GroupName>,
    read_next: Option<Instant>,
    waiting: BTreeMap<u64, Waiting>,
    /// Authors whose bundle was asked for, and the devices it was asked for.
    asked: BTreeMap<UserName, BTreeSet<DeviceId>>,
    /// When to ask again for bundles that could not be had.
    ask_again: Option<Instant>,
    /// Groups whose chain was asked for lately, and nothing new came.
    in_vain: BTreeSet<GroupName>,
    /// When to reconnect and offer a bundle again that the home did not take.
    offer_again: Option<Instant>,
    /// When a read receipt that waits for its second can go.
    read_due: Option<Instant>,
    /// Chats whose logs are still to be opened, only to learn who comes and goes; and when.
    to_follow: VecDeque<ChatName>,
    follow_due: Option<Instant>,
    /// Some chat could not send for want of room in the session.
    starved: bool,
    last_open_id: u32,
    /// People who are looked up together.
    gatherings: Vec<Gathering>,
    /// Groups whose key is being renewed.
    renewing: BTreeSet<GroupName>,
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
            own: Reader::new(),
            caught_up: false,
            readers: BTreeMap::new(),
            to_read: VecDeque::new(),
            read_next: None,
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            ask_again: None,
            in_vain: BTreeSet::new(),
            offer_again: None,
            read_due: None,
            to_follow: VecDeque::new(),
            follow_due: None,
            starved: false,
            last_open_id: 0,
            gatherings: Vec::new(),
            renewing: BTreeSet::new(),
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
            self.push_all_cursors();
            let _ = self.wire.writer.flush().await;
            return End::Left(Box::new(self.wire));
        }
        if matches!(end, End::Stopped(_) | End::Again) {
            // A cursor the home never hears of costs a second delivery later; nothing else that was
            // written can still be unanswered and matter.
            let told = self.push_all_cursors();
            let _ = self.wire.writer.flush().await;
            self.wire.close(told).await;
        }
        end
    }

    pub(super) async fn begin(&mut self, backlog: Vec<Request>) -> Result<(), End> {
        self.core.lock().fresh_bundles.clear();
        self.offer_bundle().await?;
        if self.mode == Mode::SendAndReceive {
            self.disk(Core::retry_all_groups).await?;
            self.open_own();
        }
        self.begin_groups()?;
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
        self.store_batch().await?;
        self.note_caught_up().await
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

    pub(super) fn deadline(&self) -> Option<Instant> {
        let paused = self.senders.values().filter_map(|sender| match sender.phase {
            Phase::Paused(until) => Some(until),
            Phase::Opening | Phase::Flowing | Phase::Draining(_) => None,
        });
        paused
            .chain(self.readers.values().filter_map(|reader| reader.cursor_due))
            .chain(self.read_next)
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
        let due: Vec<ChatName> = self
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
        self.push_group_cursors(now);
        if self.read_next.is_some_and(|at| at <= now) {
            self.read_more_groups()?;
        }
        if self.own.reopen_at.is_some_and(|at| at <= now) {
            self.open_own();
        }
        if self.ask_again.is_some_and(|at| at <= now) {
            self.ask_again = None;
            self.asked.clear();
            self.in_vain.clear();
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
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
