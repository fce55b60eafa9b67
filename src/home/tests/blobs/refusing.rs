//! What is not the blob, not the caller's, or not there.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_the_chunk_of_the_hash_is_kept_at_its_place() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    let (blob, other) = (Blob::new(2, 300, 1), Blob::new(2, 300, 2));
    bed.begin(&alice, &blob).await;
    let put = async |index, bytes: Bytes| {
        bed.home.blobs().put(&name("alice"), &blob.id(), index, bytes).await
    };
    let mut flipped = blob.chunk(0).to_vec();
    flipped[1000] ^= 1;
    for (index, bytes) in [
        (0, other.chunk(0)),
        (0, blob.chunk(1)),
        (0, blob.chunk(0).slice(1..)),
        (0, [blob.chunk(0), blob.chunk(0).slice(..1)].concat().into()),
        (0, flipped.into()),
        (0, Bytes::new()),
        (2, blob.chunk(1)),
        (2, blob.chunk(2).slice(..299)),
        (3, blob.chunk(2)),
        (u32::MAX, blob.chunk(2)),
    ] {
        assert_eq!(put(index, bytes).await, Err(BlobFault::NotTheChunk), "{index}");
    }
    assert_eq!(bed.begin(&alice, &blob).await, (vec![], false));
    bed.put_all(&alice, &blob).await;
    // What is there stays, whatever comes after it.
    assert_eq!(put(0, other.chunk(0)).await, Err(BlobFault::NotTheChunk));
    assert_eq!(put(0, blob.chunk(0)).await, Ok(()));
    bed.commit(&alice, &blob).await.unwrap();
    assert_eq!(bed.fetch(&bob, "alice", &blob).await.unwrap(), blob.chunks);
    for index in [3, u32::MAX] {
        let past = bed.home.blobs().get(&name("alice"), &blob.id(), index).await;
        assert_eq!(past, Err(BlobFault::Unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_its_owners_alone_and_two_people_may_have_the_same_blob() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    let blob = Blob::new(1, 1, 1);
    assert_eq!(bed.put(&alice, &blob, 0).await, Err(BlobFault::Unknown));
    assert_eq!(bed.commit(&alice, &blob).await, Err(Code::NoSuchBlob));
    bed.drop_blob(&alice, &blob).await;
    bed.begin(&alice, &blob).await;
    bed.put_all(&alice, &blob).await;
    assert_eq!(bed.put(&bob, &blob, 0).await, Err(BlobFault::Unknown));
    assert_eq!(bed.commit(&bob, &blob).await, Err(Code::NoSuchBlob));
    bed.drop_blob(&bob, &blob).await;
    assert_eq!(bed.begin(&bob, &blob).await, (vec![], false));
    bed.commit(&alice, &blob).await.unwrap();
    bed.drop_blob(&bob, &blob).await;
    assert_eq!(bed.fetch(&bob, "bob", &blob).await, Err(Code::NoSuchBlob));
    bed.upload(&bob, &blob).await;
    bed.drop_blob(&alice, &blob).await;
    assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.fetch(&alice, "bob", &blob).await.unwrap(), blob.chunks);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_logged_in_or_not_any_more_changes_nothing() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(0, 9, 1);
    bed.upload(&alice, &blob).await;
    let elsewhere = Caller { sid: SessionId(77), ..alice.clone() };
    let asks =
        [BlobAsk::Begin(blob.shape.clone()), BlobAsk::Commit(blob.id()), BlobAsk::Drop(blob.id())];
    for ask in asks {
        let answer = bed.ask_blob(&elsewhere, ask.clone()).await;
        assert_eq!(code(answer), Code::SessionReplaced, "{ask:?}");
        assert_eq!(code(bed.ask_blob(&stranger(9), ask).await), Code::BadState);
    }
    let get = BlobAsk::Get { owner: name("alice"), id: blob.id() };
    assert_eq!(code(bed.ask_blob(&stranger(9), get).await), Code::BadState);
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
    // An edge that is not attached gets no answer, and a home that is gone says so.
    let ask = BlobAsk::Commit(blob.id());
    assert_eq!(bed.home.ask_blob(&edge("e9"), alice.clone(), ask.clone()).await, Ok(None));
    let home = bed.home.clone();
    bed.home.stop().await;
    assert_eq!(home.ask_blob(&edge("e1"), alice, ask).await, Err(HomeGone));
}

#[tokio::test(start_paused = true)]
async fn a_size_that_lies_gets_nowhere_and_the_right_one_begins_anew() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(1, 1000, 1);
    let (id, hashes) = (blob.id(), blob.shape.hash_bytes());
    let mut lying = blob.clone();
    lying.shape = Shape::of(&id, blob.shape.bytes() - 1, &hashes).unwrap();
    bed.begin(&alice, &lying).await;
    bed.put(&alice, &lying, 0).await.unwrap();
    assert_eq!(bed.put(&alice, &lying, 1).await, Err(BlobFault::NotTheChunk));
    assert_eq!(bed.commit(&alice, &lying).await, Err(Code::BlobHash));
    bed.upload(&alice, &blob).await;
    assert_eq!(bed.blob_rows(), [(i64::try_from(blob.shape.bytes()).unwrap(), true)]);
    let late = bed.ask_blob(&alice, BlobAsk::Begin(lying.shape)).await;
    assert_eq!(code(late), Code::Malformed);
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
}

