//! The balancer's port and its health links over real sockets, with servers made of a pong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::fleet::State;
use super::*;
use crate::admission::TicketGate;
use crate::limits::PEER_FRAME_BYTES_MAX;
use crate::net::endpoint::close_code;
use crate::net::{Authority, FrameReader, FrameWriter, Role, Target, connect};
use crate::placement::ServerEntry;
use crate::types::ServerId;
use crate::wire::Code;
use crate::wire::balancer::balancer_reply::Body as Reply;
use crate::wire::balancer::balancer_request::Body as Request;
use crate::wire::balancer::{Ask, BalancerReply, BalancerRequest, Drain, Edges, Refusal, Stop};
use crate::wire::peer::{PeerFrame, PeerHelloOk, Pong, peer_frame};

const PATIENCE: Duration = Duration::from_secs(10);

/// How a server of these tests behaves; may change at any time.
#[derive(Default)]
struct Mood {
    refuses_work: AtomicBool,
    is_silent: AtomicBool,
    drains: AtomicBool,
    is_full: AtomicBool,
}

struct Server {
    id: ServerId,
    endpoint: quinn::Endpoint,
    mood: Arc<Mood>,
}

struct Bed {
    env: Env,
    authority: Authority,
    addr: SocketAddr,
    fleet: Fleet,
    servers: Vec<Server>,
    stop_asked: CancellationToken,
    shutdown: CancellationToken,
}

/// Whose key the map names for the servers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MapKeys {
    Theirs,
    Others,
}

impl Bed {
    async fn new(servers: u16, limits: Limits) -> Self {
        Self::with_keys(servers, limits, MapKeys::Theirs).await
    }

    async fn with_keys(servers: u16, limits: Limits, keys: MapKeys) -> Self {
        let env = Env::system_for_tests();
        let authority = Authority::create(&env).unwrap();
        let (mut entries, mut running) = (Vec::new(), Vec::new());
        for number in 1..=servers {
            let id = ServerId::numbered(number);
            let credentials = authority.issue(&env, &Role::Server(id.clone())).unwrap();
            let other = authority.issue(&env, &Role::Server(id.clone())).unwrap();
            let quic_keys = QuicKeys::create(&env);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let endpoint =
                listen(&env, any, ListenKind::Peer, &credentials, &quic_keys, &limits).unwrap();
            let mood = Arc::new(Mood::default());
            env.spawn(pong_server(env.clone(), endpoint.clone(), id.clone(), mood.clone()));
            let named = if keys == MapKeys::Theirs { &credentials } else { &other };
            entries.push(ServerEntry {
                id: id.clone(),
                addr: ([127, 0, 0, 1], 7000 + number).into(),
                peer_addr: endpoint.local_addr().unwrap(),
                spki_sha256: named.spki_sha256(),
            });
            running.push(Server { id, endpoint, mood });
        }
        let map = PlacementMap::deal(entries, String::new());
        let fleet = Fleet::new(&map);
        let (stop_asked, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let config = BalancerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            credentials: authority.issue(&env, &Role::Balancer).unwrap().into(),
            quic_keys: QuicKeys::create(&env),
            cluster: authority.cluster_id(),
            map,
            fleet: fleet.clone(),
            admission_key: AdmissionKey::from_bytes(&[7; 32]).unwrap(),
            strategy: Strategy::Random,
            limits,
            stop_asked: stop_asked.clone(),
        };
        let ports = Ports::open(&env, &config).unwrap();
        let addr = ports.clients.local_addr().unwrap();
        let (ready, _) = oneshot::channel();
        env.spawn(serve(env.clone(), config, ports, ready, shutdown.clone()));
        Self { env, authority, addr, fleet, servers: running, stop_asked, shutdown }
    }

    async fn all_ready(servers: u16) -> Self {
        let bed = Self::new(servers, Limits::default()).await;
        timeout(PATIENCE, bed.fleet.wait_all_up()).await.unwrap();
        bed
    }

    /// Returns once server `index` is in `state`.
    async fn wait_for(&self, index: usize, state: State) {
        let mut changes = self.fleet.subscribe();
        let wanted = changes.wait_for(|members| members[index].state == state);
        timeout(PATIENCE, wanted).await.unwrap().unwrap();
    }

    async fn link(&self, role: Option<Role>) -> quinn::Connection {
        let endpoint = client_endpoint(&self.env, ([127, 0, 0, 1], 0).into()).unwrap();
        let credentials = role.map(|role| self.authority.issue(&self.env, &role).unwrap());
        connect(
            &endpoint,
            &self.env,
            self.addr,
            "balancer",
            Target::Balancer,
            &self.authority.cluster_id(),
            credentials.as_ref(),
            &Limits::default(),
        )
        .await
        .unwrap()
    }

