//! What a client talks to: accepts, authenticates, limits, routes, and forgets.
//!
//! Keeps nothing durable: killing an edge loses nothing. Deliberately knows no SQL, no disk and
//! no connections between servers; lines to homes are [`router::Port`]s that others carry away.

mod answer;
mod blobs;
pub mod chunks;
mod datagram;
pub mod door;
mod groups;
pub mod limits;
pub mod local;
mod losses;
mod outbox;
pub mod passwords;
mod proof;
mod request;
pub mod router;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod who;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admission::{AdmissionKey, TicketError, TicketGate};
use crate::home::Target;
use crate::limits::{Limits, LimitsInForce};
use crate::net::endpoint::close;
use crate::net::{AcceptGate, Env};
use crate::ops::meters::AuthFailure;
use crate::placement::PlacementMap;
use crate::types::{ServerId, SessionId};
use crate::wire::Code;
use crate::wire::client::{ServerFrame, server_frame};
use crate::wire::code::Fate;

use self::limits::{AddressKey, Connections, PerAddress, Rate};
use self::losses::Losses;
use self::router::{Generation, Router, ToHome};
use self::session::{Outcome, Session, catch_panic};
use self::state::{Conduct, State};

/// What an edge needs to know.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Its own name, which a `Resume` has to be signed for.
    pub id: ServerId,
    /// Which server owns which name.
    pub map: Arc<PlacementMap>,
    /// Its limits.
    pub limits: Arc<Limits>,
    /// What tickets are checked with.
    pub admission_key: AdmissionKey,
}

/// One server as its clients see it.
pub struct Edge {
    env: Env,
    id: ServerId,
    limits: LimitsInForce,
    router: Router,
    gate: Mutex<TicketGate>,
    rates: Mutex<Rates>,
    connections: Mutex<Connections>,
    sessions: Mutex<BTreeMap<SessionId, Arc<Session>>>,
    /// Begins at random, so that an answer for an earlier life of this server finds nobody.
    next_sid: AtomicU64,
    panics: AtomicU64,
    datagrams_dropped: AtomicU64,
    /// Whether clients are sent on and new ones are refused.
    is_draining: AtomicBool,
    /// Handshakes begun since the start: numbers the connections in the logs.
    connected: AtomicU64,
}

/// How often is looked whether the last client has left.
const EMPTY_POLL: Duration = Duration::from_millis(20);

/// What is counted per address, minute by minute.
struct Rates {
    look_ups: PerAddress,
    sign_ups: PerAddress,
    logins: PerAddress,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Edge {
    /// An edge without clients, all its lines to homes down.
    pub fn new(env: &Env, config: EdgeConfig) -> Arc<Self> {
        let EdgeConfig { id, map, limits, admission_key } = config;
        let rate = |count| PerAddress::new(Rate::per_minute(count));
        let rates = Rates {
            look_ups: rate(limits.look_ups_per_ip_per_min),
            sign_ups: rate(limits.sign_ups_per_ip_per_min),
            logins: rate(limits.logins_per_ip_per_min),
        };
        Arc::new(Self {
            env: env.clone(),
            router: Router::new(map),
            gate: Mutex::new(TicketGate::new(admission_key, id.clone())),
            rates: Mutex::new(rates),
            connections: Mutex::default(),
            sessions: Mutex::default(),
            next_sid: AtomicU64::new(env.random_u64() >> 1),
            panics: AtomicU64::new(0),
            datagrams_dropped: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            connected: AtomicU64::new(1),
            id,
            limits: LimitsInForce::new(Limits::clone(&limits)),
        })
    }

    /// The name of this server.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// The lines to all homes.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Puts other limits into force, for what happens from now on.
    pub fn set_limits(&self, limits: &Limits) {
        if !self.limits.replace(limits.clone()) {
            return tracing::warn!("the limits changed too often: they stay until a restart");
        }
        let mut rates = lock(&self.rates);
        rates.look_ups.set_rate(Rate::per_minute(limits.look_ups_per_ip_per_min));
        rates.sign_ups.set_rate(Rate::per_minute(limits.sign_ups_per_ip_per_min));
        rates.logins.set_rate(Rate::per_minute(limits.logins_per_ip_per_min));
    }

    /// Client connections now open.
    pub fn connections(&self) -> u64 {
        u64::from(lock(&self.connections).total())
    }

    /// Session streams now open.
    pub fn streams_open(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// Whether one more client would get in.
    pub fn has_room(&self) -> bool {
        lock(&self.connections).total() < self.limits.connections_max
    }

    /// Sends every client on and refuses new ones, until [`Self::undrain`]. Whoever finds no other
    /// server stays.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        for session in sessions {
            session.change(State::go_away);
        }
    }

    /// Takes clients again.
    pub fn undrain(&self) {
        self.is_draining.store(false, Ordering::SeqCst);
    }

    /// Whether clients are sent on.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Returns once no client is connected.
    pub async fn wait_empty(&self) {
        while self.connections() > 0 {
            sleep(EMPTY_POLL).await;
        }
    }

    /// Sessions ended by a bug of ours since the start. Fails every test run that sees one.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Datagrams of clients that went no further: too early, too fast, too much, or garbage.
    pub fn datagrams_dropped(&self) -> u64 {
        self.datagrams_dropped.load(Ordering::Relaxed)
    }

