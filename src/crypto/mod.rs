//! What nobody but those who talk can read: keys, bundles, envelopes, and a group's operations.
//!
//! Deliberately no IO, no clock, and no memory of what was seen before: which identity is pinned,
//! which numbers were taken and when a key is replaced is the client's business. Servers use only
//! what checks signatures of logins, bundles, operations and invitations, and [`parse_header`].
//!
//! # Concepts
//! **Every key has one job.** A person has an *identity key* ([`IdentityKey`], RSA-PSS), which
//! signs nothing but bundles and whose id is the person's fingerprint; an *encryption key*
//! ([`EncryptionKey`], RSA-OAEP), to which others wrap conversation keys; and per device a
//! *device key* ([`DeviceKey`], Ed25519), which signs every envelope and every resumed login.
//!
//! **A [`Bundle`] ties them together**, signed by the identity key. What has been checked is a type
//! of its own: only [`verify_bundle`] makes a [`VerifiedBundle`], only [`verify`] (which needs one)
//! makes a [`VerifiedEnvelope`], and only that can be [`open`]ed. So nothing is decrypted before
//! its author is certain.
//!
//! **A conversation has a key per direction**, a [`ConversationKey`] for Fernet. It travels
//! wrapped ([`wrap`]) inside the signed payload until a message that carried it has arrived.
//!
//! ```text
//!  Envelope ─┬─ header ──── suite, kind, log, author, device, n, key_id     servers read this
//!            ├─ payload ─┬─ wrapped_key ── RSA-OAEP to the recipient ─┐
//!            │           └─ token ─────── Fernet ◄── conversation key ┘
//!            │                 └─ Inner ── SHA-256(header), both fingerprints, bundle versions,
//!            │                             time, type, body, padding
//!            └─ signature ─ Ed25519 over context, SHA-256(header), SHA-256(payload)
//! ```
//!
//! **A group has a key per epoch**, a [`GroupKey`]. It never travels in the group's messages
//! ([`seal_group`], [`open_group`]): it comes wrapped in a signed [`operation`], in a direct
//! message, or out of an [`invite`], and counts only if it fits what the chain of operations says.
//!
//! # One message from Alice to Bob
//! ```
//! use fastchat::crypto::{self, testkeys, *};
//! use fastchat::types::{ClusterId, DeviceId, LogId, N, UserName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = ClusterId([7; 32]);
//! let (alice, bob) = (UserName::parse("alice")?, UserName::parse("bob")?);
//!
//! // Everybody makes three keys and publishes a bundle. (Real ones come from `generate`.)
//! let publish = |user: &UserName, number: usize, device: DeviceId, key: &DeviceKey| {
//!     let (identity, encryption) = (testkeys::identity(number), testkeys::encryption(number));
//!     Bundle {
//!         cluster,
//!         user: user.clone(),
//!         version: 1,
//!         identity_spki: identity.spki().to_vec().into(),
//!         enc_spki: encryption.spki().to_vec().into(),
//!         devices: vec![BundleDevice {
//!             device,
//!             ed25519: key.public(),
//!             state: DeviceState::Active,
//!         }],
//!         suites: vec![SUITE_RF1],
//!     }
//!     .sign(&identity)
//! };
//! let (alice_device, bob_device) = (DeviceKey::generate(), DeviceKey::generate());
//! let alice_bundle = publish(&alice, 0, DeviceId(100), &alice_device)?;
//! let bob_bundle = publish(&bob, 1, DeviceId(200), &bob_device)?;
//!
//! // Alice: check Bob's bundle, make a key for this direction, wrap it to him, seal.
//! let bob_keys = verify_bundle(&bob_bundle, &cluster, &bob)?;
//! let key = ConversationKey::generate();
//! let (from, to) = (testkeys::identity(0).key_id(), bob_keys.identity());
//! let wrapped = crypto::wrap(&key, &cluster, &from, &to, &bob_keys.enc_spki)?;
//! let envelope = crypto::seal(&SealRequest {
//!     cluster: &cluster,
//!     device_key: &alice_device,
//!     log: &LogId::Inbox(bob),
//!     author: &alice,
//!     device: DeviceId(100),
//!     n: N(1),
//!     key: &key,
//!     wrapped: Some(&wrapped),
//!     author_identity: from,
//!     recipient_identity: to,
//!     author_bundle_version: 1,
//!     recipient_bundle_version: bob_keys.version,
//!     sent_at_unix_ms: 1_700_000_000_000,
//!     body: &Body::Text("hi".to_owned()),
//! })?;
//!
//! // Servers see who, where and which number.
//! assert_eq!(crypto::parse_header(&envelope)?.n, N(1));
//!
//! // Bob: check Alice's bundle, then her signature, and only then use his private key.
//! let alice_keys = verify_bundle(&alice_bundle, &cluster, &alice)?;
//! let verified = crypto::verify(&envelope, &cluster, &alice_keys)?;
//! let wrapped = verified.wrapped().ok_or("no key came with it")?;
//! let (from, to) = (alice_keys.identity(), testkeys::identity(1).key_id());
//! let key = crypto::unwrap(&testkeys::encryption(1), &cluster, &from, &to, &wrapped)?;
//! let message = crypto::open(&verified, &key, &from, &to)?;
//! assert_eq!(message.body, Body::Text("hi".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! # Exact bytes
//! The messages are those of `proto/client.proto`. `|` puts bytes one after the other; texts are
//! ASCII without a terminator; `u64` is 8 bytes big-endian; `name(x)` is the length of x in one
//! byte, then x; `cluster` is the 32 bytes of the cluster id (SHA-256 of the CA's SPKI);
//! fingerprints and key ids of RSA keys are SHA-256 of the SPKI in DER, 32 bytes.
//!
//! ```text
//! Envelope.signature      Ed25519 by the device key, over
//!                           "fastchat/rf1/envelope/1" | cluster | SHA-256(header)
//!                           | SHA-256(payload)            (a void has the empty payload)
//! SignedBundle.signature  RSA-PSS by the identity key: SHA-256, MGF1-SHA-256, salt of 32 bytes,
//!                         over
//!                           "fastchat/1/bundle/1" | cluster | SHA-256(bundle)
//! Resume.signature        Ed25519 by the device key, over
//!                           "fastchat/1/resume/1" | cluster | name(server id) | name(user)
//!                           | u64 device | u64 count
//! Header.key_id           first 16 bytes of SHA-256 of
//!                           "fastchat/rf1/key-id/1" | cluster | conversation key (32 bytes)
//! Payload.wrapped_key     RSA-OAEP of the conversation key: SHA-256, MGF1-SHA-256, label
//!                           "fastchat/rf1/wrap/1" | cluster | fingerprint of the author
//!                           | fingerprint of the recipient
//! Payload.token           Fernet of the encoded Inner, its base64 decoded; the time field MUST be
//!                         0 (readers without a clock refuse more than 60) and is never judged
//!                         otherwise; the Fernet key is base64url(conversation key)
//! Inner.header_hash       SHA-256(header)
//!
//! SignedOperation.signature  Ed25519 by the device key, and .invite_signature (in a JOIN) by the
//!                         invitation's key, over
//!                           "fastchat/rf1/operation/1" | cluster | SHA-256(operation)
//!                           | SHA-256(bundle)
//! id of an operation      SHA-256(operation); of a CREATE it is the group's id
//! NewKey.key_commit       SHA-256 of
//!                           "fastchat/rf1/group-key/1" | cluster | group id | u64 epoch
//!                           | group key (32 bytes)
//!                         in epoch 1 with 32 zero bytes for the group id
//! KeyFor.wrapped_key      RSA-OAEP of the group key, as above, label
//!                           "fastchat/rf1/group-wrap/1" | cluster | group id | u64 epoch
//!                           | fingerprint of the member
//! secret of a password    Argon2id, as below, of the password, its salt the 32 bytes of the group
//!                         id; a link's secret is 16 random bytes
//! invite key              Ed25519; its seed is HKDF-SHA-256 of the secret, no salt, 32 bytes, info
//!                           "fastchat/1/invite-key/1" | cluster | group id
//! wrap key                the same with info
//!                           "fastchat/1/invite-wrap/1" | cluster | group id
//! InvitedKey              two Fernet tokens as above: sealed_wrap_key, the wrap key under the
//!                         group key; wrapped_key, the group key under the wrap key
//! JoinProof.signature     Ed25519 by the invite key, over
//!                           "fastchat/1/invite-proof/1" | cluster | group id | nonce (32 bytes)
//!                           | name(user) | u64 device
//!
//! salt                    SHA-256("fastchat/auth/1" | cluster | user)
//! stretched password      Argon2id, version 0x13, 64 MiB, 3 passes, 1 lane, 32 bytes, of the
//!                         password in NFC and UTF-8
//! auth key                HKDF-SHA-256 of the stretched password, no salt, 32 bytes, info
//!                           "fastchat/1/auth-key/1" | cluster
//!                         sent as base64 with '+', '/' and '=' (44 characters)
//! vault key, never sent   the same with info
//!                           "fastchat/1/vault-key/1" | cluster
//!
//! safety number           per person: h = SHA-512(0x00 0x01 | SPKI of the identity key | user),
//!                         then 5,199 times h = SHA-512(h | SPKI); the first 30 bytes as six
//!                         5-byte big-endian numbers modulo 100,000. The smaller list of six goes
//!                         first; 12 groups of 5 digits, with zeros in front
//! ```
//!
//! `Envelope`, `SignedBundle` and `SignedOperation` MUST be in canonical encoding: fields in order
//! of number, shortest lengths, empty fields left out, nothing else. That is what protobuf
//! libraries write. What stands inside (`Header`, `Payload`, `Inner`, `Bundle`, `Operation`) counts
//! as the bytes that were signed, and unknown fields in it are ignored.
//!
//! **Header**: `suite` 1; `n` from 1; `device` not 0; `log` is `@` and a name, or `#` and a group's
//! id in 64 hexadecimal digits; `key_epoch` is from 1 in a message to a group, else 0. A message
//! has a `key_id` of 16 bytes and `upto` 0; a void has no `key_id`, an empty payload, and
//! `upto >= n`. An envelope is at most [`ENVELOPE_BYTES_MAX`](crate::limits::ENVELOPE_BYTES_MAX)
//! bytes.
//!
//! **In a group** `wrapped_key`, `wrapped_to`, `recipient_identity` and `recipient_bundle_version`
//! are empty and `roster_head` has 32 bytes; between two people `roster_head` is empty.
//!
//! **Padding**: the sender makes the encoded `Inner` a multiple of 64 bytes up to 1 KiB, beyond
//! that a multiple of 1/16 of the largest power of two that is not above its length. Where the
//! field `padding` cannot take exactly the bytes that are missing, the next size. Readers do not
//! look at it.
//!
//! **Keys in a bundle**: RSA of 2048 to 4096 bits with exponent 65537, as SubjectPublicKeyInfo with
//! algorithm rsaEncryption and NULL parameters; two different ones. At most 32 devices and 16
//! suites, at most one device active, suite 1 among the suites, version from 1.
//!
//! # What an error means to a reader
//! - `BAD_SIGNATURE`: [`EnvelopeError::BadSignature`], [`EnvelopeError::WrongAuthor`], and
//!   [`EnvelopeError::UnknownDevice`] once the author's newest bundle is at hand.
//! - `UNKNOWN_SUITE`: [`EnvelopeError::UnknownSuite`].
//! - Nothing yet, it waits for the key: [`EnvelopeError::WrongKey`], [`Rf1Error::NotForThisKey`].
//! - `BAD_BINDING`: every other one.

