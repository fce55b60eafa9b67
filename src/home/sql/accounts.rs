//! Accounts, devices, sessions and blocks.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{RowId, index, int, num};
use crate::home::request::Visibility;
use crate::types::{DeviceId, SessionEpoch, SessionId, UserName};

/// What is stored of an account, less its login verifier.
pub(in crate::home) struct Account {
    pub(in crate::home) id: RowId,
    pub(in crate::home) bundle: Bytes,
    pub(in crate::home) bundle_version: u64,
    pub(in crate::home) quota: BundleQuota,
    pub(in crate::home) session_epoch: SessionEpoch,
    /// Where the session of that epoch is, until it logs out.
    pub(in crate::home) session: Option<StoredSession>,
    /// How that session wants to be seen.
    pub(in crate::home) visibility: Visibility,
    /// When the account is to be deleted.
    pub(in crate::home) delete_at_ms: Option<u64>,
}

/// How many bundles were put in the current day, which began at `day_ms`.
#[derive(Clone, Copy)]
pub(in crate::home) struct BundleQuota {
    pub(in crate::home) day_ms: u64,
    pub(in crate::home) puts: u32,
}

/// The connection a session was given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::home) struct StoredSession {
    pub(in crate::home) edge: String,
    pub(in crate::home) sid: SessionId,
    pub(in crate::home) device: DeviceId,
}

/// What an account's bundle says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::home) enum DeviceRow {
    Active = 1,
    Retired = 2,
    Dropped = 3,
}

pub(in crate::home) fn account(conn: &Connection, user: &UserName) -> Result<Option<Account>> {
    conn.prepare_cached(
        "SELECT id, bundle, bundle_version, bundle_day_ms, bundle_puts, session_epoch,
                session_edge, session_sid, session_device, session_invisible, delete_at_ms
         FROM accounts WHERE name = ?1 AND gone = 0",
    )?
    .query_row([user.as_str()], read_account)
    .optional()
}

fn read_account(row: &Row<'_>) -> Result<Account> {
    let bundle: Vec<u8> = row.get(1)?;
    let edge: Option<String> = row.get(6)?;
    let session = match edge {
        Some(edge) => Some(StoredSession {
            edge,
            sid: SessionId(num(row.get(7)?)),
            device: DeviceId(num(row.get(8)?)),
        }),
        None => None,
    };
    Ok(Account {
        id: RowId(row.get(0)?),
        bundle: bundle.into(),
        bundle_version: num(row.get(2)?),
        quota: BundleQuota { day_ms: num(row.get(3)?), puts: row.get(4)? },
        session_epoch: SessionEpoch(num(row.get(5)?)),
        session,
        visibility: if row.get(9)? { Visibility::Invisible } else { Visibility::Visible },
        delete_at_ms: row.get::<_, Option<i64>>(10)?.map(num),
    })
}

