//! QUIC endpoints: listening, connecting, and the transport's limits (SECURITY, "Limits").
//!
//! Deliberately knows nothing of sessions or peers; who may do what on a connection is decided by
//! those who own it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{
    AckFrequencyConfig, ConnectionError, EndpointConfig, IdleTimeout, TransportConfig,
    TransportErrorCode, VarInt,
};
use tokio::time::timeout;

use super::Env;
use super::keys::QuicKeys;
use super::live::Live;
use super::pki::{BALANCER_NAME, Credentials};
use super::tls::{self, ClientAuth, ClusterVerifier, Judgement, Purpose, TlsError};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNKS_AT_ONCE, DATAGRAM_BUFFER_BYTES, LINK_CHUNKS_AT_ONCE, Limits,
};
use crate::types::ClusterId;
use crate::wire::{ALPN_BALANCER, ALPN_CLIENT, ALPN_PEER, Code};

/// Streams and windows of a client that has not logged in.
const STREAMS_BEFORE_LOGIN: u32 = 1;
const WINDOW_BEFORE_LOGIN: u32 = 64 * 1024;
/// Streams and windows of a client that has.
const BI_STREAMS_AFTER_LOGIN: u32 = 16;
const UNI_STREAMS_AFTER_LOGIN: u32 = 4;
const STREAM_WINDOW: u32 = 256 * 1024;
const WINDOW_AFTER_LOGIN: u32 = 2 * 1024 * 1024;
/// Streams and windows between servers: few, and trusted.
const PEER_STREAMS: u32 = 64;
const PEER_WINDOW: u32 = 16 * 1024 * 1024;

// However long nobody takes chunks up: a quarter of the window is left for what goes before them.
// An eighth, QUIC need not give back at once.
const _: () =
    assert!(CHUNKS_AT_ONCE as u64 * STREAM_WINDOW as u64 <= WINDOW_AFTER_LOGIN as u64 / 4 * 3);
const _: () = assert!(LINK_CHUNKS_AT_ONCE * CHUNK_BYTES_MAX <= PEER_WINDOW as usize / 4 * 3);
const _: () = assert!(LINK_CHUNKS_AT_ONCE < PEER_STREAMS as usize);
const _: () = assert!(CHUNKS_AT_ONCE < BI_STREAMS_AFTER_LOGIN as usize);
/// A link between servers is few packets for much: a dead peer is noticed soon.
const PEER_KEEP_ALIVE: Duration = Duration::from_secs(1);
const PEER_IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connection attempts that wait to be accepted; quinn's default is 65,536.
const INCOMING_MAX: usize = 1_024;
/// Bytes kept for one of them, and for all of them.
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 8 * 1024 * 1024;
/// Pause between stateless resets. quinn's 20 ms would let a thousand clients of a restarted
/// server wait for 20 s; answers go only to packets that carry a connection id of ours, and are
/// smaller than those.
const RESET_INTERVAL: Duration = Duration::from_micros(100);

/// Bytes of the id a client makes up for the server's first packets.
const FIRST_CID_BYTES: usize = 20;
/// TLS alert "no application protocol".
const ALERT_NO_ALPN: u8 = 120;

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenKind {
    /// A server's port for clients; limits as before login, see [`raise_after_login`].
    Client,
    /// A server's port for other servers and the balancer: mutual TLS.
    Peer,
    /// The balancer's port: a certificate is asked for, but not demanded.
    Balancer,
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A server's port for clients.
    Client,
    /// The balancer's port.
    Balancer,
    /// A server's port for servers.
    Peer,
}

impl Target {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Client => ALPN_CLIENT,
            Self::Balancer => ALPN_BALANCER,
            Self::Peer => ALPN_PEER,
        }
    }
}

