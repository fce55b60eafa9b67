//! Encrypted PEM of private keys: PKCS#8, PBES2, scrypt and AES-256-CBC.
//!
//! Deliberately reads no unencrypted key, and no file whose stretching would cost more than our
//! bounds: a hostile one could otherwise take all memory before its passphrase is even tried.

use pkcs8::der::Decode;
use pkcs8::der::pem::{LineEnding, PemLabel};
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, ScryptParams};
use pkcs8::pkcs5::{EncryptionScheme as Scheme, Error as Pkcs5Error};
use pkcs8::{EncryptedPrivateKeyInfo, Error as Pkcs8Error, PrivateKeyInfo, SecretDocument};
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
    let opened = sealed.decrypt(passphrase).map_err(|error| match error {
        Pkcs8Error::EncryptedPrivateKey(
            Pkcs5Error::UnsupportedAlgorithm { .. } | Pkcs5Error::AlgorithmParametersInvalid { .. },
        ) => KeyError::UnknownScheme,
        _garbage_came_out => KeyError::WrongPassphrase,
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use pkcs8::pkcs5::pbes2::{Pbkdf2Params, Pbkdf2Prf};

    fn scrypt(n: u64, r: u16, p: u16) -> Result<(), KeyError> {
        judge_cost(&Kdf::Scrypt(ScryptParams {
            salt: b"salt",
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        }))
    }

    fn pbkdf2(iteration_count: u32) -> Result<(), KeyError> {
        judge_cost(&Kdf::Pbkdf2(Pbkdf2Params {
            salt: b"salt",
            iteration_count,
            key_length: None,
            prf: Pbkdf2Prf::HmacWithSha256,
        }))
    }

    #[test]
    fn a_file_may_cost_256_mib_16_passes_or_ten_million_rounds_and_no_more() {
        assert_eq!(scrypt(1 << 18, 8, 16), Ok(()));
        assert_eq!(scrypt(1 << 19, 8, 1), Err(KeyError::TooCostly));
        assert_eq!(scrypt(1 << 18, 9, 1), Err(KeyError::TooCostly));
        assert_eq!(scrypt(1 << 14, 8, 17), Err(KeyError::TooCostly));
        assert_eq!(scrypt(1 << 63, u16::MAX, 1), Err(KeyError::TooCostly));
        assert_eq!(pbkdf2(PBKDF2_ROUNDS_MAX), Ok(()));
        assert_eq!(pbkdf2(PBKDF2_ROUNDS_MAX + 1), Err(KeyError::TooCostly));
    }

    #[test]
    fn parameters_that_scrypt_does_not_have_are_refused() {
        for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (16, 0, 1), (16, 8, 0)] {
            assert_eq!(scrypt(n, r, p), Err(KeyError::UnknownScheme), "{n} {r} {p}");
        }
    }

    #[test]
    fn what_we_write_is_within_what_we_read() {
        assert_eq!(scrypt(SCRYPT_N, SCRYPT_R, SCRYPT_P), Ok(()));
    }
}
