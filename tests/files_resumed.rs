//! Files whose way is broken off: they go on where they were, and only what was missing travels
//! again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod parcels;
mod raw;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use fastchat::blob::{Shape, hash_chunk};
use fastchat::client::{MessageState, TransferPolicy, TransferState};
use fastchat::limits::{CHUNK_BYTES_MAX, Limits};
use fastchat::net::chunk::{ChunkWriter, read_head};
use fastchat::net::{self, Target, client_endpoint};
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    BeginBlob, BlobOffer, ChunkAnswer, ChunkAsk, CommitBlob, PutChunk, chunk_ask,
};
use parcels::{Life, Town, are_alike, sealed};
use raw::Raw;
use tokio::time::sleep;

const MIB: usize = 1024 * 1024;
const BYTES: usize = 8 * MIB;

/// Datagrams, acknowledgements, what was on its way when it broke, and everything else that a
/// client says.
const OVERHEAD: u64 = 2 * MIB as u64 + MIB as u64 / 2;

/// Only what was missing has travelled since.
#[track_caller]
fn only_the_rest(life: &Life, since: u64, done: u64) {
    let (travelled, rest) = (life.env.udp_bytes() - since, sealed(BYTES) - done);
    assert!(travelled >= rest / 2, "{travelled} bytes for {rest}: what was counted?");
    assert!(travelled < rest + OVERHEAD, "{travelled} bytes for the {rest} that were missing");
    assert!(travelled < sealed(BYTES), "{travelled} bytes: all of it travelled again");
}

fn resumes() -> TransferPolicy {
    TransferPolicy { auto_fetch_bytes: 0, resumes: true }
}

