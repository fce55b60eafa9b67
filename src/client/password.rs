//! Another password, and the end of the account: what needs the password besides the session.
//!
//! A change is on two sides, the home's and this disk's, and a kill may come between. So the key of
//! the database is first wrapped for the new password *as well*; the home is asked; then the old
//! wrapping goes. At each moment the password that the home takes opens the profile.

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::crypto::secret::{DbKey, Stretched};
use crate::limits::PASSWORD_CHARS_MIN;
use crate::types::GroupName;
use crate::wire::Code;

use super::Client;
use super::account::{AccountError, seal_pem};
use super::api::RequestError;
use super::profile::{ProfileError, stretch_password};
use super::session::Request;

/// Why the password was not changed, or the account not deleted.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The present password is another one.
    #[error("wrong password")]
    Wrong,
    /// The new one is shorter than allowed.
    #[error("the password is too short")]
    TooShort,
    /// The connection broke before the answer came: it may be done or not. Until the same is asked
    /// again, both passwords open the profile.
    #[error("no answer: it may be done or not")]
    Unknown,
    /// The account is not deleted: nobody could change these groups any more. Another admin for
    /// each, or the end of the group, comes first.
    #[error("the only admin of {}", listed(.0))]
    LastAdmin(Vec<GroupName>),
    /// The home refused; nothing changed.
    #[error(transparent)]
    Refused(RequestError),
    /// The local profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl From<RequestError> for PasswordError {
    fn from(error: RequestError) -> Self {
        match error {
            // An edge says so as well of a home that went away with the request.
            RequestError::Offline
            | RequestError::Timeout
            | RequestError::Refused { code: Code::HomeDown, .. } => Self::Unknown,
            RequestError::Refused { code: Code::WrongPassword, .. } => Self::Wrong,
            other => Self::Refused(other),
        }
    }
}

impl From<super::store::StoreError> for PasswordError {
    fn from(error: super::store::StoreError) -> Self {
        match AccountError::from(error) {
            AccountError::Profile(error) => Self::Profile(error),
            other => Self::Refused(RequestError::Local(other.to_string())),
        }
    }
}

impl Client {
    /// Changes the account's password: at the home, in the profile, and in the two key files.
    ///
    /// The home has the last word on the old one. Takes about a second of a core.
    ///
    /// # Errors
    /// [`PasswordError`]; after [`PasswordError::Unknown`] ask again with the same two passwords.
    pub async fn change_password(&self, old: &str, new: &str) -> Result<(), PasswordError> {
        if new.chars().count() < PASSWORD_CHARS_MIN {
            return Err(PasswordError::TooShort);
        }
        let (env, owner, keys) = {
            let core = self.core.lock();
            (core.env.clone(), core.profile.owner.clone(), core.profile.rsa_keys()?)
        };
        let old = stretch_password(&env, old, owner.cluster, &owner.user).await?;
        let stretched = stretch_password(&env, new, owner.cluster, &owner.user).await?;
        if !self.core.lock().profile.takes(&old)? {
            return Err(PasswordError::Wrong);
        }
        if self.core.lock().profile.changes_to_another(&stretched)? {
            // An earlier change, to yet another password, was left open: is it this old one?
            self.prove(&old, &old).await?;
            env.in_place(|| self.core.lock().profile.settle_password(&old))?;
        }
        let pem = seal_pem(&env, keys, new).await.map_err(|error| match error {
            AccountError::Profile(error) => PasswordError::Profile(error),
            other => PasswordError::Refused(RequestError::Local(other.to_string())),
        })?;
        let before = self.core.lock().profile.left_open()?;
        env.in_place(|| self.core.lock().profile.begin_password(&stretched, pem.as_ref()))?;
        match self.prove(&old, &stretched).await {
            Ok(()) => Ok(env.in_place(|| self.core.lock().profile.settle_password(&stretched))?),
            Err(error) => {
                if is_undone(before, &error) {
                    env.in_place(|| self.core.lock().profile.settle_password(&old))?;
                }
                Err(error)
            }
        }
    }

