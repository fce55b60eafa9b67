//! A blob's shape: how many bytes, in which chunks, with which hashes, and so under which id.
//!
//! Home and client both judge chunks by it. All of it is about sealed bytes: what is in them is
//! `crypto`'s to know.

use sha2::{Digest, Sha256};

use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_PLAIN_BYTES, CHUNKS_MAX, CHUNKS_WRITTEN_TOGETHER, TOKEN_OVERHEAD_BYTES,
    TOKEN_PLAIN_BYTES,
};
use crate::types::BlobId;

/// Bytes of a chunk's hash.
pub const HASH_BYTES: usize = 32;

/// SHA-256 of one sealed chunk.
pub type ChunkHash = [u8; HASH_BYTES];

/// The hash of one sealed chunk.
pub fn hash_chunk(sealed: &[u8]) -> ChunkHash {
    Sha256::digest(sealed).into()
}

/// Why a size and hashes are of no blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No bytes, or more than [`CHUNKS_MAX`] chunks.
    #[error("a blob of {0} bytes")]
    Size(u64),
    /// Not as many hashes as the size has chunks.
    #[error("{got} bytes of hashes, expected {expected}")]
    Hashes {
        /// Bytes given.
        got: usize,
        /// Bytes that the size needs.
        expected: usize,
    },
    /// The hashes are not those of this id.
    #[error("the hashes are not those of the blob")]
    Id,
}

/// Size and chunk hashes of one blob, known to belong together and to its id.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape {
    bytes: u64,
    hashes: Vec<ChunkHash>,
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shape({} bytes in {} chunks)", self.bytes, self.hashes.len())
    }
}

impl Shape {
    /// Puts size and hashes (one after the other) together and compares them with the id.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn of(id: &BlobId, bytes: u64, hashes: &[u8]) -> Result<Self, ShapeError> {
        let count = count(bytes).ok_or(ShapeError::Size(bytes))?;
        let (list, rest) = hashes.as_chunks::<HASH_BYTES>();
        if list.len() != count || !rest.is_empty() {
            let expected = count * HASH_BYTES;
            return Err(ShapeError::Hashes { got: hashes.len(), expected });
        }
        let shape = Self { bytes, hashes: list.to_vec() };
        if shape.id() == *id { Ok(shape) } else { Err(ShapeError::Id) }
    }

    /// The shape of chunks that were just made.
    ///
    /// # Errors
    /// [`ShapeError`] for a size that no blob has, or that does not fit the number of hashes.
    pub fn made(bytes: u64, hashes: Vec<ChunkHash>) -> Result<Self, ShapeError> {
        let expected = count(bytes).ok_or(ShapeError::Size(bytes))?;
        if hashes.len() == expected {
            Ok(Self { bytes, hashes })
        } else {
            let (got, expected) = (hashes.len() * HASH_BYTES, expected * HASH_BYTES);
            Err(ShapeError::Hashes { got, expected })
        }
    }

    /// SHA-256 of the ordered hashes.
    pub fn id(&self) -> BlobId {
        let mut all = Sha256::new();
        self.hashes.iter().for_each(|hash| all.update(hash));
        BlobId(all.finalize().into())
    }

    /// Bytes of all sealed chunks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many chunks: from 1 to [`CHUNKS_MAX`].
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// The hashes one after the other, as they travel.
    pub fn hash_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// Where a chunk begins among the sealed bytes, and how long it is; `None` past the last.
    pub fn place(&self, index: u32) -> Option<(u64, usize)> {
        let from = u64::from(index).checked_mul(CHUNK_BYTES_MAX as u64)?;
        let left = self.bytes.checked_sub(from).filter(|left| *left > 0)?;
        Some((from, usize::try_from(left).map_or(CHUNK_BYTES_MAX, |n| n.min(CHUNK_BYTES_MAX))))
    }

    /// After this chunk was written: where the chunks begin, and how long they are, that may go to
    /// the disk together now. `None`: later.
    pub fn written_together(&self, index: u32) -> Option<(u64, u64)> {
        let together = CHUNKS_WRITTEN_TOGETHER;
        let first = (index + 1).checked_sub(together).filter(|first| first % together == 0)?;
        self.place(index)?;
        let bytes = CHUNK_BYTES_MAX as u64;
        Some((u64::from(first) * bytes, u64::from(together) * bytes))
    }

    /// Whether these bytes are the chunk of that number.
    pub fn fits(&self, index: u32, sealed: &[u8]) -> bool {
        self.place(index).is_some_and(|(_, length)| length == sealed.len())
            && self.hashes.get(index as usize) == Some(&hash_chunk(sealed))
    }
}

/// Chunks of a blob of so many sealed bytes; `None` when no blob has that size.
fn count(bytes: u64) -> Option<usize> {
    let count = usize::try_from(bytes.div_ceil(CHUNK_BYTES_MAX as u64)).ok()?;
    (1..=CHUNKS_MAX).contains(&count).then_some(count)
}

/// Sealed bytes of a file of so many bytes.
pub const fn sealed_bytes(plain: u64) -> u64 {
    let (token, full) =
        (TOKEN_PLAIN_BYTES as u64, (TOKEN_PLAIN_BYTES + TOKEN_OVERHEAD_BYTES) as u64);
    // The last token is padded to the next 16 bytes, by at least one.
    let rest = plain % token;
    let last = if rest == 0 { 0 } else { rest - rest % 16 + TOKEN_OVERHEAD_BYTES as u64 };
    plain / token * full + last
}

/// Chunks of a file of so many bytes.
pub const fn chunks_of(plain: u64) -> u64 {
    plain.div_ceil(CHUNK_PLAIN_BYTES as u64)
}

/// Which chunks of a blob are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    bits: Vec<u8>,
    count: usize,
}

