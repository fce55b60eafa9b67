//! What one transfer has in hand while it runs, and how it can end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::blob::{Have, Shape};
use crate::net::Env;
use crate::wire::Code;

use super::super::api::TransferFailure;
use super::super::connection::Refused;
use super::super::core::SharedCore;
use super::super::files::FileRow;
use super::super::session::{BlobAnswer, BlobAsk, BlobRefusal, BlobRequest, Request};
use super::chunks::ChunkError;
use super::progress::Progress;
use super::spool::Spools;

/// Why a transfer stopped before its end.
#[derive(Debug)]
pub(super) enum End {
    /// To be gone on with, not before `after`; without a code: the connection broke.
    Again { code: Option<Code>, after: Duration },
    /// It will not go on. The code is what its message is refused with, if it is one's own.
    Failed(TransferFailure, Code),
}

impl End {
    pub(super) const LOST: Self = Self::Again { code: None, after: Duration::ZERO };
    pub(super) const COPY_LOST: Self = Self::Failed(TransferFailure::CopyLost, Code::NoSuchBlob);

    /// A refusal that is no matter of this one step.
    pub(super) fn of(code: Code, after: Duration) -> Self {
        match code {
            Code::HomeDown
            | Code::Busy
            | Code::SlowDown
            | Code::RetryLater
            | Code::StorageFull
            | Code::Timeout
            | Code::WrongHome
            | Code::ServerFull
            | Code::Internal
            | Code::NoSuchBlob => Self::Again { code: Some(code), after },
            code => Self::Failed(TransferFailure::Server(code), code),
        }
    }

    pub(super) fn of_refusal(refused: &Refused) -> Self {
        let (limit_bytes, used_bytes) = (refused.limit_bytes, refused.used_bytes);
        match refused.code {
            Code::Quota if used_bytes == 0 => {
                Self::Failed(TransferFailure::TooLarge { limit_bytes }, Code::Quota)
            }
            Code::Quota => {
                Self::Failed(TransferFailure::Quota { limit_bytes, used_bytes }, Code::Quota)
            }
            code => Self::of(code, Duration::from_millis(refused.retry_after_ms)),
        }
    }
}

impl From<ChunkError> for End {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Lost => Self::LOST,
            ChunkError::Refused { code, retry_after } => Self::of(code, retry_after),
        }
    }
}

/// One transfer while it runs.
pub(super) struct Job {
    pub(super) env: Env,
    pub(super) core: SharedCore,
    pub(super) requests: mpsc::WeakSender<Request>,
    pub(super) conn: Connection,
    pub(super) spools: Spools,
    pub(super) row: FileRow,
    pub(super) progress: Arc<Progress>,
    /// The streams that all transfers of this process share.
    pub(super) streams: Arc<Semaphore>,
    /// The threads that all transfers of this process share, see [`FILE_THREADS`].
    pub(super) threads: Arc<Semaphore>,
    /// How many of them this one may use: fewer after they were too slow.
    pub(super) width: usize,
}

impl Job {
    /// Asks a server about the blob.
    pub(super) async fn ask(&self, ask: BlobAsk) -> BlobAnswer {
        ask_about(&self.requests, ask).await
    }

    /// Does something with a chunk that waits for a disk, or takes a core for a moment.
    pub(super) async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // Never closed: an error cannot be.
        let _thread = self.threads.acquire().await;
        self.env.blocking(work).await
    }

    /// How far what is there already brings the transfer.
    pub(super) fn found(&self, shape: &Shape, have: &Have) {
        let all = Have::none(shape.count());
        let there = all.missing().filter(|index| have.contains(*index));
        let bytes = there.filter_map(|index| shape.place(index)).map(|(_, length)| length as u64);
        self.progress.found(bytes.sum());
        self.progress.begin();
    }

    /// Does something for each chunk, several at a time; the first that fails ends all.
    pub(super) async fn for_each<'a, F, E>(
        &'a self,
        chunks: Vec<u32>,
        step: impl Fn(u32) -> F,
    ) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>> + 'a,
    {
        let queue = Mutex::new(chunks.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let worker = async || {
            // Never closed: then nothing would have to be done either.
            while let Ok(_stream) = self.streams.acquire().await
                && let Some(index) = next()
            {
                step(index).await?;
            }
            Ok(())
        };
        all((0..self.width.max(1)).map(|_| worker()).collect()).await
    }
}

/// Asks the running session to ask a server.
pub(super) async fn ask_about(requests: &mpsc::WeakSender<Request>, ask: BlobAsk) -> BlobAnswer {
    let patience = match ask {
        // Its home waits for a disk until all of it is there.
        BlobAsk::Commit(_) => COMMIT_PATIENCE,
        BlobAsk::Begin(..) | BlobAsk::Drop(_) | BlobAsk::Get(..) => PATIENCE,
    };
    let (reply, answer) = oneshot::channel();
    // Held no longer than this: whoever holds it keeps the client running.
    let sender = requests.upgrade().ok_or(BlobRefusal::Lost)?;
    let sent = sender.send(Request::Blob(BlobRequest { ask, reply })).await;
    drop(sender);
    sent.map_err(|_| BlobRefusal::Lost)?;
    match timeout(patience, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(BlobRefusal::Lost),
    }
}

/// Runs futures side by side until all are done, or one failed.
async fn all<E>(futures: Vec<impl Future<Output = Result<(), E>>>) -> Result<(), E> {
    let mut running: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        let mut failed = None;
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                failed = failed.take().or(done.err());
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if running.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

/// Threads that read, write and hash chunks: each keeps memory of its own for what it handled.
pub(super) const FILE_THREADS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
const COMMIT_PATIENCE: Duration = Duration::from_secs(120);
