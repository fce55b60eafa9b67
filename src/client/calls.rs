//! What a front end asks of a conversation, of people and of settings. Each call is one short step
//! on the core; whoever has to hear of it is told by the session.

use crate::types::{ChatName, UserName};

use super::Client;
use super::api::{
    AccountChange, AccountSettings, ActionError, ChatChange, ChatSettings, Contact, ContactView,
    Draft, Line, LocalId, OwnKeysView, RequestError, SendError,
};
use super::search::{Search, Searched};
use super::session::Request;

impl Client {
    /// Takes a message: when this returns it is on this disk, and goes out at the next contact.
    ///
    /// # Errors
    /// [`SendError`]; nothing was stored then.
    pub fn send(&self, to: &ChatName, draft: &Draft) -> Result<LocalId, SendError> {
        let id = self.core.lock().queue_draft(to, draft)?;
        self.poke(Request::Look);
        Ok(id)
    }

    /// Reacts to a message of either side, in place of an earlier reaction; `None` takes it back.
    ///
    /// # Errors
    /// [`ActionError`].
    pub fn react(&self, id: LocalId, emoji: Option<&str>) -> Result<(), ActionError> {
        self.core.lock().react(id, emoji)?;
        self.poke(Request::Look);
        Ok(())
    }

    /// Changes an own text. One that waits is just changed; of any other, the other side is told.
    ///
    /// # Errors
    /// [`ActionError`].
    pub fn edit(&self, id: LocalId, text: &str) -> Result<(), ActionError> {
        self.core.lock().edit(id, text)?;
        self.poke(Request::Look);
        Ok(())
    }

    /// Takes an own message back. One that is not known to be sent is cancelled; of any other, the
    /// other side is asked to forget it, which cannot be forced. Here the text is gone at once.
    ///
    /// # Errors
    /// [`ActionError`].
    pub fn delete(&self, id: LocalId) -> Result<(), ActionError> {
        self.core.lock().delete(id)?;
        self.poke(Request::Look);
        Ok(())
    }

    /// Sends a refused message again, as a new one whose number is returned; the old one counts as
    /// cancelled from then on. One that still waits is only tried now.
    ///
    /// # Errors
    /// [`ActionError`]; [`ActionError::AlreadySent`] when there is nothing to send again.
    pub fn retry_one(&self, id: LocalId) -> Result<LocalId, ActionError> {
        let sent = self.core.lock().retry_one(id)?;
        self.poke(Request::Hurry);
        Ok(sent)
    }

    /// The newest own message of a chat that stands: what `/edit` is about.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn last_own(&self, chat: &ChatName) -> Result<Option<LocalId>, RequestError> {
        Ok(self.core.lock().last_own(chat)?)
    }

    /// The person has read everything that was shown in this chat. Cheap to call often: a receipt
    /// goes when they are on, at most one a second, and never to somebody who was not accepted.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn mark_read(&self, chat: &ChatName) -> Result<(), RequestError> {
        if self.core.lock().mark_read(chat)? {
            self.poke(Request::Look);
        }
        Ok(())
    }

    /// Whether nothing is left that this chat is to get: no message, and nothing that goes along
    /// with one or with a change of a group, such as a key for who was brought in.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn is_all_sent(&self, chat: &ChatName) -> Result<bool, RequestError> {
        Ok(self.core.lock().is_all_sent(chat)?)
    }

    /// Everybody who said that an own message of a group was shown to them, by name.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn read_by(&self, id: LocalId) -> Result<Vec<UserName>, RequestError> {
        Ok(self.core.lock().read_by(id)?)
    }

    /// The person is typing in a chat. To be called for every key: at most one notice in three
    /// seconds goes out, none when they are off or there is no connection.
    pub fn typing(&self, to: &ChatName) {
        match self.core.lock().typing_due(to) {
            Ok(true) => self.poke(Request::Typing { to: to.clone() }),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "nobody is told of the typing"),
        }
    }

    /// The newest `max` messages with this text in them, whatever its case, oldest first; of one
    /// chat or of all. Goes back 200,000 messages at most.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn search(
        &self,
        text: &str,
        chat: Option<&ChatName>,
        max: usize,
    ) -> Result<Vec<Line>, RequestError> {
        let wanted = text.to_lowercase();
        let mut search = Search::default();
        while self.core.lock().search_on(&wanted, chat, max, &mut search)? == Searched::More {}
        Ok(self.core.lock().found(&search)?)
    }

    /// The first `max` lines of a chat that this device stored at that time or later.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn since(
        &self,
        chat: &ChatName,
        from_unix_ms: u64,
        max: usize,
    ) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().since(chat, from_unix_ms, max)?)
    }

    /// What is set for a chat.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn chat_settings(&self, chat: &ChatName) -> Result<ChatSettings, RequestError> {
        Ok(self.core.lock().chat_settings(chat)?)
    }

    /// Changes what is set for a chat.
    ///
    /// # Errors
    /// [`RequestError::TooLong`] for an alias or a draft; [`RequestError::Local`].
    pub fn change_chat(&self, chat: &ChatName, change: &ChatChange) -> Result<(), RequestError> {
        self.core.lock().change_chat(chat, change)
    }

    /// What is set for the account.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn account_settings(&self) -> Result<AccountSettings, RequestError> {
        Ok(self.core.lock().account_settings()?)
    }

    /// Changes what is set for the account.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn change_account(&self, change: AccountChange) -> Result<(), RequestError> {
        self.core.lock().change_account(change)?;
        if let AccountChange::Invisible(invisible) = change {
            self.poke(Request::SetPresence { invisible });
        }
        Ok(())
    }

    /// Everybody who was accepted or blocked, by name. Requests are in [`Client::chats`].
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn contacts(&self) -> Result<Vec<ContactView>, RequestError> {
        Ok(self.core.lock().contacts()?)
    }

    /// Makes somebody a contact, also one whose key is not known yet.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn add_contact(&self, user: &UserName) -> Result<(), RequestError> {
        self.core.lock().set_contact(user, Contact::Accepted)?;
        self.poke(Request::Follow);
        Ok(())
    }

    /// Makes a contact a stranger again, without an alias; key and history stay.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn remove_contact(&self, user: &UserName) -> Result<(), RequestError> {
        self.core.lock().remove_contact(user)
    }

    /// Whom an alias names, whatever its case.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn by_alias(&self, word: &str) -> Result<Option<UserName>, RequestError> {
        let named = self.core.lock().by_alias(word)?;
        Ok(named.and_then(|chat| chat.person().cloned()))
    }

    /// One's own keys.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn own_keys(&self) -> Result<OwnKeysView, RequestError> {
        Ok(self.core.lock().own_keys()?)
    }

    /// Makes a new encryption key in a new version of one's bundle, at the next contact.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn rotate_key(&self) -> Result<(), RequestError> {
        self.core.lock().want_new_key()?;
        self.poke(Request::Offer);
        Ok(())
    }
}
