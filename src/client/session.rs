//! One connection's life: opens logs, sends what waits, takes in what comes, answers the front
//! end's requests. Everything that must survive is decided and stored by [`Core`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::limits;
use crate::net::Env;
use crate::net::env::Bug;
use crate::net::stream::ReadError;
use crate::types::{DeviceId, LogEpoch, LogName, N, Seq, UserName};
use crate::wire::Code;
use crate::wire::client::{
    Append, Block, ClientFrame, Cursor, Entry, Logout, LookUp, Open, Opened, PutBundle,
    Refused as WireRefused, ServerFrame, SetPresence, Typing, Who, WhoList, client_frame,
    server_frame,
};

use super::Mode;
use super::api::{Event, RequestError, WhoView};
use super::connection::{DialError, Refused, Unread, Wire};
use super::core::{Core, NewBundle, SharedCore};
use super::inbox::Position;
use super::outbox::{Answered, Ready, Sealing};
use super::sender::{After, Phase, Sender};
use super::store::StoreError;

/// What the front end asks of a running session.
pub(crate) enum Request {
    /// Something new waits in the database.
    Look,
    /// Try everything now.
    Hurry,
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
            | Self::Offer
            | Self::Typing { .. }
            | Self::SetPresence { .. } => {}
            Self::Who { reply, .. } => drop(reply.send(Err(error))),
            Self::LookUp { reply, .. } | Self::Block { reply, .. } | Self::LogOut { reply } => {
                drop(reply.send(Err(error)));
            }
            Self::Stop { reply } => drop(reply.send(())),
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection is gone.
    Lost,
    /// Reconnect at once: the device changed, or the home wants to see us again.
    Again,
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

/// What an answer is for.
enum Waiting {
    Who(oneshot::Sender<Result<WhoView, RequestError>>),
    LookUp { user: UserName, reply: Option<oneshot::Sender<Result<(), RequestError>>> },
    Done(oneshot::Sender<Result<(), RequestError>>),
    LogOut(oneshot::Sender<Result<(), RequestError>>),
    PutBundle(Vec<u8>),
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
    /// Some chat could not send for want of room in the session.
    starved: bool,
    last_open_id: u32,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        env: &Env,
        core: &SharedCore,
        mode: Mode,
        wire: Wire,
        requests: &'a mut mpsc::Receiver<Request>,
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
            starved: false,
            last_open_id: 0,
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
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.fail(RequestError::Offline);
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

