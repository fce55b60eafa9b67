//! What stands inside of a message: a text, or something about another one. Encoded, and decoded
//! strictly: every field is judged before anybody sees it.
//!
//! Deliberately no meaning here: who may change or delete what is the client's to decide.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::envelope::{EnvelopeError, within};
use super::file_body::FileBody;
use super::group::GroupKey;
use crate::limits::{BUNDLE_BYTES_MAX, EMOJI_BYTES_MAX, EXPIRE_MAX, EXPIRE_MIN, TEXT_BYTES_MAX};
use crate::types::{DeviceId, GroupId, GroupName, KeyEpoch, N, Seq, UserName};
use crate::wire::client as wire;

/// Names a message of a conversation. The log is the inbox of the one of the two who did not write
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// Who wrote it.
    pub author: UserName,
    /// On which device. Never 0.
    pub device: DeviceId,
    /// Its number there. Never 0.
    pub n: N,
}

/// A text that is more than a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Rich {
    /// What it says; at least one byte and at most [`TEXT_BYTES_MAX`].
    pub text: String,
    /// What it answers.
    pub reply_to: Option<MessageRef>,
    /// It says what its author does.
    pub emote: bool,
    /// How long it lives; from [`EXPIRE_MIN`] to [`EXPIRE_MAX`], whole milliseconds.
    pub expire: Option<Duration>,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// A text, at most [`TEXT_BYTES_MAX`] bytes.
    Text(String),
    /// The author's current bundle, encoded; to be verified like any other.
    Bundle(Bytes),
    /// A text that answers, acts, or goes away by itself.
    Rich(Rich),
    /// The author's one reaction to a message, at most [`EMOJI_BYTES_MAX`] bytes; none: taken back.
    Reaction {
        /// Which message.
        to: MessageRef,
        /// With what.
        emoji: Option<String>,
    },
    /// Another text for a message of the same author; bounds as of [`Rich::text`].
    Edit {
        /// Which message.
        to: MessageRef,
        /// What it says now.
        text: String,
    },
    /// The author wants this message of theirs forgotten.
    Delete {
        /// Which message.
        to: MessageRef,
    },
    /// Everything that this device of the recipient wrote, up to `n`, was shown to the author.
    Read {
        /// Which device. Never 0.
        device: DeviceId,
        /// Up to which number. Never 0.
        n: N,
    },
    /// In a group: everything in its log up to this `seq` was shown to the author. Never 0.
    ReadGroup {
        /// Up to where.
        seq: Seq,
    },
    /// The recipient was added to a group: its key.
    Welcome(Welcome),
    /// The recipient was removed from a group: to be believed when the chain says so.
    Goodbye {
        /// Its name.
        group: GroupName,
        /// Its id.
        id: GroupId,
    },
    /// A file, which lies in the blobs of the author's home.
    File(Box<FileBody>),
    /// Something of a later version, by its number. Cannot be sealed.
    Unknown(i32),
}

/// What somebody who was added to a group needs to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Its name.
    pub group: GroupName,
    /// Its id: what CREATE hashes to.
    pub id: GroupId,
    /// Of which epoch the key is. Never 0.
    pub epoch: KeyEpoch,
    /// Counts only if it fits what the chain says of that epoch.
    pub key: GroupKey,
}

/// Where a body stands: some have sense in one of the two only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Between two people.
    Direct,
    /// In a group.
    Group,
}

impl fmt::Debug for Rich {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rich({} bytes)", self.text.len())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Bundle(bundle) => write!(f, "Bundle({} bytes)", bundle.len()),
            Self::Rich(rich) => rich.fmt(f),
            Self::Reaction { to, emoji: _ } => write!(f, "Reaction({to:?})"),
            Self::Edit { to, text } => write!(f, "Edit({to:?}, {} bytes)", text.len()),
            Self::Delete { to } => write!(f, "Delete({to:?})"),
            Self::Read { device, n } => write!(f, "Read({device}, {n})"),
            Self::ReadGroup { seq } => write!(f, "ReadGroup({seq})"),
            Self::Welcome(welcome) => write!(f, "Welcome({:?})", welcome.group),
            Self::Goodbye { group, id: _ } => write!(f, "Goodbye({group:?})"),
            Self::File(file) => file.fmt(f),
            Self::Unknown(number) => write!(f, "Unknown({number})"),
        }
    }
}