    async fn edges(&self) -> Edges {
        match request(&self.link(None).await, ask()).await {
            Reply::Edges(edges) => edges,
            other => panic!("{other:?}"),
        }
    }

    async fn offered(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.edges().await.edges.into_iter().map(|edge| edge.server).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn ask() -> Request {
    Request::Ask(Ask { user: "alice".into() })
}

async fn pong_server(env: Env, endpoint: quinn::Endpoint, id: ServerId, mood: Arc<Mood>) {
    while let Some(incoming) = endpoint.accept().await {
        let (id, mood) = (id.clone(), mood.clone());
        env.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, recv)) = connection.accept_bi().await else { return };
            let mut reader = FrameReader::<PeerFrame>::new(recv, PEER_FRAME_BYTES_MAX, PATIENCE);
            let mut writer = FrameWriter::new(send, PEER_FRAME_BYTES_MAX);
            while let Ok(Some(frame)) = reader.read().await {
                if mood.is_silent.load(Ordering::Relaxed) {
                    continue;
                }
                let accepting = !mood.refuses_work.load(Ordering::Relaxed);
                let body = match frame.body {
                    Some(peer_frame::Body::Hello(hello)) => {
                        assert_eq!(hello.server, "balancer");
                        let (server, map_version) = (id.to_string(), hello.map_version);
                        peer_frame::Body::HelloOk(PeerHelloOk { version: 1, server, map_version })
                    }
                    Some(peer_frame::Body::Ping(ping)) => peer_frame::Body::Pong(Pong {
                        id: ping.id,
                        sessions: 5,
                        accepting,
                        draining: mood.drains.load(Ordering::Relaxed),
                        full: mood.is_full.load(Ordering::Relaxed),
                        ..Pong::default()
                    }),
                    Some(peer_frame::Body::Drain(drain)) => {
                        mood.drains.store(drain.on, Ordering::Relaxed);
                        continue;
                    }
                    other => panic!("{other:?}"),
                };
                if writer.send(&PeerFrame { body: Some(body) }).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn request(link: &quinn::Connection, body: Request) -> Reply {
    exchange(link, &BalancerRequest { version: 1, body: Some(body) }).await
}

async fn exchange(link: &quinn::Connection, request: &BalancerRequest) -> Reply {
    let mut bytes = bytes::BytesMut::new();
    crate::wire::frame::encode_into(request, 64 * 1024, &mut bytes).unwrap();
    raw(link, bytes.freeze()).await
}

/// Writes bytes that may be no frame at all, and reads the answer.
async fn raw(link: &quinn::Connection, bytes: Bytes) -> Reply {
    let (mut send, recv) = link.open_bi().await.unwrap();
    send.write_all(&bytes).await.unwrap();
    let _ = send.finish();
    let mut reader = FrameReader::<BalancerReply>::new(recv, 64 * 1024, PATIENCE);
    timeout(PATIENCE, reader.read()).await.unwrap().unwrap().unwrap().body.unwrap()
}

fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refusal(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

async fn closed_with(link: &quinn::Connection) -> Option<Code> {
    close_code(&timeout(PATIENCE, link.closed()).await.unwrap())
}

#[tokio::test]
async fn three_of_four_servers_are_offered_each_with_a_ticket_that_it_takes() {
    let bed = Bed::all_ready(4).await;
    let Edges { edges, map_version } = bed.edges().await;
    assert_eq!((edges.len(), map_version), (3, 1));
    for edge in edges {
        assert_eq!(edge.host, "127.0.0.1");
        let id = ServerId::parse(&edge.server).unwrap();
        let mut gate = TicketGate::new(AdmissionKey::from_bytes(&[7; 32]).unwrap(), id);
        assert_eq!(gate.check(&edge.ticket, bed.env.unix_ms()), Ok(()));
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_not_offered_until_it_speaks_again() {
    let bed = Bed::all_ready(2).await;
    bed.servers[0].mood.is_silent.store(true, Ordering::Relaxed);
    bed.wait_for(0, State::Down).await;
    assert_eq!(bed.offered().await, ["s2"]);
    bed.servers[0].mood.is_silent.store(false, Ordering::Relaxed);
    bed.wait_for(0, State::Ready).await;
    assert_eq!(bed.offered().await, ["s1", "s2"]);
}

#[tokio::test]
async fn a_server_that_takes_no_work_is_not_offered() {
    let bed = Bed::all_ready(2).await;
    bed.servers[1].mood.refuses_work.store(true, Ordering::Relaxed);
    bed.wait_for(1, State::Starting).await;
    assert_eq!(bed.offered().await, ["s1"]);
    assert_eq!(bed.fleet.members()[1].load.sessions, 5);
}

#[tokio::test]
async fn a_server_that_ends_is_not_offered_and_nobody_left_is_busy() {
    let bed = Bed::all_ready(1).await;
    bed.servers[0].endpoint.close(0u32.into(), b"");
    bed.wait_for(0, State::Down).await;
    let refused = refusal(request(&bed.link(None).await, ask()).await);
    assert_eq!(refused.code, Code::Busy as u32);
    assert!(refused.retry_after_ms > 0);
}

#[tokio::test]
async fn a_server_whose_process_ended_is_not_offered_although_its_port_answers() {
    let bed = Bed::all_ready(2).await;
    bed.fleet.process_ended(&bed.servers[0].id);
    for _ in 0..20 {
        assert_eq!(bed.offered().await, ["s2"]);
    }
}

#[tokio::test]
async fn a_server_with_another_key_than_the_map_says_is_never_offered() {
    let bed = Bed::with_keys(1, Limits::default(), MapKeys::Others).await;
    // It answers the handshake, so a link that trusted it would be ready within these.
    for _ in 0..20 {
        let refused = refusal(request(&bed.link(None).await, ask()).await);
        assert_eq!(refused.code, Code::Busy as u32);
    }
}

#[tokio::test]
async fn stop_needs_the_operators_certificate() {
    let bed = Bed::all_ready(1).await;
    for role in [None, Some(Role::Balancer), Some(Role::Server(ServerId::numbered(1)))] {
        let link = bed.link(role).await;
        let refused = refusal(request(&link, Request::Stop(Stop {})).await);
        assert_eq!(refused.code, Code::Forbidden as u32);
        // The connection is kept.
        assert!(matches!(request(&link, ask()).await, Reply::Edges(_)));
    }
    assert!(!bed.stop_asked.is_cancelled());
    let link = bed.link(Some(Role::Operator)).await;
    assert!(matches!(request(&link, Request::Stop(Stop {})).await, Reply::Stopping(_)));
    timeout(PATIENCE, bed.stop_asked.cancelled()).await.unwrap();
}

fn drain(server: &str, on: bool) -> Request {
    Request::Drain(Drain { server: server.into(), on })
}

#[tokio::test]
async fn a_drained_server_hears_of_it_again_when_its_link_comes_back() {
    let bed = Bed::all_ready(2).await;
    let link = bed.link(Some(Role::Operator)).await;
    assert!(matches!(request(&link, drain("s1", true)).await, Reply::Drained(_)));
    assert_eq!(bed.offered().await, ["s2"]);
    until(&bed.servers[0].mood.drains, true).await;
    // As after a restart: the link breaks, and the server has forgotten.
    bed.servers[0].mood.is_silent.store(true, Ordering::Relaxed);
    bed.wait_for(0, State::Down).await;
    bed.servers[0].mood.drains.store(false, Ordering::Relaxed);
    bed.servers[0].mood.is_silent.store(false, Ordering::Relaxed);
    until(&bed.servers[0].mood.drains, true).await;
    assert_eq!(bed.offered().await, ["s2"]);

    assert!(matches!(request(&link, drain("s1", false)).await, Reply::Drained(_)));
    until(&bed.servers[0].mood.drains, false).await;
    bed.wait_for(0, State::Ready).await;
    assert_eq!(bed.offered().await, ["s1", "s2"]);
    assert_eq!(refusal(request(&link, drain("s9", true)).await).detail, "no such server");
}

async fn until(flag: &AtomicBool, wanted: bool) {
    let flips = async {
        while flag.load(Ordering::Relaxed) != wanted {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, flips).await.unwrap();
}

#[tokio::test]
async fn draining_needs_the_operators_certificate() {
    let bed = Bed::all_ready(1).await;
    for role in [None, Some(Role::Balancer), Some(Role::Server(ServerId::numbered(1)))] {
        let refused = refusal(request(&bed.link(role).await, drain("s1", true)).await);
        assert_eq!(refused.code, Code::Forbidden as u32);
    }
    assert_eq!(bed.offered().await, ["s1"]);
}

#[tokio::test]
async fn full_and_draining_servers_are_not_offered_and_if_all_are_that_is_said() {
    let bed = Bed::all_ready(2).await;
    bed.servers[0].mood.is_full.store(true, Ordering::Relaxed);
    bed.wait_for(0, State::Full).await;
    assert_eq!(bed.offered().await, ["s2"]);
    bed.servers[1].mood.drains.store(true, Ordering::Relaxed);
    bed.wait_for(1, State::Drain).await;
    let refused = refusal(request(&bed.link(None).await, ask()).await);
    assert_eq!(refused.code, Code::Busy as u32);
    assert_eq!(refused.detail, "no server takes new clients");
    assert!(refused.retry_after_ms > 0);
}

#[tokio::test]
async fn the_third_malformed_request_closes_the_connection() {
    let bed = Bed::all_ready(1).await;
    let link = bed.link(None).await;
    for _ in 0..3 {
        let refused = refusal(raw(&link, Bytes::from_static(b"\0\0\0\x02\xff\xff")).await);
        assert_eq!(refused.code, Code::Malformed as u32);
    }
    assert_eq!(closed_with(&link).await, Some(Code::Malformed));
}

#[tokio::test]
async fn a_bad_name_and_a_stream_without_a_request_are_malformed() {
    let bed = Bed::all_ready(1).await;
    let link = bed.link(None).await;
    let bad = Request::Ask(Ask { user: "No Such".into() });
    assert_eq!(refusal(request(&link, bad).await).code, Code::Malformed as u32);
    assert_eq!(refusal(raw(&link, Bytes::new()).await).code, Code::Malformed as u32);
    assert!(matches!(request(&link, ask()).await, Reply::Edges(_)));
}

#[tokio::test]
async fn a_request_over_the_limit_is_too_large_and_one_at_it_is_not() {
    let bed = Bed::all_ready(1).await;
    let link = bed.link(None).await;
    let at_limit = Bytes::from([&1024_u32.to_be_bytes()[..], &[0xff; 1024]].concat());
    assert_eq!(refusal(raw(&link, at_limit).await).code, Code::Malformed as u32);
    let past_limit = Bytes::copy_from_slice(&1025_u32.to_be_bytes());
    assert_eq!(refusal(raw(&link, past_limit).await).code, Code::FrameTooLarge as u32);
    assert_eq!(closed_with(&link).await, Some(Code::FrameTooLarge));
}

#[tokio::test]
async fn another_version_is_told_ours_and_an_unknown_request_is_unsupported() {
    let bed = Bed::all_ready(1).await;
    let link = bed.link(None).await;
    let unknown = BalancerRequest { version: 1, body: None };
    assert_eq!(refusal(exchange(&link, &unknown).await).code, Code::Unsupported as u32);
    let newer = BalancerRequest { version: 2, body: Some(ask()) };
    assert_eq!(refusal(exchange(&link, &newer).await).code, Code::Version as u32);
    assert_eq!(closed_with(&link).await, Some(Code::Version));
}

#[tokio::test]
async fn a_request_that_does_not_complete_times_out_on_its_stream_only() {
    let bed = Bed::new(1, Limits { frame_deadline_ms: 50, ..Limits::default() }).await;
    timeout(PATIENCE, bed.fleet.wait_all_up()).await.unwrap();
    let link = bed.link(None).await;
    let (mut send, recv) = link.open_bi().await.unwrap();
    send.write_all(b"\0\0").await.unwrap();
    let mut reader = FrameReader::<BalancerReply>::new(recv, 64 * 1024, PATIENCE);
    let reply = timeout(PATIENCE, reader.read()).await.unwrap().unwrap().unwrap();
    assert_eq!(refusal(reply.body.unwrap()).code, Code::Timeout as u32);
    drop((send, reader));
    assert!(matches!(request(&link, ask()).await, Reply::Edges(_)));
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_slow_down() {
    let bed = Bed::new(1, Limits { asks_per_ip_per_min: 3, ..Limits::default() }).await;
    timeout(PATIENCE, bed.fleet.wait_all_up()).await.unwrap();
    let link = bed.link(None).await;
    for _ in 0..3 {
        assert!(matches!(request(&link, ask()).await, Reply::Edges(_)));
    }
    let refused = refusal(request(&link, ask()).await);
    assert_eq!(refused.code, Code::SlowDown as u32);
    assert!((1..=20_000).contains(&refused.retry_after_ms), "{}", refused.retry_after_ms);
}

#[tokio::test]
async fn one_connection_too_many_from_an_address_is_refused() {
    let bed = Bed::new(1, Limits { connections_per_ip_max: 2, ..Limits::default() }).await;
    let _held = [bed.link(None).await, bed.link(None).await];
    assert_eq!(closed_with(&bed.link(None).await).await, Some(Code::ServerFull));
}
