//! Messages that bring files: what is sealed when, what arrives as what, and what is left when they
//! are forgotten. No bytes move here: `transfers` does that.

use std::path::PathBuf;

use super::conversations::{talk, two};
use super::group_bed::{Signer, Team};
use super::outgoing::{envelopes, numbers, stored};
use super::*;
use crate::blob::{Shape, hash_chunk};
use crate::client::api::{
    ActionError, Cancelled, Draft, FileDraft, FileError, FileView, Refusal, TransferFailure,
    TransferPolicy, TransferState,
};
use crate::client::core::{NewBundle, SharedCore};
use crate::client::files::FileState;
use crate::client::search::Search;
use crate::crypto::blob::BlobKey;
use crate::crypto::envelope::FileBody;
use crate::limits::CAPTION_BYTES_MAX;
use crate::types::BlobId;
use crate::wire::Code;

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

/// Alice sent this, all of it is at her home, and Bob has seen the message. Her number, and his.
fn brings(alice: &mut Desk, bob: &mut Desk, draft: &FileDraft) -> (LocalId, LocalId, BlobId) {
    let (id, blob) = queues(alice, &bob.chat(), draft);
    assert!(alice.core.upload_committed(id).unwrap());
    talk(alice, bob);
    bob.sees();
    (id, bob.newest(&alice.name).id, blob)
}

/// All of it has come to this desk.
fn fetched(desk: &mut Desk, id: LocalId, blob: &BlobId) {
    std::fs::create_dir_all(desk.core.spool_folder()).unwrap();
    std::fs::write(spool(desk, blob), "sealed chunks").unwrap();
    assert!(desk.core.set_file(id, FileState::Done).unwrap());
}

fn rows(desk: &Desk) -> i64 {
    let db = desk.core.profile.store.db();
    db.query_row("SELECT count(*) FROM files", [], |row| row.get(0)).unwrap()
}

fn transfer(desk: &Desk, id: LocalId) -> TransferState {
    file_of(&desk.message(id)).transfer
}

#[test]
fn deleted_a_file_leaves_nothing_on_either_side_and_its_home_may_forget_it() {
    let (mut alice, mut bob) = two();
    let (hers, his, blob) = brings(&mut alice, &mut bob, &draft("look"));
    fetched(&mut bob, his, &blob);
    alice.core.delete(hers).unwrap();
    assert_eq!((rows(&alice), alice.core.blobs_to_drop().unwrap()), (0, vec![blob]));
    let left = alice.message(hers);
    assert!(left.deleted && left.file.is_none());
    talk(&mut alice, &mut bob);
    assert!(bob.message(his).deleted);
    assert!(rows(&bob) == 0 && !spool(&bob, &blob).exists());
    assert!(bob.core.blobs_to_drop().unwrap().is_empty(), "it never was his");
    alice.core.blob_dropped(&blob).unwrap();
    assert!(alice.core.blobs_to_drop().unwrap().is_empty());
    // Whoever still moves it finds that there is nothing to note.
    assert!(!bob.core.set_file(his, FileState::Done).unwrap());
    assert!(!alice.core.upload_committed(hers).unwrap());
}

#[test]
fn a_file_goes_away_with_the_life_of_its_message() {
    let (mut alice, mut bob) = two();
    let life = Some(Duration::from_secs(60));
    let fleeting = FileDraft { expire: life, ..draft("read and burn") };
    let (hers, his, blob) = brings(&mut alice, &mut bob, &fleeting);
    fetched(&mut bob, his, &blob);
    for desk in [&mut alice, &mut bob] {
        desk.later(60_000);
        desk.core.forget_due().unwrap();
        assert_eq!(rows(desk), 0);
        assert!(!spool(desk, &blob).exists());
    }
    assert!(alice.core.line(hers).unwrap().is_none() && bob.core.line(his).unwrap().is_none());
    assert_eq!(alice.core.blobs_to_drop().unwrap(), [blob]);
}

