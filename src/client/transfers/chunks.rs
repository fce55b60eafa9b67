//! One chunk on a stream of its own: put, or got. Judges nothing but the form of the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::time::{Instant, timeout};

use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_PER_S_MIN, CHUNK_FRAME_BYTES_MAX, CHUNKS_AT_ONCE,
};
use crate::types::{BlobId, UserName};
use crate::wire::Code;
use crate::wire::client::{ChunkAnswer, ChunkAsk, GetChunk, PutChunk, chunk_ask};
use crate::wire::frame::{self, LENGTH_BYTES};

/// Why a chunk was not stored, or did not come.
#[derive(Debug)]
pub(super) enum ChunkError {
    /// The connection is gone, the stream was broken off, or nothing moved any more.
    Lost,
    /// A typed answer.
    Refused { code: Code, retry_after: Duration },
}

impl From<quinn::ConnectionError> for ChunkError {
    fn from(_: quinn::ConnectionError) -> Self {
        Self::Lost
    }
}

impl From<quinn::WriteError> for ChunkError {
    fn from(_: quinn::WriteError) -> Self {
        Self::Lost
    }
}

/// Puts one chunk of an upload that was begun. Returns once the home has it; `sent` is called with
/// the bytes that left.
pub(super) async fn put(
    conn: &Connection,
    id: &BlobId,
    index: u32,
    sealed: Bytes,
) -> Result<(), ChunkError> {
    let length = u32::try_from(sealed.len()).map_err(|_| ChunkError::Lost)?;
    let put = PutChunk { blob_id: Bytes::copy_from_slice(&id.0), index, length };
    let mut patience = Patience::new(conn);
    let (mut send, mut recv) = opened(conn, &mut patience).await?;
    let asked = async {
        ask(&mut send, chunk_ask::Body::Put(put)).await?;
        let written = send.write_chunk(sealed).await;
        // Whoever stops the stream says why on the other direction.
        if !matches!(written, Ok(()) | Err(quinn::WriteError::Stopped(_))) {
            return Err(ChunkError::Lost);
        }
        let _ = send.finish();
        Ok(())
    };
    patience.with(asked).await??;
    patience.with(answer(&mut recv)).await??;
    Ok(())
}

/// Gets one chunk of somebody's blob; `length` is what it has to have.
pub(super) async fn get(
    conn: &Connection,
    owner: &UserName,
    id: &BlobId,
    index: u32,
    length: usize,
) -> Result<Bytes, ChunkError> {
    let blob_id = Bytes::copy_from_slice(&id.0);
    let get = GetChunk { owner: owner.to_string(), blob_id, index };
    let mut patience = Patience::new(conn);
    let (mut send, mut recv) = opened(conn, &mut patience).await?;
    let asked = async {
        ask(&mut send, chunk_ask::Body::Get(get)).await?;
        let _ = send.finish();
        Ok::<_, ChunkError>(())
    };
    patience.with(asked).await??;
    let announced = patience.with(answer(&mut recv)).await??;
    // Not more is read than the chunk can have; what is not as long will not hash right either.
    if announced != length || length > CHUNK_BYTES_MAX {
        let _ = recv.stop(0u32.into());
        return Ok(Bytes::new());
    }
    let mut sealed = vec![0; length];
    patience.with(recv.read_exact(&mut sealed)).await?.map_err(|_| ChunkError::Lost)?;
    let _ = recv.stop(0u32.into());
    Ok(sealed.into())
}

async fn opened(
    conn: &Connection,
    patience: &mut Patience<'_>,
) -> Result<(SendStream, RecvStream), ChunkError> {
    let (send, recv) = patience.with(conn.open_bi()).await??;
    // Behind everything that is said on the session's stream.
    let _ = send.set_priority(-1);
    Ok((send, recv))
}

async fn ask(send: &mut SendStream, body: chunk_ask::Body) -> Result<(), ChunkError> {
    let mut framed = BytesMut::new();
    frame::encode_into(&ChunkAsk { body: Some(body) }, CHUNK_FRAME_BYTES_MAX, &mut framed)
        .map_err(|_| ChunkError::Lost)?;
    Ok(send.write_chunk(framed.freeze()).await?)
}

/// The frame in front: the bytes that follow it, or why there are none.
async fn answer(recv: &mut RecvStream) -> Result<usize, ChunkError> {
    let mut prefix = [0; LENGTH_BYTES];
    recv.read_exact(&mut prefix).await.map_err(|_| ChunkError::Lost)?;
    let length =
        frame::frame_length(prefix, CHUNK_FRAME_BYTES_MAX).map_err(|_| ChunkError::Lost)?;
    let mut bytes = vec![0; length];
    recv.read_exact(&mut bytes).await.map_err(|_| ChunkError::Lost)?;
    let answer: ChunkAnswer = frame::decode(bytes.into()).map_err(|_| ChunkError::Lost)?;
    if answer.code == 0 {
        return Ok(answer.length as usize);
    }
    Err(ChunkError::Refused {
        code: Code::from_number(answer.code).unwrap_or(Code::Internal),
        retry_after: Duration::from_millis(answer.retry_after_ms),
    })
}

/// How long a chunk is waited for: as long as anything moves. On a slow line all the chunks move
/// together, so what is watched is the connection, not the stream.
struct Patience<'a> {
    conn: &'a Connection,
    moved: u64,
    until: Instant,
}

impl<'a> Patience<'a> {
    fn new(conn: &'a Connection) -> Self {
        Self { conn, moved: moved(conn), until: Instant::now() + CHUNK_DEADLINE }
    }

    async fn with<T>(&mut self, step: impl Future<Output = T>) -> Result<T, ChunkError> {
        tokio::pin!(step);
        loop {
            if let Ok(done) = timeout(STALLED, &mut step).await {
                return Ok(done);
            }
            let moved = moved(self.conn);
            if moved == self.moved || Instant::now() >= self.until {
                return Err(ChunkError::Lost);
            }
            self.moved = moved;
        }
    }
}

/// Frames with bytes of streams, both ways. Keep-alives are none of them.
fn moved(conn: &Connection) -> u64 {
    let stats = conn.stats();
    stats.frame_tx.stream + stats.frame_rx.stream
}

/// Nothing moved for this long: the other side is stuck.
const STALLED: Duration = Duration::from_secs(20);
/// All chunks that may be on their way, at the slowest.
const CHUNK_DEADLINE: Duration =
    Duration::from_secs((CHUNKS_AT_ONCE * CHUNK_BYTES_MAX) as u64 / CHUNK_BYTES_PER_S_MIN);
