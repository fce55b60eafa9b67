//! What an operator relies on, with real processes: the admin address, JSON logs, certificates
//! rotated under a running cluster, a service manager, the doctor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Instant;

use fastchat::limits::Limits;
use fastchat::net::{CaCert, Env, Target, client_endpoint, connect, presented};
use processes::{PATIENCE, Place, Running, said};
use rustix::process::Signal;
use serde_json::Value;

const PASSWORD: &str = "correct horse battery";

/// `GET path`: status line and body.
fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Tries until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// A TCP port far from the UDP ports of this test.
fn admin_port(place: &Place) -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_ne!(port, place.port);
    // The servers take the two that follow.
    if port < u16::MAX - 2 { port } else { port - 3 }
}

/// A program of somebody's, with everything it keeps in the place.
fn client(place: &Place, join: &str, name: &str, words: &[&str]) -> Output {
    let mut join = join.split_whitespace().skip_while(|word| *word != "--ca");
    let ca = join.nth(1).unwrap();
    let password = place.path("password");
    fs::write(&password, PASSWORD).unwrap();
    for folder in ["home", "run"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    let server = format!("127.0.0.1:{}", place.port);
    command.args(["-p", name, "--server", &server, "--ca", ca, "--timeout", "30"]).args(words);
    command.env("HOME", place.path("home")).env("XDG_RUNTIME_DIR", place.path("run"));
    for variable in ["XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.current_dir(place.folder.path()).output().unwrap()
}

fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

fn sign_up(place: &Place, join: &str, name: &str) {
    let password = place.path("password");
    let words = ["register", name, "--password-file", password.to_str().unwrap()];
    done(&client(place, join, name, &words));
}

fn begin(place: &Place, options: &[&str], log: &str) -> (Running, String) {
    let port = place.port.to_string();
    let mut words = vec!["2", &port];
    words.extend(options);
    let mut command = place.command(&words);
    command.env("RUST_LOG", log);
    let running = place.begin_with(command);
    let join = running.wait_for("Join:");
    (running, join)
}

#[test]
fn health_and_figures_are_there_and_name_nobody() {
    let place = Place::new();
    let admin = admin_port(&place);
    let (running, join) = begin(&place, &["--admin", &admin.to_string()], "warn");
    for port in admin..=admin + 2 {
        assert!(get(port, "/healthz").0.contains(" 200 "));
        until("ready", || get(port, "/readyz") == ("HTTP/1.1 200 OK".into(), "ready\n".into()));
    }
    sign_up(&place, &join, "wilhelmina");
    sign_up(&place, &join, "bartholomew");
    done(&client(&place, &join, "wilhelmina", &["send", "@bartholomew", "hello"]));
    let servers = get(admin + 1, "/metrics").1 + &get(admin + 2, "/metrics").1;
    for line in [
        "fastchat_messages_total{kind=\"direct\",result=\"stored\"} 1\n",
        "fastchat_mailbox_messages 1\n",
        "fastchat_blob_bytes 0\n",
        "fastchat_deliver_seconds_count{stage=\"stored\"} 1\n",
        "fastchat_connections 0\n",
        "fastchat_forward_queue{peer=\"s2\"} 0\n",
    ] {
        assert!(servers.contains(line), "no {line} in\n{servers}");
    }
    let expiry = servers.lines().find(|l| l.starts_with("fastchat_cert_expiry_seconds ")).unwrap();
    let days = expiry.split(' ').nth(1).unwrap().parse::<f64>().unwrap() / 86_400.0;
    assert!((89.0..90.1).contains(&days), "{expiry}");
    let balancer = get(admin, "/metrics").1;
    for line in [
        "fastchat_balancer_strategy{strategy=\"random\"} 1\n",
        "fastchat_server_state{server=\"s1\",state=\"ready\"} 1\n",
        "fastchat_server_state{server=\"s1\",state=\"down\"} 0\n",
        "fastchat_balancer_offers_total{server=",
    ] {
        assert!(balancer.contains(line), "no {line} in\n{balancer}");
    }
    for name in ["wilhelmina", "bartholomew"] {
        assert!(!servers.contains(name) && !balancer.contains(name), "{name} in a label");
    }
    running.stop();
}

#[test]
fn a_json_log_parses_names_connections_and_names_nobody() {
    let place = Place::new();
    let (running, join) = begin(&place, &["--log-format", "json"], "info,fastchat=debug");
    sign_up(&place, &join, "wilhelmina");
    sign_up(&place, &join, "bartholomew");
    done(&client(&place, &join, "wilhelmina", &["send", "@bartholomew", "hello"]));
    done(&client(&place, &join, "bartholomew", &["recv"]));
    running.signal(Signal::TERM);
    let log = running.wait().1;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["process"].is_string() && line["level"].is_string()));
    let said = |text: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["fields"]["message"] == text).collect()
    };
    for text in ["a client connected", "logged in", "a client left"] {
        let found = said(text);
        assert!(!found.is_empty(), "nothing says {text:?} in\n{log}");
        assert!(found.iter().all(|line| line["span"]["conn"].is_u64()), "{found:?}");
    }
    let hashes: Vec<&Value> =
        said("logged in").iter().map(|line| &line["fields"]["user"]).collect();
    assert!(hashes.iter().all(|user| user.as_str().unwrap().starts_with("u-")), "{hashes:?}");
    for name in ["wilhelmina", "bartholomew", PASSWORD, "hello"] {
        assert!(!log.contains(name), "{name} in\n{log}");
    }
}

