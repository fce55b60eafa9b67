//! Reaching a server: the balancer's answer, the connection, and who we say we are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::crypto::device::{DeviceKey, ResumeClaim};
use crate::limits::{self, Limits};
use crate::net::endpoint::{ConnectError, Target, client_endpoint, close_code, connect};
use crate::net::stream::{FrameReader, FrameWriter, ReadError, WriteError};
use crate::net::{Env, endpoint};
use crate::types::{ClusterId, DeviceId, ServerId, UserName};
use crate::wire::client::{
    ClientFrame, Error as WireError, Hello, Resume, ServerFrame, Welcome, client_frame,
    server_frame,
};
use crate::wire::{Code, PROTOCOL_VERSION, balancer};

use super::account::Where;

/// Why nobody could be reached, or would not have us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// No answer, or a broken connection.
    #[error("no answer")]
    Unreachable,
    /// Another cluster than the pinned one.
    #[error("another cluster answers: {got}")]
    WrongCluster { got: ClusterId },
    /// A typed answer.
    #[error("refused: {0:?}")]
    Refused(Refused),
}

/// A typed refusal of a request.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) detail: String,
    pub(crate) retry_after_ms: u64,
    pub(crate) since_unix_ms: u64,
    pub(crate) last_seen_unix_ms: u64,
    /// `QUOTA` of a blob: the most that is taken, and what there is.
    pub(crate) limit_bytes: u64,
    pub(crate) used_bytes: u64,
}

impl Refused {
    fn of_code(code: Code) -> Self {
        Self {
            code,
            detail: String::new(),
            retry_after_ms: 0,
            since_unix_ms: 0,
            last_seen_unix_ms: 0,
            limit_bytes: 0,
            used_bytes: 0,
        }
    }

    pub(crate) fn of(error: &WireError) -> Self {
        Self {
            // A number we do not know is a bug or a newer server: either way not our request.
            code: Code::from_number(error.code).unwrap_or(Code::Internal),
            detail: error.detail.clone(),
            retry_after_ms: error.retry_after_ms,
            since_unix_ms: error.since_unix_ms,
            last_seen_unix_ms: error.last_seen_unix_ms,
            limit_bytes: error.limit_bytes,
            used_bytes: error.used_bytes,
        }
    }
}

impl From<ReadError> for DialError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Lost(quinn::ReadError::ConnectionLost(lost)) => close_code(lost)
                .map_or(Self::Unreachable, |code| Self::Refused(Refused::of_code(code))),
            ReadError::Lost(_) | ReadError::Timeout | ReadError::Frame(_) => Self::Unreachable,
        }
    }
}

impl From<WriteError> for DialError {
    fn from(_: WriteError) -> Self {
        Self::Unreachable
    }
}

/// An edge that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdgeAddr {
    pub(crate) server: ServerId,
    pub(crate) addr: SocketAddr,
    /// For one sign-up or password login; empty for a remembered edge.
    pub(crate) ticket: Bytes,
}

/// Connects to one cluster.
pub(crate) struct Dialer {
    env: Env,
    cluster: ClusterId,
    balancer: Where,
    limits: Limits,
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

impl Dialer {
    pub(crate) fn new(env: &Env, cluster: ClusterId, balancer: &Where) -> Self {
        Self {
            env: env.clone(),
            cluster,
            balancer: balancer.clone(),
            limits: client_limits(),
            v4: None,
            v6: None,
        }
    }

    fn endpoint(&mut self, to: SocketAddr) -> Result<quinn::Endpoint, DialError> {
        let (slot, any): (_, IpAddr) = if to.is_ipv4() {
            (&mut self.v4, Ipv4Addr::UNSPECIFIED.into())
        } else {
            (&mut self.v6, Ipv6Addr::UNSPECIFIED.into())
        };
        if slot.is_none() {
            let made = client_endpoint(&self.env, SocketAddr::new(any, 0));
            *slot = Some(made.map_err(|error| {
                tracing::warn!(%error, "cannot open a UDP socket");
                DialError::Unreachable
            })?);
        }
        slot.clone().ok_or(DialError::Unreachable)
    }

    /// Asks the balancer for edges, and for a ticket to each.
    pub(crate) async fn ask(
        &mut self,
        user: &UserName,
        patience: Duration,
    ) -> Result<Vec<EdgeAddr>, DialError> {
        let at = resolve(&self.balancer).await.ok_or(DialError::Unreachable)?;
        timeout(patience, self.ask_at(at, user)).await.map_err(|_| DialError::Unreachable)?
    }

