//! What clients ask about blobs: rows by the writer, files beside it, in the order that a crash
//! between any two steps forgives.
//!
//! Begin: row, then file. Commit: file and folder to disk, then row, then the file's name. Drop:
//! row, then file. Reading asks neither the writer nor the database: what has the name of a blob is
//! one.

use crate::blob::Shape;
use crate::home::refusal::Refusal;
use crate::home::{Call, Caller, HomeGone, HomeHandle, HomeRequest};
use crate::limits::DISK_FREE_BYTES_MIN;
use crate::placement::slot_of_user;
use crate::types::{BlobId, ServerId, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

use super::folder::Lying;
use super::uploads::Upload;
use super::{BlobFault, Blobs};

/// When a sender may try again after the disk was full.
const STORAGE_FULL_RETRY_MS: u64 = 10_000;

/// When one more may come where too many wait.
const BUSY_RETRY_MS: u64 = 1_000;

/// A request about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobAsk {
    /// Begins an upload of the caller, or goes on with one.
    Begin(Shape),
    /// All chunks are there.
    Commit(BlobId),
    /// The caller's blob or upload is of no more use.
    Drop(BlobId),
    /// Size and hashes of somebody's blob.
    Get {
        /// Who uploaded it.
        owner: UserName,
        /// Which.
        id: BlobId,
    },
}

/// What is said of a fault in answer to a request.
impl From<BlobFault> for Refusal {
    fn from(fault: BlobFault) -> Self {
        match fault {
            BlobFault::Unknown => Self::new(Code::NoSuchBlob),
            BlobFault::NotTheChunk => Self::new(Code::BlobHash),
            BlobFault::Full => Self::later(Code::StorageFull, STORAGE_FULL_RETRY_MS),
            BlobFault::Failed => Self::because(Code::Internal, "the file of the blob failed"),
        }
    }
}

impl HomeHandle {
    /// Does what a client asks about a blob; the answer is for the caller. `None`: the edge is not
    /// attached (any more).
    ///
    /// Not to be given up halfway but with the process: a commit that was noted has still to get
    /// its name.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn ask_blob(
        &self,
        edge: &ServerId,
        from: Caller,
        ask: BlobAsk,
    ) -> Result<Option<Body>, HomeGone> {
        let Some(user) = from.user.clone() else { return refused(Refusal::new(Code::BadState)) };
        let Ok(_place) = self.blobs().inner.requests.try_acquire() else {
            return refused(Refusal::later(Code::Busy, BUSY_RETRY_MS));
        };
        match ask {
            BlobAsk::Begin(shape) => self.begin_blob(edge, from, &user, shape).await,
            BlobAsk::Commit(id) => self.commit_blob(edge, from, &user, id).await,
            BlobAsk::Drop(id) => self.drop_blob(edge, from, &user, id).await,
            BlobAsk::Get { owner, id } => self.get_blob(owner, id).await,
        }
    }

    async fn begin_blob(
        &self,
        edge: &ServerId,
        from: Caller,
        user: &UserName,
        shape: Shape,
    ) -> Result<Option<Body>, HomeGone> {
        let (blobs, id, bytes) = (self.blobs(), shape.id(), shape.bytes());
        let _turn = blobs.turn(&id).await;
        let lying = blobs.lying(user, &id).await;
        let there = match lying {
            Lying::Nothing => 0,
            Lying::Part(bytes) => bytes,
            Lying::Whole => bytes,
        };
        if !blobs.has_room(bytes.saturating_sub(there)) {
            return refused(BlobFault::Full.into());
        }
        let request = HomeRequest::BeginBlob { id, bytes, lies_whole: lying == Lying::Whole };
        match self.ask(edge, Call { from, rid: 0, request }).await? {
            Some(Body::BlobOffer(offer)) if !offer.committed => {}
            answer => return Ok(answer),
        }
        blobs.inner.env.disk_pause().await;
        match blobs.open(user, shape).await {
            Ok(have) => {
                let offer = wire::BlobOffer { have: have.into(), committed: false };
                Ok(Some(Body::BlobOffer(offer)))
            }
            Err(fault) => refused(fault.into()),
        }
    }

    async fn commit_blob(
        &self,
        edge: &ServerId,
        from: Caller,
        user: &UserName,
        id: BlobId,
    ) -> Result<Option<Body>, HomeGone> {
        let blobs = self.blobs();
        let _turn = blobs.turn(&id).await;
        let upload = blobs.inner.uploads.get(user, &id);
        let is_safe = upload.is_some();
        if let Some(upload) = upload {
            if !upload.have().is_all() {
                return refused(BlobFault::NotTheChunk.into());
            }
            if let Err(fault) = blobs.sync(user, &id).await {
                blobs.inner.uploads.remove(user, &id);
                return refused(fault.into());
            }
            blobs.inner.env.disk_pause().await;
        }
        let request = HomeRequest::CommitBlob { id, is_safe };
        let answer = self.ask(edge, Call { from, rid: 0, request }).await?;
        if is_safe && let Some(Body::Done(_)) = answer {
            blobs.inner.env.disk_pause().await;
            blobs.inner.uploads.remove(user, &id);
            if let Err(fault) = blobs.publish(user, &id).await {
                return refused(fault.into());
            }
        }
        Ok(answer)
    }

    async fn drop_blob(
        &self,
        edge: &ServerId,
        from: Caller,
        user: &UserName,
        id: BlobId,
    ) -> Result<Option<Body>, HomeGone> {
        let blobs = self.blobs();
        let _turn = blobs.turn(&id).await;
        let request = HomeRequest::DropBlob { id };
        let answer = self.ask(edge, Call { from, rid: 0, request }).await?;
        if let Some(Body::Done(_)) = answer {
            blobs.inner.env.disk_pause().await;
            blobs.remove(user, &id).await;
        }
        Ok(answer)
    }

    async fn get_blob(&self, owner: UserName, id: BlobId) -> Result<Option<Body>, HomeGone> {
        if self.slots.binary_search(&slot_of_user(&owner)).is_err() {
            return refused(Refusal::new(Code::WrongHome));
        }
        let blobs = self.blobs();
        let found = blobs.with_files(&blobs.inner.files, move |folder| folder.shape(&owner, &id));
        match found.await {
            Ok(shape) => {
                let (size, hashes) = (shape.bytes(), shape.hash_bytes().into());
                Ok(Some(Body::BlobInfo(wire::BlobInfo { size, hashes })))
            }
            Err(fault) => refused(fault.into()),
        }
    }
}

