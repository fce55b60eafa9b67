//! The outbox: from a text on this disk to "sent" and "delivered".
//!
//! A text waits as a line of its chat. Handing it to a connection takes the next `n`, advances the
//! key state and stores the sealed envelope in one transaction; from then on that `n` never means
//! another text. An envelope's bytes change only by sealing the same text again or to a VOID, and
//! every version is kept until it is delivered, so that the home's answer can be compared with what
//! was really written.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};
use tokio::time::Instant;

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::Body;
use crate::limits;
use crate::types::{ChatName, LogEpoch, LogId, N, Seq, UserName};

use super::api::{Cancelled, Draft, Event, LocalId, MessageState, SendError};
use super::contacts::write_tell;
use super::core::Core;
use super::files::cancel_file;
use super::notes::{
    Between, Fate, drop_note, insert_read, line_body, note_fate, note_sealed, waiting_notes,
};
use super::reads::{Telling, reads_settled, untold_reads};
use super::rows::{
    KIND_BUNDLE, KIND_NOTE, KIND_TEXT, KIND_VOID, Of, UnansweredBody, insert_outgoing,
    insert_version, make_void, unanswered_bodies, waiting_ids,
};
use super::sealing::{Fitted, Recipient, Sealed, Sealer, SendState};
use super::store::{StoreError, bits, unbits};
use super::views::{STATE_CANCELLED, STATE_PENDING, STATE_UPLOADING, STATE_WAITING};

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
    /// The group's chain or its key is not here, or we are not in it.
    NeedsKey,
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
    /// The group's chain or its key is not here, or we are not in it.
    NeedsKey,
    /// Somebody left the group: whoever writes next makes it a new key first.
    Renew,
}

impl Core {
    /// Takes a plain text: on disk when this returns.
    pub(crate) fn queue_text(&mut self, to: &ChatName, text: &str) -> Result<LocalId, SendError> {
        self.queue_draft(to, &Draft::text(text))
    }