    async fn ask_at(
        &mut self,
        at: SocketAddr,
        user: &UserName,
    ) -> Result<Vec<EdgeAddr>, DialError> {
        use balancer::{Ask, BalancerReply, BalancerRequest, balancer_reply, balancer_request};
        let conn = self.connect(at, "balancer", Target::Balancer).await?;
        let (send, recv) = conn.open_bi().await.map_err(|_| DialError::Unreachable)?;
        let mut writer = FrameWriter::<BalancerRequest>::new(send, limits::FRAME_BYTES_MAX);
        let ask = balancer_request::Body::Ask(Ask { user: user.to_string() });
        writer.send(&BalancerRequest { version: PROTOCOL_VERSION, body: Some(ask) }).await?;
        writer.finish();
        let mut reader = FrameReader::<BalancerReply>::new(
            recv,
            limits::FRAME_BYTES_MAX,
            Duration::from_millis(self.limits.frame_deadline_ms),
        );
        let reply = reader.read().await?.and_then(|reply| reply.body);
        conn.close(0u32.into(), b"thanks");
        match reply {
            Some(balancer_reply::Body::Edges(edges)) => {
                Ok(edges.edges.into_iter().filter_map(|edge| edge_addr(edge, at)).collect())
            }
            Some(balancer_reply::Body::Refusal(no)) => Err(DialError::Refused(Refused {
                retry_after_ms: no.retry_after_ms,
                detail: no.detail,
                ..Refused::of_code(Code::from_number(no.code).unwrap_or(Code::Internal))
            })),
            Some(
                balancer_reply::Body::Status(_)
                | balancer_reply::Body::Stopping(_)
                | balancer_reply::Body::Drained(_),
            )
            | None => Err(DialError::Unreachable),
        }
    }

    async fn connect(
        &mut self,
        addr: SocketAddr,
        name: &str,
        target: Target,
    ) -> Result<quinn::Connection, DialError> {
        let endpoint = self.endpoint(addr)?;
        connect(&endpoint, &self.env, addr, name, target, &self.cluster, None, &self.limits)
            .await
            .map_err(|error| match error {
                ConnectError::WrongCluster { got } => DialError::WrongCluster { got },
                error => {
                    tracing::debug!(%error, %addr, "no connection");
                    DialError::Unreachable
                }
            })
    }

    /// Connects to an edge and agrees on the version.
    pub(crate) async fn dial(
        &mut self,
        edge: &EdgeAddr,
        patience: Duration,
    ) -> Result<Wire, DialError> {
        timeout(patience, self.dial_patiently(edge)).await.map_err(|_| DialError::Unreachable)?
    }

    async fn dial_patiently(&mut self, edge: &EdgeAddr) -> Result<Wire, DialError> {
        let conn = self.connect(edge.addr, edge.server.as_str(), Target::Client).await?;
        let (send, recv) = conn.open_bi().await.map_err(|_| DialError::Unreachable)?;
        let partial = Duration::from_millis(self.limits.frame_deadline_ms);
        let mut wire = Wire {
            conn,
            server: edge.server.clone(),
            reader: FrameReader::new(recv, limits::OPERATION_FRAME_BYTES_MAX, partial),
            writer: FrameWriter::new(send, limits::OPERATION_FRAME_BYTES_MAX),
            last_rid: 0,
        };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            agent: concat!("fastchat/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        match wire.request(client_frame::Body::Hello(hello)).await? {
            server_frame::Body::HelloOk(_) => Ok(wire),
            _ => Err(DialError::Unreachable),
        }
    }

    /// Where the balancer is.
    pub(crate) fn balancer(&self) -> &Where {
        &self.balancer
    }

    /// The cluster this dialer is pinned to.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Tells the other sides that we are gone. quinn would wait for three round trips and more to
    /// be sure; one packet that gets lost only leaves the server to find out by itself.
    pub(crate) async fn close(&self) {
        for endpoint in [&self.v4, &self.v6].into_iter().flatten() {
            endpoint.close(0u32.into(), b"bye");
            let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
        }
    }
}

/// A connection on which versions are agreed.
pub(crate) struct Wire {
    pub(crate) conn: quinn::Connection,
    pub(crate) server: ServerId,
    pub(crate) reader: FrameReader<ServerFrame>,
    pub(crate) writer: FrameWriter<ClientFrame>,
    last_rid: u64,
}

impl Wire {
    /// Queues a request; the answer carries the returned number.
    pub(crate) fn push(&mut self, body: client_frame::Body) -> Result<u64, WriteError> {
        self.last_rid += 1;
        let frame = ClientFrame { rid: self.last_rid, optional: false, body: Some(body) };
        self.writer.push(&frame)?;
        Ok(self.last_rid)
    }

