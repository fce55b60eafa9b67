//! `bench run`: a load on a cluster, one of its own or one that runs already, and what came of it.
//!
//! Puts together what the other files measure. Deliberately asks a foreign cluster for nothing
//! that people could not have: sign-ups come as fast as its limits let them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::Serialize;

use super::ceilings::{self, Ceilings, Disk};
use super::cluster::Cluster;
use super::load::{self, Aim, Keys, Load, Outcome, Pace, Pattern, Place, Sealed, Writers};
use super::{BenchError, Summary, unexpected};
use crate::net::files::create_private_dir;
use crate::net::{CaCert, Env, client_endpoint, discover_cluster};
use crate::types::ClusterId;

/// Everybody comes from one address and writes as fast as they can; passwords are not the subject.
pub(super) const LIMITS: &str = "
connections_max = 100000
connections_per_ip_max = 100000
handshakes_before_retry = 100000
handshakes_max = 100000
handshakes_per_ip_per_s = 100000
handshake_deadline_ms = 30000
login_deadline_ms = 60000
requests_per_s = 100000
requests_burst = 100000
logins_per_ip_per_min = 1000000
sign_ups_per_ip_per_min = 1000000
look_ups_per_ip_per_min = 1000000
asks_per_ip_per_min = 1000000
password_queue_max = 100000
bcrypt_cost = 4
inbox_entries_max = 10000000
inbox_bytes_max = 10000000000
inbox_author_entries_max = 10000000
inbox_author_bytes_max = 10000000000
group_entries_max = 10000000
group_bytes_max = 10000000000
group_author_entries_max = 10000000
group_author_bytes_max = 10000000000
group_changes_per_day = 10000000
groups_made_per_day = 1000000
new_peers_per_hour = 100000
";

/// Which cluster is measured.
#[derive(Clone, Debug)]
pub enum Target {
    /// One of so many servers, started for this run.
    Own {
        /// How many.
        servers: u16,
    },
    /// One that runs.
    Running {
        /// Host name or address of its balancer.
        host: String,
        /// Its UDP port.
        port: u16,
        /// Its CA: a fingerprint or a PEM file. None: whoever answers.
        ca: Option<String>,
        /// The file that keeps its people from run to run.
        people: Option<PathBuf>,
    },
}

/// Whether the ceilings of the machine are measured along with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The run alone.
    Nothing,
    /// The ceilings right before it.
    Ceilings,
}

/// What `bench run` does.
#[derive(Clone, Debug)]
pub struct Options {
    /// This very program; `load_balancer` lies beside it.
    pub program: PathBuf,
    /// Which cluster.
    pub target: Target,
    /// The load.
    pub load: Load,
    /// What else.
    pub along: Along,
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine and the program.
    pub environment: Environment,
    /// The load, in words.
    pub load: String,
    /// Servers of an own cluster.
    pub servers: Option<u16>,
    /// Messages written, warm-up included.
    pub written: u64,
    /// Messages answered a second.
    pub sent_per_s: f64,
    /// Deliveries a second: a message to a group is one to each other member.
    pub delivered_per_s: f64,
    /// From the moment a message was meant to go until its author knew that it is on disk.
    pub sent: Summary,
    /// From that moment until a recipient had it: of a message to a group, once for each.
    pub delivered: Summary,
    /// Times that what was written had to arrive: once at each of its recipients.
    pub expected: u64,
    /// Groups that were written to.
    pub groups: usize,
    /// Not arrived in time, counted at each recipient.
    pub lost: u64,
    /// Arrived again.
    pub doubled: u64,
    /// Arrived after a later one.
    pub reordered: u64,
    /// Did not verify, did not open, or was never written.
    pub damaged: u64,
    /// Answers that told a sender to wait or to begin again.
    pub put_off: u64,
    /// Sessions that ended early.
    pub broken: usize,
    /// Why the first of them did.
    pub broken_why: Option<String>,
    /// From nothing to everybody connected, in milliseconds.
    pub joining_ms: f64,
    /// The longest that a cluster's limits made somebody wait for their sign-up, in milliseconds.
    pub sign_up_wait_ms: f64,
    /// Processor time of an own cluster per 1,000 deliveries, in milliseconds.
    pub cpu_ms_per_1000: Option<f64>,
    /// What the machine gives, measured right before.
    pub ceilings: Option<Ceilings>,
}

