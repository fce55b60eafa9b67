//! The balancer: watches the servers and answers "which one?".
//!
//! [`run`] is the part that speaks QUIC: answers from [`requests`], health from [`watch`], both
//! over what the [`fleet`] knows. [`cluster`] is the state on disk, [`children`] the server
//! processes; [`run`] touches neither, so that the simulator runs it with servers of its own. It
//! holds no user data: while it is away, whoever knows a server goes on.

pub mod children;
pub mod cluster;
pub mod fleet;
pub mod folders;
pub mod hosts;
pub mod operator;
pub mod process;
pub mod renew;
mod requests;
pub mod strategy;
#[cfg(test)]
mod tests;
mod watch;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::AdmissionKey;
use crate::limits::Limits;
use crate::net::endpoint::Renewal;
use crate::net::{
    AcceptGate, Credentials, Env, ListenError, ListenKind, Live, QuicKeys, client_endpoint, listen,
};
use crate::placement::PlacementMap;
use crate::types::ClusterId;

pub use fleet::Fleet;
pub use strategy::Strategy;
pub use watched::Watched;

/// How long the connections that a stopping balancer closes may take to say so.
const GOODBYE_MAX: Duration = Duration::from_millis(250);

/// What a balancer needs to know.
#[derive(Debug)]
pub struct BalancerConfig {
    /// Where clients ask. An unspecified address means "the host you reached me at" in answers.
    pub listen: SocketAddr,
    /// The certificate of [`crate::net::Role::Balancer`], renewed while it runs.
    pub credentials: Live<Credentials>,
    /// Reset, connection-id and retry keys, so that a restart is noticed at once.
    pub quic_keys: QuicKeys,
    /// Which cluster.
    pub cluster: ClusterId,
    /// The servers.
    pub map: PlacementMap,
    /// [`Fleet::new`] of the same map; shared with whoever watches processes.
    pub fleet: Fleet,
    /// Shared with the servers.
    pub admission_key: AdmissionKey,
    /// In which order servers are offered.
    pub strategy: Strategy,
    /// Rates and deadlines.
    pub limits: Limits,
    /// Cancelled when an operator asks the cluster to stop. The balancer itself goes on until its
    /// `shutdown`, so that the operator sees when all is over.
    pub stop_asked: CancellationToken,
}

/// Why the balancer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// Its port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No socket for the health links.
    #[error("cannot open a UDP socket")]
    Socket(#[from] std::io::Error),
}

/// Answers clients and watches servers until `shutdown`.
///
/// `ready` is told once the port is open; servers may still be starting then.
///
/// # Errors
/// [`BalancerError`], before `ready` only.
pub async fn run(
    env: Env,
    config: BalancerConfig,
    ready: oneshot::Sender<()>,
    shutdown: CancellationToken,
) -> Result<(), BalancerError> {
    let ports = Ports::open(&env, &config)?;
    serve(env, config, ports, ready, shutdown).await;
    Ok(())
}

/// The sockets of a balancer.
struct Ports {
    /// Where clients ask.
    clients: quinn::Endpoint,
    /// From where servers are called: a socket of its own, since they may be in another network.
    links: quinn::Endpoint,
}

impl Ports {
    fn open(env: &Env, config: &BalancerConfig) -> Result<Self, BalancerError> {
        let BalancerConfig { listen: addr, credentials, quic_keys, limits, .. } = config;
        let shown = &credentials.now();
        let clients = listen(env, *addr, ListenKind::Balancer, shown, quic_keys, limits)?;
        let from = SocketAddr::new(cluster::reachable(addr.ip()), 0);
        Ok(Self { clients, links: client_endpoint(env, from)? })
    }
}

async fn serve(
    env: Env,
    config: BalancerConfig,
    ports: Ports,
    ready: oneshot::Sender<()>,
    shutdown: CancellationToken,
) {
    let Ports { clients, links } = ports;
    let limits = Arc::new(config.limits.clone());
    let watch = Arc::new(watch::Watch {
        env: env.clone(),
        endpoint: links.clone(),
        credentials: config.credentials.clone(),
        cluster: config.cluster,
        map_version: config.map.version,
        limits: limits.clone(),
        fleet: config.fleet.clone(),
    });
    let tasks = TaskTracker::new();
    let kept = config.limits.clone().into();
    let renewal = Renewal::new(&env, &config.credentials, &config.quic_keys, &kept);
    let renewal = renewal.keep(vec![(clients.clone(), ListenKind::Balancer)]);
    env.spawn(tasks.track_future(shutdown.clone().run_until_cancelled_owned(renewal)));
    for server in config.map.servers.clone() {
        let link = shutdown.clone().run_until_cancelled_owned(watch.clone().run(server));
        env.spawn(tasks.track_future(link));
    }
    let desk = Arc::new(requests::Desk::new(env.clone(), config, limits, Instant::now()));
    // Nobody may be waiting for it.
    let _ = ready.send(());
    accept(&env, &clients, &desk, &tasks, &shutdown).await;
    clients.close(quinn::VarInt::from_u32(0), b"going away");
    links.close(quinn::VarInt::from_u32(0), b"");
    tasks.close();
    tasks.wait().await;
    let _ = timeout(GOODBYE_MAX, clients.wait_idle()).await;
}

/// Takes connections until `shutdown`; what waits for its handshake is counted and bounded.
async fn accept(
    env: &Env,
    endpoint: &quinn::Endpoint,
    desk: &Arc<requests::Desk>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let mut gate = AcceptGate::new(desk.limits());
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { return };
                let Some(handshake) = gate.admit(incoming) else { continue };
                let desk = desk.clone();
                let serve = async move {
                    if let Some(connection) = handshake.finish().await {
                        desk.serve(connection).await;
                    }
                };
                env.spawn(tasks.track_future(serve));
            }
        }
    }
}
