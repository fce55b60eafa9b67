//! Envelopes: one sealed message, or the signed nothing that takes its number (`VOID`).
//!
//! Three steps with three results. [`parse_header`] trusts nothing and is all that servers use;
//! [`verify`] yields a [`VerifiedEnvelope`], the author's for certain; [`open`] decrypts one of
//! those. Deliberately no memory here: repeated numbers, pins and holes are the client's business.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::body::Place;
use super::bundle::VerifiedBundle;
use super::context::{Context, RF1};
use super::device::{self, DeviceKey};
use super::rf1::{ConversationKey, WrappedKey};
use super::{SUITE_RF1, padding};
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::types::{ClusterId, DeviceId, KeyEpoch, KeyId, LogId, N, UserName};
use crate::wire::client as wire;

pub use super::body::{Body, MessageRef, Rich, Welcome};
pub use super::file_body::FileBody;

/// Bytes of an RSA ciphertext: a key of 2048 to 4096 bits.
const WRAPPED_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Why an envelope is not made, not taken, or not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// An envelope, a text or a bundle over its limit.
    #[error("{got} bytes, at most {limit} allowed")]
    TooLarge {
        /// Bytes there are.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not an encoding of an envelope, or a field without sense.
    #[error("malformed envelope: {0}")]
    Malformed(&'static str),
    /// A suite that this version does not know.
    #[error("unknown suite {0}, expected 1")]
    UnknownSuite(u32),
    /// The bundle at hand is not the author's, or of another cluster.
    #[error("the envelope's author is not the bundle's owner")]
    WrongAuthor,
    /// The author's bundle does not hold this device. A newer one may.
    #[error("device {0} is not in the author's bundle")]
    UnknownDevice(DeviceId),
    /// The signature does not fit the device's key.
    #[error("the envelope's signature does not fit")]
    BadSignature,
    /// The conversation key at hand is not the one the header names.
    #[error("the envelope needs another conversation key")]
    WrongKey,
    /// The token does not open under the key the header names.
    #[error("the envelope does not decrypt")]
    Undecryptable,
    /// What stands inside does not fit the outside: spliced from another envelope.
    #[error("the envelope's inside does not fit its outside: {0}")]
    BadBinding(&'static str),
}

/// What an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message,
    /// Nothing: takes the numbers `n..=upto`.
    Void,
}

/// The header of an envelope: all that servers see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The suite; today always 1.
    pub suite: u32,
    /// Message or void.
    pub kind: Kind,
    /// The log it is written to.
    pub log: LogId,
    /// Who wrote it, by the header's own word.
    pub author: UserName,
    /// The author's device. Never 0.
    pub device: DeviceId,
    /// Its number, or the first one covered. Never 0.
    pub n: N,
    /// The last number covered; equal to `n` in a message.
    pub upto: N,
    /// The conversation key; none in a void envelope.
    pub key_id: Option<[u8; 16]>,
    /// Which of a group's keys: from 1 in a message to a group, else 0.
    pub key_epoch: KeyEpoch,
}

/// Reads an envelope's header and judges its form: size, canonical encoding, every field. Says
/// nothing about who wrote it.
///
/// # Errors
/// [`EnvelopeError::TooLarge`], [`EnvelopeError::UnknownSuite`] or [`EnvelopeError::Malformed`].
pub fn parse_header(envelope: &[u8]) -> Result<HeaderInfo, EnvelopeError> {
    parse(envelope).map(|(_envelope, header)| header)
}

fn parse(bytes: &[u8]) -> Result<(wire::Envelope, HeaderInfo), EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { got: bytes.len(), limit: ENVELOPE_BYTES_MAX });
    }
    let malformed = EnvelopeError::Malformed;
    let envelope = wire::Envelope::decode(bytes).map_err(|_| malformed("not an Envelope"))?;
    // One envelope, one encoding: nobody on the way can make a second one of it that differs in
    // bytes and still carries the signature.
    if envelope.encode_to_vec() != bytes {
        return Err(malformed("not in canonical encoding"));
    }
    if envelope.signature.len() != 64 {
        return Err(malformed("the signature is not 64 bytes"));
    }
    let header =
        wire::Header::decode(envelope.header.clone()).map_err(|_| malformed("not a Header"))?;
    let header = read_header(&header)?;
    match header.kind {
        Kind::Message if envelope.payload.is_empty() => Err(malformed("a message without payload")),
        Kind::Void if !envelope.payload.is_empty() => Err(malformed("a void with a payload")),
        Kind::Message | Kind::Void => Ok((envelope, header)),
    }
}

