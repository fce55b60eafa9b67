//! Files from people to people and groups: they arrive whole, they are told about in time, and what
//! cannot be sent is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod parcels;
mod raw;

use std::fs::{self, File};
use std::path::Path;

use fastchat::client::{
    Event, FileDraft, FileError, MessageState, Refusal, SaveTo, TransferFailure, TransferPolicy,
    TransferState,
};
use fastchat::limits::{FILE_BYTES_MAX, Limits};
use fastchat::testkit::Hostile;
use fastchat::types::{ChatName, GroupName};
use fastchat::wire::Code;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{BlobInfo, ServerFrame};
use parcels::{Town, are_alike, sealed};

const MIB: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn a_file_goes_to_somebody_on_another_server_and_comes_out_the_same() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let folder = town.folder("bob's");
    for (name, bytes) in [("large.bin", 5 * MIB), ("small.bin", 1)] {
        let path = town.file(name, bytes);
        let id = alice.sends(&bob.chat(), &path).await;
        alice.stands(id, &MessageState::Delivered).await;
        assert_eq!(alice.transfer(id).state, TransferState::Done);
        assert_eq!(alice.spools(), 0, "its sealed copy is of no more use");
        let message = bob.sees(1).await.remove(0);
        let file = message.file.unwrap();
        assert_eq!((file.name.as_str(), file.bytes), (name, bytes as u64));
        assert_eq!(file.transfer, TransferState::NotFetched, "nobody asked for it");
        let saved = bob.saves(message.id, &folder).await;
        assert_eq!(saved, folder.join(name));
        are_alike(&path, &saved);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_goes_to_everybody_in_a_group() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let readers = [town.sign_up(2, "bob").await, town.sign_up(1, "carol").await];
    let team = GroupName::parse("team").unwrap();
    let with = readers.each_ref().map(|life| life.name.clone());
    alice.client.create_group(&team, &with, "", None).await.unwrap();
    let path = town.file("clip.bin", MIB + 1);
    let id = alice.sends(&ChatName::Group(team), &path).await;
    alice.transfer_is(id, TransferState::Done).await;
    for reader in readers {
        let messages = async {
            loop {
                let message = reader.sees(1).await.remove(0);
                if message.file.is_some() {
                    return message;
                }
            }
        };
        let message = messages.await;
        let saved = reader.saves(message.id, &town.folder(&format!("of {}", reader.name))).await;
        are_alike(&path, &saved);
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_gets_the_file_although_its_author_is_gone_by_then() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let chat = bob.chat();
    let bob = bob.stop().await;
    let path = town.file("a.bin", MIB);
    let id = alice.sends(&chat, &path).await;
    alice.stands(id, &MessageState::Sent).await;
    alice.stop().await;
    let bob = town.start(bob).await;
    let message = bob.sees(1).await.remove(0);
    let saved = bob.saves(message.id, &town.folder("b")).await;
    are_alike(&path, &saved);
}

#[tokio::test(start_paused = true)]
async fn a_text_is_not_kept_waiting_by_a_file_that_is_on_its_way() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let file = alice.sends(&bob.chat(), &town.file("a.bin", 5 * MIB)).await;
    let text = alice.writes(&bob.chat(), "meanwhile");
    alice.stands(text, &MessageState::Delivered).await;
    assert_eq!(alice.state(file), MessageState::Uploading, "the text came first");
    alice.stands(file, &MessageState::Delivered).await;
    let seen = bob.sees(2).await;
    assert_eq!(seen[0].text, "meanwhile");
    assert!(seen[1].file.is_some());
}

