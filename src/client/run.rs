//! Keeps a session going: chooses an edge, proves the device, runs the session, and begins again
//! when it is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::net::Env;
use crate::types::ServerId;
use crate::wire::Code;
use crate::wire::client::Welcome;

use super::Mode;
use super::api::{Event, Offline, RequestError};
use super::connection::{DialError, Dialer, EdgeAddr, Seen, Unread, Wire};
use super::core::{NewBundle, SharedCore};
use super::handover::{Handover, Moving};
use super::session::{End, Request, Session};
use super::store::StoreError;

/// Whether there is a connection: for `status`, and for what needs streams of its own on it.
pub(crate) struct Link {
    state: Mutex<(Option<ServerId>, Option<u64>)>,
    conn: watch::Sender<Option<quinn::Connection>>,
    /// The client no longer runs.
    over: CancellationToken,
}

impl Link {
    pub(crate) fn new(now_unix_ms: u64) -> Self {
        let state = Mutex::new((None, Some(now_unix_ms)));
        Self { state, conn: watch::Sender::new(None), over: CancellationToken::new() }
    }

    /// The edge, or since when there is none.
    pub(crate) fn state(&self) -> (Option<ServerId>, Option<u64>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection of the running session, from its beginning to its end.
    pub(crate) fn conn(&self) -> watch::Receiver<Option<quinn::Connection>> {
        self.conn.subscribe()
    }

    /// Cancelled once the client no longer runs.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }

    fn set(&self, connected: Option<(ServerId, quinn::Connection)>, now_unix_ms: u64) {
        let (server, conn) = connected.unzip();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.1.filter(|_| server.is_none()).unwrap_or(now_unix_ms);
        let offline = server.is_none().then_some(since);
        *state = (server, offline);
        self.conn.send_replace(conn);
    }
}

/// Which count `Resume` was proven with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// The one after the last.
    InTurn,
    /// One far beyond, after the home had refused that.
    Skipped,
}

/// Why connecting came to nothing.
enum Failure {
    /// Try again after a pause.
    Offline(Offline),
    /// There is no use in trying.
    SignedOut(Code),
    Local(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Local(error)
    }
}

struct Runner {
    env: Env,
    core: SharedCore,
    mode: Mode,
    link: Arc<Link>,
    dialer: Dialer,
    /// The balancer's last answer, in the order to try.
    edges: Vec<EdgeAddr>,
    /// Failed rounds in a row.
    round: u32,
    /// Why there is no connection, as the front end was told.
    told: Option<Offline>,
    /// On the way from an edge that sent us on.
    moving: Option<Moving>,
}

/// Runs until the front end stops it or lets go of it.
pub(crate) async fn run(
    env: Env,
    core: SharedCore,
    mode: Mode,
    link: Arc<Link>,
    mut requests: mpsc::Receiver<Request>,
) {
    let dialer = {
        let core = core.lock();
        Dialer::new(&env, core.cluster(), &core.profile.owner.balancer)
    };
    let edges = Vec::new();
    let mut runner =
        Runner { env, core, mode, link, dialer, edges, round: 0, told: None, moving: None };
    runner.edges = runner.remembered();
    let stopped = runner.keep_going(&mut requests).await;
    drop(requests);
    runner.link.set(None, runner.env.unix_ms());
    runner.link.over.cancel();
    runner.dialer.close().await;
    match stopped {
        Stopped::Asked(reply) => drop(reply.map(|reply| reply.send(()))),
        // Nothing comes after this one: it waits for room in the queue.
        Stopped::For(event) => {
            let events = runner.core.lock().events();
            let _ = events.send(event).await;
        }
    }
}

/// Why the client no longer runs.
enum Stopped {
    /// The front end asked, or is gone.
    Asked(Option<oneshot::Sender<()>>),
    /// The front end has to know.
    For(Event),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::For(Event::LocalData { error: error.to_string() })
    }
}

