//! Chunks of blobs: what a client asks on streams of their own, and who answers.
//!
//! They go past the session's frames and past the home's writer, so that no text waits for them.
//! A chunk is relayed piece by piece; only the home that stores it holds it whole.

pub mod home;
mod relay;
mod session;
mod wish;

use std::time::Duration;

use crate::limits::Limits;
use crate::net::chunk::{ChunkWriteError, ChunkWriter};
use crate::net::stream::ReadError;
use crate::types::ServerId;
use crate::wire::Code;
use crate::wire::client::ChunkAnswer;

pub use self::wish::{Wish, WishError};

/// Why a chunk's stream ended without its answer, or with one that says what its opener did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// What came is not what was announced, or came too slowly. It was answered.
    #[error("the stream broke the rules: {0}")]
    Broken(Code),
    /// The stream or its connection is gone, or its answer is not wanted.
    #[error("the stream is gone")]
    Gone,
}

impl From<ChunkWriteError> for StreamFault {
    fn from(_: ChunkWriteError) -> Self {
        Self::Gone
    }
}

/// How long somebody may take before the first byte.
fn patience(limits: &Limits) -> Duration {
    Duration::from_millis(limits.frame_deadline_ms)
}

/// An answer without bytes.
fn refusal(code: Code, detail: impl Into<String>) -> ChunkAnswer {
    ChunkAnswer { code: code as u32, detail: detail.into(), ..ChunkAnswer::default() }
}

fn home_down(home: &ServerId) -> ChunkAnswer {
    refusal(Code::HomeDown, home.as_str())
}

/// Answers with these words and nothing more.
async fn say(mut writer: ChunkWriter, answer: &ChunkAnswer) -> Result<(), StreamFault> {
    writer.head(answer).await?;
    Ok(writer.end().await?)
}

/// Answers for bytes that could not be read, if there is anybody to answer.
async fn unreadable(writer: ChunkWriter, error: &ReadError) -> StreamFault {
    let Some(code) = error.code() else { return StreamFault::Gone };
    match say(writer, &refusal(code, error.to_string())).await {
        Ok(()) => StreamFault::Broken(code),
        Err(gone) => gone,
    }
}
