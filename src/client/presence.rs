//! Who is signed in and who is writing, as far as the present connection tells. In memory only.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::limits;
use crate::roster::Roster;
use crate::types::{ChatName, GroupName, UserName};

use super::api::{Contact, Event};
use super::core::Core;
use super::store::StoreError;

/// What is known of people who come and go.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// By this connection's word.
    now: BTreeMap<UserName, bool>,
    /// By the last event.
    told: BTreeMap<UserName, bool>,
    /// When we last told somebody that we are writing to them.
    typed: BTreeMap<ChatName, Instant>,
    /// When the front end was last told that somebody is writing.
    heard: BTreeMap<(ChatName, UserName), Instant>,
}

impl Presence {
    /// Whether somebody is signed in; `None` when this connection does not say.
    pub(crate) fn now(&self, user: &UserName) -> Option<bool> {
        self.now.get(user).copied()
    }

    /// There is no connection any more, or another one: nothing is known.
    pub(crate) fn forget(&mut self) {
        self.now.clear();
    }
}

impl Core {
    /// A server says that somebody is, or is not, signed in. Of contacts, the front end is told.
    pub(crate) fn presence_heard(
        &mut self,
        user: &UserName,
        online: bool,
    ) -> Result<(), StoreError> {
        if !self.is_accepted(user)? {
            return Ok(());
        }
        self.presence.now.insert(user.clone(), online);
        if self.presence.told.insert(user.clone(), online).unwrap_or(false) != online {
            self.emit(Event::Presence { user: user.clone(), online });
        }
        Ok(())
    }

    /// Whether somebody is to be told now that we are writing to them; notes that they are. Whoever
    /// is invisible tells nobody: it would say that they are there.
    pub(crate) fn typing_due(&mut self, to: &ChatName) -> Result<bool, StoreError> {
        let recent = |at: &Instant| at.elapsed() < limits::TYPING_INTERVAL;
        if self.presence.typed.get(to).is_some_and(recent)
            || !self.is_agreed(to)?
            || !self.typing_on(to)?
            || self.account_settings()?.invisible
        {
            return Ok(false);
        }
        self.presence.typed.retain(|_, at| recent(at));
        self.presence.typed.insert(to.clone(), Instant::now());
        Ok(true)
    }

    /// A server says that somebody is writing to us. However often: the front end hears it once a
    /// second at most, and of contacts only.
    pub(crate) fn typing_heard(&mut self, user: &UserName) -> Result<(), StoreError> {
        if !self.is_accepted(user)? {
            return Ok(());
        }
        self.typing_in(user.clone().into(), user)
    }

    /// A server says that somebody is writing in a group: heard of members, as of contacts.
    pub(crate) fn typing_heard_in(
        &mut self,
        group: &GroupName,
        user: &UserName,
    ) -> Result<(), StoreError> {
        let blocked = self.person(user)?.is_some_and(|p| p.contact == Contact::Blocked);
        let is_member = |roster: &Roster| roster.member(user).is_some();
        let known = self.is_in(group)?
            && self.group(group)?.and_then(|group| group.roster.as_ref()).is_some_and(is_member);
        if blocked || !known || user == self.user() {
            return Ok(());
        }
        self.typing_in(group.clone().into(), user)
    }

    fn typing_in(&mut self, chat: ChatName, user: &UserName) -> Result<(), StoreError> {
        let who = (chat, user.clone());
        let recent = |at: &Instant| at.elapsed() < limits::TYPING_HEARD_INTERVAL;
        if self.presence.heard.get(&who).is_some_and(recent) || !self.typing_on(&who.0)? {
            return Ok(());
        }
        self.presence.heard.retain(|_, at| recent(at));
        self.presence.heard.insert(who.clone(), Instant::now());
        let (chat, user) = who;
        self.emit(Event::Typing { chat, user });
        Ok(())
    }

    /// Whether a chat is one with a contact, or of a group that we are in.
    pub(crate) fn is_agreed(&mut self, chat: &ChatName) -> Result<bool, StoreError> {
        match chat {
            ChatName::Person(user) => self.is_accepted(user),
            ChatName::Group(group) => self.is_in(group),
        }
    }

    /// Whether somebody is a contact who was accepted.
    pub(crate) fn is_accepted(&mut self, user: &UserName) -> Result<bool, StoreError> {
        Ok(self.person(user)?.is_some_and(|person| person.contact == Contact::Accepted))
    }
}
