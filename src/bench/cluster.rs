//! A cluster of processes in a folder that goes away, and the client programs of its users.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::load::{Aim, Place};
use super::{BenchError, PATIENCE, unexpected};
use crate::balancer::cluster::{pid_path, read_map};
use crate::balancer::process;
use crate::limits::PEER_PORT_OFFSET;
use crate::net::files::create_private_dir;
use crate::net::{CaCert, Env};
use crate::placement::PlacementMap;
use crate::types::{ClusterId, UserName};

/// Ports are looked for from here.
const PORTS_FROM: u16 = 20_000;
const PORTS_APART: u16 = 250;
const PORT_STEPS: u16 = 40;

/// A running cluster.
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    pub(super) map: PlacementMap,
    /// From its start to the line that says how to join.
    pub(super) ready_after: Duration,
    programs: PathBuf,
    port: u16,
    ca: ClusterId,
    balancer: Child,
}

impl Cluster {
    /// Starts `load_balancer` of the folder `programs` with so many servers and the text of a
    /// limits file.
    pub(super) async fn start(
        env: &Env,
        programs: &Path,
        servers: u16,
        limits: &str,
    ) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("fastchat-bench-{:016x}", env.random_u64()));
        let cluster = Self::start_in(env, &folder, programs, servers, limits).await;
        if cluster.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        cluster
    }

    async fn start_in(
        env: &Env,
        folder: &Path,
        programs: &Path,
        servers: u16,
        limits: &str,
    ) -> Result<Self, BenchError> {
        for part in ["", "home", "run"] {
            create_private_dir(&folder.join(part))
                .map_err(|error| BenchError::Unexpected(error.to_string()))?;
        }
        write(&folder.join("limits.toml"), limits)?;
        let port = free_port(env, servers)?;
        let program = programs.join("load_balancer");
        let errors = folder.join("load_balancer.stderr");
        let log = File::create(&errors)
            .map_err(|source| BenchError::File { path: errors.clone(), source })?;
        let mut command = Command::new(&program);
        command.args([servers.to_string(), port.to_string()]).args(["--limits", "limits.toml"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let started = Instant::now();
        let mut balancer =
            command.spawn().map_err(|source| BenchError::Program { path: program, source })?;
        let stdout = balancer.stdout.take().ok_or_else(no_pipe)?;
        let ready = timeout(PATIENCE, until_ready(stdout)).await;
        let ready_after = started.elapsed();
        if !matches!(ready, Ok(Ok(true))) {
            // It gave up, or shall: its servers go with it.
            stop(&mut balancer).await;
            let said = fs::read_to_string(&errors).unwrap_or_default();
            return Err(failed("the start of a cluster", &said));
        }
        let map = read_map(&folder.join("databases")).map_err(unexpected)?;
        let map = map.ok_or_else(|| BenchError::Unexpected("there is no placement map".into()))?;
        let ca = CaCert::load(&folder.join("certs/ca.pem")).map_err(unexpected)?;
        let (folder, programs) = (folder.to_owned(), programs.to_owned());
        let ca = ca.cluster_id();
        Ok(Self { folder, map, ready_after, programs, port, ca, balancer })
    }

    /// A user name whose home is the server of that number, counted from 1.
    pub(super) fn name_at(&self, server: u16, word: &str) -> Result<UserName, BenchError> {
        let wanted = self.map.servers.get(usize::from(server).saturating_sub(1));
        (0..10_000)
            .filter_map(|number| UserName::parse(&format!("{word}{number}")).ok())
            .find(|name| self.map.home_of_user(name).map(|s| &s.id) == wanted.map(|s| &s.id))
            .ok_or_else(|| BenchError::Unexpected(format!("no name lives on server {server}")))
    }

    /// The program `client` as that user.
    pub(super) fn client<S: AsRef<OsStr>>(&self, user: &UserName, words: &[S]) -> Command {
        let mut command = Command::new(self.programs.join("client"));
        command.arg("-p").arg(user.as_str());
        command.arg("--server").arg(format!("127.0.0.1:{}", self.port)).arg("--ca");
        command.arg(self.ca.to_string());
        command.arg("--data-dir").arg(self.folder.join("profiles"));
        command.args(["--timeout", "30"]).args(words);
        command.env("HOME", self.folder.join("home"));
        command.env("XDG_RUNTIME_DIR", self.folder.join("run"));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Where load on it goes.
    pub(super) fn aim(&self) -> Aim {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let processes = self.processes().into_iter().map(|(_, pid)| pid).collect();
        Aim { place: Place::Balancer(at), cluster: self.ca, people: None, processes }
    }

    /// Its balancer, and its CA.
    pub(super) fn balancer(&self) -> (SocketAddr, ClusterId) {
        (SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), self.ca)
    }

    /// The processes of the cluster and their numbers.
    pub(super) fn processes(&self) -> Vec<(String, u32)> {
        let mut found: Vec<(String, u32)> =
            self.balancer.id().map(|pid| ("load_balancer".to_owned(), pid)).into_iter().collect();
        for server in &self.map.servers {
            let text = fs::read_to_string(pid_path(&self.folder.join("databases"), &server.id));
            let pid = text.ok().and_then(|text| text.trim().parse().ok());
            found.extend(pid.map(|pid| (server.id.to_string(), pid)));
        }
        found
    }

    /// Stops everything in order. What is left is the folder.
    pub(super) async fn stop(mut self) -> PathBuf {
        stop(&mut self.balancer).await;
        self.folder
    }
}

/// Asks a balancer to stop, as Ctrl-C does, and waits until it and its servers have.
async fn stop(balancer: &mut Child) {
    if let Some(pid) = balancer.id() {
        process::signal(pid, process::Ask::Stop);
    }
    if timeout(PATIENCE, balancer.wait()).await.is_err() {
        let _ = balancer.kill().await;
    }
}

/// Whether the cluster said that it is ready, before it said nothing more.
async fn until_ready(stdout: ChildStdout) -> Result<bool, std::io::Error> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if line.contains("Join:") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs a program to its end; whatever it said when it failed is the error.
pub(super) async fn done(what: &str, command: &mut Command) -> Result<(), BenchError> {
    let path = PathBuf::from(command.as_std().get_program());
    let output = command.output().await.map_err(|source| BenchError::Program { path, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(what, &String::from_utf8_lossy(&output.stderr)))
}

pub(super) fn failed(what: &str, said: &str) -> BenchError {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    BenchError::Failed { what: what.to_owned(), said }
}

pub(super) fn no_pipe() -> BenchError {
    BenchError::Unexpected("a program has no standard output".to_owned())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(|source| BenchError::File { path: path.to_owned(), source })
}

/// A port whose followers are free, too.
fn free_port(env: &Env, servers: u16) -> Result<u16, BenchError> {
    let is_free = |port: u16| env.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    // Another cluster that looks at the same time has not taken what it found yet.
    let first = (env.random_u64() % u64::from(PORT_STEPS)) as u16;
    (0..PORT_STEPS)
        .map(|step| PORTS_FROM + (first + step) % PORT_STEPS * PORTS_APART)
        .find(|&port| {
            (port..=port + servers)
                .chain(port + PEER_PORT_OFFSET + 1..=port + PEER_PORT_OFFSET + servers)
                .all(is_free)
        })
        .ok_or_else(|| BenchError::Unexpected("no free UDP ports from 20000 to 29999".to_owned()))
}
