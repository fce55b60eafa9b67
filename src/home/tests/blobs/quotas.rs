//! How much anybody may have, told before a byte of it travels.

use super::*;
use crate::limits::DISK_FREE_BYTES_MIN;

const CHUNK: u64 = CHUNK_BYTES_MAX as u64;

async fn refusal(bed: &Bed, from: &Caller, blob: &Blob) -> (Code, u64, u64) {
    match bed.ask_blob(from, BlobAsk::Begin(blob.shape.clone())).await {
        Body::Error(error) => {
            (Code::from_number(error.code).unwrap(), error.limit_bytes, error.used_bytes)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_blob_and_all_of_a_user_are_bounded_with_begun_uploads_among_them() {
    let (blob_bytes_max, blob_user_bytes_max) = (2 * CHUNK, 4 * CHUNK);
    let limits = Limits { blob_bytes_max, blob_user_bytes_max, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (alice, bob, _) = bed.alice_and_bob().await;
    let large = Blob::new(2, 1, 1);
    assert_eq!(refusal(&bed, &alice, &large).await, (Code::Quota, 2 * CHUNK, 0));
    let (first, second, third) = (Blob::new(2, 0, 2), Blob::new(2, 0, 3), Blob::new(0, 1, 4));
    bed.upload(&alice, &first).await;
    bed.begin(&alice, &second).await;
    assert_eq!(refusal(&bed, &alice, &third).await, (Code::Quota, 4 * CHUNK, 4 * CHUNK));
    // What was refused left nothing; what is there goes on, and others have their own.
    assert_eq!(bed.blob_rows().len(), 2);
    assert_eq!(bed.begin(&alice, &first).await, (vec![], true));
    assert_eq!(bed.begin(&alice, &second).await, (vec![], false));
    bed.upload(&bob, &third).await;
    bed.drop_blob(&alice, &second).await;
    bed.upload(&alice, &third).await;
    assert_eq!(refusal(&bed, &alice, &second).await, (Code::Quota, 4 * CHUNK, 2 * CHUNK + 1));
    assert_eq!(bed.home.stats().blob_bytes, 2 * CHUNK + 2);
    // Lowered limits take nothing away.
    let limits = Limits { blob_bytes_max: 1, blob_user_bytes_max: 1, ..Limits::default() };
    bed.home.set_limits(limits).await;
    assert_eq!(bed.begin(&alice, &first).await, (vec![], true));
    assert_eq!(refusal(&bed, &alice, &second).await, (Code::Quota, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_user_has_only_so_many_blobs() {
    let limits = Limits { blobs_per_user_max: 2, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (alice, ..) = bed.alice_and_bob().await;
    bed.upload(&alice, &Blob::new(0, 1, 1)).await;
    bed.begin(&alice, &Blob::new(0, 2, 2)).await;
    bed.begin(&alice, &Blob::new(0, 2, 2)).await;
    let third = Blob::new(0, 3, 3);
    let (code, limit_bytes, used_bytes) = refusal(&bed, &alice, &third).await;
    assert_eq!((code, limit_bytes, used_bytes), (Code::Quota, 512 * 1024 * 1024, 3));
    bed.drop_blob(&alice, &Blob::new(0, 1, 1)).await;
    bed.upload(&alice, &third).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_room_for_it_takes_no_upload_and_no_quota() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(2, 0, 1);
    bed.world.free_bytes.store(DISK_FREE_BYTES_MIN + 2 * CHUNK - 1, Ordering::Relaxed);
    assert_eq!(refusal(&bed, &alice, &blob).await, (Code::StorageFull, 0, 0));
    assert_eq!((bed.blob_rows(), bed.blob_files()), (vec![], vec![]));
    bed.world.free_bytes.fetch_add(1, Ordering::Relaxed);
    bed.begin(&alice, &blob).await;
    bed.put(&alice, &blob, 0).await.unwrap();
    // What is there already needs no room any more.
    bed.world.free_bytes.fetch_sub(CHUNK, Ordering::Relaxed);
    assert_eq!(bed.begin(&alice, &blob).await, (vec![0], false));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_finds_no_room_is_not_there_and_can_come_again() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(1, 1, 1);
    bed.begin(&alice, &blob).await;
    let part = bed.blob_folder().join(&bed.blob_files()[0].0);
    let aside = part.with_extension("aside");
    std::fs::rename(&part, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    assert_eq!(bed.put(&alice, &blob, 0).await, Err(BlobFault::Full));
    std::fs::rename(&aside, &part).unwrap();
    assert_eq!(bed.begin(&alice, &blob).await, (vec![], false));
    bed.put_all(&alice, &blob).await;
    bed.commit(&alice, &blob).await.unwrap();
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
}

#[tokio::test(start_paused = true)]
async fn uploads_that_are_too_many_to_remember_are_begun_again() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let first = Blob::new(1, 1, 1);
    bed.begin(&alice, &first).await;
    bed.put(&alice, &first, 1).await.unwrap();
    for length in 1..=limits::UPLOADS_OPEN_MAX {
        bed.begin(&alice, &Blob::new(0, length, 9)).await;
    }
    assert_eq!(bed.put(&alice, &first, 0).await, Err(BlobFault::Unknown));
    assert_eq!(bed.put(&alice, &Blob::new(0, 2, 9), 0).await, Ok(()));
    assert_eq!(bed.begin(&alice, &first).await, (vec![1], false));
    bed.put(&alice, &first, 0).await.unwrap();
    bed.commit(&alice, &first).await.unwrap();
}
