//! Streams of chunks as no honest client opens them: the typed answer of each, and that the same
//! client's texts are stored all the while.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::time::Duration;

use bytes::Bytes;
use fastchat::limits::{CHUNK_BYTES_MAX, CHUNK_FRAME_BYTES_MAX, CHUNKS_MAX, Limits};
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::wire::Code;
use fastchat::wire::client::chunk_ask::Body as Chunk;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{ChunkAsk, GetChunk, Opened, PutChunk};
use prost::Message;
use raw::chunks::{Blob, ChunkStream, framed, get, put};
use raw::{Cluster, Person, Raw};
use tokio::time::{Instant, sleep};

/// Alice, who misbehaves, logged in at the server that is not her home, and Bob, to whom she
/// writes.
struct Scene {
    cluster: Cluster,
    alice: Person,
    raw: Raw,
    bob: Person,
    log: Opened,
    n: u64,
}

impl Scene {
    async fn begin() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let cluster = Cluster::simulated(&SimNet::new(7, NetConfig::default()), 2, limits).await;
        let mut alice = cluster.person(&cluster.name_at(1, "alice"), 0);
        let mut bob = cluster.person(&cluster.name_at(2, "bob"), 1);
        cluster.sign_up(2, &mut bob).await;
        let mut raw = cluster.sign_up(2, &mut alice).await;
        let log = raw.opened(&bob.log(), 1, 0).await;
        Self { cluster, alice, raw, bob, log, n: 0 }
    }

    /// A text of the same client is stored.
    async fn still_writes(&mut self) {
        self.n += 1;
        self.raw.send(0, self.alice.append(&self.bob.log(), &self.log, self.n)).await;
        let Answer::Appended(appended) = self.raw.next().await else { panic!("not stored") };
        assert_eq!(appended.n, self.n);
        assert!(self.raw.conn.close_reason().is_none());
    }

    /// What this put gets when these bytes follow, and then the end.
    async fn put(&mut self, ask: PutChunk, bytes: &[u8]) -> Option<Code> {
        put(&self.raw.conn, ask, bytes).await
    }

    /// As after a fresh login: what was counted against the connection is forgotten.
    async fn again(&mut self) {
        self.raw = self.cluster.resume(2, &mut self.alice).await;
        self.log = self.raw.opened(&self.bob.log(), 1, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_longer_or_shorter_than_announced_is_malformed() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 500);
    scene.raw.ask(blob.begin()).await;
    let (ask, chunk) = (blob.put_ask(1), blob.chunks[1].clone());
    assert_eq!(scene.put(ask.clone(), &chunk[1..]).await, Some(Code::Malformed));
    scene.still_writes().await;
    let longer = [&chunk[..], &chunk[..]].concat();
    assert_eq!(scene.put(ask.clone(), &longer).await, Some(Code::Malformed));
    scene.still_writes().await;
    scene.again().await;
    assert_eq!(scene.put(ask.clone(), &[]).await, Some(Code::Malformed));
    let endless = vec![1; 4 * CHUNK_BYTES_MAX];
    assert_eq!(scene.put(blob.put_ask(0), &endless).await, Some(Code::Malformed));
    scene.still_writes().await;
    scene.again().await;
    assert_eq!(scene.put(ask, &chunk).await, None, "and the right one is stored");
}

