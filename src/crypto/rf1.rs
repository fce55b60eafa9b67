//! Suite 1, `RF1`: a Fernet key per direction of a conversation, wrapped by RSA-OAEP.
//!
//! Deliberately does not decide when a key is replaced or whether a wrapped key rides along; that
//! is the client's state.

use std::fmt;

use rsa::rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::context::{Context, RF1};
use super::fernet_raw;
use super::identity::{EncryptionKey, KeyError, encrypt_oaep};
use crate::types::{ClusterId, KeyId};

/// Why a conversation key could not be wrapped or unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rf1Error {
    /// The encryption key of the recipient is not usable.
    #[error("the recipient's encryption key is not usable")]
    RecipientKey(#[source] KeyError),
    /// Wrapped to another encryption key than the one at hand.
    #[error("the key is wrapped to encryption key {wrapped_to}, not to {ours}")]
    NotForThisKey {
        /// The id beside the wrapped key.
        wrapped_to: KeyId,
        /// The id of the key at hand.
        ours: KeyId,
    },
    /// Altered, or made for other people or another cluster, or not 32 bytes.
    #[error("the wrapped key does not open")]
    Unwrap,
    /// Not 32 bytes.
    #[error("a conversation key of {0} bytes, expected 32")]
    Length(usize),
}

/// The Fernet key of one direction of a conversation. Cleared from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ConversationKey([u8; 32]);

impl ConversationKey {
    /// Makes a key from the system generator.
    pub fn generate() -> Self {
        let mut key = Self([0; 32]);
        OsRng.fill_bytes(&mut key.0);
        key
    }

    /// Takes exactly 32 bytes.
    ///
    /// # Errors
    /// [`Rf1Error::Length`] for any other number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Rf1Error> {
        bytes.try_into().map(Self).map_err(|_| Rf1Error::Length(bytes.len()))
    }

    /// The key, to be stored sealed.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name of the key in headers: tells nothing about it.
    pub fn key_id(&self, cluster: &ClusterId) -> [u8; 16] {
        let context = Context::new(RF1, "key-id", cluster).fixed(&self.0);
        let hash: [u8; 32] = Sha256::digest(context.bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
        id
    }

    pub(super) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        fernet_raw::seal(&self.0, plain)
    }

    pub(super) fn open(&self, token: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        fernet_raw::open(&self.0, token)
    }
}

impl fmt::Debug for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationKey").finish_non_exhaustive()
    }
}

/// A conversation key wrapped to somebody's encryption key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The encryption key it is wrapped to.
    pub to: KeyId,
    /// RSA-OAEP ciphertext: as long as that key's modulus.
    pub bytes: Vec<u8>,
}

/// Wraps a key for the owner of `enc_spki`, bound to cluster, author and recipient.
///
/// # Errors
/// [`Rf1Error::RecipientKey`] when `enc_spki` is not an RSA key we accept.
pub fn wrap(
    key: &ConversationKey,
    cluster: &ClusterId,
    author_identity: &KeyId,
    recipient_identity: &KeyId,
    enc_spki: &[u8],
) -> Result<WrappedKey, Rf1Error> {
    let label = label(cluster, author_identity, recipient_identity);
    let bytes = encrypt_oaep(enc_spki, &key.0, label.bytes()).map_err(Rf1Error::RecipientKey)?;
    Ok(WrappedKey { to: KeyId::of_spki(enc_spki), bytes })
}

/// Unwraps what [`wrap`] made for us. Takes about 0.7 ms; the caller counts these per author.
///
/// # Errors
/// [`Rf1Error::NotForThisKey`] when another of our keys is needed, else [`Rf1Error::Unwrap`].
pub fn unwrap(
    enc_key: &EncryptionKey,
    cluster: &ClusterId,
    author_identity: &KeyId,
    recipient_identity: &KeyId,
    wrapped: &WrappedKey,
) -> Result<ConversationKey, Rf1Error> {
    let ours = enc_key.key_id();
    if wrapped.to != ours {
        return Err(Rf1Error::NotForThisKey { wrapped_to: wrapped.to, ours });
    }
    let label = label(cluster, author_identity, recipient_identity);
    let bytes = enc_key.decrypt(&wrapped.bytes, label.bytes()).ok_or(Rf1Error::Unwrap)?;
    ConversationKey::from_bytes(&bytes).map_err(|_| Rf1Error::Unwrap)
}

fn label(cluster: &ClusterId, author: &KeyId, recipient: &KeyId) -> Context {
    Context::new(RF1, "wrap", cluster).fixed(&author.0).fixed(&recipient.0)
}