impl Report {
    /// Whether every message arrived once, in order, as it was written.
    pub fn is_sound(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0 && self.broken == 0
    }
}

/// The machine and the program.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub version: &'static str,
    /// Whether it was built with optimisation.
    pub optimised: bool,
    /// Processors.
    pub cores: usize,
    /// Version of the kernel.
    pub kernel: String,
    /// Version of SQLite.
    pub sqlite: &'static str,
    /// The disk of temporary files.
    pub disk: Disk,
}

/// The machine, with its disk under this folder.
///
/// # Errors
/// [`BenchError::File`] when nothing can be written there.
pub async fn environment(env: &Env, folder: &Path) -> Result<Environment, BenchError> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Environment {
        version: env!("CARGO_PKG_VERSION"),
        optimised: !cfg!(debug_assertions),
        cores: available_parallelism().map_or(0, usize::from),
        kernel: kernel.trim().to_owned(),
        sqlite: rusqlite::version(),
        disk: ceilings::measure_disk(env, folder).await?,
    })
}

/// Runs the load, and starts and stops what it needs for that.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and nothing on disk either. Lost messages are no
/// error: they stand in the report.
pub async fn run(env: &Env, options: &Options) -> Result<(Report, Outcome), BenchError> {
    let folder = Scratch::new(env)?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        done = prepare(env, options, &folder.0) => {
            let (environment, keys, ceilings) = done?;
            let outcome = drive(env, options, &keys).await?;
            Ok((report(options, environment, &outcome, ceilings), outcome))
        }
    }
}

async fn prepare(
    env: &Env,
    options: &Options,
    folder: &Path,
) -> Result<(Environment, Keys, Option<Ceilings>), BenchError> {
    let environment = environment(env, folder).await?;
    let keys = Keys::generate(env).await?;
    let ceilings = match options.along {
        Along::Nothing => None,
        Along::Ceilings => {
            Some(ceilings::measure(env, &options.program, &options.load, &keys, folder).await?)
        }
    };
    Ok((environment, keys, ceilings))
}

async fn drive(env: &Env, options: &Options, keys: &Keys) -> Result<Outcome, BenchError> {
    match &options.target {
        Target::Running { host, port, ca, people } => {
            let aim = aim_at(env, host, *port, ca.as_deref()).await?;
            let aim = Aim { people: people.clone(), ..aim };
            load::run(env, &aim, &options.load, keys).await
        }
        Target::Own { servers } => {
            let programs = options.program.parent().map(Path::to_owned).unwrap_or_default();
            let cluster = Cluster::start(env, &programs, *servers, LIMITS).await?;
            let aim = cluster.aim();
            let outcome = tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
                outcome = load::run(env, &aim, &options.load, keys) => outcome,
            };
            let _ = fs::remove_dir_all(cluster.stop().await);
            outcome
        }
    }
}

/// The balancer that was named, as a place to go to.
async fn aim_at(env: &Env, host: &str, port: u16, ca: Option<&str>) -> Result<Aim, BenchError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let mut found: Vec<SocketAddr> = found.into_iter().flatten().collect();
    // IPv4 first: a server bound to 127.0.0.1 is "localhost" in both families.
    found.sort_by_key(SocketAddr::is_ipv6);
    let addr = *found.first().ok_or_else(|| BenchError::NoSuchHost(host.to_owned()))?;
    let cluster = match ca {
        Some(ca) => match ClusterId::parse(ca) {
            Some(id) => id,
            None => CaCert::load(Path::new(ca)).map_err(unexpected)?.cluster_id(),
        },
        None => {
            let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let endpoint = client_endpoint(env, any.parse().map_err(unexpected)?)?;
            discover_cluster(env, &endpoint, addr)
                .await
                .map_err(|source| BenchError::Connect { addr, source: source.into() })?
        }
    };
    Ok(Aim { place: Place::Balancer(addr), cluster, people: None, processes: Vec::new() })
}

