//! RSA keys: the identity key, which signs bundles, and the encryption key, to which conversation
//! keys are wrapped. Two types, so that neither can do the other's work.
//!
//! The `rsa` crate makes keys and reads public ones. Whatever touches a private key afterwards is
//! done by aws-lc in constant time (RUSTSEC-2023-0071). Deliberately no file is read here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey,
};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::device::SignatureError;
use super::pem;
use crate::types::KeyId;

/// Bits of the keys we make.
const BITS_MADE: usize = 3072;
/// Bits of the keys we accept.
const BITS_ACCEPTED: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The one public exponent we accept.
const EXPONENT: u32 = 65_537;

/// Why something is not a key we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not one PEM block of a private key.
    #[error("not a PEM file of a private key")]
    NotPem,
    /// A private key that lies open.
    #[error("the private key is not encrypted, expected an encrypted one")]
    NotEncrypted,
    /// Encrypted in a way other than PBES2 with scrypt or PBKDF2 and AES-CBC.
    #[error("the file is encrypted in an unknown way, expected PBES2 with scrypt or PBKDF2")]
    UnknownScheme,
    /// Stretching the passphrase would take more memory or time than we grant a file.
    #[error("opening the file would cost more than 256 MiB or 10,000,000 rounds")]
    TooCostly,
    /// The passphrase does not open the file, or the file is damaged.
    #[error("the passphrase does not open this key")]
    WrongPassphrase,
    /// Not an RSA private key in PKCS#8.
    #[error("not an RSA private key in PKCS#8")]
    NotAPrivateKey,
    /// Not an RSA public key in a canonical SubjectPublicKeyInfo.
    #[error("not an RSA public key in canonical DER")]
    NotAPublicKey,
    /// A modulus outside 2048 to 4096 bits.
    #[error("an RSA key of {0} bits, expected 2048 to 4096")]
    Size(usize),
    /// A public exponent other than 65537.
    #[error("an RSA key whose public exponent is not 65537")]
    Exponent,
    /// The system could not make a key.
    #[error("no key could be made")]
    Generate,
}

/// Judges a public key: canonical DER, 2048 to 4096 bits, e = 65537.
///
/// Canonical, because a key has one id: the hash of these bytes.
pub(super) fn check_public(spki: &[u8]) -> Result<(), KeyError> {
    let key = RsaPublicKey::from_public_key_der(spki).map_err(|_| KeyError::NotAPublicKey)?;
    let bits = key.n().bits();
    if !BITS_ACCEPTED.contains(&bits) {
        return Err(KeyError::Size(bits));
    }
    if *key.e() != EXPONENT.into() {
        return Err(KeyError::Exponent);
    }
    let canonical = key.to_public_key_der().map_err(|_| KeyError::NotAPublicKey)?;
    if canonical.as_bytes() != spki {
        return Err(KeyError::NotAPublicKey);
    }
    Ok(())
}

fn generate_pkcs8() -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = RsaPrivateKey::new(&mut OsRng, BITS_MADE).map_err(|_| KeyError::Generate)?;
    let document = key.to_pkcs8_der().map_err(|_| KeyError::Generate)?;
    Ok(document.to_bytes())
}

/// What is wrong with a key that aws-lc does not take: mostly its size.
fn why_refused(pkcs8: &[u8]) -> KeyError {
    RsaPrivateKey::from_pkcs8_der(pkcs8)
        .ok()
        .and_then(|key| key.to_public_key().to_public_key_der().ok())
        .and_then(|spki| check_public(spki.as_bytes()).err())
        .unwrap_or(KeyError::NotAPrivateKey)
}

/// The long-lived key of a person: signs bundles (RSA-PSS-SHA256) and nothing else. Its id is the
/// person's fingerprint. Cheap to clone.
#[derive(Clone)]
pub struct IdentityKey(Arc<Identity>);

struct Identity {
    pair: KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

/// The key to which others wrap conversation keys (RSA-OAEP-SHA256) and nothing else. Cheap to
/// clone.
#[derive(Clone)]
pub struct EncryptionKey(Arc<Encryption>);

struct Encryption {
    oaep: OaepPrivateDecryptingKey,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

impl IdentityKey {
    /// Reads a PKCS#8 document.
    ///
    /// # Errors
    /// [`KeyError`] unless it is an RSA key of an accepted size and exponent.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8(pkcs8).map_err(|_| why_refused(pkcs8))?;
        let spki: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| KeyError::NotAPrivateKey)?;
        check_public(spki.as_ref())?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotAPrivateKey)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let spki = spki.as_ref().to_vec();
        Ok(Self(Arc::new(Identity { pair, pkcs8, spki })))
    }

    /// RSA-PSS-SHA256, MGF1-SHA256, salt of 32 bytes.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let mut signature = vec![0; self.0.pair.public_modulus_len()];
        self.0
            .pair
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), text, &mut signature)
            .map_err(|_| SignatureError)?;
        Ok(signature)
    }
}

