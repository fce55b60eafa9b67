//! A server that stops gently: its clients hear of it, nobody new comes in, and it waits for them,
//! but not for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::time::Duration;

use fastchat::limits::Limits;
use fastchat::net::Target;
use fastchat::server::DRAIN_MAX;
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::wire::client::server_frame::Body as Answer;
use raw::{Cluster, LONG, Raw};
use tokio::time::{Instant, timeout};

/// Two servers; alice, whose home is s1, is connected to s2.
async fn alice_at_2() -> (Cluster, Raw) {
    let net = SimNet::new(5, NetConfig::default());
    let limits = Limits { bcrypt_cost: 4, ..Limits::default() };
    let cluster = Cluster::simulated(&net, 2, limits).await;
    let mut alice = cluster.person(&cluster.name_at(1, "alice"), 0);
    let alice = cluster.sign_up(2, &mut alice).await;
    (cluster, alice)
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_tells_its_clients_takes_nobody_new_and_ends_when_they_have_left() {
    let (mut cluster, mut alice) = alice_at_2().await;
    let (_stop, ended) = cluster.begin_stop(2);
    assert!(matches!(alice.next().await, Answer::GoAway(_)));
    assert!(cluster.try_connect(2, Target::Client).await.is_err());
    // She still has what she had.
    assert!(alice.conn.close_reason().is_none());
    let left = Instant::now();
    alice.conn.close(0u32.into(), b"bye");
    timeout(LONG, ended).await.unwrap().unwrap().unwrap();
    assert!(left.elapsed() < DRAIN_MAX, "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_is_not_waited_for_beyond_the_limit() {
    let (mut cluster, alice) = alice_at_2().await;
    let asked = Instant::now();
    let (_stop, ended) = cluster.begin_stop(2);
    timeout(LONG, ended).await.unwrap().unwrap().unwrap();
    let took = asked.elapsed();
    assert!(took >= DRAIN_MAX && took < Duration::from_secs(5), "{took:?}");
    timeout(LONG, alice.conn.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_word_ends_the_waiting() {
    let (mut cluster, mut alice) = alice_at_2().await;
    let (stop, ended) = cluster.begin_stop(2);
    assert!(matches!(alice.next().await, Answer::GoAway(_)));
    let asked = Instant::now();
    stop.at_once.cancel();
    timeout(LONG, ended).await.unwrap().unwrap().unwrap();
    assert!(asked.elapsed() < DRAIN_MAX / 2, "{:?}", asked.elapsed());
}
