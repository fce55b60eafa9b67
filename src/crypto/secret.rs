//! What comes out of a password, and the key that seals everything at rest in a client.
//!
//! Deliberately keeps no file and asks nobody: callers bring the password and store the results.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use rsa::rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::context::{ANY_SUITE, Context};
use super::fernet_raw;
use crate::types::{ClusterId, UserName};

/// Bytes of a password that are stretched; a longer one is refused, never cut.
const PASSWORD_BYTES_MAX: usize = 4096;

/// Why a secret could not be derived or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A password over 4096 bytes.
    #[error("a password of {0} bytes, at most {PASSWORD_BYTES_MAX} allowed")]
    PasswordTooLong(usize),
    /// The 64 MiB that the stretch needs are not there.
    #[error("not enough memory to stretch the password")]
    OutOfMemory,
    /// Another key, or altered bytes.
    #[error("the key does not open this")]
    WrongKey,
    /// Not 32 bytes.
    #[error("a key of {0} bytes, expected 32")]
    Length(usize),
}

/// How much work a password costs whoever guesses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StretchCost {
    /// Argon2id over 64 MiB, 3 passes, 1 lane: about 0.15 s. The only one that logs in for real.
    Full,
    /// Next to nothing. Exists in tests alone.
    #[cfg(feature = "testkit")]
    Cheap,
}

impl StretchCost {
    /// Memory in KiB and passes.
    fn parameters(self) -> (u32, u32) {
        match self {
            Self::Full => (64 * 1024, 3),
            #[cfg(feature = "testkit")]
            Self::Cheap => (8, 1),
        }
    }
}

/// The two keys that come out of one password.
pub struct Stretched {
    /// Proves the password to the server: 44 characters, base64 of 32 bytes.
    pub auth_key: Zeroizing<String>,
    /// Opens what the client keeps. Never sent.
    pub vault_key: VaultKey,
}

impl fmt::Debug for Stretched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretched").finish_non_exhaustive()
    }
}

/// Wraps the [`DbKey`]. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VaultKey([u8; 32]);

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultKey").finish_non_exhaustive()
    }
}

/// Stretches a password (NFC) for one user of one cluster and splits the result.
///
/// [`StretchCost::Full`] takes 64 MiB and 0.15 s: not for an async thread.
///
/// # Errors
/// [`SecretError::PasswordTooLong`], or [`SecretError::OutOfMemory`].
pub fn stretch(
    password: &str,
    cluster: &ClusterId,
    user: &UserName,
    cost: StretchCost,
) -> Result<Stretched, SecretError> {
    let salt = Sha256::new()
        .chain_update(b"fastchat/auth/1")
        .chain_update(cluster.0)
        .chain_update(user.as_str())
        .finalize();
    let stretched = argon2id(password, &salt.into(), cost)?;
    let auth = expand(&stretched, "auth-key", cluster);
    let vault = expand(&stretched, "vault-key", cluster);
    Ok(Stretched {
        auth_key: Zeroizing::new(STANDARD.encode(auth.as_slice())),
        vault_key: VaultKey(*vault),
    })
}

/// Argon2id of a password in NFC, the one stretch of everything that people make up.
pub(super) fn argon2id(
    password: &str,
    salt: &[u8; 32],
    cost: StretchCost,
) -> Result<Zeroizing<[u8; 32]>, SecretError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(SecretError::PasswordTooLong(password.len()));
    }
    // The same password typed on two keyboards may come composed or decomposed.
    let password = Zeroizing::new(password.nfc().collect::<String>());
    let (kib, passes) = cost.parameters();
    let mut stretched = Zeroizing::new([0; 32]);
    Params::new(kib, passes, 1, Some(stretched.len()))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                password.as_bytes(),
                salt,
                stretched.as_mut(),
            )
        })
        .map_err(|_| SecretError::OutOfMemory)?;
    Ok(stretched)
}

fn expand(secret: &[u8; 32], purpose: &str, cluster: &ClusterId) -> Zeroizing<[u8; 32]> {
    let info = Context::new(ANY_SUITE, purpose, cluster);
    let mut out = Zeroizing::new([0; 32]);
    #[expect(clippy::expect_used, reason = "HKDF-SHA256 yields up to 8160 bytes; we ask for 32")]
    Hkdf::<Sha256>::new(None, secret).expand(info.bytes(), out.as_mut()).expect("32 bytes");
    out
}

/// The random key that seals everything in a client's database. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DbKey([u8; 32]);

impl DbKey {
    /// Makes a key from the system generator.
    pub fn generate() -> Self {
        let mut key = Self([0; 32]);
        OsRng.fill_bytes(&mut key.0);
        key
    }