pub mod blob;
mod body;
pub mod bundle;
mod context;
pub mod device;
pub mod envelope;
mod fernet_raw;
mod file_body;
pub mod group;
pub mod group_envelope;
pub mod identity;
pub mod invite;
pub mod operation;
mod padding;
mod pem;
pub mod rf1;
pub mod safety;
pub mod secret;
#[cfg(feature = "testkit")]
pub mod testkeys;
#[cfg(feature = "testkit")]
pub mod testpeople;
#[cfg(test)]
mod tests;
mod token;

pub use bundle::{Bundle, BundleDevice, BundleError, DeviceState, VerifiedBundle, verify_bundle};
pub use device::{DeviceKey, ResumeClaim, SignatureError, verify_resume};
pub use envelope::{
    Body, EnvelopeError, HeaderInfo, Kind, OpenedMessage, SealRequest, VerifiedEnvelope, open,
    parse_header, seal, seal_void, verify,
};
pub use group::GroupKey;
pub use group_envelope::{GroupSealRequest, OpenedGroupMessage, open_group, seal_group};
pub use identity::{EncryptionKey, IdentityKey, KeyError};
pub use rf1::{ConversationKey, Rf1Error, WrappedKey, unwrap, wrap};
pub use safety::{SafetyNumber, safety_number};
pub use secret::{DbKey, SecretError, StretchCost, Stretched, VaultKey, stretch};

/// The number of suite 1 in headers and bundles.
pub const SUITE_RF1: u32 = 1;

/// Suites that one bundle may name.
const SUITES_MAX: usize = 16;