impl ListenKind {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Client => ALPN_CLIENT,
            Self::Balancer => ALPN_BALANCER,
            Self::Peer => ALPN_PEER,
        }
    }

    fn client_auth(self) -> ClientAuth {
        match self {
            Self::Client => ClientAuth::None,
            Self::Balancer => ClientAuth::Optional,
            Self::Peer => ClientAuth::Required,
        }
    }
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error("UDP port {port} of {ip} is taken", port = .0.port(), ip = .0.ip())]
    PortTaken(SocketAddr),
    /// The operating system refused.
    #[error("cannot listen on UDP {addr}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Another cluster than the pinned one answered.
    #[error("the server belongs to another cluster: {got}")]
    WrongCluster {
        /// The cluster that answered.
        got: ClusterId,
    },
    /// The right cluster, but not the server that was meant.
    #[error("the server's certificate is not for {expected:?}")]
    WrongName {
        /// The name that was expected.
        expected: String,
    },
    /// The certificate is not valid at this time of day; one of the clocks may be wrong.
    #[error("the server's certificate is not valid now")]
    Expired,
    /// What was shown is no certificate of any cluster.
    #[error("the server showed no usable certificate")]
    BadCertificate,
    /// The other side takes no connections now, or closed at once.
    #[error("the server refused the connection")]
    Refused,
    /// Nothing came back in time.
    #[error("no answer from {0}")]
    Unreachable(SocketAddr),
    /// The other side does not speak this protocol, or not this version of it.
    #[error("the server speaks another protocol or version")]
    Protocol,
    /// The handshake failed otherwise.
    #[error("the connection failed")]
    Failed(#[source] ConnectionError),
    /// Nothing was sent: our own socket, address or certificate cannot be used.
    #[error("cannot start a connection")]
    Local(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Opens an endpoint for outgoing connections only.
///
/// # Errors
/// As the operating system.
pub fn client_endpoint(env: &Env, bind: SocketAddr) -> io::Result<quinn::Endpoint> {
    let config = endpoint_config(env, &QuicKeys::create(env));
    let socket = env.bind(bind)?;
    quinn::Endpoint::new_with_abstract_socket(config, None, socket, env.runtime())
}

/// Opens a listening endpoint. It can also be used for outgoing connections.
///
/// # Errors
/// [`ListenError`]; a taken port has its own variant.
pub fn listen(
    env: &Env,
    addr: SocketAddr,
    kind: ListenKind,
    credentials: &Credentials,
    keys: &QuicKeys,
    limits: &Limits,
) -> Result<quinn::Endpoint, ListenError> {
    let server = server_config(env, kind, credentials, keys, limits)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortTaken(addr),
        _ => ListenError::Bind { addr, source },
    };
    let socket = env.bind(addr).map_err(failed)?;
    let config = endpoint_config(env, keys);
    quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, env.runtime())
        .map_err(failed)
}

/// What a listening endpoint tells those who connect. Given to `Endpoint::set_server_config`, it
/// puts a renewed certificate into use without touching a connection.
///
/// # Errors
/// [`TlsError`] for credentials that cannot be used.
pub fn server_config(
    env: &Env,
    kind: ListenKind,
    credentials: &Credentials,
    keys: &QuicKeys,
    limits: &Limits,
) -> Result<quinn::ServerConfig, TlsError> {
    let tls = tls::server_config(env, credentials, kind.alpn(), kind.client_auth())?;
    let mut config = quinn::ServerConfig::new(Arc::new(tls), Arc::new(keys.token_key()));
    config
        .transport_config(Arc::new(server_transport(kind, limits)))
        .migration(kind == ListenKind::Client)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX)
        .time_source(Arc::new(TokenClock(env.clone())));
    Ok(config)
}

/// Puts renewed certificates and changed limits into use on listening endpoints.
pub struct Renewal {
    env: Env,
    credentials: Live<Credentials>,
    keys: QuicKeys,
    limits: Live<Limits>,
}

impl Renewal {
    /// What a new certificate is put together with.
    pub fn new(
        env: &Env,
        credentials: &Live<Credentials>,
        keys: &QuicKeys,
        limits: &Live<Limits>,
    ) -> Self {
        let (credentials, keys) = (credentials.clone(), keys.clone());
        Self { env: env.clone(), credentials, keys, limits: limits.clone() }
    }

    /// For as long as it is polled, every new connection sees the certificate and the limits in
    /// force. Connections that are open go on.
    pub async fn keep(self, endpoints: Vec<(quinn::Endpoint, ListenKind)>) {
        let (mut renewed, mut changed) = (self.credentials.changes(), self.limits.changes());
        loop {
            let what = tokio::select! {
                biased;
                Ok(()) = renewed.changed() => "certificate",
                Ok(()) = changed.changed() => "limits",
                else => return,
            };
            let (credentials, limits) = (self.credentials.now(), self.limits.now());
            for (endpoint, kind) in &endpoints {
                match server_config(&self.env, *kind, &credentials, &self.keys, &limits) {
                    Ok(config) => endpoint.set_server_config(Some(config)),
                    Err(error) => tracing::error!(%error, "the certificate is of no use"),
                }
            }
            tracing::info!(what, name = credentials.name(), "read again, and in use");
        }
    }
}