    /// Takes exactly 32 bytes, as [`Self::to_bytes`] gave them.
    ///
    /// # Errors
    /// [`SecretError::Length`] for any other number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        bytes.try_into().map(Self).map_err(|_| SecretError::Length(bytes.len()))
    }

    /// The key in the clear, for a file that lives no longer than the person's session.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// Seals this key under the password's vault key, for storing.
    pub fn wrap(&self, vault: &VaultKey) -> Vec<u8> {
        fernet_raw::seal(&vault.0, &self.0)
    }

    /// Opens what [`Self::wrap`] made.
    ///
    /// # Errors
    /// [`SecretError::WrongKey`]: the password was another one, or the bytes are damaged.
    pub fn unwrap(wrapped: &[u8], vault: &VaultKey) -> Result<Self, SecretError> {
        let bytes = fernet_raw::open(&vault.0, wrapped).ok_or(SecretError::WrongKey)?;
        Self::from_bytes(&bytes).map_err(|_| SecretError::WrongKey)
    }

    /// Seals bytes for the client's disk. Adds 58 to 73 bytes.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        fernet_raw::seal(&self.0, plain)
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`SecretError::WrongKey`]: another key, or damaged bytes.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        fernet_raw::open(&self.0, sealed).ok_or(SecretError::WrongKey)
    }
}

impl fmt::Debug for DbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 32]);

    fn cheap(password: &str, cluster: &ClusterId, user: &str) -> Stretched {
        let user = UserName::canonical(user).unwrap();
        stretch(password, cluster, &user, StretchCost::Cheap).unwrap()
    }

    #[test]
    fn password_user_and_cluster_each_change_both_keys() {
        let base = cheap("password", &CLUSTER, "alice");
        assert_eq!(base.auth_key.len(), 44);
        assert_eq!(base.auth_key, cheap("password", &CLUSTER, "alice").auth_key);
        for other in [
            cheap("Password", &CLUSTER, "alice"),
            cheap("password", &ClusterId([2; 32]), "alice"),
            cheap("password", &CLUSTER, "bob"),
        ] {
            assert_ne!(base.auth_key, other.auth_key);
            assert_ne!(base.vault_key.0, other.vault_key.0);
        }
        assert_ne!(STANDARD.decode(base.auth_key.as_bytes()).unwrap(), base.vault_key.0);
    }

    #[test]
    fn a_composed_and_a_decomposed_password_are_the_same() {
        let composed = cheap("p\u{e4}ssword", &CLUSTER, "alice");
        let decomposed = cheap("pa\u{308}ssword", &CLUSTER, "alice");
        assert_eq!(composed.auth_key, decomposed.auth_key);
    }

    #[test]
    fn a_password_of_4096_bytes_is_stretched_and_a_longer_one_refused() {
        cheap(&"x".repeat(PASSWORD_BYTES_MAX), &CLUSTER, "alice");
        let user = UserName::canonical("alice").unwrap();
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        let refused = stretch(&long, &CLUSTER, &user, StretchCost::Cheap).err();
        assert_eq!(refused, Some(SecretError::PasswordTooLong(PASSWORD_BYTES_MAX + 1)));
    }

    #[test]
    fn a_db_key_opens_with_the_password_that_wrapped_it_only() {
        let key = DbKey::generate();
        let wrapped = key.wrap(&cheap("password", &CLUSTER, "alice").vault_key);
        let vault = cheap("password", &CLUSTER, "alice").vault_key;
        assert_eq!(DbKey::unwrap(&wrapped, &vault).unwrap().to_bytes(), key.to_bytes());
        let vault = cheap("other", &CLUSTER, "alice").vault_key;
        assert_eq!(DbKey::unwrap(&wrapped, &vault).err(), Some(SecretError::WrongKey));
    }

    #[test]
    fn what_is_sealed_opens_under_its_key_only_and_only_unaltered() {
        let key = DbKey::generate();
        for length in [0, 1, 15, 16, 17, 100_000] {
            let plain = vec![7; length];
            let sealed = key.seal(&plain);
            assert!((58..=73).contains(&(sealed.len() - length)), "{length}");
            assert_eq!(*key.open(&sealed).unwrap(), plain);
        }
        let mut sealed = key.seal(b"text");
        assert_eq!(DbKey::generate().open(&sealed).err(), Some(SecretError::WrongKey));
        sealed[30] ^= 1;
        assert_eq!(key.open(&sealed).err(), Some(SecretError::WrongKey));
        assert_eq!(key.open(&[]).err(), Some(SecretError::WrongKey));
        let again = DbKey::from_bytes(key.to_bytes().as_ref()).unwrap();
        assert_eq!(*again.open(&key.seal(b"text")).unwrap(), b"text");
        assert_eq!(DbKey::from_bytes(&[1; 31]).err(), Some(SecretError::Length(31)));
    }

    #[test]
    fn sealed_bytes_tell_no_time() {
        assert_eq!(DbKey::generate().seal(b"text")[1..9], [0; 8]);
    }

    #[test]
    fn debug_shows_no_key() {
        let stretched = cheap("password", &CLUSTER, "alice");
        assert_eq!(format!("{stretched:?}"), "Stretched { .. }");
        assert_eq!(format!("{:?}", stretched.vault_key), "VaultKey { .. }");
        assert_eq!(format!("{:?}", DbKey::generate()), "DbKey { .. }");
    }
}