#[test]
fn a_file_that_was_forgotten_by_a_process_that_was_killed_is_gone_after_the_next_start() {
    let (mut alice, mut bob) = two();
    let (hers, his, blob) = brings(&mut alice, &mut bob, &draft("look"));
    fetched(&mut bob, his, &blob);
    let (kept, kept_blob) = queues(&mut bob, &alice.chat(), &draft("mine"));
    alice.core.delete(hers).unwrap();
    // Killed between the commit and the removal.
    let forget = |tx: &rusqlite::Transaction<'_>| crate::client::files::forget_file(tx, his.0);
    bob.core.profile.store.commit(forget).unwrap();
    assert!(bob.message(his).file.is_none(), "what is left of the row says nothing");
    // And another one between sealing and the commit.
    let orphan = spool(&bob, &BlobId([3; 32]));
    std::fs::write(&orphan, "sealed, and no row").unwrap();
    let stray = bob.core.spool_folder().join("not a blob");
    std::fs::write(&stray, "x").unwrap();
    let mut bob = bob.restarted(|_| ());
    bob.core.sweep_spools().unwrap();
    assert!(!spool(&bob, &blob).exists() && !orphan.exists() && !stray.exists());
    assert!(spool(&bob, &kept_blob).exists());
    assert_eq!((rows(&bob), bob.state(kept)), (1, MessageState::Uploading));
}

#[test]
fn a_caption_is_changed_like_a_text_and_has_its_own_bound() {
    let (mut alice, mut bob) = two();
    let (id, _) = queues(&mut alice, &bob.chat(), &draft(""));
    alice.core.edit(id, "while it uploads").unwrap();
    assert!(!alice.message(id).edited, "nobody has another one");
    let (got, max) = (CAPTION_BYTES_MAX + 1, CAPTION_BYTES_MAX);
    let refused = alice.core.edit(id, &"x".repeat(got));
    assert_eq!(refused, Err(ActionError::CaptionTooLong { got, max }));
    assert!(alice.core.upload_committed(id).unwrap());
    alice.core.edit(id, &"x".repeat(max)).unwrap();
    talk(&mut alice, &mut bob);
    assert_eq!(bob.newest(&alice.name).text, "x".repeat(max));
    alice.core.edit(id, "sent").unwrap();
    talk(&mut alice, &mut bob);
    let got = bob.newest(&alice.name);
    assert!(got.edited && got.file.is_some() && got.text == "sent");
    let too_long = draft(&"x".repeat(max + 1));
    let refused = alice.core.may_send_file(&bob.chat(), &too_long);
    assert!(matches!(refused, Err(FileError::CaptionTooLong { .. })), "{refused:?}");
}

