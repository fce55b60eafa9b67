//! Why a sign-up or a login did not succeed. What a person is told is not written here.

use std::path::PathBuf;

use crate::types::ClusterId;
use crate::wire::Code;

use super::super::connection::DialError;
use super::super::profile::ProfileError;
use super::super::store::StoreError;

/// Why sign-up or login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password does not fit (answered by the server, or by the locked profile).
    #[error("wrong password")]
    WrongPassword,
    /// No account of that name.
    #[error("no such user")]
    NoSuchUser,
    /// The name belongs to somebody.
    #[error("the name is taken")]
    NameTaken,
    /// Another device is logged in.
    #[error("logged in on another device")]
    AlreadyLoggedIn {
        /// Since when.
        since_unix_ms: u64,
        /// When it was last heard of.
        last_seen_unix_ms: u64,
    },
    /// This device has no identity key of the account.
    #[error("this device has no identity key of the account")]
    NoIdentityKey,
    /// The PEM file cannot be used.
    #[error("the key file cannot be used: {0}")]
    BadKeyFile(String),
    /// The password is shorter than allowed.
    #[error("the password is too short")]
    PasswordTooShort,
    /// Neither the balancer nor a server answers.
    #[error("no answer")]
    Unreachable,
    /// Another cluster than the pinned one answers.
    #[error("another cluster answers there: {got}")]
    WrongCluster {
        /// The one that answered.
        got: ClusterId,
    },
    /// Any other typed answer.
    #[error("the server says {code}")]
    Refused {
        /// The code.
        code: Code,
        /// The server that is away, for `HOME_DOWN`.
        detail: String,
        /// When to try again; 0: not said.
        retry_after_ms: u64,
    },
    /// The local profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl From<DialError> for AccountError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable => Self::Unreachable,
            DialError::WrongCluster { got } => Self::WrongCluster { got },
            DialError::Refused(no) => match no.code {
                Code::WrongPassword => Self::WrongPassword,
                Code::NoSuchUser => Self::NoSuchUser,
                Code::NameTaken => Self::NameTaken,
                Code::AlreadyLoggedIn => Self::AlreadyLoggedIn {
                    since_unix_ms: no.since_unix_ms,
                    last_seen_unix_ms: no.last_seen_unix_ms,
                },
                code => {
                    Self::Refused { code, detail: no.detail, retry_after_ms: no.retry_after_ms }
                }
            },
        }
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Profile(ProfileError::Damaged {
            path: PathBuf::from("profile.sqlite"),
            why: error.to_string(),
        })
    }
}
