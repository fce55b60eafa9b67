//! Streams of single chunks: one framed head, then raw bytes, then the end of that direction.
//!
//! They give way to every other stream of the connection, and have to make some pace. Pieces are
//! handed on as they come. Deliberately knows nothing of blobs.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout};

use super::stream::{FrameReader, ReadError};
use crate::limits::{CHUNK_BYTES_PER_S_MIN, CHUNK_FRAME_BYTES_MAX};
use crate::wire::Code;
use crate::wire::frame::{self, FrameError};

/// Below that of a session stream and of a link between servers, which have 0.
const PRIORITY: i32 = -1;
/// Pieces (each at most a packet) taken from the stream in one read.
const PIECES_PER_READ: usize = 32;
/// Pieces shorter than this on average are copied together: each holds on to its whole packet.
const PIECE_BYTES_MIN: usize = 512;

/// The time that may still be spent waiting for one direction of a stream; what comes earns more.
#[derive(Clone, Copy, Debug)]
struct Pace {
    left: Duration,
}

impl Pace {
    async fn within<F: Future>(&mut self, wait: F) -> Option<F::Output> {
        let since = Instant::now();
        let done = timeout(self.left, wait).await.ok();
        self.left = self.left.saturating_sub(since.elapsed());
        done
    }

    fn earn(&mut self, bytes: usize) {
        self.left += Duration::from_secs(bytes as u64) / CHUNK_BYTES_PER_S_MIN as u32;
    }
}

/// What arrives on a chunk's stream after its head.
#[derive(Debug)]
pub struct ChunkReader {
    recv: RecvStream,
    rest: VecDeque<Bytes>,
    /// Bytes still to come.
    expected: usize,
    pace: Pace,
}

/// Reads the head of a chunk's stream, which has to be there within `patience`. What follows may
/// take that long again, and as long as the slowest pace allows.
///
/// # Errors
/// [`ReadError`]; the other side was told to stop.
pub async fn read_head<M: Message + Default>(
    recv: RecvStream,
    patience: Duration,
) -> Result<(M, ChunkReader), ReadError> {
    let mut reader = FrameReader::<M>::new(recv, CHUNK_FRAME_BYTES_MAX, patience);
    let read = match timeout(patience, reader.read()).await {
        Ok(Ok(Some(head))) => Ok(head),
        Ok(Ok(None)) => Err(FrameError::Malformed.into()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ReadError::Timeout),
    };
    match read {
        Ok(head) => {
            let (recv, rest) = reader.into_rest();
            Ok((head, ChunkReader { recv, rest, expected: 0, pace: Pace { left: patience } }))
        }
        Err(error) => {
            reader.stop(error.code().unwrap_or(Code::Malformed));
            Err(error)
        }
    }
}

impl ChunkReader {
    /// How many bytes have to follow: neither more nor fewer. Without this: none.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Some of what follows; none once all of it, and the end, has come. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError::Frame`] when too much or too little comes, [`ReadError::Timeout`] when it comes
    /// too slowly; time in which nobody asks does not count.
    pub async fn pieces(&mut self) -> Result<Option<Vec<Bytes>>, ReadError> {
        let mut pieces: Vec<Bytes> = self.rest.drain(..).collect();
        if pieces.is_empty() {
            let mut read = [const { Bytes::new() }; PIECES_PER_READ];
            let count = self.pace.within(self.recv.read_chunks(&mut read)).await;
            match count.ok_or(ReadError::Timeout)?.map_err(ReadError::Lost)? {
                Some(count) => pieces.extend(read.into_iter().take(count)),
                None if self.expected == 0 => return Ok(None),
                None => return Err(FrameError::Malformed.into()),
            }
        }
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
        self.expected = self.expected.checked_sub(bytes).ok_or(FrameError::Malformed)?;
        self.pace.earn(bytes);
        if bytes < PIECE_BYTES_MIN * pieces.len() {
            pieces = vec![pieces.concat().into()];
        }
        Ok(Some(pieces))
    }

    /// All that follows, in one piece, which grows with what comes and not with what was announced.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub async fn whole(&mut self) -> Result<Bytes, ReadError> {
        let mut whole = BytesMut::new();
        while let Some(pieces) = self.pieces().await? {
            pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        }
        Ok(whole.freeze())
    }

    /// Tells the other side that nothing more will be read, and why.
    pub fn stop(&mut self, code: Code) {
        // Fails only when the stream is over already.
        let _ = self.recv.stop(VarInt::from_u32(code as u32));
    }
}

/// Why no more of a chunk can be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkWriteError {
    /// The other side takes it too slowly.
    #[error("the chunk was not taken in time")]
    Timeout,
    /// The stream was stopped or the connection is gone.
    #[error("the stream is lost")]
    Lost(#[source] quinn::WriteError),
}

/// One direction of a chunk's stream, to be written. Reset when it is dropped before its end.
#[derive(Debug)]
pub struct ChunkWriter {
    send: SendStream,
    pace: Pace,
    is_over: bool,
}

impl ChunkWriter {
    /// Writes to a stream; whoever reads has to begin within `patience`, and then to keep the pace.
    pub fn new(send: SendStream, patience: Duration) -> Self {
        // Fails only when the stream is over already.
        let _ = send.set_priority(PRIORITY);
        Self { send, pace: Pace { left: patience }, is_over: false }
    }

    /// Writes the head.
    ///
    /// # Errors
    /// [`ChunkWriteError`].
    pub async fn head<M: Message>(&mut self, head: &M) -> Result<(), ChunkWriteError> {
        let mut bytes = BytesMut::new();
        // What does not fit is a bug of ours, and no stream.
        if frame::encode_into(head, CHUNK_FRAME_BYTES_MAX, &mut bytes).is_err() {
            tracing::error!("the head of a chunk does not fit into its frame");
            return Err(ChunkWriteError::Lost(quinn::WriteError::ClosedStream));
        }
        self.pieces(&mut [bytes.freeze()]).await
    }

    /// Writes what follows.
    ///
    /// # Errors
    /// [`ChunkWriteError`].
    pub async fn pieces(&mut self, pieces: &mut [Bytes]) -> Result<(), ChunkWriteError> {
        let mut pieces = pieces;
        while !pieces.is_empty() {
            let written = self.pace.within(self.send.write_chunks(pieces)).await;
            let written = written.ok_or(ChunkWriteError::Timeout)?;
            let written = written.map_err(ChunkWriteError::Lost)?;
            self.pace.earn(written.bytes);
            pieces = pieces.split_at_mut_checked(written.chunks).map_or(&mut [], |(_, rest)| rest);
        }
        Ok(())
    }

    /// Says that nothing more follows, and waits until the other side has all of it.
    ///
    /// # Errors
    /// [`ChunkWriteError::Timeout`]. Whoever wants no more of it is not an error.
    pub async fn end(mut self) -> Result<(), ChunkWriteError> {
        self.finish();
        let delivered = self.send.stopped();
        let delivered = self.pace.within(delivered).await;
        self.is_over = delivered.is_some();
        delivered.map(drop).ok_or(ChunkWriteError::Timeout)
    }

    /// Says that nothing more follows, without waiting.
    pub fn finish(&mut self) {
        // Fails only when the stream is over already.
        let _ = self.send.finish();
        self.is_over = true;
    }

    /// Gives the stream up, and says why.
    pub fn reset(&mut self, code: Code) {
        self.is_over = true;
        let _ = self.send.reset(VarInt::from_u32(code as u32));
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        // Dropped as it is, quinn would end it as if it were whole.
        if !self.is_over {
            self.reset(Code::RetryLater);
        }
    }
}
