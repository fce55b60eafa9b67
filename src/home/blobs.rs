//! The bytes of blobs: files beside the database, which says whose they are.
//!
//! Deliberately beside the writer: nothing that waits for a disk may hold up a message.

use bytes::Bytes;

use crate::types::{BlobId, UserName};

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

/// The blobs of one home. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Blobs {}

impl Blobs {
    /// Stores one chunk of an upload that this user began; storing it again changes nothing.
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
        let _ = (user, id, index, sealed);
        Err(BlobFault::Unknown)
    }

    /// One chunk of a committed blob.
    ///
    /// # Errors
    /// [`BlobFault`].
    pub async fn get(&self, owner: &UserName, id: &BlobId, index: u32) -> Result<Bytes, BlobFault> {
        let _ = (owner, id, index);
        Err(BlobFault::Unknown)
    }
}