#[tokio::test(start_paused = true)]
async fn the_same_asked_at_once_is_done_once() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(2, 5, 1);
    let begun = tokio::join!(bed.begin(&alice, &blob), bed.begin(&alice, &blob));
    assert_eq!(begun, ((vec![], false), (vec![], false)));
    let put = |index| bed.put(&alice, &blob, index);
    let stored = tokio::join!(put(0), put(1), put(2), put(0), put(1), put(2));
    assert_eq!(stored, (Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(())));
    let (first, again, second) = tokio::join!(
        bed.commit(&alice, &blob),
        bed.begin(&alice, &blob),
        bed.commit(&alice, &blob),
    );
    assert_eq!((first, again, second), (Ok(()), (vec![], true), Ok(())));
    let (dropped, late) = tokio::join!(bed.drop_blob(&alice, &blob), bed.commit(&alice, &blob));
    assert_eq!((dropped, late), ((), Err(Code::NoSuchBlob)));
    assert_eq!((bed.blob_rows(), bed.blob_files()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_an_error_and_not_somebody_elses_bytes() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(1, 50, 1);
    bed.upload(&alice, &blob).await;
    let path = bed.blob_folder().join(&bed.blob_files()[0].0);
    let whole = std::fs::read(&path).unwrap();
    let get = async |index| bed.home.blobs().get(&name("alice"), &blob.id(), index).await;
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(get(1).await, Err(BlobFault::Failed));
    assert_eq!(get(0).await, Ok(blob.chunk(0)));
    let mut head = whole.clone();
    head[30] ^= 1;
    for damaged in [head, whole[..40].to_vec(), b"nothing".to_vec(), vec![]] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(get(0).await, Err(BlobFault::Failed));
        assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::Internal));
    }
}

#[tokio::test(start_paused = true)]
async fn the_blobs_lie_beside_the_database_and_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(0, 9, 1);
    bed.upload(&alice, &blob).await;
    let path = bed.folder.path().join("s1.blobs/alice").join(blob.id().to_string());
    for (path, mode) in
        [(path.as_path(), 0o600), (path.parent().unwrap(), 0o700), (&bed.blob_folder(), 0o700)]
    {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
}

/// Whatever names the wire lets through: the file is in the folder of that name, nowhere else.
#[tokio::test(start_paused = true)]
async fn no_name_leads_out_of_the_folder() {
    for bad in ["..", ".", "", ".hidden", "a/b", "../s1.db", "a\\b", "a\0b", "/etc", "A", "~"] {
        assert!(UserName::canonical(bad).is_err(), "{bad:?}");
    }
    let mut bed = Bed::new();
    for (sid, text) in (10..).zip(["a..", "a.part", "0", "con", "a-_.b"]) {
        let person = Person { name: name(text), ..Person::new("alice") };
        let from = bed.sign_up(&person, sid).await;
        let blob = Blob::new(0, 9, 1);
        bed.upload(&from, &blob).await;
        let path = bed.blob_folder().join(text).join(blob.id().to_string());
        assert!(path.exists(), "{path:?}");
    }
    assert_eq!(bed.blob_files().len(), 5);
    let beside = std::fs::read_dir(bed.folder.path()).unwrap();
    let mut beside: Vec<String> =
        beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    beside.sort();
    assert_eq!(beside, ["s1.blobs", "s1.db", "s1.db-shm", "s1.db-wal", "s1.db.lock"]);
}