impl Runner {
    fn emit(&self, event: Event) {
        self.core.lock().emit(event);
    }

    async fn keep_going(&mut self, requests: &mut mpsc::Receiver<Request>) -> Stopped {
        loop {
            let mut backlog = Vec::new();
            let connected = {
                let connect = self.connect();
                tokio::pin!(connect);
                loop {
                    tokio::select! {
                        biased;
                        request = requests.recv() => match request {
                            Some(Request::Stop { reply }) => return Stopped::Asked(Some(reply)),
                            // Of the present moment: nobody is told of it later.
                            Some(Request::Typing { .. }) => {}
                            // What is asked while connecting is done once connected.
                            Some(request) => backlog.push(request),
                            None => return Stopped::Asked(None),
                        },
                        done = &mut connect => break done,
                    }
                }
            };
            let reason = match connected {
                Ok(wire) => match self.session(wire, requests, backlog).await {
                    End::Lost => Offline::Unreachable,
                    // Its old connection, if it left one, is in `moving`.
                    End::Again | End::Left(_) => continue,
                    End::Replaced => return Stopped::For(Event::SessionReplaced),
                    End::Stopped(reply) => return Stopped::Asked(reply),
                    End::Local(error) => return error.into(),
                },
                Err(failure) => {
                    for request in backlog {
                        request.fail(RequestError::Offline);
                    }
                    match failure {
                        Failure::Offline(reason) => reason,
                        Failure::Local(error) => return error.into(),
                        Failure::SignedOut(code) => {
                            if let Err(error) = self.core.lock().profile.set_signed_out(true) {
                                return error.into();
                            }
                            return Stopped::For(Event::SignedOut { code });
                        }
                    }
                }
            };
            self.link.set(None, self.env.unix_ms());
            // Once for each reason: "no answer" often turns out to be "your home is away".
            if self.round == 1 || self.told.as_ref() != Some(&reason) {
                self.told = Some(reason.clone());
                self.emit(Event::Offline { reason });
            }
            if let Some(stopped) = self.wait(requests).await {
                return stopped;
            }
        }
    }

    async fn session(
        &mut self,
        wire: Wire,
        requests: &mut mpsc::Receiver<Request>,
        backlog: Vec<Request>,
    ) -> End {
        let server = wire.server.clone();
        self.link.set(Some((server.clone(), wire.conn.clone())), self.env.unix_ms());
        self.told = None;
        self.emit(Event::Online { server: server.clone() });
        let handover = Handover::default();
        let (env, core) = (self.env.clone(), self.core.clone());
        let session = Session::new(&env, &core, self.mode, wire, requests, handover.clone());
        let end = self.carry(session.run(backlog), &server, &handover).await;
        // Whatever comes next, this connection carries nothing new.
        self.link.conn.send_replace(None);
        // Next time another edge first.
        if let Some(index) = self.edges.iter().position(|edge| edge.server == server) {
            let edge = self.edges.remove(index);
            self.edges.push(edge);
        }
        self.round = 1;
        end
    }

    /// Runs a session to its end, and finds its successor when the edge sends us on.
    async fn carry(
        &mut self,
        session: impl Future<Output = End>,
        server: &ServerId,
        handover: &Handover,
    ) -> End {
        tokio::pin!(session);
        let new = tokio::select! {
            biased;
            end = &mut session => return end,
            new = self.other_edge(server, handover) => new,
        };
        handover.ready.cancel();
        match session.await {
            End::Left(old) => {
                self.moving = Some(Moving { old: *old, new });
                End::Again
            }
            end => end,
        }
    }

