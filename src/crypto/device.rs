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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::hex;

    #[test]
    fn a_resume_fits_one_edge_user_device_and_count_only() {
        let key = DeviceKey::from_seed(&[9; 32]);
        let (cluster, elsewhere) = (ClusterId([1; 32]), ClusterId([2; 32]));
        let (s1, s2) = (ServerId::numbered(1), ServerId::numbered(2));
        let (alice, bob) =
            (UserName::canonical("alice").unwrap(), UserName::canonical("bob").unwrap());
        let claim = ResumeClaim {
            cluster: &cluster,
            server: &s1,
            user: &alice,
            device: DeviceId(5),
            count: 7,
        };
        let signature = key.sign_resume(&claim);
        assert_eq!(verify_resume(&claim, &key.public(), &signature), Ok(()));
        for other in [
            ResumeClaim { cluster: &elsewhere, ..claim },
            ResumeClaim { server: &s2, ..claim },
            ResumeClaim { user: &bob, ..claim },
            ResumeClaim { device: DeviceId(6), ..claim },
            ResumeClaim { count: 8, ..claim },
        ] {
            let verdict = verify_resume(&other, &key.public(), &signature);
            assert_eq!(verdict, Err(SignatureError), "{other:?}");
        }
        let other_key = DeviceKey::generate().public();
        assert_eq!(verify_resume(&claim, &other_key, &signature), Err(SignatureError));
        assert_eq!(verify_resume(&claim, &key.public(), &signature[1..]), Err(SignatureError));
        assert_eq!(verify_resume(&claim, &key.public(), &[]), Err(SignatureError));
    }

    #[test]
    fn keys_of_small_order_and_bytes_that_are_no_point_are_not_sound() {
        assert!(is_sound(&DeviceKey::generate().public()));
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(!is_sound(&neutral));
        assert!(!is_sound(&[0; 32]));
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(!is_sound(&no_point));
    }

    #[test]
    fn a_key_comes_back_from_its_seed() {
        let key = DeviceKey::generate();
        assert_eq!(DeviceKey::from_seed(&key.seed()).public(), key.public());
        // RFC 8032, section 7.1, test 1.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed: [u8; 32] = crate::types::unhex(seed).unwrap().try_into().unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex(&DeviceKey::from_seed(&seed).public()), public);
    }

    #[test]
    fn debug_shows_no_seed() {
        assert_eq!(format!("{:?}", DeviceKey::from_seed(&[9; 32])), "DeviceKey { .. }");
    }
}
