//! Fernet with tokens as bytes: base64 stays inside, and no clock is read.
//!
//! The time field of every token is 0. A token from a fast clock would be refused by readers, and
//! the time of sending would lie open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use fernet::Fernet;
use zeroize::Zeroizing;

fn fernet(key: &[u8; 32]) -> Fernet {
    let text = Zeroizing::new(URL_SAFE.encode(key));
    #[expect(clippy::expect_used, reason = "the base64 of 32 bytes is the one thing it takes")]
    Fernet::new(&text).expect("32 bytes are a Fernet key")
}

/// Encrypts under the key; the token is decoded from its base64. Adds 58 to 73 bytes.
pub(super) fn seal(key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    let token = fernet(key).encrypt_at_time(plain, 0);
    #[expect(clippy::expect_used, reason = "the Fernet specification makes every token base64")]
    URL_SAFE.decode(token).expect("a token is base64")
}

/// Decrypts a decoded token. `None` when it was not made under this key, or was altered.
pub(super) fn open(key: &[u8; 32], token: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    fernet(key).decrypt_at_time(&URL_SAFE.encode(token), None, 0).ok().map(Zeroizing::new)
}