    /// Serves clients on this endpoint until `stop`, or until the endpoint is closed.
    pub async fn serve(self: Arc<Self>, endpoint: quinn::Endpoint, stop: CancellationToken) {
        let mut gate = AcceptGate::new(&self.limits);
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            if self.is_draining() {
                // At once, so that the client tries the next server.
                incoming.refuse();
                continue;
            }
            gate.set_limits(&self.limits);
            let Some(handshake) = gate.admit(incoming) else { continue };
            let edge = Arc::clone(&self);
            // In each log line about this connection. The level is the one that is never off.
            let number = self.connected.fetch_add(1, Ordering::Relaxed);
            let span = tracing::error_span!("client", conn = number);
            let serve = async move {
                if let Some(conn) = handshake.finish().await {
                    edge.connection(&conn).await;
                }
            };
            self.env.spawn(serve.instrument(span));
        }
    }

    /// Passes one answer or push of a home on to the connections it is for. Never waits: who is
    /// too slow is closed log by log.
    pub fn deliver(&self, home: &ServerId, to: &[Target], frame: &ServerFrame) {
        let now = Instant::now();
        for target in to {
            let session = lock(&self.sessions).get(&target.sid).cloned();
            if let Some(session) = session {
                let frame = frame.clone();
                // Whoever was logging in when the draining began.
                let late = self.is_draining()
                    && matches!(frame.body, Some(server_frame::Body::Welcome(_)));
                session.change(|state| {
                    state.deliver(home, target.open_id, frame, &self.limits, now);
                    if late {
                        state.go_away();
                    }
                });
            } else if matches!(frame.body, Some(server_frame::Body::Welcome(_))) {
                // The client left while its password was checked: the home must not keep the
                // session. Should the line be full, the session falls at the next login.
                let _ = self.router.send(home, ToHome::Detach(target.sid));
            }
        }
    }

    /// Tells every session that the line to a home ended with this life of it.
    pub fn home_lost(&self, home: &ServerId, up_to: Generation) {
        let now = Instant::now();
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        for session in sessions {
            session.change(|state| state.home_lost(home, up_to, now));
        }
    }

    /// The rate of requests of one session.
    fn request_rate(&self) -> Rate {
        let limits = &self.limits;
        Rate::new(limits.requests_per_s, Duration::from_secs(1), limits.requests_burst)
    }

    fn count_look_up(&self, address: AddressKey, now: Instant) -> Result<(), Duration> {
        let counted = lock(&self.rates).look_ups.check(address, now);
        counted.inspect_err(|_| self.env.meters().rate_limited())
    }

    fn count_sign_up(&self, address: AddressKey, now: Instant) -> Result<(), Duration> {
        let counted = lock(&self.rates).sign_ups.check(address, now);
        counted.inspect_err(|_| self.env.meters().rate_limited())
    }

    fn count_login(&self, address: AddressKey, now: Instant) -> Result<(), Duration> {
        let counted = lock(&self.rates).logins.check(address, now);
        counted.inspect_err(|_| self.env.meters().rate_limited())
    }

    fn admit(&self, ticket: &[u8]) -> Result<(), TicketError> {
        let admitted = lock(&self.gate).check(ticket, self.env.unix_ms());
        admitted.inspect_err(|_| self.env.meters().auth_failed(AuthFailure::Ticket))
    }

    async fn connection(&self, conn: &quinn::Connection) {
        let ip = conn.remote_address().ip();
        let address = AddressKey::of(ip);
        let entered = lock(&self.connections).enter(address, &self.limits);
        if entered.is_err() {
            tracing::info!("refused: the server takes no more connections");
            return close(conn, Code::ServerFull, "the server takes no more connections");
        }
        tracing::debug!(%ip, "a client connected");
        let losses = Losses::new(conn, self.env.meters());
        tokio::select! {
            biased;
            () = self.streams(conn, address) => {}
            () = losses.watch() => {}
        }
        lock(&self.connections).leave(address);
        match conn.close_reason() {
            Some(reason) => tracing::info!(%reason, "a client left"),
            None => tracing::info!("a client left"),
        }
    }

    /// One session stream after the other: a connection outlives a stream closed for a fault.
    async fn streams(&self, conn: &quinn::Connection, address: AddressKey) {
        let mut conduct = Conduct::default();
        let mut deadline = state::login_deadline(&self.limits, Instant::now());
        loop {
            let (send, recv) = match timeout_at(deadline, conn.accept_bi()).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) => return,
                Err(_) => return close(conn, Code::LoginTimeout, "nobody logged in"),
            };
            let session = self.register(address, conduct, deadline);
            let outcome = catch_panic(session.run(self, conn, send, recv)).await;
            self.retire(&session).await;
            match outcome {
                Ok(Outcome::Gone) => return,
                Ok(Outcome::Ended(end)) => match (end.fate, end.code) {
                    (Fate::Kept | Fate::StreamClosed, _) => {
                        conduct = session.conduct();
                        // Nobody stays for ever by beginning again and again.
                        deadline = session
                            .login_due()
                            .unwrap_or_else(|| state::login_deadline(&self.limits, Instant::now()));
                    }
                    (Fate::Closed, Some(code)) => return close(conn, code, code.name()),
                    (Fate::Closed, None) => return conn.close(0u32.into(), b"bye"),
                },
                Err(_) => {
                    self.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(sid = session.sid().0, "a session panicked");
                    return close(conn, Code::Internal, "a bug of the server");
                }
            }
        }
    }

    fn register(&self, address: AddressKey, conduct: Conduct, deadline: Instant) -> Arc<Session> {
        let sid = SessionId(self.next_sid.fetch_add(1, Ordering::Relaxed));
        let state = State::new(sid, address, conduct, deadline, Instant::now());
        let session = Arc::new(Session::new(sid, state));
        lock(&self.sessions).insert(sid, Arc::clone(&session));
        session
    }

    /// Forgets a session, here and at the homes that remember it.
    async fn retire(&self, session: &Session) {
        lock(&self.sessions).remove(&session.sid());
        for home in session.touched() {
            if let Some(port) = self.router.port(&home) {
                port.send_patiently(ToHome::Detach(session.sid())).await;
            }
        }
    }
}
