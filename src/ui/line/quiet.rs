//! To be left alone, and what others learn: bell, receipts, typing, presence, and how long things
//! are kept.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::client::{AccountChange, ChatChange, Notify, RequestError};
use crate::types::ChatName;
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
    fn reached(&self, reach: Reach) -> Option<ChatName> {
        match reach {
            Reach::Here => self.chat.clone(),
            Reach::Everywhere => None,
        }
    }

    fn change(&mut self, reach: Reach, here: &ChatChange, everywhere: AccountChange, what: &str) {
        match self.reached(reach) {
            Some(chat) => {
                let done = self.env.in_place(|| self.client.change_chat(&chat, here));
                let label = self.screen.names.chat(&chat);
                let text = format!("{what} in the chat with {label}; all chats: add everywhere");
                self.done(done, &text);
            }
            None => {
                let done = self.env.in_place(|| self.client.change_account(everywhere));
                self.done(done, &format!("{what} in all chats without a wish of their own"));
            }
        }
    }

    pub(super) fn mute(&mut self, named: Option<ChatName>, lasting: Lasting) {
        let is_known = match &named {
            Some(ChatName::Person(user)) => self.concerns(user),
            Some(group @ ChatName::Group(_)) => self.is_there(group),
            None => true,
        };
        if !is_known {
            return;
        }
        let Some(chat) = named.or_else(|| self.chat.clone()) else {
            return self.mistake("Choose a chat first: /to WHO   or: /mute WHO");
        };
        let now = self.env.unix_ms();
        let until = match lasting {
            Lasting::For(time) => Some(now.saturating_add(millis(time))),
            Lasting::Always => Some(ALWAYS_UNIX_MS),
            Lasting::Off => None,
        };
        let settings = self.env.in_place(|| self.client.chat_settings(&chat));
        let before = settings.ok().and_then(|settings| settings.muted_until_unix_ms);
        let done =
            self.env.in_place(|| self.client.change_chat(&chat, &ChatChange::MutedUntil(until)));
        let label = self.screen.names.chat(&chat);
        let text = match until.map(|until| lasts(until, before, now, self.screen.zone())) {
            Some(lasts) => format!("{label} is muted{lasts}; to end it: /mute {chat} off"),
            None => format!("{label} is not muted"),
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

    pub(super) fn invisible(&mut self, switch: Switch) {
        let change = AccountChange::Invisible(switch.is_on());
        let done = self.env.in_place(|| self.client.change_account(change));
        let text = match switch {
            Switch::On => "you are invisible: others do not see you online; back: /invisible off",
            Switch::Off => "you are visible: others see when you are online",
        };
        self.done(done, text);
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
                let label = self.screen.names.chat(&chat);
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

/// How long a chat is muted now, and until when it was before, if that is something else.
fn lasts(until: u64, before: Option<u64>, now: u64, zone: &TimeZone) -> String {
    let timed = |until: u64| {
        (until != ALWAYS_UNIX_MS).then(|| format!("until {}", time::moment(until, now, zone)))
    };
    let was = before.filter(|before| *before > now && *before != until);
    match (timed(until), was.map(|was| timed(was).unwrap_or_else(|| "for good".to_owned()))) {
        (None, None) => String::new(),
        (None, Some(was)) => format!(" for good (was {was})"),
        (Some(until), None) => format!(" {until}"),
        (Some(until), Some(was)) => format!(" {until} (was {was})"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mute_that_ends_another_one_says_so() {
        // 1970-01-01 12:00 UTC, in milliseconds.
        let noon = 12 * 3_600_000;
        let six = 18 * 3_600_000;
        let said = |until, before| lasts(until, before, noon, &TimeZone::UTC);
        assert_eq!(said(ALWAYS_UNIX_MS, None), "");
        assert_eq!(said(ALWAYS_UNIX_MS, Some(six)), " for good (was until 18:00)");
        assert_eq!(said(six, Some(ALWAYS_UNIX_MS)), " until 18:00 (was for good)");
        assert_eq!(said(six, Some(six)), " until 18:00");
        assert_eq!(said(six, Some(noon - 1)), " until 18:00", "that one is over");
    }
}
