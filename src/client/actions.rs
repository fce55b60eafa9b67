//! What the owner does to messages: answers, reactions, changes, taking back, sending again.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};
use unicode_segmentation::UnicodeSegmentation;

use crate::limits;
use crate::types::ChatName;

use super::api::{
    ActionError, Author, Cancelled, Contact, Draft, Event, Form, LocalId, MessageState, SendError,
    Trust,
};
use super::contacts::write_contact;
use super::core::Core;
use super::files::{FileState, hand_on_file};
use super::forget::{Gone, forget_line};
use super::notes::{Said, queue_note};
use super::settings::{life_ms, reopen};
use super::store::{StoreError, bits};
use super::views::{
    KIND_OWN, KIND_PEER, STATE_CANCELLED, STATE_PENDING, STATE_REFUSED, STATE_UPLOADING,
    STATE_WAITING,
};

/// A line to be.
pub(super) struct NewLine<'a> {
    pub(super) text: &'a str,
    pub(super) form: Form,
    pub(super) reply_to: Option<LocalId>,
    pub(super) expire: Option<Duration>,
    pub(super) state: i64,
}

/// A line as far as an action has to know it.
struct Target {
    line: i64,
    chat: ChatName,
    own: bool,
    /// In a group: whose it is, if not own.
    author: Option<String>,
    state: i64,
}

impl Target {
    /// Own, and taken back or refused: nobody else has it.
    fn ended(&self) -> bool {
        self.own && matches!(self.state, STATE_REFUSED | STATE_CANCELLED)
    }
}

impl From<StoreError> for ActionError {
    fn from(error: StoreError) -> Self {
        Self::Local(error.to_string())
    }
}

