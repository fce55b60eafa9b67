//! A cluster of two servers and the real `client` beside it, for tests of what people type.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests; not every test uses all of it"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "correct horse battery";

/// A cluster of two servers in a folder of its own; ends with the test.
pub struct World {
    pub folder: tempfile::TempDir,
    pub balancer: Child,
    pub port: u16,
    pub ca: String,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port whose neighbours, for two servers and their links, are free as well.
fn free_port() -> u16 {
    let free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    loop {
        let found = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if found < 65_000 && [0, 1, 2, 101, 102].iter().all(|offset| free(found + offset)) {
            return found;
        }
    }
}

impl World {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        let mut world = Self::run_balancer(folder, port);
        world.ca = world.ready();
        world
    }

    /// Stops the balancer and its servers in order.
    pub fn stop(&mut self) {
        if self.balancer.try_wait().unwrap().is_none() {
            let pid = self.balancer.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            self.balancer.wait().unwrap();
        }
    }

    pub fn run_balancer(folder: tempfile::TempDir, port: u16) -> Self {
        let balancer = Command::new(env!("CARGO_BIN_EXE_load_balancer"))
            .args(["2", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, balancer, port, ca: String::new() }
    }

    /// Waits for the join line and returns the fingerprint in it.
    pub fn ready(&mut self) -> String {
        let out = self.balancer.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("the cluster gets ready");
            if let Some((_, rest)) = line.split_once("--ca ") {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
        }
    }

    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FASTCHAT_")) {
            command.env_remove(name);
        }
        command
            .env("XDG_DATA_HOME", self.folder.path().join("data"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"))
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env("XDG_DOWNLOAD_DIR", self.folder.path().join("downloads"))
            .env("TZ", "UTC")
            // The program's own is for people, who look at a clock.
            .env("FASTCHAT_TIMEOUT", PATIENCE.as_secs().to_string())
            .env_remove("NO_COLOR")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub fn client(&self, words: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_client"));
        command.args(words);
        command
    }

    #[track_caller]
    pub fn run(&self, words: &[&str], exit: i32) -> Ran {
        let ran = Ran(self.client(words).output().unwrap());
        assert_eq!(ran.0.status.code(), Some(exit), "{words:?}\n{}{}", ran.out(), ran.err());
        ran
    }

    #[track_caller]
    pub fn run_with_input(&self, words: &[&str], input: &str, exit: i32) -> Ran {
        let mut child = self
            .client(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ran = Ran(child.wait_with_output().unwrap());
        assert_eq!(ran.0.status.code(), Some(exit), "{words:?}\n{}{}", ran.out(), ran.err());
        ran
    }

    pub fn register(&self, names: &[&str]) {
        let (server, ca) = (self.server(), self.ca.as_str());
        std::thread::scope(|scope| {
            for name in names {
                let words = ["register", name, "--server", &server, "--ca", ca];
                let words = [&words[..], &["--password-file", "password"]].concat();
                scope.spawn(move || self.run(&words, 0));
            }
        });
    }

    pub fn profile(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/fastchat").join(name)
    }
}

pub struct Ran(pub Output);

impl Ran {
    pub fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub fn json(&self) -> Vec<Value> {
        self.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn json_error(&self) -> Value {
        serde_json::from_str(self.err().lines().last().unwrap()).unwrap()
    }
}
