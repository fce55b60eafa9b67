//! A cluster whose parts are started one by one, each in its own folder and on its own address, as
//! on several machines: made, started, drained, broken, mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use processes::{PATIENCE, free_ports, said, send};
use rustix::process::Signal;
use serde_json::Value;

/// Three machines, and one for the balancer: 127.0.0.2 to 127.0.0.5.
struct Machines {
    folder: tempfile::TempDir,
    port: u16,
    running: Vec<(String, Child)>,
}

impl Machines {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = (0..20).map(|_| free_ports()).find(|&port| {
            (2..=5).all(|last| {
                let free = |port| UdpSocket::bind((format!("127.0.0.{last}"), port)).is_ok();
                free(port) && free(port + 1)
            })
        });
        Self { folder, port: port.unwrap(), running: Vec::new() }
    }

    fn hosts(&self) -> String {
        let port = self.port;
        let mut text = format!("[balancer]\nlisten = \"127.0.0.5:{port}\"\n");
        for number in 1..=3 {
            let (ip, peer) = (format!("127.0.0.{}", number + 1), port + 1);
            text += &format!(
                "[[server]]\nid = \"s{number}\"\nlisten = \"{ip}:{port}\"\n\
                 peer_listen = \"{ip}:{peer}\"\n"
            );
        }
        text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, words: &[&str], folder: &str) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.path(folder)).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env_remove("RUST_LOG");
        for name in ["DATA_HOME", "STATE_HOME", "CONFIG_HOME", "RUNTIME_DIR"] {
            command.env(format!("XDG_{name}"), self.path("home"));
        }
        command
    }

    fn load_balancer(&self, words: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_load_balancer");
        self.command(program, words, "").output().unwrap()
    }

    fn server(&self, id: &str, more: &[&str]) -> Command {
        let words = [&["--id", id, "--cluster", "cluster.toml"], more].concat();
        self.command(env!("CARGO_BIN_EXE_server"), &words, &format!("cluster/{id}"))
    }

    fn client(&self, user: &str, words: &[&str]) -> Output {
        let words = [&["-p", user], words].concat();
        self.command(env!("CARGO_BIN_EXE_client"), &words, "").output().unwrap()
    }

    fn begin(&mut self, name: &str, mut command: Command) {
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.running.push((name.to_owned(), command.spawn().unwrap()));
    }

    fn end(&mut self, name: &str, signal: Signal) -> Option<i32> {
        let index = self.running.iter().position(|(running, _)| running == name).unwrap();
        let (_, mut child) = self.running.remove(index);
        send(child.id(), signal);
        child.wait().unwrap().code()
    }

    /// What `status` says of every server, once all are as expected.
    fn states(&self, expected: [&str; 3]) {
        let file = "cluster/balancer/cluster.toml";
        let end = Instant::now() + PATIENCE;
        loop {
            let output = self.load_balancer(&["status", "--json", "--cluster", file]);
            let text = String::from_utf8(output.stdout).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let states: Vec<String> = lines
                .filter(|line| line["type"] == "server")
                .map(|line| line["state"].as_str().unwrap().to_owned())
                .collect();
            if states == expected {
                return;
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < end, "{states:?}, expected {expected:?}; {errors}");
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn people_talk_across_machines_that_are_started_drained_and_killed_one_by_one() {
    let mut machines = Machines::new();
    fs::create_dir(machines.path("home")).unwrap();
    fs::write(machines.path("hosts.toml"), machines.hosts()).unwrap();
    let init = ["init", "--servers", "hosts.toml"];
    let made = machines.load_balancer(&init);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let told = String::from_utf8(made.stdout).unwrap();
    let ca = told.split("--ca ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let again = machines.load_balancer(&init);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));

    let early = machines.server("s1", &[]).output().unwrap();
    assert_eq!(early.status.code(), Some(9), "a missing database is never made by itself");
    assert!(said(&early).contains("--create"), "{}", said(&early));
    for id in ["s1", "s2", "s3"] {
        let made = machines.server(id, &["--create"]).output().unwrap();
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        machines.begin(id, machines.server(id, &[]));
    }
    let again = machines.server("s1", &["--create"]).output().unwrap();
    assert_eq!(again.status.code(), Some(9), "{}", said(&again));
    let watch = ["--no-spawn", "--cluster", "cluster.toml", "--strategy", "home"];
    let balancer = env!("CARGO_BIN_EXE_load_balancer");
    machines.begin("balancer", machines.command(balancer, &watch, "cluster/balancer"));
    machines.states(["ready", "ready", "ready"]);

    let at = format!("127.0.0.5:{}", machines.port);
    fs::write(machines.path("password"), "correct horse battery").unwrap();
    for user in ["alice", "bob"] {
        let words = ["register", user, "--server", &at, "--ca", &ca, "--password-file", "password"];
        let output = machines.client(user, &words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    // Alice lives on s1, Bob on s3.
    let talk = |machines: &Machines, text: &str| {
        let sent = machines.client("alice", &["send", "bob", text]);
        assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
        let read = machines.client("bob", &["recv"]);
        let read = String::from_utf8(read.stdout).unwrap();
        assert!(read.contains(text), "{read}");
    };
    talk(&machines, "across");

    let file = ["--cluster", "cluster/balancer/cluster.toml"];
    let drained = machines.load_balancer(&[&["drain", "s1"], &file[..]].concat());
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    machines.states(["drain", "ready", "ready"]);
    talk(&machines, "while her server drains");
    // A restart does not end the draining; only the operator does.
    assert_eq!(machines.end("s1", Signal::TERM), Some(0));
    machines.begin("s1", machines.server("s1", &[]));
    machines.states(["drain", "ready", "ready"]);
    machines.load_balancer(&[&["undrain", "s1"], &file[..]].concat());
    machines.states(["ready", "ready", "ready"]);
    let unknown = machines.load_balancer(&[&["drain", "s9"], &file[..]].concat());
    assert_eq!(unknown.status.code(), Some(8), "{}", said(&unknown));

    machines.end("s2", Signal::KILL);
    machines.states(["ready", "down", "ready"]);
    talk(&machines, "with a machine gone");
    machines.begin("s2", machines.server("s2", &[]));
    machines.states(["ready", "ready", "ready"]);

    // The balancer goes and comes; the servers never notice.
    let stopped = machines.load_balancer(&[&["stop"], &file[..]].concat());
    assert_eq!(stopped.status.code(), Some(0), "{}", said(&stopped));
    talk(&machines, "without a balancer");
    machines.running.retain(|(name, _)| name != "balancer");
    machines.begin("balancer", machines.command(balancer, &watch, "cluster/balancer"));
    machines.states(["ready", "ready", "ready"]);
}

#[test]
fn every_bad_hosts_file_is_answered_with_its_line_and_what_to_do() {
    let machines = Machines::new();
    let hosts = machines.hosts();
    let refused = |text: &str, line: &str, remedy: &str| {
        fs::write(machines.path("hosts.toml"), text).unwrap();
        let output = machines.load_balancer(&["init", "--servers", "hosts.toml"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.trim_end().lines().count(), 2, "{said}");
        assert!(said.contains(line) && said.contains(remedy), "{said}");
        assert!(!machines.path("cluster").exists());
    };
    refused(&hosts.replacen("listen", "lisen", 1), "hosts.toml: line 2, column 1", "\"listen\"");
    refused(&hosts.replace("s2", "s1"), "line 8, column 6: there are two servers s1", "example");
    refused(&hosts.replacen("127.0.0.5", "0.0.0.0", 1), "line 2, column 10: nobody", "example");
    refused("servers = 3", "line 1", "");
}
