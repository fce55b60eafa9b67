//! Operations of a group's roster: signed, chained by hash, readable by everybody.
//!
//! [`Operation::sign`] makes one, [`verify_operation`] yields a [`VerifiedOperation`], which exists
//! in no other way. Whether its author may do that is `roster`'s business.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::bundle::{BundleError, DeviceState, VerifiedBundle, verify_bundle};
use super::context::{Context, RF1};
use super::device::{self, DeviceKey};
use super::invite::InviteKey;
use crate::limits;
use crate::types::{ClusterId, DeviceId, GroupId, GroupName, KeyId, OpHash, UserName};
use crate::wire::client as wire;

mod encoding;
#[cfg(test)]
mod tests;

/// Why an operation is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Over [`limits::OPERATION_BYTES_MAX`].
    #[error("an operation of {0} bytes, at most {max} allowed", max = limits::OPERATION_BYTES_MAX)]
    TooLarge(usize),
    /// Not an encoding of an operation, or a field without sense.
    #[error("malformed operation: {0}")]
    Malformed(&'static str),
    /// The bundle that it brings does not count.
    #[error("the operation's bundle: {0}")]
    Bundle(#[from] BundleError),
    /// Its device is not the active one of the bundle that it brings.
    #[error("device {0} is not the active one of the bundle")]
    NotTheDevice(DeviceId),
    /// The device's signature, or in a JOIN the invitation's, does not fit.
    #[error("the operation's signature does not fit")]
    BadSignature,
}

/// A person and the fingerprint that stands for them in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Who.
    pub user: UserName,
    /// Fingerprint of their identity key: in this group, this is they.
    pub identity: KeyId,
}

/// A group's key, wrapped for one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFor {
    /// For whom.
    pub user: UserName,
    /// The encryption key it is wrapped to.
    pub wrapped_to: KeyId,
    /// RSA-OAEP ciphertext.
    pub wrapped_key: Bytes,
}

/// A group's key, for who comes by an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitedKey {
    /// Public key of the invitation.
    pub invite: [u8; 32],
    /// The wrap key under the group's key, for members who open the next epoch.
    pub sealed_wrap_key: Bytes,
    /// The group's key under the wrap key.
    pub wrapped_key: Bytes,
}

/// The next key of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What the key has to fit: see [`super::group::GroupKey::commit`].
    pub key_commit: [u8; 32],
    /// For every member that remains, in order of name.
    pub keys: Vec<KeyFor>,
    /// For every live invitation, in order of its key.
    pub invited: Vec<InvitedKey>,
}

/// An invitation, as it stands in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its keys.
    pub key: InvitedKey,
    /// It is the group's password.
    pub password: bool,
    /// People who may join by it; 0: no bound.
    pub uses: u32,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes the group; its author is the first admin.
    Create {
        /// Its name, for ever.
        name: GroupName,
        /// 16 random bytes: no two groups have the same id.
        nonce: [u8; 16],
        /// In order of name, the author among them.
        members: Vec<NewMember>,
        /// Of key epoch 1.
        key_commit: [u8; 32],
        /// For people; may be empty.
        title: String,
    },
    /// An admin brings somebody in.
    Add(NewMember),
    /// An admin puts somebody out; a new key for the others.
    Remove {
        /// Whom.
        user: UserName,
        /// For everybody else. Every invitation ends.
        key: NewKey,
    },
    /// The author comes in by an invitation.
    Join {
        /// The author's fingerprint.
        identity: KeyId,
        /// Public key of the invitation.
        invite: [u8; 32],
    },
    /// The author goes.
    Leave,
    /// A member renews the key after somebody left.
    Rekey(NewKey),
    /// An admin makes a member an admin, or takes that back.
    Grant {
        /// Whom.
        user: UserName,
        /// Admin from now on, or not any more.
        admin: bool,
    },
    /// An admin changes the title.
    Title(String),
    /// An admin changes the topic.
    Topic(String),
    /// An admin invites, or sets the password.
    Invite(Invitation),
    /// An admin takes an invitation back; `None`: all of them, and the password.
    Withdraw(Option<[u8; 32]>),
    /// An admin ends the group.
    Close,
}

/// An operation, before it is signed or after it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The group; `None` in CREATE, whose hash is the group's id.
    pub group: Option<GroupId>,
    /// The operation before it; `None` in CREATE.
    pub prev: Option<OpHash>,
    /// Who signs.
    pub author: UserName,
    /// With which device.
    pub device: DeviceId,
    /// When, for people; milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What.
    pub change: Change,
}

