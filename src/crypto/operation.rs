//! Operations of a group's roster: signed, chained by hash, readable by everybody.
//!
//! [`Operation::sign`] makes one, [`verify_operation`] yields a [`VerifiedOperation`], which exists
//! in no other way. Whether its author may do that is `roster`'s business.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::bundle::{BundleError, DeviceState, VerifiedBundle, verify_bundle};
use super::context::{Context, RF1};
use super::device::{self, DeviceKey};
use super::invite::InviteKey;
use crate::limits;
use crate::types::{ClusterId, DeviceId, GroupId, GroupName, KeyId, OpHash, UserName};
use crate::wire::client::{self as wire, operation::Change as WireChange};

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
    /// [`OperationError::TooLarge`], or [`OperationError::Malformed`] for what readers refuse.
    pub fn sign(
        &self,
        cluster: &ClusterId,
        bundle: &VerifiedBundle,
        key: &DeviceKey,
        invite: Option<&InviteKey>,
    ) -> Result<SignedOperation, OperationError> {
        let operation = Bytes::from(self.to_wire().encode_to_vec());
        Self::from_wire(wire::Operation::decode(operation.clone()).map_err(not_one)?)?;
        let hash = hash(&operation);
        let text = signed_text(cluster, &operation, bundle.encoded());
        let signature = Bytes::copy_from_slice(&key.sign(&text));
        let invite_signature =
            invite.map_or(Bytes::new(), |invite| Bytes::copy_from_slice(&invite.sign(&text)));
        let bundle = bundle.encoded().clone();
        let signed = wire::SignedOperation { operation, bundle, signature, invite_signature };
        let encoded = Bytes::from(signed.encode_to_vec());
        if encoded.len() > limits::OPERATION_BYTES_MAX {
            return Err(OperationError::TooLarge(encoded.len()));
        }
        Ok(SignedOperation { hash, encoded })
    }

    pub(super) fn to_wire(&self) -> wire::Operation {
        let id = |id: Option<[u8; 32]>| id.map_or(Bytes::new(), |id| Bytes::copy_from_slice(&id));
        wire::Operation {
            group: id(self.group.map(|group| group.0)),
            prev: id(self.prev.map(|prev| prev.0)),
            author: self.author.to_string(),
            device: self.device.0,
            at_unix_ms: self.at_unix_ms,
            change: Some(change_to_wire(&self.change)),
        }
    }

    fn from_wire(operation: wire::Operation) -> Result<Self, OperationError> {
        let malformed = OperationError::Malformed;
        let change = operation.change.ok_or(malformed("no change that is known here"))?;
        let change = change_from_wire(change)?;
        let first = matches!(change, Change::Create { .. });
        let id = |bytes: &[u8]| -> Result<Option<[u8; 32]>, OperationError> {
            match (first, bytes.is_empty()) {
                (true, true) => Ok(None),
                (false, false) => id32(bytes).map(Some),
                (true, false) | (false, true) => Err(malformed("group and prev")),
            }
        };
        if operation.device == 0 {
            return Err(malformed("device 0"));
        }
        Ok(Self {
            group: id(&operation.group)?.map(GroupId),
            prev: id(&operation.prev)?.map(OpHash),
            author: user(&operation.author)?,
            device: DeviceId(operation.device),
            at_unix_ms: operation.at_unix_ms,
            change,
        })
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

fn user(name: &str) -> Result<UserName, OperationError> {
    UserName::canonical(name).map_err(|_| OperationError::Malformed("not a user name"))
}

fn id32(bytes: &[u8]) -> Result<[u8; 32], OperationError> {
    bytes.try_into().map_err(|_| OperationError::Malformed("an id or key is not 32 bytes"))
}

fn text(text: String, bytes_max: usize) -> Result<String, OperationError> {
    if text.len() > bytes_max {
        return Err(OperationError::Malformed("a title or topic is too long"));
    }
    Ok(text)
}

fn member_to_wire(member: &NewMember) -> wire::Member {
    wire::Member {
        user: member.user.to_string(),
        identity: Bytes::copy_from_slice(&member.identity.0),
    }
}

fn member_from_wire(member: &wire::Member) -> Result<NewMember, OperationError> {
    Ok(NewMember { user: user(&member.user)?, identity: KeyId(id32(&member.identity)?) })
}

fn key_to_wire(key: &NewKey) -> wire::NewKey {
    wire::NewKey {
        key_commit: Bytes::copy_from_slice(&key.key_commit),
        keys: key
            .keys
            .iter()
            .map(|key| wire::KeyFor {
                user: key.user.to_string(),
                wrapped_to: Bytes::copy_from_slice(&key.wrapped_to.0),
                wrapped_key: key.wrapped_key.clone(),
            })
            .collect(),
        invited: key.invited.iter().map(invited_to_wire).collect(),
    }
}

fn invited_to_wire(key: &InvitedKey) -> wire::InvitedKey {
    wire::InvitedKey {
        invite: Bytes::copy_from_slice(&key.invite),
        sealed_wrap_key: key.sealed_wrap_key.clone(),
        wrapped_key: key.wrapped_key.clone(),
    }
}

fn key_from_wire(key: wire::NewKey) -> Result<NewKey, OperationError> {
    let keys = key.keys.into_iter().map(|key| {
        Ok::<_, OperationError>(KeyFor {
            user: user(&key.user)?,
            wrapped_to: KeyId(id32(&key.wrapped_to)?),
            wrapped_key: key.wrapped_key,
        })
    });
    let invited = key.invited.into_iter().map(|key| {
        Ok::<_, OperationError>(InvitedKey {
            invite: id32(&key.invite)?,
            sealed_wrap_key: key.sealed_wrap_key,
            wrapped_key: key.wrapped_key,
        })
    });
    Ok(NewKey {
        key_commit: id32(&key.key_commit)?,
        keys: keys.collect::<Result<_, _>>()?,
        invited: invited.collect::<Result<_, _>>()?,
    })
}

fn change_to_wire(change: &Change) -> WireChange {
    let bytes = Bytes::copy_from_slice;
    match change {
        Change::Create { name, nonce, members, key_commit, title } => {
            WireChange::Create(wire::CreateGroup {
                name: name.as_str().to_owned(),
                nonce: bytes(nonce),
                members: members.iter().map(member_to_wire).collect(),
                key_commit: bytes(key_commit),
                title: title.clone(),
            })
        }
        Change::Add(member) => WireChange::Add(member_to_wire(member)),
        Change::Remove { user, key } => WireChange::Remove(wire::RemoveMember {
            user: user.to_string(),
            key: Some(key_to_wire(key)),
        }),
        Change::Join { identity, invite } => WireChange::Join(wire::JoinGroup {
            identity: bytes(&identity.0),
            invite: bytes(invite),
        }),
        Change::Leave => WireChange::Leave(wire::LeaveGroup {}),
        Change::Rekey(key) => WireChange::Rekey(key_to_wire(key)),
        Change::Grant { user, admin } => {
            WireChange::Grant(wire::Grant { user: user.to_string(), admin: *admin })
        }
        Change::Title(text) => WireChange::Title(wire::SetTitle { text: text.clone() }),
        Change::Topic(text) => WireChange::Topic(wire::SetTopic { text: text.clone() }),
        Change::Invite(Invitation { key, password, uses }) => {
            WireChange::Invite(wire::Invitation {
                invite: bytes(&key.invite),
                password: *password,
                uses: *uses,
                sealed_wrap_key: key.sealed_wrap_key.clone(),
                wrapped_key: key.wrapped_key.clone(),
            })
        }
        Change::Withdraw(invite) => WireChange::Withdraw(wire::Withdraw {
            invite: invite.as_ref().map_or(Bytes::new(), |invite| bytes(invite)),
        }),
        Change::Close => WireChange::Close(wire::CloseGroup {}),
    }
}

fn change_from_wire(change: WireChange) -> Result<Change, OperationError> {
    let malformed = OperationError::Malformed;
    Ok(match change {
        WireChange::Create(create) => create_from_wire(create)?,
        WireChange::Add(member) => Change::Add(member_from_wire(&member)?),
        WireChange::Remove(remove) => Change::Remove {
            user: user(&remove.user)?,
            key: key_from_wire(remove.key.ok_or(malformed("a REMOVE without a new key"))?)?,
        },
        WireChange::Join(join) => {
            Change::Join { identity: KeyId(id32(&join.identity)?), invite: id32(&join.invite)? }
        }
        WireChange::Leave(_) => Change::Leave,
        WireChange::Rekey(key) => Change::Rekey(key_from_wire(key)?),
        WireChange::Grant(grant) => Change::Grant { user: user(&grant.user)?, admin: grant.admin },
        WireChange::Title(title) => Change::Title(text(title.text, limits::TITLE_BYTES_MAX)?),
        WireChange::Topic(topic) => Change::Topic(text(topic.text, limits::TOPIC_BYTES_MAX)?),
        WireChange::Invite(invite) => Change::Invite(Invitation {
            key: InvitedKey {
                invite: id32(&invite.invite)?,
                sealed_wrap_key: invite.sealed_wrap_key,
                wrapped_key: invite.wrapped_key,
            },
            password: invite.password,
            uses: invite.uses,
        }),
        WireChange::Withdraw(withdraw) => Change::Withdraw(if withdraw.invite.is_empty() {
            None
        } else {
            Some(id32(&withdraw.invite)?)
        }),
        WireChange::Close(_) => Change::Close,
    })
}

fn create_from_wire(create: wire::CreateGroup) -> Result<Change, OperationError> {
    let malformed = OperationError::Malformed;
    let members: Vec<NewMember> =
        create.members.iter().map(member_from_wire).collect::<Result<_, _>>()?;
    if members.len() > limits::GROUP_MEMBERS_MAX {
        return Err(malformed("too many members"));
    }
    let names: BTreeSet<&UserName> = members.iter().map(|member| &member.user).collect();
    if names.len() != members.len() || !members.is_sorted_by_key(|member| &member.user) {
        return Err(malformed("members not in order"));
    }
    Ok(Change::Create {
        name: GroupName::canonical(&create.name).map_err(|_| malformed("not a group name"))?,
        nonce: create.nonce.as_ref().try_into().map_err(|_| malformed("a nonce of 16 bytes"))?,
        members,
        key_commit: id32(&create.key_commit)?,
        title: text(create.title, limits::TITLE_BYTES_MAX)?,
    })
}
