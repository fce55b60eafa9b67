//! `load_balancer`: one command starts a cluster; others ask it for its state, drain a server, stop
//! it, or prepare a cluster on several machines.
//!
//! Judges the arguments, makes or finds the cluster on disk, runs the balancer and the server
//! processes, prints what happens, and stops all in order. Deliberately decides nothing about
//! health or placement.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::certs::{self, CertsCommand, Renewer};
use super::doctor::{
    self,
    cluster::{Questions, Scope},
};
use super::exit::{Exit, Failure, finish, sentence};
use super::init::{Init, init};
use super::logs::{self, LogFormat};
use super::operator::{self, Folders, Form, Whom};
use super::refusals;
use super::screen::Screen;
use super::server::{self, ChildArguments};
use super::signals::Signals;
use super::upkeep::{Options, Upkeep};
use crate::balancer::children::{
    Before, ChildEvent, ChildSpec, Children, Ended, Leftover, leftover, stop_leftover,
};
use crate::balancer::cluster::{self, Cluster, LOCK_FILE, Wanted};
use crate::balancer::fleet::Wish;
use crate::balancer::folders::{self, ClusterFile, folder_of};
use crate::balancer::process::{PidFile, PidFileError, udp_owner};
use crate::balancer::{self, BalancerConfig, BalancerError, Fleet, Strategy};
use crate::limits::{Limits, SERVERS_MAX, STOP_DEADLINE};
use crate::net::{Credentials, Env, ListenError, Live, files};
use crate::ops::health::Stage;
use crate::ops::service;
use crate::placement::ServerEntry;
use crate::types::ServerId;

pub(super) use super::refusals::port_taken;

/// The hidden first word with which this program starts itself as a server.
const CHILD_WORD: &str = "serve-child";
/// A server that dies this often before it was ever ready will not get better by itself.
const FIRST_DEATHS_MAX: u32 = 3;

/// Starts a FastChat cluster: a balancer and its servers on this machine.
///
/// The balancer takes UDP port PORT, the servers take PORT+1, PORT+2, ... for clients and PORT+101,
/// PORT+102, ... among themselves. The first start makes certificates and databases.
#[derive(Debug, Parser)]
#[command(name = "load_balancer", version, subcommand_precedence_over_arg = true)]
#[command(override_usage = "load_balancer [OPTIONS] <NUM_SERVERS> <PORT>\n       \
                            load_balancer [OPTIONS] --no-spawn --cluster FILE\n       \
                            load_balancer status|drain|undrain|stop [--server HOST:PORT]\n       \
                            load_balancer [OPTIONS] doctor|certs show|certs rotate\n       \
                            load_balancer init --servers FILE [--out DIR]")]
struct Args {
    /// How many servers to start, from 1 to 99
    num_servers: Option<String>,
    /// The balancer's UDP port
    port: Option<String>,
    /// Address to listen on; 0.0.0.0 for all of this machine
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// In which order clients are offered servers: random, round-robin, least-connections,
    /// least-load (processor and bytes of the last seconds), home (each user's own server)
    #[arg(long, value_name = "NAME", default_value = "random", value_parser = parse_strategy)]
    strategy: Strategy,
    /// Folder of the placement map and the databases
    #[arg(long, value_name = "DIR", default_value = "databases", global = true)]
    data: PathBuf,
    /// Folder of the certificates and keys
    #[arg(long, value_name = "DIR", default_value = "certs", global = true)]
    certs: PathBuf,
    /// Limits to use instead of the defaults (TOML)
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    #[command(flatten)]
    upkeep: Options,
    /// Watch servers that others start, and start none
    #[arg(long)]
    no_spawn: bool,
    /// The balancer's cluster.toml, as made by init, instead of --data and --certs
    #[arg(long, value_name = "FILE", global = true)]
    cluster: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the servers of a running cluster
    Status {
        #[command(flatten)]
        whom: Whom,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Send the clients of a server on and hand it out no more
    Drain {
        /// Which: s1, s2, ...
        #[arg(value_parser = server::parse_id)]
        id: ServerId,
        #[command(flatten)]
        whom: Whom,
    },
    /// Hand a drained server out again
    Undrain {
        /// Which: s1, s2, ...
        #[arg(value_parser = server::parse_id)]
        id: ServerId,
        #[command(flatten)]
        whom: Whom,
    },
    /// Stop a running cluster in order; with --no-spawn, the balancer alone
    Stop {
        #[command(flatten)]
        whom: Whom,
    },
    /// Look for what is wrong with the cluster, running or stopped
    Doctor {
        #[command(flatten)]
        questions: Questions,
    },
    /// Show or renew the cluster's certificates
    Certs {
        #[command(subcommand)]
        command: CertsCommand,
    },
    /// Prepare a cluster on several machines: a folder for each
    Init(Init),
}

fn parse_strategy(text: &str) -> Result<Strategy, String> {
    let names = || Strategy::ALL.iter().map(|strategy| strategy.name()).collect::<Vec<_>>();
    Strategy::parse(text).ok_or_else(|| format!("possible: {}", names().join(", ")))
}

/// The whole program.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.peek().is_some_and(|word| word == CHILD_WORD) {
        return server::main_as_child(words.skip(1));
    }
    finish(run(Args::parse()))
}