/// Connects and checks that the other side is `name` of the cluster `pin`.
///
/// Gives up after `limits.handshake_deadline_ms`. A peer port that refuses our own certificate
/// says so only after this has returned: by closing the connection.
///
/// # Errors
/// [`ConnectError`].
#[expect(clippy::too_many_arguments, reason = "each is another thing, and none has a default")]
pub async fn connect(
    endpoint: &quinn::Endpoint,
    env: &Env,
    addr: SocketAddr,
    name: &str,
    target: Target,
    pin: &ClusterId,
    credentials: Option<&Credentials>,
    limits: &Limits,
) -> Result<quinn::Connection, ConnectError> {
    let (verifier, reason) = ClusterVerifier::new(Purpose::Pinned(*pin));
    let tls = tls::client_config(env, verifier, target.alpn(), credentials).map_err(local)?;
    let transport = client_transport(target, limits);
    let deadline = Duration::from_millis(limits.handshake_deadline_ms);
    match handshake(endpoint, env, addr, name, tls, transport, deadline).await {
        Ok(conn) => Ok(conn),
        Err(error) => Err(match reason.take() {
            Some(Judgement::Cluster(got)) => ConnectError::WrongCluster { got },
            Some(Judgement::Name) => ConnectError::WrongName { expected: name.to_owned() },
            Some(Judgement::Time) => ConnectError::Expired,
            Some(Judgement::NoCa | Judgement::Broken) => ConnectError::BadCertificate,
            None => error,
        }),
    }
}

/// Asks the balancer at `addr` which cluster it belongs to, for a person to confirm.
///
/// The handshake is always aborted: nothing can be sent to a server that is not pinned yet. The
/// answer is unproven until [`connect`] succeeds with it.
///
/// # Errors
/// [`ConnectError`]; [`ConnectError::BadCertificate`] when the chain holds no CA.
pub async fn discover_cluster(
    env: &Env,
    endpoint: &quinn::Endpoint,
    addr: SocketAddr,
) -> Result<ClusterId, ConnectError> {
    let limits = Limits::default();
    let (verifier, reason) = ClusterVerifier::new(Purpose::Discover);
    let tls = tls::client_config(env, verifier, ALPN_BALANCER, None).map_err(local)?;
    let transport = client_transport(Target::Balancer, &limits);
    let deadline = Duration::from_millis(limits.handshake_deadline_ms);
    let outcome = handshake(endpoint, env, addr, BALANCER_NAME, tls, transport, deadline).await;
    match (reason.take(), outcome) {
        (Some(Judgement::Cluster(id)), Err(_)) => Ok(id),
        (_, Err(error @ (ConnectError::Unreachable(_) | ConnectError::Refused))) => Err(error),
        (_, Err(error @ ConnectError::Protocol)) => Err(error),
        (_, Ok(_) | Err(_)) => Err(ConnectError::BadCertificate),
    }
}

async fn handshake(
    endpoint: &quinn::Endpoint,
    env: &Env,
    addr: SocketAddr,
    name: &str,
    tls: quinn::crypto::rustls::QuicClientConfig,
    transport: TransportConfig,
    deadline: Duration,
) -> Result<quinn::Connection, ConnectError> {
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    let chance = env.clone();
    config.initial_dst_cid_provider(Arc::new(move || {
        let mut id = [0; FIRST_CID_BYTES];
        chance.fill(&mut id);
        quinn::ConnectionId::new(&id)
    }));
    let connecting = endpoint.connect_with(config, addr, name).map_err(local)?;
    match timeout(deadline, connecting).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(failure(addr, error)),
        Err(_) => Err(ConnectError::Unreachable(addr)),
    }
}

fn local(error: impl std::error::Error + Send + Sync + 'static) -> ConnectError {
    ConnectError::Local(Box::new(error))
}

