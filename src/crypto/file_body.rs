//! A file as its message names it: which blob holds it, under which key, and what its author says
//! about it.
//!
//! Deliberately no judgement of names and types here: they are the author's words, and whoever
//! shows them or writes to a disk makes them safe first.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::blob::BlobKey;
use super::body::{MessageRef, life_of, message, wire_life};
use super::envelope::{EnvelopeError, within};
use crate::limits::{
    CAPTION_BYTES_MAX, FILE_BYTES_MAX, FILE_NAME_BYTES_MAX, MEDIA_TYPE_BYTES_MAX,
    THUMBNAIL_BYTES_MAX,
};
use crate::types::BlobId;
use crate::wire::client as wire;

/// A message that brings a file.
#[derive(Clone, PartialEq, Eq)]
pub struct FileBody {
    /// SHA-256 of the ordered hashes of its sealed chunks. It lies at the home of who wrote this.
    pub blob: BlobId,
    /// Bytes of the file: from 1 to [`FILE_BYTES_MAX`].
    pub bytes: u64,
    /// What its chunks are sealed with.
    pub key: BlobKey,
    /// As its author calls it: from 1 to [`FILE_NAME_BYTES_MAX`] bytes of anything.
    pub name: String,
    /// What it is, as its author says; at most [`MEDIA_TYPE_BYTES_MAX`] bytes, may be empty.
    pub media_type: String,
    /// Of a picture: width and height in pixels, as its author says. Never 0.
    pub dimensions: Option<(u32, u32)>,
    /// A small JPEG, at most [`THUMBNAIL_BYTES_MAX`] bytes; empty without one.
    pub thumbnail: Bytes,
    /// Words that go with it; at most [`CAPTION_BYTES_MAX`] bytes, may be empty.
    pub caption: String,
    /// What it answers.
    pub reply_to: Option<MessageRef>,
    /// How long it lives; bounds as of [`super::envelope::Rich::expire`].
    pub expire: Option<Duration>,
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({} bytes in {})", self.bytes, self.blob)
    }
}

impl FileBody {
    /// As it travels, and as it is kept: not judged, [`Self::from_bytes`] does that.
    pub fn to_bytes(&self) -> Bytes {
        let (width, height) = self.dimensions.unwrap_or_default();
        wire::File {
            blob_id: Bytes::copy_from_slice(&self.blob.0),
            size: self.bytes,
            key: Bytes::copy_from_slice(self.key.as_bytes()),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            width,
            height,
            thumbnail: self.thumbnail.clone(),
            caption: self.caption.clone(),
            reply_to: self.reply_to.as_ref().map(MessageRef::to_wire),
            expire_ms: wire_life(self.expire),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads what [`Self::to_bytes`] wrote, and judges every field.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] for what is over its limit; [`EnvelopeError::Malformed`] for a
    /// field without sense.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let malformed = EnvelopeError::Malformed;
        let file: wire::File = message(bytes)?;
        let limit = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        within(limit(file.size), limit(FILE_BYTES_MAX))?;
        within(file.name.len(), FILE_NAME_BYTES_MAX)?;
        within(file.media_type.len(), MEDIA_TYPE_BYTES_MAX)?;
        within(file.thumbnail.len(), THUMBNAIL_BYTES_MAX)?;
        within(file.caption.len(), CAPTION_BYTES_MAX)?;
        if file.size == 0 {
            return Err(malformed("an empty file"));
        }
        if file.name.is_empty() {
            return Err(malformed("a file without name"));
        }
        let dimensions = match (file.width, file.height) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err(malformed("a picture without width or height")),
            both => Some(both),
        };
        Ok(Self {
            blob: BlobId::from_bytes(&file.blob_id).ok_or(malformed("a blob id of 32 bytes"))?,
            bytes: file.size,
            key: BlobKey::from_bytes(&file.key).ok_or(malformed("a key of 32 bytes"))?,
            name: file.name,
            media_type: file.media_type,
            dimensions,
            thumbnail: file.thumbnail,
            caption: file.caption,
            reply_to: file.reply_to.map(|to| MessageRef::read(Some(to))).transpose()?,
            expire: life_of(file.expire_ms)?,
        })
    }
}
