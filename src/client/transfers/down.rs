//! One download: what the blob is, the chunks that are not here, each compared with its hash
//! before it is written.

use std::io;
use std::sync::Arc;

use crate::blob::{Shape, sealed_bytes};
use crate::wire::Code;

use super::super::api::TransferFailure;
use super::super::session::{BlobAsk, BlobRefusal, BlobReply};
use super::chunks::{ChunkError, get};
use super::job::{End, Job};
use super::spool::Spool;

const NOT_THE_FILE: End = End::Failed(TransferFailure::NotTheFile, Code::BlobHash);
const GONE: End = End::Failed(TransferFailure::Gone, Code::NoSuchBlob);

/// Fetches a file from the home of its owner: when this returns well, all of its sealed copy is on
/// this disk, verified.
pub(super) async fn down(job: &Job) -> Result<(), End> {
    let shape = Arc::new(match job.row.shape.clone() {
        Some(shape) => shape,
        None => shape_of(job).await?,
    });
    let (spools, id, judge) = (job.spools.clone(), job.row.body.blob, Arc::clone(&shape));
    let begun = job.env.blocking(move || {
        let spool = spools.begin(&id)?;
        let have = spool.check(&judge)?;
        Ok::<_, io::Error>((Arc::new(spool), have))
    });
    let (spool, have) = begun.await.map_err(|error| disk(&error))?;
    job.found(&shape, &have);
    job.for_each(have.missing().collect(), |index| get_chunk(job, &shape, &spool, index)).await?;
    let now = job.env.unix_ms();
    job.env.blocking(move || spool.finish(now)).await.map_err(|error| disk(&error))
}

/// What the owner's home says the blob is, if that is what the signed message says.
async fn shape_of(job: &Job) -> Result<Shape, End> {
    let (owner, body) = (&job.row.owner, &job.row.body);
    let (bytes, hashes) = match job.ask(BlobAsk::Get(owner.clone(), body.blob)).await {
        Ok(BlobReply::Info { bytes, hashes }) => (bytes, hashes),
        Ok(BlobReply::Offer { .. } | BlobReply::Done) | Err(BlobRefusal::Lost) => {
            return Err(End::LOST);
        }
        Err(BlobRefusal::Refused(refused)) if refused.code == Code::NoSuchBlob => {
            return Err(GONE);
        }
        Err(BlobRefusal::Refused(refused)) => return Err(End::of_refusal(&refused)),
    };
    let shape = Shape::of(&body.blob, bytes, &hashes).map_err(|_| NOT_THE_FILE)?;
    if bytes != sealed_bytes(body.bytes) {
        return Err(NOT_THE_FILE);
    }
    job.env.disk_pause().await;
    let stored = job.env.in_place(|| job.core.lock().set_file_shape(job.row.id, &shape));
    match stored {
        // Forgotten meanwhile: whoever runs this hears of it.
        Ok(_) => Ok(shape),
        Err(error) => {
            tracing::warn!(%error, "the hashes of a file cannot be stored");
            Err(End::LOST)
        }
    }
}

async fn get_chunk(
    job: &Job,
    shape: &Arc<Shape>,
    spool: &Arc<Spool>,
    index: u32,
) -> Result<(), End> {
    let (owner, id) = (&job.row.owner, &job.row.body.blob);
    let length = shape.place(index).map_or(0, |(_, length)| length);
    for _ in 0..TRIES_MAX {
        let sealed = match get(&job.conn, owner, id, index, length).await {
            Ok(sealed) => sealed,
            Err(ChunkError::Refused { code: Code::NoSuchBlob, .. }) => return Err(GONE),
            Err(error) => return Err(error.into()),
        };
        let (judge, to) = (Arc::clone(shape), Arc::clone(spool));
        let written = job.with_files(move || {
            let fits = judge.fits(index, &sealed);
            if fits { to.write(&judge, index, &sealed).map(|()| true) } else { Ok(false) }
        });
        if written.await.map_err(|error| disk(&error))? {
            job.progress.moved(length as u64);
            return Ok(());
        }
    }
    Err(NOT_THE_FILE)
}

fn disk(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            End::Failed(TransferFailure::DiskFull, Code::StorageFull)
        }
        _ => {
            tracing::warn!(%error, "a sealed copy cannot be written");
            End::COPY_LOST
        }
    }
}

/// What does not hash right is asked for once more: a disk or a line may err once.
const TRIES_MAX: usize = 2;
