//! Messages to a group: envelopes as between two people, sealed with the group's key, which never
//! travels in them.
//!
//! Deliberately knows no roster: that the author is a member, that the epoch counts and that the
//! roster's head is in the chain is the client's to judge.

use bytes::Bytes;

use super::body::{Body, Place};
use super::device::DeviceKey;
use super::envelope::{EnvelopeError, Outside, VerifiedEnvelope};
use super::group::GroupKey;
use crate::types::{ClusterId, DeviceId, GroupId, KeyEpoch, KeyId, LogId, N, OpHash, UserName};
use crate::wire::client as wire;

/// All that goes into a message to a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupSealRequest<'a> {
    /// The cluster it is sent in.
    pub cluster: &'a ClusterId,
    /// Signs it.
    pub device_key: &'a DeviceKey,
    /// The group, whose log it goes to.
    pub group: &'a GroupId,
    /// Who writes.
    pub author: &'a UserName,
    /// The author's device, whose key `device_key` is.
    pub device: DeviceId,
    /// Its number.
    pub n: N,
    /// The group's key of this epoch.
    pub key: &'a GroupKey,
    /// Which of the group's keys that is. Never 0.
    pub key_epoch: KeyEpoch,
    /// The author's fingerprint.
    pub author_identity: KeyId,
    /// The version of the author's bundle.
    pub author_bundle_version: u64,
    /// The newest operation of the group that the author knows.
    pub roster_head: OpHash,
    /// When it was written, for people; milliseconds since 1970.
    pub sent_at_unix_ms: u64,
    /// What it says.
    pub body: &'a Body,
}

/// Seals and signs one message to a group.
///
/// # Errors
/// As [`Body::encode`]; [`EnvelopeError::BadBinding`] for a body that has no sense in a group;
/// [`EnvelopeError::Malformed`] for number 0, device 0 or key epoch 0.
pub fn seal_group(request: &GroupSealRequest<'_>) -> Result<Bytes, EnvelopeError> {
    let body = request.body.encode_for(Place::Group)?;
    let outside = Outside {
        cluster: request.cluster,
        device_key: request.device_key,
        log: &LogId::Group(*request.group),
        author: request.author,
        device: request.device,
        n: request.n,
        key_epoch: request.key_epoch,
    };
    let inner = wire::Inner {
        author_identity: Bytes::copy_from_slice(&request.author_identity.0),
        author_bundle_version: request.author_bundle_version,
        sent_at_unix_ms: request.sent_at_unix_ms,
        roster_head: Bytes::copy_from_slice(&request.roster_head.0),
        ..body
    };
    outside.seal(request.key.key(), None, inner)
}

/// A message to a group as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedGroupMessage {
    /// The author's bundle when it was written: a greater one than ours means ours is old.
    pub author_bundle_version: u64,
    /// The newest operation that the author knew, by the author's own word.
    pub roster_head: OpHash,
    /// When it was written, by the author's clock; milliseconds since 1970.
    pub sent_at_unix_ms: u64,
    /// What it says.
    pub body: Body,
}

/// Decrypts a verified message to a group and checks that its inside fits its outside. `key` is the
/// one that fits the commitment of the header's epoch; `author_identity` the roster's.
///
/// # Errors
/// [`EnvelopeError::WrongKey`], [`EnvelopeError::Undecryptable`], [`EnvelopeError::BadBinding`]
/// (also for a direct message); [`EnvelopeError::Malformed`] for a void or a damaged inside; and as
/// [`Body::decode`].
pub fn open_group(
    envelope: &VerifiedEnvelope,
    key: &GroupKey,
    author_identity: &KeyId,
) -> Result<OpenedGroupMessage, EnvelopeError> {
    let LogId::Group(_) = envelope.header().log else {
        return Err(EnvelopeError::BadBinding("log"));
    };
    // Its key is in the chain and nowhere else: two ways to a key are one too many.
    if envelope.wrapped().is_some() {
        return Err(EnvelopeError::BadBinding("wrapped key"));
    }
    let inner = envelope.decrypt(key.key())?;
    if inner.author_identity.as_ref() != author_identity.0 {
        return Err(EnvelopeError::BadBinding("author"));
    }
    if !inner.recipient_identity.is_empty() || inner.recipient_bundle_version != 0 {
        return Err(EnvelopeError::BadBinding("recipient"));
    }
    let roster_head =
        OpHash::from_bytes(&inner.roster_head).ok_or(EnvelopeError::BadBinding("roster head"))?;
    Ok(OpenedGroupMessage {
        author_bundle_version: inner.author_bundle_version,
        roster_head,
        sent_at_unix_ms: inner.sent_at_unix_ms,
        body: Body::decode_in(Place::Group, inner.r#type, inner.body)?,
    })
}
