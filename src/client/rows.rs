//! The rows of the outbox: small named statements, each inside of somebody's transaction.

use rusqlite::{Transaction, params};
use sha2::{Digest, Sha256};

use crate::types::{ChatName, N};

use super::api::MessageState;
use super::notes::restart_notes;
use super::sealing::{Sealed, Sealer};
use super::store::{StoreError, bits, unbits};
use super::views::{STATE_PENDING, STATE_WAITING, refusal_number, state_number};

pub(super) const KIND_TEXT: i64 = 1;
pub(super) const KIND_BUNDLE: i64 = 2;
pub(super) const KIND_VOID: i64 = 3;
pub(super) const KIND_NOTE: i64 = 4;

/// What a new envelope is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Line(i64),
    Note(i64),
    Bundle,
}

/// An unanswered envelope that says something.
pub(super) struct UnansweredBody {
    pub(super) n: i64,
    pub(super) upto: i64,
    pub(super) line: Option<i64>,
    pub(super) note: Option<i64>,
    /// The text under this number, sealed at rest, when the line says another one now.
    pub(super) kept: Option<Vec<u8>>,
}

pub(super) fn insert_outgoing(
    tx: &Transaction<'_>,
    chat: &ChatName,
    n: N,
    of: Of,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    let (kind, line, note) = match of {
        Of::Line(line) => (KIND_TEXT, Some(line), None),
        Of::Note(note) => (KIND_NOTE, None, Some(note)),
        Of::Bundle => (KIND_BUNDLE, None, None),
    };
    tx.prepare_cached(
        "INSERT INTO outgoing (chat, n, upto, kind, line, note) VALUES (?1, ?2, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![chat, bits(n.0), kind, line, note])?;
    insert_version(tx, chat, bits(n.0), kind, sealed)
}

pub(super) fn insert_version(
    tx: &Transaction<'_>,
    chat: &ChatName,
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
    .execute(params![chat, n, kind, hash, sealed.carries, sealed.envelope.as_ref()])?;
    Ok(())
}

pub(super) fn make_void(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    chat: &ChatName,
    n: i64,
    upto: i64,
) -> Result<(), StoreError> {
    let envelope = sealer.void(N(unbits(n)), N(unbits(upto)))?;
    tx.prepare_cached("UPDATE outgoing SET kind = ?3 WHERE chat = ?1 AND n = ?2")?
        .execute(params![chat, n, KIND_VOID])?;
    insert_version(tx, chat, n, KIND_VOID, &envelope)
}

/// All that is unanswered and no void.
pub(super) fn unanswered_bodies(
    tx: &Transaction<'_>,
    chat: &ChatName,
) -> Result<Vec<UnansweredBody>, StoreError> {
    let mut rows = tx.prepare_cached(
        "SELECT n, upto, line, note, sealed_text FROM outgoing
         WHERE chat = ?1 AND answered = 0 AND kind <> ?2 ORDER BY n",
    )?;
    let found = rows.query_map(params![chat, KIND_VOID], |row| {
        Ok(UnansweredBody {
            n: row.get(0)?,
            upto: row.get(1)?,
            line: row.get(2)?,
            note: row.get(3)?,
            kept: row.get(4)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The oldest waiting texts of a chat.
pub(super) fn waiting_ids(
    tx: &Transaction<'_>,
    chat: &ChatName,
    max: usize,
) -> Result<Vec<i64>, StoreError> {
    let mut rows = tx.prepare_cached(
        "SELECT id FROM lines WHERE chat = ?1 AND state = 0 ORDER BY id LIMIT ?2",
    )?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let found = rows.query_map(params![chat, max], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Moves an own message, never backwards. True when it moved.
pub(super) fn set_state(
    tx: &Transaction<'_>,
    line: i64,
    state: &MessageState,
) -> Result<bool, StoreError> {
    // A message that was given up can still turn out to have been sent; nothing else leaves an end.
    let reason = match state {
        MessageState::Refused(refusal) => refusal_number(*refusal),
        MessageState::Uploading
        | MessageState::Waiting
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

/// All numbers start again under a new device: what was sealed and is not known to be stored waits
/// again, and what was stored can no longer be followed to "delivered".
pub(crate) fn restart_numbers(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE lines SET state = ?1, n = 0, device = 0 WHERE state = ?2",
        params![STATE_WAITING, STATE_PENDING],
    )?;
    restart_notes(tx)?;
    tx.execute_batch("DELETE FROM outgoing; DELETE FROM versions; DELETE FROM send_logs;")?;
    Ok(())
}
