//! Messages as JSON: own ones and where they stand, lines of a chat, and what is wrong with some.

use serde::Serialize;

use crate::client::{Author, Form, GroupChange, MessageState, MessageView, Refusal};
use crate::types::{ChatName, UserName};
use crate::ui::time;

use super::files::File;

/// An own message and where it stands.
#[derive(Serialize)]
pub(in crate::cli::client) struct Own {
    id: String,
    to: String,
    pub(super) state: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Own {
    pub(in crate::cli::client) fn new(message: &MessageView) -> Self {
        let state = message.state.as_ref().unwrap_or(&MessageState::Waiting);
        Self {
            id: message.id.to_string(),
            to: message.chat.to_string(),
            state: state_word(state),
            at: time::rfc3339(message.at_unix_ms),
            device: message.wire_id.as_ref().map(|id| format!("{:016x}", id.device.0)),
            n: message.wire_id.as_ref().map(|id| id.n.to_string()),
            reason: reason_word(state),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli::client) struct Message {
    id: String,
    chat: String,
    from: String,
    to: String,
    text: String,
    at: String,
    sent_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    again: bool,
    unaccepted_key: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    emote: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    edited: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Reply>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reactions: Vec<Reaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// The message that another one answers.
#[derive(Serialize)]
struct Reply {
    /// `None`: it is not in this profile.
    id: Option<String>,
    from: String,
    text: String,
}

#[derive(Serialize)]
struct Reaction {
    from: String,
    emoji: String,
}

impl Message {
    pub(super) fn new(message: &MessageView, me: &UserName) -> Self {
        let to = match (&message.author, &message.chat) {
            (Author::Them(_), ChatName::Person(_)) => me.to_string(),
            (Author::Me, chat) | (_, chat @ ChatName::Group(_)) => chat.to_string(),
        };
        let of = |author: &Author| match author {
            Author::Me => me.to_string(),
            Author::Them(user) => user.to_string(),
        };
        Self {
            id: message.id.to_string(),
            chat: message.chat.to_string(),
            from: of(&message.author),
            to,
            text: message.text.clone(),
            at: time::rfc3339(message.at_unix_ms),
            sent_at: time::rfc3339(message.sent_at_unix_ms),
            state: message.state.as_ref().map(state_word),
            again: message.again,
            unaccepted_key: message.unaccepted_key,
            emote: message.form == Form::Emote,
            edited: message.edited,
            deleted: message.deleted,
            reply_to: message.reply_to.as_ref().map(|reply| Reply {
                id: reply.id.map(|id| id.to_string()),
                from: of(&reply.author),
                text: reply.excerpt.clone(),
            }),
            reactions: (message.reactions.iter())
                .map(|reaction| Reaction {
                    from: of(&reaction.author),
                    emoji: reaction.emoji.clone(),
                })
                .collect(),
            file: message.file.as_deref().map(File::new),
            expires_at: message.expires_unix_ms.map(time::rfc3339),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli::client) struct TroubleLine {
    pub(super) id: String,
    pub(super) chat: String,
    pub(super) trouble: &'static str,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<String>,
    pub(super) at: String,
    pub(super) again: bool,
}

/// A change of a group, in its chat or in that with who changed it.
#[derive(Serialize)]
pub(in crate::cli::client) struct MembershipLine {
    pub(super) id: String,
    pub(super) chat: String,
    pub(super) group: String,
    pub(super) by: String,
    #[serde(flatten)]
    pub(super) change: GroupChange,
    pub(super) at: String,
    pub(super) again: bool,
}

fn state_word(state: &MessageState) -> &'static str {
    match state {
        MessageState::Uploading => "uploading",
        MessageState::Waiting => "waiting",
        MessageState::Pending => "pending",
        MessageState::Sent => "sent",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Refused(_) => "refused",
        MessageState::Cancelled => "cancelled",
    }
}

fn reason_word(state: &MessageState) -> Option<String> {
    match state {
        MessageState::Refused(Refusal::Server(code)) => Some(code.name().to_lowercase()),
        MessageState::Refused(Refusal::TooLarge) => Some("too_large".into()),
        MessageState::Refused(Refusal::KeyChanged) => Some("key_changed".into()),
        MessageState::Uploading
        | MessageState::Waiting
        | MessageState::Pending
        | MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Cancelled => None,
    }
}
