//! One connection to the balancer's port: a request per stream, an answer to each.
//!
//! Everybody may ask for a server; the state of the cluster, draining and the stop are for whoever
//! holds the operator's certificate. Deliberately trusts nothing that arrives.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::BalancerConfig;
use super::fleet::{Member, NoSuchServer, Wish};
use crate::admission::AdmissionKey;
use crate::edge::limits::{AddressKey, Connections, PerAddress, Rate};
use crate::limits::{EDGES_PER_ANSWER_MAX, FRAME_BYTES_MAX, Limits};
use crate::net::endpoint::close;
use crate::net::pki::OPERATOR_NAME;
use crate::net::stream::ReadError;
use crate::net::{Env, FrameReader, FrameWriter, presented};
use crate::placement::ServerEntry;
use crate::types::{ServerId, UserName};
use crate::wire::balancer::balancer_reply::Body as Reply;
use crate::wire::balancer::balancer_request::Body as Request;
use crate::wire::balancer::{
    Ask, BalancerReply, BalancerRequest, Drain, Drained, Edge, Edges, Refusal, ServerStatus,
    StatusReply, Stopping,
};
use crate::wire::{Code, PROTOCOL_VERSION};

/// Bytes of one request: a name and its addressing.
const REQUEST_BYTES_MAX: usize = 1024;
/// A caller who was told that no server is ready comes back after this.
const NO_SERVER_PAUSE: Duration = Duration::from_millis(500);
/// As long as servers are full or told to drain, which takes longer than a start.
const CLOSED_PAUSE: Duration = Duration::from_secs(2);
/// Malformed requests are counted over this time.
const MALFORMED_WINDOW: Duration = Duration::from_secs(600);
/// A connection on which nothing is asked is given up after this: an answer takes one request.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take to arrive before the connection is given up.
const DELIVERY_MAX: Duration = Duration::from_secs(2);

/// What every connection shares.
pub(super) struct Desk {
    env: Env,
    config: BalancerConfig,
    limits: Arc<Limits>,
    started: Instant,
    asks: Mutex<PerAddress>,
    connections: Mutex<Connections>,
}

/// What becomes of the connection after an answer.
enum Then {
    Go,
    Close(Code),
    Stop,
}

