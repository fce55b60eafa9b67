//! From a password to keys: slow on purpose.

use std::path::Path;

use zeroize::Zeroizing;

use crate::crypto::secret::{StretchCost, Stretched, stretch};
use crate::net::Env;
use crate::types::{ClusterId, UserName};

use super::ProfileError;
use super::errors::damaged;

/// The stretch of docs/SECURITY.md, section 4, off the async threads.
pub(crate) async fn stretch_password(
    env: &Env,
    password: &str,
    cluster: ClusterId,
    user: &UserName,
) -> Result<Stretched, ProfileError> {
    let (password, user) = (Zeroizing::new(password.to_owned()), user.clone());
    let cost = stretch_cost(env);
    env.blocking(move || stretch(&password, &cluster, &user, cost))
        .await
        .map_err(|error| damaged(Path::new("password"), &error))
}

pub(crate) fn stretch_cost(env: &Env) -> StretchCost {
    #[cfg(feature = "testkit")]
    if env.cheap_crypto() {
        return StretchCost::Cheap;
    }
    let _ = env;
    StretchCost::Full
}