fn refused(refusal: Refusal) -> Result<Option<Body>, HomeGone> {
    Ok(Some(Body::Error(refusal.error())))
}

impl Blobs {
    async fn lying(&self, user: &UserName, id: &BlobId) -> Lying {
        let (user, id) = (user.clone(), *id);
        self.with_files(&self.inner.files, move |folder| folder.lying(&user, &id)).await
    }

    /// Whether so many bytes more leave the disk enough.
    fn has_room(&self, bytes: u64) -> bool {
        let folder = self.inner.folder.path();
        // The folder is made with the first blob.
        let beside = if folder.exists() { Some(folder) } else { folder.parent() };
        let free = beside.map_or(0, |folder| self.inner.env.disk_free_bytes(folder));
        free == 0 || free >= bytes.saturating_add(DISK_FREE_BYTES_MIN)
    }

    /// Makes chunks of an upload welcome; says which are there.
    async fn open(&self, user: &UserName, shape: Shape) -> Result<Vec<u8>, BlobFault> {
        let id = shape.id();
        if let Some(upload) = self.inner.uploads.get(user, &id)
            && upload.shape == shape
        {
            return Ok(upload.have().bits().to_vec());
        }
        let owner = user.clone();
        let (shape, have) = self
            .with_files(&self.inner.hashings, move |folder| {
                let have = folder.begin(&owner, &shape);
                (shape, have)
            })
            .await;
        let have = have?;
        let bits = have.bits().to_vec();
        self.inner.uploads.insert(user, &id, Upload::new(shape, have));
        Ok(bits)
    }

    async fn sync(&self, user: &UserName, id: &BlobId) -> Result<(), BlobFault> {
        // As with SQLite: there a crash is modelled above the disk.
        if self.inner.env.is_simulated() {
            return Ok(());
        }
        let (user, id) = (user.clone(), *id);
        self.with_files(&self.inner.hashings, move |folder| folder.sync(&user, &id)).await
    }

    async fn publish(&self, user: &UserName, id: &BlobId) -> Result<(), BlobFault> {
        let (user, id) = (user.clone(), *id);
        self.with_files(&self.inner.files, move |folder| folder.publish(&user, &id)).await
    }

    /// Removes the file of a blob or an upload. Its row must be gone, and its turn be the caller's.
    pub(super) async fn remove(&self, user: &UserName, id: &BlobId) {
        self.inner.uploads.remove(user, id);
        let (user, id) = (user.clone(), *id);
        self.with_files(&self.inner.files, move |folder| folder.remove(&user, &id)).await;
    }
}
