//! Keys in files: taking one's own away, and bringing them to another machine. And decisions about
//! somebody else's key that hold only for the very key that was seen.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::crypto::identity::{EncryptionKey, IdentityKey, KeyError};
use crate::types::UserName;

use super::Client;
use super::account::AccountError;
use super::api::RequestError;
use super::core::Core;
use super::session::Request;
use super::store::StoreError;

/// Bytes of a file of keys: two private keys of RSA-4096 take under 10 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What the person decides about a key that they have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on with this key, without having compared numbers.
    Accept,
    /// The numbers were compared.
    Verify,
}

/// Whether the decision could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It is.
    Yes,
    /// That person's key is another one by now.
    AnotherKey,
}

impl Client {
    /// Decides about the key with this fingerprint, and about no other.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn decide(
        &self,
        user: &UserName,
        fingerprint: &str,
        decision: Decision,
    ) -> Result<Decided, RequestError> {
        let decided = self.core.lock().decide(user, fingerprint, decision)?;
        self.poke(Request::Look);
        Ok(decided)
    }

    /// Writes the identity key and the present encryption key, encrypted under a passphrase, to a
    /// new file (0600): PEM, as `openssl pkey` reads it.
    ///
    /// # Errors
    /// [`AccountError::BadKeyFile`] when the file is there or cannot be written.
    pub async fn export_keys(&self, path: &Path, passphrase: &str) -> Result<(), AccountError> {
        let (env, (identity, encryption)) = {
            let core = self.core.lock();
            (core.env.clone(), core.profile.rsa_keys()?)
        };
        let passphrase = Zeroizing::new(passphrase.to_owned());
        let text = env
            .blocking(move || -> Result<_, KeyError> {
                let mut text = identity.to_pem(&passphrase)?;
                text.push_str(&encryption.to_pem(&passphrase)?);
                Ok(text)
            })
            .await
            .map_err(|error| AccountError::BadKeyFile(error.to_string()))?;
        write_new(path, text.as_bytes())
            .map_err(|error| AccountError::BadKeyFile(error.to_string()))
    }
}

impl Core {
    fn decide(
        &mut self,
        user: &UserName,
        fingerprint: &str,
        decision: Decision,
    ) -> Result<Decided, StoreError> {
        let seen = self.key_view(user)?.map(|view| view.fingerprint);
        if seen.as_deref() != Some(fingerprint) {
            return Ok(Decided::AnotherKey);
        }
        match decision {
            Decision::Accept => self.accept_changed_key(user)?,
            Decision::Verify => self.set_verified(user)?,
        }
        Ok(Decided::Yes)
    }
}

/// Writes a private file that must not be there yet; nothing is left of it when that fails.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// The keys of a file that [`Client::export_keys`] made, or of one with an identity key alone.
pub(super) fn read_keys(
    path: &Path,
    passphrase: &str,
) -> Result<(IdentityKey, Option<EncryptionKey>), AccountError> {
    let bad = |error: &dyn std::fmt::Display| AccountError::BadKeyFile(error.to_string());
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| bad(&error))?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text)
        .map_err(|error| bad(&error))?;
    let second = text.match_indices("-----BEGIN").nth(1).map_or(text.len(), |(at, _)| at);
    let (first, second) = text.split_at_checked(second).unwrap_or((&text, ""));
    let identity = IdentityKey::from_pem(first, passphrase).map_err(|error| bad(&error))?;
    let encryption = match second {
        "" => None,
        pem => Some(EncryptionKey::from_pem(pem, passphrase).map_err(|error| bad(&error))?),
    };
    Ok((identity, encryption))
}
