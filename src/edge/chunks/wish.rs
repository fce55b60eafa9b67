//! What is asked on a chunk's stream, judged for form.

use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_MAX};
use crate::types::{BlobId, UserName};
use crate::wire::Code;
use crate::wire::client::{ChunkAsk, chunk_ask::Body};

/// A question for a chunk that some home can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Store one.
    Put {
        /// Of which upload.
        id: BlobId,
        /// Which.
        index: u32,
        /// Bytes that follow: at least one, at most those of a full chunk.
        length: usize,
    },
    /// Send one back.
    Get {
        /// Whose blob.
        owner: UserName,
        /// Which.
        id: BlobId,
        /// Which of its chunks.
        index: u32,
    },
}

/// Why a question cannot be put to a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// A field is missing or holds an impossible value.
    #[error("{0}")]
    Malformed(&'static str),
    /// Neither a put nor a get.
    #[error("this server does not know such a request")]
    Unknown,
}

impl WishError {
    /// The code to answer with.
    pub fn code(self) -> Code {
        match self {
            Self::Malformed(_) => Code::Malformed,
            Self::Unknown => Code::Unsupported,
        }
    }
}

impl Wish {
    /// Judges what was asked.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn read(ask: &ChunkAsk) -> Result<Self, WishError> {
        match &ask.body {
            Some(Body::Put(put)) => {
                let (id, index) = (blob_id(&put.blob_id)?, index(put.index)?);
                let length = usize::try_from(put.length).unwrap_or(usize::MAX);
                if !(1..=CHUNK_BYTES_MAX).contains(&length) {
                    return Err(WishError::Malformed("no chunk has that length"));
                }
                Ok(Self::Put { id, index, length })
            }
            Some(Body::Get(get)) => {
                let owner = UserName::canonical(&get.owner)
                    .map_err(|_| WishError::Malformed("not a user name"))?;
                Ok(Self::Get { owner, id: blob_id(&get.blob_id)?, index: index(get.index)? })
            }
            None => Err(WishError::Unknown),
        }
    }
}

fn blob_id(bytes: &[u8]) -> Result<BlobId, WishError> {
    BlobId::from_bytes(bytes).ok_or(WishError::Malformed("the id of a blob has 32 bytes"))
}

fn index(index: u32) -> Result<u32, WishError> {
    if (index as usize) < CHUNKS_MAX {
        Ok(index)
    } else {
        Err(WishError::Malformed("no blob has so many chunks"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::client::{GetChunk, PutChunk};

    fn put(id: usize, index: u32, length: u32) -> ChunkAsk {
        let blob_id = Bytes::from(vec![7; id]);
        ChunkAsk { body: Some(Body::Put(PutChunk { blob_id, index, length })) }
    }

    fn get(owner: &str, id: usize, index: u32) -> ChunkAsk {
        let (owner, blob_id) = (owner.to_owned(), Bytes::from(vec![7; id]));
        ChunkAsk { body: Some(Body::Get(GetChunk { owner, blob_id, index })) }
    }

    #[test]
    fn a_question_within_its_bounds_is_taken_and_one_past_them_is_not() {
        let (most, last) = (u32::try_from(CHUNK_BYTES_MAX).unwrap(), 255);
        assert_eq!(
            Wish::read(&put(32, last, most)),
            Ok(Wish::Put { id: BlobId([7; 32]), index: last, length: CHUNK_BYTES_MAX })
        );
        assert!(Wish::read(&put(32, 0, 1)).is_ok());
        let owner = UserName::canonical("alice").unwrap();
        let expected = Wish::Get { owner, id: BlobId([7; 32]), index: 0 };
        assert_eq!(Wish::read(&get("alice", 32, 0)), Ok(expected));
        for bad in [
            put(31, 0, 1),
            put(33, 0, 1),
            put(32, last + 1, 1),
            put(32, u32::MAX, 1),
            put(32, 0, 0),
            put(32, 0, most + 1),
            put(32, 0, u32::MAX),
            get("alice", 0, 0),
            get("alice", 32, last + 1),
            get("Al ice", 32, 0),
            get("", 32, 0),
        ] {
            assert!(matches!(Wish::read(&bad), Err(WishError::Malformed(_))), "{bad:?}");
        }
        assert_eq!(Wish::read(&ChunkAsk::default()), Err(WishError::Unknown));
    }
}
