//! Files on their way: to one's own home, and from the homes of others.
//!
//! What front ends ask is here and in `sending` and `saving`. `carry` is the task that carries all
//! transfers of a process, with `carried` for how they stand; `up` and `down` are one transfer
//! each, with a `job` in hand, `chunks` on streams of their own and a `progress`. `spool` is the
//! sealed copies on this disk, `cache` how many of them stay.

mod cache;
mod carried;
mod carry;
mod chunks;
mod down;
mod job;
mod progress;
mod saving;
mod sending;
mod spool;
mod up;

pub(crate) use carried::Carried;
pub(crate) use carry::carry;
pub use saving::SaveTo;

use rusqlite::params;

use super::Client;
use super::api::{
    Cancelled, Direction, Event, FileError, LocalId, MessageState, RequestError, TransferFailure,
    TransferPolicy, TransferView,
};
use super::core::Core;
use super::files::{FileState, cancel_file};
use super::store::StoreError;
use super::views::{STATE_CANCELLED, STATE_REFUSED, STATE_UPLOADING};
use crate::types::ChatName;
use carried::Back;
use carry::tell;

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> Self {
        Self::Local(error.to_string())
    }
}

impl Client {
    /// What is carried on by itself from now on.
    pub fn set_transfers(&self, policy: TransferPolicy) {
        let mut core = self.core.lock();
        core.files.policy = policy;
        core.files.carried.touch();
        core.files.bell.notify_one();
    }

    /// Everything that is on its way, waits, is paused or has failed, oldest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn transfers(&self) -> Result<Vec<TransferView>, RequestError> {
        let core = self.core.lock();
        let mut rows = core.files_unfinished()?;
        rows.retain(|row| row.state != FileState::Failed(TransferFailure::Cancelled));
        for (id, back) in &core.files.carried.backs {
            if *back == Back::Wanted {
                rows.extend(core.file(*id)?);
            }
        }
        rows.sort_by_key(|row| row.id);
        Ok(rows.iter().map(|row| core.transfer_view(row)).collect())
    }

    /// One transfer, also one that is done.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn transfer(&self, id: LocalId) -> Result<Option<TransferView>, RequestError> {
        let core = self.core.lock();
        Ok(core.file(id)?.map(|row| core.transfer_view(&row)))
    }

    /// Asks for the bytes of somebody's file, or goes on with a transfer that was paused or failed.
    ///
    /// # Errors
    /// [`FileError::NoFile`], [`FileError::Local`].
    pub fn resume_transfer(&self, id: LocalId) -> Result<(), FileError> {
        self.core.lock().resume_transfer(id)
    }

    /// Ends a transfer. An own file is not sent then, and its home forgets what it has of it; of
    /// somebody else's, what has come is dropped, and it can be fetched again.
    ///
    /// # Errors
    /// [`FileError::NoFile`], [`FileError::Local`].
    pub fn cancel_transfer(&self, id: LocalId) -> Result<(), FileError> {
        self.core.lock().cancel_transfer(id)
    }
}

impl Core {
    /// Everything up to here was there before this process: see [`Carried`].
    pub(crate) fn note_earlier_files(&mut self) {
        match self.last_line() {
            Ok(last) => self.files.carried.since = last.unwrap_or(LocalId(0)),
            Err(error) => tracing::warn!(%error, "the lines cannot be counted"),
        }
    }

    fn resume_transfer(&mut self, id: LocalId) -> Result<(), FileError> {
        let row = self.file(id)?.ok_or(FileError::NoFile(id))?;
        match (row.direction, row.state) {
            (_, FileState::Done) => return Ok(()),
            // What was taken back stays so.
            (_, FileState::Failed(TransferFailure::Cancelled)) => return Ok(()),
            (Direction::Up, FileState::Failed(_)) => {
                if self.reopen_upload(id)? {
                    let (chat, state) = (row.chat, MessageState::Uploading);
                    self.emit(Event::State { id, chat, state });
                }
            }
            (_, FileState::GoesOn) => {}
            (_, FileState::NotFetched | FileState::Paused | FileState::Failed(_)) => {
                self.set_file(id, FileState::GoesOn)?;
            }
        }
        let carried = &mut self.files.carried;
        carried.adopted.insert(id);
        // One that waits for its pause goes on now.
        if carried.legs.get(&id).is_some_and(|leg| !leg.is_running()) {
            carried.legs.remove(&id);
        }
        self.moved(id);
        Ok(())
    }

    /// The message of an upload that failed waits for it again. False: it was taken back.
    fn reopen_upload(&mut self, id: LocalId) -> Result<bool, StoreError> {
        let reopened = self.profile.store.commit(|tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE lines SET state = ?2, reason = 0 WHERE id = ?1 AND state IN (?2, ?3)",
                )?
                .execute(params![id.0, STATE_UPLOADING, STATE_REFUSED])?;
            Ok::<_, StoreError>(changed > 0)
        })?;
        if reopened {
            self.set_file(id, FileState::GoesOn)?;
        }
        Ok(reopened)
    }

    fn cancel_transfer(&mut self, id: LocalId) -> Result<(), FileError> {
        let row = self.file(id)?.ok_or(FileError::NoFile(id))?;
        if self.files.carried.backs.remove(&id).is_some() {
            // Its message stands: only its way back ends.
        } else if row.direction == Direction::Down {
            self.set_file(id, FileState::NotFetched)?;
        } else if row.state != FileState::Done && self.cancel(id)? == Cancelled::TooLate {
            self.give_up_refused(id, row.chat)?;
        }
        // Dropped, it stops.
        self.files.carried.legs.remove(&id);
        self.files.carried.adopted.remove(&id);
        self.remove_spool(&row.body.blob)?;
        self.moved(id);
        Ok(())
    }

    /// A message that was refused because of its file is given up: the home need not keep what it
    /// has of it.
    fn give_up_refused(&mut self, id: LocalId, chat: ChatName) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| {
            tx.prepare_cached(
                "UPDATE lines SET state = ?2, reason = 0 WHERE id = ?1 AND state = ?3",
            )?
            .execute(params![id.0, STATE_CANCELLED, STATE_REFUSED])?;
            cancel_file(tx, id.0)
        })?;
        self.emit(Event::State { id, chat, state: MessageState::Cancelled });
        Ok(())
    }

    /// A transfer stands elsewhere: whoever shows it or carries it is told.
    fn moved(&self, id: LocalId) {
        self.files.carried.touch();
        self.files.bell.notify_one();
        tell(self, id);
    }
}
