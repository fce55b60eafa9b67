//! Chunks of blobs through the own home's edge and through another one, by a client that speaks raw
//! frames; and what is left when a home goes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fastchat::limits::{CHUNK_BYTES_MAX, CHUNKS_AT_ONCE, LINK_CHUNKS_AT_ONCE, Limits};
use fastchat::net::chunk::ChunkWriter;
use fastchat::net::{
    self, FrameReader, FrameWriter, ListenKind, QuicKeys, Target, client_endpoint, listen,
};
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::wire::Code;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{ChunkAnswer, Opened, chunk_ask};
use fastchat::wire::peer::{PeerFrame, Ping, peer_frame};
use raw::chunks::{Blob, ChunkStream, get, put};
use raw::fake_home::{FakeHome, answer};
use raw::{Cluster, LONG, Person, Raw};
use tokio::time::{sleep, timeout};

async fn two_servers() -> Cluster {
    Cluster::simulated(&SimNet::new(5, NetConfig::default()), 2, Limits::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_blob_goes_up_and_comes_down_through_either_server() {
    let cluster = two_servers().await;
    let (here, there) = (cluster.name_at(1, "alice"), cluster.name_at(2, "bob"));
    for (name, number) in [(here, 0), (there, 1)] {
        let mut person = cluster.person(&name, number);
        let mut other = cluster.person(&cluster.name_at(2, &format!("carol{number}")), 2 + number);
        let mut at_1 = cluster.sign_up(1, &mut person).await;
        let seed = u8::try_from(number).unwrap();
        let blob = Blob::of(seed, 9, 1000);
        assert_eq!(blob.put(&at_1.conn, 0).await, Some(Code::NoSuchBlob), "nothing was begun");
        blob.upload(&mut at_1).await;
        for server in [1, 2] {
            let mut reader = if server == 1 {
                cluster.sign_up(1, &mut other).await
            } else {
                cluster.resume(2, &mut other).await
            };
            let info = reader.ask(blob.info(&name)).await;
            let Answer::BlobInfo(info) = info else { panic!("{info:?}") };
            assert_eq!(info.hashes, blob.shape.hash_bytes());
            blob.fetch(&reader.conn, &name).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_away_is_named_and_the_client_stays() {
    let mut cluster = two_servers().await;
    let mut alice = cluster.person(&cluster.name_at(1, "alice"), 0);
    let away = cluster.name_at(2, "bob");
    let alice_at_1 = cluster.sign_up(1, &mut alice).await;
    cluster.stop(2).await;
    let blob = Blob::of(1, 1, 0);
    let mut stream = ChunkStream::open(&alice_at_1.conn).await;
    stream.ask(chunk_ask::Body::Get(blob.get_ask(&away, 0))).await.finish();
    let (answer, _) = stream.answer().await;
    assert_eq!((answer.code, answer.detail.as_str()), (Code::HomeDown as u32, "s2"));
    cluster.restart(2).await;
    // The link comes up by itself.
    while get(&alice_at_1.conn, blob.get_ask(&away, 0)).await != Err(Code::NoSuchBlob) {}
}

// ---------------------------------------------------------------- a home that misbehaves

/// Bob at his home s1, and as many as are wanted whose home is a fake, all of them connected to s1.
struct Scene {
    cluster: Cluster,
    bob: Person,
    fake: FakeHome,
    link: raw::fake_home::FakeLink,
}

impl Scene {
    async fn begin() -> Self {
        let mut cluster = two_servers().await;
        let mut bob = cluster.person(&cluster.name_at(1, "bob"), 0);
        cluster.sign_up(1, &mut bob).await;
        let fake = FakeHome::in_place_of(&mut cluster, 2).await;
        let link = fake.link().await;
        Self { cluster, bob, fake, link }
    }

    async fn guest(&self, number: usize) -> Guest {
        let name = self.cluster.name_at(2, &format!("guest{number}x"));
        let mut person = self.cluster.person(&name, 1);
        let raw = loop {
            // Until the edge has noticed the link.
            let mut raw = self.cluster.greeted(1).await;
            match raw.ask(person.sign_up(self.cluster.ticket(1))).await {
                Answer::Welcome(_) => break raw,
                _ => sleep(Duration::from_millis(100)).await,
            }
        };
        person.count = 0;
        let mut guest = Guest { person, raw, log: Opened::default(), n: 0 };
        guest.log = guest.raw.opened(&self.bob.log(), 1, 0).await;
        guest
    }
}

struct Guest {
    person: Person,
    raw: Raw,
    log: Opened,
    n: u64,
}

impl Guest {
    async fn writes(&mut self, bob: &Person) {
        self.n += 1;
        self.raw.send(0, self.person.append(&bob.log(), &self.log, self.n)).await;
        let answer = self.raw.next().await;
        assert!(matches!(answer, Answer::Appended(_)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn chunks_that_a_home_does_not_take_up_keep_no_text_waiting() {
    let scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 0);
    let mut guests = Vec::new();
    // More than go over the link at once: those of the last ones wait in the edge.
    for number in 0..LINK_CHUNKS_AT_ONCE / CHUNKS_AT_ONCE + 2 {
        let guest = scene.guest(number).await;
        for _ in 0..CHUNKS_AT_ONCE {
            let (conn, ask) = (guest.raw.conn.clone(), blob.put_ask(0));
            let chunk = blob.chunks[0].clone();
            tokio::spawn(async move { put(&conn, ask, &chunk).await });
        }
        guests.push(guest);
        // All that can move has moved.
        sleep(Duration::from_secs(2)).await;
    }
    for guest in &mut guests {
        timeout(Duration::from_secs(2), guest.writes(&scene.bob)).await.expect("the text waits");
    }
    // Nor do the requests of the link itself: a login goes through.
    scene.guest(99).await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_answers_nonsense_for_a_chunk_loses_the_link_and_no_text() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 0);
    let too_long = u32::try_from(CHUNK_BYTES_MAX + 1).unwrap();
    let announced = |length| ChunkAnswer { length, ..ChunkAnswer::default() };
    let nonsense = [
        Bytes::from_static(&[0, 0, 0, 2, 0xff, 0xff]),
        Bytes::from_static(&[0xff; 8]),
        answer(&announced(too_long), &[]),
        answer(&announced(9), &[1; 8]),
        answer(&announced(9), &[1; 10]),
        answer(&ChunkAnswer { code: Code::NoSuchBlob as u32, ..announced(9) }, &[1; 9]),
    ];
    for said in nonsense {
        // Somebody whose home is well: a lost link is none of their session's business.
        let mut raw = scene.cluster.resume(1, &mut scene.bob).await;
        // The edge notices a new link a moment after it is up.
        let owner = scene.cluster.name_at(2, "guest");
        let (conn, ask) = (raw.conn.clone(), blob.get_ask(&owner, 0));
        let mut stream = ChunkStream::open(&conn).await;
        sleep(Duration::from_secs(1)).await;
        stream.ask(chunk_ask::Body::Get(ask)).await.finish();
        let (_, mut send, _recv) = scene.link.chunk().await;
        send.write_all(&said).await.unwrap();
        send.finish().unwrap();
        assert_eq!(raw::close_code(&scene.link.conn).await, Some(Code::Malformed), "{said:?}");
        let told = stream.whole().await;
        assert!(told.is_none_or(|told| told.0.code == Code::HomeDown as u32), "{said:?}");
        let log = raw.opened(&scene.bob.log(), 1, 0).await;
        assert!(log.epoch > 0);
        scene.link = scene.fake.link().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_never_answers_for_a_chunk_is_said_to_be_away() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 0, 500);
    let mut raw = scene.cluster.resume(1, &mut scene.bob).await;
    let owner = scene.cluster.name_at(2, "guest");
    sleep(Duration::from_secs(1)).await;
    let mut stream = ChunkStream::open(&raw.conn).await;
    stream.ask(chunk_ask::Body::Get(blob.get_ask(&owner, 0))).await.finish();
    let _held = scene.link.chunk().await;
    // Longer than a test waits in life; the simulated clock has time.
    let told = loop {
        if let Ok(told) = timeout(LONG, stream.whole()).await {
            break told;
        }
    };
    assert_eq!(told.unwrap().0.code, Code::HomeDown as u32);
    raw.opened(&scene.bob.log(), 1, 0).await;
}

// ---------------------------------------------------------------- order

#[tokio::test(start_paused = true)]
async fn a_frame_overtakes_the_chunks_that_were_written_before_it() {
    const CHUNKS: usize = 60;
    const BYTES: usize = 100_000;
    let delay = Duration::from_millis(50);
    let net = SimNet::new(3, NetConfig { delay: delay..=delay, ..NetConfig::default() });
    let cluster = Cluster::simulated(&net, 1, Limits::default()).await;
    let (env, limits) = (cluster.server_env(1), Limits::default());
    let addr = SocketAddr::new(Cluster::simulated_ip(1), 9200);
    let keys = QuicKeys::create(env);
    let shown = &cluster.credentials[0];
    let listening = listen(env, addr, ListenKind::Peer, shown, &keys, &limits).unwrap();
    let endpoint =
        client_endpoint(&cluster.env, SocketAddr::new(Cluster::simulated_ip(0), 0)).unwrap();
    let pin = cluster.authority.cluster_id();
    let own = Some(&cluster.balancer);
    let dial = net::connect(&endpoint, &cluster.env, addr, "s1", Target::Peer, &pin, own, &limits);
    let accept = async { listening.accept().await.unwrap().await.unwrap() };
    let (near, far) = tokio::join!(dial, accept);
    let near = near.unwrap();

    let link = near.open_bi().await.unwrap();
    let mut frames = FrameWriter::<PeerFrame>::new(link.0, 1000);
    let mut chunks = Vec::new();
    for _ in 0..CHUNKS {
        let (send, recv) = near.open_bi().await.unwrap();
        let mut writer = ChunkWriter::new(send, LONG);
        writer.pieces(&mut [Bytes::from(vec![7; BYTES])]).await.unwrap();
        chunks.push((writer, recv));
    }
    // The first packets have left.
    sleep(delay / 2).await;
    let ping = PeerFrame { body: Some(peer_frame::Body::Ping(Ping { id: 1 })) };
    frames.send(&ping).await.unwrap();

    let (_answers, recv) = far.accept_bi().await.unwrap();
    let mut reader = FrameReader::<PeerFrame>::new(recv, 1000, LONG);
    assert_eq!(reader.read().await.unwrap(), Some(ping));
    let mut before = 0;
    while let Ok(Ok((_, mut recv))) = timeout(Duration::ZERO, far.accept_bi()).await {
        while let Ok(Ok(Some(read))) = timeout(Duration::ZERO, recv.read_chunk(BYTES, true)).await {
            before += read.bytes.len();
        }
    }
    // The first flight, and that with the frame. In turn with the chunks it would have come after
    // a packet of each: 70 KB.
    assert!(before < 48 * 1024, "{before} bytes of chunks came before the frame");
}
