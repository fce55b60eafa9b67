//! A profile: one user's keys and history on one disk, held by one process at a time.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::net::Env;
use crate::types::{ClusterId, UserName};

use super::account::Where;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another process holds it.
    #[error("the profile is in use by process {pid}")]
    Locked {
        /// Its process id; 0 when it cannot be read.
        pid: u32,
    },
    /// There is no account in it yet.
    #[error("no account in this profile")]
    Empty,
    /// It holds an account already.
    #[error("the profile belongs to {0}")]
    NotEmpty(UserName),
    /// The password, or the key of the unlock file, does not open it.
    #[error("the profile does not open with this password")]
    WrongPassword,
    /// The folder or a file in it cannot be read or written.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database or a key file is damaged.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        why: String,
    },
}

/// What an account-holding profile says without being unlocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose it is.
    pub user: UserName,
    /// The cluster it belongs to, for ever.
    pub cluster: ClusterId,
    /// The balancer last used.
    pub balancer: Where,
}

/// A profile folder, locked for this process. Dropping it releases the lock.
#[derive(Debug)]
pub struct Profile {
    folder: PathBuf,
}

impl Profile {
    /// Takes the lock of a profile folder, making the folder (0700) when it is not there.
    ///
    /// # Errors
    /// [`ProfileError::Locked`], [`ProfileError::Io`], [`ProfileError::Damaged`].
    pub fn open(_env: &Env, folder: &Path) -> Result<Self, ProfileError> {
        Ok(Self { folder: folder.to_owned() })
    }

    /// Whose it is; `None` when nobody signed up or logged in here yet.
    pub fn owner(&self) -> Option<&Owner> {
        None
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the sealed data with the password. Takes about 0.2 s of a core.
    ///
    /// # Errors
    /// [`ProfileError::WrongPassword`], [`ProfileError::Empty`], [`ProfileError::Damaged`].
    pub async fn unlock(self, _env: &Env, _password: &str) -> Result<Unlocked, ProfileError> {
        Err(ProfileError::Empty)
    }

    /// Opens the sealed data with what [`Unlocked::unlock_key`] gave earlier.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub fn unlock_with_key(self, _env: &Env, _key: &[u8]) -> Result<Unlocked, ProfileError> {
        Err(ProfileError::Empty)
    }
}

/// A profile whose keys and texts can be read.
pub struct Unlocked {
    owner: Owner,
}

impl Unlocked {
    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// For the unlock file in the user's runtime directory.
    pub fn unlock_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Vec::new())
    }
}