fn run(args: Args) -> Result<Exit, Failure> {
    let cluster = args.cluster.as_deref();
    let folders = Folders { data: &args.data, certs: &args.certs, cluster };
    let Some(command) = &args.command else { return start(args) };
    logs::start(args.log_format, "balancer");
    let runtime = server::runtime()?;
    match command {
        Command::Status { whom, json } => {
            let form = if *json { Form::Json } else { Form::Table };
            runtime.block_on(operator::status(whom, &folders, form))
        }
        Command::Drain { id, whom } => {
            runtime.block_on(operator::drain(whom, &folders, id, Wish::Drain))
        }
        Command::Undrain { id, whom } => {
            runtime.block_on(operator::drain(whom, &folders, id, Wish::Serve))
        }
        Command::Stop { whom } => runtime.block_on(operator::stop(whom, &folders)),
        Command::Doctor { questions } => {
            Ok(runtime.block_on(doctor::cluster::run(questions, &folders, Scope::Cluster)))
        }
        Command::Certs { command } => certs::run(*command, &folders),
        Command::Init(args) => init(args),
    }
}

fn start(args: Args) -> Result<Exit, Failure> {
    logs::start(args.log_format, "balancer");
    let plan = Plan::judge(args)?;
    let runtime = server::runtime()?;
    let outcome = runtime.block_on(plan.run());
    runtime.shutdown_background();
    outcome
}

/// What the arguments ask for, once they make sense.
struct Plan {
    wanted: Wanted,
    strategy: Strategy,
    limits: Limits,
    limits_file: Option<PathBuf>,
    log_format: LogFormat,
    upkeep: Options,
    servers: Servers,
    /// The balancer's `cluster.toml`.
    cluster: Option<PathBuf>,
}

/// Who starts the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    /// This program, on this machine.
    Ours,
    /// Somebody else, anywhere.
    Others,
}

impl Plan {
    fn judge(args: Args) -> Result<Self, Failure> {
        let servers = if args.no_spawn { Servers::Others } else { Servers::Ours };
        let limits_file = args.limits.clone().map(absolute).transpose()?;
        let wanted = match &args.cluster {
            Some(file) => Self::judge_cluster(&args, file)?,
            None => {
                let (count, port) =
                    refusals::judge_numbers(args.num_servers.as_deref(), args.port.as_deref())?;
                Wanted { count, port, bind: args.bind, data: args.data, certs: args.certs }
            }
        };
        if args.cluster.is_none() {
            cluster::check_ports(&wanted).map_err(|error| refusals::of_cluster(&error, &wanted))?;
        }
        Ok(Self {
            servers,
            cluster: args.cluster,
            wanted,
            strategy: args.strategy,
            limits: server::read_limits(limits_file.as_deref())?,
            limits_file,
            log_format: args.log_format,
            upkeep: args.upkeep,
        })
    }

    /// What a `cluster.toml` says, in place of the numbers on the command line.
    fn judge_cluster(args: &Args, file: &Path) -> Result<Wanted, Failure> {
        let usage = |what: &str| {
            let remedy = "Like this:  load_balancer --no-spawn --cluster cluster.toml";
            Failure::new(Exit::Usage, what, remedy)
        };
        if args.num_servers.is_some() {
            return Err(usage(
                "With --cluster the file says how many servers there are, and where.",
            ));
        }
        if !args.no_spawn {
            return Err(usage("The servers of a --cluster are on machines of their own."));
        }
        let read = ClusterFile::read(file).map_err(|error| refusals::of_folders(&error))?;
        let folder = folder_of(file).to_owned();
        Ok(Wanted {
            count: u16::try_from(read.placement.servers.len()).unwrap_or(u16::MAX),
            port: read.listen.port(),
            bind: read.listen.ip(),
            data: read.data_folder(file),
            certs: folder,
        })
    }

    async fn run(self) -> Result<Exit, Failure> {
        let started = Instant::now();
        let env = Env::system();
        let wanted = &self.wanted;
        let listen = SocketAddr::new(wanted.bind, wanted.port);
        check_free(&env, listen)?;
        let signals = Signals::listen().map_err(|error| internal(&error))?;
        let _lock = lock(&wanted.data)?;
        let cluster = env.in_place(|| self.prepare(&env))?;
        let specs = match self.servers {
            Servers::Ours => self.specs(&cluster)?,
            Servers::Others => Vec::new(),
        };
        if self.servers == Servers::Ours {
            make_way(&env, &specs, &cluster.map.servers, &wanted.data).await?;
        }
        logs::read_level(&wanted.data);
        let upkeep = self.upkeep.prepare(&cluster.admission_key).await?;
        let env = upkeep.env();
        let count = cluster.map.servers.len();
        Screen::starting(listen, self.strategy, count, &wanted.data, self.servers);
        let beside = Beside {
            strategy: self.strategy,
            certs: wanted.certs.clone(),
            data: wanted.data.clone(),
            reload: signals.reload(),
        };
        let running = Running::begin(&env, self, listen, cluster, specs, started).await?;
        running.look_after(&env, upkeep, beside);
        running.attend(signals).await
    }