    /// Once asked to leave `server`: a connection to another one, however long it takes.
    async fn other_edge(&mut self, server: &ServerId, handover: &Handover) -> Wire {
        handover.asked.cancelled().await;
        // Not all clients of that server at the same moment.
        sleep(self.env.jitter(GO_AWAY_SPREAD)).await;
        let mut pause = limits::RECONNECT_PAUSE_MIN;
        loop {
            // Without the balancer the edges known so far will do.
            let _ = self.ask(PATIENCE_MIN).await;
            for edge in self.edges.clone().into_iter().filter(|edge| edge.server != *server) {
                if let Ok(wire) = self.dialer.dial(&edge, PATIENCE_MIN).await {
                    return wire;
                }
            }
            sleep(self.env.jitter(pause)).await;
            pause = (pause * 2).min(limits::RECONNECT_PAUSE_MAX);
        }
    }

    /// Pauses before the next round; requests of the front end get their answer meanwhile.
    async fn wait(&mut self, requests: &mut mpsc::Receiver<Request>) -> Option<Stopped> {
        let doubled =
            limits::RECONNECT_PAUSE_MIN * 2u32.saturating_pow(self.round.saturating_sub(1).min(10));
        let until = Instant::now() + self.env.jitter(doubled.min(limits::RECONNECT_PAUSE_MAX));
        loop {
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    Some(Request::Stop { reply }) => return Some(Stopped::Asked(Some(reply))),
                    Some(Request::Hurry) => return None,
                    Some(request) => request.fail(RequestError::Offline),
                    None => return Some(Stopped::Asked(None)),
                },
                () = sleep_until(until) => return None,
            }
        }
    }

    /// One round: at first the balancer, else the known edges, then the other of the two.
    async fn connect(&mut self) -> Result<Wire, Failure> {
        if let Some(Moving { old, new }) = self.moving.take()
            && let Some(wire) = self.resume(new).await?
        {
            old.close(Unread::Nothing).await;
            return Ok(wire);
        }
        let patience = PATIENCE_MIN * 2u32.saturating_pow(self.round.min(3));
        let first_start = self.round == 0;
        self.round += 1;
        let mut failure = Failure::Offline(Offline::Unreachable);
        for ask in [first_start, !first_start] {
            if ask {
                match self.ask(patience).await {
                    Ok(()) => {}
                    Err(Failure::Offline(reason)) => {
                        failure = Failure::Offline(reason);
                        if !first_start {
                            break;
                        }
                    }
                    Err(other) => return Err(other),
                }
            }
            match self.try_edges(patience).await {
                Ok(wire) => return Ok(wire),
                Err(Failure::Offline(Offline::Unreachable)) => {}
                // A typed answer: another edge would say the same.
                Err(other) => return Err(other),
            }
            if first_start && ask && self.edges.is_empty() {
                break;
            }
        }
        Err(failure)
    }

    async fn ask(&mut self, patience: Duration) -> Result<(), Failure> {
        let user = self.core.lock().user().clone();
        match self.dialer.ask(&user, patience).await {
            Ok(edges) if edges.is_empty() => Err(Failure::Offline(Offline::NoServer)),
            Ok(edges) => {
                self.remember(&edges)?;
                self.edges = edges;
                Ok(())
            }
            Err(DialError::Unreachable) => Err(Failure::Offline(Offline::Unreachable)),
            Err(DialError::WrongCluster { .. }) => Err(Failure::Offline(Offline::WrongCluster)),
            Err(DialError::Refused(_)) => Err(Failure::Offline(Offline::NoServer)),
        }
    }

    async fn try_edges(&mut self, patience: Duration) -> Result<Wire, Failure> {
        for edge in self.edges.clone() {
            match self.dialer.dial(&edge, patience).await {
                Ok(wire) => {
                    if let Some(wire) = self.resume(wire).await? {
                        return Ok(wire);
                    }
                }
                Err(error) => tracing::debug!(%error, server = %edge.server, "no connection"),
            }
        }
        Err(Failure::Offline(Offline::Unreachable))
    }

    /// Proves the device. `None`: the connection broke; another edge may do.
    async fn resume(&mut self, mut wire: Wire) -> Result<Option<Wire>, Failure> {
        let mut counts = Counts::InTurn;
        loop {
            self.env.disk_pause().await;
            let (cluster, user, device, key, count) = {
                let mut core = self.core.lock();
                let count = self.env.in_place(|| core.next_resume_count())?;
                let profile = &core.profile;
                let key = profile.device_key.clone();
                let invisible = core.account_settings()?.invisible;
                let seen = if invisible { Seen::ByNobody } else { Seen::ByAll };
                (core.cluster(), core.user().clone(), profile.device, key, (count, seen))
            };
            let (count, seen) = count;
            let proof = wire.resume(&cluster, &user, device, &key, count, seen);
            let answer = timeout(RESUME_PATIENCE, proof).await;
            match answer.unwrap_or(Err(DialError::Unreachable)) {
                Ok(welcome) => {
                    self.welcome(&welcome, counts)?;
                    return Ok(Some(wire));
                }
                Err(DialError::Unreachable | DialError::WrongCluster { .. }) => return Ok(None),
                Err(DialError::Refused(refused)) => match refused.code {
                    Code::ResumeRefused => {
                        let mut core = self.core.lock();
                        if core.next_device()?.is_some() {
                            // The home may have taken it, and only the answer was lost.
                            core.adopt_next_bundle()?;
                        } else if counts == Counts::InTurn {
                            core.skip_resume_counts()?;
                            counts = Counts::Skipped;
                        } else {
                            return Err(Failure::SignedOut(refused.code));
                        }
                    }
                    Code::NoSuchUser => return Err(Failure::SignedOut(refused.code)),
                    Code::HomeDown => {
                        return Err(Failure::Offline(Offline::HomeDown(refused.detail)));
                    }
                    code => return Err(Failure::Offline(Offline::Told(code))),
                },
            }
        }
    }

    /// Takes in what the home knows of us. If it had seen the counts that come next here, this is
    /// an old copy of the profile: no number of this device may be used again.
    fn welcome(&mut self, welcome: &Welcome, counts: Counts) -> Result<(), StoreError> {
        let mut core = self.core.lock();
        core.welcomed(&welcome.bundle)?;
        let is_old = counts == Counts::Skipped || core.profile.is_restored()?;
        if is_old && core.next_device()?.is_none() {
            core.plan_bundle(NewBundle::NewDevice)?;
        }
        // The plan is on the disk: it is carried out whatever happens now.
        core.profile.forget_restored()
    }

    fn remember(&self, edges: &[EdgeAddr]) -> Result<(), StoreError> {
        let known: Vec<KnownEdge> = edges
            .iter()
            .map(|edge| KnownEdge { server: edge.server.to_string(), addr: edge.addr })
            .collect();
        let text = serde_json::to_string(&known).unwrap_or_default();
        self.core.lock().remember_edges(&text)
    }

    fn remembered(&self) -> Vec<EdgeAddr> {
        let text = self.core.lock().remembered_edges().ok().flatten().unwrap_or_default();
        let known: Vec<KnownEdge> = serde_json::from_str(&text).unwrap_or_default();
        known
            .into_iter()
            .filter_map(|edge| {
                let server = ServerId::parse(&edge.server).ok()?;
                Some(EdgeAddr { server, addr: edge.addr, ticket: Bytes::new() })
            })
            .collect()
    }
}

/// An edge as the profile remembers it.
#[derive(Serialize, Deserialize)]
struct KnownEdge {
    server: String,
    addr: std::net::SocketAddr,
}

/// For one connection or one question in the first round; doubles with each failed round.
const PATIENCE_MIN: Duration = Duration::from_millis(700);
/// Over how long the clients of one server spread that leave it at its wish.
const GO_AWAY_SPREAD: Duration = Duration::from_millis(500);
/// For the answer to `Resume`; an edge gives a connection 10 s to log in.
const RESUME_PATIENCE: Duration = Duration::from_secs(15);
