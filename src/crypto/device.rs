//! Device keys: Ed25519, one per client profile. They sign envelopes and resumed logins.
//!
//! Deliberately without any list of devices: which key belongs to whom is the bundle's business.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rsa::rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::context::{ANY_SUITE, Context};
use crate::types::{ClusterId, DeviceId, ServerId, UserName};

/// A signature that does not fit its key and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct SignatureError;

/// The private key of a device. Cleared from memory when dropped.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// Makes a key from the system generator.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key with this seed (the 32-byte private key of RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be stored sealed.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key, as it stands in a bundle.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs the resumption of a session; see [`ResumeClaim`].
    pub fn sign_resume(&self, claim: &ResumeClaim<'_>) -> [u8; 64] {
        self.sign(&claim.context())
    }

    pub(super) fn sign(&self, context: &Context) -> [u8; 64] {
        self.0.sign(context.bytes()).to_bytes()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKey").finish_non_exhaustive()
    }
}

/// What a device signs to log in without a password: to this edge, once (the home takes a `count`
/// only if it is greater than the last).
#[derive(Clone, Copy, Debug)]
pub struct ResumeClaim<'a> {
    /// The cluster logged in to.
    pub cluster: &'a ClusterId,
    /// The edge that is asked, so that it cannot use the signature at another.
    pub server: &'a ServerId,
    /// Whose session.
    pub user: &'a UserName,
    /// Which device.
    pub device: DeviceId,
    /// Strictly greater than any this device used before.
    pub count: u64,
}

impl ResumeClaim<'_> {
    fn context(&self) -> Context {
        Context::new(ANY_SUITE, "resume", self.cluster)
            .name(self.server.as_str())
            .name(self.user.as_str())
            .number(self.device.0)
            .number(self.count)
    }
}

/// Checks what [`DeviceKey::sign_resume`] made. Whether the device is active and the count new is
/// the caller's to check.
///
/// # Errors
/// [`SignatureError`] for anything but 64 bytes that fit a sound public key.
pub fn verify_resume(
    claim: &ResumeClaim<'_>,
    public: &[u8; 32],
    signature: &[u8],
) -> Result<(), SignatureError> {
    verify(&claim.context(), public, signature)
}

pub(super) fn verify(
    context: &Context,
    public: &[u8; 32],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| SignatureError)?;
    let signature = Signature::from_slice(signature).map_err(|_| SignatureError)?;
    // Strict: one signature has one encoding, and keys of small order fit nothing.
    key.verify_strict(context.bytes(), &signature).map_err(|_| SignatureError)
}

/// Whether these bytes are a point of the curve whose signatures bind to one text.
pub(super) fn is_sound(public: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(public).is_ok_and(|key| !key.is_weak())
}
