//! The outbox: from a text on this disk to "sent" and "delivered".
//!
//! A text waits as a line of its chat. Handing it to a connection takes the next `n`, advances the
//! key state and stores the sealed envelope in one transaction; from then on that `n` never means
//! another text. An envelope's bytes change only by sealing the same text again or to a VOID, and
//! every version is kept until it is delivered, so that the home's answer can be compared with what
//! was really written.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::Body;
use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{LogEpoch, LogName, N, UserName};
use crate::wire::Code;

use super::api::{Cancelled, Contact, Event, LocalId, MessageState, Refusal, SendError, Trust};
use super::contacts::{write_contact, write_tell};
use super::core::Core;
use super::sealing::{Fitted, Sealed, Sealer, SendState};
use super::store::{StoreError, bits, unbits, unseal};
use super::views::{STATE_CANCELLED, STATE_PENDING, STATE_WAITING, refusal_number, state_number};

const KIND_TEXT: i64 = 1;
const KIND_BUNDLE: i64 = 2;
const KIND_VOID: i64 = 3;

/// A sealed envelope to append.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) n: N,
    pub(crate) upto: N,
    pub(crate) envelope: Bytes,
}

/// What the home's answer to an append was to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// What we wrote is stored.
    Stored,
    /// Something we never wrote is stored under that number: this database was rolled back.
    Foreign,
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

    /// The home says where the log stands. What stands above `last_n` is unanswered again.
    pub(crate) fn log_opened(
        &mut self,
        chat: &UserName,
        epoch: LogEpoch,
        last_n: N,
    ) -> Result<Answered, StoreError> {
        let (answered, moved) = self.profile.store.commit(|tx| {
            tx.prepare_cached(
                "INSERT INTO send_logs (chat, epoch) VALUES (?1, ?2)
                 ON CONFLICT (chat) DO UPDATE SET epoch = ?2",
            )?
            .execute(params![chat.as_str(), bits(epoch.0)])?;
            let next: i64 = tx
                .prepare_cached("SELECT next_n FROM send_logs WHERE chat = ?1")?
                .query_row([chat.as_str()], |row| row.get(0))?;
            if last_n.0 >= unbits(next) {
                // No number ever gets another text: all that is sealed here is stored there.
                let mut moved = Vec::new();
                for (_, _, line) in unanswered_bodies(tx, chat)? {
                    if let Some(line) = line
                        && set_state(tx, line, &MessageState::Sent)?
                    {
                        moved.push(LocalId(line));
                    }
                }
                return Ok((Answered::Foreign, moved));
            }
            tx.prepare_cached("UPDATE outgoing SET answered = 0 WHERE chat = ?1 AND upto > ?2")?
                .execute(params![chat.as_str(), bits(last_n.0)])?;
            Ok::<_, StoreError>((Answered::Stored, Vec::new()))
        })?;
        for id in moved {
            self.emit_state(id, chat, MessageState::Sent);
        }
        Ok(answered)
    }

    /// The home has everything up to `upto`; `hash` is of what it stored there, empty when that is
    /// so long ago that it no longer knows.
    pub(crate) fn log_appended(
        &mut self,
        chat: &UserName,
        upto: N,
        hash: &[u8],
    ) -> Result<Answered, StoreError> {
        let (answered, moved, already_sent) = self.profile.store.commit(|tx| {
            let row: Option<(i64, i64, Option<i64>)> = tx
                .prepare_cached("SELECT n, kind, line FROM outgoing WHERE chat = ?1 AND upto = ?2")?
                .query_row(params![chat.as_str(), bits(upto.0)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            // Delivered meanwhile and gone from here: nothing left to decide.
            let Some((n, kind, line)) = row else { return Ok((Answered::Stored, None, false)) };
            let stored: Option<(i64, i64)> = tx
                .prepare_cached(
                    "SELECT version, kind FROM versions
                     WHERE chat = ?1 AND n = ?2 AND (hash = ?3 OR length(?3) = 0)
                     ORDER BY version DESC LIMIT 1",
                )?
                .query_row(params![chat.as_str(), n, hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((version, stored_kind)) = stored else {
                return Ok((Answered::Foreign, None, false));
            };
            tx.prepare_cached(
                "UPDATE outgoing SET answered = 1, kind = ?3 WHERE chat = ?1 AND n = ?2",
            )?
            .execute(params![chat.as_str(), n, stored_kind])?;
            // What readers may have seen is what a restored home gets again, and no other version.
            tx.prepare_cached(
                "UPDATE versions SET version = (SELECT 1 + max(version) FROM versions
                   WHERE chat = ?1 AND n = ?2)
                 WHERE chat = ?1 AND n = ?2 AND version = ?3",
            )?
            .execute(params![chat.as_str(), n, version])?;
            let already_sent = kind == KIND_VOID && stored_kind == KIND_TEXT;
            let moved = match line {
                Some(line) if stored_kind == KIND_TEXT => {
                    set_state(tx, line, &MessageState::Sent)?.then_some(LocalId(line))
                }
                Some(_) | None => None,
            };
            Ok::<_, StoreError>((Answered::Stored, moved, already_sent))
        })?;
        if let Some(id) = moved {
            self.emit_state(id, chat, MessageState::Sent);
            if already_sent {
                self.emit(Event::WasAlreadySent { id, chat: chat.clone() });
            }
        }
        Ok(answered)
    }

    /// Everything up to `delivered` is on the disk of the recipient's device.
    pub(crate) fn log_delivered(
        &mut self,
        chat: &UserName,
        delivered: N,
    ) -> Result<(), StoreError> {
        let moved = self.profile.store.commit(|tx| {
            let mut moved = Vec::new();
            let rows: Vec<(i64, i64, Option<i64>)> = tx
                .prepare_cached(
                    "SELECT n, kind, line FROM outgoing
                     WHERE chat = ?1 AND upto <= ?2 AND answered = 1 ORDER BY n",
                )?
                .query_map(params![chat.as_str(), bits(delivered.0)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect::<Result<_, _>>()?;
            for (n, kind, line) in rows {
                if let (KIND_TEXT, Some(line)) = (kind, line)
                    && set_state(tx, line, &MessageState::Delivered)?
                {
                    moved.push(LocalId(line));
                }
                if kind != KIND_VOID {
                    note_carried(tx, chat, n)?;
                }
                for table in ["outgoing", "versions"] {
                    tx.prepare_cached(&format!("DELETE FROM {table} WHERE chat = ?1 AND n = ?2"))?
                        .execute(params![chat.as_str(), n])?;
                }
            }
            Ok::<_, StoreError>(moved)
        })?;
        for id in moved {
            self.emit_state(id, chat, MessageState::Delivered);
        }
        Ok(())
    }

    /// The home will never take this one: it becomes a VOID, and the next may follow.
    pub(crate) fn refuse_message(
        &mut self,
        chat: &UserName,
        n: N,
        code: Code,
    ) -> Result<(), StoreError> {
        self.refuse_rows(chat, Some(n), code)
    }

    /// The home takes nothing for this person: all that is unanswered is refused, and what was
    /// never sealed too.
    pub(crate) fn refuse_log(&mut self, chat: &UserName, code: Code) -> Result<(), StoreError> {
        self.refuse_rows(chat, None, code)
    }

    fn refuse_rows(
        &mut self,
        chat: &UserName,
        only: Option<N>,
        code: Code,
    ) -> Result<(), StoreError> {
        let sealer = self.sealer(chat);
        let state = MessageState::Refused(Refusal::Server(code));
        let moved = self.profile.store.commit(|tx| {
            let mut lines = Vec::new();
            for (n, upto, line) in unanswered_bodies(tx, chat)? {
                if only.is_none_or(|only| bits(only.0) == n) {
                    make_void(tx, &sealer, chat, n, upto)?;
                    lines.extend(line);
                }
            }
            if only.is_none() {
                lines.extend(waiting_ids(tx, chat)?);
            }
            let mut moved = Vec::new();
            for line in lines {
                if set_state(tx, line, &state)? {
                    moved.push(LocalId(line));
                }
            }
            Ok::<_, StoreError>(moved)
        })?;
        for id in moved {
            self.emit_state(id, chat, state.clone());
        }
        Ok(())
    }

    /// The home expects `expected` next. What this profile no longer holds from there on becomes
    /// one VOID; what it holds is unanswered again. A number that no home could expect is ignored.
    pub(crate) fn fill_gap(&mut self, chat: &UserName, expected: N) -> Result<(), StoreError> {
        let sealer = self.sealer(chat);
        self.profile.store.commit(|tx| {
            let next: Option<i64> = tx
                .prepare_cached("SELECT next_n FROM send_logs WHERE chat = ?1")?
                .query_row([chat.as_str()], |row| row.get(0))
                .optional()?;
            let next = next.map_or(1, unbits);
            if expected.0 == 0 || expected.0 >= next {
                return Ok(());
            }
            let from = bits(expected.0);
            tx.prepare_cached("UPDATE outgoing SET answered = 0 WHERE chat = ?1 AND upto >= ?2")?
                .execute(params![chat.as_str(), from])?;
            shorten_void(tx, &sealer, chat, expected)?;
            let held: Option<i64> = tx
                .prepare_cached("SELECT min(n) FROM outgoing WHERE chat = ?1 AND n >= ?2")?
                .query_row(params![chat.as_str(), from], |row| row.get(0))?;
            let end = held.map_or(next, unbits);
            if expected.0 < end {
                let upto = N(end - 1);
                let sealed = sealer.void(expected, upto)?;
                tx.execute(
                    "INSERT INTO outgoing (chat, n, upto, kind) VALUES (?1, ?2, ?3, ?4)",
                    params![chat.as_str(), from, bits(upto.0), KIND_VOID],
                )?;
                insert_version(tx, chat, from, KIND_VOID, &sealed)?;
            }
            Ok::<_, StoreError>(())
        })
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

    fn emit_state(&self, id: LocalId, chat: &UserName, state: MessageState) {
        self.emit(Event::State { id, chat: chat.clone(), state });
    }

    fn sealer(&self, chat: &UserName) -> Sealer {
        Sealer {
            cluster: self.cluster(),
            author: self.user().clone(),
            device: self.profile.device,
            device_key: self.profile.device_key.clone(),
            log: LogName::inbox(chat.clone()),
        }
    }
}

/// What the home stored under `n` is on the recipient's device: if it carried the present key, the
/// next ones need not.
fn note_carried(tx: &Transaction<'_>, chat: &UserName, n: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "UPDATE send_logs SET carried = 1 WHERE chat = ?1 AND key_id =
           (SELECT carries FROM versions WHERE chat = ?1 AND n = ?2 ORDER BY version DESC LIMIT 1)",
    )?
    .execute(params![chat.as_str(), n])
    .map(drop)
}

/// Seals again, under their own numbers, the unanswered texts that were sealed to replaced keys.
fn reseal(
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

/// All numbers start again under a new device: what was sealed and is not known to be stored waits
/// again, and what was stored can no longer be followed to "delivered".
pub(crate) fn restart_numbers(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE lines SET state = ?1, n = 0, device = 0 WHERE state = ?2",
        params![STATE_WAITING, STATE_PENDING],
    )?;
    tx.execute_batch("DELETE FROM outgoing; DELETE FROM versions; DELETE FROM send_logs;")?;
    Ok(())
}

fn insert_outgoing(
    tx: &Transaction<'_>,
    chat: &UserName,
    n: N,
    kind: i64,
    line: Option<i64>,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO outgoing (chat, n, upto, kind, line) VALUES (?1, ?2, ?2, ?3, ?4)",
    )?
    .execute(params![chat.as_str(), bits(n.0), kind, line])?;
    insert_version(tx, chat, bits(n.0), kind, sealed)
}

fn insert_version(
    tx: &Transaction<'_>,
    chat: &UserName,
    n: i64,
    kind: i64,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    let digest: [u8; 32] = Sha256::digest(&sealed.envelope).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    let hash = [a, b, c, d, e, f, g, h];
    tx.prepare_cached(
        "INSERT INTO versions (chat, n, version, kind, hash, carries, envelope) VALUES (?1, ?2,
         (SELECT 1 + coalesce(max(version), 0) FROM versions WHERE chat = ?1 AND n = ?2),
         ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        chat.as_str(),
        n,
        kind,
        hash,
        sealed.carries,
        sealed.envelope.as_ref()
    ])?;
    Ok(())
}

fn make_void(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    chat: &UserName,
    n: i64,
    upto: i64,
) -> Result<(), StoreError> {
    let envelope = sealer.void(N(unbits(n)), N(unbits(upto)))?;
    tx.prepare_cached("UPDATE outgoing SET kind = ?3 WHERE chat = ?1 AND n = ?2")?
        .execute(params![chat.as_str(), n, KIND_VOID])?;
    insert_version(tx, chat, n, KIND_VOID, &envelope)
}

/// A home that was restored twice can expect a number inside of a VOID: the VOID then begins there.
fn shorten_void(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    chat: &UserName,
    expected: N,
) -> Result<(), StoreError> {
    let from = bits(expected.0);
    let across: Option<(i64, i64)> = tx
        .prepare_cached("SELECT n, upto FROM outgoing WHERE chat = ?1 AND n < ?2 AND upto >= ?2")?
        .query_row(params![chat.as_str(), from], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((n, upto)) = across else { return Ok(()) };
    for table in ["outgoing", "versions"] {
        tx.execute(
            &format!("UPDATE {table} SET n = ?3 WHERE chat = ?1 AND n = ?2"),
            params![chat.as_str(), n, from],
        )?;
    }
    let sealed = sealer.void(expected, N(unbits(upto)))?;
    insert_version(tx, chat, from, KIND_VOID, &sealed)
}

/// Unanswered texts and bundles: (n, upto, line).
fn unanswered_bodies(
    tx: &Transaction<'_>,
    chat: &UserName,
) -> Result<Vec<(i64, i64, Option<i64>)>, StoreError> {
    let mut rows = tx.prepare_cached(
        "SELECT n, upto, line FROM outgoing
         WHERE chat = ?1 AND answered = 0 AND kind <> ?2 ORDER BY n",
    )?;
    let found = rows.query_map(params![chat.as_str(), KIND_VOID], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn waiting_ids(tx: &Transaction<'_>, chat: &UserName) -> Result<Vec<i64>, StoreError> {
    let mut rows =
        tx.prepare_cached("SELECT id FROM lines WHERE chat = ?1 AND state = 0 ORDER BY id")?;
    let found = rows.query_map([chat.as_str()], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The oldest waiting texts of a chat: (line, text, when it was written).
fn waiting_lines(
    tx: &Transaction<'_>,
    key: &DbKey,
    chat: &UserName,
    max: usize,
) -> Result<Vec<(i64, String, u64)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, i64)> = tx
        .prepare_cached(
            "SELECT id, sealed_text, at_unix_ms FROM lines
             WHERE chat = ?1 AND state = 0 ORDER BY id LIMIT ?2",
        )?
        .query_map(params![chat.as_str(), i64::try_from(max).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    rows.into_iter().map(|(id, sealed, at)| Ok((id, text_of(key, &sealed)?, unbits(at)))).collect()
}

/// An own text, and when it was written.
fn line_text(db: &Connection, key: &DbKey, line: i64) -> Result<(String, u64), StoreError> {
    let (sealed, at): (Vec<u8>, i64) = db
        .prepare_cached("SELECT sealed_text, at_unix_ms FROM lines WHERE id = ?1")?
        .query_row([line], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((text_of(key, &sealed)?, unbits(at)))
}

fn text_of(key: &DbKey, sealed: &[u8]) -> Result<String, StoreError> {
    Ok(String::from_utf8_lossy(&unseal(key, sealed)?).into_owned())
}

/// Moves an own message, never backwards. True when it moved.
fn set_state(tx: &Transaction<'_>, line: i64, state: &MessageState) -> Result<bool, StoreError> {
    // A message that was given up can still turn out to have been sent; nothing else leaves an end.
    let reason = match state {
        MessageState::Refused(refusal) => refusal_number(*refusal),
        MessageState::Waiting
        | MessageState::Pending
        | MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Cancelled => 0,
    };
    let moved = tx
        .prepare_cached(
            "UPDATE lines SET state = ?2, reason = ?3
             WHERE id = ?1 AND (state < ?2 AND state < 4 OR state IN (4, 5) AND ?2 IN (2, 3))",
        )?
        .execute(params![line, state_number(state), reason])?;
    Ok(moved > 0)
}
