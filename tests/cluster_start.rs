//! `load_balancer` as a user starts it: everything a start, an end and an operator can meet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastchat::limits::Limits;
use fastchat::net::{CaCert, Credentials, Env, FrameReader, FrameWriter, Target};
use fastchat::net::{client_endpoint, connect};
use fastchat::wire::Code;
use fastchat::wire::balancer::balancer_reply::Body as Reply;
use fastchat::wire::balancer::balancer_request::Body as Request;
use fastchat::wire::balancer::{Ask, BalancerReply, BalancerRequest, Status};
use processes::{PATIENCE, Place, free_ports, said, send};
use rustix::process::Signal;

/// Asks the balancer as a client does, without a certificate or with one.
async fn ask(place: &Place, request: Request, credentials: Option<&Credentials>) -> Reply {
    let env = Env::system();
    let endpoint = client_endpoint(&env, "127.0.0.1:0".parse().unwrap()).unwrap();
    let pin = CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id();
    let addr = SocketAddr::from(([127, 0, 0, 1], place.port));
    let limits = Limits::default();
    let link =
        connect(&endpoint, &env, addr, "balancer", Target::Balancer, &pin, credentials, &limits)
            .await
            .unwrap();
    let (send, recv) = link.open_bi().await.unwrap();
    let mut writer = FrameWriter::new(send, 1024);
    writer.send(&BalancerRequest { version: 1, body: Some(request) }).await.unwrap();
    writer.finish();
    let mut reader = FrameReader::<BalancerReply>::new(recv, 64 * 1024, PATIENCE);
    reader.read().await.unwrap().unwrap().body.unwrap()
}

#[tokio::test]
async fn a_first_start_makes_all_and_a_second_finds_all() {
    let place = Place::new();
    let running = place.begin(3);
    let (port, first) = (place.port, running.wait_for("FastChat balancer"));
    assert_eq!(
        first,
        format!(
            "FastChat balancer on 127.0.0.1:{port} (random), 3 servers, databases in databases/"
        )
    );
    let ready = running.wait_for("ready");
    for number in 1..=3 {
        assert!(ready.contains(&format!("s{number} :{} ready", port + number)), "{ready}");
    }
    let join = running.wait_for("Join:");
    let ca = CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id();
    assert!(join.contains(&format!("client -- 127.0.0.1 {port} --ca {ca} ")), "{join}");

    // The join line is true at this moment: three edges, each with a ticket.
    let Reply::Edges(answer) = ask(&place, Request::Ask(Ask::default()), None).await else {
        panic!("no edges")
    };
    let mut edges: Vec<_> = answer.edges.iter().map(|edge| edge.server.as_str()).collect();
    edges.sort_unstable();
    assert_eq!(edges, ["s1", "s2", "s3"]);
    assert!(answer.edges.iter().all(|edge| !edge.ticket.is_empty() && edge.host == "127.0.0.1"));

    for name in ["ca", "s1", "s2", "s3", "balancer", "operator"] {
        assert_private(&place.path(&format!("certs/{name}.key")));
        assert!(place.path(&format!("certs/{name}.pem")).exists());
    }
    assert_private(&place.path("certs/admission.key"));
    assert_private(&place.path("certs/s1.quic"));
    assert!(place.path("databases/s3.sqlite").exists());
    let map = place.map();

    let asked = Instant::now();
    running.stop();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(place.free(3));

    let again = place.start(3);
    assert_eq!(CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id(), ca);
    assert_eq!(place.map(), map);
    again.stop();
}

fn assert_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

