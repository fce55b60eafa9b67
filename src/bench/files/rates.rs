//! What one core and the disk give a file, each alone: what bounds how fast files travel.
//!
//! By processor time where it is the processor's work, so that whatever else the machine does does
//! not count; by the clock where it is the disk's.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::time::Instant;

use super::super::{BenchError, unexpected};
use crate::blob::hash_chunk;
use crate::crypto::blob::BlobKey;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_PLAIN_BYTES};
use crate::net::Env;

/// Each rate is the middle one of so many.
const TIMES: usize = 7;
/// Processor time for one of them.
const WINDOW: Duration = Duration::from_millis(60);

/// Megabytes (10^6 bytes) a second.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// Sealing a chunk: Fernet.
    pub seal: f64,
    /// Opening one.
    pub open: f64,
    /// SHA-256 of a sealed chunk: once where it is made, once wherever it arrives.
    pub hash: f64,
    /// Writing a file of the measured size chunk by chunk, and fsync at its end.
    pub disk: f64,
    /// Of that, milliseconds until the fsync had returned.
    pub fsync_ms: f64,
}

/// Measures them, the disk under this folder.
///
/// # Errors
/// [`BenchError::File`] when nothing can be written there.
pub async fn measure(env: &Env, folder: &Path, bytes: u64) -> Result<Rates, BenchError> {
    let path = folder.join("rates");
    env.blocking(move || {
        let (key, plain) = (BlobKey::generate(), vec![0x5a; CHUNK_PLAIN_BYTES]);
        let sealed = key.seal_chunk(&plain);
        let seal = rate(plain.len(), || {
            black_box(key.seal_chunk(black_box(&plain)));
        });
        let mut room = BlobKey::room();
        let open = rate(plain.len(), || {
            black_box(key.open_chunk_into(black_box(&sealed), &mut room));
        });
        let hash = rate(sealed.len(), || {
            black_box(hash_chunk(black_box(&sealed)));
        });
        let disk = write(&path, &sealed, bytes);
        // Nothing is left of it either way.
        let _ = fs::remove_file(&path);
        let (disk, fsync_ms) = disk.map_err(|source| BenchError::File { path, source })?;
        Ok(Rates { seal, open, hash, disk, fsync_ms })
    })
    .await
    .map_err(|error: BenchError| unexpected(error))
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    middle((0..TIMES).map(|_| {
        let (from, mut done) = (processor(), 0);
        while processor() - from < WINDOW {
            work();
            done += bytes;
        }
        done as f64 / (processor() - from).as_secs_f64() / 1e6
    }))
}

/// Megabytes a second, and the milliseconds of the fsync.
fn write(path: &Path, chunk: &[u8], bytes: u64) -> std::io::Result<(f64, f64)> {
    let (mut rates, mut fsyncs) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (started, file) = (Instant::now(), File::create(path)?);
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(CHUNK_BYTES_MAX);
            let piece = chunk.get(..left).unwrap_or(chunk);
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        let written = Instant::now();
        file.sync_data()?;
        fsyncs.push(written.elapsed().as_secs_f64() * 1_000.0);
        rates.push(bytes as f64 / started.elapsed().as_secs_f64() / 1e6);
        drop(file);
        fs::remove_file(path)?;
    }
    Ok((middle(rates), middle(fsyncs)))
}

/// The median.
pub(super) fn middle(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
