//! What goes to people: texts, answers, reactions, changes, and what is taken back.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{
    ActionError, Author, Draft, Form, GroupView, Line, LocalId, MessageState, MessageView,
    SendError, Trust,
};
use crate::types::{ChatName, UserName};
use crate::ui::commands;
use crate::ui::input::{Above, Kind};
use crate::ui::say;

use super::{Echo, Session, TrustPolicy};

/// How long an own line waits for its mark before it is shown with the mark it has.
const MARK_PATIENCE: Duration = Duration::from_millis(150);

impl Session {
    /// Sends a text to the current chat.
    pub(super) fn say(&mut self, text: &str) {
        match self.chat.clone() {
            Some(chat) => {
                self.forget_draft();
                self.send(&chat, &Draft::text(text));
            }
            None => {
                self.homeless = Some(text.to_owned());
                self.mistake("Choose a chat first: /to WHO   or: /msg WHO TEXT");
            }
        }
    }

    pub(super) fn send(&mut self, to: &ChatName, draft: &Draft) {
        if self.options.trust == TrustPolicy::Verified
            && let Some(user) = self.not_verified(to)
        {
            return self.mistake(&format!(
                "{user} is not verified, and --trust verified was asked for; nothing was sent. \
                 Compare: /verify {user}"
            ));
        }
        match self.env.in_place(|| self.client.send(to, draft)) {
            Ok(id) => self.taken(id, to),
            Err(error) => {
                if let (SendError::NoSuchGroup(group), Some(view)) = (&error, self.known_group(to))
                {
                    return self.group_failed(&say::not_there(&view), Some(group));
                }
                self.piped.mistakes += 1;
                let line = self.screen.told(&say::send_error(&error));
                self.reply(Above::Keep, line);
            }
        }
    }

    fn known_group(&self, chat: &ChatName) -> Option<GroupView> {
        chat.group().and_then(|group| self.client.group(group).ok().flatten())
    }

    /// Who would get it and was never verified.
    pub(super) fn not_verified(&self, chat: &ChatName) -> Option<UserName> {
        match chat {
            ChatName::Person(user) => {
                let key = self.client.known_key(user).ok().flatten();
                let is_verified = key.is_some_and(|key| key.trust == Trust::Verified);
                (!is_verified).then(|| user.clone())
            }
            ChatName::Group(group) => {
                let members = self.client.group(group).ok().flatten()?.members;
                let others = members.into_iter().filter(|one| one.user != self.options.me);
                let mut doubtful = others.filter(|one| one.trust != Trust::Verified);
                doubtful.next().map(|one| one.user)
            }
        }
    }

    /// The text is on this disk; its line is shown once it has its mark.
    fn taken(&mut self, id: LocalId, to: &ChatName) {
        if to.person().is_some_and(|user| !self.screen.names.knows(user)) {
            self.learn_names();
        }
        // Who answers has read.
        self.view.unread.remove(to);
        self.show_title();
        let now = Instant::now();
        match self.terminal.kind() {
            Kind::Editor => {
                let offline = self.net.offline_since.is_some();
                self.echo = Some(Echo { id, due: if offline { now } else { now + MARK_PATIENCE } });
            }
            Kind::Piped => {
                self.unsent.insert(id);
                self.echo = Some(Echo { id, due: now });
                self.finish_echo("");
            }
            // The terminal shows what was typed; the receipts say the rest.
            Kind::Cooked => {
                self.receipts.shown(id, to, &MessageState::Waiting);
                self.reply(Above::Keep, String::new());
            }
        }
    }

    /// Shows an own line with the mark it has by now, in place of what was typed; below it, what
    /// went wrong.
    pub(super) fn finish_echo(&mut self, why: &str) {
        let Some(echo) = self.echo.take() else { return };
        match self.env.in_place(|| self.client.message(echo.id)) {
            Ok(Some(message)) => {
                if let Some(state) = &message.state {
                    self.receipts.shown(message.id, &message.chat, state);
                }
                let mut text = self.own_line(message);
                if !why.is_empty() {
                    text = format!("{text}\n{why}");
                }
                self.reply(Above::Replace, text);
            }
            Ok(None) => self.reply(Above::Keep, String::new()),
            Err(error) => self.failed(&error, None),
        }
        self.show();
    }

    fn own_line(&mut self, message: MessageView) -> String {
        self.screen.width = self.terminal.columns();
        self.screen.line(&Line::Message(message))
    }

    pub(super) fn answer(&mut self, text: &str) {
        match self.last_writer.clone() {
            Some(writer) => self.send(&writer, &Draft::text(text)),
            None => self.mistake("Nobody has written to you yet in this session."),
        }
    }

    pub(super) fn emote(&mut self, text: String) {
        match self.chat.clone() {
            Some(chat) => self.send(&chat, &Draft { form: Form::Emote, ..Draft::text(text) }),
            None => self.mistake("Choose a chat first: /to WHO"),
        }
    }

