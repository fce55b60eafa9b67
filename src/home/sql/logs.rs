//! Logs, cursors, producers and entries.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{ProducerId, RowId, index, int, num};
use crate::types::{DeviceId, LogEpoch, N, Seq, UserName};

/// A log's own row.
pub(in crate::home) struct LogRow {
    pub(in crate::home) id: RowId,
    pub(in crate::home) epoch: LogEpoch,
    pub(in crate::home) first: Seq,
    pub(in crate::home) head: Seq,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::home) enum EntryKind {
    Message = 1,
    Void = 2,
    /// Of a group's roster; `n` is its number in the chain.
    Operation = 3,
}

/// What quotas and `delivered_n` need to know of an entry.
pub(in crate::home) struct EntryRow {
    pub(in crate::home) seq: Seq,
    pub(in crate::home) producer: ProducerId,
    pub(in crate::home) author: String,
    pub(in crate::home) n: N,
    pub(in crate::home) kind: EntryKind,
    pub(in crate::home) bytes: u64,
}

/// An entry as it is to be stored.
pub(in crate::home) struct NewEntry<'a> {
    pub(in crate::home) log: RowId,
    pub(in crate::home) seq: Seq,
    pub(in crate::home) producer: ProducerId,
    pub(in crate::home) n: N,
    pub(in crate::home) kind: EntryKind,
    pub(in crate::home) sha256: &'a [u8; 32],
    pub(in crate::home) envelope: &'a [u8],
}

/// An entry as it was stored.
pub(in crate::home) struct StoredEntry {
    pub(in crate::home) seq: Seq,
    pub(in crate::home) n: N,
    pub(in crate::home) kind: EntryKind,
    pub(in crate::home) sha256: Vec<u8>,
    pub(in crate::home) envelope: Bytes,
}

/// A producer's row; `recent` is `logs::Recent`'s encoding.
pub(in crate::home) struct ProducerRow {
    pub(in crate::home) id: ProducerId,
    pub(in crate::home) last: N,
    pub(in crate::home) recent: Vec<u8>,
}

pub(in crate::home) fn log(conn: &Connection, owner: &UserName) -> Result<Option<LogRow>> {
    conn.prepare_cached(
        "SELECT l.id, l.epoch, l.first_seq, l.head_seq
         FROM accounts a JOIN logs l ON l.id = a.id WHERE a.name = ?1 AND a.gone = 0",
    )?
    .query_row([owner.as_str()], |row| {
        Ok(LogRow {
            id: RowId(row.get(0)?),
            epoch: LogEpoch(num(row.get(1)?)),
            first: Seq(num(row.get(2)?)),
            head: Seq(num(row.get(3)?)),
        })
    })
    .optional()
}

/// Entries beyond the furthest cursor of each log, in all logs together.
pub(in crate::home) fn unread(conn: &Connection) -> Result<u64> {
    conn.prepare_cached(
        "SELECT COALESCE(SUM(l.head_seq - MAX(l.first_seq - 1, COALESCE(
             (SELECT MAX(c.seq) FROM cursors c WHERE c.log = l.id), 0))), 0)
         FROM logs l WHERE l.head_seq >= l.first_seq",
    )?
    .query_row([], |row| row.get(0).map(num))
}

pub(in crate::home) fn insert_log(conn: &Connection, id: RowId, epoch: LogEpoch) -> Result<()> {
    conn.prepare_cached("INSERT INTO logs (id, epoch, first_seq, head_seq) VALUES (?1, ?2, 1, 0)")?
        .execute(params![id.0, int(epoch.0)])
        .map(drop)
}

pub(in crate::home) fn set_log(conn: &Connection, id: RowId, first: Seq, head: Seq) -> Result<()> {
    conn.prepare_cached("UPDATE logs SET first_seq = ?2, head_seq = ?3 WHERE id = ?1")?
        .execute(params![id.0, int(first.0), int(head.0)])
        .map(drop)
}

