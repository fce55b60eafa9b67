//! A whole cluster in one thread: the real balancer, servers and clients over real QUIC on a
//! simulated network with paused time, from a seed. The same seed gives the same trace.
//!
//! A crash ends every task of a process at its next await and drops its sockets; store work that
//! was not committed by then is lost. Only keys and password costs are cheaper than in life.

mod faults;
mod files;
mod groups;
mod judging;
mod screen;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use world::World;

use super::net::NetCounters;
use crate::net::env::Bug;

/// Trouble while setting up: not a finding, the run says nothing.
pub type SetupError = Box<dyn std::error::Error>;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Servers, besides the balancer.
    pub servers: u16,
    /// People, one client each.
    pub clients: usize,
    /// Steps: in each a few texts are written and perhaps something breaks.
    pub steps: usize,
    /// Two groups besides, with members who come and go.
    pub groups: bool,
    /// A bug planted in every process.
    pub bug: Option<Bug>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self { servers: 3, clients: 8, steps: 18, groups: true, bug: None }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct SimReport {
    /// Broken promises; empty when all is well.
    pub violations: Vec<String>,
    /// Hash of every datagram's time, endpoints and length, and of every client's events.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Processes killed.
    pub crashes: usize,
    /// Texts written, told sent, shown.
    pub counts: (usize, usize, usize),
    /// Files taken by a client, and files stored by a reader.
    pub files: (usize, usize),
    /// What the network did.
    pub network: NetCounters,
    /// The last events, to find where two runs part.
    pub trace_tail: Vec<String>,
}

/// Runs one seed to its end.
///
/// # Errors
/// [`SetupError`] when the cluster could not even be set up.
pub fn run(seed: u64, config: &SimConfig) -> Result<SimReport, SetupError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let folder = Folder::new(seed)?;
    runtime.block_on(async { World::new(seed, config, &folder.0)?.live().await })
}

/// How long an idle client takes to be back online elsewhere, from the moment its edge is killed;
/// the edge is started again 300 ms after that, as the balancer does.
///
/// # Errors
/// [`SetupError`] when the cluster could not be set up, or the client does not come back.
pub fn time_to_leave_a_dead_edge(seed: u64) -> Result<Duration, SetupError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let folder = Folder::new(seed)?;
    let config = SimConfig { clients: 1, groups: false, ..SimConfig::default() };
    runtime.block_on(async { World::new(seed, &config, &folder.0)?.leave_a_dead_edge().await })
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> std::io::Result<Self> {
        let unique =
            format!("fastchat-sim-{}-{seed}-{:x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
