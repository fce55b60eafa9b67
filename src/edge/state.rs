//! One connection's states: who it is, what it waits for, which logs it has open.
//!
//! Plain and synchronous: frames and events go in, frames come out through the [`Outbox`].
//! Deliberately does no waiting and no writing (`session`); what a client may ask is in `request`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{self, Limits};
use crate::ops::Names;
use crate::types::{DeviceId, ServerId, SessionEpoch, SessionId, UserName};
use crate::wire::Code;
use crate::wire::client::{GoAway, ServerFrame, server_frame::Body};
use crate::wire::code::Fate;

use super::answer;
use super::datagram::Datagrams;
use super::limits::{AddressKey, Meter, Rate};
use super::outbox::Outbox;
use super::router::Generation;
use super::who::WhoMerge;

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before `Hello`.
    Greeting,
    /// Nobody is logged in.
    Stranger,
    /// A sign-up, login or resume is with the home.
    Proving {
        /// Who wants to be logged in.
        user: UserName,
        /// With which device.
        device: DeviceId,
        /// The login deadline stands still from here to the answer.
        since: Instant,
    },
    /// Somebody is.
    LoggedIn(Identity),
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: UserName,
    pub(super) device: DeviceId,
    pub(super) session_epoch: SessionEpoch,
    /// Where the session lives; when that line breaks, so does the session.
    pub(super) home: ServerId,
    pub(super) generation: Generation,
}

/// A request that waits for its answer by `rid`.
#[derive(Debug)]
pub(super) enum Pending {
    /// Its answer is passed on as it comes.
    Plain(Via),
    /// The same, but request or answer may be large: few may wait at once.
    Large(Via),
    /// A sign-up, login or resume.
    Proof(Via),
    /// `Done` ends the connection: a logout, or the end of the account.
    Logout(Via),
    /// Asked of every home.
    Who(WhoMerge),
}

/// The line a request went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Via {
    pub(super) home: ServerId,
    pub(super) generation: Generation,
}

impl Via {
    fn is(&self, home: &ServerId, up_to: Generation) -> bool {
        self.home == *home && self.generation <= up_to
    }
}

/// A log the client has open, or asked to.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub(super) open_id: u32,
    pub(super) via: Via,
    /// Appends of this Open without an answer.
    pub(super) unanswered: usize,
}

/// How a session stream ends, once what waits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The reason; `None` after a logout.
    pub(super) code: Option<Code>,
    /// Whether the connection ends with the stream.
    pub(super) fate: Fate,
}

/// What counts against a connection; outlives its session streams.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    malformed: VecDeque<Instant>,
    failures: u32,
}

/// Everything an edge knows of one session stream.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sid: SessionId,
    pub(super) address: AddressKey,
    pub(super) phase: Phase,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) opens: BTreeMap<String, OpenLog>,
    pub(super) unanswered: usize,
    /// Homes that remember this session and have to be told when it ends.
    pub(super) touched: BTreeSet<ServerId>,
    pub(super) outbox: Outbox,
    pub(super) end: Option<End>,
    pub(super) conduct: Conduct,
    pub(super) login_deadline: Instant,
    pub(super) requests: Meter,
    pub(super) cursors: Meter,
    chunks: Meter,
    pub(super) datagrams: Datagrams,
    /// The reader has to look again: the phase, the end or the room in the outbox changed.
    wake_reader: bool,
}

impl State {
    pub(super) fn new(
        sid: SessionId,
        address: AddressKey,
        conduct: Conduct,
        login_deadline: Instant,
        now: Instant,
    ) -> Self {
        Self {
            sid,
            address,
            phase: Phase::Greeting,
            pending: BTreeMap::new(),
            opens: BTreeMap::new(),
            unanswered: 0,
            touched: BTreeSet::new(),
            outbox: Outbox::default(),
            end: None,
            conduct,
            login_deadline,
            requests: Meter::new(now),
            cursors: Meter::new(now),
            chunks: Meter::new(now),
            datagrams: Datagrams::new(now),
            wake_reader: false,
        }
    }