#[tokio::test(start_paused = true)]
async fn the_third_malformed_stream_closes_the_connection() {
    let mut scene = Scene::begin().await;
    for bad in [framed(&[0xff; 9]), framed(&[]), b"\0\0\0".to_vec()] {
        let mut stream = ChunkStream::open(&scene.raw.conn).await;
        let answered = stream.bytes(&bad).await.finish().code().await;
        assert_eq!(answered, Some(Code::Malformed));
    }
    assert_eq!(raw::error(scene.raw.next().await).0, Code::Malformed);
    assert_eq!(scene.raw.close_code().await, Some(Code::Malformed));
    scene.again().await;
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_frame_over_its_limit_is_not_read() {
    let mut scene = Scene::begin().await;
    let length = u32::try_from(CHUNK_FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let mut stream = ChunkStream::open(&scene.raw.conn).await;
    assert_eq!(stream.bytes(&length).await.code().await, Some(Code::FrameTooLarge));
    assert_eq!(scene.raw.close_code().await, Some(Code::FrameTooLarge));
    scene.again().await;
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_past_its_bounds_is_malformed() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 0, 500);
    let (good_put, good_get) = (blob.put_ask(0), blob.get_ask(scene.alice.name.as_str(), 0));
    let past = u32::try_from(CHUNKS_MAX).unwrap();
    let too_long = u32::try_from(CHUNK_BYTES_MAX + 1).unwrap();
    let short_id = Bytes::from_static(&[1; 31]);
    for bad in [
        Chunk::Put(PutChunk { index: past, ..good_put.clone() }),
        Chunk::Put(PutChunk { length: 0, ..good_put.clone() }),
        Chunk::Put(PutChunk { length: too_long, ..good_put.clone() }),
        Chunk::Put(PutChunk { length: u32::MAX, ..good_put.clone() }),
        Chunk::Put(PutChunk { blob_id: short_id.clone(), ..good_put.clone() }),
        Chunk::Get(GetChunk { index: u32::MAX, ..good_get.clone() }),
        Chunk::Get(GetChunk { owner: "../etc".to_owned(), ..good_get.clone() }),
        Chunk::Get(GetChunk { blob_id: short_id, ..good_get.clone() }),
    ] {
        let mut stream = ChunkStream::open(&scene.raw.conn).await;
        let answered = stream.ask(bad.clone()).await.code().await;
        assert_eq!(answered, Some(Code::Malformed), "{bad:?}");
        scene.still_writes().await;
        scene.again().await;
    }
    let mut stream = ChunkStream::open(&scene.raw.conn).await;
    // Field 9: what a later version may ask.
    let unknown = framed(&[0x4a, 0]);
    assert_eq!(stream.bytes(&unknown).await.finish().code().await, Some(Code::Unsupported));
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_or_too_slowly_is_told_and_the_session_goes_on() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 0);
    scene.raw.ask(blob.begin()).await;
    let begin = Instant::now();
    // Part of the first frame; all of it and nothing more; all but the end.
    let mut silent = ChunkStream::open(&scene.raw.conn).await;
    silent.bytes(&[0, 0]).await;
    let mut halting = ChunkStream::open(&scene.raw.conn).await;
    halting.ask(Chunk::Put(blob.put_ask(0))).await;
    let mut endless = ChunkStream::open(&scene.raw.conn).await;
    endless.ask(Chunk::Put(blob.put_ask(0))).await.bytes(&blob.chunks[0][..9_000]).await;
    assert_eq!(silent.code().await, Some(Code::Timeout));
    assert_eq!(halting.code().await, Some(Code::Timeout));
    assert!(begin.elapsed() < Duration::from_secs(11));
    assert_eq!(endless.code().await, Some(Code::Timeout));
    // 9,000 bytes bring two seconds and a bit.
    assert!((12..14).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    scene.still_writes().await;

    // Half of the slowest pace.
    let (mut send, mut recv) = scene.raw.conn.open_bi().await.unwrap();
    let ask = ChunkAsk { body: Some(Chunk::Put(blob.put_ask(0))) };
    send.write_all(&framed(&ask.encode_to_vec())).await.unwrap();
    let trickle = async {
        while send.write_all(&[1; 200]).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let begin = Instant::now();
    let answer = tokio::select! {
        () = trickle => unreachable!(),
        answer = recv.read_to_end(1000) => answer.unwrap(),
    };
    let answer = fastchat::wire::client::ChunkAnswer::decode(&answer[4..]).unwrap();
    assert_eq!(answer.code, Code::Timeout as u32);
    assert!((18..22).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_into_what_was_not_begun_or_is_another_persons() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 500);
    assert_eq!(blob.put(&scene.raw.conn, 0).await, Some(Code::NoSuchBlob));
    let mut bob = scene.cluster.resume(1, &mut scene.bob).await;
    bob.ask(blob.begin()).await;
    assert_eq!(blob.put(&scene.raw.conn, 0).await, Some(Code::NoSuchBlob));
    assert_eq!(blob.put(&bob.conn, 0).await, None);
    // What is begun and not committed is nobody's to read, and neither is what never was.
    for owner in [scene.bob.name.as_str(), scene.alice.name.as_str(), "nobody"] {
        let got = get(&scene.raw.conn, blob.get_ask(owner, 0)).await;
        assert_eq!(got, Err(Code::NoSuchBlob), "{owner}");
    }
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_not_the_one_of_its_place_is_dropped() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 2, 500);
    scene.raw.ask(blob.begin()).await;
    let foreign = Blob::of(9, 2, 500);
    assert_eq!(scene.put(blob.put_ask(0), &foreign.chunks[0]).await, Some(Code::BlobHash));
    assert_eq!(scene.put(blob.put_ask(0), &blob.chunks[1]).await, Some(Code::BlobHash));
    let past = PutChunk { index: 3, ..blob.put_ask(2) };
    assert_eq!(scene.put(past, &blob.chunks[2]).await, Some(Code::BlobHash));
    scene.still_writes().await;
    blob.upload(&mut scene.raw).await;
    blob.fetch(&scene.raw.conn, scene.alice.name.as_str()).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_streams_at_once_are_answered_a_few_at_a_time_and_a_text_overtakes_them() {
    let mut scene = Scene::begin().await;
    // Together less than the window: who opens too many full ones starves them, and is told so.
    let blob = Blob::of(1, 0, 9000);
    scene.raw.ask(blob.begin()).await;
    let all: Vec<_> = (0..100)
        .map(|_| {
            let (conn, ask) = (scene.raw.conn.clone(), blob.put_ask(0));
            let chunk = blob.chunks[0].clone();
            tokio::spawn(async move { put(&conn, ask, &chunk).await })
        })
        .collect();
    scene.still_writes().await;
    assert!(all.iter().any(|put| !put.is_finished()), "the text was not last");
    for put in all {
        assert_eq!(put.await.unwrap(), None);
    }
    scene.still_writes().await;
}

#[tokio::test(start_paused = true)]
async fn before_a_login_there_is_no_stream_for_chunks() {
    let scene = Scene::begin().await;
    let blob = Blob::of(1, 0, 500);
    // As the only stream: it is read as a session, and is none.
    let stranger = scene.cluster.connect(2).await;
    let mut stream = ChunkStream::open(&stranger).await;
    stream.ask(Chunk::Put(blob.put_ask(0))).await.bytes(&blob.chunks[0]).await;
    let answer = stream.finish().first_frame::<fastchat::wire::client::ServerFrame>().await;
    assert_eq!(raw::error(answer.body.unwrap()).0, Code::Malformed);
    // Beside a session: QUIC does not let it open before somebody is logged in.
    let mut greeted = scene.cluster.greeted(2).await;
    let mut second = Box::pin(greeted.conn.open_bi());
    let opened = tokio::time::timeout(Duration::from_secs(5), &mut second).await;
    assert!(opened.is_err());
    drop(second);
    let mut carol = scene.cluster.person("carol", 3);
    let welcome = greeted.ask(carol.sign_up(scene.cluster.ticket(2))).await;
    assert!(matches!(welcome, Answer::Welcome(_)), "{welcome:?}");
    assert_eq!(blob.put(&greeted.conn, 0).await, Some(Code::NoSuchBlob));
    carol.count = 0;
}

#[tokio::test(start_paused = true)]
async fn streams_end_with_their_session() {
    let mut scene = Scene::begin().await;
    let blob = Blob::of(1, 1, 0);
    scene.raw.ask(blob.begin()).await;
    let mut stream = ChunkStream::open(&scene.raw.conn).await;
    stream.ask(Chunk::Put(blob.put_ask(0))).await.bytes(&blob.chunks[0][..100]).await;
    scene.still_writes().await;
    let old = scene.raw.conn.clone();
    scene.again().await;
    assert_eq!(raw::close_code(&old).await, Some(Code::SessionReplaced));
    assert!(stream.send.write_all(&[1]).await.is_err());
    assert_eq!(blob.put(&scene.raw.conn, 0).await, None);
}
