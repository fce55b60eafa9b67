//! What the home's answers do to the outbox: sent, delivered, refused, missing.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::secret::DbKey;
use crate::types::{ChatName, LogEpoch, N};
use crate::wire::Code;

use super::api::{Event, LocalId, MessageState, Refusal};
use super::core::Core;
use super::files::{cancel_file, stop_uploads};
use super::forget::start_life;
use super::notes::{Said, drop_note, drop_waiting_notes, queue_note};
use super::rows::{
    KIND_TEXT, KIND_VOID, insert_version, make_void, set_state, unanswered_bodies, waiting_ids,
};
use super::sealing::Sealer;
use super::store::{StoreError, bits, unbits, unseal};

/// What the home's answer to an append was to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// What we wrote is stored.
    Stored,
    /// Something we never wrote is stored under that number: this database was rolled back.
    Foreign,
}

impl Core {
    /// The home says where the log stands. What stands above `last_n` is unanswered again.
    pub(crate) fn log_opened(
        &mut self,
        chat: &ChatName,
        epoch: LogEpoch,
        last_n: N,
    ) -> Result<Answered, StoreError> {
        if self.is_as_known(chat, epoch, last_n)? {
            return Ok(Answered::Stored);
        }
        let now = self.now();
        let (answered, moved) = self.profile.store.commit(|tx| {
            tx.prepare_cached(
                "INSERT INTO send_logs (chat, epoch) VALUES (?1, ?2)
                 ON CONFLICT (chat) DO UPDATE SET epoch = ?2",
            )?
            .execute(params![chat, bits(epoch.0)])?;
            let next: i64 = tx
                .prepare_cached("SELECT next_n FROM send_logs WHERE chat = ?1")?
                .query_row([chat], |row| row.get(0))?;
            if last_n.0 >= unbits(next) {
                // No number ever gets another text: all that is sealed here is stored there.
                let mut moved = Vec::new();
                for body in unanswered_bodies(tx, chat)? {
                    if let Some(line) = body.line
                        && moves(tx, line, &MessageState::Sent, now)?
                    {
                        moved.push(LocalId(line));
                    }
                }
                return Ok((Answered::Foreign, moved));
            }
            tx.prepare_cached("UPDATE outgoing SET answered = 0 WHERE chat = ?1 AND upto > ?2")?
                .execute(params![chat, bits(last_n.0)])?;
            Ok::<_, StoreError>((Answered::Stored, Vec::new()))
        })?;
        self.ring();
        for id in moved {
            self.emit_state(id, chat, MessageState::Sent);
        }
        Ok(answered)
    }

