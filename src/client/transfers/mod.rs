//! Files on their way: to one's own home, and from the homes of others.

use std::path::{Path, PathBuf};

use crate::types::ChatName;

use super::Client;
use super::api::{FileDraft, FileError, LocalId, RequestError, TransferPolicy, TransferView};

impl Client {
    /// Takes a file: when this returns, a sealed copy of it and its message are on this disk, and
    /// go out at the next contact: first the bytes, then the message. Reads the file to its end.
    ///
    /// # Errors
    /// [`FileError`]; nothing was stored then.
    pub async fn send_file(&self, to: &ChatName, draft: FileDraft) -> Result<LocalId, FileError> {
        let _ = (to, draft);
        Err(FileError::Local("files are not here yet".to_owned()))
    }

    /// What is carried on by itself from now on.
    pub fn set_transfers(&self, policy: TransferPolicy) {
        let _ = policy;
    }

    /// Everything that is on its way, waits, is paused or has failed, oldest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn transfers(&self) -> Result<Vec<TransferView>, RequestError> {
        Ok(Vec::new())
    }

    /// One transfer, also one that is done.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn transfer(&self, id: LocalId) -> Result<Option<TransferView>, RequestError> {
        let _ = id;
        Ok(None)
    }

    /// Asks for the bytes of somebody's file, or goes on with a transfer that was paused or failed.
    ///
    /// # Errors
    /// [`FileError::NoFile`], [`FileError::Local`].
    pub fn resume_transfer(&self, id: LocalId) -> Result<(), FileError> {
        Err(FileError::NoFile(id))
    }

    /// Ends a transfer. An own file is not sent then, and its home forgets what it has of it; of
    /// somebody else's, what has come is dropped, and it can be fetched again.
    ///
    /// # Errors
    /// [`FileError::NoFile`], [`FileError::Local`].
    pub fn cancel_transfer(&self, id: LocalId) -> Result<(), FileError> {
        Err(FileError::NoFile(id))
    }

    /// Stores a file in a folder under its safe name, or under the name given; what stands there is
    /// never overwritten: the path that it got is returned. Fetches it first if it is not here.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::Transfer`] when it cannot come.
    pub async fn save_file(&self, id: LocalId, to: &SaveTo) -> Result<PathBuf, FileError> {
        let _ = to;
        Err(FileError::NoFile(id))
    }
}

/// Where a file is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveTo {
    /// In this folder, under the name that it has.
    Folder(PathBuf),
    /// Under exactly this name, if nothing is there; else with a number.
    File(PathBuf),
}

impl SaveTo {
    /// What a person typed: a folder that is there, or the name of a file.
    pub fn typed(path: &Path) -> Self {
        if path.is_dir() { Self::Folder(path.to_owned()) } else { Self::File(path.to_owned()) }
    }
}
