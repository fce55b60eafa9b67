//! Why a profile cannot be used. What a person is told is not written here.

use std::path::{Path, PathBuf};

use crate::types::UserName;

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

pub(super) fn damaged(path: &Path, why: &dyn std::fmt::Display) -> ProfileError {
    ProfileError::Damaged { path: path.to_owned(), why: why.to_string() }
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ProfileError {
    let path = path.to_owned();
    move |source| ProfileError::Io { path, source }
}
