//! Safety numbers: 60 digits that two people compare to know that nobody swapped their keys.
//!
//! Deliberately the same on both screens, whoever asks.

use std::fmt;

use sha2::{Digest, Sha512};

use crate::types::UserName;

/// Repetitions of SHA-512 after the first, so that a look-alike number is dear to search for.
const ROUNDS: usize = 5_199;
/// Groups of five digits per person.
const GROUPS: usize = 6;

/// Sixty digits over two people's names and identity keys. Prints as 12 groups of 5.
#[derive(Clone, PartialEq, Eq)]
pub struct SafetyNumber([[u32; GROUPS]; 2]);

impl SafetyNumber {
    /// The 60 digits without spaces, as a QR code carries them.
    pub fn digits(&self) -> String {
        self.0.iter().flatten().map(|group| format!("{group:05}")).collect()
    }
}

impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.0.iter().flatten().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{group:05}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafetyNumber({self})")
    }
}

/// The safety number of two people, each given as name and SPKI DER of the identity key. Takes
/// some 10 ms.
pub fn safety_number(a: (&UserName, &[u8]), b: (&UserName, &[u8])) -> SafetyNumber {
    let mut halves = [half(a.0, a.1), half(b.0, b.1)];
    halves.sort_unstable();
    SafetyNumber(halves)
}

fn half(user: &UserName, spki: &[u8]) -> [u32; GROUPS] {
    let mut hash = Sha512::new()
        .chain_update([0x00, 0x01])
        .chain_update(spki)
        .chain_update(user.as_str())
        .finalize();
    for _ in 0..ROUNDS {
        hash = Sha512::new().chain_update(hash).chain_update(spki).finalize();
    }
    let mut groups = [0; GROUPS];
    for (group, bytes) in groups.iter_mut().zip(hash.as_slice().as_chunks::<5>().0) {
        let number = bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        *group = (number % 100_000) as u32;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_people_see_the_same_60_digits() {
        let alice = UserName::canonical("alice").unwrap();
        let bob = UserName::canonical("bob").unwrap();
        let number = safety_number((&alice, b"key a"), (&bob, b"key b"));
        assert_eq!(number, safety_number((&bob, b"key b"), (&alice, b"key a")));
        let shown = number.to_string();
        assert_eq!(shown.split(' ').count(), 12);
        assert!(shown.split(' ').all(|group| group.len() == 5));
        assert_eq!(number.digits(), shown.replace(' ', ""));
    }

    #[test]
    fn another_key_or_name_gives_another_number() {
        let alice = UserName::canonical("alice").unwrap();
        let bob = UserName::canonical("bob").unwrap();
        let number = safety_number((&alice, b"key a"), (&bob, b"key b"));
        assert_ne!(number, safety_number((&alice, b"key c"), (&bob, b"key b")));
        assert_ne!(number, safety_number((&alice, b"key b"), (&bob, b"key a")));
        let bobby = UserName::canonical("bobby").unwrap();
        assert_ne!(number, safety_number((&alice, b"key a"), (&bobby, b"key b")));
    }
}