/// The bcrypt hash and the bundle of an account.
pub(in crate::home) fn verifier(
    conn: &Connection,
    user: &UserName,
) -> Result<Option<(String, Vec<u8>)>> {
    conn.prepare_cached("SELECT verifier, bundle FROM accounts WHERE name = ?1 AND gone = 0")?
        .query_row([user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

pub(in crate::home) fn insert_account(
    conn: &Connection,
    user: &UserName,
    verifier: &str,
    bundle: &[u8],
    now_ms: u64,
) -> Result<RowId> {
    conn.prepare_cached(
        "INSERT INTO accounts (name, verifier, bundle, bundle_version, bundle_day_ms, bundle_puts,
                               session_epoch)
         VALUES (?1, ?2, ?3, 1, ?4, 1, 0)",
    )?
    .execute(params![user.as_str(), verifier, bundle, int(now_ms)])?;
    Ok(RowId(conn.last_insert_rowid()))
}

pub(in crate::home) fn replace_bundle(
    conn: &Connection,
    account: RowId,
    bundle: &[u8],
    version: u64,
    quota: BundleQuota,
) -> Result<()> {
    conn.prepare_cached(
        "UPDATE accounts
         SET bundle = ?2, bundle_version = ?3, bundle_day_ms = ?4, bundle_puts = ?5
         WHERE id = ?1",
    )?
    .execute(params![account.0, bundle, int(version), int(quota.day_ms), quota.puts])
    .map(drop)
}

pub(in crate::home) fn begin_session(
    conn: &Connection,
    account: RowId,
    epoch: SessionEpoch,
    session: &StoredSession,
    visibility: Visibility,
) -> Result<()> {
    conn.prepare_cached(
        "UPDATE accounts
         SET session_epoch = ?2, session_edge = ?3, session_sid = ?4, session_device = ?5,
             session_invisible = ?6
         WHERE id = ?1",
    )?
    .execute(params![
        account.0,
        int(epoch.0),
        session.edge,
        int(session.sid.0),
        int(session.device.0),
        visibility == Visibility::Invisible
    ])
    .map(drop)
}

pub(in crate::home) fn set_visibility(
    conn: &Connection,
    user: &UserName,
    visibility: Visibility,
) -> Result<()> {
    conn.prepare_cached("UPDATE accounts SET session_invisible = ?2 WHERE name = ?1")?
        .execute(params![user.as_str(), visibility == Visibility::Invisible])
        .map(drop)
}

pub(in crate::home) fn set_verifier(
    conn: &Connection,
    user: &UserName,
    verifier: &str,
) -> Result<()> {
    conn.prepare_cached("UPDATE accounts SET verifier = ?2 WHERE name = ?1")?
        .execute([user.as_str(), verifier])
        .map(drop)
}

pub(in crate::home) fn set_delete_at(
    conn: &Connection,
    account: RowId,
    at_ms: Option<u64>,
) -> Result<()> {
    conn.prepare_cached("UPDATE accounts SET delete_at_ms = ?2 WHERE id = ?1")?
        .execute(params![account.0, at_ms.map(int)])
        .map(drop)
}

/// When the next account is to be deleted.
pub(in crate::home) fn next_deletion_ms(conn: &Connection) -> Result<Option<u64>> {
    conn.prepare_cached("SELECT min(delete_at_ms) FROM accounts WHERE delete_at_ms IS NOT NULL")?
        .query_row([], |row| row.get::<_, Option<i64>>(0).map(|at| at.map(num)))
}

/// Accounts whose time has come, at most `limit`.
pub(in crate::home) fn due_deletions(
    conn: &Connection,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<(RowId, String)>> {
    let mut select = conn.prepare_cached(
        "SELECT id, name FROM accounts WHERE delete_at_ms <= ?1 ORDER BY delete_at_ms LIMIT ?2",
    )?;
    let rows = select.query_map(params![int(now_ms), index(limit)], |row| {
        Ok((RowId(row.get(0)?), row.get(1)?))
    })?;
    rows.collect()
}

/// Leaves nothing of an account but its name, and its log for [`super::logs::gone_logs`].
pub(in crate::home) fn bury(conn: &Connection, account: RowId) -> Result<()> {
    conn.prepare_cached("DELETE FROM devices WHERE account = ?1")?.execute([account.0])?;
    conn.prepare_cached("DELETE FROM blocks WHERE account = ?1")?.execute([account.0])?;
    conn.prepare_cached(
        "UPDATE accounts
         SET gone = 1, delete_at_ms = NULL, verifier = '', bundle = x'', session_edge = NULL,
             session_sid = NULL, session_device = NULL
         WHERE id = ?1",
    )?
    .execute([account.0])
    .map(drop)
}

/// Whether a name was somebody's who is gone.
pub(in crate::home) fn is_gone(conn: &Connection, user: &UserName) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM accounts WHERE name = ?1 AND gone = 1")?
        .exists([user.as_str()])
}

/// After a logout nobody can go on with the session; its epoch stays used up.
pub(in crate::home) fn end_session(conn: &Connection, user: &UserName) -> Result<()> {
    conn.prepare_cached(
        "UPDATE accounts SET session_edge = NULL, session_sid = NULL, session_device = NULL
         WHERE name = ?1",
    )?
    .execute([user.as_str()])
    .map(drop)
}

/// A device's state, Ed25519 key, and highest Resume count used.
pub(in crate::home) fn device(
    conn: &Connection,
    account: RowId,
    device: DeviceId,
) -> Result<Option<(DeviceRow, [u8; 32], u64)>> {
    conn.prepare_cached(
        "SELECT state, public_key, resume_count FROM devices WHERE account = ?1 AND device = ?2",
    )?
    .query_row(params![account.0, int(device.0)], |row| {
        let state: i64 = row.get(0)?;
        let state = match state {
            1 => DeviceRow::Active,
            2 => DeviceRow::Retired,
            3 => DeviceRow::Dropped,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
        };
        Ok((state, row.get(1)?, num(row.get(2)?)))
    })
    .optional()
}

/// Marks every device of an account as dropped; those in the new bundle are then put again.
pub(in crate::home) fn drop_devices(conn: &Connection, account: RowId) -> Result<()> {
    conn.prepare_cached("UPDATE devices SET state = 3 WHERE account = ?1")?
        .execute([account.0])
        .map(drop)
}

/// Adds a device or changes its state and key; the count it has used stays.
pub(in crate::home) fn put_device(
    conn: &Connection,
    account: RowId,
    device: DeviceId,
    public_key: &[u8; 32],
    state: DeviceRow,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO devices (account, device, public_key, state, resume_count)
         VALUES (?1, ?2, ?3, ?4, 0)
         ON CONFLICT (account, device) DO UPDATE
         SET public_key = excluded.public_key, state = excluded.state",
    )?
    .execute(params![account.0, int(device.0), public_key, state as i64])
    .map(drop)
}

pub(in crate::home) fn set_resume_count(
    conn: &Connection,
    account: RowId,
    device: DeviceId,
    count: u64,
) -> Result<()> {
    conn.prepare_cached("UPDATE devices SET resume_count = ?3 WHERE account = ?1 AND device = ?2")?
        .execute(params![account.0, int(device.0), int(count)])
        .map(drop)
}

/// Names in order, at most `limit`.
pub(in crate::home) fn names(conn: &Connection, limit: usize) -> Result<Vec<String>> {
    let mut select =
        conn.prepare_cached("SELECT name FROM accounts WHERE gone = 0 ORDER BY name LIMIT ?1")?;
    select.query_map([index(limit)], |row| row.get(0))?.collect()
}

pub(in crate::home) fn blocks(conn: &Connection, account: RowId) -> Result<Vec<String>> {
    let mut select = conn.prepare_cached("SELECT author FROM blocks WHERE account = ?1")?;
    select.query_map([account.0], |row| row.get(0))?.collect()
}

/// Whom an account blocks, by its name.
pub(in crate::home) fn blocked_by(conn: &Connection, user: &UserName) -> Result<Vec<String>> {
    let mut select = conn.prepare_cached(
        "SELECT b.author FROM blocks b JOIN accounts a ON a.id = b.account WHERE a.name = ?1",
    )?;
    select.query_map([user.as_str()], |row| row.get(0))?.collect()
}

/// Whether an account, by its name, blocks this author.
pub(in crate::home) fn blocks_author(
    conn: &Connection,
    user: &UserName,
    author: &UserName,
) -> Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM blocks b JOIN accounts a ON a.id = b.account
         WHERE a.name = ?1 AND b.author = ?2",
    )?
    .exists([user.as_str(), author.as_str()])
}

pub(in crate::home) fn block(conn: &Connection, account: RowId, author: &UserName) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO blocks (account, author) VALUES (?1, ?2)")?
        .execute(params![account.0, author.as_str()])
        .map(drop)
}

pub(in crate::home) fn unblock(conn: &Connection, account: RowId, author: &UserName) -> Result<()> {
    conn.prepare_cached("DELETE FROM blocks WHERE account = ?1 AND author = ?2")?
        .execute(params![account.0, author.as_str()])
        .map(drop)
}
