//! The objects of `docs/json.md`. Fields are only added; a meaning never changes under `v` 1.
//!
//! Here is every type of line and how it is encoded; what stands in those of messages is in
//! `messages`, of chats, people and the client itself in `views`.

mod files;
mod groups;
mod messages;
#[cfg(test)]
mod tests;
mod transfers;
mod views;

use serde::Serialize;

pub(super) use self::groups::{GroupDoneLine, GroupLine};
pub(super) use self::messages::Own;
pub(super) use self::transfers::TransferLine;
pub(super) use self::views::{Chat, ContactLine, KeyLine, Status};

use self::messages::{MembershipLine, Message, TroubleLine};
use crate::client::{Line, Trouble};
use crate::types::UserName;
use crate::ui::{say, text, time};

/// One line of output.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Record<'a> {
    Sent(Own),
    Refused(Own),
    Waiting(Own),
    NotTaken {
        to: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<String>,
        code: &'static str,
        text: &'a str,
    },
    Message(Message),
    Trouble(TroubleLine),
    /// A group changed.
    Membership(MembershipLine),
    Chat(Chat),
    Status(Status),
    Whoami {
        user: String,
        profile: String,
        server: String,
        cluster: String,
        signed_in: bool,
    },
    SignedIn {
        user: String,
        profile: String,
        server: String,
        cluster: String,
        new_account: bool,
    },
    SignedOut {
        profile: String,
        forgotten: bool,
    },
    Cancelled {
        id: String,
    },
    Contact(ContactLine),
    /// A group.
    Group(GroupLine),
    /// Something was done to a group.
    GroupDone(GroupDoneLine),
    GroupForgotten {
        group: String,
    },
    OwnKeys {
        identity: String,
        encryption_key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        made_at: Option<String>,
        device: String,
        bundle_version: String,
    },
    Key(KeyLine),
    PasswordChanged {
        user: String,
    },
    AccountDeleted {
        user: String,
        at: String,
    },
    File {
        path: &'a str,
    },
    /// A file on its way.
    Transfer(TransferLine),
    /// A file that came is stored.
    Saved {
        id: String,
        path: &'a str,
    },
    Restored {
        user: String,
        profile: String,
        made_at: String,
    },
    SettingsFile {
        path: &'a str,
    },
    Setting {
        key: &'a str,
        value: Option<&'a str>,
    },
    Notice {
        text: &'a str,
    },
    Error {
        code: &'static str,
        exit: u8,
        text: &'a str,
        hint: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        kept: Option<String>,
    },
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u32,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

impl Record<'_> {
    /// The encoded line, without its end.
    pub(super) fn line(&self) -> String {
        // Strings, numbers and booleans under string keys always encode.
        let json = serde_json::to_string(&Versioned { v: 1, record: self }).unwrap_or_default();
        text::safe_json(&json)
    }

    /// A line of a chat.
    pub(super) fn of_line(line: &Line, me: &UserName) -> Self {
        match line {
            Line::Message(message) => Self::Message(Message::new(message, me)),
            Line::Trouble { id, chat, trouble, at_unix_ms, again } => {
                let (first, last) = match trouble {
                    Trouble::Hole { from, to } => (Some(from.to_string()), Some(to.to_string())),
                    Trouble::Expired
                    | Trouble::BadSignature
                    | Trouble::BadBinding
                    | Trouble::Equivocation
                    | Trouble::UnknownSuite
                    | Trouble::NoKey
                    | Trouble::KeyChanged
                    | Trouble::NotAMember
                    | Trouble::Forked
                    | Trouble::AnotherGroup => (None, None),
                };
                Self::Trouble(TroubleLine {
                    id: id.to_string(),
                    chat: chat.to_string(),
                    trouble: say::trouble_word(trouble),
                    text: say::trouble(trouble, chat).line(),
                    first,
                    last,
                    at: time::rfc3339(*at_unix_ms),
                    again: *again,
                })
            }
            Line::Membership { id, chat, group, by, change, at_unix_ms, again } => {
                Self::Membership(MembershipLine {
                    id: id.to_string(),
                    chat: chat.to_string(),
                    group: group.to_string(),
                    by: by.to_string(),
                    change: change.clone(),
                    at: time::rfc3339(*at_unix_ms),
                    again: *again,
                })
            }
        }
    }
}
