//! The rows of files: what a line carries beside its text, and how far its bytes have come.
//!
//! Small named steps, each one transaction, for whoever moves the bytes (`transfers`), and what the
//! outbox, the inbox and the views need. No chunk is touched here: only a sealed copy that nobody
//! needs any more is removed (`ending`).

mod ending;
mod state;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use tokio::sync::Notify;

use crate::blob::{Shape, sealed_bytes};
use crate::crypto::envelope::FileBody;
use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{BlobId, ChatName, UserName};
use crate::wire::Code;

use super::actions::NewLine;
use super::api::{
    Direction, FileDraft, FileError, FileView, Form, LocalId, MessageState, Refusal,
    TransferFailure, TransferPolicy,
};
use super::core::Core;
use super::rows::set_state;
use super::store::{StoreError, bits, unbits, unseal};
use super::transfers::Carried;
use super::views::{STATE_UPLOADING, STATE_WAITING};
use state::{FORGOTTEN, GOES_ON, NOT_FETCHED};

pub(super) use ending::{cancel_file, forget_file, hand_on_file, stop_uploads};
pub(crate) use state::FileState;

const UP: i64 = 0;
const DOWN: i64 = 1;

/// What is kept of files in memory.
#[derive(Default)]
pub(crate) struct Files {
    /// What this process carries on by itself.
    pub(crate) policy: TransferPolicy,
    /// How those stand that this process moves.
    pub(crate) carried: Carried,
    /// Rung when there is something to move, or something no longer is.
    pub(crate) bell: Arc<Notify>,
}

/// A file of a line.
#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub(crate) id: LocalId,
    pub(crate) chat: ChatName,
    pub(crate) direction: Direction,
    /// At whose home it lies.
    pub(crate) owner: UserName,
    /// Without caption, answer and expiry: those are the line's.
    pub(crate) body: FileBody,
    /// Always there for an upload; for a download once the home has told, and it was found right.
    pub(crate) shape: Option<Shape>,
    pub(crate) state: FileState,
}

impl Core {
    /// Whether this may be sent there, before the file is read and sealed. [`Self::queue_file`]
    /// looks again.
    pub(crate) fn may_send_file(
        &mut self,
        to: &ChatName,
        draft: &FileDraft,
    ) -> Result<(), FileError> {
        let (got, max) = (draft.caption.len(), limits::CAPTION_BYTES_MAX);
        if got > max {
            return Err(FileError::CaptionTooLong { got, max });
        }
        Ok(self.may_queue(to, draft.reply_to)?)
    }

    /// Takes a file whose sealed copy is on this disk: a line that uploads, and its row. Of `body`
    /// the caption, what it answers and its life are not looked at: those are the draft's.
    pub(crate) fn queue_file(
        &mut self,
        to: &ChatName,
        draft: &FileDraft,
        body: &FileBody,
        shape: &Shape,
    ) -> Result<LocalId, FileError> {
        self.may_send_file(to, draft)?;
        let (key, owner) = (self.profile.key.clone(), self.user().clone());
        let line = NewLine {
            text: &draft.caption,
            form: Form::Text,
            reply_to: draft.reply_to,
            expire: draft.expire,
            state: STATE_UPLOADING,
        };
        let id = self.queue_line(to, &line, |tx, line| {
            insert(
                tx,
                &key,
                line,
                &NewFile { direction: UP, owner: &owner, body, state: GOES_ON },
            )?;
            tx.prepare_cached("UPDATE files SET hashes = ?2 WHERE line = ?1")?
                .execute(params![line, shape.hash_bytes()])?;
            Ok(())
        })?;
        self.files.bell.notify_one();
        Ok(id)
    }

    /// The file of a line, if it has one.
    pub(crate) fn file(&self, id: LocalId) -> Result<Option<FileRow>, StoreError> {
        let mut found = self.file_rows(&format!("{ROWS} AND f.line = ?1"), [id.0])?;
        Ok(found.pop())
    }

    /// Files that go on, are paused or have failed, oldest first.
    pub(crate) fn files_unfinished(&self) -> Result<Vec<FileRow>, StoreError> {
        self.file_rows(&format!("{ROWS} AND f.state IN (1, 2, 4) ORDER BY f.line"), [])
    }

