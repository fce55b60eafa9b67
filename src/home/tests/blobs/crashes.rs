//! Killed between any two steps: nothing is served that was not committed, nothing committed is
//! lost, nothing leaks.

use std::collections::BTreeSet;

use super::*;

/// How long the disk takes for one step.
const DISK: u64 = 1_000;
/// More steps than any request has.
const STEPS: u64 = 8;

/// Asks, and kills the process after so many steps of its disk. The answer, if it came before.
async fn struck(bed: &mut Bed, from: &Caller, ask: BlobAsk, steps: u64) -> Option<Body> {
    bed.settle().await;
    bed.world.disk_ms.store(DISK, Ordering::Relaxed);
    let (home, from) = (bed.home.clone(), from.clone());
    let asked = bed.env.spawn(async move { home.ask_blob(&edge("e1"), from, ask).await });
    tokio::time::sleep(Duration::from_millis(DISK * steps + DISK / 2)).await;
    let is_answered = asked.is_finished();
    bed.killed.cancel();
    bed.home.queue.closed().await;
    bed.world.disk_ms.store(0, Ordering::Relaxed);
    let answer = asked.await.unwrap();
    answer.filter(|_| is_answered).map(|answer| answer.unwrap().unwrap())
}

/// The ends of the names of the files there are.
fn names(bed: &Bed) -> Vec<&'static str> {
    let named = |(name, _): &(String, u64)| if name.ends_with(".part") { "part" } else { "whole" };
    bed.blob_files().iter().map(named).collect()
}

fn committed(bed: &Bed) -> Vec<bool> {
    bed.blob_rows().iter().map(|(_, committed)| *committed).collect()
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_is_cut_short_leaves_a_row_without_a_file_and_never_a_file_without_a_row()
{
    let (mut seen, blob) = (BTreeSet::new(), Blob::new(1, 9, 3));
    for steps in 0..STEPS {
        let mut bed = Bed::new();
        let (alice, ..) = bed.alice_and_bob().await;
        let answer = struck(&mut bed, &alice, BlobAsk::Begin(blob.shape.clone()), steps).await;
        let state = (committed(&bed), names(&bed));
        assert_eq!(answer.is_some(), state.1 == ["part"], "{state:?}");
        seen.insert(state);
        bed.reopen();
        bed.upload(&alice, &blob).await;
        assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
        assert_eq!((committed(&bed), names(&bed)), (vec![true], vec!["whole"]));
    }
    let none: Vec<&str> = vec![];
    let all = [(vec![], none.clone()), (vec![false], none), (vec![false], vec!["part"])];
    assert_eq!(seen, BTreeSet::from(all));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_cut_short_is_none_or_a_whole_one() {
    let (mut seen, blob) = (BTreeSet::new(), Blob::new(2, 9, 3));
    for steps in 0..STEPS {
        let mut bed = Bed::new();
        let (alice, bob, _) = bed.alice_and_bob().await;
        bed.begin(&alice, &blob).await;
        bed.put_all(&alice, &blob).await;
        let answer = struck(&mut bed, &alice, BlobAsk::Commit(blob.id()), steps).await;
        let is_committed = committed(&bed) == [true];
        assert!(answer.is_none() || is_committed);
        seen.insert((is_committed, names(&bed)));
        bed.reopen();
        if is_committed {
            assert_eq!(bed.fetch(&bob, "alice", &blob).await.unwrap(), blob.chunks);
        } else {
            assert_eq!(bed.fetch(&bob, "alice", &blob).await, Err(Code::NoSuchBlob));
            // Whoever was not answered asks again, and is told to begin again: all is there.
            assert_eq!(bed.commit(&alice, &blob).await, Err(Code::NoSuchBlob));
            assert_eq!(bed.begin(&alice, &blob).await, (vec![0, 1, 2], false));
        }
        bed.commit(&alice, &blob).await.unwrap();
        assert_eq!(bed.fetch(&bob, "alice", &blob).await.unwrap(), blob.chunks);
        assert_eq!((committed(&bed), names(&bed)), (vec![true], vec!["whole"]));
    }
    let all = [(false, vec!["part"]), (true, vec!["part"]), (true, vec!["whole"])];
    assert_eq!(seen, BTreeSet::from(all));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_cut_short_is_finished_at_the_next_start() {
    let (mut seen, blob) = (BTreeSet::new(), Blob::new(1, 9, 3));
    for steps in 0..STEPS {
        let mut bed = Bed::new();
        let (alice, ..) = bed.alice_and_bob().await;
        bed.upload(&alice, &blob).await;
        struck(&mut bed, &alice, BlobAsk::Drop(blob.id()), steps).await;
        let has_row = !committed(&bed).is_empty();
        seen.insert((has_row, names(&bed)));
        bed.reopen();
        if has_row {
            assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
        } else {
            assert!(bed.blob_files().is_empty());
        }
        bed.drop_blob(&alice, &blob).await;
        assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
        assert_eq!((committed(&bed), bed.blob_files()), (vec![], vec![]));
        bed.upload(&alice, &blob).await;
    }
    let all = [(true, vec!["whole"]), (false, vec!["whole"]), (false, vec![])];
    assert_eq!(seen, BTreeSet::from(all));
}

#[tokio::test(start_paused = true)]
async fn what_a_kill_left_of_an_upload_is_judged_by_its_hashes() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blob = Blob::new(3, 500, 9);
    bed.begin(&alice, &blob).await;
    for index in [0, 2, 3] {
        bed.put(&alice, &blob, index).await.unwrap();
    }
    bed.kill().await;
    // Nobody knows of it before it is begun again, and nothing of it is served.
    assert_eq!(bed.put(&alice, &blob, 1).await, Err(BlobFault::Unknown));
    assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.begin(&alice, &blob).await, (vec![0, 2, 3], false));
    // A chunk of which only a part came to the disk, and a file that was cut off.
    let part = bed.blob_folder().join(&bed.blob_files()[0].0);
    for (cut, there) in [(10, vec![0, 2]), (CHUNK_BYTES_MAX as u64, vec![0]), (1 << 20, vec![])] {
        bed.home.clone().kill().await;
        let file = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(cut)).unwrap();
        bed.reopen();
        assert_eq!(bed.begin(&alice, &blob).await, (there, false));
    }
    // Not even its head.
    bed.home.clone().kill().await;
    std::fs::write(&part, b"").unwrap();
    bed.reopen();
    bed.upload(&alice, &blob).await;
    assert_eq!(bed.fetch(&alice, "alice", &blob).await.unwrap(), blob.chunks);
}