impl Have {
    /// None of so many.
    pub fn none(count: usize) -> Self {
        Self { bits: vec![0; count.div_ceil(8)], count }
    }

    /// Reads a bitmap for so many chunks; bits that it lacks are chunks that are not there.
    pub fn read(bits: &[u8], count: usize) -> Self {
        let mut have = Self::none(count);
        have.bits.iter_mut().zip(bits).for_each(|(mine, theirs)| *mine = *theirs);
        have
    }

    /// The bitmap: chunk i is bit i % 8 of byte i / 8.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Notes that a chunk is there; of a number past the last nothing is noted.
    pub fn insert(&mut self, index: u32) {
        if let Some(byte) = self.bits.get_mut(index as usize / 8)
            && (index as usize) < self.count
        {
            *byte |= 1 << (index % 8);
        }
    }

    /// Whether a chunk is there.
    pub fn contains(&self, index: u32) -> bool {
        (index as usize) < self.count
            && self.bits.get(index as usize / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// The chunks that are not there, in order.
    pub fn missing(&self) -> impl Iterator<Item = u32> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        (0..count).filter(|index| !self.contains(*index))
    }

    /// Whether all are there.
    pub fn is_all(&self) -> bool {
        self.missing().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(bytes: u64) -> Shape {
        let count = count(bytes).unwrap();
        Shape::made(
            bytes,
            (0..count).map(|i| hash_chunk(&[u8::try_from(i % 251).unwrap()])).collect(),
        )
        .unwrap()
    }

    #[test]
    fn a_shape_comes_back_under_its_id_only() {
        let made = shape(3 * CHUNK_BYTES_MAX as u64 + 7);
        let (bytes, hashes, id) = (made.bytes(), made.hash_bytes(), made.id());
        assert_eq!(Shape::of(&id, bytes, &hashes), Ok(made.clone()));
        assert_eq!(Shape::of(&BlobId([1; 32]), bytes, &hashes), Err(ShapeError::Id));
        let mut swapped = hashes.clone();
        swapped.rotate_left(HASH_BYTES);
        assert_eq!(Shape::of(&id, bytes, &swapped), Err(ShapeError::Id));
        let short = &hashes[1..];
        let expected = ShapeError::Hashes { got: 127, expected: 128 };
        assert_eq!(Shape::of(&id, bytes, short), Err(expected));
        assert!(matches!(Shape::of(&id, 1, &hashes), Err(ShapeError::Hashes { .. })));
        assert_eq!(Shape::of(&id, 0, &[]), Err(ShapeError::Size(0)));
        assert_eq!(Shape::of(&id, u64::MAX, &[]), Err(ShapeError::Size(u64::MAX)));
    }

    #[test]
    fn chunks_follow_one_another_and_the_last_has_what_is_left() {
        let shape = shape(2 * CHUNK_BYTES_MAX as u64 + 7);
        assert_eq!(shape.place(0), Some((0, CHUNK_BYTES_MAX)));
        assert_eq!(shape.place(2), Some((2 * CHUNK_BYTES_MAX as u64, 7)));
        assert_eq!(shape.place(3), None);
        assert_eq!(shape.place(u32::MAX), None);
        let whole = self::shape(CHUNK_BYTES_MAX as u64);
        assert_eq!((whole.count(), whole.place(1)), (1, None));
    }

    #[test]
    fn chunks_go_to_the_disk_a_few_at_a_time() {
        let (shape, bytes) = (shape(9 * CHUNK_BYTES_MAX as u64), CHUNK_BYTES_MAX as u64);
        let parts: Vec<_> = (0..12).filter_map(|index| shape.written_together(index)).collect();
        assert_eq!(parts, [(0, 4 * bytes), (4 * bytes, 4 * bytes)]);
    }

    #[test]
    fn a_chunk_fits_at_its_own_place_only() {
        let (first, last) = (vec![1; CHUNK_BYTES_MAX], vec![2; 9]);
        let hashes = vec![hash_chunk(&first), hash_chunk(&last)];
        let shape = Shape::made(CHUNK_BYTES_MAX as u64 + 9, hashes).unwrap();
        assert!(shape.fits(0, &first) && shape.fits(1, &last));
        assert!(!shape.fits(1, &first) && !shape.fits(0, &last) && !shape.fits(2, &last));
        assert!(!shape.fits(1, &last[1..]));
    }

    #[test]
    fn the_largest_file_has_the_most_chunks() {
        let most = sealed_bytes(crate::limits::FILE_BYTES_MAX);
        assert_eq!(count(most), Some(CHUNKS_MAX));
        assert_eq!(most, CHUNKS_MAX as u64 * CHUNK_BYTES_MAX as u64);
        assert_eq!(count(most + 1), None);
        assert_eq!(sealed_bytes(CHUNK_PLAIN_BYTES as u64), CHUNK_BYTES_MAX as u64);
        assert_eq!(sealed_bytes(1), 73);
        assert_eq!(sealed_bytes(16), 16 + 73);
        assert_eq!(chunks_of(CHUNK_PLAIN_BYTES as u64 + 1), 2);
    }

    #[test]
    fn what_is_there_is_known_bit_by_bit() {
        let mut have = Have::none(11);
        assert_eq!(have.missing().count(), 11);
        for index in [0, 7, 8, 10, 11, 400] {
            have.insert(index);
        }
        assert_eq!(have.bits(), [0b1000_0001, 0b101]);
        assert_eq!(have.missing().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 9]);
        assert_eq!(Have::read(have.bits(), 11), have);
        // Whatever a server sends: never a chunk that does not exist.
        let all = Have::read(&[0xff; 9], 11);
        assert!(all.is_all() && !all.contains(11));
        assert!(!Have::read(&[], 1).is_all());
    }
}
