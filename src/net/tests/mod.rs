//! Endpoints and streams over real loopback sockets and over the simulated network.

mod limits;
mod loopback;
mod streams;
mod trace;
mod trust;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::env::TestOptions;
use super::*;
use crate::limits::{FRAME_BYTES_MAX, Limits};
use crate::testkit::{NetConfig, SimNet};
use crate::types::{ClusterId, ServerId};
use crate::wire::client::{ClientFrame, LookUp, client_frame::Body};

const PORT: u16 = 9001;
const DEADLINE: Duration = Duration::from_secs(10);

fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

/// The server's address in a simulated network.
fn server_addr() -> SocketAddr {
    (host(1), PORT).into()
}

fn any() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

fn s1() -> Role {
    Role::Server(ServerId::numbered(1))
}

/// A frame whose user name is as long as asked.
fn look_up(rid: u64, length: usize) -> ClientFrame {
    let user = "a".repeat(length);
    ClientFrame { rid, optional: false, body: Some(Body::LookUp(LookUp { user })) }
}

/// What a test needs to listen.
struct Node {
    env: Env,
    limits: Limits,
    keys: QuicKeys,
    credentials: Credentials,
}

impl Node {
    fn new(env: &Env, authority: &Authority, role: &Role) -> Self {
        Self {
            env: env.clone(),
            limits: Limits::default(),
            keys: QuicKeys::create(env),
            credentials: authority.issue(env, role).unwrap(),
        }
    }

    fn listen(&self, addr: SocketAddr, kind: ListenKind) -> quinn::Endpoint {
        listen(&self.env, addr, kind, &self.credentials, &self.keys, &self.limits).unwrap()
    }
}

/// A simulated network with a server on host 1 and a caller on host 2.
struct Lab {
    net: SimNet,
    authority: Authority,
    killed: CancellationToken,
    server: Node,
    caller: Env,
    endpoint: quinn::Endpoint,
}

impl Lab {
    fn new() -> Self {
        Self::with(1, NetConfig::default())
    }

    fn with(seed: u64, config: NetConfig) -> Self {
        let net = SimNet::new(seed, config);
        let killed = CancellationToken::new();
        let env = net.env(host(1), seed ^ 1, killed.clone(), TestOptions::default());
        let authority = Authority::create(&env).unwrap();
        let server = Node::new(&env, &authority, &s1());
        let alive = CancellationToken::new();
        let caller = net.env(host(2), seed ^ 2, alive, TestOptions::default());
        let endpoint = client_endpoint(&caller, any()).unwrap();
        Self { net, authority, killed, server, caller, endpoint }
    }

    /// Starts the server, echoing frames.
    fn serve(&self, kind: ListenKind) -> quinn::Endpoint {
        let endpoint = self.server.listen(server_addr(), kind);
        let gate = AcceptGate::new(&self.server.limits);
        self.server.env.spawn(echo(self.server.env.clone(), endpoint.clone(), gate));
        endpoint
    }

    /// Kills the server's process and starts another on the same host.
    fn restart(&mut self, keys: &QuicKeys) {
        self.killed.cancel();
        self.killed = CancellationToken::new();
        let test = TestOptions::default();
        self.server.env = self.net.env(host(1), 77, self.killed.clone(), test);
        self.server.keys = keys.clone();
    }

    async fn dial(
        &self,
        name: &str,
        target: Target,
        pin: &ClusterId,
        own: Option<&Credentials>,
    ) -> Result<quinn::Connection, ConnectError> {
        let (endpoint, env) = (&self.endpoint, &self.caller);
        connect(endpoint, env, server_addr(), name, target, pin, own, &self.server.limits).await
    }

    /// Connects as a client should; both ends of the connection.
    async fn meet(&self, server: &quinn::Endpoint) -> (quinn::Connection, quinn::Connection) {
        let pin = self.authority.cluster_id();
        self.meet_as("s1", Target::Client, &pin, None, server).await
    }

    async fn meet_as(
        &self,
        name: &str,
        target: Target,
        pin: &ClusterId,
        own: Option<&Credentials>,
        server: &quinn::Endpoint,
    ) -> (quinn::Connection, quinn::Connection) {
        let answer = async { server.accept().await.unwrap().await.unwrap() };
        let (conn, answered) = tokio::join!(self.dial(name, target, pin, own), answer);
        (conn.unwrap(), answered)
    }

    /// Connects as a client should.
    async fn connect(&self) -> Result<quinn::Connection, ConnectError> {
        self.dial("s1", Target::Client, &self.authority.cluster_id(), None).await
    }
}

/// Answers every frame with the same frame, on every connection.
async fn echo(env: Env, endpoint: quinn::Endpoint, mut gate: AcceptGate) {
    while let Some(incoming) = endpoint.accept().await {
        let Some(handshake) = gate.admit(incoming) else { continue };
        env.spawn(async move {
            let conn = handshake.finish().await?;
            let (send, recv) = conn.accept_bi().await.ok()?;
            let (mut reader, mut writer) = framed(send, recv);
            while let Some(frame) = reader.read().await.ok()? {
                endpoint::raise_after_login(&conn);
                writer.send(&frame).await.ok()?;
            }
            writer.finish();
            writer.wait_delivered().await;
            Some(())
        });
    }
}

fn framed(
    send: quinn::SendStream,
    recv: quinn::RecvStream,
) -> (FrameReader<ClientFrame>, FrameWriter<ClientFrame>) {
    (FrameReader::new(recv, FRAME_BYTES_MAX, DEADLINE), FrameWriter::new(send, FRAME_BYTES_MAX))
}

/// Sends one frame and awaits its echo.
async fn talk(conn: &quinn::Connection) {
    let (send, recv) = conn.open_bi().await.unwrap();
    let (mut reader, mut writer) = framed(send, recv);
    writer.send(&look_up(7, 10)).await.unwrap();
    assert_eq!(reader.read().await.unwrap(), Some(look_up(7, 10)));
}
