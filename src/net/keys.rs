//! Keys of a QUIC endpoint that must outlive its process.
//!
//! With them a restarted server answers packets of its earlier life with a stateless reset that
//! clients recognise: they notice within a round trip instead of after the idle timeout. They
//! protect no content.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};
use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use zeroize::Zeroizing;

use super::Env;
use super::files::{self, FileError};

const KEY_BYTES: usize = 32;
const FILE_BYTES: usize = 3 * KEY_BYTES;

/// Why the keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum QuicKeysError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has another length.
    #[error("{path} holds {got} bytes, expected {FILE_BYTES}")]
    Length {
        /// The file.
        path: String,
        /// Its length.
        got: usize,
    },
}

/// Stateless-reset key, connection-id key and retry-token key of one server.
#[derive(Clone)]
pub struct QuicKeys {
    bytes: Arc<Zeroizing<[u8; FILE_BYTES]>>,
}

impl fmt::Debug for QuicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuicKeys")
    }
}

impl QuicKeys {
    /// Makes new keys.
    pub fn create(env: &Env) -> Self {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        env.fill(bytes.as_mut_slice());
        Self { bytes: Arc::new(bytes) }
    }

    /// Reads `NAME.quic`.
    ///
    /// # Errors
    /// [`QuicKeysError`] names the file.
    pub fn load(dir: &Path, name: &str) -> Result<Self, QuicKeysError> {
        let path = dir.join(format!("{name}.quic"));
        let read = Zeroizing::new(files::read(&path)?);
        let bytes = <[u8; FILE_BYTES]>::try_from(read.as_slice()).map_err(|_| {
            QuicKeysError::Length { path: path.display().to_string(), got: read.len() }
        })?;
        Ok(Self { bytes: Arc::new(Zeroizing::new(bytes)) })
    }

    /// Writes `NAME.quic` (0600) into `dir`, which is created (0700) if need be.
    ///
    /// # Errors
    /// [`QuicKeysError::File`].
    pub fn save(&self, dir: &Path, name: &str) -> Result<(), QuicKeysError> {
        files::create_private_dir(dir)?;
        Ok(files::write_private(&dir.join(format!("{name}.quic")), self.bytes.as_slice())?)
    }

    /// Reads `NAME.quic`, or makes and writes it if there is none.
    ///
    /// # Errors
    /// [`QuicKeysError`]; a damaged file is never replaced.
    pub fn load_or_create(env: &Env, dir: &Path, name: &str) -> Result<Self, QuicKeysError> {
        match Self::load(dir, name) {
            Err(QuicKeysError::File(error)) if error.is_missing() => {
                let keys = Self::create(env);
                keys.save(dir, name)?;
                Ok(keys)
            }
            other => other,
        }
    }

    fn parts(&self) -> [&[u8]; 3] {
        let (reset, rest) = self.bytes.split_at(KEY_BYTES);
        let (cid, token) = rest.split_at(KEY_BYTES);
        [reset, cid, token]
    }

    pub(super) fn reset_key(&self) -> hmac::Key {
        let [reset, _, _] = self.parts();
        hmac::Key::new(hmac::HMAC_SHA256, reset)
    }

    pub(super) fn token_key(&self) -> hkdf::Prk {
        let [_, _, token] = self.parts();
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(token)
    }

    pub(super) fn cid_generator(&self, env: &Env) -> CidGenerator {
        let [_, cid, _] = self.parts();
        CidGenerator { env: env.clone(), key: hmac::Key::new(hmac::HMAC_SHA256, cid) }
    }
}

/// Makes connection ids of 4 random bytes and 4 bytes of their MAC, so that a packet that was
/// never ours costs one hash and gets no answer.
pub(super) struct CidGenerator {
    env: Env,
    key: hmac::Key,
}

const NONCE_BYTES: usize = 4;
const MAC_BYTES: usize = 4;

impl CidGenerator {
    fn mac(&self, nonce: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, nonce).as_ref().iter().copied().take(MAC_BYTES).collect()
    }
}

impl ConnectionIdGenerator for CidGenerator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE_BYTES];
        self.env.fill(&mut nonce);
        let mut id = nonce.to_vec();
        id.extend(self.mac(&nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(NONCE_BYTES) {
            Some((nonce, mac)) if self.mac(nonce) == mac => Ok(()),
            Some(_) | None => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        NONCE_BYTES + MAC_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_are_known_again_by_the_same_keys_and_by_no_other() {
        let env = Env::system();
        let keys = QuicKeys::create(&env);
        let id = keys.cid_generator(&env).generate_cid();
        assert!(keys.cid_generator(&env).validate(&id).is_ok());
        assert!(QuicKeys::create(&env).cid_generator(&env).validate(&id).is_err());
    }

    #[test]
    fn keys_are_made_once_and_a_damaged_file_is_never_replaced() {
        let env = Env::system();
        let dir = tempfile::tempdir().unwrap();
        let first = QuicKeys::load_or_create(&env, dir.path(), "s1").unwrap();
        let again = QuicKeys::load_or_create(&env, dir.path(), "s1").unwrap();
        assert_eq!(first.bytes.as_slice(), again.bytes.as_slice());
        std::fs::write(dir.path().join("s1.quic"), b"short").unwrap();
        let error = QuicKeys::load_or_create(&env, dir.path(), "s1").unwrap_err();
        assert!(matches!(error, QuicKeysError::Length { got: 5, .. }));
    }
}
