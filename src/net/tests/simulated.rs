//! The simulated network carries real QUIC, and the same seed gives the same trace.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::limits::FRAME_BYTES_MAX;
use crate::net::env::TestOptions;
use crate::testkit::{NetConfig, SimNet};

const PORT: u16 = 9001;
const MESSAGES: u64 = 200;
const DEADLINE: Duration = Duration::from_secs(10);

fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

fn any() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

fn env(net: &SimNet, number: u8, seed: u64) -> Env {
    net.env(host(number), seed, CancellationToken::new(), TestOptions::default())
}

/// Answers every frame with the same frame.
async fn echo(env: Env, endpoint: quinn::Endpoint) {
    let mut gate = AcceptGate::new(&Limits::default());
    while let Some(incoming) = endpoint.accept().await {
        let Some(handshake) = gate.admit(incoming) else { continue };
        env.spawn(async move {
            let conn = handshake.finish().await?;
            endpoint::raise_after_login(&conn);
            let (send, recv) = conn.accept_bi().await.ok()?;
            let mut reader = FrameReader::<ClientFrame>::new(recv, FRAME_BYTES_MAX, DEADLINE);
            let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
            while let Some(frame) = reader.read().await.ok()? {
                writer.send(&frame).await.ok()?;
            }
            writer.finish();
            writer.wait_delivered().await;
            Some(())
        });
    }
}

struct Run {
    hash: u64,
    tail: Vec<String>,
    dropped: u64,
}

async fn exchange(seed: u64) -> Run {
    let config = NetConfig { loss: 0.05, duplicate: 0.02, reorder: 0.05, ..NetConfig::default() };
    let net = SimNet::new(seed, config);
    let server_env = env(&net, 1, seed ^ 1);
    let authority = Authority::create(&server_env).unwrap();
    let server = Node::new(&server_env, &authority, &role());
    let endpoint = server.listen((host(1), PORT).into(), ListenKind::Client);
    let _echo = server_env.spawn(echo(server_env.clone(), endpoint));

    let client = env(&net, 2, seed ^ 2);
    let endpoint = client_endpoint(&client, any()).unwrap();
    let addr = (host(1), PORT).into();
    let limits = Limits::default();
    let conn = connect(&endpoint, &client, addr, "s1", Target::Client, &server.pin, None, &limits)
        .await
        .unwrap();
    let (send, recv) = conn.open_bi().await.unwrap();
    let mut reader = FrameReader::<ClientFrame>::new(recv, FRAME_BYTES_MAX, DEADLINE);
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    for rid in 1..=MESSAGES {
        writer.send(&look_up(rid, client.random_below(3_000))).await.unwrap();
        if rid % 4 == 0 {
            for expected in rid - 3..=rid {
                assert_eq!(reader.read().await.unwrap().unwrap().rid, expected);
                net.note(&format!("echo {expected}"));
            }
        }
    }
    writer.finish();
    assert_eq!(reader.read().await.unwrap(), None);
    conn.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Run { hash: net.trace_hash(), tail: net.trace_tail(), dropped: net.counters().dropped }
}

/// Every run in a world of its own, as a simulation must be.
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
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=5 {
        let (first, second) = (run(seed), run(seed));
        let parted = first.tail.iter().zip(&second.tail).find(|(a, b)| a != b);
        assert_eq!(parted, None, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert!(first.dropped > 0, "the network lost nothing");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 5, "different seeds give different traces");
}