    /// Whether the reader has to look again; asked once per change.
    pub(super) fn take_reader_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake_reader)
    }

    /// Takes the next frame to write.
    pub(super) fn pop(&mut self) -> Option<ServerFrame> {
        let was_slow = self.outbox.is_slow();
        let frame = self.outbox.pop();
        self.wake_reader |= was_slow && !self.outbox.is_slow();
        frame
    }

    /// When a login must be there; `None` while one is tried and after it.
    pub(super) fn login_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Greeting | Phase::Stranger => Some(self.login_deadline),
            Phase::Proving { .. } | Phase::LoggedIn(_) => None,
        }
    }

    /// Who is logged in.
    pub(super) fn user(&self) -> Option<UserName> {
        match &self.phase {
            Phase::Greeting | Phase::Stranger | Phase::Proving { .. } => None,
            Phase::LoggedIn(me) => Some(me.user.clone()),
        }
    }

    /// Ends the session with an `Error` of rid 0 that says why.
    pub(super) fn close(&mut self, code: Code, fate: Fate, detail: impl Into<String>) {
        if self.end.is_none() {
            self.outbox.answer(answer::error(0, code, detail));
            self.finish(Some(code), fate);
        }
    }

    /// Ends the session once what waits is written.
    pub(super) fn finish(&mut self, code: Option<Code>, fate: Fate) {
        if self.end.is_none() {
            self.end = Some(End { code, fate });
            self.wake_reader = true;
        }
    }

    /// The client says that it sends nothing more: it gets what waits, then the connection ends.
    pub(super) fn hang_up(&mut self) {
        self.finish(None, Fate::Closed);
    }

    /// Tells the client to connect elsewhere and then leave; before a login nobody is told.
    pub(super) fn go_away(&mut self) {
        if self.end.is_none() && matches!(self.phase, Phase::LoggedIn(_)) {
            self.outbox.answer(answer::frame(0, Body::GoAway(GoAway {})));
        }
    }

    /// Answers something malformed: the stream ends, and with the last allowed time the connection.
    pub(super) fn malformed(&mut self, rid: u64, detail: &str, limits: &Limits, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.outbox.answer(answer::error(rid, Code::Malformed, detail));
        let fate = self.count_malformed(limits, now);
        self.finish(Some(Code::Malformed), fate.unwrap_or(Code::Malformed.fate()));
    }

    /// Counts something malformed; says so when it was once too often.
    pub(super) fn count_malformed(&mut self, limits: &Limits, now: Instant) -> Option<Fate> {
        let seen = &mut self.conduct.malformed;
        while seen.front().is_some_and(|at| *at + limits::MALFORMED_WINDOW <= now) {
            seen.pop_front();
        }
        seen.push_back(now);
        (seen.len() >= limits.failures_per_connection_max as usize).then_some(Fate::Closed)
    }

    /// Counts a chunk that is asked for; says when to come back if it comes too soon.
    pub(super) fn count_chunk(&mut self, now: Instant) -> Result<(), Duration> {
        let most = limits::CHUNKS_PER_S;
        self.chunks.check(Rate::new(most, Duration::from_secs(1), most), now)
    }

    /// Counts what was wrong with the stream of a chunk, which has been answered.
    pub(super) fn chunk_fault(&mut self, code: Code, limits: &Limits, now: Instant) {
        let fate = match code {
            Code::Malformed => self.count_malformed(limits, now),
            code => Some(code.fate()),
        };
        if fate == Some(Fate::Closed) {
            self.close(code, Fate::Closed, "on the stream of a chunk");
        }
    }

    /// Takes one answer or push of a home. What nobody here waits for any more is dropped.
    pub(super) fn deliver(
        &mut self,
        home: &ServerId,
        open_id: u32,
        mut frame: ServerFrame,
        limits: &Limits,
        now: Instant,
    ) {
        let rid = frame.rid;
        match &mut frame.body {
            Some(Body::Error(error)) if rid == 0 => {
                let code = Code::from_number(error.code).unwrap_or(Code::Internal);
                self.dismiss(home, code, frame);
            }
            Some(Body::WhoList(_)) => self.merge_who(home, frame),
            Some(
                Body::Error(_)
                | Body::Account(_)
                | Body::Welcome(_)
                | Body::Done(_)
                | Body::Changed(_)
                | Body::Roster(_)
                | Body::JoinOffer(_)
                | Body::BlobOffer(_)
                | Body::BlobInfo(_),
            ) => {
                self.answer(home, frame, limits, now);
            }
            Some(Body::Opened(opened)) => {
                if self.has_open(home, &opened.log, opened.open_id) {
                    self.outbox.answer(frame);
                }
            }
            Some(Body::Appended(appended)) => {
                if self.append_answered(home, &appended.log, appended.open_id) {
                    self.outbox.answer(frame);
                }
            }
            Some(Body::Refused(refused)) => {
                let known = if refused.n == 0 {
                    self.forget_open(home, &refused.log, refused.open_id)
                } else {
                    self.append_answered(home, &refused.log, refused.open_id)
                };
                if known {
                    self.outbox.answer(frame);
                }
            }
            Some(Body::Entry(entry)) => {
                entry.open_id = open_id;
                let log = entry.log.clone();
                self.push(home, &log, open_id, frame);
            }
            Some(Body::Delivered(delivered)) => {
                delivered.open_id = open_id;
                let log = delivered.log.clone();
                self.push(home, &log, open_id, frame);
            }
            Some(Body::Closed(closed)) => {
                closed.open_id = open_id;
                if self.forget_open(home, &closed.log, open_id) {
                    self.outbox.answer(frame);
                }
            }
            // These are the edge's own; no home sends one.
            Some(Body::HelloOk(_) | Body::GoAway(_)) | None => {}
            Some(Body::Online(online)) => {
                online.open_id = open_id;
                let log = online.log.clone();
                // Not worth a log that is closed for want of room: the next Open says it again.
                if self.has_open(home, &log, open_id) && !self.outbox.is_slow() {
                    let _ = self.outbox.push(frame);
                }
            }
            Some(Body::Typing(_)) => self.hear_typing(home, frame),
        }
    }

    /// The line to a home ended with this life of it: nothing asked there will be answered.
    pub(super) fn home_lost(&mut self, home: &ServerId, up_to: Generation, now: Instant) {
        let lost: Vec<u64> = self
            .pending
            .iter()
            .filter_map(|(rid, pending)| match pending {
                Pending::Plain(via)
                | Pending::Large(via)
                | Pending::Proof(via)
                | Pending::Logout(via) => via.is(home, up_to).then_some(*rid),
                Pending::Who(merge) => {
                    merge.waiting.get(home).is_some_and(|g| *g <= up_to).then_some(*rid)
                }
            })
            .collect();
        for rid in lost {
            match self.pending.get_mut(&rid) {
                Some(Pending::Who(merge)) => {
                    merge.waiting.remove(home);
                    merge.list.missing.push(home.to_string());
                    self.finish_who(rid);
                }
                Some(Pending::Plain(_) | Pending::Large(_) | Pending::Logout(_)) => {
                    self.pending.remove(&rid);
                    self.outbox.answer(answer::home_down(rid, home));
                }
                Some(Pending::Proof(_)) => {
                    self.pending.remove(&rid);
                    self.proof_failed(now);
                    self.outbox.answer(answer::home_down(rid, home));
                }
                None => {}
            }
        }
        self.close_opens(home, up_to);
        if let Phase::LoggedIn(me) = &self.phase
            && me.home == *home
            && me.generation <= up_to
        {
            // The home forgot this session. A new connection resumes, now or when it is back.
            self.close(Code::HomeDown, Fate::Closed, home.as_str());
        }
    }

    fn close_opens(&mut self, home: &ServerId, up_to: Generation) {
        let (opens, outbox, unanswered) = (&mut self.opens, &mut self.outbox, &mut self.unanswered);
        opens.retain(|log, open| {
            let lost = open.via.is(home, up_to);
            if lost {
                *unanswered -= open.unanswered;
                outbox.drop_pushes(log);
                outbox.answer(answer::closed(log, open.open_id, Code::HomeDown, home.as_str()));
            }
            !lost
        });
    }

    /// The home says that the connection is over, or passes on something worth knowing.
    fn dismiss(&mut self, home: &ServerId, code: Code, frame: ServerFrame) {
        let Phase::LoggedIn(me) = &self.phase else { return };
        if me.home != *home || self.end.is_some() {
            return;
        }
        self.outbox.answer(frame);
        if code.fate() == Fate::Closed {
            self.finish(Some(code), Fate::Closed);
        }
    }

    fn answer(&mut self, home: &ServerId, frame: ServerFrame, limits: &Limits, now: Instant) {
        let rid = frame.rid;
        let via = match self.pending.get(&rid) {
            Some(
                Pending::Plain(via)
                | Pending::Large(via)
                | Pending::Proof(via)
                | Pending::Logout(via),
            ) => via.clone(),
            // One home could not say; the answer names it as missing.
            Some(Pending::Who(_)) => return self.who_refused(home, rid),
            None => return,
        };
        if via.home != *home {
            return;
        }
        let Some(pending) = self.pending.remove(&rid) else { return };
        let verdict = match &frame.body {
            Some(Body::Error(error)) => {
                Err(Code::from_number(error.code).unwrap_or(Code::Internal))
            }
            Some(Body::Welcome(welcome)) => Ok(Some(SessionEpoch(welcome.session_epoch))),
            Some(_) | None => Ok(None),
        };
        self.outbox.answer(frame);
        match (pending, verdict) {
            (Pending::Proof(via), Ok(Some(epoch))) => self.logged_in(via, epoch),
            (Pending::Proof(_), Ok(None)) => self.proof_failed(now),
            (Pending::Proof(_), Err(code)) => {
                self.proof_failed(now);
                self.count_failure(code, limits);
            }
            (Pending::Logout(_), Ok(_)) => self.finish(None, Fate::Closed),
            (Pending::Plain(_) | Pending::Large(_) | Pending::Logout(_) | Pending::Who(_), _) => {}
        }
    }

    fn logged_in(&mut self, via: Via, session_epoch: SessionEpoch) {
        if let Phase::Proving { user, device, .. } = &self.phase {
            self.phase = Phase::LoggedIn(Identity {
                user: user.clone(),
                device: *device,
                session_epoch,
                home: via.home,
                generation: via.generation,
            });
            self.wake_reader = true;
        }
    }

    /// Says in the log who is here now.
    pub(super) fn log_login(&self, names: &Names) {
        if let Phase::LoggedIn(me) = &self.phase {
            let device = format_args!("{:016x}", me.device.0);
            tracing::info!(user = %names.of(&me.user), device, "logged in");
        }
    }

    fn proof_failed(&mut self, now: Instant) {
        if let Phase::Proving { since, .. } = self.phase {
            self.login_deadline += now.saturating_duration_since(since);
            self.phase = Phase::Stranger;
            self.wake_reader = true;
        }
    }

    fn count_failure(&mut self, code: Code, limits: &Limits) {
        if matches!(code, Code::WrongPassword | Code::NoSuchUser | Code::NameTaken) {
            self.conduct.failures += 1;
            if self.conduct.failures >= limits.failures_per_connection_max {
                self.finish(Some(code), Fate::Closed);
            }
        }
    }

    fn has_open(&self, home: &ServerId, log: &str, open_id: u32) -> bool {
        self.opens.get(log).is_some_and(|open| open.open_id == open_id && open.via.home == *home)
    }

    fn forget_open(&mut self, home: &ServerId, log: &str, open_id: u32) -> bool {
        let known = self.has_open(home, log, open_id);
        if known && let Some(open) = self.opens.remove(log) {
            self.unanswered -= open.unanswered;
        }
        known
    }

    fn append_answered(&mut self, home: &ServerId, log: &str, open_id: u32) -> bool {
        if !self.has_open(home, log, open_id) {
            return false;
        }
        if let Some(open) = self.opens.get_mut(log)
            && open.unanswered > 0
        {
            open.unanswered -= 1;
            self.unanswered -= 1;
        }
        true
    }

    fn push(&mut self, home: &ServerId, log: &str, open_id: u32, frame: ServerFrame) {
        if self.has_open(home, log, open_id) && self.outbox.push(frame).is_err() {
            self.outbox.drop_pushes(log);
            self.forget_open(home, log, open_id);
            let why = "the connection is too slow";
            self.outbox.answer(answer::closed(log, open_id, Code::Busy, why));
        }
    }
}

/// The login deadline of a connection that may begin now.
pub(super) fn login_deadline(limits: &Limits, now: Instant) -> Instant {
    now + Duration::from_millis(limits.login_deadline_ms)
}
