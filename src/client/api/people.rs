//! People, chats and keys as the owner of a profile sees them.

use crate::types::{ChatName, DeviceId, ServerId, UserName};

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
    /// The other person, or the group.
    pub chat: ChatName,
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

/// Somebody who was accepted or blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactView {
    /// The person.
    pub user: UserName,
    /// What the owner of this profile calls them.
    pub alias: Option<String>,
    /// Their key.
    pub trust: Trust,
    /// How they stand to the owner.
    pub contact: Contact,
    /// When their key was pinned; 0: none is known.
    pub pinned_unix_ms: u64,
    /// Whether they are signed in; `None`: not known (offline here, or their log is not open).
    pub online: Option<bool>,
}

/// One's own keys, as far as they may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnKeysView {
    /// Fingerprint of the identity key, in hexadecimal.
    pub identity: String,
    /// Fingerprint of the present encryption key, in hexadecimal.
    pub encryption_key: String,
    /// When it was made; 0: not known here.
    pub encryption_made_unix_ms: u64,
    /// Version of the key bundle.
    pub bundle_version: u64,
    /// This device.
    pub device: DeviceId,
    /// Devices in the bundle, retired ones included.
    pub devices: usize,
}

/// Safety number and what is known of a person's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The person.
    pub user: UserName,
    /// 60 digits in groups of five; of the new key when it changed.
    pub safety_number: String,
    /// Fingerprint of the identity key that the number is of, in hexadecimal.
    pub fingerprint: String,
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