#[tokio::test(start_paused = true)]
async fn after_the_author_was_killed_the_rest_goes_up_once_it_is_resumed() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let path = town.file("a.bin", BYTES);
    let id = alice.sends(&bob.chat(), &path).await;
    let done = alice.half_way(id).await;
    let alice = town.start(alice.killed().await).await;
    // Another process began it.
    sleep(Duration::from_secs(30)).await;
    assert_eq!(alice.transfer(id).state, TransferState::Paused);
    assert_eq!(alice.state(id), MessageState::Uploading);
    alice.client.resume_transfer(id).unwrap();
    alice.stands(id, &MessageState::Delivered).await;
    only_the_rest(&alice, 0, done);
    let message = bob.sees(1).await.remove(0);
    are_alike(&path, &bob.saves(message.id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn after_the_reader_was_killed_the_rest_comes_by_itself_where_that_is_wanted() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let path = town.file("a.bin", BYTES);
    alice.sends(&bob.chat(), &path).await;
    let id = bob.sees(1).await.remove(0).id;
    bob.client.resume_transfer(id).unwrap();
    let done = bob.half_way(id).await;
    let bob = town.start(bob.killed().await).await;
    bob.client.set_transfers(resumes());
    bob.transfer_is(id, TransferState::Done).await;
    only_the_rest(&bob, 0, done);
    are_alike(&path, &bob.saves(id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_in_order_both_ways_go_on_where_they_were() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let path = town.file("a.bin", BYTES);
    let id = alice.sends(&bob.chat(), &path).await;
    let done = alice.half_way(id).await;
    let alice = town.start(alice.stop().await).await;
    alice.client.set_transfers(resumes());
    alice.stands(id, &MessageState::Delivered).await;
    only_the_rest(&alice, 0, done);
    let message = bob.sees(1).await.remove(0);
    are_alike(&path, &bob.saves(message.id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn when_the_edge_goes_down_files_go_on_over_another_one() {
    let mut town = Town::new(3).await;
    town.sends_on(1).await;
    town.sends_on(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    assert_eq!(alice.edge().as_deref(), Some("s3"));
    town.serves(1).await;
    town.serves(2).await;
    let path = town.file("a.bin", BYTES);
    let id = alice.sends(&bob.chat(), &path).await;
    let done = alice.half_way(id).await;
    let before = alice.env.udp_bytes();
    town.servers.stop(3).await;
    alice.stands(id, &MessageState::Delivered).await;
    only_the_rest(&alice, before, done);
    let message = bob.sees(1).await.remove(0);
    are_alike(&path, &bob.saves(message.id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn when_the_home_of_the_file_comes_back_both_ways_go_on_by_themselves() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let path = town.file("a.bin", BYTES);
    let own = alice.sends(&bob.chat(), &path).await;
    let done = alice.half_way(own).await;
    let before = alice.env.udp_bytes();
    town.servers.stop(1).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(alice.transfer(own).state, TransferState::Waiting(None));
    town.servers.restart(1).await;
    alice.stands(own, &MessageState::Delivered).await;
    only_the_rest(&alice, before, done);
    let id = bob.sees(1).await.remove(0).id;
    bob.client.resume_transfer(id).unwrap();
    let done = bob.half_way(id).await;
    let before = bob.env.udp_bytes();
    town.servers.stop(1).await;
    bob.transfer_is(id, TransferState::Waiting(Some(Code::HomeDown))).await;
    town.servers.restart(1).await;
    bob.transfer_is(id, TransferState::Done).await;
    only_the_rest(&bob, before, done);
    are_alike(&path, &bob.saves(id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn half_a_minute_without_network_costs_what_was_on_its_way_and_no_more() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let path = town.file("a.bin", BYTES);
    let own = alice.sends(&bob.chat(), &path).await;
    let server = raw::Cluster::simulated_ip(1);
    let done = alice.half_way(own).await;
    let before = alice.env.udp_bytes();
    town.net.partition(alice.ip, server);
    sleep(Duration::from_secs(30)).await;
    town.net.repair(alice.ip, server);
    alice.stands(own, &MessageState::Delivered).await;
    only_the_rest(&alice, before, done);
    let id = bob.sees(1).await.remove(0).id;
    bob.client.resume_transfer(id).unwrap();
    let done = bob.half_way(id).await;
    let before = bob.env.udp_bytes();
    town.net.partition(bob.ip, server);
    sleep(Duration::from_secs(30)).await;
    town.net.repair(bob.ip, server);
    bob.transfer_is(id, TransferState::Done).await;
    only_the_rest(&bob, before, done);
    are_alike(&path, &bob.saves(id, &town.folder("b")).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_while_the_home_of_its_file_is_away_and_the_file_comes_later() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    bob.client.look_up(&alice.name).await.unwrap();
    bob.client.accept(&alice.name).unwrap();
    let chat = bob.chat();
    let bob = bob.stop().await;
    let path = town.file("a.bin", MIB);
    let mut draft = fastchat::client::FileDraft::of(&path);
    draft.caption = "look".to_owned();
    let id = alice.client.send_file(&chat, draft).await.unwrap();
    alice.stands(id, &MessageState::Sent).await;
    town.servers.stop(1).await;
    let bob = town.start(bob).await;
    let policy = TransferPolicy { auto_fetch_bytes: BYTES as u64, resumes: true };
    bob.client.set_transfers(policy);
    let message = bob.sees(1).await.remove(0);
    assert_eq!(message.text, "look");
    bob.transfer_is(message.id, TransferState::Waiting(Some(Code::HomeDown))).await;
    sleep(Duration::from_secs(300)).await;
    town.servers.restart(1).await;
    let came = town.net.elapsed();
    bob.transfer_is(message.id, TransferState::Done).await;
    // The pauses grow to a minute, and no further.
    assert!(town.net.elapsed() - came < Duration::from_secs(70));
    are_alike(&path, &bob.saves(message.id, &town.folder("b")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_address_changes_goes_on_with_its_upload_on_the_same_connection() {
    let cluster = raw::Cluster::start(1, Limits::default()).await;
    let alice = cluster.person(&cluster.name_at(1, "alice"), 0);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = client_endpoint(&cluster.env, any).unwrap();
    let (server, id) = (cluster.server(1), cluster.authority.cluster_id());
    let (env, limits) = (&cluster.env, Limits::default());
    let (name, kind) = (server.id.as_str(), Target::Client);
    let conn = net::connect(&endpoint, env, server.addr, name, kind, &id, None, &limits);
    let conn = conn.await.unwrap();
    let mut raw = Raw::over(conn.clone()).await;
    raw.greet().await;
    let answer = raw.ask(alice.sign_up(cluster.ticket(1))).await;
    assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");

    let chunks: Vec<Vec<u8>> =
        (0..3).map(|n| vec![n; if n == 2 { 9 } else { CHUNK_BYTES_MAX }]).collect();
    let size = chunks.iter().map(Vec::len).sum::<usize>() as u64;
    let shape = Shape::made(size, chunks.iter().map(|chunk| hash_chunk(chunk)).collect()).unwrap();
    let blob_id = Bytes::copy_from_slice(&shape.id().0);
    let hashes = shape.hash_bytes().into();
    let begin = BeginBlob { blob_id: blob_id.clone(), size, hashes };
    let offer = raw.ask(Ask::BeginBlob(begin.clone())).await;
    assert_eq!(offer, Answer::BlobOffer(BlobOffer { have: vec![0].into(), committed: false }));
    for (index, chunk) in (0..).zip(chunks) {
        let before = endpoint.local_addr().unwrap();
        endpoint.rebind(UdpSocket::bind(any).unwrap()).unwrap();
        assert_ne!(endpoint.local_addr().unwrap(), before);
        let (send, recv) = conn.open_bi().await.unwrap();
        let mut writer = ChunkWriter::new(send, raw::LONG);
        let length = u32::try_from(chunk.len()).unwrap();
        let put = PutChunk { blob_id: blob_id.clone(), index, length };
        writer.head(&ChunkAsk { body: Some(chunk_ask::Body::Put(put)) }).await.unwrap();
        writer.pieces(&mut [chunk.into()]).await.unwrap();
        writer.finish();
        let (answer, _) = read_head::<ChunkAnswer>(recv, raw::LONG).await.unwrap();
        assert!(answer.stored, "{answer:?}");
    }
    let done = raw.ask(Ask::CommitBlob(CommitBlob { blob_id })).await;
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    let again = raw.ask(Ask::BeginBlob(begin)).await;
    assert!(matches!(again, Answer::BlobOffer(BlobOffer { committed: true, .. })), "{again:?}");
}