fn failure(addr: SocketAddr, error: ConnectionError) -> ConnectError {
    let no_alpn = TransportErrorCode::crypto(ALERT_NO_ALPN);
    match &error {
        ConnectionError::TimedOut => ConnectError::Unreachable(addr),
        ConnectionError::VersionMismatch => ConnectError::Protocol,
        ConnectionError::TransportError(cause) if cause.code == no_alpn => ConnectError::Protocol,
        ConnectionError::ConnectionClosed(close) if close.error_code == no_alpn => {
            ConnectError::Protocol
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            ConnectError::Refused
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => ConnectError::Refused,
        _ => ConnectError::Failed(error),
    }
}

/// Closes a connection with one of the protocol's codes. `reason` is for people and logs.
pub fn close(conn: &quinn::Connection, code: Code, reason: &str) {
    conn.close(VarInt::from_u32(code as u32), reason.as_bytes());
}

/// The code with which the other side closed, if it is one of the protocol's.
pub fn close_code(error: &ConnectionError) -> Option<Code> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            u32::try_from(close.error_code.into_inner()).ok().and_then(Code::from_number)
        }
        _ => None,
    }
}

/// Gives a connection on a client port what a logged-in client may use.
///
/// The window of a single stream cannot be changed after the handshake, so it has its final value
/// from the start; until login the smaller window of the whole connection holds for all streams.
pub fn raise_after_login(conn: &quinn::Connection) {
    conn.set_max_concurrent_bi_streams(BI_STREAMS_AFTER_LOGIN.into());
    conn.set_max_concurrent_uni_streams(UNI_STREAMS_AFTER_LOGIN.into());
    conn.set_receive_window(WINDOW_AFTER_LOGIN.into());
    conn.set_send_window(WINDOW_AFTER_LOGIN.into());
}

fn endpoint_config(env: &Env, keys: &QuicKeys) -> EndpointConfig {
    let mut seed = [0; 32];
    env.fill(&mut seed);
    let mut config = EndpointConfig::new(Arc::new(keys.reset_key()));
    let (keys, env) = (keys.clone(), env.clone());
    config
        .rng_seed(Some(seed))
        .min_reset_interval(RESET_INTERVAL)
        .cid_generator(move || Box::new(keys.cid_generator(&env)));
    config
}

/// What all connections share: fewer acknowledgements, an end to silence; no datagrams at first.
fn transport(idle: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    // A limits file may ask for more than the wire can say: then the most that it can say.
    let idle = IdleTimeout::try_from(idle).unwrap_or_else(|_| VarInt::MAX.into());
    config
        .max_idle_timeout(Some(idle))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(AckFrequencyConfig::default()))
        .stream_receive_window(STREAM_WINDOW.into());
    config
}

/// Between a client and its server: few and small, and the oldest lost first.
fn take_datagrams(config: &mut TransportConfig) {
    config
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
}

fn server_transport(kind: ListenKind, limits: &Limits) -> TransportConfig {
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    match kind {
        ListenKind::Client | ListenKind::Balancer => {
            let mut config = transport(idle);
            if kind == ListenKind::Client {
                take_datagrams(&mut config);
            }
            config
                .max_concurrent_bidi_streams(STREAMS_BEFORE_LOGIN.into())
                .max_concurrent_uni_streams(0_u32.into())
                .receive_window(WINDOW_BEFORE_LOGIN.into())
                .send_window(WINDOW_BEFORE_LOGIN.into());
            config
        }
        ListenKind::Peer => peer_transport(idle),
    }
}

fn client_transport(target: Target, limits: &Limits) -> TransportConfig {
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    match target {
        Target::Client | Target::Balancer => {
            let mut config = transport(idle);
            if target == Target::Client {
                take_datagrams(&mut config);
            }
            config
                .keep_alive_interval(Some(Duration::from_millis(limits.keep_alive_ms)))
                .max_concurrent_bidi_streams(STREAMS_BEFORE_LOGIN.into())
                .max_concurrent_uni_streams(UNI_STREAMS_AFTER_LOGIN.into())
                .receive_window(WINDOW_AFTER_LOGIN.into())
                .send_window(WINDOW_AFTER_LOGIN.into());
            config
        }
        Target::Peer => {
            let mut config = peer_transport(idle);
            config.keep_alive_interval(Some(PEER_KEEP_ALIVE));
            config
        }
    }
}

fn peer_transport(idle: Duration) -> TransportConfig {
    let mut config = transport(idle.min(PEER_IDLE_TIMEOUT));
    config
        .max_concurrent_bidi_streams(PEER_STREAMS.into())
        .max_concurrent_uni_streams(PEER_STREAMS.into())
        .stream_receive_window(PEER_WINDOW.into())
        .receive_window(PEER_WINDOW.into())
        .send_window(PEER_WINDOW.into());
    config
}

/// The time of day in retry tokens.
struct TokenClock(Env);

impl quinn::TimeSource for TokenClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.unix_ms())
    }
}