/// Checks what [`IdentityKey::sign`] made. The key must have passed [`check_public`].
pub(super) fn verify_pss(spki: &[u8], text: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, spki)
        .verify(text, signature)
        .map_err(|_| SignatureError)
}

impl EncryptionKey {
    /// Reads a PKCS#8 document.
    ///
    /// # Errors
    /// [`KeyError`] unless it is an RSA key of an accepted size and exponent.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| why_refused(pkcs8))?;
        let spki: PublicKeyX509Der<'_> =
            key.public_key().as_der().map_err(|_| KeyError::NotAPrivateKey)?;
        check_public(spki.as_ref())?;
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError::NotAPrivateKey)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let oaep = OaepPrivateDecryptingKey::new(key).map_err(|_| KeyError::NotAPrivateKey)?;
        let spki = spki.as_ref().to_vec();
        Ok(Self(Arc::new(Encryption { oaep, pkcs8, spki })))
    }

    /// RSA-OAEP, SHA-256 and MGF1-SHA256. `None` for whatever reason: the reason is an oracle.
    pub(super) fn decrypt(&self, sealed: &[u8], label: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; self.0.oaep.min_output_size()]);
        let length =
            self.0.oaep.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut out, Some(label)).ok()?.len();
        out.truncate(length);
        Some(out)
    }
}

/// RSA-OAEP, SHA-256 and MGF1-SHA256, to a public key that is judged first.
pub(super) fn encrypt_oaep(spki: &[u8], secret: &[u8], label: &[u8]) -> Result<Vec<u8>, KeyError> {
    check_public(spki)?;
    let key = PublicEncryptingKey::from_der(spki)
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into))
        .map_err(|_| KeyError::NotAPublicKey)?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut sealed, Some(label))
        .map_err(|_| KeyError::NotAPublicKey)?
        .len();
    sealed.truncate(length);
    Ok(sealed)
}

