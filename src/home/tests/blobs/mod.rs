//! Blobs: begun, filled, committed and read past the writer; quotas, reaping, and crashes between
//! any two steps.

mod crashes;
mod going;
mod quotas;
mod refusing;

use super::*;
use crate::blob::{Have, Shape, hash_chunk};
use crate::home::blobs::{BlobAsk, BlobFault};
use crate::limits::CHUNK_BYTES_MAX;
use crate::types::BlobId;

/// A blob as its uploader has it.
#[derive(Clone)]
struct Blob {
    chunks: Vec<Bytes>,
    shape: Shape,
}

impl Blob {
    /// So many full chunks and one of so many bytes; the seed makes it another than others.
    fn new(full: usize, rest: usize, seed: u8) -> Self {
        let mut chunks: Vec<Bytes> = (0..full)
            .map(|index| vec![seed ^ u8::try_from(index).unwrap(); CHUNK_BYTES_MAX].into())
            .collect();
        if rest > 0 {
            chunks.push(vec![seed; rest].into());
        }
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let hashes = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
        Self { chunks, shape: Shape::made(bytes, hashes).unwrap() }
    }

    fn id(&self) -> BlobId {
        self.shape.id()
    }

    fn chunk(&self, index: u32) -> Bytes {
        self.chunks[index as usize].clone()
    }
}

impl Bed {
    async fn ask_blob(&self, from: &Caller, ask: BlobAsk) -> Body {
        self.home.ask_blob(&edge("e1"), from.clone(), ask).await.unwrap().unwrap()
    }