impl Desk {
    pub(super) fn new(
        env: Env,
        config: BalancerConfig,
        limits: Arc<Limits>,
        started: Instant,
    ) -> Self {
        let asks = PerAddress::new(Rate::per_minute(limits.asks_per_ip_per_min));
        let asks = Mutex::new(asks);
        Self { env, config, limits, started, asks, connections: Mutex::default() }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Serves one connection until it is closed.
    pub(super) async fn serve(&self, connection: quinn::Connection) {
        let address = AddressKey::of(connection.remote_address().ip());
        if self.counters(|connections| connections.enter(address, &self.limits)).is_err() {
            close(&connection, Code::ServerFull, "too many connections");
            return;
        }
        self.answer_all(&connection, address).await;
        self.counters(|connections| connections.leave(address));
    }

    fn counters<T>(&self, work: impl FnOnce(&mut Connections) -> T) -> T {
        work(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer_all(&self, connection: &quinn::Connection, address: AddressKey) {
        let mut malformed = VecDeque::new();
        loop {
            let Ok(stream) = timeout(SILENT_MAX, connection.accept_bi()).await else {
                close(connection, Code::Timeout, "nothing asked");
                return;
            };
            let Ok((send, recv)) = stream else { return };
            let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
            let deadline = Duration::from_millis(self.limits.frame_deadline_ms);
            let mut reader = FrameReader::new(recv, REQUEST_BYTES_MAX, deadline);
            // A stream on which nothing arrives is a partial frame, too.
            let request = timeout(deadline, reader.read()).await.unwrap_or(Err(ReadError::Timeout));
            let (reply, then) = match request {
                Ok(Some(request)) => self.answer(request, connection, address),
                Ok(None) => refuse(Code::Malformed, "no request", None),
                Err(error) => match error.code() {
                    Some(code) => refuse(code, &error.to_string(), None),
                    None => return,
                },
            };
            let then = self.count_malformed(&reply, then, &mut malformed);
            if writer.send(&BalancerReply { body: Some(reply) }).await.is_err() {
                return;
            }
            writer.finish();
            match then {
                Then::Go => {}
                Then::Close(code) => {
                    let _ = timeout(DELIVERY_MAX, writer.wait_delivered()).await;
                    close(connection, code, code.name());
                    return;
                }
                Then::Stop => {
                    let _ = timeout(DELIVERY_MAX, writer.wait_delivered()).await;
                    self.config.stop_asked.cancel();
                }
            }
        }
    }

    /// The third malformed request in ten minutes closes the connection.
    fn count_malformed(&self, reply: &Reply, then: Then, seen: &mut VecDeque<Instant>) -> Then {
        let malformed = Code::Malformed as u32;
        if !matches!(reply, Reply::Refusal(refusal) if refusal.code == malformed) {
            return then;
        }
        let now = Instant::now();
        while seen.front().is_some_and(|at| now.duration_since(*at) > MALFORMED_WINDOW) {
            seen.pop_front();
        }
        seen.push_back(now);
        let closes = seen.len() >= self.limits.failures_per_connection_max as usize;
        if closes { Then::Close(Code::Malformed) } else { then }
    }

    fn answer(
        &self,
        request: BalancerRequest,
        connection: &quinn::Connection,
        address: AddressKey,
    ) -> (Reply, Then) {
        if request.version != PROTOCOL_VERSION {
            let detail = format!("version {PROTOCOL_VERSION} only");
            return (refusal(Code::Version, &detail, None), Then::Close(Code::Version));
        }
        match request.body {
            None => refuse(Code::Unsupported, "unknown request", None),
            Some(Request::Ask(ask)) => (self.edges(&ask, address), Then::Go),
            Some(Request::Status(_)) if is_operator(connection) => {
                (Reply::Status(self.status()), Then::Go)
            }
            Some(Request::Stop(_)) if is_operator(connection) => {
                (Reply::Stopping(Stopping {}), Then::Stop)
            }
            Some(Request::Drain(drain)) if is_operator(connection) => {
                (self.drain(&drain), Then::Go)
            }
            Some(Request::Status(_) | Request::Stop(_) | Request::Drain(_)) => {
                refuse(Code::Forbidden, "needs the operator's certificate", None)
            }
        }
    }

    /// Up to three servers, each with a ticket for it.
    fn edges(&self, ask: &Ask, address: AddressKey) -> Reply {
        let user = match ask.user.as_str() {
            "" => None,
            name => match UserName::canonical(name) {
                Ok(user) => Some(user),
                Err(_) => return refusal(Code::Malformed, "not a user name", None),
            },
        };
        let now = Instant::now();
        let asks = &mut self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(wait) = asks.check(address, now) {
            self.env.meters().rate_limited();
            return refusal(Code::SlowDown, "too many requests", Some(wait));
        }
        let BalancerConfig { map, fleet, strategy, admission_key, .. } = &self.config;
        let home = user.and_then(|user| map.home_of_user(&user)).map(|server| &server.id);
        let ranked = fleet.offer(&self.env, *strategy, home);
        let edges = tickets(&self.env, &ranked, admission_key);
        if let Some(first) = edges.first().and_then(|edge| ServerId::parse(&edge.server).ok()) {
            self.env.meters().offered(&first);
        }
        if edges.is_empty() {
            return match fleet.is_closed_on_purpose() {
                true => refusal(Code::Busy, "no server takes new clients", Some(CLOSED_PAUSE)),
                false => refusal(Code::Busy, "no server is ready", Some(NO_SERVER_PAUSE)),
            };
        }
        Reply::Edges(Edges { edges, map_version: self.config.map.version })
    }

    fn drain(&self, drain: &Drain) -> Reply {
        let wish = if drain.on { Wish::Drain } else { Wish::Serve };
        let known = ServerId::parse(&drain.server)
            .map_err(|_| NoSuchServer)
            .and_then(|id| self.config.fleet.wish(&id, wish));
        match known {
            Ok(()) => {
                tracing::info!(server = %drain.server, ?wish, "the operator said");
                Reply::Drained(Drained {})
            }
            Err(NoSuchServer) => refusal(Code::Malformed, "no such server", None),
        }
    }

    fn status(&self) -> StatusReply {
        let members = self.config.fleet.members();
        StatusReply {
            servers: members.iter().map(server_status).collect(),
            map_version: self.config.map.version,
            strategy: self.config.strategy.name().into(),
            up_ms: millis(self.started.elapsed()),
        }
    }
}

fn is_operator(connection: &quinn::Connection) -> bool {
    presented(connection).is_some_and(|shown| shown.name == OPERATOR_NAME)
}

/// The first of these servers, with a ticket for each.
fn tickets(env: &Env, ranked: &[ServerEntry], key: &AdmissionKey) -> Vec<Edge> {
    let edge = |server: &ServerEntry| Edge {
        server: server.id.to_string(),
        port: server.addr.port().into(),
        host: host(server.addr.ip()),
        ticket: key.issue(env, &server.id),
    };
    ranked.iter().take(EDGES_PER_ANSWER_MAX).map(edge).collect()
}

/// Empty for "any address of this machine": the client takes the host it reached the balancer at.
fn host(ip: IpAddr) -> String {
    if ip.is_unspecified() { String::new() } else { ip.to_string() }
}

fn refuse(code: Code, detail: &str, retry_after: Option<Duration>) -> (Reply, Then) {
    use crate::wire::code::Fate;
    let then = match code.fate() {
        // The stream is closed by the answer in any case.
        Fate::Kept | Fate::StreamClosed => Then::Go,
        Fate::Closed => Then::Close(code),
    };
    (refusal(code, detail, retry_after), then)
}

fn refusal(code: Code, detail: &str, retry_after: Option<Duration>) -> Reply {
    let retry_after_ms = millis(retry_after.unwrap_or_default());
    Reply::Refusal(Refusal { code: code as u32, detail: detail.into(), retry_after_ms })
}

fn server_status(member: &Member) -> ServerStatus {
    ServerStatus {
        server: member.entry.id.to_string(),
        state: member.state.name().into(),
        up_ms: member.up_since.map_or(0, |since| millis(since.elapsed())),
        sessions: member.load.sessions,
        connections: member.load.connections,
        queue: member.load.queue,
        database_bytes: member.load.database_bytes,
        pid: member.process.pid().unwrap_or(0),
        port: member.entry.addr.port().into(),
        restarts: member.restarts,
        messages_per_s: member.load.messages_per_s,
        p99_us: member.load.p99_us,
        bytes_per_s: member.load.busy.bytes_per_s,
        cpu_permille: u32::try_from(member.load.busy.cpu_permille).unwrap_or(u32::MAX),
        offered_first: member.offered_first,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
