//! One upload: begin, the chunks that the home lacks, commit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::blob::{Have, Shape};
use crate::net::env::Bug;
use crate::wire::Code;

use super::super::session::{BlobAnswer, BlobAsk, BlobRefusal, BlobReply};
use super::chunks::{ChunkError, put};
use super::job::{End, Job, ask_about};
use super::spool::Spool;

/// Why a round of an upload did not finish it.
enum Round {
    /// The home has forgotten what was begun, or lacks chunks: from the beginning.
    Begin,
    End(End),
}

impl From<End> for Round {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// Carries one's own file to one's own home: when this returns well, all of it is on a disk there.
pub(super) async fn up(job: &Job) -> Result<(), End> {
    let shape = Arc::new(job.row.shape.clone().ok_or(End::COPY_LOST)?);
    let (spools, id) = (job.spools.clone(), job.row.body.blob);
    let spool = job.env.blocking(move || spools.open(&id)).await;
    let spool = Arc::new(spool.map_err(|_| End::COPY_LOST)?);
    for _ in 0..ROUNDS_MAX {
        match round(job, &shape, &spool).await {
            Ok(()) => return Ok(()),
            Err(Round::Begin) => {}
            Err(Round::End(end)) => return Err(end),
        }
    }
    Err(End::Again { code: Some(Code::NoSuchBlob), after: Duration::ZERO })
}

async fn round(job: &Job, shape: &Arc<Shape>, spool: &Arc<Spool>) -> Result<(), Round> {
    let id = job.row.body.blob;
    let have = match answered(job.ask(BlobAsk::Begin(id, Shape::clone(shape))).await)? {
        BlobReply::Offer { have: _, committed: true } => {
            job.progress.found(shape.bytes());
            return Ok(());
        }
        BlobReply::Offer { have, committed: false } => Have::read(&have, shape.count()),
        BlobReply::Done | BlobReply::Info { .. } => return Err(End::LOST.into()),
    };
    job.found(shape, &have);
    job.for_each(have.missing().collect(), |index| put_chunk(job, shape, spool, index)).await?;
    if job.env.has_bug(Bug::FileSentBeforeCommit) {
        let requests = job.requests.clone();
        job.env.spawn(async move { ask_about(&requests, BlobAsk::Commit(id)).await });
        return Ok(());
    }
    match answered(job.ask(BlobAsk::Commit(id)).await)? {
        BlobReply::Done => Ok(()),
        BlobReply::Offer { .. } | BlobReply::Info { .. } => Err(End::LOST.into()),
    }
}

fn answered(answer: BlobAnswer) -> Result<BlobReply, Round> {
    answer.map_err(|refusal| match refusal {
        BlobRefusal::Lost => Round::End(End::LOST),
        BlobRefusal::Refused(refused)
            if matches!(refused.code, Code::NoSuchBlob | Code::BlobHash) =>
        {
            Round::Begin
        }
        BlobRefusal::Refused(refused) => Round::End(End::of_refusal(&refused)),
    })
}

async fn put_chunk(
    job: &Job,
    shape: &Arc<Shape>,
    spool: &Arc<Spool>,
    index: u32,
) -> Result<(), Round> {
    let id = job.row.body.blob;
    let sealed = read(job, shape, spool, index).await.ok_or(End::COPY_LOST)?;
    let length = sealed.len() as u64;
    let mut stored = put(&job.conn, &id, index, &sealed).await;
    if is_another(&stored) {
        // Damaged on the way, or here.
        stored = put(&job.conn, &id, index, &sealed).await;
    }
    match stored {
        Ok(()) => {
            job.progress.moved(length);
            Ok(())
        }
        Err(_) if is_another(&stored) && !shape.fits(index, &sealed) => Err(End::COPY_LOST.into()),
        Err(ChunkError::Refused { code: Code::NoSuchBlob, .. }) => Err(Round::Begin),
        Err(error) => Err(End::from(error).into()),
    }
}

/// Whether the home says that these are not the bytes of that chunk.
fn is_another(stored: &Result<(), ChunkError>) -> bool {
    matches!(stored, Err(ChunkError::Refused { code: Code::BlobHash, .. }))
}

async fn read(job: &Job, shape: &Arc<Shape>, spool: &Arc<Spool>, index: u32) -> Option<Bytes> {
    let (shape, spool) = (Arc::clone(shape), Arc::clone(spool));
    job.with_files(move || spool.read(&shape, index)).await.ok().flatten()
}

/// A home that forgets what was begun, again and again, is left alone for a while.
const ROUNDS_MAX: usize = 3;