fn read_header(header: &wire::Header) -> Result<HeaderInfo, EnvelopeError> {
    let malformed = EnvelopeError::Malformed;
    if header.suite != SUITE_RF1 {
        return Err(EnvelopeError::UnknownSuite(header.suite));
    }
    if header.n == 0 || header.device == 0 {
        return Err(malformed("n or device is 0"));
    }
    let (kind, upto, key_id) = match wire::Kind::try_from(header.kind) {
        Ok(wire::Kind::Message) => {
            if header.upto != 0 {
                return Err(malformed("upto in a message"));
            }
            let key_id: [u8; 16] = header
                .key_id
                .as_ref()
                .try_into()
                .map_err(|_| malformed("the key id is not 16 bytes"))?;
            (Kind::Message, header.n, Some(key_id))
        }
        Ok(wire::Kind::Void) => {
            if header.upto < header.n {
                return Err(malformed("upto below n"));
            }
            if !header.key_id.is_empty() {
                return Err(malformed("a key id in a void"));
            }
            (Kind::Void, header.upto, None)
        }
        Ok(wire::Kind::Unspecified) | Err(_) => return Err(malformed("unknown kind")),
    };
    let log = LogId::canonical(&header.log).map_err(|_| malformed("not a log name"))?;
    match (kind, &log, header.key_epoch) {
        (Kind::Message, LogId::Group(_), 1..)
        | (Kind::Message, LogId::Inbox(_), 0)
        | (Kind::Void, _, 0) => {}
        (Kind::Message, LogId::Group(_), 0) => {
            return Err(malformed("a message to a group without key epoch"));
        }
        (Kind::Message, LogId::Inbox(_), _) => {
            return Err(malformed("a key epoch in a direct message"));
        }
        (Kind::Void, _, _) => return Err(malformed("a key epoch in a void")),
    }
    Ok(HeaderInfo {
        suite: header.suite,
        kind,
        log,
        author: UserName::canonical(&header.author).map_err(|_| malformed("not a user name"))?,
        device: DeviceId(header.device),
        n: N(header.n),
        upto: N(upto),
        key_id,
        key_epoch: KeyEpoch(header.key_epoch),
    })
}

/// All that goes into a message.
#[derive(Clone, Copy, Debug)]
pub struct SealRequest<'a> {
    /// The cluster it is sent in.
    pub cluster: &'a ClusterId,
    /// Signs it.
    pub device_key: &'a DeviceKey,
    /// The log it goes to: the recipient's inbox.
    pub log: &'a LogId,
    /// Who writes.
    pub author: &'a UserName,
    /// The author's device, whose key `device_key` is.
    pub device: DeviceId,
    /// Its number.
    pub n: N,
    /// The key of this direction of the conversation.
    pub key: &'a ConversationKey,
    /// The same key wrapped to the recipient, until one that carried it was delivered.
    pub wrapped: Option<&'a WrappedKey>,
    /// The author's fingerprint.
    pub author_identity: KeyId,
    /// The recipient's fingerprint.
    pub recipient_identity: KeyId,
    /// The version of the author's bundle.
    pub author_bundle_version: u64,
    /// The version of the recipient's bundle, as the author knows it.
    pub recipient_bundle_version: u64,
    /// When it was written, for people; milliseconds since 1970.
    pub sent_at_unix_ms: u64,
    /// What it says.
    pub body: &'a Body,
}

/// Seals and signs one direct message.
///
/// # Errors
/// As [`Body::encode`]; [`EnvelopeError::BadBinding`] for a body that belongs into a group;
/// [`EnvelopeError::Malformed`] for number 0, device 0, or the log of a group.
pub fn seal(request: &SealRequest<'_>) -> Result<Bytes, EnvelopeError> {
    let body = request.body.encode_for(Place::Direct)?;
    let outside = Outside {
        cluster: request.cluster,
        device_key: request.device_key,
        log: request.log,
        author: request.author,
        device: request.device,
        n: request.n,
        key_epoch: KeyEpoch(0),
    };
    let inner = wire::Inner {
        author_identity: Bytes::copy_from_slice(&request.author_identity.0),
        recipient_identity: Bytes::copy_from_slice(&request.recipient_identity.0),
        author_bundle_version: request.author_bundle_version,
        recipient_bundle_version: request.recipient_bundle_version,
        sent_at_unix_ms: request.sent_at_unix_ms,
        ..body
    };
    outside.seal(request.key, request.wrapped, inner)
}

