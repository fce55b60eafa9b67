//! The simulated network carries real QUIC, and the same seed gives the same trace.

use std::collections::BTreeSet;

use super::*;

const MESSAGES: u64 = 200;
const SEEDS: u64 = 5;

struct Run {
    hash: u64,
    tail: Vec<String>,
    dropped: u64,
}

async fn exchange(seed: u64) -> Run {
    let config = NetConfig { loss: 0.05, duplicate: 0.02, reorder: 0.05, ..NetConfig::default() };
    let mut lab = Lab::with(seed, config);
    let server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();
    let (send, recv) = conn.open_bi().await.unwrap();
    let (mut reader, mut writer) = framed(send, recv);
    for rid in 1..=MESSAGES {
        writer.send(&look_up(rid, lab.caller.random_below(3_000))).await.unwrap();
        if rid % 4 == 0 {
            for expected in rid - 3..=rid {
                assert_eq!(reader.read().await.unwrap().unwrap().rid, expected);
                lab.net.note(&format!("echo {expected}"));
            }
        }
    }
    writer.finish();
    assert_eq!(reader.read().await.unwrap(), None);
    restart_as_a_peer(&mut lab, &conn, server).await;
    let net = &lab.net;
    Run { hash: net.trace_hash(), tail: net.trace_tail(), dropped: net.counters().dropped }
}

/// The other things a simulation does: a kill in the middle of talk, a restart, mutual TLS.
async fn restart_as_a_peer(lab: &mut Lab, conn: &quinn::Connection, server: quinn::Endpoint) {
    let (mut send, _recv) = conn.open_bi().await.unwrap();
    send.write_all(&[0; 50_000]).await.unwrap();
    tokio::time::sleep(lab.caller.jitter(Duration::from_millis(20))).await;
    let keys = lab.server.keys.clone();
    lab.restart(&keys);
    drop(server);
    let _server = lab.serve(ListenKind::Peer);
    lab.net.note(&format!("lost: {}", conn.closed().await));
    let own = lab.authority.issue(&lab.caller, &Role::Server(ServerId::numbered(2))).unwrap();
    let pin = lab.authority.cluster_id();
    talk(&lab.dial("s1", Target::Peer, &pin, Some(&own)).await.unwrap()).await;
    lab.endpoint.close(0_u32.into(), b"");
    lab.endpoint.wait_idle().await;
}

/// Every run in a runtime of its own, as a simulation must be.
fn run(seed: u64) -> Run {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(exchange(seed))
}

#[test]
fn the_same_seed_gives_the_same_trace_over_a_lossy_network() {
    let mut hashes = BTreeSet::new();
    for seed in 1..=SEEDS {
        let (first, second) = (run(seed), run(seed));
        let parted = first.tail.iter().zip(&second.tail).find(|(a, b)| a != b);
        assert_eq!(parted, None, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert!(first.dropped > 0, "the network lost nothing");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len() as u64, SEEDS, "different seeds give different traces");
}

#[tokio::test(start_paused = true)]
async fn held_datagrams_arrive_after_the_release_and_cut_ones_never() {
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();

    lab.net.hold(host(2), host(1));
    let held_at = lab.net.elapsed();
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        lab.net.release(host(1), host(2));
    };
    tokio::join!(talk(&conn), release);
    assert!(lab.net.elapsed() - held_at >= Duration::from_secs(3));

    lab.net.partition(host(1), host(2));
    let before = lab.net.counters();
    assert!(matches!(lab.connect().await, Err(ConnectError::Unreachable(_))));
    let after = lab.net.counters();
    assert!(after.dropped > before.dropped);
    assert_eq!(after.delivered, before.delivered);

    lab.net.repair(host(2), host(1));
    talk(&lab.connect().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_host_says_nothing_and_its_port_is_free_for_the_next_process() {
    let mut lab = Lab::new();
    let server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();
    talk(&conn).await;
    let keys = lab.server.keys.clone();
    lab.restart(&keys);
    drop(server);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(conn.close_reason(), None, "no farewell from the dead");
    let _server = lab.serve(ListenKind::Client);
    talk(&lab.connect().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_port_is_one_processes_and_an_address_one_hosts() {
    let lab = Lab::new();
    let _socket = lab.caller.bind((host(2), PORT).into()).unwrap();
    let taken = lab.caller.bind((host(2), PORT).into()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let foreign = lab.caller.bind((host(1), PORT).into()).unwrap_err();
    assert_eq!(foreign.kind(), std::io::ErrorKind::AddrNotAvailable);
}

#[tokio::test(start_paused = true)]
async fn clocks_follow_virtual_time_and_their_skew() {
    let lab = Lab::new();
    let start = lab.caller.unix_ms();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lab.caller.unix_ms(), start + 60_000);
    lab.net.skew(host(2), -3_600_000);
    assert_eq!(lab.caller.unix_ms(), start + 60_000 - 3_600_000);
}