#[tokio::test(start_paused = true)]
async fn at_the_start_rows_and_files_are_brought_together_and_what_is_strange_stays() {
    let mut bed = Bed::new();
    let (alice, ..) = bed.alice_and_bob().await;
    let blobs: Vec<Blob> =
        (1..=4).map(|seed| Blob::new(0, 100 + usize::from(seed), seed)).collect();
    for blob in &blobs[..3] {
        bed.upload(&alice, blob).await;
    }
    bed.begin(&alice, &blobs[3]).await;
    bed.home.stop().await;
    let folder = bed.blob_folder();
    let path = |owner: &str, blob: &Blob, end: &str| {
        folder.join(owner).join(format!("{}{end}", blob.id()))
    };
    // Committed, and never given its name.
    std::fs::rename(path("alice", &blobs[0], ""), path("alice", &blobs[0], ".part")).unwrap();
    // Lost.
    std::fs::remove_file(path("alice", &blobs[1], "")).unwrap();
    // A database of before the commit.
    let conn = rusqlite::Connection::open(bed.folder.path().join("s1.db")).unwrap();
    conn.execute("UPDATE blobs SET committed_ms = NULL WHERE bytes = 103", []).unwrap();
    drop(conn);
    // Of nobody, under two names; of somebody else; and nothing of ours.
    std::fs::write(path("alice", &Blob::new(0, 5, 5), ".part"), b"half").unwrap();
    std::fs::write(path("alice", &Blob::new(0, 5, 6), ""), b"whole").unwrap();
    std::fs::create_dir(folder.join("carol")).unwrap();
    std::fs::write(path("carol", &blobs[0], ""), b"not hers").unwrap();
    let strange = ["alice/notes.txt", "alice/AB.part", "Readme", "alice/..part"];
    for name in strange {
        std::fs::write(folder.join(name), b"somebody's").unwrap();
    }
    bed.reopen();
    for name in strange {
        assert!(folder.join(name).exists(), "{name}");
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    assert!(!folder.join("carol").exists());
    let left: BTreeSet<PathBuf> =
        bed.blob_files().into_iter().map(|(name, _)| folder.join(name)).collect();
    let expected = [(0, ""), (2, ".part"), (3, ".part")];
    assert_eq!(left, expected.map(|(which, end)| path("alice", &blobs[which], end)).into());
    assert_eq!(bed.fetch(&alice, "alice", &blobs[0]).await.unwrap(), blobs[0].chunks);
    for blob in &blobs[1..] {
        assert_eq!(bed.fetch(&alice, "alice", blob).await, Err(Code::NoSuchBlob));
    }
    // The lost one can be uploaded again; the other is there and wants its commit.
    bed.upload(&alice, &blobs[1]).await;
    assert_eq!(bed.begin(&alice, &blobs[2]).await, (vec![0], false));
    bed.commit(&alice, &blobs[2]).await.unwrap();
    assert_eq!(committed(&bed), [true, true, true, false]);
}