    fn prepare(&self, env: &Env) -> Result<Cluster, Failure> {
        let wanted = &self.wanted;
        match &self.cluster {
            Some(file) => {
                folders::open_balancer(env, file).map_err(|error| refusals::of_folders(&error))
            }
            None => {
                cluster::prepare(env, wanted).map_err(|error| refusals::of_cluster(&error, wanted))
            }
        }
    }

    /// How each server is started.
    fn specs(&self, cluster: &Cluster) -> Result<Vec<ChildSpec>, Failure> {
        let program = std::env::current_exe().map_err(|error| internal(&error))?;
        let data = absolute(self.wanted.data.clone())?;
        let certs = absolute(self.wanted.certs.clone())?;
        let spec = |(number, server): (u16, &ServerEntry)| {
            let words = ChildArguments {
                id: &server.id,
                listen: server.addr,
                peer: server.peer_addr,
                data: &data,
                certs: &certs,
                limits: self.limits_file.as_deref(),
                log_format: self.log_format,
                map_version: cluster.map.version,
                upkeep: &self.upkeep.of_server(number),
            };
            let mut arguments = vec![CHILD_WORD.into()];
            arguments.extend(words.words());
            let pid_file = cluster::pid_path(&data, &server.id);
            ChildSpec { id: server.id.clone(), program: program.clone(), arguments, pid_file }
        };
        Ok((1..).zip(&cluster.map.servers).map(spec).collect())
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| internal(&error))
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, sentence(error), "")
}

/// Makes sure that no other balancer works on the same data.
fn lock(data: &Path) -> Result<PidFile, Failure> {
    files::create_private_dir(data).map_err(|error| server::unreadable(&error))?;
    PidFile::take(&data.join(LOCK_FILE)).map_err(|error| match &error {
        PidFileError::Held { pid, .. } => {
            let who = pid.map_or_else(|| "another process".into(), |pid| format!("pid {pid}"));
            Failure::new(
                Exit::LocalData,
                format!("The data in {} is in use by {who} (load_balancer).", data.display()),
                "Stop that one first:  load_balancer stop",
            )
        }
        PidFileError::Io { .. } => server::unreadable(&error),
    })
}

/// Whether a UDP port can be had.
fn check_free(env: &Env, addr: SocketAddr) -> Result<(), Failure> {
    match env.bind(addr) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(port_taken(addr)),
        Err(error) => Err(Failure::new(
            Exit::Unreachable,
            format!("Cannot listen on UDP {addr}: {error}."),
            "Give an address of this machine with --bind IP, and a port above 1023.",
        )),
    }
}

/// Finds servers that outlived an earlier balancer: those that fit are left to be adopted, others
/// are stopped. Then every port that is still needed must be free.
async fn make_way(
    env: &Env,
    specs: &[ChildSpec],
    servers: &[ServerEntry],
    data: &Path,
) -> Result<(), Failure> {
    let dropped = (1..=SERVERS_MAX)
        .map(ServerId::numbered)
        .filter(|id| specs.iter().all(|spec| spec.id != *id));
    for id in dropped {
        let pid_file = cluster::pid_path(data, &id);
        let none =
            ChildSpec { id, program: PathBuf::new(), arguments: vec![CHILD_WORD.into()], pid_file };
        if let Leftover::Outdated(pid) = look(&none)? {
            stop_leftover(pid, &none.pid_file).await;
        }
    }
    let mut needed = Vec::new();
    for (spec, server) in specs.iter().zip(servers) {
        match look(spec)? {
            Leftover::Same(_) => continue,
            Leftover::None => {}
            Leftover::Outdated(pid) => stop_leftover(pid, &spec.pid_file).await,
            Leftover::Foreign(pid) => return Err(refusals::foreign_server(&spec.id, pid)),
        }
        needed.extend([server.addr, server.peer_addr]);
    }
    needed.into_iter().try_for_each(|addr| check_free(env, addr))
}

fn look(spec: &ChildSpec) -> Result<Leftover, Failure> {
    leftover(spec).map_err(|source| {
        let path = spec.pid_file.clone();
        server::unreadable(&files::FileError { action: "read", path, source })
    })
}

/// A cluster that is starting or running.
struct Running {
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
struct Beside {
    strategy: Strategy,
    certs: PathBuf,
    data: PathBuf,
    reload: Arc<Notify>,
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
    async fn begin(
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
    fn look_after(&self, env: &Env, upkeep: Upkeep, of: Beside) {
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
    async fn attend(mut self, mut signals: Signals) -> Result<Exit, Failure> {
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

/// What is wrong with a port that somebody else has.
pub(super) fn owner_of(addr: SocketAddr) -> String {
    udp_owner(addr)
        .map_or_else(|| "another program".into(), |o| format!("pid {} ({})", o.pid, o.name))
}
