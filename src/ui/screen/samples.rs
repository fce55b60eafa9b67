//! Messages for the tests of this room.

use super::*;
use crate::client::{Author, Form, LocalId, MessageView, ReplyView};

/// 2026-11-20 12:01:02 UTC, a Friday.
pub(crate) const NOON: u64 = 1_795_176_062_000;

pub(crate) fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

pub(crate) fn from_bob(text: &str) -> MessageView {
    MessageView {
        id: LocalId(1),
        chat: name("bob").into(),
        author: Author::Them(name("bob")),
        text: text.to_owned(),
        at_unix_ms: NOON,
        sent_at_unix_ms: NOON,
        state: None,
        wire_id: None,
        again: false,
        unaccepted_key: false,
        form: Form::Text,
        reply_to: None,
        edited: false,
        deleted: false,
        reactions: Vec::new(),
        file: None,
        expires_unix_ms: None,
    }
}

pub(crate) fn to_bob(text: &str, state: MessageState) -> MessageView {
    MessageView { author: Author::Me, state: Some(state), ..from_bob(text) }
}

/// Bob answers "on my way", which Alice wrote.
pub(crate) fn answer_from_bob(text: &str) -> MessageView {
    let reply =
        ReplyView { id: Some(LocalId(7)), author: Author::Me, excerpt: "on my way".to_owned() };
    MessageView { reply_to: Some(reply), ..from_bob(text) }
}