    pub(super) fn answer_one(&mut self, id: LocalId, text: String) {
        if let Some(message) = self.one(id) {
            if message.deleted {
                return self.not_done(&ActionError::Deleted, id);
            }
            let to = message.chat;
            self.chat.get_or_insert_with(|| to.clone());
            self.send(&to, &Draft { reply_to: Some(id), ..Draft::text(text) });
        }
    }

    /// A message by its number; says so when there is none.
    pub(super) fn one(&mut self, id: LocalId) -> Option<MessageView> {
        match self.env.in_place(|| self.client.message(id)) {
            Ok(Some(message)) => return Some(message),
            Ok(None) => self.not_done(&ActionError::NoSuchMessage, id),
            Err(error) => self.failed(&error, None),
        }
        None
    }

    fn not_done(&mut self, error: &ActionError, id: LocalId) {
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::action_error(error, id));
        self.reply(Above::Keep, line);
    }

    pub(super) fn react(&mut self, id: LocalId, emoji: Option<&str>) {
        let Some(message) = self.one(id) else { return };
        match self.env.in_place(|| self.client.react(id, emoji)) {
            Ok(()) => {
                let line = self.screen.reacted(&message, &Author::Me, emoji);
                self.reply(Above::Replace, line);
            }
            Err(error) => self.not_done(&error, id),
        }
    }

    /// Changes the own message whose number comes first, or the last one of the current chat.
    pub(super) fn edit(&mut self, text: &str) {
        if let Some((id, text)) = commands::numbered(text)
            && self.is_own(id)
        {
            return self.edit_one(id, text);
        }
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        let id = match self.env.in_place(|| self.client.last_own(&chat)) {
            Ok(Some(id)) => id,
            Ok(None) => return self.mistake(&format!("You have written nothing to {chat} yet.")),
            Err(error) => return self.failed(&error, Some(&chat)),
        };
        self.edit_one(id, text);
    }

    fn is_own(&self, id: LocalId) -> bool {
        let message = self.env.in_place(|| self.client.message(id));
        message.is_ok_and(|found| found.is_some_and(|found| found.author == Author::Me))
    }

    fn edit_one(&mut self, id: LocalId, text: &str) {
        match self.env.in_place(|| self.client.edit(id, text)) {
            Ok(()) => {
                if let Some(message) = self.one(id) {
                    let line = self.own_line(message);
                    self.reply(Above::Replace, line);
                }
            }
            Err(error) => self.not_done(&error, id),
        }
    }

    pub(super) fn delete(&mut self, id: LocalId) {
        let Some(message) = self.one(id) else { return };
        match self.env.in_place(|| self.client.delete(id)) {
            Ok(()) => {
                let text = match message.state {
                    Some(MessageState::Waiting | MessageState::Uploading) => {
                        "taken back; it was not sent".to_owned()
                    }
                    Some(_) | None => format!(
                        "deleted here; {} is asked to forget it too, which nobody can force",
                        self.screen.names.chat(&message.chat)
                    ),
                };
                let line = self.screen.notice(&text);
                self.reply(Above::Keep, line);
            }
            Err(error) => self.not_done(&error, id),
        }
    }

    pub(super) fn say_who_has_read(&mut self, id: LocalId) {
        let Some(message) = self.one(id) else { return };
        if message.author != Author::Me {
            return self.not_done(&ActionError::NotYours, id);
        }
        let members = self.known_group(&message.chat).map(|group| group.members);
        let text = match (members, self.env.in_place(|| self.client.read_by(id))) {
            (_, Err(error)) => return self.failed(&error, None),
            (None, Ok(_)) => match &message.state {
                Some(state) => format!("message {id}: {}", self.screen.state(state)),
                None => return self.not_done(&ActionError::NotAText, id),
            },
            (Some(members), Ok(read)) => {
                let others = members.into_iter().map(|member| member.user);
                let others = others.filter(|user| *user != self.options.me);
                let (read, not): (Vec<_>, Vec<_>) = others.partition(|user| read.contains(user));
                self.screen.read_by(&read, &not)
            }
        };
        let line = self.screen.notice(&text);
        self.reply(Above::Keep, line);
    }

    pub(super) fn retry(&mut self) {
        match self.env.in_place(|| self.client.retry()) {
            Ok(waiting) => {
                let text = match waiting {
                    0 => "nothing waits to be sent".to_owned(),
                    1 => "trying again: 1 message waits".to_owned(),
                    more => format!("trying again: {more} messages wait"),
                };
                let line = self.screen.notice(&text);
                self.reply(Above::Keep, line);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn retry_one(&mut self, id: LocalId) {
        let message = self.env.in_place(|| self.client.message(id)).ok().flatten();
        if message.is_some_and(|message| self.retry_file(&message)) {
            return;
        }
        match self.env.in_place(|| self.client.retry_one(id)) {
            Ok(id) => {
                if let Some(message) = self.one(id) {
                    self.taken(id, &message.chat);
                }
            }
            Err(error) => self.not_done(&error, id),
        }
    }
}
