//! What a front end sees of the client: views, events and errors. No behaviour.
//!
//! A front end learns of things by [`Event`], reads them by calls on [`super::Client`], and never
//! touches a connection or a database. Line client, one-shot commands and tests are peers.

use std::fmt;

use crate::types::{DeviceId, N, ServerId, UserName};
use crate::wire::Code;

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
    /// The other person of the chat.
    Peer,
}

/// Where one's own message stands. States only move downwards in this list, or to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// On this disk; not sealed yet.
    Waiting,
    /// Sealed, has its number, not answered yet.
    Pending,
    /// On disk (fsynced) in the recipient's log.
    Sent,
    /// On the disk of the recipient's device.
    Delivered,
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

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its number in this profile.
    pub id: LocalId,
    /// The other person.
    pub chat: UserName,
    /// Who wrote it.
    pub author: Author,
    /// The text as the author wrote it: control characters are the front end's to clean.
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
        chat: UserName,
        /// What.
        trouble: Trouble,
        /// When this device noticed.
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
            Self::Trouble { id, .. } => *id,
        }
    }

    /// The chat it belongs to.
    pub fn chat(&self) -> &UserName {
        match self {
            Self::Message(message) => &message.chat,
            Self::Trouble { chat, .. } => chat,
        }
    }
}

/// How well the other person's key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No key seen yet.
    Unknown,
    /// Pinned at first contact.
    Pinned,
    /// The person compared the safety numbers.
    Verified,
    /// Another identity key has appeared; sending is blocked until the person decides.
    Changed,
}

/// Whether the person has agreed to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Wrote first and was not accepted yet.
    Request,
    /// Accepted, or written to.
    Accepted,
    /// Blocked.
    Blocked,
}

/// One conversation in the list of chats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatView {
    /// The other person.
    pub chat: UserName,
    /// Lines not shown yet.
    pub unread: usize,
    /// Own messages not sent yet.
    pub waiting: usize,
    /// When the last line was stored; 0 when there is none.
    pub last_unix_ms: u64,
    /// Their key.
    pub trust: Trust,
    /// The person.
    pub contact: Contact,
    /// Text of the last message, if any.
    pub last_text: Option<String>,
}

/// Safety number and what is known of a person's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The person.
    pub user: UserName,
    /// 60 digits in groups of five; of the new key when it changed.
    pub safety_number: String,
    /// How well it is known.
    pub trust: Trust,
    /// When it was pinned.
    pub pinned_unix_ms: u64,
}

/// Answer to "who is there?".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhoView {
    /// Names in order, and whether each is online.
    pub users: Vec<(UserName, bool)>,
    /// There are more than one answer holds.
    pub truncated: bool,
    /// Servers that could not be asked.
    pub missing: Vec<String>,
}

/// Where the client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// The owner.
    pub user: UserName,
    /// This device.
    pub device: DeviceId,
    /// The balancer as typed.
    pub balancer: String,
    /// Pinned cluster, in hexadecimal.
    pub cluster: String,
    /// The edge connected to.
    pub connected: Option<ServerId>,
    /// Since when there is no connection.
    pub offline_since_unix_ms: Option<u64>,
    /// Own messages not sent yet.
    pub waiting: usize,
    /// Lines not shown yet.
    pub unread: usize,
    /// Fingerprint of one's own identity key, in hexadecimal.
    pub fingerprint: String,
}

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
        chat: UserName,
        /// Where it stands now.
        state: MessageState,
    },
    /// Messages to this person wait: their home is away, their inbox is full, ...
    ChatWaits {
        /// The chat.
        chat: UserName,
        /// Why.
        code: Code,
        /// The server that is away, when that is the reason.
        detail: String,
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
        chat: UserName,
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
    /// This device may not log in any more (retired, or its key is refused); the client has
    /// stopped.
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
