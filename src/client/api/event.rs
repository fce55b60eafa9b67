//! What a front end is told.

use std::fmt;

use crate::types::{ChatName, GroupName, ServerId, UserName};
use crate::wire::Code;

use super::files::TransferView;
use super::message::{Author, LocalId, MessageState};

/// What happened. Nothing is in an event that a call could not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Logged in at this edge.
    Online {
        /// Which.
        server: ServerId,
    },
    /// The connection is gone, or the first try failed; the client keeps trying.
    Offline {
        /// Why, as a sentence's middle: "no answer in 5 s".
        reason: Offline,
    },
    /// There are lines to show: call [`super::Client::take_unshown`].
    Lines,
    /// Everything that waited at the home when this session opened has been handed out.
    CaughtUp,
    /// One's own message moved.
    State {
        /// Which.
        id: LocalId,
        /// The chat.
        chat: ChatName,
        /// Where it stands now.
        state: MessageState,
    },
    /// The text of a message was changed by its author.
    Edited {
        /// Which.
        id: LocalId,
        /// The chat.
        chat: ChatName,
    },
    /// A message was taken back by its author: its text is gone.
    Deleted {
        /// Which.
        id: LocalId,
        /// The chat.
        chat: ChatName,
    },
    /// Somebody reacted to a message, or took that back.
    Reacted {
        /// The message.
        id: LocalId,
        /// The chat.
        chat: ChatName,
        /// Who.
        by: Author,
        /// With what; `None`: taken back.
        emoji: Option<String>,
    },
    /// The time of these messages has run out: they are gone.
    Expired {
        /// Which.
        ids: Vec<LocalId>,
    },
    /// A contact is writing to us now. There is no event for the end of it: after a few seconds
    /// without another one, it is over.
    Typing {
        /// In which chat.
        chat: ChatName,
        /// Who.
        user: UserName,
    },
    /// A contact came or went.
    Presence {
        /// Who.
        user: UserName,
        /// Whether they are signed in now.
        online: bool,
    },
    /// Messages of this chat wait: their home is away, their inbox is full, ...
    ChatWaits {
        /// The chat.
        chat: ChatName,
        /// Why.
        code: Code,
        /// The server that is away, when that is the reason.
        detail: String,
    },
    /// A file has come further, or not: at most ten times a second of each.
    Transfer {
        /// Where it is now.
        view: TransferView,
    },
    /// Something about a group is different: its members, title, standing.
    Group {
        /// Which.
        group: GroupName,
    },
    /// Somebody new wrote.
    Request {
        /// Who.
        from: UserName,
    },
    /// The identity key of a person changed; sending to them stops.
    KeyChanged {
        /// Who.
        user: UserName,
    },
    /// A message that was cancelled had been sent before that: it is in the recipient's log.
    WasAlreadySent {
        /// Which.
        id: LocalId,
        /// The chat.
        chat: ChatName,
    },
    /// This profile's database is older than what the server holds: a new device id was made.
    RolledBack,
    /// Another device or process took the session over; the client has stopped.
    SessionReplaced,
    /// The local database failed; the client has stopped. What was "sent" is safe at its home.
    LocalData {
        /// What it said.
        error: String,
    },
    /// This device may not log in any more (retired, or its key is refused); the client stopped.
    SignedOut {
        /// The answer.
        code: Code,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offline {
    /// Neither an edge nor the balancer answers.
    Unreachable,
    /// The balancer answers that no server is ready.
    NoServer,
    /// The user's own home is away.
    HomeDown(String),
    /// The server told us to wait.
    Told(Code),
    /// The network belongs to another cluster than the pinned one.
    WrongCluster,
}

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("no answer"),
            Self::NoServer => f.write_str("no server is ready"),
            Self::HomeDown(server) => write!(f, "your home server {server} is away"),
            Self::Told(code) => write!(f, "the server says {code}"),
            Self::WrongCluster => f.write_str("another cluster answers there"),
        }
    }
}
