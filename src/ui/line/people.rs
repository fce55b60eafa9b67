//! People: who is there, who may write, what they are called, and whether their keys are theirs.

use crate::client::{ChatChange, Contact, RequestError, Trust};
use crate::types::UserName;
use crate::ui::commands::Scope;
use crate::ui::input::Above;
use crate::ui::{lists, say};

use super::{Answer, Effect, Session};

impl Session {
    pub(super) fn who(&mut self, scope: Scope) {
        self.reply(Above::Keep, String::new());
        self.request(move |client, screen| async move {
            let text = match client.who(scope == Scope::All).await {
                Ok(view) => lists::who(&screen, scope, &view),
                Err(error) => screen.told(&say::request_error(&error, None)),
            };
            Answer { text, effect: Effect::Nothing }
        });
    }

    pub(super) fn verify(&mut self, user: UserName) {
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
    pub(super) fn verified(&mut self, user: UserName) {
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

    /// Whether somebody named in a command is known here: by a chat, a contact or a key. Says so
    /// when not, or when it is the person themselves; nothing may be stored then.
    pub(super) fn concerns(&mut self, user: &UserName) -> bool {
        if *user == self.options.me {
            self.mistake("That is you; nothing was changed.");
            return false;
        }
        if self.knows(user) {
            return true;
        }
        self.piped.mistakes += 1;
        let told = say::stranger(user, self.did_you_mean(user));
        let line = self.screen.told(&told);
        self.reply(Above::Keep, line);
        false
    }

    fn knows(&mut self, user: &UserName) -> bool {
        if !self.screen.names.knows(user) {
            self.learn_names();
        }
        self.screen.names.knows(user)
            || self.contact(user).is_some()
            || self.env.in_place(|| self.client.known_key(user)).is_ok_and(|key| key.is_some())
    }

    /// How a contact stands; `None`: they are none.
    fn contact(&self, user: &UserName) -> Option<Contact> {
        let contacts = self.env.in_place(|| self.client.contacts()).ok()?;
        contacts.into_iter().find(|person| person.user == *user).map(|person| person.contact)
    }

    /// Accepts a changed key only: there is nothing to decide about another.
    pub(super) fn accept_key(&mut self, user: &UserName) {
        if !self.concerns(user) {
            return;
        }
        let text = match self.env.in_place(|| self.client.known_key(user)) {
            Ok(Some(key)) if key.trust == Trust::Changed => return self.accept_changed(user),
            Ok(Some(_)) => format!("{user}'s key has not changed; there is nothing to accept"),
            Ok(None) => format!("no key of {user} was seen yet; there is nothing to accept"),
            Err(error) => return self.failed(&error, Some(user)),
        };
        let line = self.screen.notice(&text);
        self.reply(Above::Keep, line);
    }

    fn accept_changed(&mut self, user: &UserName) {
        match self.env.in_place(|| self.client.accept_key(user)) {
            Ok(()) => {
                self.screen.key_accepted(user);
                self.reply(Above::Keep, format!("{user}'s new key is accepted; not verified."));
            }
            Err(error) => self.failed(&error, Some(user)),
        }
    }

    pub(super) fn accept(&mut self, user: &UserName) {
        if !self.concerns(user) {
            return;
        }
        self.view.requests.remove(user);
        match self.env.in_place(|| self.client.accept(user)) {
            Ok(()) => self.reply(Above::Keep, format!("Accepted. To answer: /to {user}")),
            Err(error) => self.failed(&error, Some(user)),
        }
    }

    pub(super) fn unblock(&mut self, user: UserName) {
        if !self.concerns(&user) {
            return;
        }
        if self.contact(&user) == Some(Contact::Blocked) {
            return self.ask_to_block(user, false);
        }
        let line = self.screen.notice(&format!("{user} is not blocked"));
        self.reply(Above::Keep, line);
    }

    /// Also somebody who never wrote: their server knows whether there is such a person.
    pub(super) fn block(&mut self, user: UserName) {
        if user == self.options.me {
            return self.mistake("That is you; nothing was changed.");
        }
        self.ask_to_block(user, true);
    }

    fn ask_to_block(&mut self, user: UserName, blocked: bool) {
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

    pub(super) fn contacts(&mut self) {
        match self.env.in_place(|| self.client.contacts()) {
            Ok(contacts) => {
                let text = lists::contacts(&self.screen, &contacts);
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn alias(&mut self, user: &UserName, alias: Option<String>) {
        if !self.concerns(user) {
            return;
        }
        let change = ChatChange::Alias(alias);
        match self.env.in_place(|| self.client.change_chat(&user.clone().into(), &change)) {
            Ok(()) => {
                self.learn_names();
                let text = match self.screen.names.label(user) {
                    label if label == user.as_str() => format!("{user} has no other name here now"),
                    label => format!("{user} is shown as {label}; only you see it"),
                };
                let line = self.screen.notice(&text);
                self.reply(Above::Keep, line);
            }
            Err(error) => self.failed(&error, Some(user)),
        }
    }

    pub(super) fn keys(&mut self) {
        let own = self
            .env
            .in_place(|| Ok::<_, RequestError>((self.client.own_keys()?, self.client.contacts()?)));
        match own {
            Ok((own, contacts)) => {
                let text = lists::keys(&self.screen, &own, &contacts, self.env.unix_ms());
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }
}
