//! Framing: a `u32` big-endian length, then that many bytes of one protobuf message.
//!
//! The length is judged before anything is allocated for it. Reading from a stream is `net`'s
//! business; this file only turns bytes into frames and back.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is over the limit of this stream.
    #[error("frame of {length} bytes, at most {limit} allowed")]
    TooLarge {
        /// Announced bytes.
        length: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// The bytes are not the expected message.
    #[error("malformed frame")]
    Malformed,
}

/// Judges the four bytes in front of a frame.
///
/// # Errors
/// [`FrameError::TooLarge`] over `limit` bytes, [`FrameError::Malformed`] for an empty frame
/// (every frame has a body).
pub fn frame_length(prefix: [u8; LENGTH_BYTES], limit: usize) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    if length == 0 {
        return Err(FrameError::Malformed);
    }
    Ok(length)
}

/// Decodes one frame's bytes.
///
/// # Errors
/// [`FrameError::Malformed`] when they are not an encoding of `M`.
pub fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, FrameError> {
    M::decode(bytes).map_err(|_| FrameError::Malformed)
}

/// Appends one frame to `out`.
///
/// # Errors
/// [`FrameError::TooLarge`] when the message is over `limit` bytes; `out` is then unchanged.
pub fn encode_into<M: Message>(
    message: &M,
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let length = message.encoded_len();
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    out.reserve(LENGTH_BYTES + length);
    #[expect(clippy::cast_possible_truncation, reason = "limits are far below 4 GiB")]
    out.put_u32(length as u32);
    message.encode_raw(out);
    Ok(())
}
