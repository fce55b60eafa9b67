//! RSA keys that everybody knows, for tests and the simulator: making real ones is slow, and a
//! seeded run must not depend on them. They do not exist in release builds.

use std::sync::OnceLock;

use pkcs8::SecretDocument;

use super::identity::{EncryptionKey, IdentityKey};

/// How many different keys of each kind there are.
pub const COUNT: usize = 16;

static IDENTITY: &str = include_str!("../testkit/keys/identity.pem");
static ENCRYPTION: &str = include_str!("../testkit/keys/encryption.pem");

/// The identity key with this number, modulo [`COUNT`].
#[expect(clippy::expect_used, reason = "the keys are committed and read by a test")]
pub fn identity(number: usize) -> IdentityKey {
    static KEYS: [OnceLock<IdentityKey>; COUNT] = [const { OnceLock::new() }; COUNT];
    let key = KEYS.get(number % COUNT).expect("below COUNT");
    key.get_or_init(|| {
        IdentityKey::from_pkcs8(block(IDENTITY, number).as_bytes()).expect("a usable key")
    })
    .clone()
}

/// The encryption key with this number, modulo [`COUNT`].
#[expect(clippy::expect_used, reason = "the keys are committed and read by a test")]
pub fn encryption(number: usize) -> EncryptionKey {
    static KEYS: [OnceLock<EncryptionKey>; COUNT] = [const { OnceLock::new() }; COUNT];
    let key = KEYS.get(number % COUNT).expect("below COUNT");
    key.get_or_init(|| {
        EncryptionKey::from_pkcs8(block(ENCRYPTION, number).as_bytes()).expect("a usable key")
    })
    .clone()
}

#[expect(clippy::expect_used, reason = "the keys are committed and read by a test")]
fn block(file: &str, number: usize) -> SecretDocument {
    let block = file.split_inclusive("-----END PRIVATE KEY-----\n").nth(number % COUNT);
    let (_label, key) = SecretDocument::from_pem(block.expect("one of COUNT")).expect("PEM");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_keys_are_usable_and_all_different() {
        let mut ids: Vec<_> = (0..COUNT)
            .flat_map(|number| [identity(number).key_id(), encryption(number).key_id()])
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2 * COUNT);
        assert_eq!(identity(COUNT + 3).key_id(), identity(3).key_id());
    }
}