fn report(
    options: &Options,
    environment: Environment,
    outcome: &Outcome,
    ceilings: Option<Ceilings>,
) -> Report {
    let (broken, broken_why) = outcome.broken.clone();
    let servers = match &options.target {
        Target::Own { servers } => Some(*servers),
        Target::Running { .. } => None,
    };
    Report {
        environment,
        load: words(&options.load),
        servers,
        written: outcome.written,
        expected: outcome.expected,
        groups: outcome.groups,
        sent_per_s: outcome.sent_per_s,
        delivered_per_s: outcome.delivered_per_s,
        sent: outcome.sent.summary(),
        delivered: outcome.delivered.summary(),
        lost: outcome.lost,
        doubled: outcome.doubled,
        reordered: outcome.reordered,
        damaged: outcome.damaged,
        put_off: outcome.put_off,
        broken,
        broken_why,
        joining_ms: outcome.joining.as_secs_f64() * 1_000.0,
        sign_up_wait_ms: outcome.waited.as_secs_f64() * 1_000.0,
        cpu_ms_per_1000: servers.map(|_| outcome.cpu_ms_per_1000),
        ceilings,
    }
}

/// A load in words.
pub fn words(load: &Load) -> String {
    let members = |size: usize| size.min(load.clients);
    let pattern = match load.pattern {
        Pattern::Pairs => "pairs".to_owned(),
        Pattern::AllToOne => "all to one".to_owned(),
        Pattern::OneToAll => "one to all".to_owned(),
        Pattern::AllToAll => "all to all".to_owned(),
        Pattern::Bursts => "bursts".to_owned(),
        Pattern::Group { size, writers: Writers::All } => format!("groups of {}", members(size)),
        Pattern::Group { size, writers: Writers::One } => {
            format!("one writer in each group of {}", members(size))
        }
        Pattern::Mix { size, percent } => {
            format!("pairs and groups of {}, {percent} % to the group", members(size))
        }
    };
    let pace = match load.pace {
        Pace::Closed { .. } if load.pattern == Pattern::Bursts => "one at a time".to_owned(),
        Pace::Closed { window } => format!("{window} in flight each"),
        Pace::Open { per_s, .. } => format!("{per_s} messages a second"),
    };
    let sealed = match load.sealed {
        Sealed::Real => "sealed and opened",
        Sealed::Pre => "sealed beforehand",
    };
    format!(
        "{} clients, {pattern}, {pace}, {} bytes, {sealed}, {} s",
        load.clients,
        load.size,
        load.duration.as_secs_f64()
    )
}

/// A folder that goes away.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn new(env: &Env) -> Result<Self, BenchError> {
        Self::new_in(env, &std::env::temp_dir())
    }

    /// In that folder.
    pub(super) fn new_in(env: &Env, folder: &Path) -> Result<Self, BenchError> {
        let path = folder.join(format!("fastchat-bench-{:016x}", env.random_u64()));
        create_private_dir(&path).map_err(unexpected)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `bench limits`: the ceilings alone.
///
/// # Errors
/// [`BenchError`]; nothing is left running.
pub async fn limits(
    env: &Env,
    program: &Path,
    load: &Load,
) -> Result<(Environment, Ceilings), BenchError> {
    let folder = Scratch::new(env)?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        done = async {
            let environment = environment(env, &folder.0).await?;
            let keys = Keys::generate(env).await?;
            let ceilings = ceilings::measure(env, program, load, &keys, &folder.0).await?;
            Ok((environment, ceilings))
        } => done,
    }
}
