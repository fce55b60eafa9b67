//! A cluster that is starting or running: the balancer, the server processes and what goes on
//! beside them, from the first open port to the stop in order.
//!
//! Judges nothing that was asked for; the screen's words are elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Servers};
use crate::balancer::children::{Before, ChildEvent, ChildSpec, Children, Ended};
use crate::balancer::cluster::Cluster;
use crate::balancer::{self, BalancerConfig, BalancerError, Fleet, Strategy};
use crate::cli::certs::Renewer;
use crate::cli::exit::{Exit, Failure, sentence};
use crate::cli::refusals::{self, port_taken};
use crate::cli::screen::Screen;
use crate::cli::signals::Signals;
use crate::cli::upkeep::Upkeep;
use crate::limits::STOP_DEADLINE;
use crate::net::{Credentials, Env, ListenError, Live};
use crate::ops::health::Stage;
use crate::ops::service;

/// A server that dies this often before it was ever ready will not get better by itself.
const FIRST_DEATHS_MAX: u32 = 3;

/// A cluster that is starting or running.
pub(super) struct Running {
    listen: SocketAddr,
    started: Instant,
    cluster: Cluster,
    fleet: Fleet,
    children: Children,
    events: mpsc::Receiver<ChildEvent>,
    balancer: JoinHandle<Option<Result<(), BalancerError>>>,
    shutdown: CancellationToken,
    stop_asked: CancellationToken,
    screen: Screen,
    phase: Phase,
    stage: Stage,
    credentials: Live<Credentials>,
    servers: Servers,
}

/// What goes on beside the work needs to know besides.
pub(super) struct Beside {
    pub(super) strategy: Strategy,
    pub(super) certs: PathBuf,
    pub(super) data: PathBuf,
    pub(super) reload: Arc<Notify>,
}

/// How far a cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not all servers have been ready yet.
    Starting {
        /// Deaths of servers that never were ready.
        deaths: u32,
    },
    /// All have been.
    Started,
}

impl Running {
    /// Opens the balancer's port, then starts the servers.
    pub(super) async fn begin(
        env: &Env,
        plan: Plan,
        listen: SocketAddr,
        cluster: Cluster,
        specs: Vec<ChildSpec>,
        started: Instant,
    ) -> Result<Self, Failure> {
        let fleet = Fleet::new(&cluster.map);
        let credentials = Live::from(cluster.credentials.clone());
        let (shutdown, stop_asked) = (CancellationToken::new(), CancellationToken::new());
        let config = BalancerConfig {
            listen,
            credentials: credentials.clone(),
            quic_keys: cluster.quic_keys.clone(),
            cluster: cluster.id,
            map: cluster.map.clone(),
            fleet: fleet.clone(),
            admission_key: cluster.admission_key.clone(),
            strategy: plan.strategy,
            limits: plan.limits,
            stop_asked: stop_asked.clone(),
        };
        let (ready, is_ready) = oneshot::channel();
        let balancer = env.spawn(balancer::run(env.clone(), config, ready, shutdown.clone()));
        if is_ready.await.is_err() {
            return Err(balancer_ended(balancer.await));
        }
        let (sender, events) = mpsc::channel(64);
        let children = Children::start(env, specs, &fleet, &sender);
        let (screen, phase) = (Screen::default(), Phase::Starting { deaths: 0 });
        Ok(Self {
            listen,
            started,
            cluster,
            fleet,
            children,
            events,
            balancer,
            shutdown,
            stop_asked,
            screen,
            phase,
            stage: Stage::default(),
            credentials,
            servers: plan.servers,
        })
    }

    /// Begins what goes on beside: answers to whoever watches, certificates, files read again.
    pub(super) fn look_after(&self, env: &Env, upkeep: Upkeep, of: Beside) {
        upkeep.introduce(balancer::Watched {
            env: env.clone(),
            fleet: self.fleet.clone(),
            strategy: of.strategy,
            credentials: self.credentials.clone(),
            stage: self.stage.clone(),
        });
        upkeep.begin(env);
        let renewer = Renewer {
            env: env.clone(),
            certs: of.certs,
            data: of.data,
            map: self.cluster.map.clone(),
            fleet: self.fleet.clone(),
            credentials: self.credentials.clone(),
        };
        drop(env.spawn(renewer.keep(of.reload)));
    }

