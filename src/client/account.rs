//! Becoming somebody: first contact with a cluster, sign-up, login.

use std::path::PathBuf;

use crate::net::Env;
use crate::types::{ClusterId, UserName};
use crate::wire::Code;

use super::profile::{Profile, ProfileError, Unlocked};

/// Where the balancer is, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Host name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// The cluster to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its balancer.
    pub at: Where,
    /// Its CA.
    pub id: ClusterId,
}

/// Whether a name can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStatus {
    /// Nobody has it.
    Free,
    /// It belongs to somebody.
    Taken,
}

/// Which identity key a device new to the account uses.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// The one in the profile folder; [`AccountError::NoIdentityKey`] when there is none.
    Profile,
    /// A PEM file, opened with the account's password.
    Pem(PathBuf),
    /// A new one: everybody who knows the user sees that the key changed.
    New,
}

/// What to do when another device is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherDevice {
    /// Answer [`AccountError::AlreadyLoggedIn`].
    Ask,
    /// Replace it.
    TakeOver,
}

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

/// Learns which cluster answers at `at`, without talking to it: to be shown to the person, or
/// compared with what they were told, before anything is sent.
///
/// # Errors
/// [`AccountError::Unreachable`].
pub async fn discover(_env: &Env, _at: &Where) -> Result<ClusterId, AccountError> {
    Err(AccountError::Unreachable)
}

/// Whether `user` is free.
///
/// # Errors
/// Network errors, `SLOW_DOWN`.
pub async fn name_status(
    _env: &Env,
    _cluster: &Cluster,
    _user: &UserName,
) -> Result<NameStatus, AccountError> {
    Err(AccountError::Unreachable)
}

/// Creates the account and fills an empty profile with its keys.
///
/// Can be repeated after any failure or kill: the keys are on disk before the name is asked for.
///
/// # Errors
/// [`AccountError::NameTaken`], [`AccountError::PasswordTooShort`], network and profile errors.
pub async fn sign_up(
    _env: &Env,
    _profile: Profile,
    _cluster: &Cluster,
    _user: &UserName,
    _password: &str,
) -> Result<Unlocked, AccountError> {
    Err(AccountError::Unreachable)
}

/// Logs in: unlocks the profile, or, in an empty profile, becomes a new device of the account.
///
/// # Errors
/// All of [`AccountError`].
pub async fn log_in(
    _env: &Env,
    _profile: Profile,
    _cluster: &Cluster,
    _user: &UserName,
    _password: &str,
    _identity: IdentitySource,
    _other: OtherDevice,
) -> Result<Unlocked, AccountError> {
    Err(AccountError::Unreachable)
}
