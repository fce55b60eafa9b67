//! The end of a file: taken back, handed on, forgotten. The sealed copy goes after the transaction,
//! and also when the process was killed in between.

use std::path::Path;

use rusqlite::{Transaction, params};

use crate::types::{BlobId, ChatName, unhex};
use crate::wire::Code;

use super::super::api::{LocalId, TransferFailure};
use super::super::core::Core;
use super::super::store::StoreError;
use super::super::views::{STATE_CANCELLED, STATE_UPLOADING};
use super::set_file;
use super::state::{CANCELLED, DONE, FileState, GOES_ON, NOT_THE_FILE};

impl Core {
    /// After a transaction that forgot lines: their sealed copies go, and then their rows.
    pub(in crate::client) fn remove_forgotten(&mut self) -> Result<(), StoreError> {
        let forgotten: Vec<(i64, Vec<u8>)> = {
            let db = self.profile.store.db();
            let mut rows = db.prepare_cached("SELECT line, blob_id FROM files WHERE state = 5")?;
            let found = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect::<Result<_, _>>()?
        };
        if forgotten.is_empty() {
            return Ok(());
        }
        for (_, blob) in &forgotten {
            if let Some(blob) = BlobId::from_bytes(blob) {
                self.remove_spool(&blob)?;
            }
        }
        self.profile.store.commit(|tx| tx.execute("DELETE FROM files WHERE state = 5", []))?;
        self.files.bell.notify_one();
        Ok(())
    }

    /// Removes the sealed copy of a blob, unless a file still needs it.
    pub(crate) fn remove_spool(&self, blob: &BlobId) -> Result<(), StoreError> {
        if !self.needs_spool(blob)? {
            remove_file(&self.spool_folder().join(blob.to_string()));
        }
        Ok(())
    }

    /// Once at the start, before anything is sent: what was begun and never got its row, or lost it
    /// when the process was killed.
    pub(crate) fn sweep_spools(&mut self) -> Result<(), StoreError> {
        self.remove_forgotten()?;
        // No folder: nothing was ever there.
        let Ok(found) = std::fs::read_dir(self.spool_folder()) else { return Ok(()) };
        for entry in found.flatten() {
            let blob = entry.file_name().to_str().and_then(named_blob);
            let needed = blob.map_or(Ok(false), |blob| self.needs_spool(&blob))?;
            if !needed {
                remove_file(&entry.path());
            }
        }
        Ok(())
    }

    /// The message of a file was taken back or refused: nobody moves its bytes any more.
    pub(in crate::client) fn file_ended(&mut self, id: LocalId) -> Result<(), StoreError> {
        let Some(row) = self.file(id)? else { return Ok(()) };
        self.remove_spool(&row.body.blob)?;
        self.files.bell.notify_one();
        Ok(())
    }

    fn needs_spool(&self, blob: &BlobId) -> Result<bool, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT 1 FROM files WHERE blob_id = ?1 AND (state IN (1, 2)
               OR state = 3 AND direction = 1 OR state = 4 AND failure NOT IN (?2, ?3))",
        )?;
        Ok(rows.exists(params![blob.0, CANCELLED, NOT_THE_FILE])?)
    }
}

/// The own home need not keep the blob of a line any more, unless another line needs it.
fn drop_blob(tx: &Transaction<'_>, line: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO blobs_to_drop SELECT blob_id FROM files f
         WHERE line = ?1 AND direction = 0 AND NOT EXISTS
           (SELECT 1 FROM files o WHERE o.blob_id = f.blob_id AND o.line <> ?1
              AND o.direction = 0 AND o.state <> 5 AND (o.state <> 4 OR o.failure <> ?2))",
    )?
    .execute(params![line, CANCELLED])
    .map(drop)
}

/// An own message was taken back: so is its file. Of any other message nothing changes.
pub(in crate::client) fn cancel_file(tx: &Transaction<'_>, line: i64) -> Result<(), StoreError> {
    let is_cancelled = tx
        .prepare_cached("SELECT 1 FROM lines WHERE id = ?1 AND state = ?2")?
        .exists(params![line, STATE_CANCELLED])?;
    if is_cancelled {
        drop_blob(tx, line)?;
        set_file(tx, line, FileState::Failed(TransferFailure::Cancelled))?;
    }
    Ok(())
}

/// A message is sent again as another line: its file goes with that one.
pub(in crate::client) fn hand_on_file(
    tx: &Transaction<'_>,
    from: i64,
    to: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO files (line, direction, owner, blob_id, sealed, plain_bytes, hashes, state)
         SELECT ?2, direction, owner, blob_id, sealed, plain_bytes, hashes,
           iif(state = ?3, ?3, ?4) FROM files WHERE line = ?1",
    )?
    .execute(params![from, to, DONE, GOES_ON])?;
    set_file(tx, from, FileState::Failed(TransferFailure::Cancelled))?;
    Ok(())
}

/// Nobody takes messages of a chat any more: its uploads end. Returns their lines.
pub(in crate::client) fn stop_uploads(
    tx: &Transaction<'_>,
    chat: &ChatName,
    code: Code,
) -> Result<Vec<i64>, StoreError> {
    let mut rows =
        tx.prepare_cached("SELECT id FROM lines WHERE chat = ?1 AND state = ?2 ORDER BY id")?;
    let found = rows.query_map(params![chat, STATE_UPLOADING], |row| row.get(0))?;
    let lines: Vec<i64> = found.collect::<Result<_, _>>()?;
    for line in &lines {
        set_file(tx, *line, FileState::Failed(TransferFailure::Server(code)))?;
    }
    Ok(lines)
}

/// A line is forgotten: nothing of its file can be read any more, and [`Core::remove_forgotten`]
/// removes what is left.
pub(in crate::client) fn forget_file(
    tx: &Transaction<'_>,
    line: i64,
) -> Result<(), rusqlite::Error> {
    drop_blob(tx, line)?;
    tx.prepare_cached("UPDATE files SET state = 5, sealed = x'', hashes = NULL WHERE line = ?1")?
        .execute([line])
        .map(drop)
}

/// The blob of which a file of the spool folder is.
fn named_blob(name: &str) -> Option<BlobId> {
    let blob = BlobId::from_bytes(&unhex(name)?)?;
    (blob.to_string() == name).then_some(blob)
}

/// One that is not there is removed already; any other failure is for the next sweep.
fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a sealed copy cannot be removed now");
    }
}
