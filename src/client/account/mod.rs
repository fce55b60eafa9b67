//! Becoming somebody: first contact with a cluster, sign-up, login.
//!
//! Here only what is asked before there is an account. Inside: `terms` is what the caller says,
//! `errors` what can go wrong; `signing_up` and `logging_in` are the two ways in, over a `line`
//! without a session, with the keys of `making`. Staying connected is not done here.

mod errors;
mod line;
mod logging_in;
mod making;
mod signing_up;
mod terms;

pub use errors::AccountError;
pub use logging_in::log_in;
pub(crate) use making::seal_pem;
pub use signing_up::sign_up;
pub use terms::{Cluster, IdentitySource, NameStatus, OtherDevice, Passphrase, Where};

use crate::net::Env;
use crate::types::{ClusterId, UserName};

use super::connection;
use line::Line;

/// Learns which cluster answers at `at`, without talking to it: to be shown to the person, or
/// compared with what they were told, before anything is sent.
///
/// # Errors
/// [`AccountError::Unreachable`].
pub async fn discover(env: &Env, at: &Where) -> Result<ClusterId, AccountError> {
    Ok(connection::discover(env, at).await?)
}

/// Whether `user` is free.
///
/// # Errors
/// Network errors, `SLOW_DOWN`.
pub async fn name_status(
    env: &Env,
    cluster: &Cluster,
    user: &UserName,
) -> Result<NameStatus, AccountError> {
    let mut line = Line::open(env, cluster, user).await?;
    let found = line.look_up(user).await;
    line.close().await;
    match found {
        Ok(_) => Ok(NameStatus::Taken),
        Err(AccountError::NoSuchUser) => Ok(NameStatus::Free),
        Err(error) => Err(error),
    }
}
