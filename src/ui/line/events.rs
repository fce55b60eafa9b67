//! What an event leads to: lines on the screen, and what the session remembers.

use tokio::time::Instant;

use crate::client::{Author, Event, LocalId, MessageState, Offline, Refusal};
use crate::types::{ChatName, UserName};
use crate::ui::input::{Above, Kind};
use crate::ui::say;
use crate::ui::text::{excerpt, nearest};
use crate::wire::Code;

use super::view::Asked;
use super::{
    Answer, BACK_PATIENCE, Effect, Ended, OFFLINE_PATIENCE, RECEIPTS_PAUSE, Session, TrustPolicy,
};

/// What was done to a message.
enum Change {
    Edited,
    Deleted,
    Reacted(Author, Option<String>),
}

/// What to do about somebody who wrote first.
pub(super) fn request(from: &UserName) -> String {
    format!("{from} writes to you for the first time:  /accept {from}   /block {from}")
}

impl Session {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Online { .. } => self.online(),
            Event::Offline { reason } => self.offline(reason),
            Event::Lines => self.show(),
            Event::CaughtUp => self.caught_up(),
            Event::State { id, chat, state } => self.moved(id, &chat, &state),
            Event::ChatWaits { chat, code, detail } => self.chat_waits(chat, code, &detail),
            Event::Transfer { view } => self.transfer(&view),
            Event::Group { .. } => self.groups_changed = true,
            Event::Request { from } => {
                if self.view.requests.insert(from.clone(), Asked::Yes) != Some(Asked::Yes) {
                    self.notice(&request(&from));
                }
                self.learn_names();
            }
            Event::KeyChanged { user } => self.key_changed(&user),
            Event::WasAlreadySent { id, chat } => {
                self.notice(&format!(
                    "message {id} to {chat} had been sent before it was cancelled"
                ));
            }
            Event::Edited { id, .. } => self.changed(id, Change::Edited),
            Event::Deleted { id, .. } => self.changed(id, Change::Deleted),
            Event::Reacted { id, by, emoji, .. } => {
                self.changed(id, Change::Reacted(by, emoji));
            }
            Event::Expired { ids } => self.terminal.notice(self.screen.expired(ids.len())),
            Event::Typing { chat, user } => self.is_typing(&chat, &user),
            Event::Presence { user, online } => self.came_or_went(user, online),
            Event::RolledBack => self.complain(&say::rolled_back()),
            Event::SessionReplaced => {
                self.over(Ended::SignedOut(say::code(Code::SessionReplaced, None, "", 0)));
            }
            Event::SignedOut { code } => {
                self.over(Ended::SignedOut(say::code(code, None, "", 0)));
            }
            Event::LocalData { error } => self.over(Ended::LocalData(say::local_data(&error))),
        }
    }

    /// Something was done to a message that may be on the screen. What the person did here was
    /// answered when it was typed.
    fn changed(&self, id: LocalId, change: Change) {
        let Ok(Some(message)) = self.env.in_place(|| self.client.message(id)) else { return };
        let line = match (&message.author, change) {
            (_, Change::Reacted(Author::Me, _))
            | (Author::Me, Change::Edited | Change::Deleted) => return,
            (Author::Them(_), Change::Edited) => self.screen.edited(&message),
            (Author::Them(_), Change::Deleted) => self.screen.deleted(&message),
            (_, Change::Reacted(by, emoji)) => self.screen.reacted(&message, &by, emoji.as_deref()),
        };
        self.terminal.notice(line);
    }

    pub(super) fn online(&mut self) {
        let was_said = std::mem::take(&mut self.net.said);
        self.net.offline_since = None;
        self.net.due = None;
        if was_said {
            let waiting = self.client.status().map_or(0, |status| status.waiting);
            self.net.back = Some((waiting, 0));
        }
        self.news_of_the_network();
    }

    pub(super) fn caught_up(&mut self) {
        self.view.ringer.caught_up(Instant::now());
        self.show();
        if self.net.back.is_some() {
            self.net.back_due = Some(Instant::now() + BACK_PATIENCE);
            self.say_back_when_sent();
        }
    }

    /// What waited goes out right after the catch-up: one line says both.
    fn say_back_when_sent(&mut self) {
        let waits = || self.client.status().map_or(0, |status| status.waiting);
        if self.net.back_due.is_some() && waits() == 0 {
            self.say_back();
        }
    }

    pub(super) fn say_back(&mut self) {
        self.net.back_due = None;
        let Some((waited, received)) = self.net.back.take() else { return };
        let waits = self.client.status().map_or(0, |status| status.waiting);
        let mut line = "back online".to_owned();
        let sent = waited.saturating_sub(waits);
        if sent > 0 {
            line.push_str(&format!(", {sent} sent"));
            self.receipts.sent_was_said();
        }
        if received > 0 {
            line.push_str(&format!(", {received} received"));
        }
        self.notice(&line);
    }

    pub(super) fn offline(&mut self, reason: Offline) {
        if reason == Offline::WrongCluster && self.net.reason != reason {
            self.complain(&say::wrong_cluster());
        }
        self.net.reason = reason;
        self.net.back_due = None;
        self.view.ringer.offline();
        if self.net.offline_since.is_none() {
            self.net.offline_since = Some(self.env.unix_ms());
            self.net.due = Some(Instant::now() + OFFLINE_PATIENCE);
        }
        self.news_of_the_network();
    }

    /// A pipe's first line is read now.
    pub(super) fn news_of_the_network(&mut self) {
        if self.first_line.take().is_some() {
            self.reply(Above::Keep, String::new());
        }
    }

    pub(super) fn moved(&mut self, id: LocalId, chat: &ChatName, state: &MessageState) {
        match state {
            MessageState::Uploading | MessageState::Waiting | MessageState::Pending => {}
            MessageState::Sent | MessageState::Delivered | MessageState::Read => {
                self.waits.remove(chat);
                if self.unsent.remove(&id) {
                    self.piped.sent += 1;
                }
            }
            MessageState::Refused(refusal) => {
                if self.unsent.remove(&id) {
                    self.piped.refused.push((chat.clone(), *refusal));
                }
                let why = self.refused(id, chat, *refusal);
                if let (Refusal::Server(Code::NoSuchUser), Some(user)) = (refusal, chat.person()) {
                    self.nobody(user);
                }
                if self.echoes(id) {
                    return self.finish_echo(&why);
                }
                self.terminal.notice(why);
            }
            MessageState::Cancelled => {
                self.unsent.remove(&id);
            }
        }
        if self.echoes(id) && !matches!(state, MessageState::Waiting | MessageState::Pending) {
            self.finish_echo("");
        } else if self.receipts.moved(id, chat, state) && self.receipts_due.is_none() {
            self.receipts_due = Some(Instant::now() + RECEIPTS_PAUSE);
        }
        self.say_back_when_sent();
        self.end_when_done();
    }

    /// Whether this message is about to be shown in place of what was typed.
    pub(super) fn echoes(&self, id: LocalId) -> bool {
        self.echo.as_ref().is_some_and(|echo| echo.id == id)
    }

    /// Whether the current chat is the one with this person.
    fn is_with(&self, user: &UserName) -> bool {
        self.chat.as_ref().and_then(ChatName::person) == Some(user)
    }

    /// There is nobody of this name: who was only written to is no contact, and their chat, opened
    /// by that, is left again.
    fn nobody(&mut self, user: &UserName) {
        if self.is_with(user) && !self.is_piped() {
            self.chat = None;
        }
        let forgotten = self.env.in_place(|| match self.client.known_key(user)? {
            Some(_) => Ok(()),
            None => self.client.remove_contact(user),
        });
        if let Err(error) = forgotten {
            self.complain(&say::request_error(&error, Some(user)));
        }
        self.learn_names();
    }

    /// Why a message will never be sent.
    pub(super) fn refused(&self, id: LocalId, chat: &ChatName, refusal: Refusal) -> String {
        let warned = chat.person().is_some_and(|user| self.screen.key_warning_stands(user));
        if refusal == Refusal::KeyChanged && warned {
            let line = format!("not sent to {chat}: the changed key is not accepted");
            return self.screen.notice(&line);
        }
        let mut told = say::refusal(refusal, chat);
        let message = self.client.message(id).ok().flatten();
        if let Some(failure) = message.as_ref().and_then(|message| self.file_failure(message)) {
            return self.screen.told(&failure);
        }
        let text = message.map(|message| match message.file {
            Some(file) => file.name,
            None => message.text,
        });
        if let Some(text) = text.filter(|_| !self.echoes(id)) {
            told.what = format!("Not sent to {chat}: \"{}\". {}", excerpt(&text, 30), told.what);
        }
        if let (Refusal::Server(Code::NoSuchUser), Some(user)) = (refusal, chat.person()) {
            told.remedy = self.did_you_mean(user);
        }
        self.screen.told(&told)
    }

    pub(super) fn did_you_mean(&self, name: &UserName) -> String {
        let words = self.screen.names.words();
        let others = words.iter().map(String::as_str).filter(|word| *word != name.as_str());
        nearest(name.as_str(), others).map_or_else(
            || "Who is here: /who all".to_owned(),
            |near| format!("Did you mean {near}?"),
        )
    }

    pub(super) fn chat_waits(&mut self, chat: ChatName, code: Code, detail: &str) {
        if self.waits.get(&chat) != Some(&code) {
            let told = say::code(code, Some(&chat), detail, 0);
            self.notice(&format!("messages to {chat} wait: {}", told.line()));
            self.waits.insert(chat, code);
        }
    }

    pub(super) fn key_changed(&mut self, user: &UserName) {
        if self.options.trust == TrustPolicy::Always {
            return match self.client.accept_key(user) {
                Ok(()) => self.notice(&format!("{user}'s key has changed; accepted unseen")),
                Err(error) => self.complain(&say::request_error(&error, Some(user))),
            };
        }
        if !self.screen.key_warning_stands(user) {
            self.terminal.notice(self.screen.key_changed(user));
        }
    }

    /// The client has stopped for good.
    pub(super) fn over(&mut self, ended: Ended) {
        if self.terminal.kind() == Kind::Editor {
            if let Ended::SignedOut(told) | Ended::LocalData(told) = &ended {
                self.complain(told);
            }
            // The editor holds the terminal until a line ends.
            self.notice("Press Enter to leave.");
            self.over = Some(ended);
        } else {
            self.ended = Some(ended);
        }
    }

    pub(super) fn client_gone(&mut self) {
        self.ended = Some(self.over.take().unwrap_or(Ended::ClientGone));
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let Answer { text, effect } = answer;
        match effect {
            Effect::Saved { .. } => self.saving = self.saving.saturating_sub(1),
            _ => self.asked = self.asked.saturating_sub(1),
        }
        if let Effect::Group(then) = effect {
            self.learn_names();
            self.group_answered(text, then);
            return self.end_when_done();
        }
        self.terminal.notice(text);
        match effect {
            Effect::Nothing | Effect::Group(_) => {}
            Effect::Nobody(user) => {
                if self.is_with(&user) {
                    self.chat = None;
                }
            }
            Effect::Number(user, number) => {
                self.numbers.insert(user, number);
            }
            Effect::Verified(user) => self.screen.key_accepted(&user),
            Effect::Files { taken, refused } => self.files_taken(&taken, refused),
            Effect::Saved { failed } => self.piped.mistakes += usize::from(failed),
        }
        self.learn_names();
        self.end_when_done();
    }
}
