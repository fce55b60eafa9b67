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
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
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
    wrap_labelled(key, &label(cluster, author_identity, recipient_identity), enc_spki)
}

/// Wraps a key under any label.
pub(super) fn wrap_labelled(
    key: &ConversationKey,
    label: &Context,
    enc_spki: &[u8],
) -> Result<WrappedKey, Rf1Error> {
    let bytes = encrypt_oaep(enc_spki, &key.0, label.bytes()).map_err(Rf1Error::RecipientKey)?;
    Ok(WrappedKey { to: KeyId::of_spki(enc_spki), bytes })
}

/// Unwraps what [`wrap`] made for us. Takes about 1 ms; the caller counts these per author.
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
    unwrap_labelled(enc_key, &label(cluster, author_identity, recipient_identity), wrapped)
}

/// Unwraps what [`wrap_labelled`] made for us.
pub(super) fn unwrap_labelled(
    enc_key: &EncryptionKey,
    label: &Context,
    wrapped: &WrappedKey,
) -> Result<ConversationKey, Rf1Error> {
    let ours = enc_key.key_id();
    if wrapped.to != ours {
        return Err(Rf1Error::NotForThisKey { wrapped_to: wrapped.to, ours });
    }
    let bytes = enc_key.decrypt(&wrapped.bytes, label.bytes()).ok_or(Rf1Error::Unwrap)?;
    ConversationKey::from_bytes(&bytes).map_err(|_| Rf1Error::Unwrap)
}

fn label(cluster: &ClusterId, author: &KeyId, recipient: &KeyId) -> Context {
    Context::new(RF1, "wrap", cluster).fixed(&author.0).fixed(&recipient.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testkeys;

    const CLUSTER: ClusterId = ClusterId([1; 32]);

    #[test]
    fn a_wrapped_key_opens_for_its_recipient_author_and_cluster_only() {
        let (alice, bob) = (testkeys::identity(0).key_id(), testkeys::identity(1).key_id());
        let ours = testkeys::encryption(1);
        let key = ConversationKey::generate();
        let wrapped = wrap(&key, &CLUSTER, &alice, &bob, ours.spki()).unwrap();
        assert_eq!(wrapped.bytes.len(), 384);
        let opened = unwrap(&ours, &CLUSTER, &alice, &bob, &wrapped).unwrap();
        assert_eq!(opened.as_bytes(), key.as_bytes());

        let elsewhere = ClusterId([2; 32]);
        for (cluster, author, recipient) in
            [(&elsewhere, &alice, &bob), (&CLUSTER, &bob, &alice), (&CLUSTER, &bob, &bob)]
        {
            let refused = unwrap(&ours, cluster, author, recipient, &wrapped).err();
            assert_eq!(refused, Some(Rf1Error::Unwrap));
        }
        let other = testkeys::encryption(2);
        let refused = unwrap(&other, &CLUSTER, &alice, &bob, &wrapped).err();
        assert!(matches!(refused, Some(Rf1Error::NotForThisKey { .. })));
        let lying = WrappedKey { to: other.key_id(), ..wrapped };
        let refused = unwrap(&other, &CLUSTER, &alice, &bob, &lying).err();
        assert_eq!(refused, Some(Rf1Error::Unwrap));
    }

    #[test]
    fn what_is_wrapped_must_be_32_bytes() {
        let (alice, bob) = (testkeys::identity(0).key_id(), testkeys::identity(1).key_id());
        let ours = testkeys::encryption(1);
        let label = label(&CLUSTER, &alice, &bob);
        let bytes = encrypt_oaep(ours.spki(), &[7; 31], label.bytes()).unwrap();
        let wrapped = WrappedKey { to: ours.key_id(), bytes };
        let refused = unwrap(&ours, &CLUSTER, &alice, &bob, &wrapped).err();
        assert_eq!(refused, Some(Rf1Error::Unwrap));
        assert_eq!(ConversationKey::from_bytes(&[7; 33]).err(), Some(Rf1Error::Length(33)));
    }

    #[test]
    fn nothing_is_wrapped_to_a_key_we_do_not_accept() {
        let id = testkeys::identity(0).key_id();
        let refused = wrap(&ConversationKey::generate(), &CLUSTER, &id, &id, b"no key").err();
        assert_eq!(refused, Some(Rf1Error::RecipientKey(KeyError::NotAPublicKey)));
    }

    #[test]
    fn a_key_id_depends_on_key_and_cluster() {
        let key = ConversationKey::from_bytes(&[1; 32]).unwrap();
        let other = ConversationKey::from_bytes(&[2; 32]).unwrap();
        assert_eq!(key.key_id(&CLUSTER), key.clone().key_id(&CLUSTER));
        assert_ne!(key.key_id(&CLUSTER), other.key_id(&CLUSTER));
        assert_ne!(key.key_id(&CLUSTER), key.key_id(&ClusterId([2; 32])));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = ConversationKey::from_bytes(&[9; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "ConversationKey { .. }");
    }
}