    /// Reports what happens until there is a reason to stop, then stops all in order.
    pub(super) async fn attend(mut self, mut signals: Signals) -> Result<Exit, Failure> {
        let outcome = self.until_reason_to_stop(&mut signals).await;
        let stopping = Instant::now();
        self.stage.stopping();
        service::stopping();
        tokio::select! {
            biased;
            () = self.children.stop() => {}
            // The events have no other reader now, and a full channel would hold up the end.
            () = drain(&mut self.events) => {}
            _ = signals.next() => {
                self.children.kill();
                self.children.stop().await;
            }
        }
        self.shutdown.cancel();
        let _ = timeout(STOP_DEADLINE / 5, &mut self.balancer).await;
        if outcome.is_ok() {
            Screen::stopped(stopping.elapsed());
        }
        outcome
    }

    async fn until_reason_to_stop(&mut self, signals: &mut Signals) -> Result<Exit, Failure> {
        loop {
            let is_starting = matches!(self.phase, Phase::Starting { .. });
            let overdue = self.screen.next_overdue();
            tokio::select! {
                biased;
                exit = signals.next() => return Ok(exit),
                () = self.stop_asked.cancelled() => return Ok(Exit::Done),
                ended = &mut self.balancer => return Err(balancer_ended(ended)),
                Some(event) = self.events.recv() => self.child(event)?,
                () = self.fleet.wait_all_up(), if is_starting => {
                    self.phase = Phase::Started;
                    self.stage.running();
                    service::ready("all servers are ready");
                    let (servers, took) = (&self.cluster.map.servers, self.started.elapsed());
                    let id = &self.cluster.id;
                    Screen::ready(self.listen, servers, took, id, self.servers);
                }
                () = sleep_until(overdue.unwrap_or(self.started)), if overdue.is_some() => {
                    self.screen.overdue();
                }
            }
        }
    }

    /// A child died or is back. A first start in which a server cannot come up is given up.
    fn child(&mut self, event: ChildEvent) -> Result<(), Failure> {
        if let (Phase::Starting { deaths }, ChildEvent::Died { id, ended, before }) =
            (&mut self.phase, &event)
            && *before == Before::FirstReady
        {
            *deaths += 1;
            if let Some(exit) = hopeless(*ended, *deaths) {
                return Err(refusals::server_failed(exit, id, *ended));
            }
        }
        self.screen.child(event);
        Ok(())
    }
}

/// The exit code of the whole start, if a server that ended so will not come up by itself.
fn hopeless(ended: Ended, deaths: u32) -> Option<Exit> {
    let stated = match ended {
        Ended::Code(code) => Exit::from_number(code),
        Ended::Signal(_) | Ended::Unseen | Ended::NotStarted => None,
    };
    match stated {
        Some(exit @ (Exit::Usage | Exit::Unreachable | Exit::LocalData)) => Some(exit),
        _ if deaths >= FIRST_DEATHS_MAX => Some(Exit::Internal),
        _ => None,
    }
}

async fn drain(events: &mut mpsc::Receiver<ChildEvent>) {
    while events.recv().await.is_some() {}
    std::future::pending::<()>().await;
}

fn balancer_ended(
    outcome: Result<Option<Result<(), BalancerError>>, tokio::task::JoinError>,
) -> Failure {
    match outcome {
        Ok(Some(Err(BalancerError::Listen(ListenError::PortTaken(addr))))) => port_taken(addr),
        Ok(Some(Err(error))) => Failure::new(Exit::Unreachable, sentence(&error), ""),
        Ok(Some(Ok(())) | None) | Err(_) => {
            Failure::new(Exit::Internal, "The balancer ended unexpectedly.", "Start it again.")
        }
    }
}
