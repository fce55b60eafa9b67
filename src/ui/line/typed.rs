//! What a typed line leads to.

use std::fmt;
use std::future::Future;

use tokio::time::Instant;

use crate::client::{Client, Draft, RequestError};
use crate::ui::commands::{self, Command};
use crate::ui::input::{Above, Typed};
use crate::ui::say;
use crate::ui::screen::Screen;

use super::drafts::Then;
use super::{Answer, Ended, REQUESTS_MAX, Session};

impl Session {
    pub(super) fn typed(&mut self, typed: Typed) {
        if let Some(over) = self.over.take() {
            self.ended = Some(over);
            return;
        }
        self.awake();
        let interrupted_before = std::mem::take(&mut self.interrupted_once);
        match typed {
            Typed::Line(line) => self.line(line),
            Typed::Jump(half) => self.jump(&half),
            Typed::Written(text) => self.written(text),
            Typed::Secret(secret) => self.password_typed(secret),
            Typed::Cleared => {
                self.forget_draft();
                self.reply(Above::Keep, String::new());
            }
            Typed::Interrupted if self.drop_begun() => {}
            Typed::Interrupted if interrupted_before => self.ended = Some(Ended::Interrupted),
            Typed::Interrupted => {
                self.interrupted_once = true;
                let hint = self.screen.notice("Ctrl-C once more leaves, as /quit does.");
                self.reply(Above::Keep, hint);
            }
            Typed::End if self.is_piped() => {
                self.give_up_lines();
                self.leaving = Some(Instant::now() + self.options.timeout);
                self.end_when_done();
            }
            Typed::End => self.ended = Some(Ended::Left),
        }
    }

    /// Ends when the pipe has ended, everything is sent, and what came is on the screen.
    pub(super) fn end_when_done(&mut self) {
        if self.leaving.is_some() && self.unsent.is_empty() && self.view.showing.is_none() {
            self.end_of_pipe();
        }
    }

    pub(super) fn end_of_pipe(&mut self) {
        self.say_receipts();
        let mut piped = std::mem::take(&mut self.piped);
        piped.waiting = std::mem::take(&mut self.unsent).into_iter().collect();
        self.ended = Some(Ended::Piped(piped));
    }

    pub(super) fn command(&mut self, line: &str) {
        let command = match commands::parse(line, &self.screen.names) {
            Ok(command) => command,
            Err(misunderstood) => return self.mistake(&misunderstood.sentence()),
        };
        match command {
            Command::Nothing => self.reply(Above::Keep, String::new()),
            Command::Say(text) => self.say(&text),
            Command::Message(to, text) => {
                if !self.is_there(&to) {
                    return;
                }
                // The first person written to is who the next line is meant for.
                self.chat.get_or_insert_with(|| to.clone());
                self.send(&to, &Draft::text(text));
            }
            Command::To(chat) => self.go_to(chat),
            Command::Answer(text) => self.answer(&text),
            Command::Emote(text) => self.emote(text),
            Command::Reply(id, text) => self.answer_one(id, text),
            Command::React(id, emoji) => self.react(id, emoji.as_deref()),
            Command::Edit(text) => self.edit(&text),
            Command::Delete(id) => self.delete(id),
            Command::Retry(None) => self.retry(),
            Command::Retry(Some(id)) => self.retry_one(id),
            Command::Seen(id) => self.say_who_has_read(id),
            Command::Ids(wanted) => self.show_ids(wanted),
            Command::Send(sending) => self.send_files(sending),
            Command::Open(id) => self.open_file(id),
            Command::Save(id, path) => self.save(id, path.as_deref()),
            Command::Transfers => self.transfers(),
            Command::Cancel(id) => self.cancel(id),
            Command::Multi => self.begin_lines(Then::Send),
            Command::Paste => self.begin_lines(Then::Ask),
            Command::Editor(text) => self.begin_writing(text),
            Command::Chats => self.chats(),
            Command::Next => self.next(),
            Command::Unread => self.unread(),
            Command::Close => self.close(),
            Command::History(lines) => self.history(lines),
            Command::Search(text) => self.search(&text),
            Command::Goto(day) => self.go_to_day(&day),
            Command::Create(name, with) => self.create_group(name, with),
            Command::Join(name) => self.join_group(name),
            Command::JoinLink(link) => self.join_by_link(link),
            Command::InGroup(group, wish) => self.in_group(group, wish),
            Command::Groups => self.groups(),
            Command::Contacts => self.contacts(),
            Command::Who(scope) => self.who(scope),
            Command::Alias(user, alias) => self.alias(&user, alias),
            Command::Block(user) => self.block(user),
            Command::Unblock(user) => self.unblock(user),
            Command::Accept(user) => self.accept(&user),
            Command::Verify(user) => self.verify(user),
            Command::Verified(user) => self.verified(user),
            Command::AcceptKey(user) => self.accept_key(&user),
            Command::Keys => self.keys(),
            Command::Mute(chat, lasting) => self.mute(chat, lasting),
            Command::Notify(notify, reach) => self.notify_of(notify, reach),
            Command::Receipts(switch, reach) => self.show_receipts(switch, reach),
            Command::Typing(switch, reach) => self.show_typing(switch, reach),
            Command::Invisible(wanted) => self.invisible(wanted),
            Command::Expire(lasting) => self.expire(lasting),
            Command::Status => self.status(),
            Command::Doctor => self.doctor(),
            Command::Set(key, value) => self.set(key.as_deref(), value.as_deref()),
            Command::Time(form) => self.show_time(form),
            Command::Clear => self.clear(),
            Command::Help(row) => self.help(row),
            Command::Quit if self.is_piped() => self.typed(Typed::End),
            Command::Quit => self.ended = Some(Ended::Left),
        }
    }

    /// Nothing was done; says why.
    pub(super) fn mistake(&mut self, why: &str) {
        self.piped.mistakes += 1;
        let line = self.screen.warning(why);
        self.reply(Above::Keep, line);
    }

    pub(super) fn failed(&mut self, error: &RequestError, who: Option<&dyn fmt::Display>) {
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::request_error(error, who));
        self.reply(Above::Keep, line);
    }

    /// Asks a server without holding up what is typed next; a pipe's next line waits.
    pub(super) fn request<F, Fut>(&mut self, work: F)
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
