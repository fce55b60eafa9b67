//! Chunks at the home that has them: for the own edge, and for the edges of other servers.

use super::wish::Wish;
use super::{StreamFault, refusal, unreadable};
use crate::home::blobs::{BlobFault, Blobs};
use crate::net::chunk::{ChunkReader, ChunkWriter};
use crate::net::env::{AskedChunk, ChunkSaid};
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
    let (id, index, is_put) = match &wish {
        Wish::Put { id, index, .. } => (*id, *index, true),
        Wish::Get { id, index, .. } => (*id, *index, false),
    };
    let said = match wish {
        Wish::Put { length, .. } => {
            reader.expect(length);
            let sealed = match reader.whole().await {
                Ok(sealed) => sealed,
                Err(error) => {
                    reader.stop(error.code().unwrap_or(Code::Malformed));
                    return Err(unreadable(writer, &error).await);
                }
            };
            ChunkSaid::from(match blobs.put(user, &id, index, sealed).await {
                // A frame must not be empty.
                Ok(()) => ChunkAnswer { stored: true, ..ChunkAnswer::default() },
                Err(fault) => refused(fault),
            })
        }
        Wish::Get { owner, .. } => match blobs.get(&owner, &id, index).await {
            Ok(follows) => {
                let length = u32::try_from(follows.len()).unwrap_or(u32::MAX);
                ChunkSaid { head: ChunkAnswer { length, ..ChunkAnswer::default() }, follows }
            }
            Err(fault) => refused(fault).into(),
        },
    };
    let asked = AskedChunk { by: user, blob: &id, index, is_put };
    let ChunkSaid { head, follows } = blobs.env().on_chunk_out(&asked, said);
    writer.head(&head).await?;
    if !follows.is_empty() {
        writer.pieces(&mut [follows]).await?;
    }
    Ok(writer.end().await?)
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
