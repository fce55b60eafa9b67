//! Which blobs and uploads there are, and whose.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{RowId, index, int, num};
use crate::limits::{BLOB_LIFE, UPLOAD_LIFE};
use crate::types::{BlobId, UserName};

/// What is stored of a blob or an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::home) struct BlobRow {
    pub(in crate::home) bytes: u64,
    pub(in crate::home) is_committed: bool,
}

/// A row that is to go.
pub(in crate::home) struct Going {
    pub(in crate::home) account: RowId,
    pub(in crate::home) owner: String,
    pub(in crate::home) id: BlobId,
    pub(in crate::home) bytes: u64,
}

/// What an account has of blobs and uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::home) struct Used {
    pub(in crate::home) count: u64,
    pub(in crate::home) bytes: u64,
}

pub(in crate::home) fn blob(
    conn: &Connection,
    account: RowId,
    id: &BlobId,
) -> Result<Option<BlobRow>> {
    conn.prepare_cached("SELECT bytes, committed_ms FROM blobs WHERE account = ?1 AND id = ?2")?
        .query_row(params![account.0, id.0], |row| {
            let committed_ms: Option<i64> = row.get(1)?;
            Ok(BlobRow { bytes: num(row.get(0)?), is_committed: committed_ms.is_some() })
        })
        .optional()
}

/// Whether there is a row, by the owner's name.
pub(in crate::home) fn is_known(conn: &Connection, owner: &UserName, id: &BlobId) -> Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM blobs b JOIN accounts a ON a.id = b.account WHERE a.name = ?1 AND b.id = ?2",
    )?
    .exists(params![owner.as_str(), id.0])
}

pub(in crate::home) fn used(conn: &Connection, account: RowId) -> Result<Used> {
    conn.prepare_cached("SELECT count(*), coalesce(sum(bytes), 0) FROM blobs WHERE account = ?1")?
        .query_row([account.0], |row| Ok(Used { count: num(row.get(0)?), bytes: num(row.get(1)?) }))
}

/// Bytes of all there are.
pub(in crate::home) fn all_bytes(conn: &Connection) -> Result<u64> {
    conn.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM blobs")?
        .query_row([], |row| row.get(0).map(num))
}

/// Makes the row of an upload, or that of a blob one of an upload that begins now.
pub(in crate::home) fn begin(
    conn: &Connection,
    account: RowId,
    id: &BlobId,
    bytes: u64,
    now_ms: u64,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO blobs (account, id, bytes, begun_ms, committed_ms) VALUES (?1, ?2, ?3, ?4, NULL)
         ON CONFLICT (account, id)
         DO UPDATE SET bytes = excluded.bytes, begun_ms = excluded.begun_ms, committed_ms = NULL",
    )?
    .execute(params![account.0, id.0, int(bytes), int(now_ms)])
    .map(drop)
}

pub(in crate::home) fn commit(
    conn: &Connection,
    account: RowId,
    id: &BlobId,
    now_ms: u64,
) -> Result<()> {
    conn.prepare_cached("UPDATE blobs SET committed_ms = ?3 WHERE account = ?1 AND id = ?2")?
        .execute(params![account.0, id.0, int(now_ms)])
        .map(drop)
}

pub(in crate::home) fn delete(conn: &Connection, account: RowId, id: &BlobId) -> Result<()> {
    conn.prepare_cached("DELETE FROM blobs WHERE account = ?1 AND id = ?2")?
        .execute(params![account.0, id.0])
        .map(drop)
}

/// When the next upload or blob is to go.
pub(in crate::home) fn next_due_ms(conn: &Connection) -> Result<Option<u64>> {
    let begun = "SELECT min(begun_ms) FROM blobs WHERE committed_ms IS NULL";
    let committed = "SELECT min(committed_ms) FROM blobs WHERE committed_ms IS NOT NULL";
    let mut next: Option<u64> = None;
    for (sql, life) in [(begun, UPLOAD_LIFE), (committed, BLOB_LIFE)] {
        let oldest: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let due = oldest.map(|ms| num(ms).saturating_add(millis(life)));
        next = [next, due].into_iter().flatten().min();
    }
    Ok(next)
}

/// Uploads and blobs whose time has come, at most `limit` of each.
pub(in crate::home) fn due(conn: &Connection, now_ms: u64, limit: usize) -> Result<Vec<Going>> {
    let begun =
        "SELECT b.account, a.name, b.id, b.bytes FROM blobs b JOIN accounts a ON a.id = b.account
                 WHERE b.committed_ms IS NULL AND b.begun_ms <= ?1 ORDER BY b.begun_ms LIMIT ?2";
    let committed =
        "SELECT b.account, a.name, b.id, b.bytes FROM blobs b JOIN accounts a ON a.id = b.account
                     WHERE b.committed_ms IS NOT NULL AND b.committed_ms <= ?1
                     ORDER BY b.committed_ms LIMIT ?2";
    let mut due = Vec::new();
    for (sql, life) in [(begun, UPLOAD_LIFE), (committed, BLOB_LIFE)] {
        let Some(since_ms) = now_ms.checked_sub(millis(life)) else { continue };
        let mut select = conn.prepare_cached(sql)?;
        let rows = select.query_map(params![int(since_ms), index(limit)], read_going)?;
        for row in rows {
            due.push(row?);
        }
    }
    Ok(due)
}

/// Some of an account's blobs and uploads.
pub(in crate::home) fn some_of(
    conn: &Connection,
    account: RowId,
    limit: usize,
) -> Result<Vec<Going>> {
    let mut select = conn.prepare_cached(
        "SELECT b.account, a.name, b.id, b.bytes FROM blobs b JOIN accounts a ON a.id = b.account
         WHERE b.account = ?1 LIMIT ?2",
    )?;
    let rows = select.query_map(params![account.0, index(limit)], read_going)?;
    rows.collect()
}

/// All there are: owner, id, and whether it is committed.
pub(in crate::home) fn all(conn: &Connection) -> Result<Vec<(String, BlobId, bool)>> {
    let mut select = conn.prepare(
        "SELECT a.name, b.id, b.committed_ms IS NOT NULL
         FROM blobs b JOIN accounts a ON a.id = b.account",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, BlobId(row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

fn read_going(row: &Row<'_>) -> Result<Going> {
    Ok(Going {
        account: RowId(row.get(0)?),
        owner: row.get(1)?,
        id: BlobId(row.get(2)?),
        bytes: num(row.get(3)?),
    })
}

fn millis(life: std::time::Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}
