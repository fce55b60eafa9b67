//! The outbox: from a text on this disk to "sent" and "delivered".
//!
//! A text waits as a line of its chat. Handing it to a connection takes the next `n`, advances the
//! key state and stores the sealed envelope in one transaction; from then on that `n` never means
//! another text. An envelope's bytes change only by sealing the same text again or to a VOID, and
//! every version is kept until it is delivered, so that the home's answer can be compared with what
//! was really written.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::Body;
use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{LogEpoch, LogName, N, UserName};

use super::api::{Cancelled, Contact, Event, LocalId, MessageState, SendError, Trust};
use super::contacts::{write_contact, write_tell};
use super::core::Core;
use super::rows::{
    KIND_BUNDLE, KIND_TEXT, insert_outgoing, insert_version, line_text, make_void,
    unanswered_bodies, waiting_lines,
};
use super::sealing::{Fitted, Sealer, SendState};
use super::store::{StoreError, bits, unbits};
use super::views::{STATE_CANCELLED, STATE_PENDING, STATE_WAITING};

/// A sealed envelope to append.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) n: N,
    pub(crate) upto: N,
    pub(crate) envelope: Bytes,
}

/// Whether what waits for a chat can be sealed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealing {
    /// Something was: look what is ready.
    Again,
    /// There is nothing to seal.
    Nothing,
    /// No key of the person is known: look it up first.
    NeedsBundle,
    /// The identity key changed and was not accepted: nothing is sealed.
    KeyChanged,
}

/// What is to be done next for a chat.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// These may be sent, in this order. Never empty.
    Send(Vec<Outgoing>),
    /// Nothing is sealed for the person's present keys: [`Core::seal_waiting`].
    Seal,
    /// No key of the person is known: look it up first.
    NeedsBundle,
    /// The identity key changed and was not accepted: nothing is sent, sealed or not.
    KeyChanged,
}

