//! What a connection may use, and what happens at the door when there are too many.

use super::*;
use crate::limits::DATAGRAM_BUFFER_BYTES;

const SOON: Duration = Duration::from_secs(5);

/// Bytes that a client can write on one stream while nobody reads.
async fn written_unread(conn: &quinn::Connection) -> usize {
    let mut send = conn.open_bi().await.unwrap().0;
    let mut written = 0;
    while let Ok(count) = tokio::time::timeout(SOON, send.write(&[0; 10_000])).await {
        written += count.unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_one_stream_and_a_small_window_until_login() {
    let lab = Lab::new();
    let server = lab.server.listen(server_addr(), ListenKind::Client);
    let (conn, answered) = lab.meet(&server).await;

    assert!(conn.max_datagram_size().is_some_and(|bytes| bytes <= DATAGRAM_BUFFER_BYTES));
    assert!(tokio::time::timeout(SOON, conn.open_uni()).await.is_err());
    assert_eq!(written_unread(&conn).await, 64 * 1024);
    assert!(tokio::time::timeout(SOON, conn.open_bi()).await.is_err(), "a second stream");

    endpoint::raise_after_login(&answered);
    assert_eq!(written_unread(&conn).await, 256 * 1024, "the window of a stream");
    assert!(tokio::time::timeout(SOON, conn.open_uni()).await.is_ok());
    let mut streams = 2;
    while tokio::time::timeout(SOON, conn.open_bi()).await.is_ok() {
        streams += 1;
    }
    // The first stream is not over, so it counts; the last one could not be opened.
    assert_eq!(streams, 16);
}

#[tokio::test(start_paused = true)]
async fn under_load_a_client_proves_its_address_and_gets_in() {
    let mut lab = Lab::new();
    lab.server.limits.handshakes_before_retry = 0;
    let server = lab.serve(ListenKind::Client);
    talk(&lab.connect().await.unwrap()).await;
    assert_eq!(server.stats().accepted_handshakes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_server_refuses_at_once_and_a_hasty_address_gets_silence() {
    let mut lab = Lab::new();
    lab.server.limits.handshakes_max = 0;
    let server = lab.serve(ListenKind::Client);
    let start = lab.net.elapsed();
    let refused = lab.connect().await;
    assert!(matches!(refused, Err(ConnectError::Refused)), "{refused:?}");
    assert!(lab.net.elapsed() - start < Duration::from_secs(1));
    assert_eq!(server.stats().refused_handshakes, 1);

    let mut lab = Lab::new();
    lab.server.limits.handshakes_per_ip_per_s = 0;
    let server = lab.serve(ListenKind::Client);
    let ignored = lab.connect().await;
    assert!(matches!(ignored, Err(ConnectError::Unreachable(_))), "{ignored:?}");
    assert!(server.stats().ignored_handshakes >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_is_given_up_and_its_place_is_free() {
    let mut lab = Lab::new();
    lab.server.limits.handshakes_max = 1;
    let server = lab.server.listen(server_addr(), ListenKind::Client);
    let mut gate = AcceptGate::new(&lab.server.limits);
    let stalled = async {
        let handshake = gate.admit(server.accept().await.unwrap()).unwrap();
        lab.net.partition(host(1), host(2));
        let start = lab.net.elapsed();
        assert!(handshake.finish().await.is_none());
        assert_eq!(lab.net.elapsed() - start, SOON);
    };
    let (dialled, ()) = tokio::join!(lab.connect(), stalled);
    assert!(matches!(dialled, Err(ConnectError::Unreachable(_))));
    lab.net.repair(host(1), host(2));
    lab.server.env.spawn(echo(lab.server.env.clone(), server, gate));
    talk(&lab.connect().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_is_noticed_at_the_next_packet_thanks_to_its_kept_keys() {
    let mut lab = Lab::new();
    let server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();
    talk(&conn).await;
    let keys = lab.server.keys.clone();
    lab.restart(&keys);
    drop(server);
    let _server = lab.serve(ListenKind::Client);
    let start = lab.net.elapsed();
    let mut send = conn.open_bi().await.unwrap().0;
    send.write_all(b"hello?").await.unwrap();
    let closed = conn.closed().await;
    assert_eq!(closed, quinn::ConnectionError::Reset);
    assert!(lab.net.elapsed() - start < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_its_keys_is_noticed_only_by_its_silence() {
    let mut lab = Lab::new();
    let server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();
    talk(&conn).await;
    let keys = QuicKeys::create(&lab.caller);
    lab.restart(&keys);
    drop(server);
    let _server = lab.serve(ListenKind::Client);
    let start = lab.net.elapsed();
    let mut send = conn.open_bi().await.unwrap().0;
    send.write_all(b"hello?").await.unwrap();
    assert_eq!(conn.closed().await, quinn::ConnectionError::TimedOut);
    assert!(lab.net.elapsed() - start > Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_link_notices_a_restart_within_two_seconds() {
    let mut lab = Lab::new();
    let own = lab.authority.issue(&lab.caller, &Role::Server(ServerId::numbered(2))).unwrap();
    let pin = lab.authority.cluster_id();
    let server = lab.serve(ListenKind::Peer);
    let conn = lab.dial("s1", Target::Peer, &pin, Some(&own)).await.unwrap();
    talk(&conn).await;
    let keys = lab.server.keys.clone();
    lab.restart(&keys);
    drop(server);
    let _server = lab.serve(ListenKind::Peer);
    let start = lab.net.elapsed();
    assert_eq!(conn.closed().await, quinn::ConnectionError::Reset);
    assert!(lab.net.elapsed() - start < Duration::from_secs(2));
}
