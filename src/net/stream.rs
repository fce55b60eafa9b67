//! Framed messages over one QUIC stream.
//!
//! The reader decodes all frames of a read before it asks for more, without copying those that
//! arrived whole; the writer sends everything that was pushed in one write. Neither knows what a
//! message means.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout_at};

use crate::wire::Code;
use crate::wire::frame::{self, FrameError, LENGTH_BYTES};

/// Chunks (each at most a packet) taken from the stream in one read.
const CHUNKS_PER_READ: usize = 32;

/// Why no frame could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes are no frame, the frame is too long, or the stream ended within one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame began and was not complete in time.
    #[error("a frame was not complete in time")]
    Timeout,
    /// The stream was reset or the connection is gone.
    #[error("the stream is lost")]
    Lost(#[source] quinn::ReadError),
}

impl ReadError {
    /// The code to answer with, if there is anybody to answer.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Frame(FrameError::TooLarge { .. }) => Some(Code::FrameTooLarge),
            Self::Frame(FrameError::Malformed) => Some(Code::Malformed),
            Self::Timeout => Some(Code::Timeout),
            Self::Lost(_) => None,
        }
    }
}

/// Reads messages `M` from a stream.
#[derive(Debug)]
pub struct FrameReader<M> {
    recv: RecvStream,
    assembler: Assembler,
    partial_deadline: Duration,
    partial_since: Option<Instant>,
    last_length: usize,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> FrameReader<M> {
    /// Frames of up to `limit` bytes; one that began must be complete within `partial_deadline`.
    pub fn new(recv: RecvStream, limit: usize, partial_deadline: Duration) -> Self {
        Self {
            recv,
            assembler: Assembler::new(limit),
            partial_deadline,
            partial_since: None,
            last_length: 0,
            message: PhantomData,
        }
    }

    /// The next message; none when the other side finished the stream.
    ///
    /// Cancel-safe: what was read stays here. After an error the stream is of no more use.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&mut self) -> Result<Option<M>, ReadError> {
        loop {
            if let Some(bytes) = self.assembler.next_frame()? {
                self.partial_since = None;
                self.last_length = bytes.len();
                return Ok(Some(frame::decode(bytes)?));
            }
            let mut chunks = [const { Bytes::new() }; CHUNKS_PER_READ];
            let read = self.recv.read_chunks(&mut chunks);
            let read = if self.assembler.is_partial() {
                let since = *self.partial_since.get_or_insert_with(Instant::now);
                let late = since + self.partial_deadline;
                timeout_at(late, read).await.map_err(|_| ReadError::Timeout)?
            } else {
                read.await
            };
            match read.map_err(ReadError::Lost)? {
                Some(count) => self.assembler.chunks.extend(chunks.into_iter().take(count)),
                None if self.assembler.is_partial() => return Err(FrameError::Malformed.into()),
                None => return Ok(None),
            }
        }
    }

    /// Changes how long a frame may be, from the next one on whose length was not read yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.assembler.limit = limit;
    }

    /// Bytes of the frame that was read last.
    pub fn last_length(&self) -> usize {
        self.last_length
    }

    /// The stream, and what was read of it beyond the last frame.
    pub(super) fn into_rest(self) -> (RecvStream, VecDeque<Bytes>) {
        (self.recv, self.assembler.chunks)
    }

    /// Tells the other side that nothing more will be read, and why.
    pub fn stop(&mut self, code: Code) {
        // Fails only when the stream is over already.
        let _ = self.recv.stop(VarInt::from_u32(code as u32));
    }
}

/// Turns chunks into frames.
#[derive(Debug)]
struct Assembler {
    limit: usize,
    /// What the last read brought. Always emptied before the next one.
    chunks: VecDeque<Bytes>,
    /// A frame that did not arrive whole. Copied, because a chunk of one byte would otherwise
    /// hold on to its whole packet; it grows with what arrives, not with what was announced.
    partial: BytesMut,
}

impl Assembler {
    fn new(limit: usize) -> Self {
        Self { limit, chunks: VecDeque::new(), partial: BytesMut::new() }
    }

    fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The next whole frame without its length; none when more must be read.
    fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        while let Some(chunk) = self.chunks.front_mut() {
            if self.partial.is_empty()
                && let Some(prefix) = chunk.first_chunk()
            {
                let length = frame::frame_length(*prefix, self.limit)?;
                if chunk.len() >= LENGTH_BYTES + length {
                    chunk.advance(LENGTH_BYTES);
                    let whole = chunk.split_to(length);
                    self.drop_empty_chunk();
                    return Ok(Some(whole));
                }
            }
            let wanted = match self.partial.first_chunk() {
                Some(prefix) => LENGTH_BYTES + frame::frame_length(*prefix, self.limit)?,
                None => LENGTH_BYTES,
            };
            let taken = chunk.split_to(chunk.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(&taken);
            self.drop_empty_chunk();
            if wanted > LENGTH_BYTES && self.partial.len() == wanted {
                let mut whole = std::mem::take(&mut self.partial).freeze();
                whole.advance(LENGTH_BYTES);
                return Ok(Some(whole));
            }
        }
        // A length that is complete is judged now, not when its frame begins.
        if let Some(prefix) = self.partial.first_chunk() {
            frame::frame_length(*prefix, self.limit)?;
        }
        Ok(None)
    }

    fn drop_empty_chunk(&mut self) {
        if self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
    }
}

