//! To be left alone, and what others learn: bell, receipts, typing, presence, and how long things
//! are kept.

use std::time::Duration;

use crate::client::{AccountChange, ChatChange, Notify, RequestError};
use crate::types::UserName;
use crate::ui::commands::{Lasting, Reach, Switch};
use crate::ui::input::Above;
use crate::ui::time;

use super::Session;

/// Until it is ended, as a moment: no clock gets there.
const ALWAYS_UNIX_MS: u64 = i64::MAX as u64;

impl Session {
    /// A change was made, or not; says so.
    fn done(&mut self, done: Result<(), RequestError>, text: &str) {
        match done {
            Ok(()) => {
                let line = self.screen.notice(text);
                self.reply(Above::Keep, line);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    /// The chat that a wish is about; `None`: all of them.
    fn reached(&self, reach: Reach) -> Option<UserName> {
        match reach {
            Reach::Here => self.chat.clone(),
            Reach::Everywhere => None,
        }
    }

    fn change(&mut self, reach: Reach, here: &ChatChange, everywhere: AccountChange, what: &str) {
        match self.reached(reach) {
            Some(chat) => {
                let done = self.env.in_place(|| self.client.change_chat(&chat, here));
                let label = self.screen.names.label(&chat);
                let text = format!("{what} in the chat with {label}; all chats: add everywhere");
                self.done(done, &text);
            }
            None => {
                let done = self.env.in_place(|| self.client.change_account(everywhere));
                self.done(done, &format!("{what} in all chats without a wish of their own"));
            }
        }
    }

    pub(super) fn mute(&mut self, user: Option<UserName>, lasting: Lasting) {
        if user.as_ref().is_some_and(|user| !self.concerns(user)) {
            return;
        }
        let Some(chat) = user.or_else(|| self.chat.clone()) else {
            return self.mistake("Choose a chat first: /to WHO   or: /mute WHO");
        };
        let now = self.env.unix_ms();
        let until = match lasting {
            Lasting::For(time) => Some(now.saturating_add(millis(time))),
            Lasting::Always => Some(ALWAYS_UNIX_MS),
            Lasting::Off => None,
        };
        let done =
            self.env.in_place(|| self.client.change_chat(&chat, &ChatChange::MutedUntil(until)));
        let label = self.screen.names.label(&chat);
        let text = match (lasting, until) {
            (Lasting::For(_), Some(until)) => {
                let moment = time::moment(until, now, self.screen.zone());
                format!("{label} is muted until {moment}; to end it: /mute {chat} off")
            }
            (Lasting::Off, _) => format!("{label} is not muted"),
            (Lasting::Always | Lasting::For(_), _) => {
                format!("{label} is muted; to end it: /mute {chat} off")
            }
        };
        self.done(done, &text);
    }

    pub(super) fn notify_of(&mut self, notify: Notify, reach: Reach) {
        let what = match notify {
            Notify::All => "every message rings",
            Notify::Mentions => "only what names or answers you rings",
            Notify::None => "nothing rings",
        };
        let everywhere = AccountChange::Notify(notify);
        self.change(reach, &ChatChange::Notify(Some(notify)), everywhere, what);
    }

    pub(super) fn show_receipts(&mut self, switch: Switch, reach: Reach) {
        let on = switch.is_on();
        let what = match switch {
            Switch::On => "read receipts are sent and shown",
            Switch::Off => "read receipts are neither sent nor shown",
        };
        let here = ChatChange::Receipts(Some(on));
        self.change(reach, &here, AccountChange::Receipts(on), what);
    }

    pub(super) fn show_typing(&mut self, switch: Switch, reach: Reach) {
        let on = switch.is_on();
        let what = match switch {
            Switch::On => "that you are typing is shown",
            Switch::Off => "that you are typing is not shown",
        };
        self.change(reach, &ChatChange::Typing(Some(on)), AccountChange::Typing(on), what);
    }

    pub(super) fn invisible(&mut self, wanted: Option<Switch>) {
        let now = match wanted {
            None => self.env.in_place(|| self.client.account_settings()).map(|set| set.invisible),
            Some(switch) => {
                let change = AccountChange::Invisible(switch.is_on());
                self.env.in_place(|| self.client.change_account(change)).map(|()| switch.is_on())
            }
        };
        match now {
            Ok(true) => self.done(Ok(()), "you are invisible: others do not see you online"),
            Ok(false) => self.done(Ok(()), "you are visible: others see when you are online"),
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn expire(&mut self, lasting: Option<Lasting>) {
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        let wanted = match lasting {
            None => None,
            Some(Lasting::Off | Lasting::Always) => Some(None),
            Some(Lasting::For(time)) => Some(Some(time)),
        };
        let now = self.env.in_place(|| {
            if let Some(time) = wanted {
                self.client.change_chat(&chat, &ChatChange::Expire(time))?;
            }
            self.client.chat_settings(&chat)
        });
        match now {
            Ok(settings) => {
                let label = self.screen.names.label(&chat);
                let text = match settings.expire {
                    Some(time) => format!(
                        "what you write to {label} is forgotten on both sides {} after it was \
                         read; nobody can force a copy to be deleted",
                        time::span(time)
                    ),
                    None => format!("what you write to {label} is kept"),
                };
                self.done(Ok(()), &text);
            }
            Err(error) => self.failed(&error, Some(&chat)),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