#[test]
fn a_file_answers_is_answered_and_is_found_by_its_name() {
    let (mut alice, mut bob) = two();
    let question = bob.writes(&alice.name, "what did you see?");
    talk(&mut bob, &mut alice);
    let asked = alice.newest(&bob.name).id;
    let answer = FileDraft { reply_to: Some(asked), ..draft("") };
    let (_, his, _) = brings(&mut alice, &mut bob, &answer);
    assert_eq!(bob.message(his).reply_to.unwrap().id, Some(question));
    let back = Draft { reply_to: Some(his), ..Draft::text("nice") };
    bob.core.queue_draft(&alice.chat(), &back).unwrap();
    bob.core.react(his, Some("+")).unwrap();
    talk(&mut bob, &mut alice);
    assert_eq!(alice.newest(&bob.name).reply_to.unwrap().excerpt, "photo.jpg");
    let mut search = Search::default();
    alice.core.search_on("photo.j", None, 9, &mut search).unwrap();
    let found = alice.core.found(&search).unwrap();
    let [Line::Message(file)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(file.reactions.len(), 1);
    let nowhere = FileDraft { reply_to: Some(LocalId(4_711)), ..draft("") };
    assert!(alice.core.may_send_file(&bob.chat(), &nowhere).is_err());
    assert!(alice.core.may_send_file(&alice.chat(), &draft("")).is_err(), "to oneself");
}

#[test]
fn sealed_again_for_other_keys_it_is_the_same_file_with_the_words_of_its_number() {
    let (mut alice, mut bob) = two();
    let (id, blob) = queues(&mut alice, &bob.chat(), &draft("first"));
    assert!(alice.core.upload_committed(id).unwrap());
    let before = alice.sends(&bob.name);
    alice.core.edit(id, "second").unwrap();
    alice.core.seal_waiting(&bob.chat(), 64).unwrap();
    bob.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    bob.core.adopt_next_bundle().unwrap();
    alice.knows(&bob.bundle());
    let again = alice.sends(&bob.name);
    assert_eq!(numbers(&again), [(1, 1), (2, 2)]);
    assert_ne!(envelopes(&again)[0], before[0].envelope);
    let db = bob.core.profile.store.db();
    db.execute("DELETE FROM encryption_keys WHERE retired_unix_ms IS NOT NULL", []).unwrap();
    bob.gets(&envelopes(&again[..1]));
    let got = bob.newest(&alice.name);
    assert_eq!(
        (got.text.as_str(), bob.core.file(got.id).unwrap().unwrap().body.blob),
        ("first", blob)
    );
    bob.gets(&envelopes(&again[1..]));
    assert_eq!(bob.newest(&alice.name).text, "second");
    // Under another device all numbers start again: what was not stored goes as it is now.
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    bob.knows(&alice.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    talk(&mut alice, &mut bob);
    let got = bob.newest(&alice.name);
    assert!(got.text == "second" && !got.edited && got.file.is_some());
}

#[test]
fn the_file_of_an_old_copy_of_the_profile_still_goes() {
    let (mut alice, bob) = two();
    let (id, _) = queues(&mut alice, &bob.chat(), &draft("look"));
    let mut alice = alice.restarted(|_| ());
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    assert_eq!(alice.state(id), MessageState::Uploading);
    let unfinished = alice.core.files_unfinished().unwrap();
    let [row] = &unfinished[..] else { panic!("{unfinished:?}") };
    assert!(row.id == id && row.state == FileState::GoesOn && row.shape.is_some());
    assert!(alice.core.upload_committed(id).unwrap());
    assert!(alice.core.files_unfinished().unwrap().is_empty());
    assert!(!alice.sends(&bob.name).is_empty());
}

#[test]
fn of_strangers_blocked_people_and_new_keys_nothing_is_fetched_by_itself() {
    let mut alice = Desk::new("alice", 0);
    let (bob, carol) = (Peer::new("bob", 1), Peer::new("carol", 2));
    let policy = TransferPolicy { auto_fetch_bytes: 3_000, resumes: false };
    alice.core.files.policy = policy;
    let to = alice.bundle();
    let (body, _) = spooled(&alice, "photo.jpg");
    let body = Body::File(Box::new(FileBody { caption: "hi".to_owned(), ..body }));
    // Somebody new: shown, a request, and no more.
    alice.core.learn(&carol.name, &carol.bundle(), Contact::Request).unwrap();
    alice.told();
    alice.gets(&[carol.seals_with(&to, 1, &body, |_| ())]);
    assert!(alice.told().contains(&Event::Request { from: carol.name.clone() }));
    let got = alice.newest(&carol.name);
    assert_eq!(file_of(&got), shown(TransferState::NotFetched));
    // Somebody accepted.
    alice.knows(&bob.bundle());
    alice.gets(&[bob.seals_with(&to, 1, &body, |_| ())]);
    let got = alice.newest(&bob.name);
    assert_eq!(file_of(&got), shown(TransferState::Waiting(None)));
    // The same, one byte too large.
    alice.core.files.policy.auto_fetch_bytes = 2_999;
    alice.gets(&[bob.seals_with(&to, 2, &body, |_| ())]);
    assert_eq!(file_of(&alice.newest(&bob.name)), shown(TransferState::NotFetched));
    alice.core.files.policy = policy;
    // Under a key that nobody accepted it may be anybody.
    let other = Peer { identity: testkeys::identity(5), ..Peer::new("bob", 1) };
    alice.knows(&other.bundle());
    let under_new = other.seals_with(&to, 3, &body, |_| ());
    alice.gets(&[under_new]);
    let got = alice.newest(&bob.name);
    assert!(got.unaccepted_key);
    assert_eq!(file_of(&got), shown(TransferState::NotFetched));
    let before = rows(&alice);
    alice.core.set_contact(&carol.name, Contact::Blocked).unwrap();
    alice.gets(&[carol.seals_with(&to, 2, &body, |_| ())]);
    assert_eq!(rows(&alice), before);
}

#[test]
fn taken_back_while_it_uploads_a_file_is_gone_here_and_to_be_forgotten_there() {
    let (mut alice, mut bob) = two();
    let (id, blob) = queues(&mut alice, &bob.chat(), &draft("oops"));
    assert_eq!(alice.core.cancel(id).unwrap(), Cancelled::Yes);
    assert_eq!(alice.state(id), MessageState::Cancelled);
    assert_eq!(transfer(&alice, id), TransferState::Failed(TransferFailure::Cancelled));
    assert!(!spool(&alice, &blob).exists());
    assert_eq!(alice.core.blobs_to_drop().unwrap(), [blob]);
    // The home's commit crossed it, and so did its word that it has forgotten the blob.
    alice.core.blob_dropped(&blob).unwrap();
    assert!(!alice.core.upload_committed(id).unwrap());
    assert_eq!(alice.core.blobs_to_drop().unwrap(), [blob]);
    assert_eq!(talk(&mut alice, &mut bob), 0);
    assert_eq!(alice.core.waiting_count().unwrap(), 0);
}

#[test]
fn taken_back_when_it_is_sealed_a_file_stays_until_the_home_says_that_it_did_not_go() {
    let (mut alice, mut bob) = two();
    let (went, went_blob) = queues(&mut alice, &bob.chat(), &draft("went"));
    let (stayed, stayed_blob) = queues(&mut alice, &bob.chat(), &draft("stayed"));
    for id in [went, stayed] {
        assert!(alice.core.upload_committed(id).unwrap());
    }
    let before = alice.sends(&bob.name);
    for id in [went, stayed] {
        assert_eq!(alice.core.cancel(id).unwrap(), Cancelled::Yes);
    }
    assert!(alice.core.blobs_to_drop().unwrap().is_empty());
    // The home has the first as it was, and the second as nothing.
    stored(&mut alice, &bob.name, &before[..1]);
    let after = alice.sends(&bob.name);
    stored(&mut alice, &bob.name, &after);
    bob.gets(&envelopes(&[&before[..1], &after[..]].concat()));
    assert_eq!(bob.sees(), ["alice: went"]);
    assert_eq!(alice.core.blobs_to_drop().unwrap(), [stayed_blob]);
    assert_eq!(transfer(&alice, went), TransferState::Done);
    assert_eq!(transfer(&alice, stayed), TransferState::Failed(TransferFailure::Cancelled));
    assert_ne!(went_blob, stayed_blob);
}

#[test]
fn a_file_that_its_home_refused_is_tried_again_with_the_same_sealed_copy() {
    let (mut alice, mut bob) = two();
    let (id, blob) = queues(&mut alice, &bob.chat(), &draft("much"));
    let failure = TransferFailure::Quota { limit_bytes: 9_000, used_bytes: 8_000 };
    alice.core.upload_refused(id, failure, Code::Quota).unwrap();
    let refused = MessageState::Refused(Refusal::Server(Code::Quota));
    assert_eq!((alice.state(id), transfer(&alice, id)), (refused, TransferState::Failed(failure)));
    assert!(spool(&alice, &blob).exists());
    let again = alice.core.retry_one(id).unwrap();
    assert_eq!(alice.state(id), MessageState::Cancelled);
    assert_eq!(
        (alice.state(again), transfer(&alice, again)),
        (MessageState::Uploading, TransferState::Waiting(None))
    );
    assert_eq!(alice.core.file(again).unwrap().unwrap().shape.unwrap().id(), blob);
    // The line before is nobody's any more: forgetting it takes nothing from the new one.
    alice.core.delete(id).unwrap();
    assert!(spool(&alice, &blob).exists());
    assert!(alice.core.blobs_to_drop().unwrap().is_empty());
    assert!(alice.core.upload_committed(again).unwrap());
    talk(&mut alice, &mut bob);
    assert_eq!(bob.sees(), ["alice: much"]);
    // Without its sealed copy there is nothing to send.
    let (lost, blob) = queues(&mut alice, &bob.chat(), &draft("lost"));
    alice.core.upload_refused(lost, failure, Code::Quota).unwrap();
    std::fs::remove_file(spool(&alice, &blob)).unwrap();
    assert_eq!(alice.core.retry_one(lost), Err(ActionError::CopyLost));
    // Refused when its bytes were there, it only is sealed again.
    let (late, _) = queues(&mut alice, &bob.chat(), &draft("late"));
    assert!(alice.core.upload_committed(late).unwrap());
    alice.core.refuse_log(&bob.chat(), Code::Blocked).unwrap();
    let again = alice.core.retry_one(late).unwrap();
    assert_eq!(
        (alice.state(again), transfer(&alice, again)),
        (MessageState::Waiting, TransferState::Done)
    );
}

#[test]
fn where_nobody_takes_messages_any_more_uploads_end() {
    let (mut alice, bob) = two();
    let (id, blob) = queues(&mut alice, &bob.chat(), &draft("for you"));
    alice.core.refuse_log(&bob.chat(), Code::Blocked).unwrap();
    assert_eq!(alice.state(id), MessageState::Refused(Refusal::Server(Code::Blocked)));
    let failed = TransferState::Failed(TransferFailure::Server(Code::Blocked));
    assert_eq!(transfer(&alice, id), failed);
    assert!(spool(&alice, &blob).exists(), "it can be tried again");
}

#[test]
fn every_state_of_a_file_comes_back_as_it_was() {
    let (mut alice, bob) = two();
    let (id, _) = queues(&mut alice, &bob.chat(), &draft(""));
    let failures = [
        TransferFailure::Server(Code::HomeDown),
        TransferFailure::TooLarge { limit_bytes: u64::MAX },
        TransferFailure::Quota { limit_bytes: 1, used_bytes: u64::MAX },
        TransferFailure::Gone,
        TransferFailure::NotTheFile,
        TransferFailure::CopyLost,
        TransferFailure::DiskFull,
        TransferFailure::Cancelled,
    ];
    let states = [FileState::NotFetched, FileState::GoesOn, FileState::Paused, FileState::Done];
    for state in failures.map(FileState::Failed).into_iter().chain(states) {
        assert!(alice.core.set_file(id, state).unwrap());
        assert_eq!(alice.core.file(id).unwrap().unwrap().state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_starts_removes_what_nobody_needs() {
    let (alice, _bob) = two();
    let orphan = spool(&alice, &BlobId([3; 32]));
    std::fs::create_dir_all(alice.core.spool_folder()).unwrap();
    std::fs::write(&orphan, "sealed, and no row").unwrap();
    let Desk { core, env, dir: _dir, .. } = alice;
    SharedCore::new(core).keep_forgetting(&env);
    assert!(!orphan.exists());
}

#[test]
fn nothing_that_a_file_says_is_readable_on_the_disk() {
    let (mut alice, mut bob) = two();
    let (body, shape) = spooled(&alice, "a secret name.jpg");
    let said = draft("a secret caption");
    let id = alice.core.queue_file(&bob.chat(), &said, &body, &shape).unwrap();
    let held = |desk: &Desk| {
        let mut folders = vec![desk.dir.path().join("p")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.clone(), std::fs::read(&path).unwrap()));
                }
            }
        }
        let secrets: [&[u8]; 4] =
            [b"a secret name", b"a secret caption", b"a small picture", body.key.as_bytes()];
        for (path, bytes) in &files {
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{} holds {}", path.display(), String::from_utf8_lossy(secret));
            }
        }
        files.len()
    };
    assert!(held(&alice) >= 4, "database, its log, the lock, the sealed copy");
    assert!(alice.core.upload_committed(id).unwrap());
    talk(&mut alice, &mut bob);
    bob.sees();
    held(&alice);
    held(&bob);
    assert_eq!(bob.newest(&alice.name).text, "a secret caption");
}
