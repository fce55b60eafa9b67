//! From nothing to a session: the balancer's answer, a connection, and a sign-up; or, of an
//! account of an earlier run, the proof of its device.
//!
//! The protocol as `docs/PROTOCOL.md` has it, and no more of it than a run needs. Deliberately
//! not the client's own code: that keeps a profile on disk for every person.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use tokio::time::sleep;

use super::super::{BenchError, PATIENCE, unexpected};
use super::people::{Account, Person};
use crate::limits::{self, Limits};
use crate::net::endpoint::{Target, client_endpoint, connect};
use crate::net::{Env, FrameReader, FrameWriter};
use crate::types::{ClusterId, ServerId};
use crate::wire::balancer::{
    Ask, BalancerReply, BalancerRequest, balancer_reply, balancer_request,
};
use crate::wire::client::{
    ClientFrame, Hello, Resume, ServerFrame, SignUp, client_frame, server_frame,
};
use crate::wire::{Code, PROTOCOL_VERSION};

/// Answers after which somebody tries again.
pub(super) const WAITS: [Code; 4] = [Code::SlowDown, Code::Busy, Code::HomeDown, Code::RetryLater];
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
/// UDP sockets for all sessions of a run: each is a receive buffer and a task of its own.
const SOCKETS: usize = 16;

/// Where a run is driven to.
#[derive(Clone, Debug)]
pub enum Place {
    /// A cluster, by its balancer.
    Balancer(SocketAddr),
    /// One server that asks for no ticket: the reference relay.
    Server(SocketAddr),
}

/// Connects sessions to one place.
pub(super) struct Dialer {
    env: Env,
    place: Place,
    cluster: ClusterId,
    limits: Limits,
    endpoints: Vec<quinn::Endpoint>,
}

/// Where somebody may connect.
struct Edge {
    server: ServerId,
    addr: SocketAddr,
    ticket: Bytes,
}

impl Dialer {
    pub(super) fn new(
        env: &Env,
        place: &Place,
        cluster: ClusterId,
        sessions: usize,
    ) -> Result<Self, BenchError> {
        let (Place::Balancer(at) | Place::Server(at)) = place;
        let any: IpAddr =
            if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoints = (0..sessions.clamp(1, SOCKETS))
            .map(|_| client_endpoint(env, SocketAddr::new(any, 0)))
            .collect::<Result<_, _>>()?;
        // The pauses of a client: a busy generator must not look like a dead one, so it may be
        // silent for longer than people's clients.
        let limits = Limits {
            idle_timeout_ms: 60_000,
            keep_alive_ms: 1_500,
            handshake_deadline_ms: 20_000,
            ..Limits::default()
        };
        Ok(Self { env: env.clone(), place: place.clone(), cluster, limits, endpoints })
    }

    /// A person's session, and how long the cluster made it wait for its turn.
    pub(super) async fn enter(
        &self,
        number: usize,
        person: &Person,
    ) -> Result<(Line, Duration), BenchError> {
        let (mut waited, mut patience) = (Duration::ZERO, PATIENCE);
        loop {
            let (code, after) = match self.try_enter(number, person).await {
                Ok(line) => return Ok((line, waited)),
                Err(BenchError::Refused { code, after, .. })
                    if WAITS.contains(&code) && !patience.is_zero() =>
                {
                    (code, after)
                }
                Err(error) => return Err(error),
            };
            let pause = after.max(PAUSE_MIN);
            if matches!(code, Code::SlowDown | Code::Busy) {
                // It says when: a sign-up rate that is meant to hold for us, too.
                waited += pause;
            } else {
                patience = patience.saturating_sub(pause);
            }
            sleep(pause).await;
        }
    }

    async fn try_enter(&self, number: usize, person: &Person) -> Result<Line, BenchError> {
        let edge = match self.place {
            Place::Server(addr) => {
                Edge { server: ServerId::numbered(1), addr, ticket: Bytes::new() }
            }
            Place::Balancer(at) => self.ask(number, at, person).await?,
        };
        let mut line = self.dial(number, &edge).await?;
        let user = person.user.to_string();
        let (device, invisible) = (person.device.0, false);
        let body = match person.account {
            Account::Wanted => client_frame::Body::SignUp(SignUp {
                user,
                auth_key: self.auth_key(),
                ticket: edge.ticket,
                bundle: person.keys.encoded().clone(),
                device,
                invisible,
            }),
            Account::Known => {
                // Greater than in any earlier run.
                let count = self.env.unix_ms();
                let signature = person.sign_resume(&edge.server, count);
                client_frame::Body::Resume(Resume { user, device, count, signature, invisible })
            }
        };
        match line.request(body).await? {
            server_frame::Body::Welcome(_) => Ok(line),
            other => Err(BenchError::Unexpected(format!("{other:?} to a login"))),
        }
    }