/// What stands on the outside of every message, and what signs it.
pub(super) struct Outside<'a> {
    pub(super) cluster: &'a ClusterId,
    pub(super) device_key: &'a DeviceKey,
    pub(super) log: &'a LogId,
    pub(super) author: &'a UserName,
    pub(super) device: DeviceId,
    pub(super) n: N,
    pub(super) key_epoch: KeyEpoch,
}

impl Outside<'_> {
    /// Binds `inner` to this header, pads, encrypts and signs it.
    pub(super) fn seal(
        &self,
        key: &ConversationKey,
        wrapped: Option<&WrappedKey>,
        mut inner: wire::Inner,
    ) -> Result<Bytes, EnvelopeError> {
        let header = encode_header(&wire::Header {
            suite: SUITE_RF1,
            kind: wire::Kind::Message.into(),
            log: self.log.to_string(),
            author: self.author.to_string(),
            device: self.device.0,
            n: self.n.0,
            upto: 0,
            key_id: Bytes::copy_from_slice(&key.key_id(self.cluster)),
            key_epoch: self.key_epoch.0,
        })?;
        inner.header_hash = Bytes::copy_from_slice(&sha256(&header));
        inner.padding = Bytes::from(vec![0; padding::for_bare(inner.encoded_len())]);
        let token = key.seal(&Zeroizing::new(inner.encode_to_vec()));
        let payload = wire::Payload {
            wrapped_key: wrapped.map_or_else(Bytes::new, |key| key.bytes.clone().into()),
            wrapped_to: wrapped.map_or_else(Bytes::new, |key| Bytes::copy_from_slice(&key.to.0)),
            token: token.into(),
        };
        sign(self.cluster, self.device_key, header, payload.encode_to_vec().into())
    }
}

/// Signs the nothing that takes the numbers `n..=upto`: cancelled, refused, or gone.
///
/// # Errors
/// [`EnvelopeError::Malformed`] for number 0, device 0, or `upto` below `n`.
pub fn seal_void(
    cluster: &ClusterId,
    device_key: &DeviceKey,
    log: &LogId,
    author: &UserName,
    device: DeviceId,
    n: N,
    upto: N,
) -> Result<Bytes, EnvelopeError> {
    let header = encode_header(&wire::Header {
        suite: SUITE_RF1,
        kind: wire::Kind::Void.into(),
        log: log.to_string(),
        author: author.to_string(),
        device: device.0,
        n: n.0,
        upto: upto.0,
        key_id: Bytes::new(),
        key_epoch: 0,
    })?;
    sign(cluster, device_key, header, Bytes::new())
}

/// Encodes a header after judging it as a reader will.
fn encode_header(header: &wire::Header) -> Result<Bytes, EnvelopeError> {
    read_header(header)?;
    Ok(header.encode_to_vec().into())
}

fn sign(
    cluster: &ClusterId,
    key: &DeviceKey,
    header: Bytes,
    payload: Bytes,
) -> Result<Bytes, EnvelopeError> {
    let signature = key.sign(&signed_text(cluster, &header, &payload));
    let signature = Bytes::copy_from_slice(&signature);
    let envelope = wire::Envelope { header, payload, signature }.encode_to_vec();
    within(envelope.len(), ENVELOPE_BYTES_MAX)?;
    Ok(envelope.into())
}

fn signed_text(cluster: &ClusterId, header: &[u8], payload: &[u8]) -> Context {
    Context::new(RF1, "envelope", cluster).fixed(&sha256(header)).fixed(&sha256(payload))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn within(got: usize, limit: usize) -> Result<(), EnvelopeError> {
    if got > limit { Err(EnvelopeError::TooLarge { got, limit }) } else { Ok(()) }
}

/// An envelope whose signature fits a device in its author's bundle; it exists in no other way.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    header: HeaderInfo,
    header_hash: [u8; 32],
    digest: [u8; 32],
    cluster: ClusterId,
    token: Bytes,
    wrapped: Option<WrappedKey>,
}

impl VerifiedEnvelope {
    /// The header, now the author's own word.
    pub fn header(&self) -> &HeaderInfo {
        &self.header
    }

    /// The wrapped conversation key, if this envelope carries it.
    pub fn wrapped(&self) -> Option<WrappedKey> {
        self.wrapped.clone()
    }

    /// Decrypts what is inside, and checks that it was made for this header.
    pub(super) fn decrypt(&self, key: &ConversationKey) -> Result<wire::Inner, EnvelopeError> {
        let malformed = EnvelopeError::Malformed;
        let named = self.header.key_id.ok_or(malformed("a void holds no message"))?;
        if key.key_id(&self.cluster) != named {
            return Err(EnvelopeError::WrongKey);
        }
        let plain = key.open(&self.token).ok_or(EnvelopeError::Undecryptable)?;
        let inner = wire::Inner::decode(plain.as_slice()).map_err(|_| malformed("not an Inner"))?;
        if inner.header_hash.as_ref() != self.header_hash {
            return Err(EnvelopeError::BadBinding("header"));
        }
        Ok(inner)
    }

