//! How logs name people: not at all, by a keyed hash, or plainly where the operator asked for that.
//!
//! The hash is the same in every log of one cluster, so that lines about one person can be put
//! together; without the key nobody can go from a name to its hash. Deliberately not reversible.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::types::{UserName, hex};

/// Bytes of the hash that are shown: enough to tell the users of a cluster apart.
const SHOWN_BYTES: usize = 6;
/// Keeps these hashes apart from whatever else is made with the same key.
const PURPOSE: &[u8] = b"fastchat-log-name-v1";

/// How the logs of a process name people. Cheap to clone.
#[derive(Clone, Default)]
pub enum Names {
    /// Not at all.
    #[default]
    Hidden,
    /// By a hash under this key.
    Hashed(Arc<[u8; 32]>),
    /// As they are.
    Plain,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hidden => "Hidden",
            Self::Hashed(_) => "Hashed",
            Self::Plain => "Plain",
        })
    }
}

impl Names {
    /// The name as a log may show it. Nothing is computed unless the line is written.
    pub fn of<'a>(&'a self, user: &'a UserName) -> Shown<'a> {
        Shown { names: self, user }
    }
}

/// A name on its way into a log line.
pub struct Shown<'a> {
    names: &'a Names,
    user: &'a UserName,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names {
            Names::Hidden => f.write_str("u-"),
            Names::Plain => f.write_str(self.user.as_str()),
            Names::Hashed(key) => {
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_slice()) else {
                    return f.write_str("u-");
                };
                mac.update(PURPOSE);
                mac.update(self.user.as_str().as_bytes());
                let code = mac.finalize().into_bytes();
                let shown: Vec<u8> = code.iter().copied().take(SHOWN_BYTES).collect();
                write!(f, "u-{}", hex(&shown))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_for_the_same_name_and_key_only_and_never_the_name() {
        let (alice, bob) =
            (UserName::canonical("alice").unwrap(), UserName::canonical("bob").unwrap());
        let (one, other) = (Names::Hashed(Arc::new([1; 32])), Names::Hashed(Arc::new([2; 32])));
        let shown = one.of(&alice).to_string();
        assert_eq!(shown, one.of(&alice).to_string());
        assert_ne!(shown, one.of(&bob).to_string());
        assert_ne!(shown, other.of(&alice).to_string());
        assert!(!shown.contains("alice") && shown.len() == 2 + 2 * SHOWN_BYTES, "{shown}");
        assert_eq!(Names::default().of(&alice).to_string(), "u-");
        assert_eq!(Names::Plain.of(&alice).to_string(), "alice");
    }
}
