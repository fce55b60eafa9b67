//! Encrypted PEM of private keys: PKCS#8, PBES2, scrypt and AES-256-CBC.
//!
//! Deliberately reads no unencrypted key, and no file whose stretching would cost more than our
//! bounds: a hostile one could otherwise take all memory before its passphrase is even tried.

use pkcs8::der::Decode;
use pkcs8::der::pem::{LineEnding, PemLabel};
use pkcs8::pkcs5::EncryptionScheme as Scheme;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, ScryptParams};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use rsa::rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::identity::KeyError;

/// scrypt's N of the files we write: the most that OpenSSL opens with its default memory bound.
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
const SCRYPT_P: u16 = 5;

/// Bytes of memory that reading a file may cost.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest `p` of a file: the time is `p` passes over that memory.
const SCRYPT_P_MAX: u16 = 16;
/// Most rounds of PBKDF2 in a file.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;
/// Bytes of a PEM file. An RSA-4096 key takes under 4 KiB.
const PEM_BYTES_MAX: usize = 32 * 1024;

/// Encrypts a PKCS#8 document under a passphrase.
pub(super) fn seal(pkcs8: &[u8], passphrase: &str) -> Result<Zeroizing<String>, KeyError> {
    let info = PrivateKeyInfo::try_from(pkcs8).map_err(|_| KeyError::NotAPrivateKey)?;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    OsRng.fill_bytes(&mut salt);
    OsRng.fill_bytes(&mut iv);
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: &salt,
        cost_parameter: SCRYPT_N,
        block_size: SCRYPT_R,
        parallelization: SCRYPT_P,
        key_length: None,
    });
    let encryption = EncryptionScheme::Aes256Cbc { iv: &iv };
    info.encrypt_with_params(Parameters { kdf, encryption }, passphrase)
        .ok()
        .and_then(|sealed| sealed.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).ok())
        .ok_or(KeyError::NotAPrivateKey)
}

/// Decrypts an encrypted PEM to its PKCS#8 document, after judging what that costs.
pub(super) fn open(pem: &str, passphrase: &str) -> Result<SecretDocument, KeyError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(KeyError::NotPem);
    }
    let (label, sealed) = SecretDocument::from_pem(pem.trim()).map_err(|_| KeyError::NotPem)?;
    match label {
        EncryptedPrivateKeyInfo::PEM_LABEL => {}
        PrivateKeyInfo::PEM_LABEL | "RSA PRIVATE KEY" => return Err(KeyError::NotEncrypted),
        _other => return Err(KeyError::NotPem),
    }
    let sealed = EncryptedPrivateKeyInfo::from_der(sealed.as_bytes())
        .map_err(|_| KeyError::UnknownScheme)?;
    let Scheme::Pbes2(parameters) = &sealed.encryption_algorithm else {
        return Err(KeyError::UnknownScheme);
    };
    judge_cost(&parameters.kdf)?;
    let opened = sealed.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
    // A wrong passphrase passes the padding of the cipher once in 256 times.
    PrivateKeyInfo::try_from(opened.as_bytes()).map_err(|_| KeyError::WrongPassphrase)?;
    Ok(opened)
}

fn judge_cost(kdf: &Kdf<'_>) -> Result<(), KeyError> {
    match kdf {
        Kdf::Scrypt(scrypt) => {
            let (n, r) = (scrypt.cost_parameter, u64::from(scrypt.block_size));
            let bytes = n.saturating_mul(128).saturating_mul(r);
            let p = scrypt.parallelization;
            if bytes > SCRYPT_BYTES_MAX || p > SCRYPT_P_MAX {
                return Err(KeyError::TooCostly);
            }
            if !n.is_power_of_two() || n < 2 || r == 0 || p == 0 {
                return Err(KeyError::UnknownScheme);
            }
            Ok(())
        }
        Kdf::Pbkdf2(pbkdf2) if pbkdf2.iteration_count > PBKDF2_ROUNDS_MAX => {
            Err(KeyError::TooCostly)
        }
        Kdf::Pbkdf2(_) => Ok(()),
        _foreign => Err(KeyError::UnknownScheme),
    }
}
