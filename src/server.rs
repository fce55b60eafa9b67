//! One server process: one edge, one home, and the links to all other servers.
//!
//! Starts what the rooms offer and stops it in order. Deliberately prints nothing and reads no
//! file but the database: the configuration comes in as a value.

mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admission::AdmissionKey;
use crate::edge::door::HomeDoor;
use crate::edge::{Edge, EdgeConfig, local};
use crate::home::{HomeConfig, HomeFailure, HomeHandle, OpenError};
use crate::limits::{Limits, STOP_DEADLINE};
use crate::load::LoadMeter;
use crate::net::endpoint::Renewal;
use crate::net::{
    Credentials, Env, ListenError, ListenKind, Live, QuicKeys, client_endpoint, listen,
};
use crate::ops::health::Stage;
use crate::peer::link::{self, LinkConfig};
use crate::peer::serve::PeerPort;
use crate::placement::{MapError, PlacementMap};
use crate::types::{ClusterId, ServerId};

use self::watch::Watch;

/// How long a start waits for the links to the other servers. They may be down: then this server
/// is of use all the same.
const LINKS_DEADLINE: Duration = Duration::from_secs(1);

/// How long a stop waits for the clients to leave for other servers.
pub const DRAIN_MAX: Duration = Duration::from_secs(3);

/// How long a stop waits for the connections to hear of it. The rest find out by themselves.
const LAST_WORDS_DEADLINE: Duration = Duration::from_millis(500);

/// Everything a server needs to run.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Which server of the map this is.
    pub id: ServerId,
    /// Where clients reach it (UDP).
    pub listen: SocketAddr,
    /// Where other servers and the balancer reach it (UDP).
    pub peer_listen: SocketAddr,
    /// Its database, which must exist.
    pub database: PathBuf,
    /// Its certificate, renewed while it runs.
    pub credentials: Live<Credentials>,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Which server owns which name.
    pub map: PlacementMap,
    /// Limits of clients and quotas of accounts, changed while it runs.
    pub limits: Live<Limits>,
    /// What admission tickets are checked with.
    pub admission_key: AdmissionKey,
    /// Keys of its endpoints that outlive the process.
    pub quic_keys: QuicKeys,
}

/// Why a server does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The placement map makes no sense.
    #[error("the placement map cannot be used")]
    Map(#[from] MapError),
    /// The map does not name this server.
    #[error("the placement map has no server {0}")]
    NotInMap(ServerId),
    /// The database cannot be served.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The home failed while it ran; nothing that was not answered may be believed.
    #[error(transparent)]
    Home(#[from] HomeFailure),
}

/// Runs a server until `shutdown`, then stops it in order within [`STOP_DEADLINE`].
///
/// `ready` is told once clients and peers can connect and, if they are there, the other servers
/// are linked.
///
/// # Errors
/// [`ServerError`]. A home that failed ends the server at once, without an orderly stop.
pub async fn run(
    env: Env,
    config: ServerConfig,
    ready: oneshot::Sender<()>,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    run_until(env, config, ready, Stop { gently: CancellationToken::new(), at_once: shutdown })
        .await
}

/// How a server is asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Send the clients on first, for at most [`DRAIN_MAX`].
    pub gently: CancellationToken,
    /// Stop in order, but wait for no client.
    pub at_once: CancellationToken,
}

/// As [`run`], with both ways to stop it.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    env: Env,
    config: ServerConfig,
    ready: oneshot::Sender<()>,
    stop: Stop,
) -> Result<(), ServerError> {
    config.map.check()?;
    if config.map.server(&config.id).is_none() {
        return Err(ServerError::NotInMap(config.id));
    }
    let running = Running::start(&env, config)?;
    let (edge, stage) = (Arc::clone(&running.edge), running.stage.clone());
    let get_ready = async move {
        // Links that are not up yet come up by themselves.
        let _ = timeout(LINKS_DEADLINE, edge.router().all_up()).await;
        stage.running();
        let _ = ready.send(());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        failure = running.home.failed() => return Err(failure.into()),
        () = stop.at_once.cancelled() => {}
        () = stop.gently.cancelled() => {}
        () = get_ready => {}
    }
    if !stop.at_once.is_cancelled() {
        running.edge.drain();
    }
    tokio::select! {
        biased;
        failure = running.home.failed() => return Err(failure.into()),
        () = stop.at_once.cancelled() => {}
        _ = timeout(DRAIN_MAX, running.edge.wait_empty()) => {}
    }
    tokio::select! {
        biased;
        failure = running.home.failed() => Err(failure.into()),
        _ = timeout(STOP_DEADLINE, running.stop()) => Ok(()),
    }
}