    /// Whether a log stands where this profile thinks it does: then there is nothing to store.
    fn is_as_known(&self, chat: &ChatName, epoch: LogEpoch, last_n: N) -> Result<bool, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT 1 FROM send_logs WHERE chat = ?1 AND epoch = ?2 AND next_n > ?3
               AND NOT EXISTS (SELECT 1 FROM outgoing
                               WHERE chat = ?1 AND upto > ?3 AND answered = 1)",
        )?;
        let last = i64::try_from(last_n.0).unwrap_or(i64::MAX);
        Ok(rows.exists(params![chat, bits(epoch.0), last])?)
    }

    /// The home has everything up to `upto`; `hash` is of what it stored there, empty when that is
    /// so long ago that it no longer knows.
    pub(crate) fn log_appended(
        &mut self,
        chat: &ChatName,
        upto: N,
        hash: &[u8],
    ) -> Result<Answered, StoreError> {
        let now = self.now();
        let key = &self.profile.key;
        let (answered, moved, already_sent) = self.profile.store.commit(|tx| {
            let row: Option<(i64, i64, Option<i64>)> = tx
                .prepare_cached("SELECT n, kind, line FROM outgoing WHERE chat = ?1 AND upto = ?2")?
                .query_row(params![chat, bits(upto.0)], |row| {
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
                .query_row(params![chat, n, hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((version, stored_kind)) = stored else {
                return Ok((Answered::Foreign, None, false));
            };
            tx.prepare_cached(
                "UPDATE outgoing SET answered = 1, kind = ?3 WHERE chat = ?1 AND n = ?2",
            )?
            .execute(params![chat, n, stored_kind])?;
            // What readers may have seen is what a restored home gets again, and no other version.
            tx.prepare_cached(
                "UPDATE versions SET version = (SELECT 1 + max(version) FROM versions
                   WHERE chat = ?1 AND n = ?2)
                 WHERE chat = ?1 AND n = ?2 AND version = ?3",
            )?
            .execute(params![chat, n, version])?;
            let already_sent = kind == KIND_VOID && stored_kind == KIND_TEXT;
            let moved = match line {
                Some(line) if stored_kind == KIND_TEXT => {
                    moves(tx, line, &MessageState::Sent, now)?.then_some(LocalId(line))
                }
                Some(line) => {
                    cancel_file(tx, line)?;
                    None
                }
                None => None,
            };
            if let (true, Some(id)) = (already_sent, moved) {
                say_again(tx, key, chat, id.0)?;
            }
            Ok::<_, StoreError>((Answered::Stored, moved, already_sent))
        })?;
        if let Some(id) = moved {
            self.ring();
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
        chat: &ChatName,
        delivered: N,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let moved = self.profile.store.commit(|tx| {
            let mut moved = Vec::new();
            let rows: Vec<(i64, i64, Option<i64>, Option<i64>)> = tx
                .prepare_cached(
                    "SELECT n, kind, line, note FROM outgoing
                     WHERE chat = ?1 AND upto <= ?2 AND answered = 1 ORDER BY n",
                )?
                .query_map(params![chat, bits(delivered.0)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect::<Result<_, _>>()?;
            for (n, kind, line, note) in rows {
                if let (KIND_TEXT, Some(line)) = (kind, line)
                    && moves(tx, line, &MessageState::Delivered, now)?
                {
                    moved.push(LocalId(line));
                }
                if let Some(note) = note {
                    drop_note(tx, note)?;
                }
                if kind != KIND_VOID {
                    note_carried(tx, chat, n)?;
                }
                for table in ["outgoing", "versions"] {
                    tx.prepare_cached(&format!("DELETE FROM {table} WHERE chat = ?1 AND n = ?2"))?
                        .execute(params![chat, n])?;
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
        chat: &ChatName,
        n: N,
        code: Code,
    ) -> Result<(), StoreError> {
        self.refuse_rows(chat, Some(n), code)
    }

    /// The home takes nothing for this person: all that is unanswered is refused, and what was
    /// never sealed too.
    pub(crate) fn refuse_log(&mut self, chat: &ChatName, code: Code) -> Result<(), StoreError> {
        self.refuse_rows(chat, None, code)
    }

    pub(super) fn refuse_rows(
        &mut self,
        chat: &ChatName,
        only: Option<N>,
        code: Code,
    ) -> Result<(), StoreError> {
        let sealer = self.sealer(chat)?;
        let state = MessageState::Refused(Refusal::Server(code));
        let moved = self.profile.store.commit(|tx| {
            let mut lines = Vec::new();
            for body in unanswered_bodies(tx, chat)? {
                if only.is_none_or(|only| bits(only.0) == body.n) {
                    make_void(tx, &sealer, chat, body.n, body.upto)?;
                    lines.extend(body.line);
                    // Nobody wrote it as a message, so nobody is told that it failed.
                    body.note.map_or(Ok(()), |note| drop_note(tx, note))?;
                }
            }
            if only.is_none() {
                lines.extend(waiting_ids(tx, chat, usize::MAX)?);
                lines.extend(stop_uploads(tx, chat, code)?);
                drop_waiting_notes(tx, chat)?;
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
            self.file_ended(id)?;
            self.emit_state(id, chat, state.clone());
        }
        Ok(())
    }

    /// The home expects `expected` next. What this profile no longer holds from there on becomes
    /// one VOID; what it holds is unanswered again. A number that no home could expect is ignored.
    pub(crate) fn fill_gap(&mut self, chat: &ChatName, expected: N) -> Result<(), StoreError> {
        let sealer = self.sealer(chat)?;
        self.profile.store.commit(|tx| {
            let next: Option<i64> = tx
                .prepare_cached("SELECT next_n FROM send_logs WHERE chat = ?1")?
                .query_row([chat], |row| row.get(0))
                .optional()?;
            let next = next.map_or(1, unbits);
            if expected.0 == 0 || expected.0 >= next {
                return Ok(());
            }
            let from = bits(expected.0);
            tx.prepare_cached("UPDATE outgoing SET answered = 0 WHERE chat = ?1 AND upto >= ?2")?
                .execute(params![chat, from])?;
            shorten_void(tx, &sealer, chat, expected)?;
            let held: Option<i64> = tx
                .prepare_cached("SELECT min(n) FROM outgoing WHERE chat = ?1 AND n >= ?2")?
                .query_row(params![chat, from], |row| row.get(0))?;
            let end = held.map_or(next, unbits);
            if expected.0 < end {
                let upto = N(end - 1);
                let sealed = sealer.void(expected, upto)?;
                tx.execute(
                    "INSERT INTO outgoing (chat, n, upto, kind) VALUES (?1, ?2, ?3, ?4)",
                    params![chat, from, bits(upto.0), KIND_VOID],
                )?;
                insert_version(tx, chat, from, KIND_VOID, &sealed)?;
            }
            Ok::<_, StoreError>(())
        })
    }
}

/// Moves an own message to where others have it. True when it moved; then its life begins.
fn moves(
    tx: &Transaction<'_>,
    line: i64,
    state: &MessageState,
    now: u64,
) -> Result<bool, StoreError> {
    let moved = set_state(tx, line, state)?;
    if moved {
        start_life(tx, line, now)?;
    }
    Ok(moved)
}

/// A message that was given up had been sent: what became of it here meanwhile is told.
fn say_again(
    tx: &Transaction<'_>,
    key: &DbKey,
    chat: &ChatName,
    line: i64,
) -> Result<(), StoreError> {
    let (sealed, gone, edited): (Vec<u8>, bool, bool) = tx
        .prepare_cached("SELECT sealed_text, gone, edited FROM lines WHERE id = ?1")?
        .query_row([line], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if gone {
        queue_note(tx, key, chat, line, Said::Delete)?;
    } else if edited {
        let text = unseal(key, &sealed)?;
        queue_note(tx, key, chat, line, Said::Edit(&String::from_utf8_lossy(&text)))?;
    }
    Ok(())
}

/// What the home stored under `n` is on the recipient's device: if it carried the present key, the
/// next ones need not.
pub(super) fn note_carried(
    tx: &Transaction<'_>,
    chat: &ChatName,
    n: i64,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "UPDATE send_logs SET carried = 1 WHERE chat = ?1 AND key_id =
           (SELECT carries FROM versions WHERE chat = ?1 AND n = ?2 ORDER BY version DESC LIMIT 1)",
    )?
    .execute(params![chat, n])
    .map(drop)
}

/// A home that was restored twice can expect a number inside of a VOID: the VOID then begins there.
pub(super) fn shorten_void(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    chat: &ChatName,
    expected: N,
) -> Result<(), StoreError> {
    let from = bits(expected.0);
    let across: Option<(i64, i64)> = tx
        .prepare_cached("SELECT n, upto FROM outgoing WHERE chat = ?1 AND n < ?2 AND upto >= ?2")?
        .query_row(params![chat, from], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((n, upto)) = across else { return Ok(()) };
    for table in ["outgoing", "versions"] {
        tx.execute(
            &format!("UPDATE {table} SET n = ?3 WHERE chat = ?1 AND n = ?2"),
            params![chat, n, from],
        )?;
    }
    let sealed = sealer.void(expected, N(unbits(upto)))?;
    insert_version(tx, chat, from, KIND_VOID, &sealed)
}
