//! Invitations to a group: what a link or a password yields, and the proof of it.
//!
//! A secret of 128 random bits, or a password stretched with the group's id, yields an Ed25519 key
//! that proves the invitation and a key that opens the group's key. Neither secret nor keys ever go
//! to a server: only the public half and signatures do.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use rsa::rand_core::{OsRng, RngCore};
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::context::{ANY_SUITE, Context};
use super::device::{self, DeviceKey, SignatureError};
use super::fernet_raw;
use super::group::GroupKey;
use super::operation::InvitedKey;
use super::secret::{SecretError, StretchCost};
use crate::types::{ClusterId, DeviceId, GroupId, UserName};

/// What a link holds, or what comes out of a password. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret(Vec<u8>);

impl InviteSecret {
    /// Bytes of a link's secret.
    pub const BYTES: usize = 16;

    /// 128 random bits from the system generator.
    pub fn generate() -> Self {
        let mut secret = vec![0; Self::BYTES];
        OsRng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// Takes what [`Self::as_bytes`] gave for a link.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES).then(|| Self(bytes.to_vec()))
    }

    /// For a link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Stretches a group's password (NFC) with the group's id.
    ///
    /// [`StretchCost::Full`] takes 64 MiB and 0.15 s: not for an async thread.
    ///
    /// # Errors
    /// [`SecretError::PasswordTooLong`], or [`SecretError::OutOfMemory`].
    pub fn of_password(
        password: &str,
        group: &GroupId,
        cost: StretchCost,
    ) -> Result<Self, SecretError> {
        super::secret::check_length(password)?;
        let password = Zeroizing::new(password.nfc().collect::<String>());
        let (kib, passes) = cost.parameters();
        let mut stretched = Zeroizing::new([0; 32]);
        Params::new(kib, passes, 1, Some(stretched.len()))
            .and_then(|params| {
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                    password.as_bytes(),
                    &group.0,
                    stretched.as_mut(),
                )
            })
            .map_err(|_| SecretError::OutOfMemory)?;
        Ok(Self(stretched.to_vec()))
    }

    /// The keys that it yields, for one group of one cluster.
    pub fn invite_key(&self, cluster: &ClusterId, group: &GroupId) -> InviteKey {
        let seed = self.expand("invite-key", cluster, group);
        InviteKey {
            sign: DeviceKey::from_seed(&seed),
            wrap: WrapKey(*self.expand("invite-wrap", cluster, group)),
        }
    }

    fn expand(&self, purpose: &str, cluster: &ClusterId, group: &GroupId) -> Zeroizing<[u8; 32]> {
        let info = Context::new(ANY_SUITE, purpose, cluster).fixed(&group.0);
        let mut out = Zeroizing::new([0; 32]);
        #[expect(
            clippy::expect_used,
            reason = "HKDF-SHA256 yields up to 8160 bytes; we ask for 32"
        )]
        Hkdf::<Sha256>::new(None, &self.0).expand(info.bytes(), out.as_mut()).expect("32 bytes");
        out
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteSecret").finish_non_exhaustive()
    }
}

/// The key that opens the group's key for who was invited. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct WrapKey([u8; 32]);

impl fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapKey").finish_non_exhaustive()
    }
}

impl WrapKey {
    /// What the chain holds for this invitation under `key`.
    pub fn wrap(&self, invite: [u8; 32], key: &GroupKey) -> InvitedKey {
        InvitedKey {
            invite,
            sealed_wrap_key: fernet_raw::seal(key.as_bytes(), &self.0).into(),
            wrapped_key: fernet_raw::seal(&self.0, key.as_bytes()).into(),
        }
    }

    /// The wrap key of an invitation, as a member who has the group's key reads it.
    pub fn unseal(invited: &InvitedKey, key: &GroupKey) -> Option<Self> {
        let bytes = fernet_raw::open(key.as_bytes(), &invited.sealed_wrap_key)?;
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// The group's key, as who was invited reads it. It counts only if it fits the commitment of
    /// its epoch.
    pub fn unwrap(&self, invited: &InvitedKey) -> Option<GroupKey> {
        let bytes = fernet_raw::open(&self.0, &invited.wrapped_key)?;
        GroupKey::from_bytes(&bytes)
    }
}

/// What proves an invitation, and what it opens.
#[derive(Clone, Debug)]
pub struct InviteKey {
    sign: DeviceKey,
    /// Opens the group's key.
    pub wrap: WrapKey,
}

impl InviteKey {
    /// How the invitation stands in the chain.
    pub fn public(&self) -> [u8; 32] {
        self.sign.public()
    }

    /// Proves the invitation to the group's home, over its nonce.
    pub fn prove(&self, claim: &InviteClaim<'_>) -> [u8; 64] {
        self.sign.sign(&claim.context())
    }

    pub(super) fn sign(&self, context: &Context) -> [u8; 64] {
        self.sign.sign(context)
    }
}

/// What an invitation's key signs so that the group's home shows the chain.
#[derive(Clone, Copy, Debug)]
pub struct InviteClaim<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// Which group.
    pub group: &'a GroupId,
    /// From the home, for this session.
    pub nonce: &'a [u8; 32],
    /// Who wants to join.
    pub user: &'a UserName,
    /// With which device.
    pub device: DeviceId,
}

impl InviteClaim<'_> {
    fn context(&self) -> Context {
        Context::new(ANY_SUITE, "invite-proof", self.cluster)
            .fixed(&self.group.0)
            .fixed(self.nonce)
            .name(self.user.as_str())
            .number(self.device.0)
    }
}

/// Checks what [`InviteKey::prove`] made. Whether the invitation lives is the caller's to check.
///
/// # Errors
/// [`SignatureError`] for anything but 64 bytes that fit a sound public key.
pub fn verify_invite(
    claim: &InviteClaim<'_>,
    public: &[u8; 32],
    signature: &[u8],
) -> Result<(), SignatureError> {
    device::verify(&claim.context(), public, signature)
}
