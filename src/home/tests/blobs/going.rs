//! What goes by itself: uploads nobody finished, old blobs, those of deleted accounts. The disk has
//! its room back.

use super::*;
use crate::limits::{BLOB_LIFE, UPLOAD_LIFE};

const HOUR_MS: u64 = 3600 * 1000;

fn ms(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_a_day_after_it_was_begun_last_and_a_blob_after_thirty() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let (blob, upload) = (Blob::new(2, 0, 1), Blob::new(1, 7, 2));
    bed.upload(&alice, &blob).await;
    bed.begin(&alice, &upload).await;
    bed.put(&alice, &upload, 0).await.unwrap();
    assert!(bed.blob_disk_bytes() > 3 * CHUNK_BYTES_MAX as u64);
    bed.later(ms(UPLOAD_LIFE) - HOUR_MS).await;
    // Gone on with.
    assert_eq!(bed.begin(&alice, &upload).await, (vec![0], false));
    bed.later(ms(UPLOAD_LIFE) - 1).await;
    assert_eq!(bed.blob_files().len(), 2);
    bed.later(1).await;
    assert_eq!(bed.blob_rows(), [(2 * CHUNK_BYTES_MAX as i64, true)]);
    assert_eq!(bed.home.stats().blob_bytes, 2 * CHUNK_BYTES_MAX as u64);
    assert_eq!(bed.blob_files().len(), 1);
    assert_eq!(bed.put(&alice, &upload, 1).await, Err(BlobFault::Unknown));
    assert_eq!(bed.commit(&alice, &upload).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
    bed.later(ms(BLOB_LIFE) - 2 * ms(UPLOAD_LIFE) + HOUR_MS - 1).await;
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
    bed.later_alone(1).await;
    assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
    assert_eq!((bed.blob_rows(), bed.blob_disk_bytes()), (vec![], 0));
    assert_eq!(bed.home.stats().blob_bytes, 0);
    assert!(!bed.blob_folder().join("alice").exists());
    // Both can come again.
    bed.upload(&alice, &blob).await;
    bed.upload(&alice, &upload).await;
}

#[tokio::test(start_paused = true)]
async fn many_go_in_parts_and_also_if_the_home_was_not_running() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    for seed in 0..150 {
        let blob = Blob::new(0, 10 + usize::from(seed), seed);
        bed.upload(&alice, &blob).await;
    }
    bed.home.stop().await;
    bed.world.now_ms.fetch_add(ms(BLOB_LIFE), Ordering::Relaxed);
    bed.reopen();
    bed.later_alone(0).await;
    assert_eq!((bed.blob_rows(), bed.blob_files()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_again_before_its_old_file_went_stays() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let (kept, gone) = (Blob::new(1, 0, 1), Blob::new(1, 0, 2));
    bed.upload(&alice, &kept).await;
    bed.upload(&alice, &gone).await;
    bed.home.tamper("DELETE FROM blobs").await;
    bed.begin(&alice, &kept).await;
    let both = [&kept, &gone].map(|blob| (name("alice"), blob.id()));
    bed.home.blobs().clone().sweep(both.into(), bed.home.queue.downgrade()).await;
    assert_eq!(bed.blob_files().len(), 1);
    bed.commit(&alice, &kept).await.unwrap();
    assert_eq!(bed.fetch(&alice, "alice", &kept).await.unwrap(), kept.chunks);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_account_leaves_no_blobs() {
    let limits = Limits { account_grace_ms: HOUR_MS, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (alice, bob, _) = bed.alice_and_bob().await;
    for seed in 0..100 {
        bed.upload(&alice, &Blob::new(0, 10 + usize::from(seed), seed)).await;
    }
    let (begun, bobs) = (Blob::new(1, 1, 1), Blob::new(0, 40, 40));
    bed.begin(&alice, &begun).await;
    bed.upload(&bob, &bobs).await;
    let proven = "hash of alice".to_owned();
    bed.ask(&alice, HomeRequest::DeleteAccount { proven }).await;
    bed.later_alone(HOUR_MS).await;
    assert_eq!(bed.blob_rows(), [(40, true)]);
    assert_eq!(bed.home.stats().blob_bytes, 40);
    assert_eq!(bed.blob_files().len(), 1);
    assert_eq!(bed.fetch(&bob, "bob", &bobs).await.unwrap(), bobs.chunks);
    assert_eq!(bed.put(&alice, &begun, 0).await, Err(BlobFault::Unknown));
    // Nobody gets in by what is left of the name.
    let late = bed.ask_blob(&alice, BlobAsk::Begin(begun.shape.clone())).await;
    assert_eq!(code(late), Code::NoSuchUser);
}