    /// Queues a frame that is answered by its log, or not at all.
    pub(crate) fn push_unnumbered(&mut self, body: client_frame::Body) -> Result<(), WriteError> {
        Ok(self.writer.push(&ClientFrame { rid: 0, optional: false, body: Some(body) })?)
    }

    /// One request and its answer, before the session proper begins.
    pub(crate) async fn request(
        &mut self,
        body: client_frame::Body,
    ) -> Result<server_frame::Body, DialError> {
        let rid = self.push(body)?;
        self.writer.flush().await?;
        while let Some(frame) = self.reader.read().await? {
            match frame.body {
                Some(server_frame::Body::Error(error)) if frame.rid == rid || frame.rid == 0 => {
                    return Err(DialError::Refused(Refused::of(&error)));
                }
                Some(body) if frame.rid == rid => return Ok(body),
                Some(_) | None => {}
            }
        }
        Err(DialError::Unreachable)
    }

    /// Proves the device and becomes its session.
    pub(crate) async fn resume(
        &mut self,
        cluster: &ClusterId,
        user: &UserName,
        device: DeviceId,
        key: &DeviceKey,
        count: u64,
        seen: Seen,
    ) -> Result<Welcome, DialError> {
        let claim = ResumeClaim { cluster, server: &self.server, user, device, count };
        let resume = Resume {
            user: user.to_string(),
            device: device.0,
            count,
            signature: Bytes::copy_from_slice(&key.sign_resume(&claim)),
            invisible: seen == Seen::ByNobody,
        };
        self.welcome(client_frame::Body::Resume(resume)).await
    }

    /// Sends a sign-up, login or resume.
    pub(crate) async fn welcome(&mut self, body: client_frame::Body) -> Result<Welcome, DialError> {
        match self.request(body).await? {
            server_frame::Body::Welcome(welcome) => Ok(welcome),
            _ => Err(DialError::Unreachable),
        }
    }

    /// Says goodbye. With something unread, first waits until the other side has it.
    pub(crate) async fn close(mut self, unread: Unread) {
        if unread == Unread::Something {
            self.writer.finish();
            let _ = timeout(DELIVERY_PATIENCE, self.writer.wait_delivered()).await;
        }
        self.conn.close(0u32.into(), b"bye");
    }
}

/// Who sees that this account is signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    ByAll,
    ByNobody,
}

/// Whether the other side may not have read all that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Everything was answered.
    Nothing,
    /// The last frame has no answer.
    Something,
}

fn edge_addr(edge: balancer::Edge, balancer: SocketAddr) -> Option<EdgeAddr> {
    let port = u16::try_from(edge.port).ok()?;
    let ip = if edge.host.is_empty() { balancer.ip() } else { edge.host.parse().ok()? };
    let server = ServerId::parse(&edge.server).ok()?;
    Some(EdgeAddr { server, addr: SocketAddr::new(ip, port), ticket: edge.ticket })
}

/// Finds the address of the balancer; a literal address needs no resolver.
pub(crate) async fn resolve(at: &Where) -> Option<SocketAddr> {
    if let Ok(ip) = at.host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, at.port));
    }
    let found = tokio::net::lookup_host((at.host.as_str(), at.port)).await.ok()?;
    let mut found: Vec<SocketAddr> = found.collect();
    // IPv4 first: a server bound to 127.0.0.1 is "localhost" in both families.
    found.sort_by_key(|addr| addr.is_ipv6());
    found.into_iter().next()
}

/// Learns which cluster answers at the balancer's address.
pub(crate) async fn discover(env: &Env, at: &Where) -> Result<ClusterId, DialError> {
    let addr = resolve(at).await.ok_or(DialError::Unreachable)?;
    let any: IpAddr =
        if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let endpoint =
        client_endpoint(env, SocketAddr::new(any, 0)).map_err(|_| DialError::Unreachable)?;
    endpoint::discover_cluster(env, &endpoint, addr).await.map_err(|_| DialError::Unreachable)
}

/// What a client asks of its transport. A server that died and came back answers the next packet
/// with a reset, so the keep-alive decides how soon an idle reader leaves it; the short idle
/// timeout is for one that does not come back.
fn client_limits() -> Limits {
    Limits { idle_timeout_ms: 10_000, keep_alive_ms: 1_500, ..Limits::default() }
}

const DELIVERY_PATIENCE: Duration = Duration::from_millis(500);
/// Long enough for the closing packets to leave this process.
const GOODBYE: Duration = Duration::from_millis(5);
