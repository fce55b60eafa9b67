//! The lines look as documented, and every field of every type is documented.

use super::*;
use crate::client::{
    Author, ChatView, Contact, FileView, Form, GroupChange, GroupDone, GroupError, GroupView,
    InviteView, LocalId, MemberView, MessageState, MessageView, Refusal, Role, Standing,
    StatusView, TransferFailure, TransferState, Trust, WireId,
};
use crate::types::{ChatName, DeviceId, GroupName, N};
use crate::wire::Code;

const NOON: u64 = 1_795_176_062_003;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn message(author: Author, state: Option<MessageState>) -> MessageView {
    MessageView {
        id: LocalId(12),
        chat: name("alice").into(),
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
        file: None,
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
    let line = Line::Message(message(Author::Them(name("alice")), None));
    let json = Record::of_line(&line, &name("bob")).line();
    assert!(json.starts_with(
        r#"{"v":1,"type":"message","id":"12","chat":"alice","from":"alice","to":"bob","#
    ));
    assert!(json.contains(r"\u009b") && !json.contains('\u{9b}'), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["text"], "hi\u{9b}2J \"you\"");
}

#[test]
fn a_message_says_what_file_it_brings_and_how_far_that_is() {
    let mut message = message(Author::Them(name("alice")), None);
    let quota = TransferFailure::Quota { limit_bytes: 2, used_bytes: 1 };
    for (transfer, words) in [
        (TransferState::NotFetched, r#""transfer":"not_fetched"}"#),
        (TransferState::Waiting(None), r#""transfer":"waiting"}"#),
        (
            TransferState::Waiting(Some(Code::HomeDown)),
            r#""transfer":"waiting","reason":"home_down"}"#,
        ),
        (TransferState::Done, r#""transfer":"done"}"#),
        (TransferState::Failed(quota), r#""transfer":"failed","reason":"quota"}"#),
    ] {
        let dimensions = Some((640, 480));
        let (file, media_type) = ("a\u{9b}2J.jpg".into(), "image/jpeg".into());
        let thumbnail = vec![0xff; 3];
        let file =
            FileView { name: file, bytes: 3_000, media_type, dimensions, thumbnail, transfer };
        message.file = Some(Box::new(file));
        let json = Record::of_line(&Line::Message(message.clone()), &name("bob")).line();
        let file = r#""file":{"name":"a\u009b2J.jpg","bytes":3000,"media_type":"image/jpeg","width":640,"height":480,"#;
        assert!(json.contains(&format!("{file}{words}")), "{json}");
    }
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

/// #team with bob as admin and alice.
fn team() -> GroupView {
    let member = |user: &str, role| MemberView { user: name(user), role, trust: Trust::Pinned };
    GroupView {
        name: GroupName::parse("team").unwrap(),
        id: "ab".into(),
        title: "The\u{9b}2J Team".into(),
        topic: String::new(),
        standing: Standing::Member,
        removed_by: None,
        role: Some(Role::Admin),
        members: vec![member("alice", Role::Member), member("bob", Role::Admin)],
        invites: vec![InviteView {
            id: "cd".into(),
            password: false,
            uses_left: Some(2),
            by: name("bob"),
        }],
        key_epoch: 1,
        changes: 4,
        head: "ef".into(),
    }
}

#[test]
fn a_group_looks_as_documented_and_harms_no_terminal() {
    assert_eq!(
        Record::Group(GroupLine::new(&team())).line(),
        r##"{"v":1,"type":"group","group":"#team","id":"ab","title":"The\u009b2J Team","topic":"","standing":"member","role":"admin","members":[{"user":"alice","role":"member","trust":"pinned"},{"user":"bob","role":"admin","trust":"pinned"}],"invites":[{"id":"cd","password":false,"uses_left":2,"by":"bob"}],"key_epoch":"1","changes":"4","head":"ef"}"##
    );
    let failed = vec![(name("carol"), GroupError::NoSuchUser(name("carol")))];
    let done = GroupDone { group: team(), link: None, already: Vec::new(), failed };
    assert_eq!(
        Record::GroupDone(GroupDoneLine::new(&done, "added")).line(),
        r##"{"v":1,"type":"group_done","group":"#team","did":"added","already":[],"failed":[{"user":"carol","code":"not_found","text":"No user \"carol\" here.  Look how it is written."}],"members":2,"changes":"4"}"##
    );
}

#[test]
fn each_type_is_documented() {
    let doc = include_str!("../../../../docs/json.md");
    let me = name("bob");
    let hole = Line::Trouble {
        id: LocalId(1),
        chat: name("alice").into(),
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
        chat: name("alice").into(),
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
    let team = team();
    let changed = Line::Membership {
        id: LocalId(2),
        chat: ChatName::Group(team.name.clone()),
        group: team.name.clone(),
        by: me.clone(),
        change: GroupChange::Title { text: text() },
        at_unix_ms: NOON,
        again: false,
    };
    let done = GroupDone {
        group: team.clone(),
        link: Some(text()),
        already: vec![me.clone()],
        failed: vec![(name("alice"), GroupError::NoSuchUser(name("alice")))],
    };
    for record in [
        Record::Group(GroupLine::new(&team)),
        Record::GroupDone(GroupDoneLine::new(&done, "added")),
        Record::GroupForgotten { group: text() },
        Record::of_line(&changed, &me),
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
            assert!(section.contains(&format!("`{field}`")), "{kind}.{field} is not documented");
        }
    }
}
