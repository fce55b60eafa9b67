//! Groups: made, joined, changed, left. The next line is read when the answer is here, so that it
//! goes where the prompt says.

use zeroize::Zeroizing;

use crate::client::{GroupCommand, GroupError, GroupView, JoinState, Role, Standing};
use crate::types::{ChatName, GroupName, UserName};
use crate::ui::commands::{Group, Known, Sure, Wish};
use crate::ui::input::{Above, Times};
use crate::ui::lists;
use crate::ui::say::{self, Place};

use super::drafts::{Asked, Input};
use super::{Answer, Effect, Session};

mod asking;
mod told;

use told::{added, came_in, made, not_done, with_rest};

/// What a password is typed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new group.
    Create { name: GroupName, with: Vec<UserName> },
    /// To come in.
    Join(GroupName),
    /// To let others come in.
    Set(GroupName),
    /// The same, after somebody was put out and the one before has ended.
    SetAgain(GroupName),
}

/// What follows an answer about a group.
pub(super) enum Then {
    /// The next line.
    Nothing,
    /// Nothing was done.
    Failed,
    /// The group is the current chat.
    Open(GroupName),
    /// It is so no longer.
    Leave(GroupName),
    /// Its password is asked for.
    AskPassword(GroupName),
    /// A new password for it is asked for: the one before has ended.
    AskNewPassword(GroupName),
}

impl Session {
    // --- what is known of groups ---

    /// Tells Tab of people and groups.
    pub(super) fn learn_groups(&mut self) {
        self.groups_changed = false;
        let views = self.env.in_place(|| self.client.groups()).unwrap_or_default();
        let me = &self.options.me;
        let groups = views
            .iter()
            .filter(|view| view.standing == Standing::Member)
            .map(|view| {
                let of = |role: Role| {
                    let those = view.members.iter().filter(|one| one.role == role);
                    those.filter(|one| one.user != *me).map(|one| one.user.to_string()).collect()
                };
                let name = view.name.to_string();
                Group { name, admins: of(Role::Admin), plain: of(Role::Member) }
            })
            .collect();
        let people = self.screen.names.words();
        self.terminal.offer(Known { people, groups, here: self.here() });
    }

    /// The group that is the current chat, with its `#`.
    pub(super) fn here(&self) -> Option<String> {
        self.chat.as_ref().and_then(ChatName::group).map(ToString::to_string)
    }

    /// A group as it is known here; says so when it is not.
    fn view(&mut self, name: &GroupName) -> Option<GroupView> {
        match self.env.in_place(|| self.client.group(name)) {
            Ok(Some(view)) => return Some(view),
            Ok(None) => self.group_failed(&GroupError::NoSuchGroup(name.clone()), Some(name)),
            Err(error) => self.failed(&error, Some(name)),
        }
        None
    }

    /// As [`Self::view`], for what only an admin may do: nobody is asked for anything in vain.
    fn as_admin(&mut self, name: &GroupName) -> Option<GroupView> {
        let view = self.view(name)?;
        let why = match (view.standing, view.role) {
            (Standing::Member, Some(Role::Admin)) => return Some(view),
            (Standing::Member, _) => GroupError::NotAnAdmin(name.clone()),
            (_, _) => say::not_there(&view),
        };
        self.group_failed(&why, Some(name));
        None
    }