/// The owner's devices that opened the log and how far they read. In an inbox there is at most one.
pub(in crate::home) fn cursor(
    conn: &Connection,
    log: RowId,
    user: &UserName,
) -> Result<Option<(DeviceId, Seq)>> {
    conn.prepare_cached("SELECT device, seq FROM cursors WHERE log = ?1 AND user = ?2")?
        .query_row(params![log.0, user.as_str()], |row| {
            Ok((DeviceId(num(row.get(0)?)), Seq(num(row.get(1)?))))
        })
        .optional()
}

/// Removes the cursors of the devices that are replaced.
pub(in crate::home) fn drop_cursors(conn: &Connection, log: RowId, user: &UserName) -> Result<()> {
    conn.prepare_cached("DELETE FROM cursors WHERE log = ?1 AND user = ?2")?
        .execute(params![log.0, user.as_str()])
        .map(drop)
}

pub(in crate::home) fn put_cursor(
    conn: &Connection,
    log: RowId,
    user: &UserName,
    device: DeviceId,
    seq: Seq,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO cursors (log, user, device, seq) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (log, user, device) DO UPDATE SET seq = excluded.seq",
    )?
    .execute(params![log.0, user.as_str(), int(device.0), int(seq.0)])
    .map(drop)
}

/// Owners of inboxes that keep entries which their reader has passed.
pub(in crate::home) fn logs_to_reap(conn: &Connection) -> Result<Vec<String>> {
    let mut select = conn.prepare(
        "SELECT a.name FROM cursors c JOIN logs l ON l.id = c.log JOIN accounts a ON a.id = l.id
         WHERE c.seq >= l.first_seq AND a.gone = 0 ORDER BY a.name",
    )?;
    select.query_map([], |row| row.get(0))?.collect()
}

pub(in crate::home) fn producer(
    conn: &Connection,
    log: RowId,
    author: &UserName,
    device: DeviceId,
) -> Result<Option<ProducerRow>> {
    conn.prepare_cached(
        "SELECT id, last_n, recent FROM producers
         WHERE log = ?1 AND author = ?2 AND device = ?3",
    )?
    .query_row(params![log.0, author.as_str(), int(device.0)], |row| {
        Ok(ProducerRow {
            id: ProducerId(row.get(0)?),
            last: N(num(row.get(1)?)),
            recent: row.get(2)?,
        })
    })
    .optional()
}

/// Whether any device of `author` ever wrote to the log.
pub(in crate::home) fn has_written(
    conn: &Connection,
    log: RowId,
    author: &UserName,
) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM producers WHERE log = ?1 AND author = ?2 LIMIT 1")?
        .exists(params![log.0, author.as_str()])
}

/// How many logs here `author` wrote to for the first time after `since_ms`, and when the oldest
/// of those was.
pub(in crate::home) fn new_peers(
    conn: &Connection,
    author: &UserName,
    since_ms: u64,
) -> Result<(u64, Option<u64>)> {
    conn.prepare_cached(
        "SELECT count(*), min(new_peer_ms) FROM producers
         WHERE author = ?1 AND new_peer_ms > ?2",
    )?
    .query_row(params![author.as_str(), int(since_ms)], |row| {
        let oldest: Option<i64> = row.get(1)?;
        Ok((num(row.get(0)?), oldest.map(num)))
    })
}

pub(in crate::home) fn insert_producer(
    conn: &Connection,
    log: RowId,
    author: &UserName,
    device: DeviceId,
    new_peer_ms: Option<u64>,
) -> Result<ProducerId> {
    conn.prepare_cached(
        "INSERT INTO producers (log, author, device, last_n, recent, new_peer_ms)
         VALUES (?1, ?2, ?3, 0, x'', ?4)",
    )?
    .execute(params![log.0, author.as_str(), int(device.0), new_peer_ms.map(int)])?;
    Ok(ProducerId(conn.last_insert_rowid()))
}

pub(in crate::home) fn set_producer(
    conn: &Connection,
    id: ProducerId,
    last: N,
    recent: &[u8],
) -> Result<()> {
    conn.prepare_cached("UPDATE producers SET last_n = ?2, recent = ?3 WHERE id = ?1")?
        .execute(params![id.0, int(last.0), recent])
        .map(drop)
}

pub(in crate::home) fn insert_entry(conn: &Connection, entry: &NewEntry<'_>) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO entries (log, seq, producer, n, kind, sha256, envelope)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        entry.log.0,
        int(entry.seq.0),
        entry.producer.0,
        int(entry.n.0),
        entry.kind as i64,
        entry.sha256,
        entry.envelope
    ])
    .map(drop)
}

