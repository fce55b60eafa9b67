//! The peer port: who may come in, what the balancer may do, and what becomes of a peer that
//! sends nonsense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use bytes::Bytes;
use fastchat::limits::{Limits, PEER_FRAME_BYTES_MAX};
use fastchat::net::{
    self, Authority, ConnectError, Credentials, Env, FrameReader, FrameWriter, Role, Target,
    client_endpoint,
};
use fastchat::types::ServerId;
use fastchat::wire::Code;
use fastchat::wire::client::{ClientFrame, LookUp, client_frame};
use fastchat::wire::peer::{Detach, Forward, PeerFrame, PeerHello, Ping, Pong, peer_frame::Body};
use raw::{Cluster, LONG, close_code};

async fn connect(
    cluster: &Cluster,
    credentials: Option<&Credentials>,
) -> Result<quinn::Connection, ConnectError> {
    let env = Env::system_for_tests();
    let endpoint = client_endpoint(&env, ([127, 0, 0, 1], 0).into()).unwrap();
    let entry = cluster.server(1);
    let pin = cluster.authority.cluster_id();
    let (addr, limits) = (entry.peer_addr, Limits::default());
    net::connect(&endpoint, &env, addr, "s1", Target::Peer, &pin, credentials, &limits).await
}

struct Peer {
    conn: quinn::Connection,
    writer: FrameWriter<PeerFrame>,
    reader: FrameReader<PeerFrame>,
}

impl Peer {
    async fn over(conn: quinn::Connection) -> Self {
        let (send, recv) = conn.open_bi().await.unwrap();
        let writer = FrameWriter::new(send, PEER_FRAME_BYTES_MAX);
        Self { conn, writer, reader: FrameReader::new(recv, PEER_FRAME_BYTES_MAX, LONG) }
    }

    async fn send(&mut self, body: Body) {
        self.writer.send(&PeerFrame { body: Some(body) }).await.unwrap();
    }

    async fn next(&mut self) -> Body {
        let read = tokio::time::timeout(LONG, self.reader.read()).await.unwrap();
        read.unwrap().unwrap().body.unwrap()
    }
}

fn hello(cluster: &Cluster) -> PeerHello {
    PeerHello {
        version: 1,
        server: "s2".to_owned(),
        map_version: 1,
        cluster_id: cluster.authority.cluster_id().0.to_vec().into(),
    }
}

/// A cluster whose second server is stopped, so that the test can be it.
async fn without_s2() -> Cluster {
    let mut cluster = Cluster::start(2, Limits::default()).await;
    cluster.stop(2).await;
    cluster
}

async fn as_s2(cluster: &Cluster) -> Peer {
    let conn = connect(cluster, Some(&cluster.credentials[1])).await.unwrap();
    let mut peer = Peer::over(conn).await;
    peer.send(Body::Hello(hello(cluster))).await;
    assert!(matches!(peer.next().await, Body::HelloOk(_)));
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_of_the_cluster_there_is_no_handshake() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let foreign = Authority::create(&cluster.env).unwrap();
    let foreign = foreign.issue(&cluster.env, &Role::Server(ServerId::numbered(1))).unwrap();
    for credentials in [None, Some(&foreign)] {
        // The refusal may come after our half of the handshake is done.
        if let Ok(conn) = connect(&cluster, credentials).await {
            assert_eq!(close_code(&conn).await, None, "a TLS alert, not an answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_whose_key_is_not_in_the_map_is_not_a_peer() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let roles =
        [Role::Server(ServerId::numbered(1)), Role::Server(ServerId::numbered(9)), Role::Balancer];
    for role in roles.into_iter().chain([Role::Operator]) {
        let issued = cluster.authority.issue(&cluster.env, &role).unwrap();
        let conn = connect(&cluster, Some(&issued)).await.unwrap();
        assert_eq!(close_code(&conn).await, Some(Code::NotAPeer), "{role:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_must_fit_the_certificate_the_cluster_and_the_version() {
    let cluster = without_s2().await;
    let good = hello(&cluster);
    let elsewhere = Bytes::from_static(&[0; 32]);
    for (bad, code) in [
        (PeerHello { server: "s1".to_owned(), ..good.clone() }, Code::NotAPeer),
        (PeerHello { cluster_id: elsewhere, ..good.clone() }, Code::NotAPeer),
        (PeerHello { version: 2, ..good }, Code::Version),
    ] {
        let conn = connect(&cluster, Some(&cluster.credentials[1])).await.unwrap();
        let mut peer = Peer::over(conn).await;
        peer.send(Body::Hello(bad)).await;
        assert_eq!(close_code(&peer.conn).await, Some(code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_nonsense_loses_its_connection() {
    let cluster = without_s2().await;
    let look_up = |user: &str| {
        let body = Some(client_frame::Body::LookUp(LookUp { user: user.to_owned() }));
        let frame = Some(ClientFrame { rid: 1, optional: false, body });
        Body::Forward(Forward { sid: 1, frame, ..Forward::default() })
    };
    for bad in [
        Body::Pong(Pong::default()),
        Body::Hello(hello(&cluster)),
        Body::Ping(Ping { id: 1 }),
        Body::Forward(Forward::default()),
        look_up("Not A Name"),
    ] {
        let mut peer = as_s2(&cluster).await;
        peer.send(bad).await;
        assert_eq!(close_code(&peer.conn).await, Some(Code::Malformed));
    }
    // What an honest peer asks is answered, and a detach of nobody is nothing to complain about.
    let mut peer = as_s2(&cluster).await;
    peer.send(Body::Detach(Detach { sid: 12 })).await;
    peer.send(look_up("nobody")).await;
    assert!(matches!(peer.next().await, Body::Deliver(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_limit_ends_a_peer() {
    let cluster = without_s2().await;
    let conn = connect(&cluster, Some(&cluster.credentials[1])).await.unwrap();
    let (mut send, _recv) = conn.open_bi().await.unwrap();
    let length = u32::try_from(PEER_FRAME_BYTES_MAX + 1).unwrap();
    send.write_all(&length.to_be_bytes()).await.unwrap();
    assert_eq!(close_code(&conn).await, Some(Code::FrameTooLarge));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_link_of_one_server_ends_its_first() {
    let cluster = without_s2().await;
    let first = as_s2(&cluster).await;
    let _second = as_s2(&cluster).await;
    assert_eq!(close_code(&first.conn).await, Some(Code::HomeDown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_balancer_may_look_and_nothing_else() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let cluster = Cluster::start(1, limits).await;
    let _client = cluster.greeted(1).await;
    let conn = connect(&cluster, Some(&cluster.balancer)).await.unwrap();
    let mut peer = Peer::over(conn).await;
    for id in [1, 2] {
        peer.send(Body::Ping(Ping { id })).await;
        let Body::Pong(pong) = peer.next().await else { panic!("no pong") };
        assert_eq!((pong.id, pong.connections, pong.sessions), (id, 1, 0));
        assert!(pong.accepting);
    }
    let _last = cluster.greeted(1).await;
    peer.send(Body::Ping(Ping { id: 3 })).await;
    let Body::Pong(pong) = peer.next().await else { panic!("no pong") };
    assert!(!pong.accepting, "a full server says so");
    peer.send(Body::Forward(Forward::default())).await;
    assert_eq!(close_code(&peer.conn).await, Some(Code::Malformed));
}
