//! What was fetched does not stay for ever: it is bounded in age and size, oldest first.

use crate::net::Env;
use crate::types::BlobId;

use super::super::api::LocalId;
use super::super::core::{Core, SharedCore};
use super::super::files::FileState;
use super::super::store::StoreError;
use super::carry::tell;
use super::spool::Spools;
use crate::limits::{FETCHED_BYTES_MAX, FETCHED_LIFE};

/// A finished download: when it was, and its bytes.
struct Fetched {
    at_unix_ms: u64,
    line: LocalId,
    blob: BlobId,
    bytes: u64,
}

/// Removes the sealed copies of downloads that are too old, or too many; they can be fetched again
/// for as long as their home has them.
pub(super) async fn bound(env: &Env, core: &SharedCore, spools: &Spools) -> Result<(), StoreError> {
    let rows = core.lock().files_fetched()?;
    if rows.is_empty() {
        return Ok(());
    }
    let folder = spools.clone();
    let fetched = env.blocking(move || {
        let aged = rows.into_iter().map(|(line, blob)| {
            // One that is not there at all goes first: its row says something untrue.
            let (at_unix_ms, bytes) = folder.age(&blob).unwrap_or((0, 0));
            Fetched { at_unix_ms, line, blob, bytes }
        });
        aged.collect::<Vec<_>>()
    });
    let too_much = too_much(fetched.await, env.unix_ms());
    for fetched in too_much {
        env.disk_pause().await;
        env.in_place(|| {
            let mut core = core.lock();
            core.set_file(fetched.line, FileState::NotFetched)?;
            core.remove_spool(&fetched.blob)?;
            tell(&core, fetched.line);
            Ok::<_, StoreError>(())
        })?;
    }
    Ok(())
}

fn too_much(mut fetched: Vec<Fetched>, now_unix_ms: u64) -> Vec<Fetched> {
    // Newest first: those that fit stay.
    fetched.sort_by_key(|one| std::cmp::Reverse((one.at_unix_ms, one.line)));
    let life_ms = u64::try_from(FETCHED_LIFE.as_millis()).unwrap_or(u64::MAX);
    let mut kept: u64 = 0;
    fetched.retain(|one| {
        kept = kept.saturating_add(one.bytes);
        kept > FETCHED_BYTES_MAX || one.at_unix_ms.saturating_add(life_ms) < now_unix_ms
    });
    fetched.reverse();
    fetched
}

impl Core {
    /// Downloads that are done.
    fn files_fetched(&self) -> Result<Vec<(LocalId, BlobId)>, StoreError> {
        let db = self.profile.store.db();
        let mut rows = db.prepare_cached(
            "SELECT line, blob_id FROM files WHERE state = 3 AND direction = 1 ORDER BY line",
        )?;
        let found = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut fetched = Vec::new();
        for row in found {
            let (line, blob) = row?;
            fetched.extend(BlobId::from_bytes(&blob).map(|blob| (LocalId(line), blob)));
        }
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(fetched: &[(u64, u64)], now_unix_ms: u64) -> Vec<i64> {
        let numbered = fetched.iter().zip(1..);
        let all = numbered.map(|(&(at_unix_ms, bytes), line)| Fetched {
            at_unix_ms,
            line: LocalId(line),
            blob: BlobId([0; 32]),
            bytes,
        });
        too_much(all.collect(), now_unix_ms).iter().map(|one| one.line.0).collect()
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_oldest_first() {
        let day = 24 * 3_600 * 1_000;
        let half = FETCHED_BYTES_MAX / 2;
        assert_eq!(lines(&[(day, half), (2 * day, half)], 3 * day), Vec::<i64>::new());
        assert_eq!(lines(&[(day, half), (2 * day, half), (3 * day, 1)], 3 * day), [1]);
        assert_eq!(lines(&[(3 * day, half), (day, half), (2 * day, half)], 3 * day), [2]);
        assert_eq!(lines(&[(day, 1), (40 * day, 1)], 41 * day), [1]);
        assert_eq!(lines(&[(day, 1)], 31 * day), Vec::<i64>::new());
        assert_eq!(lines(&[(day, 1)], 31 * day + 1), [1]);
    }
}
