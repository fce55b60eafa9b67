//! What a typed line leads to.

use std::future::Future;

use tokio::time::Instant;

use crate::client::{Client, Line, LocalId, MessageState, MessageView, RequestError, Trust};
use crate::types::UserName;
use crate::ui::commands::{self, Command, Scope};
use crate::ui::input::{Above, Kind, Typed};
use crate::ui::screen::Screen;
use crate::ui::theme::Style;
use crate::ui::{lists, say};
use crate::wire::Code;

use super::{Answer, Echo, Effect, Ended, MARK_PATIENCE, REQUESTS_MAX, Session, TrustPolicy};

impl Session {
    pub(super) fn typed(&mut self, typed: Typed) {
        if let Some(over) = self.over.take() {
            self.ended = Some(over);
            return;
        }
        let interrupted_before = std::mem::take(&mut self.interrupted_once);
        match typed {
            Typed::Line(line) => self.command(&line),
            Typed::Cleared => self.reply(Above::Keep, String::new()),
            Typed::Interrupted if interrupted_before => self.ended = Some(Ended::Interrupted),
            Typed::Interrupted => {
                self.interrupted_once = true;
                let hint = self.screen.notice("Ctrl-C once more leaves, as /quit does.");
                self.reply(Above::Keep, hint);
            }
            Typed::End if self.is_piped() => {
                self.leaving = Some(Instant::now() + self.options.timeout);
                self.end_when_done();
            }
            Typed::End => self.ended = Some(Ended::Left),
        }
    }

    /// Ends when the pipe has ended, everything is sent, and what came is on the screen.
    pub(super) fn end_when_done(&mut self) {
        if self.leaving.is_some() && self.unsent.is_empty() && self.showing.is_none() {
            self.end_of_pipe();
        }
    }

    pub(super) fn end_of_pipe(&mut self) {
        self.say_receipts();
        let mut piped = std::mem::take(&mut self.piped);
        piped.waiting = std::mem::take(&mut self.unsent).into_iter().collect();
        self.ended = Some(Ended::Piped(piped));
    }

    fn command(&mut self, line: &str) {
        let command = match commands::parse(line) {
            Ok(command) => command,
            Err(misunderstood) => return self.mistake(&misunderstood.sentence()),
        };
        match command {
            Command::Nothing => self.reply(Above::Keep, String::new()),
            Command::Say(text) => match self.chat.clone() {
                Some(chat) => self.send(&chat, &text),
                None => self.mistake("Choose a chat first: /to WHO   or: /msg WHO TEXT"),
            },
            Command::Message(to, text) => {
                // The first person written to is who the next line is meant for.
                self.chat.get_or_insert_with(|| to.clone());
                self.send(&to, &text);
            }
            Command::To(user) => self.go_to(user),
            Command::Reply(text) => match self.last_writer.clone() {
                Some(writer) => self.send(&writer, &text),
                None => self.mistake("Nobody has written to you yet in this session."),
            },
            Command::Chats => self.chats(),
            Command::History(lines) => self.history(lines),
            Command::Who(scope) => self.who(scope),
            Command::Verify(user) => self.verify(user),
            Command::Verified(user) => self.verified(user),
            Command::AcceptKey(user) => self.accept_key(&user),
            Command::Block(user) => self.block(user, true),
            Command::Unblock(user) => self.block(user, false),
            Command::Accept(user) => self.accept(&user),
            Command::Status => self.status(),
            Command::Help(row) => {
                self.reply(Above::Keep, row.map_or_else(commands::help, commands::help_of));
            }
            Command::Quit if self.is_piped() => self.typed(Typed::End),
            Command::Quit => self.ended = Some(Ended::Left),
        }
    }

    /// Nothing was done; says why.
    fn mistake(&mut self, why: &str) {
        self.piped.mistakes += 1;
        let line = self.screen.warning(why);
        self.reply(Above::Keep, line);
    }