impl Body {
    /// An `Inner` with the type and bytes of this body and nothing else, judged as a reader will.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`EnvelopeError::BadBinding`] for a body that has no sense there.
    pub(super) fn encode_for(&self, place: Place) -> Result<wire::Inner, EnvelopeError> {
        self.belongs(place)?;
        let (kind, body) = self.encode()?;
        Ok(wire::Inner { r#type: kind.into(), body, ..wire::Inner::default() })
    }

    /// Reads a body of this type.
    ///
    /// # Errors
    /// As [`Self::decode`], and [`EnvelopeError::BadBinding`] for a body that has no sense there.
    pub(super) fn decode_in(place: Place, kind: i32, bytes: Bytes) -> Result<Self, EnvelopeError> {
        let body = Self::decode(kind, bytes)?;
        body.belongs(place)?;
        Ok(body)
    }

    fn belongs(&self, place: Place) -> Result<(), EnvelopeError> {
        let only = match self {
            Self::Read { .. } | Self::Welcome(_) | Self::Goodbye { .. } => Some(Place::Direct),
            Self::ReadGroup { .. } => Some(Place::Group),
            Self::Text(_)
            | Self::Bundle(_)
            | Self::Rich(_)
            | Self::Reaction { .. }
            | Self::Edit { .. }
            | Self::Delete { .. }
            | Self::File(_)
            | Self::Unknown(_) => None,
        };
        match only {
            Some(only) if only != place => Err(EnvelopeError::BadBinding("type")),
            Some(_) | None => Ok(()),
        }
    }

    /// Its type and bytes, judged as a reader will.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] for what is over its limit; [`EnvelopeError::Malformed`] for a
    /// field without sense or a body of unknown type.
    pub(super) fn encode(&self) -> Result<(wire::BodyType, Bytes), EnvelopeError> {
        let (kind, bytes) = match self {
            Self::Text(text) => (wire::BodyType::BodyText, Bytes::copy_from_slice(text.as_bytes())),
            Self::Bundle(bundle) => (wire::BodyType::BodyBundle, bundle.clone()),
            Self::Rich(rich) => (wire::BodyType::BodyRich, rich.to_wire().encode_to_vec().into()),
            Self::Reaction { to, emoji } => {
                if emoji.as_ref().is_some_and(String::is_empty) {
                    return Err(EnvelopeError::Malformed("an empty reaction"));
                }
                let emoji = emoji.clone().unwrap_or_default();
                let reaction = wire::Reaction { to: Some(to.to_wire()), emoji };
                (wire::BodyType::BodyReaction, reaction.encode_to_vec().into())
            }
            Self::Edit { to, text } => {
                let edit = wire::Edit { to: Some(to.to_wire()), text: text.clone() };
                (wire::BodyType::BodyEdit, edit.encode_to_vec().into())
            }
            Self::Delete { to } => {
                let delete = wire::Delete { to: Some(to.to_wire()) };
                (wire::BodyType::BodyDelete, delete.encode_to_vec().into())
            }
            Self::Read { device, n } => {
                let read = wire::Read { device: device.0, n: n.0, seq: 0 };
                (wire::BodyType::BodyRead, read.encode_to_vec().into())
            }
            Self::ReadGroup { seq } => {
                let read = wire::Read { device: 0, n: 0, seq: seq.0 };
                (wire::BodyType::BodyRead, read.encode_to_vec().into())
            }
            Self::Welcome(welcome) => {
                let welcome = wire::GroupWelcome {
                    group: welcome.group.as_str().to_owned(),
                    group_id: Bytes::copy_from_slice(&welcome.id.0),
                    key_epoch: welcome.epoch.0,
                    key: Bytes::copy_from_slice(welcome.key.as_bytes()),
                };
                (wire::BodyType::BodyWelcome, welcome.encode_to_vec().into())
            }
            Self::Goodbye { group, id } => {
                let group_id = Bytes::copy_from_slice(&id.0);
                let goodbye = wire::GroupGoodbye { group: group.as_str().to_owned(), group_id };
                (wire::BodyType::BodyRemoved, goodbye.encode_to_vec().into())
            }
            Self::File(file) => (wire::BodyType::BodyFile, file.to_bytes()),
            Self::Unknown(_) => return Err(EnvelopeError::Malformed("a body of unknown type")),
        };
        Self::decode(kind.into(), bytes.clone())?;
        Ok((kind, bytes))
    }

    /// Reads a body of this type.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] for what is over its limit; [`EnvelopeError::Malformed`] for no
    /// type, bytes that are none of that type, or a field without sense.
    pub(super) fn decode(kind: i32, bytes: Bytes) -> Result<Self, EnvelopeError> {
        let malformed = EnvelopeError::Malformed;
        Ok(match wire::BodyType::try_from(kind) {
            Ok(wire::BodyType::BodyText) => {
                within(bytes.len(), TEXT_BYTES_MAX)?;
                let text = String::from_utf8(bytes.to_vec());
                Self::Text(text.map_err(|_| malformed("a text that is not UTF-8"))?)
            }
            Ok(wire::BodyType::BodyBundle) => {
                within(bytes.len(), BUNDLE_BYTES_MAX)?;
                Self::Bundle(bytes)
            }
            Ok(wire::BodyType::BodyRich) => Self::Rich(Rich::read(message(bytes)?)?),
            Ok(wire::BodyType::BodyReaction) => {
                let wire::Reaction { to, emoji } = message(bytes)?;
                within(emoji.len(), EMOJI_BYTES_MAX)?;
                let emoji = (!emoji.is_empty()).then_some(emoji);
                Self::Reaction { to: MessageRef::read(to)?, emoji }
            }
            Ok(wire::BodyType::BodyEdit) => {
                let wire::Edit { to, text } = message(bytes)?;
                Self::Edit { to: MessageRef::read(to)?, text: some_text(text)? }
            }
            Ok(wire::BodyType::BodyDelete) => {
                let wire::Delete { to } = message(bytes)?;
                Self::Delete { to: MessageRef::read(to)? }
            }
            Ok(wire::BodyType::BodyRead) => {
                let wire::Read { device, n, seq } = message(bytes)?;
                match (device, n, seq) {
                    (1.., 1.., 0) => Self::Read { device: DeviceId(device), n: N(n) },
                    (0, 0, 1..) => Self::ReadGroup { seq: Seq(seq) },
                    _ => return Err(malformed("neither device and n nor seq")),
                }
            }
            Ok(wire::BodyType::BodyWelcome) => {
                let wire::GroupWelcome { group, group_id, key_epoch, key } = message(bytes)?;
                if key_epoch == 0 {
                    return Err(malformed("key epoch 0"));
                }
                Self::Welcome(Welcome {
                    group: group_name(&group)?,
                    id: group_of(&group_id)?,
                    epoch: KeyEpoch(key_epoch),
                    key: GroupKey::from_bytes(&key).ok_or(malformed("a key of 32 bytes"))?,
                })
            }
            Ok(wire::BodyType::BodyRemoved) => {
                let wire::GroupGoodbye { group, group_id } = message(bytes)?;
                Self::Goodbye { group: group_name(&group)?, id: group_of(&group_id)? }
            }
            Ok(wire::BodyType::BodyFile) => Self::File(Box::new(FileBody::from_bytes(bytes)?)),
            Ok(wire::BodyType::BodyUnspecified) => {
                return Err(malformed("a message without type"));
            }
            Err(_) => Self::Unknown(kind),
        })
    }
}

impl Rich {
    fn to_wire(&self) -> wire::Rich {
        wire::Rich {
            text: self.text.clone(),
            reply_to: self.reply_to.as_ref().map(MessageRef::to_wire),
            emote: self.emote,
            expire_ms: wire_life(self.expire),
        }
    }

    fn read(rich: wire::Rich) -> Result<Self, EnvelopeError> {
        Ok(Self {
            text: some_text(rich.text)?,
            reply_to: rich.reply_to.map(|to| MessageRef::read(Some(to))).transpose()?,
            emote: rich.emote,
            expire: life_of(rich.expire_ms)?,
        })
    }
}

impl MessageRef {
    pub(super) fn to_wire(&self) -> wire::MessageRef {
        wire::MessageRef { author: self.author.to_string(), device: self.device.0, n: self.n.0 }
    }

    pub(super) fn read(to: Option<wire::MessageRef>) -> Result<Self, EnvelopeError> {
        let malformed = EnvelopeError::Malformed;
        let to = to.ok_or(malformed("no message is named"))?;
        if to.device == 0 || to.n == 0 {
            return Err(malformed("n or device is 0"));
        }
        Ok(Self {
            author: UserName::canonical(&to.author).map_err(|_| malformed("not a user name"))?,
            device: DeviceId(to.device),
            n: N(to.n),
        })
    }
}

/// A life as it travels: 0 means for ever, so that a shorter one than a millisecond is refused as
/// too short instead.
pub(super) fn wire_life(life: Option<Duration>) -> u64 {
    life.map_or(0, |life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1))
}

pub(super) fn life_of(expire_ms: u64) -> Result<Option<Duration>, EnvelopeError> {
    let expire = (expire_ms != 0).then(|| Duration::from_millis(expire_ms));
    if expire.is_some_and(|life| !(EXPIRE_MIN..=EXPIRE_MAX).contains(&life)) {
        return Err(EnvelopeError::Malformed("a life under a second or over a year"));
    }
    Ok(expire)
}

pub(super) fn message<T: Message + Default>(bytes: Bytes) -> Result<T, EnvelopeError> {
    T::decode(bytes).map_err(|_| EnvelopeError::Malformed("the body is not of its type"))
}

fn some_text(text: String) -> Result<String, EnvelopeError> {
    within(text.len(), TEXT_BYTES_MAX)?;
    if text.is_empty() { Err(EnvelopeError::Malformed("an empty text")) } else { Ok(text) }
}

fn group_name(name: &str) -> Result<GroupName, EnvelopeError> {
    GroupName::canonical(name).map_err(|_| EnvelopeError::Malformed("not a group name"))
}

fn group_of(id: &[u8]) -> Result<GroupId, EnvelopeError> {
    GroupId::from_bytes(id).ok_or(EnvelopeError::Malformed("a group id of 32 bytes"))
}

#[cfg(test)]
mod tests;
