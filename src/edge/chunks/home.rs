//! Chunks at the home that has them: for the own edge, and for the edges of other servers.

use bytes::Bytes;

use super::wish::Wish;
use super::{StreamFault, refusal, say, unreadable};
use crate::home::blobs::{BlobFault, Blobs};
use crate::net::chunk::{ChunkReader, ChunkWriter};
use crate::types::UserName;
use crate::wire::Code;
use crate::wire::client::ChunkAnswer;

/// When a chunk may come again after the disk was full.
const STORAGE_FULL_RETRY_MS: u64 = 10_000;

/// Answers one question of this user.
///
/// # Errors
/// [`StreamFault`].
pub async fn answer(
    blobs: &Blobs,
    user: &UserName,
    wish: Wish,
    mut reader: ChunkReader,
    mut writer: ChunkWriter,
) -> Result<(), StreamFault> {
    match wish {
        Wish::Put { id, index, length } => {
            reader.expect(length);
            let sealed = match reader.whole().await {
                Ok(sealed) => sealed,
                Err(error) => {
                    reader.stop(error.code().unwrap_or(Code::Malformed));
                    return Err(unreadable(writer, &error).await);
                }
            };
            let answer = match blobs.put(user, &id, index, sealed).await {
                // A frame must not be empty.
                Ok(()) => ChunkAnswer { stored: true, ..ChunkAnswer::default() },
                Err(fault) => refused(fault),
            };
            say(writer, &answer).await
        }
        Wish::Get { owner, id, index } => {
            let sealed = match blobs.get(&owner, &id, index).await {
                Ok(sealed) => sealed,
                Err(fault) => return say(writer, &refused(fault)).await,
            };
            let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
            writer.head(&ChunkAnswer { length, ..ChunkAnswer::default() }).await?;
            let mut pieces: [Bytes; 1] = [sealed];
            writer.pieces(&mut pieces).await?;
            Ok(writer.end().await?)
        }
    }
}

fn refused(fault: BlobFault) -> ChunkAnswer {
    let code = match fault {
        BlobFault::Unknown => Code::NoSuchBlob,
        BlobFault::NotTheChunk => Code::BlobHash,
        BlobFault::Full => Code::StorageFull,
        BlobFault::Failed => Code::Internal,
    };
    let retry_after_ms = if code == Code::StorageFull { STORAGE_FULL_RETRY_MS } else { 0 };
    ChunkAnswer { retry_after_ms, ..refusal(code, fault.to_string()) }
}
