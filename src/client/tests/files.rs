//! Messages that bring files: what is sealed when, what arrives as what, and what is left when they
//! are forgotten. No bytes move here: `transfers` does that.

use std::path::PathBuf;

use super::conversations::{talk, two};
use super::group_bed::{Signer, Team};
use super::*;
use crate::blob::{Shape, hash_chunk};
use crate::client::api::{FileDraft, FileView, TransferFailure, TransferPolicy, TransferState};
use crate::client::files::FileState;
use crate::crypto::blob::BlobKey;
use crate::crypto::envelope::FileBody;
use crate::types::BlobId;

/// A file of 3,000 bytes whose one sealed chunk is in the spool of the desk.
fn spooled(desk: &Desk, named: &str) -> (FileBody, Shape) {
    let key = BlobKey::generate();
    let sealed = key.seal_chunk(&[7; 3_000]);
    let shape = Shape::made(sealed.len() as u64, vec![hash_chunk(&sealed)]).unwrap();
    std::fs::create_dir_all(desk.core.spool_folder()).unwrap();
    std::fs::write(spool(desk, &shape.id()), &sealed).unwrap();
    let body = FileBody {
        blob: shape.id(),
        bytes: 3_000,
        key,
        name: named.to_owned(),
        media_type: "image/jpeg".to_owned(),
        dimensions: Some((640, 480)),
        thumbnail: Bytes::from_static(b"a small picture"),
        caption: String::new(),
        reply_to: None,
        expire: None,
    };
    (body, shape)
}

fn spool(desk: &Desk, blob: &BlobId) -> PathBuf {
    desk.core.spool_folder().join(blob.to_string())
}

fn draft(caption: &str) -> FileDraft {
    FileDraft { caption: caption.to_owned(), ..FileDraft::of("/tmp/any") }
}

/// Takes a file, as the transfers do once it is sealed.
fn queues(desk: &mut Desk, to: &ChatName, draft: &FileDraft) -> (LocalId, BlobId) {
    let (body, shape) = spooled(desk, "photo.jpg");
    (desk.core.queue_file(to, draft, &body, &shape).unwrap(), shape.id())
}

fn shown(transfer: TransferState) -> FileView {
    FileView {
        name: "photo.jpg".to_owned(),
        bytes: 3_000,
        media_type: "image/jpeg".to_owned(),
        dimensions: Some((640, 480)),
        thumbnail: b"a small picture".to_vec(),
        transfer,
    }
}

fn file_of(message: &MessageView) -> FileView {
    message.file.as_deref().unwrap().clone()
}

#[test]
fn a_file_goes_out_when_its_bytes_are_at_the_home_and_arrives_with_all_it_says() {
    let (mut alice, mut bob) = two();
    let (id, blob) = queues(&mut alice, &bob.chat(), &draft("look"));
    assert_eq!(alice.state(id), MessageState::Uploading);
    assert_eq!(file_of(&alice.message(id)), shown(TransferState::Waiting(None)));
    assert!(alice.sends(&bob.name).is_empty(), "nothing names what nobody can fetch");
    assert!(!alice.core.is_all_sent(&bob.chat()).unwrap());
    assert_eq!(alice.core.waiting_count().unwrap(), 1);
    // A text does not wait for it.
    alice.writes(&bob.name, "first");
    talk(&mut alice, &mut bob);
    assert_eq!(bob.sees(), ["alice: first"]);

    alice.told();
    assert!(alice.core.upload_committed(id).unwrap());
    let (chat, state) = (bob.chat(), MessageState::Waiting);
    assert_eq!(alice.told(), [Event::State { id, chat, state }]);
    assert!(!spool(&alice, &blob).exists());
    talk(&mut alice, &mut bob);
    assert_eq!(alice.state(id), MessageState::Delivered);
    assert_eq!(file_of(&alice.message(id)), shown(TransferState::Done));
    let got = bob.newest(&alice.name);
    assert_eq!((got.text.as_str(), file_of(&got)), ("look", shown(TransferState::NotFetched)));
    let row = bob.core.file(got.id).unwrap().unwrap();
    let sent = alice.core.file(id).unwrap().unwrap();
    assert_eq!((row.body, row.owner, row.shape), (sent.body, alice.name.clone(), None));
}

#[test]
fn in_a_group_a_file_is_a_message_like_any_other() {
    let (mut alice, mut bob) = (Desk::new("alice", 0), Desk::new("bob", 1));
    let signers = [Signer::from(&alice), Signer::from(&bob)];
    let mut team = Team::made(&signers[0], &[&signers[1]]);
    team.with(&mut alice, &[&signers[1]]);
    team.with(&mut bob, &[&signers[0]]);
    alice.core.log_opened(&team.chat(), EPOCH, N(0)).unwrap();
    let (id, _) = queues(&mut alice, &team.chat(), &draft("look"));
    assert_eq!(team.takes(&mut alice), 0);
    assert!(alice.core.upload_committed(id).unwrap());
    assert_eq!(team.takes(&mut alice), 1);
    bob.core.files.policy = TransferPolicy { auto_fetch_bytes: 3_000, resumes: true };
    team.pushes(&mut bob);
    let got = bob.core.history(&team.chat(), 1).unwrap()[0].id();
    let got = bob.message(got);
    assert_eq!((got.author.clone(), got.text.as_str()), (alice.them(), "look"));
    assert_eq!(file_of(&got), shown(TransferState::Waiting(None)));
    assert_eq!(bob.core.file(got.id).unwrap().unwrap().owner, alice.name);
}