impl Core {
    /// Whether something may be written in this chat.
    fn may_write(&mut self, to: &ChatName) -> Result<(), SendError> {
        let user = match to {
            ChatName::Person(user) => user,
            ChatName::Group(group) if self.is_in(group).map_err(local)? => return Ok(()),
            ChatName::Group(group) => return Err(SendError::NoSuchGroup(group.clone())),
        };
        if user == self.user() {
            return Err(SendError::ToSelf);
        }
        let person = self.person(user).map_err(local)?;
        match person.map(|p| (p.trust(), p.contact)) {
            Some((Trust::Changed, _)) => Err(SendError::KeyChanged(user.clone())),
            Some((_, Contact::Blocked)) => Err(SendError::Blocked(user.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a message: on disk when this returns.
    pub(crate) fn queue_draft(
        &mut self,
        to: &ChatName,
        draft: &Draft,
    ) -> Result<LocalId, SendError> {
        fits(&draft.text)?;
        let Draft { text, form, reply_to, expire } = draft;
        let (form, reply_to, expire) = (*form, *reply_to, *expire);
        let line = NewLine { text, form, reply_to, expire, state: STATE_WAITING };
        self.queue_line(to, &line, |_, _| Ok(()))
    }

    /// Whether something that answers this message may be written there.
    pub(super) fn may_queue(
        &mut self,
        to: &ChatName,
        reply_to: Option<LocalId>,
    ) -> Result<(), SendError> {
        self.may_write(to)?;
        reply_to.map_or(Ok(()), |id| self.answered(to, id).map(drop))
    }

    /// Takes a line; `attach` adds what else belongs to it.
    pub(super) fn queue_line(
        &mut self,
        to: &ChatName,
        line: &NewLine<'_>,
        attach: impl FnOnce(&Transaction<'_>, i64) -> Result<(), StoreError>,
    ) -> Result<LocalId, SendError> {
        self.may_write(to)?;
        let reply = match line.reply_to {
            Some(id) => Some(self.answered(to, id)?),
            None => None,
        };
        let expire = match line.expire {
            Some(life) => Some(life),
            None => self.chat_settings(to).map_err(local)?.expire,
        };
        let now = bits(self.now());
        let sealed = self.profile.key.seal(line.text.as_bytes());
        let id = self
            .profile
            .store
            .commit(|tx| {
                tx.prepare_cached(
                    "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms,
                     state, shown, form, reply_by, reply_to, expire_ms, reply_author)
                     VALUES (?1, 0, ?2, ?3, ?3, ?4, 2, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    to,
                    sealed,
                    now,
                    line.state,
                    line.form == Form::Emote,
                    reply.as_ref().map(|target| i64::from(!target.own)),
                    reply.as_ref().map(|target| target.line),
                    bits(expire.map_or(0, life_ms)),
                    reply.as_ref().and_then(|target| target.author.as_deref()),
                ])?;
                let id = tx.last_insert_rowid();
                attach(tx, id)?;
                // Writing to somebody accepts them.
                accept(tx, to)?;
                reopen(tx, to)?;
                Ok::<_, StoreError>(id)
            })
            .map_err(local)?;
        self.look_again(to);
        Ok(LocalId(id))
    }

    /// What is known of the person of a chat has changed on disk.
    fn look_again(&mut self, chat: &ChatName) {
        if let Some(user) = chat.person() {
            self.people.remove(user);
        }
    }

    /// The message that is answered has to stand in the same chat.
    fn answered(&self, to: &ChatName, id: LocalId) -> Result<Target, SendError> {
        match self.target(id) {
            Ok(target) if target.chat == *to && !target.ended() => Ok(target),
            Err(ActionError::Local(error)) => Err(SendError::Local(error)),
            Ok(_) | Err(_) => Err(SendError::NoSuchMessage(id)),
        }
    }

    /// A message that stands.
    fn target(&self, id: LocalId) -> Result<Target, ActionError> {
        let row: Option<(String, i64, i64, i64, Option<String>)> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT chat, kind, state, gone, author FROM lines WHERE id = ?1")
            .and_then(|mut rows| {
                rows.query_row([id.0], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()
            })
            .map_err(StoreError::from)?;
        let Some((chat, kind, state, gone, author)) = row else {
            return Err(ActionError::NoSuchMessage);
        };
        if !matches!(kind, KIND_OWN | KIND_PEER) {
            return Err(ActionError::NotAText);
        }
        if gone != 0 {
            return Err(ActionError::Deleted);
        }
        let chat = ChatName::canonical(&chat).map_err(|_| StoreError::Sealed)?;
        Ok(Target { line: id.0, chat, own: kind == KIND_OWN, author, state })
    }

    fn own_target(&self, id: LocalId) -> Result<Target, ActionError> {
        let target = self.target(id)?;
        if target.own { Ok(target) } else { Err(ActionError::NotYours) }
    }

    /// Reacts to a message, or takes that back.
    pub(crate) fn react(&mut self, id: LocalId, emoji: Option<&str>) -> Result<(), ActionError> {
        if emoji.is_some_and(|emoji| !is_one_character(emoji)) {
            return Err(ActionError::NotAnEmoji);
        }
        let target = self.target(id)?;
        if target.ended() {
            return Err(ActionError::Deleted);
        }
        let (chat, line) = (&target.chat, target.line);
        self.may_write(chat)?;
        let key = self.profile.key.clone();
        let changed = self.profile.store.commit(|tx| {
            if write_reaction(tx, &key, line, &Author::Me, emoji)? == Changed::Nothing {
                return Ok(Changed::Nothing);
            }
            queue_note(tx, &key, chat, line, Said::Reaction(emoji))?;
            accept(tx, chat)?;
            Ok::<_, StoreError>(Changed::Something)
        })?;
        if changed == Changed::Something {
            self.look_again(chat);
            let emoji = emoji.map(str::to_owned);
            self.emit(Event::Reacted { id, chat: target.chat, by: Author::Me, emoji });
        }
        Ok(())
    }

    /// Changes an own text.
    pub(crate) fn edit(&mut self, id: LocalId, text: &str) -> Result<(), ActionError> {
        fits(text)?;
        let target = self.own_target(id)?;
        let (got, max) = (text.len(), limits::CAPTION_BYTES_MAX);
        if got > max && self.file(id)?.is_some() {
            return Err(ActionError::CaptionTooLong { got, max });
        }
        if target.state == STATE_CANCELLED {
            return Err(ActionError::Deleted);
        }
        self.may_write(&target.chat)?;
        let key = self.profile.key.clone();
        let line = target.line;
        // One that waits is just another text; of any other, others may have the one before.
        let is_here = matches!(target.state, STATE_UPLOADING | STATE_WAITING);
        let told = !is_here && target.state != STATE_REFUSED;
        self.profile.store.commit(|tx| {
            tx.prepare_cached(
                "UPDATE outgoing SET sealed_text = (SELECT sealed_text FROM lines WHERE id = ?1)
                 WHERE line = ?1 AND sealed_text IS NULL",
            )?
            .execute([line])?;
            tx.prepare_cached("UPDATE lines SET sealed_text = ?2, edited = ?3 WHERE id = ?1")?
                .execute(params![line, key.seal(text.as_bytes()), !is_here])?;
            if told {
                queue_note(tx, &key, &target.chat, line, Said::Edit(text))?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.emit(Event::Edited { id, chat: target.chat });
        Ok(())
    }

    /// Takes an own message back.
    pub(crate) fn delete(&mut self, id: LocalId) -> Result<(), ActionError> {
        let target = self.own_target(id)?;
        let cancelled = matches!(target.state, STATE_UPLOADING | STATE_WAITING | STATE_PENDING)
            && self.cancel(id)? == Cancelled::Yes;
        let key = self.profile.key.clone();
        self.profile.store.commit(|tx| {
            forget_line(tx, target.line, Gone::Deleted)?;
            if !cancelled && !target.ended() {
                queue_note(tx, &key, &target.chat, target.line, Said::Delete)?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.leave_no_trace()?;
        self.emit(Event::Deleted { id, chat: target.chat });
        Ok(())
    }

    /// Sends a refused message again, as a new one; the old one counts as cancelled. A file whose
    /// bytes did not come to the home goes there first, if its sealed copy is still here.
    pub(crate) fn retry_one(&mut self, id: LocalId) -> Result<LocalId, ActionError> {
        let target = self.own_target(id)?;
        match target.state {
            STATE_UPLOADING | STATE_WAITING | STATE_PENDING => return Ok(id),
            STATE_REFUSED => {}
            STATE_CANCELLED => return Err(ActionError::Deleted),
            _ => return Err(ActionError::AlreadySent),
        }
        self.may_write(&target.chat)?;
        let state = self.state_to_retry(id)?;
        let now = bits(self.now());
        let sent = self.profile.store.commit(|tx| {
            tx.execute(
                "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms, state,
                 shown, form, reply_by, reply_to, expire_ms, reply_author)
                 SELECT chat, 0, sealed_text, ?2, ?2, ?3, 2, form, reply_by, reply_to, expire_ms,
                 reply_author FROM lines WHERE id = ?1",
                params![id.0, now, state],
            )?;
            let sent = tx.last_insert_rowid();
            hand_on_file(tx, id.0, sent)?;
            tx.execute(
                "UPDATE lines SET state = ?2, reason = 0 WHERE id = ?1",
                params![id.0, STATE_CANCELLED],
            )?;
            Ok::<_, StoreError>(sent)
        })?;
        self.emit(Event::State { id, chat: target.chat, state: MessageState::Cancelled });
        self.files.bell.notify_one();
        Ok(LocalId(sent))
    }

    /// Where a refused message begins again.
    fn state_to_retry(&self, id: LocalId) -> Result<i64, ActionError> {
        match self.file(id)? {
            Some(file) if file.state != FileState::Done => {
                let copy = self.spool_folder().join(file.body.blob.to_string());
                if copy.exists() { Ok(STATE_UPLOADING) } else { Err(ActionError::CopyLost) }
            }
            Some(_) | None => Ok(STATE_WAITING),
        }
    }
}

/// The person of a chat is a contact from now on.
fn accept(tx: &rusqlite::Transaction<'_>, chat: &ChatName) -> Result<(), rusqlite::Error> {
    chat.person().map_or(Ok(()), |user| write_contact(tx, user, Contact::Accepted))
}

/// Whether something is different now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Nothing,
    Something,
}

/// The one reaction of somebody to a message.
pub(super) fn write_reaction(
    tx: &rusqlite::Transaction<'_>,
    key: &crate::crypto::secret::DbKey,
    line: i64,
    by: &Author,
    emoji: Option<&str>,
) -> Result<Changed, StoreError> {
    let by = match by {
        Author::Me => "",
        Author::Them(user) => user.as_str(),
    };
    let changed = match emoji {
        Some(emoji) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO reactions (line, by, sealed_emoji) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![line, by, key.seal(emoji.as_bytes())])?,
        None => tx
            .prepare_cached("DELETE FROM reactions WHERE line = ?1 AND by = ?2")?
            .execute(params![line, by])?,
    };
    Ok(if changed > 0 { Changed::Something } else { Changed::Nothing })
}

/// One character as people count them, that can be seen.
pub(super) fn is_one_character(text: &str) -> bool {
    text.len() <= limits::EMOJI_BYTES_MAX
        && text.graphemes(true).count() == 1
        && !text.chars().all(|c| c.is_whitespace() || c.is_control())
}

fn fits(text: &str) -> Result<(), SendError> {
    if text.is_empty() {
        return Err(SendError::Empty);
    }
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(SendError::TooLarge(text.len()));
    }
    Ok(())
}

fn local(error: StoreError) -> SendError {
    SendError::Local(error.to_string())
}