impl Core {
    /// Takes a text: on disk when this returns.
    pub(crate) fn queue_text(&mut self, to: &UserName, text: &str) -> Result<LocalId, SendError> {
        if text.is_empty() {
            return Err(SendError::Empty);
        }
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(SendError::TooLarge(text.len()));
        }
        if to == self.user() {
            return Err(SendError::ToSelf);
        }
        let local = |error: StoreError| SendError::Local(error.to_string());
        let person = self.person(to).map_err(local)?;
        match person.map(|p| (p.trust(), p.contact)) {
            Some((Trust::Changed, _)) => return Err(SendError::KeyChanged(to.clone())),
            Some((_, Contact::Blocked)) => return Err(SendError::Blocked(to.clone())),
            Some(_) | None => {}
        }
        let now = bits(self.now());
        let sealed = self.profile.key.seal(text.as_bytes());
        let id = self
            .profile
            .store
            .commit(|tx| {
                tx.prepare_cached(
                    "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms,
                     state, shown) VALUES (?1, 0, ?2, ?3, ?3, ?4, 2)",
                )?
                .execute(params![to.as_str(), sealed, now, STATE_WAITING])?;
                let id = tx.last_insert_rowid();
                // Writing to somebody accepts them.
                write_contact(tx, to, Contact::Accepted)?;
                Ok::<_, StoreError>(id)
            })
            .map_err(local)?;
        self.people.remove(to);
        Ok(LocalId(id))
    }

    /// The chats whose log has to be open: something waits, is unanswered, or is not delivered yet.
    pub(crate) fn chats_to_open(&self) -> Result<Vec<UserName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT chat FROM lines WHERE state = 0
             UNION SELECT chat FROM outgoing
             UNION SELECT user FROM people WHERE tell = 1 AND contact <> 2 ORDER BY 1",
        )?;
        let chats = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for chat in chats {
            found.extend(UserName::canonical(&chat?).ok());
        }
        Ok(found)
    }

    /// Own messages that are not known to be sent.
    pub(crate) fn waiting_count(&self) -> Result<usize, StoreError> {
        let count: i64 = self.profile.store.db().query_row(
            "SELECT count(*) FROM lines WHERE kind = 0 AND state IN (0, 1)",
            [],
            |row| row.get(0),
        )?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// What may be sent for a chat now, from number `from` on, at most `max` envelopes.
    pub(crate) fn ready(
        &mut self,
        chat: &UserName,
        from: N,
        max: usize,
    ) -> Result<Ready, StoreError> {
        let Some(person) = self.person(chat)? else { return Ok(Ready::NeedsBundle) };
        if person.changed.is_some() {
            return Ok(Ready::KeyChanged);
        }
        let Some(bundle) = &person.bundle else { return Ok(Ready::NeedsBundle) };
        let (identity, enc) = (bundle.identity(), bundle.encryption_key_id());
        let replaced: Option<bool> = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT coalesce(recipient_identity <> ?2 OR wrapped_to <> ?3, 0)
                 FROM send_logs WHERE chat = ?1",
            )?
            .query_row(params![chat.as_str(), identity.0, enc.0], |row| row.get(0))
            .optional()?;
        if replaced == Some(true) {
            return Ok(Ready::Seal);
        }
        let sealed = self.unanswered(chat, from, max)?;
        Ok(if sealed.is_empty() { Ready::Seal } else { Ready::Send(sealed) })
    }

    /// Seals what waits for a chat, at most `max` envelopes, in one transaction. What is unanswered
    /// and was sealed to keys that the person has replaced is sealed again, under its own numbers.
    pub(crate) fn seal_waiting(
        &mut self,
        chat: &UserName,
        max: usize,
    ) -> Result<Sealing, StoreError> {
        let Some(person) = self.person(chat)?.cloned() else {
            return Ok(Sealing::NeedsBundle);
        };
        if person.changed.is_some() {
            return Ok(Sealing::KeyChanged);
        }
        let Some(bundle) = person.bundle else { return Ok(Sealing::NeedsBundle) };
        let now = self.now();
        let own = self.profile.bundle.clone();
        let sealer = self.sealer(chat);
        let key = &self.profile.key;
        let (made, pending) = self.profile.store.commit(|tx| {
            let mut state = SendState::load(tx, key, chat)?;
            let mut made = 0;
            if state.fit_key(&own, &bundle, &sealer)? == Fitted::OtherRecipientKeys {
                reseal(tx, &sealer, &state, &own, &bundle, key, now)?;
                made += 1;
            }
            if person.tell {
                let body = Body::Bundle(own.encoded().clone());
                let sealed = state.seal(&sealer, state.next_n, &own, &bundle, now, &body)?;
                insert_outgoing(tx, chat, N(state.next_n), KIND_BUNDLE, None, &sealed)?;
                state.next_n += 1;
                made += 1;
                write_tell(tx, chat, false)?;
            }
            let mut pending = Vec::new();
            for (line, text, at) in waiting_lines(tx, key, chat, max.saturating_sub(made))? {
                let n = state.next_n;
                let sealed = state.seal(&sealer, n, &own, &bundle, at, &Body::Text(text))?;
                insert_outgoing(tx, chat, N(n), KIND_TEXT, Some(line), &sealed)?;
                tx.prepare_cached(
                    "UPDATE lines SET state = ?2, n = ?3, device = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    line,
                    STATE_PENDING,
                    bits(n),
                    bits(sealer.device.0)
                ])?;
                state.next_n += 1;
                made += 1;
                pending.push(LocalId(line));
            }
            if made > 0 {
                state.save(tx, key, &sealer)?;
            }
            Ok::<_, StoreError>((made, pending))
        })?;
        if person.tell {
            self.people.remove(chat);
        }
        for id in pending {
            self.emit_state(id, chat, MessageState::Pending);
        }
        Ok(if made > 0 { Sealing::Again } else { Sealing::Nothing })
    }

    /// Unanswered envelopes of a chat from number `from` on, in order.
    pub(crate) fn unanswered(
        &self,
        chat: &UserName,
        from: N,
        max: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT o.n, o.upto, v.envelope FROM outgoing o JOIN versions v
             ON v.chat = o.chat AND v.n = o.n
             WHERE o.chat = ?1 AND o.n >= ?2 AND o.answered = 0
               AND v.version =
                 (SELECT max(version) FROM versions WHERE chat = o.chat AND n = o.n)
             ORDER BY o.n LIMIT ?3",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let found = rows.query_map(params![chat.as_str(), bits(from.0), max], |row| {
            Ok(Outgoing {
                n: N(unbits(row.get(0)?)),
                upto: N(unbits(row.get(1)?)),
                envelope: row.get::<_, Vec<u8>>(2)?.into(),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The epoch this log had when it was last opened.
    pub(crate) fn send_epoch(&self, chat: &UserName) -> Result<LogEpoch, StoreError> {
        let epoch: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT epoch FROM send_logs WHERE chat = ?1")?
            .query_row([chat.as_str()], |row| row.get(0))
            .optional()?;
        Ok(LogEpoch(epoch.map_or(0, unbits)))
    }

    /// Takes back an own message.
    pub(crate) fn cancel(&mut self, id: LocalId) -> Result<Cancelled, StoreError> {
        let row: Option<(String, i64, i64)> = self
            .profile
            .store
            .db()
            .query_row("SELECT chat, kind, state FROM lines WHERE id = ?1", [id.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((chat, 0, state)) = row else { return Ok(Cancelled::NoSuchMessage) };
        if state != STATE_WAITING && state != STATE_PENDING {
            return Ok(Cancelled::TooLate);
        }
        let chat = UserName::canonical(&chat).map_err(|_| StoreError::Sealed)?;
        let sealer = self.sealer(&chat);
        self.profile.store.commit(|tx| {
            for (n, upto, line) in unanswered_bodies(tx, &chat)? {
                if line == Some(id.0) {
                    make_void(tx, &sealer, &chat, n, upto)?;
                }
            }
            tx.execute(
                "UPDATE lines SET state = ?2 WHERE id = ?1",
                params![id.0, STATE_CANCELLED],
            )?;
            Ok::<_, StoreError>(())
        })?;
        self.emit_state(id, &chat, MessageState::Cancelled);
        Ok(Cancelled::Yes)
    }

    pub(super) fn emit_state(&self, id: LocalId, chat: &UserName, state: MessageState) {
        self.emit(Event::State { id, chat: chat.clone(), state });
    }

    pub(super) fn sealer(&self, chat: &UserName) -> Sealer {
        Sealer {
            cluster: self.cluster(),
            author: self.user().clone(),
            device: self.profile.device,
            device_key: self.profile.device_key.clone(),
            log: LogName::inbox(chat.clone()),
        }
    }
}

/// Seals again, under their own numbers, the unanswered texts that were sealed to replaced keys.
pub(super) fn reseal(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    state: &SendState,
    own: &VerifiedBundle,
    recipient: &VerifiedBundle,
    key: &DbKey,
    now: u64,
) -> Result<(), StoreError> {
    let chat = sealer.log.owner();
    for (n, _, line) in unanswered_bodies(tx, chat)? {
        let (kind, at, body) = match line {
            Some(line) => {
                let (text, at) = line_text(tx, key, line)?;
                (KIND_TEXT, at, Body::Text(text))
            }
            None => (KIND_BUNDLE, now, Body::Bundle(own.encoded().clone())),
        };
        let sealed = state.seal(sealer, unbits(n), own, recipient, at, &body)?;
        insert_version(tx, chat, n, kind, &sealed)?;
    }
    Ok(())
}
