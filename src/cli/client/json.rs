//! The objects of `docs/json.md`. Fields are only added; a meaning never changes under `v` 1.

use serde::Serialize;

use crate::client::{
    Author, ChatView, Contact, ContactView, Form, KeyView, Line, MessageState, MessageView,
    Refusal, StatusView, Trouble, Trust,
};
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
                    | Trouble::KeyChanged => (None, None),
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
        }
    }
}

/// An own message and where it stands.
#[derive(Serialize)]
pub(super) struct Own {
    id: String,
    to: String,
    state: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Own {
    pub(super) fn new(message: &MessageView) -> Self {
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
pub(super) struct Message {
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
    fn new(message: &MessageView, me: &UserName) -> Self {
        let (from, to) = match message.author {
            Author::Me => (me, &message.chat),
            Author::Peer => (&message.chat, me),
        };
        let of = |author: &Author| match author {
            Author::Me => me.to_string(),
            Author::Peer => message.chat.to_string(),
        };
        Self {
            id: message.id.to_string(),
            chat: message.chat.to_string(),
            from: from.to_string(),
            to: to.to_string(),
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
            expires_at: message.expires_unix_ms.map(time::rfc3339),
        }
    }
}

#[derive(Serialize)]
pub(super) struct TroubleLine {
    id: String,
    chat: String,
    trouble: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    at: String,
    again: bool,
}

#[derive(Serialize)]
pub(super) struct Chat {
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
    pub(super) fn new(view: &ChatView) -> Self {
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
pub(super) struct Status {
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
    pub(super) fn new(view: &StatusView) -> Self {
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
pub(super) struct ContactLine {
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    contact: &'static str,
    trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
}

impl ContactLine {
    pub(super) fn new(view: &ContactView) -> Self {
        Self {
            user: view.user.to_string(),
            alias: view.alias.clone(),
            contact: contact_word(view.contact),
            trust: trust_word(view.trust),
            online: view.online,
        }
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
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
pub(super) struct KeyLine {
    user: String,
    fingerprint: String,
    safety_number: String,
    trust: &'static str,
}

impl KeyLine {
    pub(super) fn new(view: &KeyView) -> Self {
        Self {
            user: view.user.to_string(),
            fingerprint: view.fingerprint.clone(),
            safety_number: view.safety_number.clone(),
            trust: trust_word(view.trust),
        }
    }
}

fn trust_word(trust: Trust) -> &'static str {
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

fn state_word(state: &MessageState) -> &'static str {
    match state {
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
        MessageState::Waiting
        | MessageState::Pending
        | MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Form, LocalId, WireId};
    use crate::types::{DeviceId, N};
    use crate::wire::Code;

    const NOON: u64 = 1_795_176_062_003;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn message(author: Author, state: Option<MessageState>) -> MessageView {
        MessageView {
            id: LocalId(12),
            chat: name("alice"),
            author,
            text: "hi\u{9b}2J \"you\"".into(),
            at_unix_ms: NOON,
            sent_at_unix_ms: NOON,
            state,
            wire_id: Some(WireId { device: DeviceId(255), n: N(3) }),
            again: false,
            unaccepted_key: false,
            form: Form::Text,
            reply_to: None,
            edited: false,
            deleted: false,
            reactions: Vec::new(),
            expires_unix_ms: None,
        }
    }

    #[test]
    fn a_sent_message_looks_as_documented() {
        let own = Own::new(&message(Author::Me, Some(MessageState::Sent)));
        assert_eq!(
            Record::Sent(own).line(),
            r#"{"v":1,"type":"sent","id":"12","to":"alice","state":"sent","at":"2026-11-20T12:01:02.003Z","device":"00000000000000ff","n":"3"}"#
        );
        let state = MessageState::Refused(Refusal::Server(Code::NoSuchUser));
        let refused = Record::Refused(Own::new(&message(Author::Me, Some(state)))).line();
        assert!(refused.contains(r#""reason":"no_such_user""#), "{refused}");
    }

    #[test]
    fn a_received_message_keeps_its_text_exactly_and_harms_no_terminal() {
        let line = Line::Message(message(Author::Peer, None));
        let json = Record::of_line(&line, &name("bob")).line();
        assert!(json.starts_with(
            r#"{"v":1,"type":"message","id":"12","chat":"alice","from":"alice","to":"bob","#
        ));
        assert!(json.contains(r"\u009b") && !json.contains('\u{9b}'), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["text"], "hi\u{9b}2J \"you\"");
    }

    #[test]
    fn an_error_names_code_exit_and_hint() {
        let error = Record::Error {
            code: "unreachable",
            exit: 3,
            text: "No.",
            hint: "Yes.",
            kept: Some("12".into()),
        };
        assert_eq!(
            error.line(),
            r#"{"v":1,"type":"error","code":"unreachable","exit":3,"text":"No.","hint":"Yes.","kept":"12"}"#
        );
    }

    #[test]
    fn each_type_is_documented() {
        let doc = include_str!("../../../docs/json.md");
        let me = name("bob");
        let hole = Line::Trouble {
            id: LocalId(1),
            chat: name("alice"),
            trouble: Trouble::Hole { from: N(1), to: N(2) },
            at_unix_ms: NOON,
            again: true,
        };
        let full = |state| {
            let mut own = Own::new(&message(Author::Me, Some(MessageState::Sent)));
            own.state = state;
            own.reason = Some("blocked".into());
            own
        };
        let chat = ChatView {
            chat: name("alice"),
            unread: 1,
            waiting: 0,
            last_unix_ms: NOON,
            trust: Trust::Pinned,
            contact: Contact::Accepted,
            last_text: Some("hi".into()),
        };
        let status = StatusView {
            user: me.clone(),
            device: DeviceId(1),
            balancer: "h:1".into(),
            cluster: "ab".into(),
            connected: Some(crate::types::ServerId::numbered(1)),
            offline_since_unix_ms: None,
            waiting: 0,
            unread: 0,
            fingerprint: "cd".into(),
        };
        let text = || "x".to_owned();
        for record in [
            Record::Sent(full("sent")),
            Record::Refused(full("refused")),
            Record::Waiting(full("waiting")),
            Record::NotTaken { to: "bob", line: Some(text()), code: "refused", text: "x" },
            Record::Setting { key: "x", value: None },
            Record::Contact(ContactLine {
                user: text(),
                alias: Some(text()),
                contact: "accepted",
                trust: "pinned",
                online: Some(true),
            }),
            Record::OwnKeys {
                identity: text(),
                encryption_key: text(),
                made_at: Some(text()),
                device: text(),
                bundle_version: text(),
            },
            Record::Key(KeyLine {
                user: text(),
                fingerprint: text(),
                safety_number: text(),
                trust: "pinned",
            }),
            Record::PasswordChanged { user: text() },
            Record::AccountDeleted { user: text(), at: text() },
            Record::File { path: "x" },
            Record::Restored { user: text(), profile: text(), made_at: text() },
            Record::SettingsFile { path: "x" },
            Record::of_line(&Line::Message(message(Author::Me, Some(MessageState::Sent))), &me),
            Record::of_line(&hole, &me),
            Record::Chat(Chat::new(&chat)),
            Record::Status(Status::new(&status)),
            Record::Whoami {
                user: text(),
                profile: text(),
                server: text(),
                cluster: text(),
                signed_in: true,
            },
            Record::SignedIn {
                user: text(),
                profile: text(),
                server: text(),
                cluster: text(),
                new_account: true,
            },
            Record::SignedOut { profile: text(), forgotten: false },
            Record::Cancelled { id: text() },
            Record::Notice { text: "x" },
            Record::Error { code: "usage", exit: 2, text: "x", hint: "y", kept: Some(text()) },
        ] {
            let value: serde_json::Value = serde_json::from_str(&record.line()).unwrap();
            let kind = value["type"].as_str().unwrap();
            let section = doc
                .split("\n## ")
                .find(|part| part.lines().next().is_some_and(|l| l.contains(&format!("`{kind}`"))));
            let section = section.unwrap_or_else(|| panic!("docs/json.md lacks {kind}"));
            for field in
                value.as_object().unwrap().keys().filter(|f| !["v", "type"].contains(&f.as_str()))
            {
                assert!(
                    section.contains(&format!("`{field}`")),
                    "{kind}.{field} is not documented"
                );
            }
        }
    }
}
