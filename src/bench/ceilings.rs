//! The ceilings of this machine: what its network stack, its disk and SQLite give when nothing
//! else is asked of them, measured in the same minutes as a cluster.
//!
//! The machine may be shared and busy; ratios to these figures compare where absolute ones do not.
//! Deliberately the same sessions as [`super::load`], against the relay of [`super::relay`], which
//! runs in a process of its own like a server does.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::load::{self, Aim, Keys, Load, Outcome, Pace, Pattern, Place};
use super::relay::Store;
use super::{BenchError, Durations, PATIENCE, Summary, unexpected};
use crate::net::Env;
use crate::types::ClusterId;

/// How long the disk is measured.
const DISK_TIME: Duration = Duration::from_secs(1);
/// Bytes written before each fdatasync.
const DISK_BYTES: usize = 4096;
/// The file is written over and over, as a write-ahead log is.
const DISK_BLOCKS: u64 = 256;
/// A ceiling needs no more time than this.
const RELAY_TIME: Duration = Duration::from_secs(5);
const RELAY_WARMUP: Duration = Duration::from_secs(1);

/// What the machine gives.
#[derive(Clone, Debug, Serialize)]
pub struct Ceilings {
    /// A framed request and its answer on one stream, through the relay in memory.
    pub round_trip: Summary,
    /// The load, passed on by the relay in memory.
    pub memory: Passed,
    /// The load, passed on by the relay after SQLite's commit.
    pub durable: Passed,
    /// fdatasync of 4 KiB.
    pub disk: Disk,
}

/// A load that the relay passed on.
#[derive(Clone, Debug, Serialize)]
pub struct Passed {
    /// Messages delivered a second.
    pub per_s: f64,
    /// Until the author was answered.
    pub sent: Summary,
    /// Until the recipient had it.
    pub delivered: Summary,
    /// Processor time of the relay per 1,000 messages.
    pub cpu_ms_per_1000: f64,
}

/// What the disk does.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// One after the other, a second.
    pub per_s: f64,
    /// Of one.
    pub took: Summary,
}

/// Measures them for this load, in a folder on the disk that matters.
///
/// # Errors
/// [`BenchError`] when the relay, `bench` itself under a hidden word, does not start.
pub async fn measure(
    env: &Env,
    program: &Path,
    load: &Load,
    keys: &Keys,
    folder: &Path,
) -> Result<Ceilings, BenchError> {
    let load = Load {
        warmup: load.warmup.min(RELAY_WARMUP),
        duration: load.duration.min(RELAY_TIME),
        forget: None,
        ..load.clone()
    };
    let alone = Load {
        clients: 2,
        pattern: Pattern::OneToAll,
        pace: Pace::Closed { window: 1 },
        ..load.clone()
    };
    let disk = measure_disk(env, folder).await?;
    let round_trip = pass(env, program, &alone, keys, &Store::Memory).await?.sent.summary();
    let memory = pass(env, program, &load, keys, &Store::Memory).await?;
    let store = Store::Sqlite(folder.join("relay.sqlite"));
    let durable = pass(env, program, &load, keys, &store).await?;
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.join(format!("relay.sqlite{suffix}")));
    }
    Ok(Ceilings { round_trip, memory: passed(&memory), durable: passed(&durable), disk })
}

fn passed(outcome: &Outcome) -> Passed {
    Passed {
        per_s: outcome.delivered_per_s,
        sent: outcome.sent.summary(),
        delivered: outcome.delivered.summary(),
        cpu_ms_per_1000: outcome.cpu_ms_per_1000,
    }
}

async fn pass(
    env: &Env,
    program: &Path,
    load: &Load,
    keys: &Keys,
    store: &Store,
) -> Result<Outcome, BenchError> {
    let relay = Relay::start(program, store).await?;
    let outcome = load::run(env, &relay.aim, load, keys).await;
    relay.stop().await;
    let outcome = outcome?;
    if outcome.is_sound() {
        return Ok(outcome);
    }
    Err(unexpected(format!("the relay lost messages: {:?}", outcome.broken)))
}

/// The relay in a process of its own.
struct Relay {
    child: Child,
    aim: Aim,
}

impl Relay {
    async fn start(program: &Path, store: &Store) -> Result<Self, BenchError> {
        let mut command = Command::new(program);
        command.arg("relay").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        if let Store::Sqlite(path) = store {
            command.arg("--store").arg(path);
        }
        let path = PathBuf::from(program);
        let mut child = command.spawn().map_err(|source| BenchError::Program { path, source })?;
        let stdout = child.stdout.take().ok_or_else(super::cluster::no_pipe)?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.map_err(|_| BenchError::TooSlow("the relay"))??.unwrap_or_default();
        let (port, cluster) = line.split_once(' ').unwrap_or_default();
        let aim = port.parse().ok().zip(ClusterId::parse(cluster)).map(|(port, cluster)| Aim {
            place: Place::Server(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            cluster,
            people: None,
            processes: child.id().into_iter().collect(),
        });
        let aim = aim.ok_or_else(|| unexpected(format!("the relay says {line:?}")))?;
        Ok(Self { child, aim })
    }

    async fn stop(mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Measures the disk under a folder.
///
/// # Errors
/// [`BenchError::File`].
pub async fn measure_disk(env: &Env, folder: &Path) -> Result<Disk, BenchError> {
    let path = folder.join("fdatasync");
    env.blocking(move || {
        let written = File::create(&path).and_then(|file| sync_for(&file, DISK_TIME));
        let _ = fs::remove_file(&path);
        written.map_err(|source| BenchError::File { path, source })
    })
    .await
}

fn sync_for(file: &File, time: Duration) -> std::io::Result<Disk> {
    let block = [0x5a; DISK_BYTES];
    file.write_all_at(&vec![0; DISK_BYTES * DISK_BLOCKS as usize], 0)?;
    file.sync_all()?;
    let (mut took, started) = (Durations::new(), Instant::now());
    let mut count = 0;
    while started.elapsed() < time {
        let from = Instant::now();
        file.write_all_at(&block, count % DISK_BLOCKS * DISK_BYTES as u64)?;
        file.sync_data()?;
        took.add(from.elapsed());
        count += 1;
    }
    let per_s = count as f64 / started.elapsed().as_secs_f64();
    Ok(Disk { per_s, took: took.summary() })
}