#[test]
fn addresses_are_logged_at_debug_only_and_names_only_when_asked_for() {
    let place = Place::new();
    let (running, join) = begin(&place, &["--log-names"], "info");
    sign_up(&place, &join, "wilhelmina");
    running.signal(Signal::TERM);
    let log = running.wait().1;
    assert!(log.contains("wilhelmina"), "{log}");
    assert!(!log.contains("127.0.0.1"), "{log}");
}

#[test]
fn the_log_level_is_read_again_at_a_sighup() {
    let place = Place::new();
    let (running, join) = begin(&place, &[], "warn");
    sign_up(&place, &join, "wilhelmina");
    fs::write(place.path("databases/log-level"), "info").unwrap();
    running.signal(Signal::HUP);
    // The servers hear of it through the balancer.
    until("logged", || {
        done(&client(&place, &join, "wilhelmina", &["recv"]));
        fs::read_to_string(running.errors()).unwrap().contains("logged in")
    });
    running.stop();
}

/// What a server shows to who connects now.
async fn shown(place: &Place, number: u16) -> u64 {
    let (env, limits) = (Env::system(), Limits::default());
    let endpoint = client_endpoint(&env, "127.0.0.1:0".parse().unwrap()).unwrap();
    let pin = CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id();
    let (name, target, port) = match number {
        0 => ("balancer".to_owned(), Target::Balancer, place.port),
        _ => (format!("s{number}"), Target::Client, place.port + number),
    };
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let connection =
        connect(&endpoint, &env, addr, &name, target, &pin, None, &limits).await.unwrap();
    presented(&connection).unwrap().expires_unix_ms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_certificates_are_taken_by_a_running_cluster() {
    let place = Place::new();
    let (running, join) = begin(&place, &[], "warn");
    sign_up(&place, &join, "wilhelmina");
    let before = shown(&place, 1).await;
    let pids = (place.pid("s1"), place.pid("s2"));
    // Certificates say when they end to the second.
    until("a later second", || Env::system().unix_ms() / 1000 > before / 1000 - 90 * 86_400 + 1);
    let rotated = place.run(&["certs", "rotate"]);
    done(&rotated);
    let text = String::from_utf8(rotated.stdout).unwrap();
    assert_eq!(text, "4 certificates renewed. The running cluster takes them now.\n");
    for number in 0..=2 {
        let began = Instant::now();
        while shown(&place, number).await <= before {
            assert!(began.elapsed() < PATIENCE, "{number} still shows the old certificate");
        }
    }
    assert_eq!(pids, (place.pid("s1"), place.pid("s2")), "nobody was restarted");
    done(&client(&place, &join, "wilhelmina", &["recv"]));
    let listed = place.run(&["certs", "show"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.starts_with("s1         89 days, until "), "{text}");
    running.stop();
}

/// A service manager that only listens.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let path = place.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn hears(&self, word: &str) {
        let mut bytes = [0; 512];
        loop {
            let count = self.socket.recv(&mut bytes).unwrap_or_else(|_| panic!("never {word}"));
            if String::from_utf8_lossy(&bytes[..count]).lines().any(|line| line == word) {
                return;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_of_start_life_and_end() {
    let place = Place::new();
    let manager = Manager::new(&place);
    let mut command = place.command(&["1", &place.port.to_string()]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "150000");
    let running = place.begin_with(command);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(running.wait().0.code(), Some(0));
    // A server alone says the same.
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.args(["--id", "s1"]).current_dir(place.folder.path());
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "150000");
    let mut server = command.spawn().unwrap();
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    processes::send(server.id(), Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// The verdict and the line of each check.
fn doctor(place: &Place) -> (Option<i32>, Vec<Value>) {
    let output = place.run(&["doctor", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), lines)
}

fn verdict<'a>(checks: &'a [Value], name: &str) -> &'a str {
    checks.iter().find(|check| check["name"] == name).unwrap()["verdict"].as_str().unwrap()
}

#[test]
fn a_doctor_finds_a_healthy_cluster_well_and_names_what_is_wrong_with_another() {
    let place = Place::new();
    let running = place.start(2);
    let (code, checks) = doctor(&place);
    assert_eq!(code, Some(0), "{checks:#?}");
    assert_eq!(verdict(&checks, "reach balancer"), "ok");
    assert_eq!(verdict(&checks, "reach s2"), "ok");
    let key = place.path("certs/s1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, checks) = doctor(&place);
    assert_eq!((code, verdict(&checks, "keys")), (Some(7), "FAIL"), "{checks:#?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    running.stop();

    let (code, checks) = doctor(&place);
    assert_eq!((code, verdict(&checks, "reach s1")), (Some(3), "FAIL"), "{checks:#?}");
    assert_eq!(verdict(&checks, "database s1"), "ok", "{checks:#?}");
    let database = place.path("databases/s1.sqlite");
    let mut bytes = fs::read(&database).unwrap();
    bytes[4096..].fill(0xaa);
    fs::write(&database, bytes).unwrap();
    let (_, checks) = doctor(&place);
    assert_eq!(verdict(&checks, "database s1"), "FAIL");
    assert_eq!(verdict(&checks, "database s2"), "ok");
}