    /// What nobody can log in with again: it is written down nowhere.
    fn auth_key(&self) -> String {
        let mut bytes = [0; 32];
        self.env.fill(&mut bytes);
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    async fn ask(
        &self,
        number: usize,
        at: SocketAddr,
        person: &Person,
    ) -> Result<Edge, BenchError> {
        let conn = self.connect(number, at, "balancer", Target::Balancer).await?;
        let (send, recv) = conn.open_bi().await.map_err(unexpected)?;
        let mut writer = FrameWriter::<BalancerRequest>::new(send, limits::FRAME_BYTES_MAX);
        let ask = balancer_request::Body::Ask(Ask { user: person.user.to_string() });
        let request = BalancerRequest { version: PROTOCOL_VERSION, body: Some(ask) };
        writer.send(&request).await.map_err(unexpected)?;
        writer.finish();
        let mut reader =
            FrameReader::<BalancerReply>::new(recv, limits::FRAME_BYTES_MAX, self.frame_deadline());
        let reply = reader.read().await.map_err(unexpected)?.and_then(|reply| reply.body);
        conn.close(0u32.into(), b"thanks");
        let edge = match reply {
            Some(balancer_reply::Body::Edges(edges)) => edges.edges.into_iter().next(),
            Some(balancer_reply::Body::Refusal(no)) => {
                let after = Duration::from_millis(no.retry_after_ms);
                return Err(refused(no.code, after, &no.detail));
            }
            Some(_) | None => None,
        };
        let edge = edge.ok_or_else(|| BenchError::Unexpected("no server is up".to_owned()))?;
        let port = u16::try_from(edge.port).map_err(unexpected)?;
        let ip =
            if edge.host.is_empty() { at.ip() } else { edge.host.parse().map_err(unexpected)? };
        let server = ServerId::parse(&edge.server).map_err(unexpected)?;
        Ok(Edge { server, addr: SocketAddr::new(ip, port), ticket: edge.ticket })
    }

    async fn connect(
        &self,
        number: usize,
        addr: SocketAddr,
        name: &str,
        target: Target,
    ) -> Result<quinn::Connection, BenchError> {
        let endpoint = self.endpoints.get(number % self.endpoints.len().max(1));
        let endpoint = endpoint.ok_or_else(|| BenchError::Unexpected("no socket".to_owned()))?;
        connect(endpoint, &self.env, addr, name, target, &self.cluster, None, &self.limits)
            .await
            .map_err(|source| BenchError::Connect { addr, source: Arc::new(source) })
    }

    async fn dial(&self, number: usize, edge: &Edge) -> Result<Line, BenchError> {
        let name = edge.server.as_str();
        let conn = self.connect(number, edge.addr, name, Target::Client).await?;
        let (send, recv) = conn.open_bi().await.map_err(unexpected)?;
        let reader =
            FrameReader::new(recv, limits::OPERATION_FRAME_BYTES_MAX, self.frame_deadline());
        let writer = FrameWriter::new(send, limits::OPERATION_FRAME_BYTES_MAX);
        let mut line = Line { conn, reader, writer, last_rid: 0 };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            agent: concat!("fastchat-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        match line.request(client_frame::Body::Hello(hello)).await? {
            server_frame::Body::HelloOk(_) => Ok(line),
            other => Err(BenchError::Unexpected(format!("{other:?} to a hello"))),
        }
    }

    fn frame_deadline(&self) -> Duration {
        Duration::from_millis(self.limits.frame_deadline_ms)
    }

    /// Says goodbye to everybody.
    pub(super) fn close(&self) {
        for endpoint in &self.endpoints {
            endpoint.close(0u32.into(), b"bye");
        }
    }
}

fn refused(code: u32, after: Duration, detail: &str) -> BenchError {
    let code = Code::from_number(code).unwrap_or(Code::Internal);
    BenchError::Refused { code, after, detail: detail.to_owned() }
}

/// One connection with its session stream.
pub(super) struct Line {
    pub(super) conn: quinn::Connection,
    pub(super) reader: FrameReader<ServerFrame>,
    pub(super) writer: FrameWriter<ClientFrame>,
    last_rid: u64,
}

impl Line {
    /// Queues a frame that is answered by its log, or not at all.
    pub(super) fn push(&mut self, body: client_frame::Body) -> Result<(), BenchError> {
        let frame = ClientFrame { rid: 0, optional: false, body: Some(body) };
        self.writer.push(&frame).map_err(unexpected)
    }

    /// Asks, and waits for the answer. What comes meanwhile is nobody's.
    pub(super) async fn request(
        &mut self,
        body: client_frame::Body,
    ) -> Result<server_frame::Body, BenchError> {
        self.last_rid += 1;
        let frame = ClientFrame { rid: self.last_rid, optional: false, body: Some(body) };
        self.writer.send(&frame).await.map_err(unexpected)?;
        while let Some(frame) = self.reader.read().await.map_err(unexpected)? {
            match frame.body {
                Some(server_frame::Body::Error(no)) => {
                    let after = Duration::from_millis(no.retry_after_ms);
                    return Err(refused(no.code, after, &no.detail));
                }
                Some(body) if frame.rid == self.last_rid => return Ok(body),
                Some(_) | None => {}
            }
        }
        Err(BenchError::Unexpected("a server closed the session".to_owned()))
    }
}
