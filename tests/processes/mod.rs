//! `load_balancer` as a user starts it: real processes, real ports, real signals.
//!
//! Ports are looked for below the range that the system deals out by itself.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests; not every test uses all of it"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use fastchat::placement::PlacementMap;
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a cluster in it, and the first of its ports.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_ports() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load_balancer"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("RUST_LOG");
        command
    }

    /// Runs a command that ends by itself.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    pub fn begin(&self, servers: u16) -> Running {
        self.begin_on(servers, self.port)
    }

    pub fn begin_on(&self, servers: u16, port: u16) -> Running {
        self.begin_with(self.command(&[&servers.to_string(), &port.to_string()]))
    }

    /// Starts a cluster. What it says on standard error goes into a file of its own, so that nobody
    /// has to read it for the cluster to go on.
    pub fn begin_with(&self, mut command: Command) -> Running {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let errors = self.path(&format!("stderr-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        command.stdout(Stdio::piped()).stderr(File::create(&errors).unwrap());
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Running { child: Some(child), lines, errors }
    }

    /// Starts and waits for the join line.
    pub fn start(&self, servers: u16) -> Running {
        let running = self.begin(servers);
        running.wait_for("Join:");
        running
    }

    pub fn map(&self) -> PlacementMap {
        serde_json::from_slice(&fs::read(self.path("databases/placement.json")).unwrap()).unwrap()
    }

    /// The process of a server that has come up at least so far as to say who it is.
    pub fn pid(&self, server: &str) -> u32 {
        self.try_pid(server).unwrap()
    }

    pub fn try_pid(&self, server: &str) -> Option<u32> {
        let text = fs::read_to_string(self.path(&format!("databases/{server}.pid"))).ok()?;
        text.trim().parse().ok()
    }

    pub fn free(&self, servers: u16) -> bool {
        are_free(self.port, servers)
    }
}

impl Drop for Place {
    /// A failed test leaves no server behind.
    fn drop(&mut self) {
        for number in 1..=4 {
            let Some(pid) = self.try_pid(&format!("s{number}")) else { continue };
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.contains(self.folder.path().to_str().unwrap()) {
                send(pid, Signal::KILL);
            }
        }
    }
}

/// A running `load_balancer`. Dropped, it is killed; its servers live on.
pub struct Running {
    pub child: Option<Child>,
    lines: Receiver<String>,
    errors: PathBuf,
}

impl Running {
    /// The first line that holds `part`; lines before it are passed over.
    pub fn wait_for(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Where its standard error goes, and that of its servers.
    pub fn errors(&self) -> &std::path::Path {
        &self.errors
    }

    pub fn signal(&self, signal: Signal) {
        send(self.child.as_ref().unwrap().id(), signal);
    }

    /// Waits for the end: how it ended, and what was said on standard error.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let child = self.child.take().unwrap();
        let pid = child.id();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
        let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            send(pid, Signal::TERM);
            panic!("load_balancer does not end")
        });
        (output.status, fs::read_to_string(&self.errors).unwrap())
    }

    /// Ends it with signal 9; its servers live on. What it printed and nobody waited for.
    pub fn kill(mut self) -> Vec<String> {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.lines.try_iter().collect()
    }

    pub fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().0.code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

pub fn send(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// A first port whose followers are free, too. Each call looks elsewhere.
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 60).unwrap() * 300;
    loop {
        let port = start + NEXT.fetch_add(10, Ordering::Relaxed) % 300;
        if are_free(port, 4) {
            return port;
        }
    }
}

fn are_free(port: u16, servers: u16) -> bool {
    let clients = (1..=servers).map(|number| port + number);
    let peers = (1..=servers).map(|number| port + 100 + number);
    std::iter::once(port)
        .chain(clients)
        .chain(peers)
        .all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok())
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
