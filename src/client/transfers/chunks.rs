//! One chunk on a stream of its own: put, or got. Judges nothing but the form of the answer.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream};
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_PER_S_MIN, CHUNKS_AT_ONCE};
use crate::net::chunk::{ChunkReader, ChunkWriteError, ChunkWriter, read_head};
use crate::types::{BlobId, UserName};
use crate::wire::Code;
use crate::wire::client::{ChunkAnswer, ChunkAsk, GetChunk, PutChunk, chunk_ask};

/// Why a chunk was not stored, or did not come.
#[derive(Debug)]
pub(super) enum ChunkError {
    /// The connection is gone, the stream was broken off, or nothing moved any more.
    Lost,
    /// A typed answer.
    Refused { code: Code, retry_after: Duration },
}

/// Puts one chunk of an upload that was begun. Returns once the home has it.
pub(super) async fn put(
    conn: &Connection,
    id: &BlobId,
    index: u32,
    sealed: &Bytes,
) -> Result<(), ChunkError> {
    let length = u32::try_from(sealed.len()).map_err(|_| ChunkError::Lost)?;
    let blob_id = Bytes::copy_from_slice(&id.0);
    let ask = ChunkAsk { body: Some(chunk_ask::Body::Put(PutChunk { blob_id, index, length })) };
    let (_, mut reader, mut patience) = exchange(conn, &ask, Some(sealed)).await?;
    // To its end: a stream that is broken off counts as open for longer.
    patience.with(reader.whole()).await?.map(drop).map_err(|_| ChunkError::Lost)
}

/// Gets one chunk of somebody's blob; `length` is what it has to have. Bytes of another length do
/// not come back at all.
pub(super) async fn get(
    conn: &Connection,
    owner: &UserName,
    id: &BlobId,
    index: u32,
    length: usize,
) -> Result<Bytes, ChunkError> {
    let blob_id = Bytes::copy_from_slice(&id.0);
    let get = GetChunk { owner: owner.to_string(), blob_id, index };
    let ask = ChunkAsk { body: Some(chunk_ask::Body::Get(get)) };
    let (announced, mut reader, mut patience) = exchange(conn, &ask, None).await?;
    if announced != length || length > CHUNK_BYTES_MAX {
        reader.stop(Code::BlobHash);
        return Ok(Bytes::new());
    }
    reader.expect(length);
    patience.with(reader.whole()).await?.map_err(|_| ChunkError::Lost)
}

/// Asks, and asks again when the server wants it slower. The bytes that were announced in answer,
/// and where they come from.
async fn exchange<'a>(
    conn: &'a Connection,
    ask: &ChunkAsk,
    sealed: Option<&Bytes>,
) -> Result<(usize, ChunkReader, Patience<'a>), ChunkError> {
    for _ in 0..SLOWER_MAX {
        match exchange_once(conn, ask, sealed.cloned()).await {
            Err(ChunkError::Refused { code: Code::SlowDown | Code::Busy, retry_after }) => {
                sleep(retry_after.clamp(SLOWER_MIN, STALLED)).await;
            }
            other => return other,
        }
    }
    exchange_once(conn, ask, sealed.cloned()).await
}

/// Asks on a stream of its own.
async fn exchange_once<'a>(
    conn: &'a Connection,
    ask: &ChunkAsk,
    sealed: Option<Bytes>,
) -> Result<(usize, ChunkReader, Patience<'a>), ChunkError> {
    let mut patience = Patience::new(conn);
    let opened = patience.with(conn.open_bi()).await?;
    let (send, recv) = opened.map_err(|_| ChunkError::Lost)?;
    // Behind everything that is said on the session's stream; reset if this is given up.
    let mut writer = ChunkWriter::new(send, CHUNK_DEADLINE);
    let written = patience.with(async {
        writer.head(ask).await?;
        match sealed {
            Some(sealed) => writer.pieces(&mut [sealed]).await,
            None => Ok(()),
        }
    });
    match written.await? {
        Ok(()) => writer.finish(),
        // Whoever stops the stream says why on the other direction.
        Err(ChunkWriteError::Lost(quinn::WriteError::Stopped(_))) => {}
        Err(ChunkWriteError::Timeout | ChunkWriteError::Lost(_)) => return Err(ChunkError::Lost),
    }
    let (length, reader) = patience.with(answer(recv)).await??;
    Ok((length, reader, patience))
}

/// The frame in front: the bytes that follow it, or why there are none.
async fn answer(recv: RecvStream) -> Result<(usize, ChunkReader), ChunkError> {
    let read = read_head::<ChunkAnswer>(recv, CHUNK_DEADLINE).await;
    let (answer, reader) = read.map_err(|_| ChunkError::Lost)?;
    if answer.code == 0 {
        return Ok((usize::try_from(answer.length).unwrap_or(usize::MAX), reader));
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
/// How often a chunk is asked for again because it came too soon.
const SLOWER_MAX: usize = 8;
const SLOWER_MIN: Duration = Duration::from_millis(50);