#[test]
fn a_server_that_is_killed_is_restarted_and_the_screen_says_so() {
    let place = Place::new();
    let running = place.start(2);
    let killed = place.pid("s2");
    send(killed, Signal::KILL);
    let line = running.wait_for("  s2 died (signal 9); ");
    if !line.contains("restarted, ready after ") {
        // On a very busy machine the restart is told in two lines.
        running.wait_for("  s2 is ready again, after ");
    }
    assert_ne!(place.pid("s2"), killed);
    let status = place.run(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    let text = String::from_utf8(status.stdout).unwrap();
    let s2 = text.lines().find(|line| line.contains("\"server\":\"s2\"")).unwrap();
    let s2: serde_json::Value = serde_json::from_str(s2).unwrap();
    assert_eq!((&s2["restarts"], &s2["state"]), (&1.into(), &"ready".into()));
    running.stop();
}

#[test]
fn servers_outlive_a_killed_balancer_and_the_next_one_adopts_them() {
    let place = Place::new();
    let running = place.start(2);
    let pids = [place.pid("s1"), place.pid("s2")];
    running.kill();

    let next = place.start(2);
    assert_eq!([place.pid("s1"), place.pid("s2")], pids);
    // An adopted server is watched like any other ...
    send(pids[0], Signal::KILL);
    assert!(next.wait_for("died").contains("s1 died"));
    // ... and stopped with the others.
    next.stop();
    assert!(place.free(2));
}

#[test]
fn servers_of_another_map_are_replaced_not_adopted() {
    let place = Place::new();
    let running = place.start(1);
    let pid = place.pid("s1");
    running.kill();
    let next = place.start(2);
    assert_ne!(place.pid("s1"), pid);
    next.stop();
    assert!(place.free(2));
}

#[test]
fn a_first_start_killed_at_any_moment_is_finished_by_the_next() {
    let place = Place::new();
    for round in 0..16 {
        let mut child = place
            .command(&["2", &place.port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for anything: the moment of the kill is what is tried here.
        std::thread::sleep(Duration::from_millis(round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let running = place.start(2);
    assert_eq!(place.map().version, 1);
    running.stop();
}

#[test]
fn a_taken_port_is_refused_with_the_name_of_who_has_it() {
    let place = Place::new();
    let own = std::process::id();
    for port in [place.port, place.port + 2, place.port + 101] {
        let _taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let refused = place.run(&["2", &place.port.to_string()]);
        assert_eq!(refused.status.code(), Some(3));
        let text = said(&refused);
        assert!(text.starts_with(&format!("✗ UDP {port} is taken by pid {own} (")), "{text}");
    }
}

#[test]
fn fewer_servers_than_own_data_are_refused_and_more_are_welcome() {
    let place = Place::new();
    place.start(2).stop();
    let refused = place.run(&["1", &place.port.to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("the data of s2 would be out of reach"), "{}", said(&refused));

    place.start(3).stop();
    let map = place.map();
    assert_eq!((map.version, map.servers.len()), (2, 3));
    assert!(map.slots_of(&map.servers[2].id).is_empty());
    // The third owns nothing: two are enough again.
    place.start(2).stop();
    assert_eq!(place.map().version, 3);
}

#[test]
fn another_port_is_a_new_version_of_the_map() {
    let place = Place::new();
    place.start(1).stop();
    let port = free_ports();
    let moved = place.begin_on(1, port);
    moved.wait_for("Join:");
    let map = place.map();
    assert_eq!((map.version, map.servers[0].addr.port()), (2, port + 1));
    moved.stop();
}

#[test]
fn a_second_balancer_on_the_same_data_is_refused_with_the_pid_of_the_first() {
    let place = Place::new();
    let running = place.start(1);
    let first = running.child.as_ref().unwrap().id();
    let refused = place.run(&["1", &free_ports().to_string()]);
    assert_eq!(refused.status.code(), Some(9));
    assert!(said(&refused).contains(&format!("in use by pid {first}")), "{}", said(&refused));
    running.stop();
}

#[tokio::test]
async fn state_and_stop_are_for_the_operator_only() {
    let place = Place::new();
    let running = place.start(2);
    let asked = [Request::Status(Status {}), Request::Stop(Default::default())];
    let server = Credentials::load(&place.path("certs"), "s1").unwrap();
    for request in asked {
        for credentials in [None, Some(&server)] {
            let Reply::Refusal(refusal) = ask(&place, request.clone(), credentials).await else {
                panic!("not refused")
            };
            assert_eq!(refusal.code, Code::Forbidden as u32);
        }
    }
    let status = place.run(&["status", "--server", &format!("127.0.0.1:{}", place.port)]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.starts_with("SERVER  STATE  UP"), "{text}");
    assert_eq!(text.lines().count(), 3);

    let stranger = place.run(&["status", "--certs", "nowhere"]);
    assert_eq!(stranger.status.code(), Some(9), "{}", said(&stranger));

    let stop = place.run(&["stop"]);
    assert_eq!(stop.status.code(), Some(0), "{}", said(&stop));
    assert_eq!(running.wait().0.code(), Some(0));
    assert!(place.free(2));
}

#[test]
fn ctrl_c_stops_in_order_and_exits_with_130() {
    let place = Place::new();
    let running = place.start(2);
    running.signal(Signal::INT);
    assert_eq!(running.wait().0.code(), Some(130));
    assert!(place.free(2));
}

#[test]
fn arguments_that_make_no_sense_exit_with_2_and_say_so() {
    let place = Place::new();
    for (words, part) in [
        (&["statsu"][..], "no command"),
        (&["3"], "which port"),
        (&["0", "9000"], "from 1 to 99"),
        (&["100", "9000"], "from 1 to 99"),
        (&["3", "65500"], "65603"),
        (&["3", "nine"], "no UDP port"),
        (&["3", "9000", "--strategy", "fastest"], "possible: random"),
        (&["3", "9000", "--limits", "none.toml"], "none.toml"),
    ] {
        let refused = place.run(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(said(&refused).contains(part), "{words:?}: {}", said(&refused));
    }
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn folders_that_cannot_be_used_exit_with_9_and_name_the_file() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let port = place.port.to_string();
    for folder in ["--data", "--certs"] {
        let refused = place.run(&["1", &port, folder, "file"]);
        assert_eq!(refused.status.code(), Some(9), "{}", said(&refused));
        assert!(said(&refused).contains("file"), "{}", said(&refused));
    }
}

#[test]
fn databases_without_their_map_are_refused_and_left_alone() {
    let place = Place::new();
    place.start(1).stop();
    fs::remove_file(place.path("databases/placement.json")).unwrap();
    let before = fs::read(place.path("databases/s1.sqlite")).unwrap();
    let refused = place.run(&["1", &place.port.to_string()]);
    assert_eq!(refused.status.code(), Some(9));
    assert!(said(&refused).contains("placement.json is missing"), "{}", said(&refused));
    assert_eq!(fs::read(place.path("databases/s1.sqlite")).unwrap(), before);
}

#[test]
fn a_damaged_database_stops_the_whole_start_with_its_own_message() {
    let place = Place::new();
    place.start(2).stop();
    fs::write(place.path("databases/s2.sqlite"), "this is no database").unwrap();
    let running = place.begin(2);
    let (status, text) = running.wait();
    assert_eq!(status.code(), Some(9), "{text}");
    assert!(text.contains("s2.sqlite") && text.contains("s2 could not start"), "{text}");
    assert!(place.free(2));
}
