//! The bytes of blobs: files beside the database, which says whose they are.
//!
//! Deliberately beside the writer: nothing that waits for a disk may hold up a message. The file
//! itself is the truth: a chunk is there if its bytes have the right hash, so nothing is noted down
//! that could be wrong after a crash. Whether a blob is kept, and for how long, the rows say
//! (`rows`); a row comes before its file and goes before it, so that no file is without one but in
//! the moment before it is removed.
//!
//! Who begins, commits and drops takes a turn for the blob first (`asks`). Chunks take none: one
//! that comes twice is the same bytes at the same place.

mod asks;
mod folder;
mod rows;
mod sweep;
mod uploads;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use self::folder::Folder;
use self::uploads::Uploads;
use crate::limits::{BLOB_FILES_AT_ONCE, BLOB_HASHINGS_AT_ONCE, BLOB_REQUESTS_MAX};
use crate::net::Env;
use crate::types::{BlobId, UserName};

pub use asks::BlobAsk;

/// Why a chunk was not stored, or is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    /// No upload of that id was begun, or nobody has such a blob.
    #[error("there is no such blob")]
    Unknown,
    /// The bytes are not those of that chunk's hash: nothing was kept of them.
    #[error("the bytes are not that chunk")]
    NotTheChunk,
    /// The disk has no room.
    #[error("the disk is full")]
    Full,
    /// The disk failed, or what is on it is not what was written.
    #[error("the file cannot be read or written")]
    Failed,
}

/// Whoever holds it begins, commits, drops or removes one blob.
type Turn = tokio::sync::Mutex<()>;

/// The blobs of one home. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    folder: Folder,
    uploads: Uploads,
    turns: Mutex<BTreeMap<BlobId, Weak<Turn>>>,
    /// Each holds a thread and a chunk.
    files: Semaphore,
    hashings: Semaphore,
    requests: Semaphore,
}

impl Blobs {
    /// Where this home runs.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// The blobs beside a database.
    pub(super) fn beside(env: &Env, database: &Path) -> Self {
        let inner = Inner {
            env: env.clone(),
            folder: Folder::beside(database),
            uploads: Uploads::default(),
            turns: Mutex::default(),
            files: Semaphore::new(BLOB_FILES_AT_ONCE),
            hashings: Semaphore::new(BLOB_HASHINGS_AT_ONCE),
            requests: Semaphore::new(BLOB_REQUESTS_MAX),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Stores one chunk of an upload that this user began; storing it again changes nothing.
    ///
    /// It is not safe before the commit. [`BlobFault::Unknown`] also when the home was started
    /// anew, or had too many other uploads, since the upload was begun: it is begun again then.
    ///
    /// # Errors
    /// [`BlobFault`].
    pub async fn put(
        &self,
        user: &UserName,
        id: &BlobId,
        index: u32,
        sealed: Bytes,
    ) -> Result<(), BlobFault> {
        let upload = self.inner.uploads.get(user, id).ok_or(BlobFault::Unknown)?;
        let (owner, blob) = (user.clone(), *id);
        let stored = self.with_files(&self.inner.files, move |folder| {
            if !upload.shape.fits(index, &sealed) {
                return Err(BlobFault::NotTheChunk);
            }
            if upload.has(index) {
                return Ok(());
            }
            folder.write(&owner, &blob, &upload.shape, index, &sealed)?;
            upload.insert(index);
            Ok(())
        });
        stored.await.inspect_err(|fault| match fault {
            // Whoever begins it again has the file looked at again.
            BlobFault::Unknown | BlobFault::Failed => self.inner.uploads.remove(user, id),
            BlobFault::NotTheChunk | BlobFault::Full => {}
        })
    }

    /// One chunk of a committed blob, as it lies on the disk: whoever asked for it knows its hash
    /// and judges it.
    ///
    /// # Errors
    /// [`BlobFault`].
    pub async fn get(&self, owner: &UserName, id: &BlobId, index: u32) -> Result<Bytes, BlobFault> {
        let (owner, id) = (owner.clone(), *id);
        self.with_files(&self.inner.files, move |folder| folder.read(&owner, &id, index)).await
    }

    /// Runs work on the files on a thread of its own, when it is its turn.
    async fn with_files<T: Send + 'static>(
        &self,
        lane: &Semaphore,
        work: impl FnOnce(&Folder) -> T + Send + 'static,
    ) -> T {
        // Never closed: an error cannot be.
        let _place = lane.acquire().await;
        let inner = Arc::clone(&self.inner);
        self.inner.env.blocking(move || work(&inner.folder)).await
    }

    /// Waits until nobody else begins, commits, drops or removes this blob.
    async fn turn(&self, id: &BlobId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let known = turns.get(id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                // As few as there are requests at a time.
                turns.retain(|_, turn| turn.strong_count() > 0);
                let turn = Arc::new(Turn::default());
                turns.insert(*id, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}
