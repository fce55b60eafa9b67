//! The rows of the outbox: small named statements, each inside of somebody's transaction.

use rusqlite::{Connection, Transaction, params};
use sha2::{Digest, Sha256};

use crate::crypto::secret::DbKey;
use crate::types::{N, UserName};

use super::api::MessageState;
use super::sealing::{Sealed, Sealer};
use super::store::{StoreError, bits, unbits, unseal};
use super::views::{STATE_PENDING, STATE_WAITING, refusal_number, state_number};

pub(super) const KIND_TEXT: i64 = 1;
pub(super) const KIND_BUNDLE: i64 = 2;
pub(super) const KIND_VOID: i64 = 3;

pub(super) fn insert_outgoing(
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

pub(super) fn insert_version(
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

pub(super) fn make_void(
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

/// Unanswered texts and bundles: (n, upto, line).
pub(super) fn unanswered_bodies(
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

pub(super) fn waiting_ids(tx: &Transaction<'_>, chat: &UserName) -> Result<Vec<i64>, StoreError> {
    let mut rows =
        tx.prepare_cached("SELECT id FROM lines WHERE chat = ?1 AND state = 0 ORDER BY id")?;
    let found = rows.query_map([chat.as_str()], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The oldest waiting texts of a chat: (line, text, when it was written).
pub(super) fn waiting_lines(
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
pub(super) fn line_text(
    db: &Connection,
    key: &DbKey,
    line: i64,
) -> Result<(String, u64), StoreError> {
    let (sealed, at): (Vec<u8>, i64) = db
        .prepare_cached("SELECT sealed_text, at_unix_ms FROM lines WHERE id = ?1")?
        .query_row([line], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((text_of(key, &sealed)?, unbits(at)))
}

fn text_of(key: &DbKey, sealed: &[u8]) -> Result<String, StoreError> {
    Ok(String::from_utf8_lossy(&unseal(key, sealed)?).into_owned())
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