    pub(super) fn group_failed(&mut self, error: &GroupError, group: Option<&GroupName>) {
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::group_error(error, group, Place::Line));
        self.reply(Above::Keep, line);
    }

    // --- commands ---

    pub(super) fn create_group(&mut self, name: GroupName, with: Vec<UserName>) {
        if self.is_piped() {
            return self.make_group(name, with, None);
        }
        let question = format!("Password to join {name} by (Enter: none): ");
        self.ask_password(Purpose::Create { name, with }, question, Times::Twice);
    }

    fn make_group(
        &mut self,
        name: GroupName,
        with: Vec<UserName>,
        password: Option<Zeroizing<String>>,
    ) {
        self.hold(|client, screen| async move {
            match client.create_group(&name, &with, "", password).await {
                Ok(done) => {
                    let text = with_rest(&screen, &done, made(&screen, &done));
                    Answer { text, effect: Effect::Group(Then::Open(name)) }
                }
                Err(error) => not_done(&screen, &error, Some(&name)),
            }
        });
    }

    /// Whether there is such a group is found out before a password is asked for.
    pub(super) fn join_group(&mut self, name: GroupName) {
        if self.is_piped() {
            return self.mistake(&format!(
                "A password is asked for at a terminal only. Use: client group join {} \
                 --join-password-file FILE",
                name.as_str()
            ));
        }
        self.hold(|client, screen| async move {
            match client.may_join(&name).await {
                Ok(JoinState::Open) => {
                    Answer { text: String::new(), effect: Effect::Group(Then::AskPassword(name)) }
                }
                Ok(JoinState::AlreadyIn) => Answer {
                    text: screen.notice(&format!("you are in {name} already")),
                    effect: Effect::Group(Then::Open(name)),
                },
                Err(error) => not_done(&screen, &error, Some(&name)),
            }
        });
    }

    fn join_with(&mut self, name: GroupName, password: Zeroizing<String>) {
        self.hold(|client, screen| async move {
            let joined = client.join_by_password(&name, password).await;
            came_in(&screen, joined, Some(name))
        });
    }

    pub(super) fn join_by_link(&mut self, link: String) {
        let name = self.client.read_link(&link).ok();
        self.hold(|client, screen| async move {
            let joined = client.join_by_link(&link).await;
            came_in(&screen, joined, name)
        });
    }

    pub(super) fn groups(&mut self) {
        let known = self.env.in_place(|| {
            Ok::<_, crate::client::RequestError>((self.client.groups()?, self.client.chats()?))
        });
        match known {
            Ok((groups, mut chats)) => {
                for chat in &mut chats {
                    chat.unread += self.view.unread.get(&chat.chat).copied().unwrap_or(0);
                }
                let text = lists::groups(&self.screen, &groups, &chats);
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    /// A wish about a group, or about that of the current chat.
    pub(super) fn in_group(&mut self, group: Option<GroupName>, wish: Wish) {
        let current = || self.chat.as_ref().and_then(ChatName::group).cloned();
        let Some(group) = group.or_else(current) else {
            return self.mistake("No group is open. Open one: /to #NAME   Your groups: /groups");
        };
        match wish {
            Wish::Add(people) => self.add(group, people),
            Wish::Kick(user) => self.kick(group, user),
            Wish::Grant(people) => {
                let said: Vec<&str> =
                    people.iter().map(|who| self.screen.names.label(who)).collect();
                let text = format!("{} may do in {group} what an admin may", said.join(", "));
                self.change_saying(group, GroupCommand::Grant(people), text);
            }
            Wish::Revoke(user) => {
                let text = format!("{} is no admin of {group} now", self.screen.names.label(&user));
                self.change_saying(group, GroupCommand::Revoke(user), text);
            }
            Wish::Invite(uses) => self.invite(group, uses),
            Wish::Withdraw => {
                let text = format!("no link and no password opens {group} now");
                self.change_saying(group, GroupCommand::Withdraw, text);
            }
            Wish::Password => self.ask_for_new_password(group),
            Wish::Title(None) | Wish::Topic(None) => self.say_text(&group, &wish),
            Wish::Title(Some(text)) => {
                let said = format!("the title of {group} is changed");
                self.change_saying(group, GroupCommand::Title(text), said);
            }
            Wish::Topic(Some(text)) => {
                let said = format!("the topic of {group} is changed");
                self.change_saying(group, GroupCommand::Topic(text), said);
            }
            Wish::Leave(successor) => self.leave(group, successor),
            Wish::Members => {
                if let Some(view) = self.view(&group) {
                    let text = lists::group(&self.screen, &view, &self.options.me);
                    self.reply(Above::Keep, text);
                }
            }
            Wish::Close(Sure::Yes) => self.close_group(group),
            Wish::Close(Sure::Ask) => self.ask_to_close(group),
        }
    }

    fn say_text(&mut self, group: &GroupName, wish: &Wish) {
        let Some(view) = self.view(group) else { return };
        let (what, text) = match wish {
            Wish::Topic(_) => ("topic", view.topic),
            _ => ("title", view.title),
        };
        let text = match crate::ui::text::clean_line(&text) {
            text if text.is_empty() => format!("{group} has no {what}; to set one: /{what} TEXT"),
            text => format!("{what} of {group}: {text}"),
        };
        let line = self.screen.notice(&text);
        self.reply(Above::Keep, line);
    }

    fn change_saying(&mut self, group: GroupName, command: GroupCommand, text: String) {
        self.hold(|client, screen| async move {
            match client.change_group(&group, command).await {
                Ok(done) => {
                    let text = with_rest(&screen, &done, screen.notice(&text));
                    Answer { text, effect: Effect::Group(Then::Nothing) }
                }
                Err(error) => not_done(&screen, &error, Some(&group)),
            }
        });
    }

    fn add(&mut self, group: GroupName, people: Vec<UserName>) {
        self.hold(|client, screen| async move {
            match client.change_group(&group, GroupCommand::Add(people.clone())).await {
                Ok(done) => {
                    let text = with_rest(&screen, &done, added(&screen, &done, &people));
                    Answer { text, effect: Effect::Group(Then::Nothing) }
                }
                Err(error) => not_done(&screen, &error, Some(&group)),
            }
        });
    }

    fn invite(&mut self, group: GroupName, uses: u32) {
        self.hold(move |client, screen| async move {
            match client.change_group(&group, GroupCommand::Invite { uses }).await {
                Ok(done) => {
                    let link = done.link.as_deref().unwrap_or_default();
                    let text = lists::link(&screen, &group, link, uses);
                    Answer { text, effect: Effect::Group(Then::Nothing) }
                }
                Err(error) => not_done(&screen, &error, Some(&group)),
            }
        });
    }

    fn ask_for_new_password(&mut self, group: GroupName) {
        if self.is_piped() {
            return self.mistake(&format!(
                "A password is asked for at a terminal only. Use: client group password {} --file \
                 FILE",
                group.as_str()
            ));
        }
        if self.as_admin(&group).is_some() {
            let question = format!("Password to join {group} by (Enter: none): ");
            self.ask_password(Purpose::Set(group), question, Times::Twice);
        }
    }

    fn set_password(&mut self, group: GroupName, password: Option<Zeroizing<String>>) {
        let text = match &password {
            Some(_) => format!("whoever knows the password can join: /join {}", group.as_str()),
            None => format!("{group} has no password to join by now"),
        };
        self.change_saying(group, GroupCommand::Password(password), text);
    }

    /// What let others in ends with a kick: who was put out knows it too. That comes first, and
    /// what is asked afterwards does not undo it.
    fn kick(&mut self, group: GroupName, who: UserName) {
        let Some(view) = self.as_admin(&group) else { return };
        let (invited, asks) = (!view.invites.is_empty(), !self.is_piped());
        self.hold(move |client, screen| async move {
            let done = match client.change_group(&group, GroupCommand::Kick(who.clone())).await {
                Ok(done) => done,
                Err(error) => return not_done(&screen, &error, Some(&group)),
            };
            let mut lines = vec![screen.notice(&format!(
                "{} is out of {group}; what is written from now on has a new key",
                screen.names.label(&who)
            ))];
            let then = match (invited, asks) {
                (false, _) => Then::Nothing,
                (true, false) => {
                    lines.push(screen.notice(
                        "Invitations ended; set a new password: /password or make a new link: \
                         /invite",
                    ));
                    Then::Nothing
                }
                (true, true) => {
                    lines.push(screen.notice("Invitations ended; for a new link: /invite"));
                    Then::AskNewPassword(group)
                }
            };
            let text = with_rest(&screen, &done, lines.join("\n"));
            Answer { text, effect: Effect::Group(then) }
        });
    }

    fn leave(&mut self, group: GroupName, successor: Option<UserName>) {
        let Some(view) = self.view(&group) else { return };
        if successor.is_none() && say::is_only_admin(&view, &self.options.me) {
            let candidates = say::candidates(&view, &self.options.me);
            self.piped.mistakes += 1;
            let told = say::last_admin(&group, &candidates, Place::Line);
            let line = self.screen.told(&told);
            return self.reply(Above::Keep, line);
        }
        let text = match view.members.len() {
            1 => format!("{group} is closed: you were the last one in it"),
            _ => format!("you are out of {group}; what was written stays here"),
        };
        self.go(group, GroupCommand::Leave { successor }, text);
    }

    fn ask_to_close(&mut self, group: GroupName) {
        if self.is_piped() {
            return self.mistake(&format!("Closing {group} needs a yes: /delgrp {group} yes"));
        }
        if self.as_admin(&group).is_some() {
            let question = format!(
                "Close {group}? Nobody can write there any more; it cannot be undone. (y or n)"
            );
            self.screen.width = self.terminal.columns();
            let question = self.screen.wrapped(&question, "  ");
            self.input = Input::Question(Asked::Close(group));
            self.reply(Above::Keep, question);
        }
    }

    pub(super) fn close_group(&mut self, group: GroupName) {
        let text = format!("{group} is closed for everybody; what was written stays here");
        self.go(group, GroupCommand::Close, text);
    }

    /// A change after which one is not in the group any more.
    fn go(&mut self, group: GroupName, command: GroupCommand, text: String) {
        self.hold(|client, screen| async move {
            match client.change_group(&group, command).await {
                Ok(_) => {
                    Answer { text: screen.notice(&text), effect: Effect::Group(Then::Leave(group)) }
                }
                Err(error) => not_done(&screen, &error, Some(&group)),
            }
        });
    }
}