    /// SHA-256 of the whole encoded envelope. Its first 8 bytes are the hash in `Appended`.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Checks that the owner of this bundle signed the envelope with one of its devices, active or
/// retired. To be done before anything is decrypted.
///
/// # Errors
/// As [`parse_header`], and [`EnvelopeError::WrongAuthor`], [`EnvelopeError::UnknownDevice`] or
/// [`EnvelopeError::BadSignature`].
pub fn verify(
    envelope: &[u8],
    cluster: &ClusterId,
    author_bundle: &VerifiedBundle,
) -> Result<VerifiedEnvelope, EnvelopeError> {
    let digest = sha256(envelope);
    let (envelope, header) = parse(envelope)?;
    if author_bundle.cluster != *cluster || author_bundle.user != header.author {
        return Err(EnvelopeError::WrongAuthor);
    }
    let device =
        author_bundle.device(header.device).ok_or(EnvelopeError::UnknownDevice(header.device))?;
    let text = signed_text(cluster, &envelope.header, &envelope.payload);
    device::verify(&text, &device.ed25519, &envelope.signature)
        .map_err(|_| EnvelopeError::BadSignature)?;
    let (token, wrapped) = match header.kind {
        Kind::Message => read_payload(&envelope.payload)?,
        Kind::Void => (Bytes::new(), None),
    };
    let header_hash = sha256(&envelope.header);
    Ok(VerifiedEnvelope { header, header_hash, digest, cluster: *cluster, token, wrapped })
}

fn read_payload(payload: &Bytes) -> Result<(Bytes, Option<WrappedKey>), EnvelopeError> {
    let malformed = EnvelopeError::Malformed;
    let payload = wire::Payload::decode(payload.clone()).map_err(|_| malformed("not a Payload"))?;
    if payload.wrapped_key.is_empty() && payload.wrapped_to.is_empty() {
        return Ok((payload.token, None));
    }
    if !WRAPPED_BYTES.contains(&payload.wrapped_key.len()) {
        return Err(malformed("the wrapped key is not 256 to 512 bytes"));
    }
    let to = KeyId::from_bytes(&payload.wrapped_to)
        .ok_or(malformed("the id beside the wrapped key is not 32 bytes"))?;
    Ok((payload.token, Some(WrappedKey { to, bytes: payload.wrapped_key.to_vec() })))
}

/// A message as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedMessage {
    /// The author's bundle when it was written: a greater one than ours means ours is old.
    pub author_bundle_version: u64,
    /// Our bundle as the author knew it: a smaller one than ours means theirs is old.
    pub recipient_bundle_version: u64,
    /// When it was written, by the author's clock; milliseconds since 1970.
    pub sent_at_unix_ms: u64,
    /// What it says.
    pub body: Body,
}

/// Decrypts a verified direct message and checks that its inside fits its outside.
///
/// # Errors
/// [`EnvelopeError::WrongKey`], [`EnvelopeError::Undecryptable`], [`EnvelopeError::BadBinding`]
/// (also for a message to a group); [`EnvelopeError::Malformed`] for a void or a damaged inside;
/// and as [`Body::decode`].
pub fn open(
    envelope: &VerifiedEnvelope,
    key: &ConversationKey,
    author_identity: &KeyId,
    recipient_identity: &KeyId,
) -> Result<OpenedMessage, EnvelopeError> {
    let LogId::Inbox(_) = envelope.header.log else {
        return Err(EnvelopeError::BadBinding("log"));
    };
    let inner = envelope.decrypt(key)?;
    for (field, got, expected) in [
        ("author", &inner.author_identity, author_identity.0.as_slice()),
        ("recipient", &inner.recipient_identity, recipient_identity.0.as_slice()),
        ("roster head", &inner.roster_head, &[]),
    ] {
        if got.as_ref() != expected {
            return Err(EnvelopeError::BadBinding(field));
        }
    }
    let body = Body::decode_in(Place::Direct, inner.r#type, inner.body)?;
    Ok(OpenedMessage {
        author_bundle_version: inner.author_bundle_version,
        recipient_bundle_version: inner.recipient_bundle_version,
        sent_at_unix_ms: inner.sent_at_unix_ms,
        body,
    })
}