    /// Has the home take the new password for the old one; done as well if it has the new one.
    async fn prove(&self, old: &Stretched, new: &Stretched) -> Result<(), PasswordError> {
        let (reply, answer) = oneshot::channel();
        let (old_auth_key, new_auth_key) = (old.auth_key.clone(), new.auth_key.clone());
        let request = Request::ChangePassword { old_auth_key, new_auth_key, reply };
        Ok(self.answered(request, answer).await?)
    }

    /// Asks the home to delete the account; returns when that will be. Until then a login with the
    /// password keeps it. The profile stays, signed out.
    ///
    /// # Errors
    /// [`PasswordError`]; [`PasswordError::LastAdmin`] while others need the person for a group.
    pub async fn delete_account(&self, password: &str) -> Result<u64, PasswordError> {
        let (env, owner) = {
            let core = self.core.lock();
            (core.env.clone(), core.profile.owner.clone())
        };
        let stretched = stretch_password(&env, password, owner.cluster, &owner.user).await?;
        if !self.core.lock().profile.takes(&stretched)? {
            return Err(PasswordError::Wrong);
        }
        let left_alone = self.core.lock().led_alone()?;
        if !left_alone.is_empty() {
            return Err(PasswordError::LastAdmin(left_alone));
        }
        let (reply, answer) = oneshot::channel();
        let auth_key = stretched.auth_key.clone();
        let at = self.answered(Request::DeleteAccount { auth_key, reply }, answer).await?;
        self.core.lock().profile.set_signed_out(true)?;
        Ok(at)
    }
}

fn listed(groups: &[GroupName]) -> String {
    groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether the home certainly has no new password.
fn is_undone(before: Before, error: &PasswordError) -> bool {
    before == Before::Settled && !matches!(error, PasswordError::Unknown)
}

/// How the change before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// The home's answer is known, or there was none.
    Settled,
    /// Without an answer: what is refused now may have been done then.
    Open,
}

impl super::profile::Unlocked {
    /// Whether this password, or the one that a change was begun to, opens the profile.
    fn takes(&self, stretched: &Stretched) -> Result<bool, ProfileError> {
        let wrapped = [self.meta("db_key")?, self.meta(NEXT)?];
        Ok(wrapped.iter().flatten().any(|w| DbKey::unwrap(w, &stretched.vault_key).is_ok()))
    }

    /// Whether the home may have taken a change that was begun earlier.
    pub(super) fn left_open(&self) -> Result<Before, ProfileError> {
        Ok(if self.meta(NEXT)?.is_some() { Before::Open } else { Before::Settled })
    }

    /// Whether a change was begun, to another password than this one, and not settled.
    fn changes_to_another(&self, new: &Stretched) -> Result<bool, ProfileError> {
        let next = self.meta(NEXT)?;
        Ok(next.is_some_and(|next| DbKey::unwrap(&next, &new.vault_key).is_err()))
    }
}

/// The database key, wrapped for the password that a change was begun to.
pub(crate) const NEXT: &str = "next_db_key";

/// The two key files' texts.
pub(crate) type Pem = [Zeroizing<String>; 2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_went_away_with_the_request_may_have_done_it() {
        let refused = |code| RequestError::Refused { code, detail: "s1".into(), retry_after_ms: 0 };
        for lost in [RequestError::Offline, RequestError::Timeout, refused(Code::HomeDown)] {
            assert!(matches!(PasswordError::from(lost), PasswordError::Unknown));
        }
        assert!(matches!(PasswordError::from(refused(Code::Busy)), PasswordError::Refused(_)));
    }

    #[test]
    fn a_refusal_gives_up_the_new_password_only_if_no_earlier_try_is_open() {
        let refused = |code| {
            let no = RequestError::Refused { code, detail: String::new(), retry_after_ms: 0 };
            PasswordError::from(no)
        };
        for code in [Code::SlowDown, Code::Busy, Code::WrongPassword] {
            assert!(is_undone(Before::Settled, &refused(code)));
            assert!(!is_undone(Before::Open, &refused(code)));
        }
        assert!(!is_undone(Before::Settled, &refused(Code::HomeDown)));
    }
}