    /// Notes how far a file is. False: it was forgotten meanwhile.
    pub(crate) fn set_file(&mut self, id: LocalId, state: FileState) -> Result<bool, StoreError> {
        self.profile.store.commit(|tx| set_file(tx, id.0, state))
    }

    /// Notes the hashes that the home told of a download. False: it was forgotten meanwhile.
    pub(crate) fn set_file_shape(
        &mut self,
        id: LocalId,
        shape: &Shape,
    ) -> Result<bool, StoreError> {
        self.profile.store.commit(|tx| {
            let changed = tx
                .prepare_cached("UPDATE files SET hashes = ?2 WHERE line = ?1 AND state <> ?3")?
                .execute(params![id.0, shape.hash_bytes(), FORGOTTEN])?;
            Ok(changed > 0)
        })
    }

    /// The home has committed the blob: its message goes out now, and the sealed copy is removed.
    /// False: it was taken back meanwhile; the home will be told to forget it.
    pub(crate) fn upload_committed(&mut self, id: LocalId) -> Result<bool, StoreError> {
        let Some(row) = self.file(id)? else { return Ok(false) };
        let moved = self.profile.store.commit(|tx| {
            let moved = tx
                .prepare_cached("UPDATE lines SET state = ?2 WHERE id = ?1 AND state = ?3")?
                .execute(params![id.0, STATE_WAITING, STATE_UPLOADING])?;
            if moved > 0 {
                set_file(tx, id.0, FileState::Done)?;
            } else {
                cancel_file(tx, id.0)?;
            }
            Ok::<_, StoreError>(moved > 0)
        })?;
        if moved {
            self.remove_spool(&row.body.blob)?;
            self.emit_state(id, &row.chat, MessageState::Waiting);
        }
        Ok(moved)
    }

    /// The file will never be at the home: its message is refused. The sealed copy stays, so that
    /// the person can try again.
    pub(crate) fn upload_refused(
        &mut self,
        id: LocalId,
        failure: TransferFailure,
        code: Code,
    ) -> Result<(), StoreError> {
        let Some(row) = self.file(id)? else { return Ok(()) };
        let state = MessageState::Refused(Refusal::Server(code));
        let moved = self.profile.store.commit(|tx| {
            set_file(tx, id.0, FileState::Failed(failure))?;
            set_state(tx, id.0, &state)
        })?;
        if moved {
            self.emit_state(id, &row.chat, state);
        }
        Ok(())
    }

    /// Blobs that the own home may forget.
    pub(crate) fn blobs_to_drop(&self) -> Result<Vec<BlobId>, StoreError> {
        let db = self.profile.store.db();
        let mut rows = db.prepare_cached("SELECT blob_id FROM blobs_to_drop ORDER BY blob_id")?;
        let found = rows.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        let mut blobs = Vec::new();
        for id in found {
            blobs.extend(BlobId::from_bytes(&id?));
        }
        Ok(blobs)
    }

    /// The home has forgotten a blob.
    pub(crate) fn blob_dropped(&mut self, blob: &BlobId) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| {
            tx.prepare_cached("DELETE FROM blobs_to_drop WHERE blob_id = ?1")?.execute([blob.0])?;
            Ok(())
        })
    }

    /// The folder of sealed copies.
    pub(crate) fn spool_folder(&self) -> PathBuf {
        self.profile.folder.join("blobs")
    }

    /// The file of a line as its message shows it.
    pub(super) fn file_view(&self, id: LocalId) -> Result<Option<Box<FileView>>, StoreError> {
        let Some(row) = self.file(id)? else { return Ok(None) };
        let transfer = self.transfer_state(&row);
        Ok(Some(Box::new(FileView {
            name: safe_name(&row.body.name),
            bytes: row.body.bytes,
            media_type: row.body.media_type,
            dimensions: row.body.dimensions,
            thumbnail: row.body.thumbnail.to_vec(),
            transfer,
        })))
    }

    /// How the file of a line is called, if it has one.
    pub(super) fn file_name(&self, id: LocalId) -> Result<Option<String>, StoreError> {
        Ok(self.file(id)?.map(|row| safe_name(&row.body.name)))
    }

    fn file_rows(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<FileRow>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(sql)?;
        let mut rows = rows.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read_row(&self.profile.key, row)?);
        }
        Ok(found)
    }
}