    fn failed(&mut self, error: &RequestError, who: Option<&UserName>) {
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::request_error(error, who));
        self.reply(Above::Keep, line);
    }

    // --- messages ---

    fn send(&mut self, to: &UserName, text: &str) {
        if self.options.trust == TrustPolicy::Verified && !self.is_verified(to) {
            return self.mistake(&format!(
                "{to} is not verified, and --trust verified was asked for; nothing was sent. \
                 Compare: /verify {to}"
            ));
        }
        match self.env.in_place(|| self.client.send_text(to, text)) {
            Ok(id) => self.taken(id, to),
            Err(error) => {
                self.piped.mistakes += 1;
                let line = self.screen.told(&say::send_error(&error));
                self.reply(Above::Keep, line);
            }
        }
    }

    fn is_verified(&self, user: &UserName) -> bool {
        let chats = self.client.chats().unwrap_or_default();
        chats.iter().any(|chat| chat.chat == *user && chat.trust == Trust::Verified)
    }

    /// The text is on this disk; its line is shown once it has its mark.
    fn taken(&mut self, id: LocalId, to: &UserName) {
        self.offer_names();
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

    fn go_to(&mut self, user: UserName) {
        let note = match self.options.theme.style {
            Style::Rich => String::new(),
            Style::Plain => format!("what you type goes to {user}"),
        };
        self.chat = Some(user.clone());
        self.reply(Above::Keep, note);
        self.look_up(user);
    }

    /// Says so if there is nobody of that name. No connection is no news: messages wait.
    pub(super) fn look_up(&mut self, user: UserName) {
        let remedy = self.did_you_mean(&user);
        self.request(|client, screen| async move {
            match client.look_up(&user).await {
                Err(RequestError::Refused { code: Code::NoSuchUser, .. }) => {
                    let mut told = say::code(Code::NoSuchUser, Some(&user), "", 0);
                    told.remedy = remedy;
                    Answer { text: screen.told(&told), effect: Effect::Nobody(user) }
                }
                Ok(_) | Err(_) => Answer { text: String::new(), effect: Effect::Nothing },
            }
        });
    }

    // --- lists ---

    fn chats(&mut self) {
        match self.env.in_place(|| self.client.chats()) {
            Ok(chats) => {
                let text = lists::chats(&self.screen, &chats, self.env.unix_ms());
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    fn history(&mut self, lines: usize) {
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        match self.env.in_place(|| self.client.history(&chat, lines)) {
            Ok(lines) if lines.is_empty() => {
                let none = self.screen.notice(&format!("nothing written with {chat} yet"));
                self.reply(Above::Keep, none);
            }
            Ok(lines) => {
                let mut aside = self.screen.clone().on_day_of(self.env.unix_ms());
                let texts: Vec<String> = lines.iter().map(|line| aside.line(line)).collect();
                self.reply(Above::Keep, texts.join("\n"));
            }
            Err(error) => self.failed(&error, None),
        }
    }

    fn status(&mut self) {
        match self.env.in_place(|| self.client.status()) {
            Ok(status) => {
                let text = lists::status(&self.screen, &status, self.env.unix_ms());
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    fn who(&mut self, scope: Scope) {
        self.reply(Above::Keep, String::new());
        self.request(move |client, screen| async move {
            let text = match client.who(scope == Scope::All).await {
                Ok(view) => lists::who(&screen, scope, &view),
                Err(error) => screen.told(&say::request_error(&error, None)),
            };
            Answer { text, effect: Effect::Nothing }
        });
    }

    // --- people ---

    fn verify(&mut self, user: UserName) {
        self.reply(Above::Keep, String::new());
        self.request(|client, screen| async move {
            match client.key_of(&user).await {
                Ok(key) => Answer {
                    text: lists::safety_number(&screen, &key),
                    effect: Effect::Number(user, key.safety_number),
                },
                Err(error) => Answer {
                    text: screen.told(&say::request_error(&error, Some(&user))),
                    effect: Effect::Nothing,
                },
            }
        });
    }

    /// Marks only the key whose number was on the screen: it may have changed since.
    fn verified(&mut self, user: UserName) {
        let Some(number) = self.numbers.get(&user).cloned() else {
            return self.mistake(&format!("Look at the number first: /verify {user}"));
        };
        self.reply(Above::Keep, String::new());
        self.request(|client, screen| async move {
            let checked = client.key_of(&user).await.and_then(|key| {
                let same = key.safety_number == number;
                if same { client.mark_verified(&user).map(|()| true) } else { Ok(false) }
            });
            match checked {
                Ok(true) => {
                    Answer { text: format!("{user} is verified."), effect: Effect::Verified(user) }
                }
                Ok(false) => Answer {
                    text: screen.warning(&format!(
                        "{user}'s key has changed since you looked. Compare again: /verify {user}"
                    )),
                    effect: Effect::Nothing,
                },
                Err(error) => Answer {
                    text: screen.told(&say::request_error(&error, Some(&user))),
                    effect: Effect::Nothing,
                },
            }
        });
    }

    fn accept_key(&mut self, user: &UserName) {
        match self.env.in_place(|| self.client.accept_key(user)) {
            Ok(()) => {
                self.screen.key_accepted(user);
                self.reply(Above::Keep, format!("{user}'s new key is accepted; not verified."));
            }
            Err(error) => self.failed(&error, Some(user)),
        }
    }

    fn accept(&mut self, user: &UserName) {
        match self.env.in_place(|| self.client.accept(user)) {
            Ok(()) => self.reply(Above::Keep, format!("Accepted. To answer: /to {user}")),
            Err(error) => self.failed(&error, Some(user)),
        }
    }

    fn block(&mut self, user: UserName, blocked: bool) {
        self.reply(Above::Keep, String::new());
        self.request(move |client, screen| async move {
            let text = match (client.block(&user, blocked).await, blocked) {
                (Ok(()), true) => format!("{user} is blocked. To undo: /unblock {user}"),
                (Ok(()), false) => format!("{user} can write to you again."),
                (Err(error), _) => screen.told(&say::request_error(&error, Some(&user))),
            };
            Answer { text, effect: Effect::Nothing }
        });
    }

    /// Asks a server without holding up what is typed next; a pipe's next line waits.
    fn request<F, Fut>(&mut self, work: F)
    where
        F: FnOnce(Client, Screen) -> Fut,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        if self.asked >= REQUESTS_MAX {
            self.terminal.notice(self.screen.warning("Wait for the earlier answers first."));
            return;
        }
        self.asked += 1;
        let work = work(self.client.clone(), self.screen.clone());
        let answers = self.answers.clone();
        self.env.spawn(async move {
            let _ = answers.send(work.await).await;
        });
    }
}