/// The parts of a running server. Dropped, it ends at once.
struct Running {
    home: HomeHandle,
    edge: Arc<Edge>,
    clients: quinn::Endpoint,
    peers: quinn::Endpoint,
    /// Starts the links. Not the peer port itself, for an attempt that was given up keeps its
    /// socket for seconds.
    links: quinn::Endpoint,
    /// Ends the accepting of connections.
    closing: CancellationToken,
    tasks: Vec<JoinHandle<Option<()>>>,
    stage: Stage,
}

impl Running {
    fn start(env: &Env, config: ServerConfig) -> Result<Self, ServerError> {
        let (map, limits) = (Arc::new(config.map), Arc::new(config.limits.now()));
        let database = config.database;
        // The ports first: they say at once whether this server runs already.
        let shown = config.credentials.now();
        let open = |addr, kind| listen(env, addr, kind, &shown, &config.quic_keys, &limits);
        let clients = open(config.listen, ListenKind::Client)?;
        let peers = open(config.peer_listen, ListenKind::Peer)?;
        let links = client_endpoint(env, SocketAddr::new(config.peer_listen.ip(), 0))
            .map_err(|source| ListenError::Bind { addr: config.peer_listen, source })?;
        let home = HomeHandle::open(
            env,
            HomeConfig {
                database: database.clone(),
                server: config.id.clone(),
                cluster: config.cluster,
                map: Arc::clone(&map),
                limits: Arc::clone(&limits),
            },
        )?;
        let edge = Edge::new(
            env,
            EdgeConfig {
                id: config.id.clone(),
                map: Arc::clone(&map),
                limits: Arc::clone(&limits),
                admission_key: config.admission_key,
            },
        );
        let load = LoadMeter::new(env, home.clone(), &database);
        let renewal = Renewal::new(env, &config.credentials, &config.quic_keys, &config.limits);
        let stage = Stage::default();
        env.introduce(Watch {
            env: env.clone(),
            edge: Arc::clone(&edge),
            home: home.clone(),
            stage: stage.clone(),
            database: database.clone(),
            credentials: config.credentials.clone(),
        });
        let door = HomeDoor::new(env, config.id.clone(), limits, home.clone());
        let (edge_too, cluster) = (Arc::clone(&edge), config.cluster);
        let port = Arc::new(PeerPort {
            edge: edge_too,
            door: Arc::clone(&door),
            cluster,
            load: Arc::clone(&load),
        });
        let closing = CancellationToken::new();
        let mut tasks = vec![
            env.spawn(load.run()),
            env.spawn(local::carry(Arc::clone(&edge), Arc::clone(&door))),
            env.spawn(port.serve(env.clone(), peers.clone(), closing.clone())),
            env.spawn(Arc::clone(&edge).serve(clients.clone(), closing.clone())),
        ];
        let both = [(clients.clone(), ListenKind::Client), (peers.clone(), ListenKind::Peer)];
        tasks.push(env.spawn(renewal.keep(both.into())));
        let follow = follow_limits(config.limits, Arc::clone(&edge), Arc::clone(&door));
        tasks.push(env.spawn(follow));
        for peer in map.servers.iter().filter(|server| server.id != config.id) {
            let link = LinkConfig {
                endpoint: links.clone(),
                peer: peer.clone(),
                cluster,
                credentials: config.credentials.clone(),
            };
            tasks.push(env.spawn(link::run(env.clone(), Arc::clone(&edge), link)));
        }
        Ok(Self { home, edge, clients, peers, links, closing, tasks, stage })
    }

    /// Stops accepting, lets the home finish what waits, then closes the connections.
    async fn stop(&self) {
        self.stage.stopping();
        self.closing.cancel();
        self.home.stop().await;
        self.close_endpoints();
        let idle = async { tokio::join!(self.clients.wait_idle(), self.peers.wait_idle()) };
        let _ = timeout(LAST_WORDS_DEADLINE, idle).await;
    }

    fn close_endpoints(&self) {
        self.clients.close(0u32.into(), b"the server stops");
        self.peers.close(0u32.into(), b"the server stops");
        self.links.close(0u32.into(), b"the server stops");
    }
}

/// Hands changed limits to those who count.
async fn follow_limits(limits: Live<Limits>, edge: Arc<Edge>, door: Arc<HomeDoor>) {
    let mut changes = limits.changes();
    while changes.changed().await.is_ok() {
        let limits = limits.now();
        edge.set_limits(&limits);
        door.set_limits(&limits).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close_endpoints();
        for task in &self.tasks {
            task.abort();
        }
    }
}
