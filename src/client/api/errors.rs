//! Why something asked of the client was not done.

use crate::types::{GroupName, UserName};
use crate::wire::Code;

use super::message::LocalId;

/// Why a request of the person could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection now.
    #[error("not connected")]
    Offline,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// A typed answer of the server.
    #[error("the server says {code}")]
    Refused {
        /// The code.
        code: Code,
        /// The server that is away, for `HOME_DOWN`.
        detail: String,
        /// When to try again; 0: not said.
        retry_after_ms: u64,
    },
    /// What the server sent is not a valid bundle of that user.
    #[error("the server sent a key bundle that does not verify")]
    BadBundle,
    /// An alias or a draft that is too long.
    #[error("{got} bytes, at most {max} allowed")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The local database failed.
    #[error("local data: {0}")]
    Local(String),
}

/// Why a text was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing to send.
    #[error("an empty message")]
    Empty,
    /// Too long.
    #[error("a message of {0} bytes, at most {max} allowed", max = crate::limits::TEXT_BYTES_MAX)]
    TooLarge(usize),
    /// To oneself.
    #[error("a message to yourself")]
    ToSelf,
    /// The recipient's key changed: `accept_key` or `mark_verified` first.
    #[error("the key of {0} has changed")]
    KeyChanged(UserName),
    /// The person is blocked here.
    #[error("{0} is blocked")]
    Blocked(UserName),
    /// The owner of this profile is in no group of that name.
    #[error("you are in no group {0}")]
    NoSuchGroup(GroupName),
    /// The message to be answered is not one of this chat.
    #[error("no message {0} in this chat")]
    NoSuchMessage(LocalId),
    /// The local database failed.
    #[error("local data: {0}")]
    Local(String),
}

/// Why something could not be done to a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// There is none of that number.
    #[error("no message of that number")]
    NoSuchMessage,
    /// Somebody else wrote it.
    #[error("somebody else's message")]
    NotYours,
    /// The line is not a message.
    #[error("not a message")]
    NotAText,
    /// It was deleted or taken back: there is nothing left to do it to.
    #[error("the message is gone")]
    Deleted,
    /// It was not refused, so there is nothing to send again.
    #[error("the message was sent")]
    AlreadySent,
    /// A reaction is one character as people count them, at most 64 bytes.
    #[error("a reaction is one character")]
    NotAnEmoji,
    /// The words that go with a file are too long.
    #[error("a caption of {got} bytes, at most {max} allowed")]
    CaptionTooLong {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The sealed copy of its file is not on this disk any more: the file has to be sent again.
    #[error("the copy of its file is gone")]
    CopyLost,
    /// Nothing can be sent to that person.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The local database failed.
    #[error("local data: {0}")]
    Local(String),
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not be sent. (Sealed already: unless it was sent before; an event tells.)
    Yes,
    /// Too late: it is sent, or it ended before.
    TooLate,
    /// No own message of that number.
    NoSuchMessage,
}