/// Why nothing more can be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The message is too long; nothing of it was taken and the stream is as it was.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream was stopped or the connection is gone.
    #[error("the stream is lost")]
    Lost(#[source] quinn::WriteError),
}

/// Writes messages `M` to a stream.
#[derive(Debug)]
pub struct FrameWriter<M> {
    send: SendStream,
    limit: usize,
    pushed: BytesMut,
    /// What is being written now.
    outgoing: Bytes,
    message: PhantomData<fn(M)>,
}

impl<M: Message> FrameWriter<M> {
    /// Frames of up to `limit` bytes.
    pub fn new(send: SendStream, limit: usize) -> Self {
        let (pushed, outgoing) = (BytesMut::new(), Bytes::new());
        Self { send, limit, pushed, outgoing, message: PhantomData }
    }

    /// Takes a message to be written by the next [`flush`](Self::flush).
    ///
    /// The caller bounds how much waits: see [`buffered_bytes`](Self::buffered_bytes).
    ///
    /// # Errors
    /// [`FrameError::TooLarge`]; nothing of it was taken.
    pub fn push(&mut self, message: &M) -> Result<(), FrameError> {
        frame::encode_into(message, self.limit, &mut self.pushed)
    }

    /// Bytes that were pushed and not yet handed to the connection.
    pub fn buffered_bytes(&self) -> usize {
        self.pushed.len() + self.outgoing.len()
    }

    /// Hands all that was pushed to the connection; waits while its send window is full.
    ///
    /// Cancel-safe: what was not written stays here.
    ///
    /// # Errors
    /// [`WriteError::Lost`].
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        loop {
            if self.outgoing.is_empty() {
                self.outgoing = self.pushed.split().freeze();
            }
            if self.outgoing.is_empty() {
                return Ok(());
            }
            let outgoing = std::slice::from_mut(&mut self.outgoing);
            self.send.write_chunks(outgoing).await.map_err(WriteError::Lost)?;
        }
    }

    /// Pushes and flushes. Not cancel-safe: the message may have been taken and not yet written.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn send(&mut self, message: &M) -> Result<(), WriteError> {
        self.push(message)?;
        self.flush().await
    }

    /// Says that nothing more will be written. What was flushed still arrives.
    pub fn finish(&mut self) {
        // Fails only when the stream is over already.
        let _ = self.send.finish();
    }

    /// Gives the stream up, and says why.
    pub fn reset(&mut self, code: Code) {
        // Fails only when the stream is over already.
        let _ = self.send.reset(VarInt::from_u32(code as u32));
    }

    /// Waits until the other side has everything that was finished, or is gone.
    pub async fn wait_delivered(&mut self) {
        let _ = self.send.stopped().await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1_000;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_same_frames_come_out(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..20),
            cuts in prop::collection::vec(1_usize..60, 1..20),
            per_read in 1_usize..CHUNKS_PER_READ,
        ) {
            let mut bytes = Bytes::from(encode(&frames));
            let mut cuts = cuts.into_iter().cycle();
            let mut chunks = Vec::new();
            while !bytes.is_empty() {
                let cut = cuts.next().unwrap().min(bytes.len());
                chunks.push(bytes.split_to(cut));
            }
            let mut assembler = Assembler::new(LIMIT);
            let mut got = Vec::new();
            for read in chunks.chunks(per_read) {
                assembler.chunks.extend(read.iter().cloned());
                while let Some(frame) = assembler.next_frame().unwrap() {
                    got.push(frame.to_vec());
                }
                prop_assert!(assembler.chunks.is_empty());
            }
            prop_assert!(!assembler.is_partial());
            prop_assert_eq!(got, frames);
        }
    }

    #[test]
    fn an_announced_length_alone_makes_nobody_allocate() {
        let mut assembler = Assembler::new(LIMIT * 1_000);
        assembler.chunks.push_back(Bytes::from_static(&[0, 0x0f, 0, 0, 1]));
        assert_eq!(assembler.next_frame(), Ok(None));
        assert!(assembler.partial.capacity() < 100);
    }

    #[test]
    fn a_length_at_the_limit_passes_and_one_past_it_does_not() {
        let whole = encode(&[vec![7; LIMIT]]);
        let mut assembler = Assembler::new(LIMIT);
        assembler.chunks.push_back(whole.clone().into());
        assert_eq!(assembler.next_frame().unwrap().unwrap().len(), LIMIT);
        let too_large = Err(FrameError::TooLarge { length: LIMIT, limit: LIMIT - 1 });
        for cut in [1, 2, 3, 4, 5, 100] {
            let mut assembler = Assembler::new(LIMIT - 1);
            assembler.chunks.push_back(whole[..cut].to_vec().into());
            assembler.chunks.push_back(whole[cut..].to_vec().into());
            assert_eq!(assembler.next_frame(), too_large, "cut at {cut}");
        }
        assembler.chunks.push_back(Bytes::from_static(&[0; 4]));
        assert_eq!(assembler.next_frame(), Err(FrameError::Malformed));
    }

    #[test]
    fn a_frame_that_arrived_whole_is_not_copied() {
        let chunk = Bytes::from(encode(&[vec![1; 10], vec![2; 10]]));
        let range = chunk.as_ptr_range();
        let mut assembler = Assembler::new(LIMIT);
        assembler.chunks.push_back(chunk);
        for _ in 0..2 {
            assert!(range.contains(&assembler.next_frame().unwrap().unwrap().as_ptr()));
        }
    }
}
