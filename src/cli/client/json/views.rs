//! Chats, people, keys and the client's own state as JSON.

use serde::Serialize;

use crate::client::{ChatView, Contact, ContactView, KeyView, StatusView, Trust};
use crate::ui::{text, time};

#[derive(Serialize)]
pub(in crate::cli::client) struct Chat {
    chat: String,
    unread: usize,
    waiting: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    trust: &'static str,
    contact: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Chat {
    pub(in crate::cli::client) fn new(view: &ChatView) -> Self {
        Self {
            chat: view.chat.to_string(),
            unread: view.unread,
            waiting: view.waiting,
            at: (view.last_unix_ms > 0).then(|| time::rfc3339(view.last_unix_ms)),
            trust: trust_word(view.trust),
            contact: contact_word(view.contact),
            text: view.last_text.clone(),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli::client) struct Status {
    user: String,
    device: String,
    server: String,
    cluster: String,
    online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_to: Option<String>,
    waiting: usize,
    unread: usize,
    fingerprint: String,
}

impl Status {
    pub(in crate::cli::client) fn new(view: &StatusView) -> Self {
        Self {
            user: view.user.to_string(),
            device: format!("{:016x}", view.device.0),
            server: view.balancer.clone(),
            cluster: view.cluster.clone(),
            online: view.connected.is_some(),
            connected_to: view.connected.as_ref().map(ToString::to_string),
            waiting: view.waiting,
            unread: view.unread,
            fingerprint: view.fingerprint.clone(),
        }
    }
}

/// Somebody who was accepted or blocked.
#[derive(Serialize)]
pub(in crate::cli::client) struct ContactLine {
    pub(super) user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<String>,
    pub(super) contact: &'static str,
    pub(super) trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) online: Option<bool>,
}

impl ContactLine {
    pub(in crate::cli::client) fn new(view: &ContactView) -> Self {
        Self {
            user: view.user.to_string(),
            alias: view.alias.clone(),
            contact: contact_word(view.contact),
            trust: trust_word(view.trust),
            online: view.online,
        }
    }

    /// The same for people.
    pub(in crate::cli::client) fn text(&self) -> String {
        let alias = self.alias.as_deref().map(text::clean_line).unwrap_or_default();
        let key = match self.trust {
            "unknown" => "no key seen yet",
            "changed" => "KEY CHANGED",
            other => other,
        };
        let blocked = if self.contact == "blocked" { "   blocked" } else { "" };
        let online = if self.online == Some(true) { "   online" } else { "" };
        format!("{:<20} {alias:<20} {key}{blocked}{online}", self.user)
    }
}

/// Somebody's key.
#[derive(Serialize)]
pub(in crate::cli::client) struct KeyLine {
    pub(super) user: String,
    pub(super) fingerprint: String,
    pub(super) safety_number: String,
    pub(super) trust: &'static str,
}

impl KeyLine {
    pub(in crate::cli::client) fn new(view: &KeyView) -> Self {
        Self {
            user: view.user.to_string(),
            fingerprint: view.fingerprint.clone(),
            safety_number: view.safety_number.clone(),
            trust: trust_word(view.trust),
        }
    }
}

pub(super) fn trust_word(trust: Trust) -> &'static str {
    match trust {
        Trust::Unknown => "unknown",
        Trust::Pinned => "pinned",
        Trust::Verified => "verified",
        Trust::Changed => "changed",
    }
}

fn contact_word(contact: Contact) -> &'static str {
    match contact {
        Contact::Request => "request",
        Contact::Accepted => "accepted",
        Contact::Blocked => "blocked",
    }
}
