//! Passwords that are asked for, and answers that the next line waits for.

use zeroize::Zeroizing;

use crate::client::Client;
use crate::types::ChatName;
use crate::ui::input::{Above, Secret, Times};
use crate::ui::screen::Screen;

use super::super::drafts::Input;
use super::super::{Answer, REQUESTS_MAX, Session};
use super::{Purpose, Then};

impl Session {
    pub(super) fn ask_password(&mut self, purpose: Purpose, question: String, times: Times) {
        self.input = Input::Password { purpose, given_up: false };
        self.terminal.secret(String::new(), question, times);
    }

    /// Ctrl-C while a password is typed: the terminal has cleared it, and Enter ends the question.
    pub(in super::super) fn give_up_password(&mut self) -> bool {
        match &mut self.input {
            Input::Password { given_up, .. } => {
                *given_up = true;
                true
            }
            Input::Commands | Input::Lines { .. } | Input::Question(_) | Input::Elsewhere => false,
        }
    }

    /// Ctrl-C while an answer is awaited: it is told when it comes.
    pub(in super::super) fn give_up_waiting(&mut self) -> bool {
        if !std::mem::take(&mut self.held) {
            return false;
        }
        let line = self.screen.notice("it goes on; how it ends is told here");
        self.reply(Above::Keep, line);
        true
    }

    pub(in super::super) fn password_typed(&mut self, secret: Secret) {
        let Input::Password { purpose, given_up } =
            std::mem::replace(&mut self.input, Input::Commands)
        else {
            return self.reply(Above::Keep, String::new());
        };
        // The kick before it stands, whatever happens here.
        let (nothing, retry) = match &purpose {
            Purpose::SetAgain(_) => ("no password was set", " To set one: /password"),
            Purpose::Create { .. } | Purpose::Join(_) | Purpose::Set(_) => ("nothing was done", ""),
        };
        let password = match secret {
            Secret::Given(password) if !given_up => password,
            Secret::Different if !given_up => {
                return self.mistake(&format!("That was not the same twice; {nothing}.{retry}"));
            }
            Secret::Given(_) | Secret::Different | Secret::Dropped => {
                let note = self.screen.notice(&format!("dropped; {nothing}"));
                return self.reply(Above::Keep, note);
            }
        };
        let some = |password: Zeroizing<String>| (!password.is_empty()).then_some(password);
        match purpose {
            Purpose::Create { name, with } => self.make_group(name, with, some(password)),
            Purpose::Set(group) => self.set_password(group, some(password)),
            Purpose::SetAgain(group) if password.is_empty() => {
                let note = self.screen.notice(&format!("{group} has no password to join by now"));
                self.reply(Above::Keep, note);
            }
            Purpose::SetAgain(group) => self.set_password(group, some(password)),
            Purpose::Join(_) if password.is_empty() => {
                let note = self.screen.notice("no password, nothing was done");
                self.reply(Above::Keep, note);
            }
            Purpose::Join(name) => self.join_with(name, password),
        }
    }

    /// Asks a server, and reads the next line when its answer is here.
    pub(super) fn hold<F, Fut>(&mut self, work: F)
    where
        F: FnOnce(Client, Screen) -> Fut,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        if self.asked >= REQUESTS_MAX {
            return self.mistake("Wait for the earlier answers first.");
        }
        self.held = true;
        self.screen.width = self.terminal.columns();
        self.request(work);
    }

    pub(in super::super) fn group_answered(&mut self, text: String, then: Then) {
        if !std::mem::take(&mut self.held) {
            // The person went on meanwhile: what they type stays where it is going.
            return self.terminal.notice(text);
        }
        match then {
            Then::Nothing => self.reply(Above::Keep, text),
            Then::Failed => {
                self.piped.mistakes += 1;
                self.reply(Above::Keep, text);
            }
            Then::Open(name) => {
                let chat = ChatName::Group(name);
                self.open(&chat);
                self.take_draft_of(&chat);
                self.reply(Above::Keep, text);
            }
            Then::Leave(name) => {
                if self.chat.as_ref().and_then(ChatName::group) == Some(&name) {
                    self.chat = None;
                }
                self.reply(Above::Keep, text);
            }
            Then::AskPassword(name) => {
                let question = format!("Password of {name}: ");
                self.ask_password(Purpose::Join(name), question, Times::Once);
            }
            Then::AskNewPassword(name) => {
                let question = format!("A new password to join {name} by (Enter: none): ");
                self.input = Input::Password { purpose: Purpose::SetAgain(name), given_up: false };
                self.terminal.secret(text, question, Times::Twice);
            }
        }
        self.show();
    }
}