/// A row of a forgotten line has nothing to say.
const ROWS: &str = "SELECT f.line, l.chat, f.direction, f.owner, f.sealed, f.hashes, f.state,
    f.failure, f.limit_bytes, f.used_bytes FROM files f JOIN lines l ON l.id = f.line
    WHERE f.state <> 5";

fn read_row(key: &DbKey, row: &Row<'_>) -> Result<FileRow, StoreError> {
    let chat: String = row.get(1)?;
    let owner: String = row.get(3)?;
    let body = open_body(key, &row.get::<_, Vec<u8>>(4)?)?;
    let hashes: Option<Vec<u8>> = row.get(5)?;
    let size = sealed_bytes(body.bytes);
    let shape = hashes.and_then(|hashes| Shape::of(&body.blob, size, &hashes).ok());
    let (limit, used) = (unbits(row.get(8)?), unbits(row.get(9)?));
    Ok(FileRow {
        id: LocalId(row.get(0)?),
        chat: ChatName::canonical(&chat).map_err(|_| StoreError::Sealed)?,
        direction: if row.get::<_, i64>(2)? == UP { Direction::Up } else { Direction::Down },
        owner: UserName::canonical(&owner).map_err(|_| StoreError::Sealed)?,
        body,
        shape,
        state: FileState::of(row.get(6)?, row.get(7)?, limit, used),
    })
}

fn open_body(key: &DbKey, sealed: &[u8]) -> Result<FileBody, StoreError> {
    let bytes = unseal(key, sealed)?;
    FileBody::from_bytes(Bytes::copy_from_slice(&bytes)).map_err(|_| StoreError::Sealed)
}

/// A row to be.
struct NewFile<'a> {
    direction: i64,
    owner: &'a UserName,
    body: &'a FileBody,
    state: i64,
}

fn insert(
    tx: &Transaction<'_>,
    key: &DbKey,
    line: i64,
    file: &NewFile<'_>,
) -> Result<(), StoreError> {
    let mut bare = file.body.clone();
    (bare.caption, bare.reply_to, bare.expire) = (String::new(), None, None);
    tx.prepare_cached(
        "INSERT INTO files (line, direction, owner, blob_id, sealed, plain_bytes, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        line,
        file.direction,
        file.owner.as_str(),
        bare.blob.0,
        key.seal(&bare.to_bytes()),
        bits(bare.bytes),
        file.state
    ])?;
    Ok(())
}

/// The file of a line that arrived. `fetch_max_bytes`: up to which size it is fetched by itself.
pub(super) fn insert_arrived(
    tx: &Transaction<'_>,
    key: &DbKey,
    line: i64,
    author: &UserName,
    body: &FileBody,
    fetch_max_bytes: u64,
) -> Result<(), StoreError> {
    let state = if body.bytes <= fetch_max_bytes { GOES_ON } else { NOT_FETCHED };
    insert(tx, key, line, &NewFile { direction: DOWN, owner: author, body, state })
}

/// What the file of a line says of itself, to be sealed; without caption, answer and expiry.
pub(super) fn body_of_line(
    tx: &Transaction<'_>,
    key: &DbKey,
    line: i64,
) -> Result<Option<FileBody>, StoreError> {
    let sealed: Option<Vec<u8>> = tx
        .prepare_cached("SELECT sealed FROM files WHERE line = ?1 AND state <> 5")?
        .query_row([line], |row| row.get(0))
        .optional()?;
    sealed.map(|sealed| open_body(key, &sealed)).transpose()
}

/// Notes how far a file is. False: there is none any more.
pub(super) fn set_file(
    tx: &Transaction<'_>,
    line: i64,
    state: FileState,
) -> Result<bool, StoreError> {
    let (number, failure, limit, used) = state.numbers();
    let changed = tx
        .prepare_cached(
            "UPDATE files SET state = ?2, failure = ?3, limit_bytes = ?4, used_bytes = ?5
             WHERE line = ?1 AND state <> ?6",
        )?
        .execute(params![line, number, failure, bits(limit), bits(used), FORGOTTEN])?;
    Ok(changed > 0)
}

/// As its author calls it, made safe.
pub(super) fn safe_name(name: &str) -> String {
    super::file_names::safe(name)
}