    async fn begin(&mut self, backlog: Vec<Request>) -> Result<(), End> {
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

    async fn turn(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request).await?,
                    None => return Err(End::Stopped(None)),
                },
                frame = self.wire.reader.read() => {
                    self.frame(read(frame)?).await?;
                    self.take_what_arrived().await?;
                }
                () = sleep_until_some(deadline) => self.timers().await?,
            }
            self.flush().await?;
        }
    }

    /// Takes the frames that are here already, so that entries share a transaction.
    async fn take_what_arrived(&mut self) -> Result<(), End> {
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

    async fn flush(&mut self) -> Result<(), End> {
        self.wire.writer.flush().await.map_err(|_| End::Lost)
    }

    /// One change of the profile, on disk when this returns. The simulator can strike before it.
    async fn disk<T>(
        &self,
        change: impl FnOnce(&mut Core) -> Result<T, StoreError>,
    ) -> Result<T, End> {
        self.env.disk_pause().await;
        Ok(self.env.in_place(|| change(&mut self.core.lock()))?)
    }

    fn emit(&self, event: Event) {
        self.core.lock().emit(event);
    }

    fn push(&mut self, body: client_frame::Body) -> Result<u64, End> {
        self.wire.push(body).map_err(|_| End::Lost)
    }

    fn next_open_id(&mut self) -> u32 {
        self.last_open_id += 1;
        self.last_open_id
    }

    // ------------------------------------------------------------------ requests and time

    async fn request(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Look => self.look().await?,
            Request::Hurry => {
                for sender in self.senders.values_mut() {
                    sender.hurry();
                }
                self.look().await?;
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
            Request::LogOut { reply } => {
                let rid = self.push(client_frame::Body::Logout(Logout {}))?;
                self.waiting.insert(rid, Waiting::LogOut(reply));
            }
            Request::Stop { reply } => return Err(End::Stopped(Some(reply))),
        }
        Ok(())
    }

    /// One datagram, which may be lost.
    fn tell_typing(&self, to: &UserName) {
        let typing = Typing { user: to.to_string() };
        let body = Some(client_frame::Body::Typing(typing));
        let frame = ClientFrame { rid: 0, optional: true, body }.encode_to_vec();
        if self.wire.conn.max_datagram_size().is_some_and(|max| frame.len() <= max) {
            let _ = self.wire.conn.send_datagram(frame.into());
        }
    }

    fn look_up(
        &mut self,
        user: UserName,
        reply: Option<oneshot::Sender<Result<(), RequestError>>>,
    ) -> Result<(), End> {
        let body = LookUp { user: user.to_string() };
        let rid = self.push(client_frame::Body::LookUp(body))?;
        self.waiting.insert(rid, Waiting::LookUp { user, reply });
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let paused = self.senders.values().filter_map(|sender| match sender.phase {
            Phase::Paused(until) => Some(until),
            Phase::Opening | Phase::Flowing | Phase::Draining(_) => None,
        });
        paused
            .chain(self.own.cursor_due)
            .chain(self.own.reopen_at)
            .chain(self.ask_again)
            .chain(self.offer_again)
            .min()
    }

    async fn timers(&mut self) -> Result<(), End> {
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
        if self.offer_again.is_some_and(|at| at <= now) {
            // The Welcome of a new session says where the home stands.
            return Err(End::Again);
        }
        Ok(())
    }

    // ------------------------------------------------------------------ sending

    /// Opens the logs of all chats for which something is to be sent or followed.
    async fn look(&mut self) -> Result<(), End> {
        let chats = self.core.lock().chats_to_open()?;
        for chat in chats {
            if !self.senders.contains_key(&chat) {
                let open_id = self.next_open_id();
                self.senders.insert(chat.clone(), Sender::new(open_id));
                self.look_up(chat.clone(), None)?;
                self.open_chat(&chat)?;
            } else if self.paused_and_due(&chat) {
                self.open_chat(&chat)?;
            } else {
                self.pump(&chat).await?;
            }
        }
        Ok(())
    }

    fn paused_and_due(&self, chat: &UserName) -> bool {
        let phase = self.senders.get(chat).map(|sender| sender.phase);
        matches!(phase, Some(Phase::Paused(until)) if until <= Instant::now())
    }

    fn open_chat(&mut self, chat: &UserName) -> Result<(), End> {
        let open_id = self.next_open_id();
        let epoch = self.core.lock().send_epoch(chat)?;
        let ask = match self.senders.get_mut(chat) {
            Some(sender) => {
                sender.reopened(open_id);
                sender.needs_look_up()
            }
            None => return Ok(()),
        };
        if ask && !self.is_asked(chat) {
            self.look_up(chat.clone(), None)?;
        }
        let open = Open {
            log: LogName::inbox(chat.clone()).to_string(),
            open_id,
            epoch: epoch.0,
            cursor: 0,
        };
        self.wire.push_unnumbered(client_frame::Body::Open(open)).map_err(|_| End::Lost)
    }

    /// Asks for the bundles of those who are written to and whose look-up came to nothing.
    fn ask_for_recipients(&mut self) -> Result<(), End> {
        let missing: Vec<UserName> = self
            .senders
            .iter()
            .filter(|(chat, sender)| sender.looked_up.is_none() && !self.is_asked(chat))
            .map(|(chat, _)| chat.clone())
            .collect();
        missing.into_iter().try_for_each(|chat| self.look_up(chat, None))
    }

    fn is_asked(&self, chat: &UserName) -> bool {
        self.waiting
            .values()
            .any(|waiting| matches!(waiting, Waiting::LookUp { user, .. } if user == chat))
    }

    /// Sends what may be sent for a chat: first what is sealed and unanswered, then what waits.
    async fn pump(&mut self, chat: &UserName) -> Result<(), End> {
        loop {
            let total: usize = self.senders.values().map(Sender::in_flight).sum();
            let Some(sender) = self.senders.get(chat) else { return Ok(()) };
            let free = limits::UNANSWERED_PER_SESSION_MAX.saturating_sub(total);
            let room = sender.room().min(free);
            self.starved |= sender.room() > free;
            if room == 0 || sender.looked_up.is_none() {
                return Ok(());
            }
            let (next, open_id, epoch) = (sender.next, sender.open_id, sender.epoch);
            let ready = self.core.lock().ready(chat, next, room)?;
            let sealed = match ready {
                Ready::Send(sealed) => sealed,
                Ready::Seal => match self
                    .disk(|core| core.seal_waiting(chat, SEALED_AT_ONCE))
                    .await?
                {
                    Sealing::Again => continue,
                    Sealing::Nothing | Sealing::NeedsBundle | Sealing::KeyChanged => return Ok(()),
                },
                Ready::KeyChanged => return Ok(()),
                Ready::NeedsBundle => {
                    // The log is there, and its owner is not: one of the two will pass.
                    self.pause_unknown(chat);
                    return Ok(());
                }
            };
            if self.senders.get_mut(chat).is_some_and(Sender::needs_look_up) {
                return if self.is_asked(chat) { Ok(()) } else { self.look_up(chat.clone(), None) };
            }
            for outgoing in sealed {
                let append = Append {
                    log: LogName::inbox(chat.clone()).to_string(),
                    open_id,
                    epoch: epoch.0,
                    envelope: outgoing.envelope,
                };
                self.wire
                    .push_unnumbered(client_frame::Body::Append(append))
                    .map_err(|_| End::Lost)?;
                if let Some(sender) = self.senders.get_mut(chat) {
                    sender.sent(outgoing.n, outgoing.upto);
                }
            }
            self.flush().await?;
        }
    }

    fn pause_unknown(&mut self, chat: &UserName) {
        if let Some(sender) = self.senders.get_mut(chat) {
            sender.looked_up = None;
        }
        self.pause(chat, Code::BadBundle, Duration::ZERO, "");
    }

    /// There is room again: those who waited for it, in turn.
    async fn pump_starved(&mut self, after: &UserName) -> Result<(), End> {
        if !std::mem::take(&mut self.starved) {
            return Ok(());
        }
        let chats: Vec<UserName> = self.senders.keys().cloned().collect();
        let (before, behind) = chats.split_at(chats.partition_point(|chat| chat <= after));
        for chat in behind.iter().chain(before) {
            self.pump(chat).await?;
        }
        Ok(())
    }

    async fn chat_opened(&mut self, chat: &UserName, opened: &Opened) -> Result<(), End> {
        let (epoch, last_n) = (LogEpoch(opened.epoch), N(opened.last_n));
        if self.disk(|core| core.log_opened(chat, epoch, last_n)).await? == Answered::Foreign {
            return self.rolled_back().await;
        }
        if let Some(sender) = self.senders.get_mut(chat) {
            sender.opened(epoch);
        }
        self.disk(|core| core.log_delivered(chat, N(opened.delivered_n))).await?;
        // What stands above `last_n` was taken back by a restored home: is it all still here?
        let lowest = self.core.lock().unanswered(chat, N(1), 1)?;
        let expected = N(last_n.0.saturating_add(1));
        if lowest.first().is_none_or(|lowest| lowest.n > expected) {
            self.disk(|core| core.fill_gap(chat, expected)).await?;
        }
        self.pump(chat).await
    }

    async fn chat_refused(&mut self, chat: &UserName, refused: &WireRefused) -> Result<(), End> {
        let code = Code::from_number(refused.code).unwrap_or(Code::Internal);
        let n = N(refused.n);
        let after = After::of(code, n, refused.expected, refused.retry_after_ms);
        let Some(sender) = self.senders.get_mut(chat) else { return Ok(()) };
        if n.0 == 0 {
            // The Open itself: nothing can be in flight.
            return self.after_refusal(chat, after.of_open(code), &refused.detail).await;
        }
        if sender.refused(n, after) {
            self.drained(chat, &refused.detail).await?;
        }
        Ok(())
    }

    async fn drained(&mut self, chat: &UserName, detail: &str) -> Result<(), End> {
        match self.senders.get_mut(chat).and_then(Sender::drained) {
            Some(after) => self.after_refusal(chat, after, detail).await,
            None => Ok(()),
        }
    }

    async fn after_refusal(
        &mut self,
        chat: &UserName,
        after: After,
        detail: &str,
    ) -> Result<(), End> {
        let fruitless = self.senders.get_mut(chat).is_some_and(Sender::is_going_round);
        let after = if fruitless { after.of_open(Code::Busy) } else { after };
        match after {
            After::Gap(expected) => self.disk(|core| core.fill_gap(chat, expected)).await?,
            After::Void(n, code) => self.disk(|core| core.refuse_message(chat, n, code)).await?,
            After::Reopen => return self.open_chat(chat),
            After::RefuseAll(code) => {
                self.disk(|core| core.refuse_log(chat, code)).await?;
                if code == Code::NoSuchUser {
                    self.senders.remove(chat);
                    return Ok(());
                }
            }
            After::Pause { code, at_least } => {
                self.pause(chat, code, at_least, detail);
                return Ok(());
            }
        }
        self.pump(chat).await
    }

    fn pause(&mut self, chat: &UserName, code: Code, at_least: Duration, detail: &str) {
        let spread = self.env.jitter(Duration::from_secs(1)).as_secs_f64();
        let Some(sender) = self.senders.get_mut(chat) else { return };
        if sender.pause(code, at_least, spread) {
            let (chat, detail) = (chat.clone(), detail.to_owned());
            self.emit(Event::ChatWaits { chat, code, detail });
        }
    }

    /// This database is older than what the home holds: no number may be used twice, so from here
    /// on this is another device.
    async fn rolled_back(&mut self) -> Result<(), End> {
        if self.core.lock().next_device()?.is_none() {
            self.disk(|core| core.plan_bundle(NewBundle::NewDevice)).await?;
        }
        self.offer_bundle().await
    }

    async fn offer_bundle(&mut self) -> Result<(), End> {
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

    // ------------------------------------------------------------------ reading

    fn open_own(&mut self) {
        let open_id = self.next_open_id();
        let (log, position) = {
            let core = self.core.lock();
            (core.own_log(), core.position().unwrap_or_default())
        };
        self.own.open_id = open_id;
        self.own.at = None;
        self.own.reopen_at = None;
        self.own.batch.clear();
        let open = Open {
            log: log.to_string(),
            open_id,
            epoch: position.epoch.0,
            cursor: position.cursor.0,
        };
        // Fails only for a frame over the limit, which this is not.
        let _ = self.wire.push_unnumbered(client_frame::Body::Open(open));
    }

    async fn own_opened(&mut self, opened: &Opened) -> Result<(), End> {
        let (epoch, first) = (LogEpoch(opened.epoch), Seq(opened.first_seq));
        let position = self.disk(|core| core.inbox_opened(epoch, first)).await?;
        self.own.batch.clear();
        self.own.at = Some(position);
        self.own.head = Seq(opened.head_seq);
        self.own.cursor_told = position.cursor;
        self.open_entries().await
    }

    fn entry(&mut self, entry: Entry) {
        let (seq, envelope) = (Seq(entry.seq), entry.envelope);
        let Some(at) = self.own.at.filter(|_| entry.open_id == self.own.open_id) else { return };
        let last = self.own.batch.last().map_or(at.cursor, |(last, _)| *last);
        match seq.0.cmp(&last.0.saturating_add(1)) {
            // Behind the last number there is: a home that counts so far makes it up.
            _ if last.0 == u64::MAX => {}
            std::cmp::Ordering::Equal => self.own.batch.push((seq, envelope)),
            // Something is missing: the home tells it again from the cursor.
            std::cmp::Ordering::Greater => self.open_own(),
            std::cmp::Ordering::Less => {}
        }
    }

    async fn store_batch(&mut self) -> Result<(), End> {
        let batch = std::mem::take(&mut self.own.batch);
        let (Some(at), Some((last, _))) = (self.own.at, batch.last()) else { return Ok(()) };
        let moved = Position { epoch: at.epoch, cursor: *last };
        if self.env.has_bug(Bug::ClientAckBeforeCommit) {
            self.own.at = Some(moved);
            self.push_cursor();
            self.flush().await?;
        }
        self.disk(|core| core.store_entries(at.epoch, &batch)).await?;
        self.own.at = Some(moved);
        let due = self.own.cursor_sent.map_or_else(Instant::now, |at| at + limits::CURSOR_INTERVAL);
        if due <= Instant::now() {
            self.push_cursor();
            self.flush().await?;
        } else {
            self.own.cursor_due = Some(due);
        }
        self.open_entries().await
    }

    /// Tells the home what is on this disk.
    fn push_cursor(&mut self) -> Unread {
        self.own.cursor_due = None;
        let Some(at) = self.own.at else { return Unread::Nothing };
        if at.cursor <= self.own.cursor_told {
            return Unread::Nothing;
        }
        self.own.cursor_told = at.cursor;
        self.own.cursor_sent = Some(Instant::now());
        let log = self.core.lock().own_log().to_string();
        let cursor =
            Cursor { log, open_id: self.own.open_id, epoch: at.epoch.0, upto: at.cursor.0 };
        let _ = self.wire.push_unnumbered(client_frame::Body::Cursor(cursor));
        Unread::Something
    }

    async fn open_entries(&mut self) -> Result<(), End> {
        loop {
            let report = self.disk(|core| core.open_entries(OPENED_AT_ONCE)).await?;
            for (author, device) in report.need_bundle {
                let devices = self.asked.entry(author.clone()).or_default();
                if devices.insert(device) {
                    self.look_up(author, None)?;
                }
            }
            if report.over_budget {
                let later = Instant::now() + UNWRAP_PAUSE;
                self.ask_again.get_or_insert(later);
            }
            if !report.progress {
                break;
            }
        }
        let stale: Vec<UserName> = self.core.lock().stale_bundles.iter().cloned().collect();
        for user in stale {
            if !self.is_asked(&user) {
                self.look_up(user, None)?;
            }
        }
        // A message may have told that somebody knows an old bundle of ours.
        self.look().await?;
        self.note_caught_up().await
    }

    async fn note_caught_up(&mut self) -> Result<(), End> {
        let there = self.own.at.is_some_and(|at| at.cursor >= self.own.head);
        let waiting = self.ask_again.is_none() && !self.asked.is_empty();
        if there && !waiting && !self.own.caught_up {
            self.own.caught_up = true;
            self.emit(Event::CaughtUp);
            // Not before: what waited at the home may have been sealed to the key before this one.
            self.disk(Core::destroy_old_keys).await?;
        }
        Ok(())
    }

    // ------------------------------------------------------------------ frames

    async fn frame(&mut self, frame: ServerFrame) -> Result<(), End> {
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
            Some(
                server_frame::Body::Typing(_)
                | server_frame::Body::Online(_)
                | server_frame::Body::GoAway(_),
            ) => {}
            Some(body) => self.answer(frame.rid, body).await?,
            None => {}
        }
        Ok(())
    }

    /// The chat of an answer, if the answer is to its present Open.
    fn current(&self, log: &str, open_id: u32) -> Option<UserName> {
        let chat = LogName::canonical(log).ok()?.owner().clone();
        self.senders.get(&chat).filter(|sender| sender.open_id == open_id)?;
        Some(chat)
    }

    async fn chat_appended(&mut self, chat: &UserName, n: N, hash: &[u8]) -> Result<(), End> {
        if !self.senders.get_mut(chat).is_some_and(|sender| sender.appended(n)) {
            return Ok(());
        }
        match self.disk(|core| core.log_appended(chat, n, hash)).await? {
            Answered::Foreign => self.rolled_back().await,
            Answered::Stored => {
                self.drained(chat, "").await?;
                self.pump_starved(chat).await?;
                self.pump(chat).await
            }
        }
    }

    async fn answer(&mut self, rid: u64, body: server_frame::Body) -> Result<(), End> {
        let Some(waiting) = self.waiting.remove(&rid) else { return Ok(()) };
        let error = match &body {
            server_frame::Body::Error(error) => Some(Refused::of(error)),
            _ => None,
        };
        match (waiting, body) {
            (Waiting::LookUp { user, reply }, body) => {
                return self.looked_up(user, reply, body, error).await;
            }
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
            (waiting, _) => waiting.fail(error.map_or(RequestError::Timeout, Refused::into_error)),
        }
        Ok(())
    }

    async fn bundle_put(&mut self, put: &[u8]) -> Result<(), End> {
        // Another one may have been planned since.
        if self.core.lock().next_bundle()?.as_deref() == Some(put) {
            self.disk(Core::adopt_next_bundle).await?;
        }
        // All keys and perhaps the device are new: begin with a fresh session.
        Err(End::Again)
    }

    fn bundle_refused(&mut self, error: Option<Refused>) {
        let after = error.as_ref().map_or(0, |refused| refused.retry_after_ms);
        let after = Duration::from_millis(after).clamp(OFFER_PAUSE_MIN, OFFER_PAUSE_MAX);
        self.offer_again = Some(Instant::now() + after);
        let code = error.map_or(Code::Internal, |refused| refused.code);
        tracing::warn!(%code, "the home does not take the new bundle");
    }

    async fn looked_up(
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
                if let Some(reply) = reply {
                    let error = error.map_or(RequestError::Timeout, Refused::into_error);
                    let _ = reply.send(Err(error));
                }
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
        if let Some(sender) = self.senders.get_mut(&user) {
            let had = bundle.is_none() || learned.is_some();
            sender.looked_up = had.then(Instant::now);
        }
        if bundle.is_some() && learned.is_none() && self.senders.contains_key(&user) {
            self.pause_unknown(&user);
        }
        self.open_entries().await?;
        self.pump(&user).await
    }
}

impl Waiting {
    fn fail(self, error: RequestError) {
        match self {
            Self::Who(reply) => drop(reply.send(Err(error))),
            Self::LookUp { reply: Some(reply), .. } | Self::Done(reply) | Self::LogOut(reply) => {
                drop(reply.send(Err(error)));
            }
            Self::LookUp { reply: None, .. } | Self::PutBundle(_) => {}
        }
    }
}

impl Refused {
    fn into_error(self) -> RequestError {
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

const SEALED_AT_ONCE: usize = 64;
const OPENED_AT_ONCE: usize = 64;
/// Before the own log, or a bundle that could not be had, is asked for again.
const OWN_LOG_PAUSE: Duration = Duration::from_millis(500);
/// Before an author who used up their unwraps is looked at again.
const UNWRAP_PAUSE: Duration = Duration::from_secs(60);
/// Before a bundle that the home did not take is offered again.
const OFFER_PAUSE_MIN: Duration = Duration::from_secs(60);
const OFFER_PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