    /// Begins; the chunks that are there, and whether it is committed.
    async fn begin(&self, from: &Caller, blob: &Blob) -> (Vec<u32>, bool) {
        match self.ask_blob(from, BlobAsk::Begin(blob.shape.clone())).await {
            Body::BlobOffer(offer) => {
                let have = Have::read(&offer.have, blob.shape.count());
                let there = (0..256).filter(|index| have.contains(*index)).collect();
                (there, offer.committed)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, from: &Caller, blob: &Blob, index: u32) -> Result<(), BlobFault> {
        let user = from.user.as_ref().unwrap();
        self.home.blobs().put(user, &blob.id(), index, blob.chunk(index)).await
    }

    async fn put_all(&self, from: &Caller, blob: &Blob) {
        for index in (0..).take(blob.chunks.len()) {
            self.put(from, blob, index).await.unwrap();
        }
    }

    async fn commit(&self, from: &Caller, blob: &Blob) -> Result<(), Code> {
        match self.ask_blob(from, BlobAsk::Commit(blob.id())).await {
            Body::Done(_) => Ok(()),
            other => Err(code(other)),
        }
    }

    async fn upload(&self, from: &Caller, blob: &Blob) {
        assert_eq!(self.begin(from, blob).await, (vec![], false));
        self.put_all(from, blob).await;
        self.commit(from, blob).await.unwrap();
    }

    async fn drop_blob(&self, from: &Caller, blob: &Blob) {
        let answer = self.ask_blob(from, BlobAsk::Drop(blob.id())).await;
        assert!(matches!(answer, Body::Done(_)), "{answer:?}");
    }

    /// What anybody gets of a blob: all of it, or why not.
    async fn fetch(&self, from: &Caller, owner: &str, blob: &Blob) -> Result<Vec<Bytes>, Code> {
        let ask = BlobAsk::Get { owner: name(owner), id: blob.id() };
        let info = match self.ask_blob(from, ask).await {
            Body::BlobInfo(info) => info,
            other => return Err(code(other)),
        };
        let shape = Shape::of(&blob.id(), info.size, &info.hashes).unwrap();
        let mut chunks = Vec::new();
        for index in (0..).take(shape.count()) {
            let chunk = self.home.blobs().get(&name(owner), &blob.id(), index).await.unwrap();
            assert!(shape.fits(index, &chunk));
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Lets days go by, and the home look.
    async fn later(&mut self, ms: u64) {
        self.world.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.settle().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// The same with nothing to wake the home but its own clock, at most an hour late.
    async fn later_alone(&self, ms: u64) {
        self.world.now_ms.fetch_add(ms, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    }

    /// One uploads a blob, the other fetches it.
    pub(super) async fn shares_a_blob(&self, from: &Caller, to: &Caller) {
        let (blob, owner) = (Blob::new(1, 1, 1), from.user.as_ref().unwrap().as_str());
        self.upload(from, &blob).await;
        assert_eq!(self.fetch(to, owner, &blob).await.unwrap(), blob.chunks);
    }

    /// Bytes that the blobs take on the disk.
    fn blob_disk_bytes(&self) -> u64 {
        self.blob_files().iter().map(|(_, bytes)| bytes).sum()
    }

    fn blob_folder(&self) -> PathBuf {
        self.folder.path().join("s1.blobs")
    }

    /// Every file among the blobs, by its path in the folder, with its bytes on the disk.
    fn blob_files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        let Ok(users) = std::fs::read_dir(self.blob_folder()) else { return files };
        for user in users.map(Result::unwrap) {
            for file in std::fs::read_dir(user.path()).unwrap().map(Result::unwrap) {
                use std::os::unix::fs::MetadataExt as _;
                let path = file.path();
                let inside = path.strip_prefix(self.blob_folder()).unwrap();
                let bytes = file.metadata().unwrap().blocks() * 512;
                files.push((inside.to_str().unwrap().to_owned(), bytes));
            }
        }
        files.sort();
        files
    }

    /// The rows of blobs: bytes, and whether committed.
    fn blob_rows(&self) -> Vec<(i64, bool)> {
        let conn = rusqlite::Connection::open(self.folder.path().join("s1.db")).unwrap();
        let sql = "SELECT bytes, committed_ms IS NOT NULL FROM blobs ORDER BY account, bytes";
        let mut select = conn.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_was_committed_can_be_fetched_by_anybody_who_knows_its_id() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    let blob = Blob::new(3, 1000, 7);
    assert_eq!(bed.fetch(&bob, "alice", &blob).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.begin(&alice, &blob).await, (vec![], false));
    for index in [3, 1, 0] {
        bed.put(&alice, &blob, index).await.unwrap();
    }
    // Not yet: a chunk is missing, and what is begun is nobody's to read.
    assert_eq!(bed.commit(&alice, &blob).await, Err(Code::BlobHash));
    assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.begin(&alice, &blob).await, (vec![0, 1, 3], false));
    bed.put(&alice, &blob, 2).await.unwrap();
    assert_eq!(bed.fetch(&alice, "alice", &blob).await, Err(Code::NoSuchBlob));
    bed.commit(&alice, &blob).await.unwrap();
    assert_eq!(bed.fetch(&bob, "alice", &blob).await.unwrap(), blob.chunks);
    // All of it again and again alike.
    bed.commit(&alice, &blob).await.unwrap();
    assert_eq!(bed.begin(&alice, &blob).await, (vec![], true));
    assert_eq!(bed.put(&alice, &blob, 2).await, Err(BlobFault::Unknown));
    assert_eq!(bed.fetch(&bob, "bob", &blob).await, Err(Code::NoSuchBlob));
    bed.kill().await;
    assert_eq!(bed.fetch(&bob, "alice", &blob).await.unwrap(), blob.chunks);
}

/// The other tests do the work on files in line; this one on threads, with a disk that is synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_keep_what_was_committed_whoever_is_killed() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    bed.home.stop().await;
    let env = Env::system_for_tests();
    bed.home = HomeHandle::open(&env, bed.config()).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let blobs = [Blob::new(9, 1, 1), Blob::new(0, 70, 2), Blob::new(3, 0, 3)];
    for blob in &blobs {
        assert_eq!(bed.begin(&alice, blob).await, (vec![], false));
        let puts = (0..).take(blob.chunks.len()).map(|index| {
            let (blobs, chunk, id) = (bed.home.blobs().clone(), blob.chunk(index), blob.id());
            tokio::spawn(async move { blobs.put(&name("alice"), &id, index, chunk).await })
        });
        for put in puts.collect::<Vec<_>>() {
            put.await.unwrap().unwrap();
        }
        bed.commit(&alice, blob).await.unwrap();
    }
    // The file of an upload is away when it should be brought to disk: it is begun again.
    let lost = Blob::new(1, 0, 4);
    bed.begin(&alice, &lost).await;
    bed.put_all(&alice, &lost).await;
    let part = format!("alice/{}.part", lost.id());
    std::fs::remove_file(bed.blob_folder().join(part)).unwrap();
    assert_eq!(bed.commit(&alice, &lost).await, Err(Code::NoSuchBlob));
    assert_eq!(bed.begin(&alice, &lost).await, (vec![], false));
    bed.home.clone().kill().await;
    bed.home = HomeHandle::open(&env, bed.config()).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    for blob in &blobs {
        assert_eq!(bed.fetch(&bob, "alice", blob).await.unwrap(), blob.chunks);
    }
    assert_eq!(bed.fetch(&bob, "alice", &lost).await, Err(Code::NoSuchBlob));
    bed.home.stop().await;
}
