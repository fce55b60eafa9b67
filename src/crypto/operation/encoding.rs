//! Operations to and from the wire: every field is judged before anybody sees it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Change, Invitation, InvitedKey, KeyFor, NewKey, NewMember, Operation, OperationError};
use crate::limits;
use crate::types::{DeviceId, GroupId, GroupName, KeyId, OpHash, UserName};
use crate::wire::client::{self as wire, operation::Change as WireChange};

impl Operation {
    pub(in crate::crypto) fn to_wire(&self) -> wire::Operation {
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

    pub(super) fn from_wire(operation: wire::Operation) -> Result<Self, OperationError> {
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
