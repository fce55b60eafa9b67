//! Groups as JSON: one of them, and what was done to one.

use serde::Serialize;

use crate::cli::client::report::code_word;
use crate::client::{GroupDone, GroupView, Role, Standing};
use crate::ui::say::{self, Place};

use super::views::trust_word;

#[derive(Serialize)]
pub(in crate::cli::client) struct GroupLine {
    group: String,
    id: String,
    title: String,
    topic: String,
    standing: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    members: Vec<Member>,
    invites: Vec<Invite>,
    key_epoch: String,
    changes: String,
    head: String,
}

#[derive(Serialize)]
struct Member {
    user: String,
    role: &'static str,
    trust: &'static str,
}

#[derive(Serialize)]
struct Invite {
    id: String,
    password: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uses_left: Option<u32>,
    by: String,
}

impl GroupLine {
    pub(in crate::cli::client) fn new(view: &GroupView) -> Self {
        Self {
            group: view.name.to_string(),
            id: view.id.clone(),
            title: view.title.clone(),
            topic: view.topic.clone(),
            standing: standing_word(view.standing),
            role: view.role.map(role_word),
            members: (view.members.iter())
                .map(|member| Member {
                    user: member.user.to_string(),
                    role: role_word(member.role),
                    trust: trust_word(member.trust),
                })
                .collect(),
            invites: (view.invites.iter())
                .map(|invite| Invite {
                    id: invite.id.clone(),
                    password: invite.password,
                    uses_left: invite.uses_left,
                    by: invite.by.to_string(),
                })
                .collect(),
            key_epoch: view.key_epoch.to_string(),
            changes: view.changes.to_string(),
            head: view.head.clone(),
        }
    }
}

#[derive(Serialize)]
pub(in crate::cli::client) struct GroupDoneLine {
    group: String,
    did: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    already: Vec<String>,
    failed: Vec<Failed>,
    members: usize,
    changes: String,
}

/// Somebody who could not be had.
#[derive(Serialize)]
struct Failed {
    user: String,
    code: &'static str,
    text: String,
}

impl GroupDoneLine {
    pub(in crate::cli::client) fn new(done: &GroupDone, did: &'static str) -> Self {
        let name = &done.group.name;
        Self {
            group: name.to_string(),
            did,
            link: done.link.clone(),
            already: done.already.iter().map(ToString::to_string).collect(),
            failed: (done.failed.iter())
                .map(|(user, error)| Failed {
                    user: user.to_string(),
                    code: code_word(crate::cli::client::group::exit_of(error)),
                    text: say::group_error(error, Some(name), Place::Shell).line(),
                })
                .collect(),
            members: done.group.members.len(),
            changes: done.group.changes.to_string(),
        }
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
    }
}

fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Making => "making",
        Standing::Joining => "joining",
        Standing::Member => "member",
        Standing::Removed => "removed",
        Standing::Left => "left",
        Standing::Closed => "closed",
        Standing::Forked => "forked",
    }
}