/// An operation and the signatures under it, encoded: what travels and what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOperation {
    /// Its id; of a CREATE also the group's.
    pub hash: OpHash,
    /// Encoded `SignedOperation`.
    pub encoded: Bytes,
}

impl Operation {
    /// Signs the operation with the author's device, and encodes it. `invite`: the key of the
    /// invitation, for a JOIN.
    ///
    /// # Errors
    /// Everything that [`verify_operation`] would refuse, so that nothing is sent in vain.
    pub fn sign(
        &self,
        cluster: &ClusterId,
        bundle: &VerifiedBundle,
        key: &DeviceKey,
        invite: Option<&InviteKey>,
    ) -> Result<SignedOperation, OperationError> {
        let operation = Bytes::from(self.to_wire().encode_to_vec());
        let hash = hash(&operation);
        let text = signed_text(cluster, &operation, bundle.encoded());
        let signature = Bytes::copy_from_slice(&key.sign(&text));
        let invite_signature =
            invite.map_or(Bytes::new(), |invite| Bytes::copy_from_slice(&invite.sign(&text)));
        let bundle = bundle.encoded().clone();
        let signed = wire::SignedOperation { operation, bundle, signature, invite_signature };
        let encoded = Bytes::from(signed.encode_to_vec());
        verify_operation(&encoded, cluster)?;
        Ok(SignedOperation { hash, encoded })
    }
}

/// An operation that its author signed, with the bundle that proves it.
#[derive(Clone, Debug)]
pub struct VerifiedOperation {
    operation: Operation,
    hash: OpHash,
    bundle: VerifiedBundle,
    encoded: Bytes,
}

impl VerifiedOperation {
    /// What it says.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Its id.
    pub fn hash(&self) -> OpHash {
        self.hash
    }

    /// The group it belongs to: of a CREATE, its own hash.
    pub fn group(&self) -> GroupId {
        self.operation.group.unwrap_or(GroupId(self.hash.0))
    }

    /// The author's bundle that came with it.
    pub fn bundle(&self) -> &VerifiedBundle {
        &self.bundle
    }

    /// Encoded `SignedOperation`, as it came.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

/// Reads an operation and checks every signature in it: the bundle's, the device's, in a JOIN also
/// the invitation's. Says nothing about what its author may do.
///
/// # Errors
/// [`OperationError`] says what is wrong.
pub fn verify_operation(
    encoded: &Bytes,
    cluster: &ClusterId,
) -> Result<VerifiedOperation, OperationError> {
    let malformed = OperationError::Malformed;
    if encoded.len() > limits::OPERATION_BYTES_MAX {
        return Err(OperationError::TooLarge(encoded.len()));
    }
    let signed = wire::SignedOperation::decode(encoded.clone()).map_err(not_one)?;
    // One operation, one encoding: as with envelopes.
    if signed.encode_to_vec() != encoded.as_ref() {
        return Err(malformed("not in canonical encoding"));
    }
    let operation = wire::Operation::decode(signed.operation.clone()).map_err(not_one)?;
    let operation = Operation::from_wire(operation)?;
    let bundle = verify_bundle(&signed.bundle, cluster, &operation.author)?;
    let device = bundle
        .device(operation.device)
        .filter(|device| device.state == DeviceState::Active)
        .ok_or(OperationError::NotTheDevice(operation.device))?;
    let text = signed_text(cluster, &signed.operation, &signed.bundle);
    let fits = |public: &[u8; 32], signature: &[u8]| {
        device::verify(&text, public, signature).map_err(|_| OperationError::BadSignature)
    };
    fits(&device.ed25519, &signed.signature)?;
    match &operation.change {
        Change::Join { identity, invite } => {
            if *identity != bundle.identity() {
                return Err(malformed("a JOIN under another identity"));
            }
            fits(invite, &signed.invite_signature)?;
        }
        _ if !signed.invite_signature.is_empty() => {
            return Err(malformed("an invitation's signature"));
        }
        _ => {}
    }
    let hash = hash(&signed.operation);
    Ok(VerifiedOperation { operation, hash, bundle, encoded: encoded.clone() })
}

/// The id of an encoded `Operation`.
fn hash(operation: &[u8]) -> OpHash {
    OpHash(Sha256::digest(operation).into())
}

pub(super) fn signed_text(cluster: &ClusterId, operation: &[u8], bundle: &[u8]) -> Context {
    Context::new(RF1, "operation", cluster)
        .fixed(&Sha256::digest(operation).into())
        .fixed(&Sha256::digest(bundle).into())
}

fn not_one(_: prost::DecodeError) -> OperationError {
    OperationError::Malformed("not an operation")
}