macro_rules! shared_by_both_keys {
    ($($key:ident),*) => {$(
        impl $key {
            /// Makes an RSA-3072 key. Takes 0.3 to 1.2 s: not for an async thread.
            ///
            /// # Errors
            /// [`KeyError::Generate`] when the system cannot.
            pub fn generate() -> Result<Self, KeyError> {
                Self::from_pkcs8(&generate_pkcs8()?)
            }

            /// Reads what [`Self::to_pem`] or `openssl` wrote: PBES2 with scrypt or PBKDF2.
            ///
            /// # Errors
            /// [`KeyError`] says whether file, cost, passphrase or key is at fault. A file that
            /// would cost over 256 MiB or 10,000,000 rounds is refused before it is tried.
            pub fn from_pem(text: &str, passphrase: &str) -> Result<Self, KeyError> {
                Self::from_pkcs8(pem::open(text, passphrase)?.as_bytes())
            }

            /// The key as PKCS#8 PEM encrypted under a passphrase (PBES2, scrypt N=2^14 r=8 p=5,
            /// AES-256-CBC), which `openssl pkey` opens. Takes about 0.2 s.
            ///
            /// # Errors
            /// [`KeyError::NotAPrivateKey`] when the key cannot be encoded.
            pub fn to_pem(&self, passphrase: &str) -> Result<Zeroizing<String>, KeyError> {
                pem::seal(&self.0.pkcs8, passphrase)
            }

            /// The key as a PKCS#8 document, in the clear.
            pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
                self.0.pkcs8.clone()
            }

            /// The public half: SubjectPublicKeyInfo in DER.
            pub fn spki(&self) -> &[u8] {
                &self.0.spki
            }

            /// SHA-256 of [`Self::spki`].
            pub fn key_id(&self) -> KeyId {
                KeyId::of_spki(self.spki())
            }
        }

        impl fmt::Debug for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($key)).field(&self.key_id()).finish()
            }
        }
    )*};
}
shared_by_both_keys!(IdentityKey, EncryptionKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testkeys;
    use rsa::BigUint;

    fn spki_of(n: BigUint, e: u32) -> Vec<u8> {
        RsaPublicKey::new_unchecked(n, e.into()).to_public_key_der().unwrap().as_bytes().to_vec()
    }

    #[test]
    fn keys_of_2048_to_4096_bits_are_taken_and_no_others() {
        for (bits, verdict) in [
            (1024, Err(KeyError::Size(1024))),
            (2047, Err(KeyError::Size(2047))),
            (2048, Ok(())),
            (3072, Ok(())),
            (4096, Ok(())),
            (4097, Err(KeyError::NotAPublicKey)),
        ] {
            let n = (BigUint::from(1_u8) << (bits - 1)) + 1_u8;
            assert_eq!(check_public(&spki_of(n, EXPONENT)), verdict, "{bits}");
        }
    }

    #[test]
    fn an_exponent_other_than_65537_is_refused() {
        let n = (BigUint::from(1_u8) << 3071) + 1_u8;
        for e in [3, 17, 65_539] {
            assert_eq!(check_public(&spki_of(n.clone(), e)), Err(KeyError::Exponent), "{e}");
        }
    }

    #[test]
    fn a_public_key_has_one_encoding_only() {
        let spki = testkeys::identity(0).spki().to_vec();
        assert_eq!(check_public(&spki), Ok(()));
        let longer = [spki.as_slice(), &[0]].concat();
        assert_eq!(check_public(&longer), Err(KeyError::NotAPublicKey));
        // The algorithm without its NULL: 2 bytes shorter, in both lengths around it.
        let mut without = spki;
        without.drain(17..19);
        without[3] -= 2;
        without[5] -= 2;
        assert_eq!(check_public(&without), Err(KeyError::NotAPublicKey));
        assert_eq!(check_public(&[]), Err(KeyError::NotAPublicKey));
    }

    #[test]
    fn made_keys_have_3072_bits_and_come_back_from_pkcs8() {
        let key = IdentityKey::generate().unwrap();
        assert_eq!(RsaPublicKey::from_public_key_der(key.spki()).unwrap().n().bits(), 3072);
        let again = IdentityKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(again.key_id(), key.key_id());
        let other_job = EncryptionKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(*other_job.to_pkcs8(), *key.to_pkcs8());
    }

    #[test]
    fn a_private_key_that_is_too_small_is_refused_by_its_size() {
        let small = RsaPrivateKey::new(&mut OsRng, 1024).unwrap().to_pkcs8_der().unwrap();
        let refused = IdentityKey::from_pkcs8(small.as_bytes()).err();
        assert_eq!(refused, Some(KeyError::Size(1024)));
        let refused = EncryptionKey::from_pkcs8(small.as_bytes()).err();
        assert_eq!(refused, Some(KeyError::Size(1024)));
        assert_eq!(IdentityKey::from_pkcs8(b"x").err(), Some(KeyError::NotAPrivateKey));
    }

    #[test]
    fn a_signature_fits_its_text_and_key_only() {
        let (key, other) = (testkeys::identity(0), testkeys::identity(1));
        let signature = key.sign(b"text").unwrap();
        assert_eq!(verify_pss(key.spki(), b"text", &signature), Ok(()));
        assert_eq!(verify_pss(key.spki(), b"texT", &signature), Err(SignatureError));
        assert_eq!(verify_pss(other.spki(), b"text", &signature), Err(SignatureError));
    }

    #[test]
    fn what_is_encrypted_opens_under_its_label_and_key_only() {
        let (key, other) = (testkeys::encryption(0), testkeys::encryption(1));
        let mut sealed = encrypt_oaep(key.spki(), b"secret", b"label").unwrap();
        assert_eq!(key.decrypt(&sealed, b"label").unwrap().as_slice(), b"secret");
        assert!(key.decrypt(&sealed, b"lable").is_none());
        assert!(other.decrypt(&sealed, b"label").is_none());
        sealed[100] ^= 1;
        assert!(key.decrypt(&sealed, b"label").is_none());
        assert!(key.decrypt(b"short", b"label").is_none());
    }

    #[test]
    fn debug_shows_the_key_id_and_nothing_else() {
        let identity = testkeys::identity(0);
        let shown = format!("{identity:?}");
        assert_eq!(shown, format!("IdentityKey({})", identity.key_id()));
        let encryption = testkeys::encryption(0);
        let shown = format!("{encryption:?}");
        assert_eq!(shown, format!("EncryptionKey({})", encryption.key_id()));
    }
}
