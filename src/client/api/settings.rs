//! What the owner of a profile decides about chats and about the account.

use std::time::Duration;

/// Of what the owner wants to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Of every message.
    #[default]
    All,
    /// Of messages that name the owner.
    Mentions,
    /// Of nothing.
    None,
}

/// What is set for one chat. `None`: as the account's settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatSettings {
    /// What the owner calls the person; never leaves this profile.
    pub alias: Option<String>,
    /// Of what to be told.
    pub notify: Option<Notify>,
    /// Quiet until then.
    pub muted_until_unix_ms: Option<u64>,
    /// Whether read receipts go and are taken.
    pub receipts: Option<bool>,
    /// Whether "is typing" goes and is taken.
    pub typing: Option<bool>,
    /// How long texts of this chat live when a [`super::Draft`] does not say.
    pub expire: Option<Duration>,
    /// What was typed and not sent.
    pub draft: Option<String>,
    /// Not in the list of chats until something new is written.
    pub closed: bool,
}

/// One change of [`ChatSettings`]; `None` goes back to what the account's settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatChange {
    /// At most 64 bytes. An alias names one person: whoever had it before loses it.
    Alias(Option<String>),
    /// Of what to be told.
    Notify(Option<Notify>),
    /// Quiet until then (own clock).
    MutedUntil(Option<u64>),
    /// Read receipts.
    Receipts(Option<bool>),
    /// "is typing".
    Typing(Option<bool>),
    /// From a second to a year; what lies outside is taken to the nearest.
    Expire(Option<Duration>),
    /// At most the bytes of a message.
    Draft(Option<String>),
    /// Whether it is left out of the list of chats.
    Closed(bool),
}

/// What is set for the whole account on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// Read receipts go, and those of others are taken.
    pub receipts: bool,
    /// "is typing" goes, and that of others is taken.
    pub typing: bool,
    /// Others do not see this account as online.
    pub invisible: bool,
    /// Of what to be told.
    pub notify: Notify,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self { receipts: true, typing: true, invisible: false, notify: Notify::All }
    }
}

/// One change of [`AccountSettings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// Read receipts.
    Receipts(bool),
    /// "is typing".
    Typing(bool),
    /// Presence; takes effect at once when connected.
    Invisible(bool),
    /// Of what to be told.
    Notify(Notify),
}