fn read_kind(column: usize, number: i64) -> Result<EntryKind> {
    match number {
        1 => Ok(EntryKind::Message),
        2 => Ok(EntryKind::Void),
        3 => Ok(EntryKind::Operation),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// All entries after `after`, without their envelopes.
pub(in crate::home) fn entries_after(
    conn: &Connection,
    log: RowId,
    after: Seq,
) -> Result<Vec<EntryRow>> {
    let mut select = conn.prepare_cached(
        "SELECT e.seq, e.producer, p.author, e.n, e.kind, length(e.envelope)
         FROM entries e JOIN producers p ON p.id = e.producer
         WHERE e.log = ?1 AND e.seq > ?2 ORDER BY e.seq",
    )?;
    let rows = select.query_map(params![log.0, int(after.0)], |row| {
        let kind: i64 = row.get(4)?;
        Ok(EntryRow {
            seq: Seq(num(row.get(0)?)),
            producer: ProducerId(row.get(1)?),
            author: row.get(2)?,
            n: N(num(row.get(3)?)),
            kind: read_kind(4, kind)?,
            bytes: num(row.get(5)?),
        })
    })?;
    rows.collect()
}

/// Reads entries from `after + 1` to `upto` until `entries_max` or `bytes_max` is reached; at
/// least one if there is one.
pub(in crate::home) fn page(
    conn: &Connection,
    log: RowId,
    after: Seq,
    upto: Seq,
    entries_max: usize,
    bytes_max: usize,
) -> Result<Vec<StoredEntry>> {
    let mut select = conn.prepare_cached(
        "SELECT seq, sha256, envelope, n, kind FROM entries
         WHERE log = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut rows = select.query(params![log.0, int(after.0), int(upto.0), index(entries_max)])?;
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let envelope: Vec<u8> = row.get(2)?;
        bytes += envelope.len();
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        page.push(StoredEntry {
            seq: Seq(num(row.get(0)?)),
            n: N(num(row.get(3)?)),
            kind: read_kind(4, row.get(4)?)?,
            sha256: row.get(1)?,
            envelope: envelope.into(),
        });
    }
    Ok(page)
}

/// Deletes entries by `seq`, both ends included.
pub(in crate::home) fn delete_entries(
    conn: &Connection,
    log: RowId,
    from: Seq,
    upto: Seq,
) -> Result<()> {
    conn.prepare_cached("DELETE FROM entries WHERE log = ?1 AND seq >= ?2 AND seq <= ?3")?
        .execute(params![log.0, int(from.0), int(upto.0)])
        .map(drop)
}

/// Logs whose owner is gone, at most `limit`.
pub(in crate::home) fn gone_logs(conn: &Connection, limit: usize) -> Result<Vec<RowId>> {
    let mut select = conn.prepare_cached(
        "SELECT l.id FROM logs l JOIN accounts a ON a.id = l.id WHERE a.gone = 1 LIMIT ?1",
    )?;
    select.query_map([index(limit)], |row| row.get(0).map(RowId))?.collect()
}

/// Deletes at most `limit` entries of a log, the oldest first; returns how many.
pub(in crate::home) fn delete_some_entries(
    conn: &Connection,
    log: RowId,
    limit: u64,
) -> Result<u64> {
    conn.prepare_cached(
        "DELETE FROM entries WHERE id IN
         (SELECT id FROM entries WHERE log = ?1 ORDER BY seq LIMIT ?2)",
    )?
    .execute(params![log.0, int(limit)])
    .map(|count| count as u64)
}

/// Deletes a log that has no entries left, with its cursors and producers.
pub(in crate::home) fn delete_log(conn: &Connection, log: RowId) -> Result<()> {
    conn.prepare_cached("DELETE FROM cursors WHERE log = ?1")?.execute([log.0])?;
    conn.prepare_cached("DELETE FROM producers WHERE log = ?1")?.execute([log.0])?;
    conn.prepare_cached("DELETE FROM logs WHERE id = ?1")?.execute([log.0]).map(drop)
}
