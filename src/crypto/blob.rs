//! Sealing the chunks of a file under the blob's own key: Fernet tokens of 64 KiB, four to a chunk.
//!
//! Which chunk stands where is not the tokens' to say: the blob's id, which is in the signed
//! message, names the hash of each (`crate::blob`).

use std::fmt;

use rsa::rand_core::{OsRng, RngCore};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::token::TokenKey;
use crate::limits::{CHUNK_BYTES_MAX, TOKEN_OVERHEAD_BYTES, TOKEN_PLAIN_BYTES};

/// The random key of one blob. Travels in the message that names it, and never to a server.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BlobKey([u8; 32]);

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobKey").finish_non_exhaustive()
    }
}

impl BlobKey {
    /// Makes a key from the system generator.
    pub fn generate() -> Self {
        let mut key = Self([0; 32]);
        OsRng.fill_bytes(&mut key.0);
        key
    }

    /// Takes exactly 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// For the message that names the blob, and for the sealed store of a client.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals one chunk of a file: all but the last have [`crate::limits::CHUNK_PLAIN_BYTES`].
    pub fn seal_chunk(&self, plain: &[u8]) -> Vec<u8> {
        let tokens = plain.len().div_ceil(TOKEN_PLAIN_BYTES);
        let mut sealed = Vec::with_capacity(plain.len() + tokens * TOKEN_OVERHEAD_BYTES);
        let key = TokenKey::new(&self.0);
        plain.chunks(TOKEN_PLAIN_BYTES).for_each(|piece| key.seal(piece, &mut sealed));
        sealed
    }

    /// Opens a chunk that [`Self::seal_chunk`] made. `None`: another key, or other bytes.
    pub fn open_chunk(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Self::room();
        self.open_chunk_into(sealed, &mut plain).map(|()| plain)
    }

    /// As [`Self::open_chunk`], in place of what is in `plain`: for one chunk after the other.
    pub fn open_chunk_into(&self, sealed: &[u8], plain: &mut Zeroizing<Vec<u8>>) -> Option<()> {
        plain.clear();
        let key = TokenKey::new(&self.0);
        let mut tokens = sealed.chunks(TOKEN_PLAIN_BYTES + TOKEN_OVERHEAD_BYTES);
        tokens.try_for_each(|token| key.open(token, plain))
    }

    /// Room for what is in a chunk, and for its padding: growing would leave copies behind.
    pub fn room() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Vec::with_capacity(CHUNK_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sealed_bytes;
    use crate::limits::CHUNK_PLAIN_BYTES;

    #[test]
    fn chunks_come_back_and_have_the_size_that_was_announced() {
        let key = BlobKey::generate();
        for length in [1, 15, 16, 17, TOKEN_PLAIN_BYTES, TOKEN_PLAIN_BYTES + 1, CHUNK_PLAIN_BYTES] {
            let plain: Vec<u8> = (0..length).map(|i| (i % 253).to_le_bytes()[0]).collect();
            let sealed = key.seal_chunk(&plain);
            assert_eq!(sealed.len() as u64, sealed_bytes(length as u64), "{length}");
            assert_eq!(*key.open_chunk(&sealed).unwrap(), plain);
        }
    }

    #[test]
    fn another_key_or_another_byte_opens_nothing() {
        let key = BlobKey::generate();
        let mut sealed = key.seal_chunk(&[5; TOKEN_PLAIN_BYTES + 9]);
        assert!(BlobKey::generate().open_chunk(&sealed).is_none());
        assert!(key.open_chunk(&sealed[..sealed.len() - 1]).is_none());
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert!(key.open_chunk(&sealed).is_none());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", BlobKey::generate()), "BlobKey { .. }");
    }
}
