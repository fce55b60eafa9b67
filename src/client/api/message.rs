//! Messages and lines as people see them.

use std::fmt;
use std::time::Duration;

use crate::types::{ChatName, DeviceId, GroupName, N, UserName};
use crate::wire::Code;

use super::files::FileView;
use super::groups::GroupChange;

/// A message's number in this profile: what people and scripts use to refer to it. From 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(pub i64);

impl fmt::Display for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// The owner of this profile.
    Me,
    /// Somebody else in the chat.
    Them(UserName),
}

/// How a text is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// It says something.
    #[default]
    Text,
    /// It says what its author does: "alice waves".
    Emote,
}

/// A text to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub form: Form,
    /// The message of the same chat that it answers.
    pub reply_to: Option<LocalId>,
    /// Both sides forget the text this long after it was sent or shown; from a second to a year,
    /// what lies outside is taken to the nearest. `None`: as the chat's settings say.
    pub expire: Option<Duration>,
}

impl Draft {
    /// A text, and nothing more.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), form: Form::Text, reply_to: None, expire: None }
    }
}

/// Where one's own message stands. States only move downwards in this list, or to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// On this disk; the bytes of its file are not all at the home yet.
    Uploading,
    /// On this disk; not sealed yet.
    Waiting,
    /// Sealed, has its number, not answered yet.
    Pending,
    /// On disk (fsynced) in the recipient's log.
    Sent,
    /// On the disk of the recipient's device.
    Delivered,
    /// Shown to the recipient, as their client says.
    Read,
    /// Will never be sent; the reason.
    Refused(Refusal),
    /// Taken back before it was sent.
    Cancelled,
}

/// Why a message was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A typed answer of the server.
    Server(Code),
    /// Longer than a message may be.
    TooLarge,
    /// The recipient's identity key changed and the person has not accepted it.
    KeyChanged,
}

/// The message id on the wire, with the log: (log, author, device, n).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireId {
    /// The device that wrote it.
    pub device: DeviceId,
    /// Its number there.
    pub n: N,
}

/// What a message answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyView {
    /// The message, if this profile has it.
    pub id: Option<LocalId>,
    /// Who wrote it.
    pub author: Author,
    /// The beginning of its text as it is now; empty when it is not here or gone.
    pub excerpt: String,
}

/// One person's reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactionView {
    /// Whose.
    pub author: Author,
    /// One grapheme, as its author sent it: cleaning it is the front end's to do.
    pub emoji: String,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its number in this profile.
    pub id: LocalId,
    /// The chat it belongs to.
    pub chat: ChatName,
    /// Who wrote it.
    pub author: Author,
    /// The text as the author wrote it: control characters are the front end's to clean. Empty
    /// when it was deleted.
    pub text: String,
    /// When this device stored it (own clock).
    pub at_unix_ms: u64,
    /// When the author says it was written (their clock).
    pub sent_at_unix_ms: u64,
    /// Own messages: where it stands.
    pub state: Option<MessageState>,
    /// None for an own message that has no number yet.
    pub wire_id: Option<WireId>,
    /// It was being shown when the client was killed: mark it.
    pub again: bool,
    /// It came under a key that the person has not accepted yet.
    pub unaccepted_key: bool,
    /// How it is meant.
    pub form: Form,
    /// What it answers.
    pub reply_to: Option<ReplyView>,
    /// Its author changed it since.
    pub edited: bool,
    /// Its author took it back; the text is gone.
    pub deleted: bool,
    /// At most one of each side; one's own first.
    pub reactions: Vec<ReactionView>,
    /// The file that it brings; its text is the caption then, and may be empty.
    pub file: Option<Box<FileView>>,
    /// When its text will be forgotten here; `None` also while that time has not begun to run.
    pub expires_unix_ms: Option<u64>,
}

/// Something in a chat that is not a text, shown as one line at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Numbers `from..=to` of a device are missing: the server dropped or withheld them.
    Hole {
        /// First missing number.
        from: N,
        /// Last missing number.
        to: N,
    },
    /// Older entries of the log expired before this device read them.
    Expired,
    /// The signature does not fit any device of the author.
    BadSignature,
    /// Validly signed, but made for another place, person or key.
    BadBinding,
    /// A second, different message under one id.
    Equivocation,
    /// Made by a newer version.
    UnknownSuite,
    /// Sealed to a key that this profile does not have (any more).
    NoKey,
    /// The author's identity key changed.
    KeyChanged,
    /// A group's message by somebody who was not in the group, or under an old or foreign key of
    /// it.
    NotAMember,
    /// The server showed a change of a group that does not follow from the ones before it: it has
    /// left some out, or shows others another history.
    Forked,
    /// The server shows another group under the name of one that is known here.
    AnotherGroup,
}

/// A line of a chat to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A message.
    Message(MessageView),
    /// Something went wrong at this place.
    Trouble {
        /// For [`super::Client::mark_shown`].
        id: LocalId,
        /// The chat it belongs to.
        chat: ChatName,
        /// What.
        trouble: Trouble,
        /// When this device noticed.
        at_unix_ms: u64,
        /// As in [`MessageView::again`].
        again: bool,
    },
    /// A group changed. In the group's chat: one dim line, never counted as unread. In the chat
    /// with an admin: the owner was added to a group, or removed from it.
    Membership {
        /// For [`super::Client::mark_shown`].
        id: LocalId,
        /// The chat it stands in.
        chat: ChatName,
        /// The group that changed.
        group: GroupName,
        /// Who changed it.
        by: UserName,
        /// What.
        change: GroupChange,
        /// When this device learned of it.
        at_unix_ms: u64,
        /// As in [`MessageView::again`].
        again: bool,
    },
}

impl Line {
    /// Its number in this profile.
    pub fn id(&self) -> LocalId {
        match self {
            Self::Message(message) => message.id,
            Self::Trouble { id, .. } | Self::Membership { id, .. } => *id,
        }
    }

    /// When it was written, or noticed.
    pub fn at_unix_ms(&self) -> u64 {
        match self {
            Self::Message(message) => message.at_unix_ms,
            Self::Trouble { at_unix_ms, .. } | Self::Membership { at_unix_ms, .. } => *at_unix_ms,
        }
    }

    /// The chat it belongs to.
    pub fn chat(&self) -> &ChatName {
        match self {
            Self::Message(message) => &message.chat,
            Self::Trouble { chat, .. } | Self::Membership { chat, .. } => chat,
        }
    }
}