    /// The chats whose log has to be open: something waits, is unanswered, or is not delivered yet.
    pub(crate) fn chats_to_open(&self) -> Result<Vec<ChatName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT chat FROM (
               SELECT chat FROM lines WHERE state = 0
               UNION SELECT chat FROM outgoing
               UNION SELECT chat FROM notes WHERE waits = 1
               UNION SELECT r.chat FROM read_marks r JOIN people p ON p.user = r.chat
                 WHERE r.seen_n > r.told_n AND p.contact = 1
               UNION SELECT chat FROM read_marks WHERE seen_n > told_n AND chat LIKE '#%'
               UNION SELECT user FROM people WHERE tell = 1 AND contact <> 2)
             WHERE chat NOT LIKE '#%'
               OR substr(chat, 2) IN (SELECT name FROM groups WHERE standing = 2)
             ORDER BY 1",
        )?;
        let chats = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for chat in chats {
            found.extend(ChatName::canonical(&chat?).ok());
        }
        Ok(found)
    }

    /// Groups in which something of ours waits that nobody will take any more.
    pub(crate) fn chats_lost(&self) -> Result<Vec<ChatName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT chat FROM (
               SELECT chat FROM lines WHERE state IN (-2, 0)
               UNION SELECT chat FROM outgoing WHERE answered = 0 AND kind <> ?1
               UNION SELECT chat FROM notes WHERE waits = 1)
             WHERE chat LIKE '#%'
               AND substr(chat, 2) NOT IN (SELECT name FROM groups WHERE standing <= 2)
               AND substr(chat, 2) IN (SELECT name FROM groups)",
        )?;
        let chats = rows.query_map([KIND_VOID], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for chat in chats {
            found.extend(ChatName::canonical(&chat?).ok());
        }
        Ok(found)
    }

    /// Contacts whose comings and goings are of interest: those last talked to.
    pub(crate) fn chats_to_follow(&self) -> Result<Vec<ChatName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT l.chat FROM lines l JOIN people p ON p.user = l.chat
             WHERE p.contact = 1 AND p.bundle IS NOT NULL
             GROUP BY l.chat ORDER BY max(l.id) DESC LIMIT ?1",
        )?;
        let max = i64::try_from(limits::FOLLOWED_CHATS_MAX).unwrap_or(i64::MAX);
        let chats = rows.query_map([max], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for chat in chats {
            found.extend(ChatName::canonical(&chat?).ok());
        }
        Ok(found)
    }

    /// Own messages that are not known to be sent.
    pub(crate) fn waiting_count(&self) -> Result<usize, StoreError> {
        let count: i64 = self.profile.store.db().query_row(
            "SELECT count(*) FROM lines WHERE kind = 0 AND state IN (-2, 0, 1)",
            [],
            |row| row.get(0),
        )?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Whether a message to this person is not known to be sent.
    pub(crate) fn has_waiting(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT 1 FROM lines WHERE chat = ?1 AND kind = 0 AND state IN (-2, 0, 1)",
        )?;
        Ok(rows.exists([chat])?)
    }

    /// Whether nothing is left that this chat is to get, be it a message, a receipt or a key.
    pub(crate) fn is_all_sent(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT 1 FROM lines WHERE chat = ?1 AND kind = 0 AND state IN (-2, 0, 1)
             UNION ALL SELECT 1 FROM notes WHERE chat = ?1 AND waits = 1
             UNION ALL SELECT 1 FROM outgoing WHERE chat = ?1 AND answered = 0",
        )?;
        Ok(!rows.exists([chat])?)
    }

    /// What may be sent for a chat now, from number `from` on, at most `max` envelopes.
    pub(crate) fn ready(
        &mut self,
        chat: &ChatName,
        from: N,
        max: usize,
    ) -> Result<Ready, StoreError> {
        let peer = match chat {
            ChatName::Person(peer) => peer,
            ChatName::Group(group) => return self.ready_for_group(chat, group, from, max),
        };
        let Some(person) = self.person(peer)? else { return Ok(Ready::NeedsBundle) };
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
            .query_row(params![chat, identity.0, enc.0], |row| row.get(0))
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
        chat: &ChatName,
        max: usize,
    ) -> Result<Sealing, StoreError> {
        match chat {
            ChatName::Group(group) => match self.group_seal(group)? {
                Some(seal) => self.seal_for(chat, Recipient::Group(&seal), None, max),
                None => Ok(Sealing::NeedsKey),
            },
            ChatName::Person(peer) => {
                let Some(person) = self.person(peer)?.cloned() else {
                    return Ok(Sealing::NeedsBundle);
                };
                if person.changed.is_some() {
                    return Ok(Sealing::KeyChanged);
                }
                let Some(bundle) = person.bundle else { return Ok(Sealing::NeedsBundle) };
                let tell = person.tell.then_some(peer);
                self.seal_for(chat, Recipient::Person(&bundle), tell, max)
            }
        }
    }

    /// Seals what waits. `tell`: the one who has to hear of our newest bundle.
    fn seal_for(
        &mut self,
        chat: &ChatName,
        recipient: Recipient<'_>,
        tell: Option<&UserName>,
        max: usize,
    ) -> Result<Sealing, StoreError> {
        let telling = self.telling(chat)?;
        let own = self.profile.bundle.clone();
        let sealer = self.sealer(chat)?;
        let now = self.now();
        let key = &self.profile.key;
        let between = Between { key, own: &self.profile.owner.user, chat, peer: chat.person() };
        let (made, pending, told) = self.profile.store.commit(|tx| {
            let state = SendState::load(tx, key, chat)?;
            let own = &own;
            let mut batch =
                Batch { tx, between, sealer: &sealer, state, own, recipient, now, made: 0 };
            batch.fit_key()?;
            if tell.is_some() {
                batch.bundle()?;
            }
            let pending = batch.texts(max)?;
            batch.notes(max)?;
            let told = batch.reads(telling, max)?;
            if batch.made > 0 {
                batch.state.save(tx, key, chat, &sealer)?;
            }
            Ok::<_, StoreError>((batch.made, pending, told))
        })?;
        if told {
            let due = Instant::now() + self.read_interval(chat)?;
            self.reads_told.insert(chat.clone(), due);
        }
        if let Some(peer) = tell {
            self.people.remove(peer);
        }
        for id in pending {
            self.emit_state(id, chat, MessageState::Pending);
        }
        Ok(if made > 0 { Sealing::Again } else { Sealing::Nothing })
    }

    /// Unanswered envelopes of a chat from number `from` on, in order.
    pub(crate) fn unanswered(
        &self,
        chat: &ChatName,
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
        let found = rows.query_map(params![chat, bits(from.0), max], |row| {
            Ok(Outgoing {
                n: N(unbits(row.get(0)?)),
                upto: N(unbits(row.get(1)?)),
                envelope: row.get::<_, Vec<u8>>(2)?.into(),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The epoch this log had when it was last opened.
    pub(crate) fn send_epoch(&self, chat: &ChatName) -> Result<LogEpoch, StoreError> {
        let epoch: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT epoch FROM send_logs WHERE chat = ?1")?
            .query_row([chat], |row| row.get(0))
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
        if !matches!(state, STATE_UPLOADING | STATE_WAITING | STATE_PENDING) {
            return Ok(Cancelled::TooLate);
        }
        let chat = ChatName::canonical(&chat).map_err(|_| StoreError::Sealed)?;
        let sealer = self.sealer(&chat)?;
        self.profile.store.commit(|tx| {
            for body in unanswered_bodies(tx, &chat)? {
                if body.line == Some(id.0) {
                    make_void(tx, &sealer, &chat, body.n, body.upto)?;
                }
            }
            tx.execute(
                "UPDATE lines SET state = ?2 WHERE id = ?1",
                params![id.0, STATE_CANCELLED],
            )?;
            // What is sealed may have been sent: its file goes when the home says that it was not.
            if state != STATE_PENDING {
                cancel_file(tx, id.0)?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.file_ended(id)?;
        self.emit_state(id, &chat, MessageState::Cancelled);
        Ok(Cancelled::Yes)
    }

    pub(super) fn emit_state(&self, id: LocalId, chat: &ChatName, state: MessageState) {
        self.emit(Event::State { id, chat: chat.clone(), state });
    }

    pub(super) fn sealer(&self, chat: &ChatName) -> Result<Sealer, StoreError> {
        let log = match chat {
            ChatName::Person(user) => LogId::Inbox(user.clone()),
            ChatName::Group(group) => LogId::Group(self.group_id(group)?),
        };
        Ok(Sealer {
            cluster: self.cluster(),
            author: self.user().clone(),
            device: self.profile.device,
            device_key: self.profile.device_key.clone(),
            log,
        })
    }
}

/// What one transaction seals for one person.
struct Batch<'a> {
    tx: &'a Transaction<'a>,
    between: Between<'a>,
    sealer: &'a Sealer,
    state: SendState,
    own: &'a VerifiedBundle,
    recipient: Recipient<'a>,
    now: u64,
    made: usize,
}

impl Batch<'_> {
    /// A new conversation key, if a bundle changed; then what is unanswered may have to follow.
    fn fit_key(&mut self) -> Result<(), StoreError> {
        match self.state.fit_key(self.own, self.recipient, self.sealer)? {
            Fitted::Fine => Ok(()),
            Fitted::OtherKeys => {
                self.made += 1;
                self.reseal()
            }
        }
    }

    /// Seals again, under their own numbers, what is unanswered and was sealed to replaced keys.
    /// What has nothing left to say becomes a void.
    fn reseal(&self) -> Result<(), StoreError> {
        let (tx, chat) = (self.tx, self.between.chat);
        for UnansweredBody { n, upto, line, note, kept } in unanswered_bodies(tx, chat)? {
            let body = match (line, note) {
                (Some(line), _) => line_body(tx, &self.between, line, kept)?
                    .map(|(body, at)| (KIND_TEXT, body, at)),
                (None, Some(note)) => match note_fate(tx, &self.between, note)? {
                    Fate::Body(body) => Some((KIND_NOTE, body, self.now)),
                    Fate::NotYet | Fate::Void => None,
                },
                (None, None) => {
                    Some((KIND_BUNDLE, Body::Bundle(self.own.encoded().clone()), self.now))
                }
            };
            match body {
                Some((kind, body, at)) => {
                    let sealed = self.seal(unbits(n), at, &body)?;
                    insert_version(tx, chat, n, kind, &sealed)?;
                }
                None => make_void(tx, self.sealer, chat, n, upto)?,
            }
        }
        Ok(())
    }

    fn seal(&self, n: u64, at: u64, body: &Body) -> Result<Sealed, StoreError> {
        self.state.seal(self.sealer, n, self.own, self.recipient, at, body)
    }

    /// Takes the next number for a body.
    fn next(&mut self, at: u64, body: &Body, of: Of) -> Result<u64, StoreError> {
        let n = self.state.next_n;
        let sealed = self.seal(n, at, body)?;
        insert_outgoing(self.tx, self.between.chat, N(n), of, &sealed)?;
        self.state.next_n += 1;
        self.made += 1;
        Ok(n)
    }

    fn bundle(&mut self) -> Result<(), StoreError> {
        self.next(self.now, &Body::Bundle(self.own.encoded().clone()), Of::Bundle)?;
        let Some(peer) = self.between.peer else { return Ok(()) };
        Ok(write_tell(self.tx, peer, false)?)
    }

    fn texts(&mut self, max: usize) -> Result<Vec<LocalId>, StoreError> {
        let mut pending = Vec::new();
        let room = max.saturating_sub(self.made);
        for line in waiting_ids(self.tx, self.between.chat, room)? {
            let Some((body, at)) = line_body(self.tx, &self.between, line, None)? else { continue };
            let n = self.next(at, &body, Of::Line(line))?;
            self.tx
                .prepare_cached("UPDATE lines SET state = ?2, n = ?3, device = ?4 WHERE id = ?1")?
                .execute(params![line, STATE_PENDING, bits(n), bits(self.sealer.device.0)])?;
            pending.push(LocalId(line));
        }
        Ok(pending)
    }

    /// After the texts: a note may be about one of them.
    fn notes(&mut self, max: usize) -> Result<(), StoreError> {
        for note in waiting_notes(self.tx, self.between.chat)? {
            if self.made >= max {
                break;
            }
            match note_fate(self.tx, &self.between, note)? {
                Fate::Body(body) => {
                    self.next(self.now, &body, Of::Note(note))?;
                    note_sealed(self.tx, note)?;
                }
                Fate::NotYet => {}
                Fate::Void => drop_note(self.tx, note)?,
            }
        }
        Ok(())
    }

    /// True when something was told.
    fn reads(&mut self, telling: Telling, max: usize) -> Result<bool, StoreError> {
        let chat = self.between.chat;
        match telling {
            Telling::Now if self.made < max => {}
            Telling::Now | Telling::Later => return Ok(false),
            Telling::Never => return Ok(reads_settled(self.tx, chat).map(|()| false)?),
        }
        let untold = untold_reads(self.tx, chat)?;
        for &(device, n) in &untold {
            let note = insert_read(self.tx, chat, device, n)?;
            let body = match chat {
                ChatName::Person(_) => Body::Read { device, n },
                ChatName::Group(_) => Body::ReadGroup { seq: Seq(n.0) },
            };
            self.next(self.now, &body, Of::Note(note))?;
        }
        reads_settled(self.tx, chat)?;
        Ok(!untold.is_empty())
    }
}
