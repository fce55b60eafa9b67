//! From chat to chat, and back to what was written.

use crate::client::{ChatChange, ChatView, Line, RequestError};
use crate::types::{ChatName, UserName};
use crate::ui::commands::{HISTORY_LINES, Switch};
use crate::ui::input::Above;
use crate::ui::screen::Ids;
use crate::ui::theme::Style;
use crate::ui::{lists, say, time};
use crate::wire::Code;

use super::{Answer, Effect, Session};

/// Messages that one search shows.
const FOUND_MAX: usize = 20;

impl Session {
    pub(super) fn go_to(&mut self, chat: ChatName) {
        if !self.is_there(&chat) {
            return;
        }
        let note = match self.options.theme.style {
            Style::Rich => String::new(),
            Style::Plain => format!("what you type goes to {}", self.screen.names.chat(&chat)),
        };
        self.open(&chat);
        self.take_draft_of(&chat);
        self.reply(Above::Keep, note);
        self.look_up_person(&chat);
    }

    /// Whether a chat can be: with anybody, but only of a group that is known. Says so when not.
    pub(super) fn is_there(&mut self, chat: &ChatName) -> bool {
        let ChatName::Group(group) = chat else { return true };
        let is_known = self.env.in_place(|| {
            // Of one that was forgotten, what was written is still here.
            let known = self.client.group(group).is_ok_and(|known| known.is_some());
            known || self.client.history(chat, 1).is_ok_and(|lines| !lines.is_empty())
        });
        if is_known {
            return true;
        }
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::no_such_group(group));
        self.reply(Above::Keep, line);
        false
    }

    pub(super) fn look_up_person(&mut self, chat: &ChatName) {
        if let Some(user) = chat.person() {
            self.look_up(user.clone());
        }
    }

    /// Says so if there is nobody of that name. No connection is no news: messages wait.
    fn look_up(&mut self, user: UserName) {
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

    /// The key for the next chat: what stood on the line is kept for this one.
    pub(super) fn jump(&mut self, half: &str) {
        match self.next_unread() {
            Some(_) => {
                self.keep_draft(half);
                self.next();
            }
            None => {
                half.clone_into(&mut self.initial);
                self.reply(Above::Replace, String::new());
            }
        }
    }

    fn next_unread(&self) -> Option<ChatName> {
        let here = self.chat.as_ref();
        self.view.unread.keys().find(|chat| Some(*chat) != here).cloned()
    }

    /// Opens the next chat with something unread, and shows that once more.
    pub(super) fn next(&mut self) {
        let Some(chat) = self.next_unread() else {
            let line = self.screen.notice("nothing is unread");
            return self.reply(Above::Keep, line);
        };
        let unread = self.view.unread.get(&chat).copied().unwrap_or(0);
        self.open(&chat);
        self.take_draft_of(&chat);
        match self.env.in_place(|| self.client.history(&chat, unread.min(HISTORY_LINES))) {
            Ok(lines) => self.reply_lines(&lines, ""),
            Err(error) => self.failed(&error, Some(&chat)),
        }
    }

    pub(super) fn close(&mut self) {
        let Some(chat) = self.chat.take() else {
            return self.mistake("No chat is open.");
        };
        match self.env.in_place(|| self.client.change_chat(&chat, &ChatChange::Closed(true))) {
            Ok(()) => {
                let text = format!("closed; {} comes back with the next message", chat);
                let line = self.screen.notice(&text);
                self.reply(Above::Keep, line);
            }
            Err(error) => self.failed(&error, Some(&chat)),
        }
    }

    // --- lists ---

    /// The chats, with what is unread on this screen too.
    pub(super) fn chats(&mut self) {
        match self.all_chats() {
            Ok(chats) => {
                let text = lists::chats(&self.screen, &chats, self.env.unix_ms());
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn unread(&mut self) {
        match self.all_chats() {
            Ok(mut chats) => {
                chats.retain(|chat| chat.unread > 0);
                let text = if chats.is_empty() {
                    self.screen.notice("nothing is unread")
                } else {
                    lists::chats(&self.screen, &chats, self.env.unix_ms())
                };
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    fn all_chats(&self) -> Result<Vec<ChatView>, RequestError> {
        let mut chats = self.env.in_place(|| self.client.chats())?;
        for chat in &mut chats {
            chat.unread += self.view.unread.get(&chat.chat).copied().unwrap_or(0);
        }
        Ok(chats)
    }

    // --- what was written ---

    pub(super) fn history(&mut self, lines: usize) {
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        let none = format!("nothing written with {} yet", self.screen.names.chat(&chat));
        match self.env.in_place(|| self.client.history(&chat, lines)) {
            Ok(lines) => self.reply_lines(&lines, &none),
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn search(&mut self, text: &str) {
        let chat = self.chat.clone();
        match self.env.in_place(|| self.client.search(text, chat.as_ref(), FOUND_MAX)) {
            Ok(lines) => {
                let ids = std::mem::replace(&mut self.screen.ids, Ids::Shown);
                self.reply_lines(&lines, "nothing found");
                self.screen.ids = ids;
            }
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn go_to_day(&mut self, word: &str) {
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        let Some(from) = time::typed(word, self.env.unix_ms(), self.screen.zone()) else {
            return self.mistake(
                "A day is written like 2026-11-20, 2026-11-20 18:30, yesterday, monday or 3d.",
            );
        };
        match self.env.in_place(|| self.client.since(&chat, from, HISTORY_LINES)) {
            Ok(lines) => {
                let gap = lines.first().and_then(|line| {
                    let zone = self.screen.zone();
                    time::later_day(from, line.at_unix_ms(), self.env.unix_ms(), zone)
                });
                let above = gap.map_or_else(String::new, |day| {
                    self.screen.notice(&format!("nothing from that day; the next is of {day}"))
                });
                self.reply_lines_below(above, &lines, "nothing since then");
            }
            Err(error) => self.failed(&error, None),
        }
    }

    /// Shows old lines; with `none` when there are none.
    fn reply_lines(&mut self, lines: &[Line], none: &str) {
        self.reply_lines_below(String::new(), lines, none);
    }

    fn reply_lines_below(&mut self, above: String, lines: &[Line], none: &str) {
        self.screen.width = self.terminal.columns();
        let mut aside = self.screen.clone().on_day_of(self.env.unix_ms());
        let mut texts: Vec<String> = lines
            .iter()
            .map(|line| {
                aside.previews = self.previews(line);
                aside.line(line)
            })
            .collect();
        texts.extend(lines.iter().filter_map(|line| self.request_below(line)));
        if !above.is_empty() {
            texts.insert(0, above);
        }
        let text = match (lines, none) {
            ([], "") => String::new(),
            ([], none) => self.screen.notice(none),
            ([..], _) => texts.join("\n"),
        };
        self.reply(Above::Keep, text);
    }

    /// Shows or hides numbers; when they appear, the last lines are shown with them.
    pub(super) fn show_ids(&mut self, wanted: Option<Switch>) {
        let on = wanted.map_or(self.screen.ids == Ids::Hidden, Switch::is_on);
        self.screen.ids = if on { Ids::Shown } else { Ids::Hidden };
        match (&self.chat, on) {
            (Some(_), true) => self.history(HISTORY_LINES / 2),
            (None, true) => {
                let line = self.screen.notice("numbers are shown from now on");
                self.reply(Above::Keep, line);
            }
            (_, false) => {
                let line = self.screen.notice("numbers are hidden");
                self.reply(Above::Keep, line);
            }
        }
    }
}
