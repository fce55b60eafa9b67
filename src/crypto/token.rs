//! The Fernet tokens of files: the bytes that [`super::fernet_raw`] makes, made in place.
//!
//! The crate `fernet` goes through base64 and several copies. Messages are small and stay with it;
//! of a file that is half of what sealing costs, and two thirds of opening.
//! Deliberately no other format: the tests hold the two against each other.

use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use rsa::rand_core::{OsRng, RngCore};

/// Version and time: both are always these, see [`super::fernet_raw`].
const HEAD: [u8; 9] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0];
const IV_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// A Fernet key, ready for many tokens.
pub(super) struct TokenKey {
    signing: hmac::Key,
    encryption: [u8; 16],
}

impl Drop for TokenKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.encryption);
    }
}

impl TokenKey {
    /// The first half signs, the second encrypts.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let (mut encryption, (signing, second)) = ([0; 16], key.split_at(16));
        encryption.copy_from_slice(second);
        Self { signing: hmac::Key::new(hmac::HMAC_SHA256, signing), encryption }
    }

    fn cipher_key(&self) -> UnboundCipherKey {
        #[expect(clippy::expect_used, reason = "16 bytes are a key of AES-128")]
        UnboundCipherKey::new(&AES_128, &self.encryption).expect("16 bytes are a key")
    }

    /// Appends the token of `plain`.
    pub(super) fn seal(&self, plain: &[u8], out: &mut Vec<u8>) {
        let (token, mut iv) = (out.len(), [0; IV_BYTES]);
        OsRng.fill_bytes(&mut iv);
        out.extend_from_slice(&HEAD);
        out.extend_from_slice(&iv);
        let body = out.len();
        out.extend_from_slice(plain);
        // PKCS #7: at least one byte, and each says how many there are.
        let padding = BLOCK_BYTES - plain.len() % BLOCK_BYTES;
        out.resize(out.len() + padding, padding as u8);
        let (_, padded) = out.split_at_mut(body);
        let context = EncryptionContext::Iv128(iv.into());
        let sealed = EncryptingKey::cbc(self.cipher_key())
            .and_then(|key| key.less_safe_encrypt(padded, context));
        #[expect(clippy::expect_used, reason = "whole blocks, and an IV of one block")]
        sealed.expect("CBC takes whole blocks");
        let (_, signed) = out.split_at(token);
        let tag = hmac::sign(&self.signing, signed);
        out.extend_from_slice(tag.as_ref());
    }

    /// Appends what is in a token. `None` when it was not made under this key, or was altered;
    /// nothing is appended then.
    pub(super) fn open(&self, token: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG_BYTES)?)?;
        hmac::verify(&self.signing, signed, tag).ok()?;
        let (head, rest) = signed.split_at_checked(HEAD.len())?;
        let (iv, body) = rest.split_first_chunk::<IV_BYTES>()?;
        if head.first() != HEAD.first() {
            return None;
        }
        let from = out.len();
        out.extend_from_slice(body);
        let plain = self.decrypt(iv, out.split_at_mut(from).1);
        out.truncate(from + plain.unwrap_or_default());
        plain.map(drop)
    }

    /// In place. How many bytes are left without the padding.
    fn decrypt(&self, iv: &[u8; IV_BYTES], body: &mut [u8]) -> Option<usize> {
        let key = DecryptingKey::cbc(self.cipher_key()).ok()?;
        let plain = key.decrypt(body, DecryptionContext::Iv128(iv.into())).ok()?;
        let padding = *plain.last()?;
        let length = plain.len().checked_sub(usize::from(padding))?;
        let is_padding = plain.get(length..)?.iter().all(|byte| *byte == padding);
        (is_padding && (1..=BLOCK_BYTES).contains(&usize::from(padding))).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fernet_raw;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn what_one_seals_the_other_opens() {
        let key = TokenKey::new(&KEY);
        for length in [0_u32, 1, 15, 16, 17, 4_095, 65_536] {
            let plain: Vec<u8> = (0..length).map(|i| (i % 251).to_le_bytes()[0]).collect();
            let mut token = b"before".to_vec();
            key.seal(&plain, &mut token);
            let token = token.split_off(6);
            assert_eq!(*fernet_raw::open(&KEY, &token).unwrap(), plain, "{length}");
            let theirs = fernet_raw::seal(&KEY, &plain);
            assert_eq!((theirs.len(), &theirs[..9]), (token.len(), &token[..9]));
            let mut opened = b"before".to_vec();
            key.open(&theirs, &mut opened).unwrap();
            assert_eq!(opened, [b"before", &plain[..]].concat());
        }
    }

    #[test]
    fn no_token_is_made_twice() {
        let (key, mut one, mut other) = (TokenKey::new(&KEY), Vec::new(), Vec::new());
        key.seal(b"same", &mut one);
        key.seal(b"same", &mut other);
        assert_ne!(one, other);
    }

    #[test]
    fn another_key_another_byte_and_another_length_open_nothing() {
        let (key, mut token) = (TokenKey::new(&KEY), Vec::new());
        key.seal(&[9; 40], &mut token);
        let mut out = Vec::new();
        assert!(TokenKey::new(&[8; 32]).open(&token, &mut out).is_none());
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert!(key.open(&altered, &mut out).is_none(), "{at}");
            assert!(key.open(&token[..at], &mut out).is_none(), "{at}");
        }
        assert!(out.is_empty());
    }

    /// Signed by whoever has the key, and still no token: for each the crate says the same.
    #[test]
    fn what_is_signed_and_malformed_opens_nothing() {
        let key = TokenKey::new(&KEY);
        let sign = |mut signed: Vec<u8>| {
            let tag = hmac::sign(&key.signing, &signed);
            signed.extend_from_slice(tag.as_ref());
            signed
        };
        let mut good = Vec::new();
        key.seal(&[9; 40], &mut good);
        good.truncate(good.len() - TAG_BYTES);
        let (mut version, mut padding) = (good.clone(), good.clone());
        version[0] = 0x81;
        // In CBC the last byte of a block changes with that of the block before.
        let last = padding.len() - 17;
        padding[last] ^= 0x20;
        let cases =
            [version, padding, good[..24].to_vec(), good[..25].to_vec(), good[..40].to_vec()];
        for case in cases {
            let (token, mut out) = (sign(case), Vec::new());
            assert!(key.open(&token, &mut out).is_none() && out.is_empty(), "{token:?}");
            assert!(fernet_raw::open(&KEY, &token).is_none());
        }
        assert!(key.open(&sign(good), &mut Vec::new()).is_some());
    }
}