#[tokio::test(start_paused = true)]
async fn files_of_people_who_were_accepted_come_by_themselves_up_to_a_size() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    bob.client.look_up(&alice.name).await.unwrap();
    bob.client.accept(&alice.name).unwrap();
    bob.client.set_transfers(TransferPolicy { auto_fetch_bytes: MIB as u64, resumes: false });
    alice.sends(&bob.chat(), &town.file("small.bin", MIB)).await;
    let small = bob.sees(1).await.remove(0).id;
    bob.transfer_is(small, TransferState::Done).await;
    alice.sends(&bob.chat(), &town.file("large.bin", MIB + 1)).await;
    let large = bob.sees(1).await.remove(0).id;
    assert_eq!(bob.transfer(large).state, TransferState::NotFetched);
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_most_ten_times_a_second_and_every_change_of_state_is() {
    let mut town = Town::new(1).await;
    let mut alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let began = tokio::time::Instant::now();
    let id = alice.sends(&bob.chat(), &town.file("a.bin", 5 * MIB)).await;
    alice.stands(id, &MessageState::Delivered).await;
    let mut told = Vec::new();
    while let Ok(event) = alice.events.try_recv() {
        if let Event::Transfer { view } = event {
            assert_eq!((view.id, view.total_bytes), (id, sealed(5 * MIB)));
            told.push((view.state, view.done_bytes));
        }
    }
    let states = told.iter().map(|(state, _)| *state);
    let mut states: Vec<_> = states.collect();
    let most = began.elapsed().as_millis() / 100 + 3;
    assert!((states.len() as u128) <= most, "{told:?}");
    states.dedup();
    assert_eq!(states, [TransferState::Running, TransferState::Done]);
    assert!(told.is_sorted_by_key(|(_, bytes)| *bytes), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_too_large_for_its_home_is_refused_before_a_byte_of_it_travels() {
    let limits = Limits {
        blob_bytes_max: sealed(2 * MIB),
        blob_user_bytes_max: sealed(3 * MIB),
        ..Limits::default()
    };
    let mut town = Town::with(1, limits.clone()).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let fits = alice.sends(&bob.chat(), &town.file("fits.bin", 2 * MIB)).await;
    alice.stands(fits, &MessageState::Delivered).await;
    let before = alice.env.udp_bytes();
    let refused = MessageState::Refused(Refusal::Server(Code::Quota));
    let large = alice.sends(&bob.chat(), &town.file("large.bin", 2 * MIB + 16)).await;
    alice.stands(large, &refused).await;
    let too_large = TransferFailure::TooLarge { limit_bytes: limits.blob_bytes_max };
    assert_eq!(alice.transfer(large).state, TransferState::Failed(too_large));
    let second = alice.sends(&bob.chat(), &town.file("second.bin", 2 * MIB)).await;
    alice.stands(second, &refused).await;
    let quota = TransferFailure::Quota {
        limit_bytes: limits.blob_user_bytes_max,
        used_bytes: sealed(2 * MIB),
    };
    assert_eq!(alice.transfer(second).state, TransferState::Failed(quota));
    assert!(alice.env.udp_bytes() - before < 64 * 1024, "something of it travelled");
    // The first is taken back: then there is room for another.
    alice.client.delete(fits).unwrap();
    let mut tries = 0;
    while alice.transfer(second).state != TransferState::Done {
        alice.client.resume_transfer(second).unwrap();
        alice.until("an end", || alice.state(second) != MessageState::Uploading).await;
        tries += 1;
        assert!(tries < 50, "its room is never free again");
    }
    alice.stands(second, &MessageState::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_file_is_not_sent_and_leaves_its_room_at_the_home_to_others() {
    let limits = Limits { blob_user_bytes_max: sealed(5 * MIB), ..Limits::default() };
    let mut town = Town::with(1, limits).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let first = alice.sends(&bob.chat(), &town.file("first.bin", 5 * MIB)).await;
    alice.half_way(first).await;
    alice.client.cancel_transfer(first).unwrap();
    assert_eq!(alice.state(first), MessageState::Cancelled);
    assert_eq!(alice.spools(), 0);
    assert_eq!(alice.client.transfers().unwrap(), []);
    let second = alice.sends(&bob.chat(), &town.file("second.bin", 4 * MIB)).await;
    alice.stands(second, &MessageState::Delivered).await;
    let seen = bob.sees(1).await;
    assert_eq!(seen[0].file.as_ref().unwrap().name, "second.bin");
    assert_eq!(alice.state(first), MessageState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_download_leaves_nothing_and_can_be_begun_again() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let path = town.file("a.bin", 5 * MIB);
    alice.sends(&bob.chat(), &path).await;
    let id = bob.sees(1).await.remove(0).id;
    bob.client.resume_transfer(id).unwrap();
    bob.half_way(id).await;
    bob.client.cancel_transfer(id).unwrap();
    assert_eq!((bob.transfer(id).state, bob.spools()), (TransferState::NotFetched, 0));
    let saved = bob.saves(id, &town.folder("b")).await;
    are_alike(&path, &saved);
}

#[tokio::test(start_paused = true)]
async fn two_who_store_one_file_at_once_get_two_and_an_own_file_is_fetched_back() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let path = town.file("a.bin", MIB);
    let own = alice.sends(&bob.chat(), &path).await;
    let theirs = bob.sees(1).await.remove(0).id;
    alice.stands(own, &MessageState::Delivered).await;
    for (life, id) in [(&alice, own), (&bob, theirs)] {
        let folder = town.folder(&format!("of {}", life.name));
        let (one, other) = tokio::join!(life.saves(id, &folder), life.saves(id, &folder));
        assert_ne!(one, other);
        are_alike(&path, &one);
        are_alike(&path, &other);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing unfinished is left");
    }
    assert_eq!(alice.state(own), MessageState::Delivered);
    // Under a name of one's own; and where there is no folder.
    let named = town.folder("named").join("mine.bin");
    let saved = bob.client.save_file(theirs, &SaveTo::File(named.clone())).await.unwrap();
    assert_eq!(saved, named);
    let nowhere = SaveTo::Folder(named.join("no"));
    let error = bob.client.save_file(theirs, &nowhere).await.unwrap_err();
    assert!(matches!(error, FileError::NoFolder(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_told_and_nothing_of_it_is_stored() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let folder = town.folder("odd");
    let refused = async |path: &Path| {
        alice.client.send_file(&bob.chat(), FileDraft::of(path)).await.unwrap_err()
    };
    let empty = folder.join("empty");
    fs::write(&empty, "").unwrap();
    assert!(matches!(refused(&empty).await, FileError::Empty(path) if path == empty));
    assert!(matches!(refused(&folder).await, FileError::NotAFile(path) if path == folder));
    let device = Path::new("/dev/zero");
    assert!(matches!(refused(device).await, FileError::NotAFile(path) if path == device));
    let missing = folder.join("missing");
    assert!(matches!(refused(&missing).await, FileError::NotFound(path) if path == missing));
    let large = folder.join("large");
    File::create(&large).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let error = refused(&large).await;
    assert!(
        matches!(error, FileError::TooLarge { got, max: FILE_BYTES_MAX, .. } if got > 1 << 26),
        "{error}"
    );
    let mut draft = FileDraft::of(town.file("a.bin", 10));
    draft.caption = "x".repeat(4 * 1024 + 1);
    let error = alice.client.send_file(&bob.chat(), draft).await.unwrap_err();
    assert!(matches!(error, FileError::CaptionTooLong { .. }), "{error}");
    assert_eq!((alice.spools(), alice.client.last_line().unwrap()), (0, None));
}

/// What the server says about a blob when somebody wants to fetch it, changed.
fn tells(
    mut change: impl FnMut(&mut BlobInfo) + Send + 'static,
) -> impl FnMut(ServerFrame) -> Vec<ServerFrame> + Send + 'static {
    move |mut frame| {
        if let Some(Answer::BlobInfo(info)) = &mut frame.body {
            change(info);
        }
        vec![frame]
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_of_a_blob_has_to_fit_the_signed_message() {
    let mut town = Town::new(1).await;
    let hostile = Hostile::over(town.servers.server_env(1));
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let path = town.file("a.bin", 2 * MIB);
    alice.sends(&bob.chat(), &path).await;
    let id = bob.sees(1).await.remove(0).id;
    let folder = town.folder("b");
    let lies: [fn(&mut BlobInfo); 4] = [
        |info| info.size -= 16,
        |info| info.hashes = info.hashes.slice(32..),
        |info| {
            let mut hashes = info.hashes.to_vec();
            hashes.rotate_left(32);
            info.hashes = hashes.into();
        },
        // Another blob, sound in itself.
        |info| (info.size, info.hashes) = (73, vec![7; 32].into()),
    ];
    for lie in lies {
        hostile.rewrite_frames(&bob.name, tells(lie));
        let error = bob.client.save_file(id, &SaveTo::Folder(folder.clone())).await.unwrap_err();
        assert!(
            matches!(error, FileError::Transfer(TransferFailure::NotTheFile)),
            "{error}: {error:?}"
        );
        assert_eq!((bob.spools(), fs::read_dir(&folder).unwrap().count()), (0, 0));
    }
    hostile.relent(&bob.name);
    are_alike(&path, &bob.saves(id, &folder).await);
}

#[tokio::test(start_paused = true)]
async fn a_sealed_copy_that_a_disk_damaged_is_fetched_again_and_an_own_one_is_told_as_lost() {
    let mut town = Town::new(1).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(1, "bob").await;
    let path = town.file("a.bin", 5 * MIB);
    let own = alice.sends(&bob.chat(), &path).await;
    alice.stands(own, &MessageState::Delivered).await;
    let id = bob.sees(1).await.remove(0).id;
    bob.client.resume_transfer(id).unwrap();
    bob.transfer_is(id, TransferState::Done).await;
    bob.damages_its_copies();
    are_alike(&path, &bob.saves(id, &town.folder("b")).await);

    let lost = alice.sends(&bob.chat(), &path).await;
    alice.damages_its_copies();
    alice.transfer_is(lost, TransferState::Failed(TransferFailure::CopyLost)).await;
    assert!(matches!(alice.state(lost), MessageState::Refused(_)));
}
