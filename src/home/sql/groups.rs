//! Groups: their rows, chains of operations, members and days.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::logs::LogRow;
use super::{ProducerId, RowId, int, num};
use crate::types::{DeviceId, GroupId, GroupName, KeyEpoch, LogEpoch, OpHash, Seq, UserName};

/// A group's own row, and its log's.
pub(in crate::home) struct GroupRow {
    pub(in crate::home) log: LogRow,
    pub(in crate::home) id: Vec<u8>,
    pub(in crate::home) operations: ProducerId,
    pub(in crate::home) key_epoch: KeyEpoch,
    pub(in crate::home) closed: bool,
}

/// A group as it is to be made.
pub(in crate::home) struct NewGroup<'a> {
    pub(in crate::home) name: &'a GroupName,
    pub(in crate::home) id: GroupId,
    pub(in crate::home) epoch: LogEpoch,
    /// Who handed in its CREATE.
    pub(in crate::home) maker: &'a UserName,
    pub(in crate::home) day: u64,
}

/// Somebody's time in a group.
pub(in crate::home) struct StayRow {
    pub(in crate::home) user: String,
    pub(in crate::home) since: Seq,
    pub(in crate::home) until: Option<Seq>,
}

/// An operation as it is to be stored.
pub(in crate::home) struct NewOperation<'a> {
    pub(in crate::home) log: RowId,
    pub(in crate::home) number: u64,
    pub(in crate::home) seq: Seq,
    pub(in crate::home) hash: OpHash,
    pub(in crate::home) encoded: &'a [u8],
}

/// An operation as it was stored.
pub(in crate::home) struct OperationRow {
    pub(in crate::home) number: u64,
    pub(in crate::home) seq: Seq,
    pub(in crate::home) encoded: Bytes,
}

pub(in crate::home) fn group(conn: &Connection, name: &GroupName) -> Result<Option<GroupRow>> {
    conn.prepare_cached(
        "SELECT l.id, l.epoch, l.first_seq, l.head_seq,
                g.group_id, g.operations, g.key_epoch, g.closed
         FROM groups g JOIN logs l ON l.id = g.log WHERE g.name = ?1",
    )?
    .query_row([name.as_str()], |row| {
        Ok(GroupRow {
            log: LogRow {
                id: RowId(row.get(0)?),
                epoch: LogEpoch(num(row.get(1)?)),
                first: Seq(num(row.get(2)?)),
                head: Seq(num(row.get(3)?)),
            },
            id: row.get(4)?,
            operations: ProducerId(row.get(5)?),
            key_epoch: KeyEpoch(num(row.get(6)?)),
            closed: row.get(7)?,
        })
    })
    .optional()
}

/// Makes a group without members and operations, and its log.
pub(in crate::home) fn insert_group(conn: &Connection, group: &NewGroup<'_>) -> Result<RowId> {
    let log: i64 = conn
        .prepare_cached("SELECT COALESCE(MIN(log), 0) - 1 FROM groups")?
        .query_row([], |row| row.get(0))?;
    super::logs::insert_log(conn, RowId(log), group.epoch)?;
    // No author has an empty name.
    conn.prepare_cached(
        "INSERT INTO producers (log, author, device, last_n, recent) VALUES (?1, '', 0, 0, x'')",
    )?
    .execute([log])?;
    let operations = conn.last_insert_rowid();
    conn.prepare_cached(
        "INSERT INTO groups (log, name, group_id, operations, key_epoch, maker, made_day)
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)",
    )?
    .execute(params![
        log,
        group.name.as_str(),
        group.id.0,
        operations,
        group.maker.as_str(),
        int(group.day)
    ])?;
    Ok(RowId(log))
}

pub(in crate::home) fn set_group(
    conn: &Connection,
    log: RowId,
    key_epoch: KeyEpoch,
    closed: bool,
) -> Result<()> {
    conn.prepare_cached("UPDATE groups SET key_epoch = ?2, closed = ?3 WHERE log = ?1")?
        .execute(params![log.0, int(key_epoch.0), closed])
        .map(drop)
}

/// Groups here that somebody is in and that are not closed.
pub(in crate::home) fn groups_of(conn: &Connection, user: &UserName) -> Result<u64> {
    conn.prepare_cached(
        "SELECT count(*) FROM members m JOIN groups g ON g.log = m.log
         WHERE m.user = ?1 AND m.until_seq IS NULL AND g.closed = 0",
    )?
    .query_row([user.as_str()], |row| row.get(0).map(num))
}

/// Groups that somebody made on this day or, by a clock that was wrong, on later ones.
pub(in crate::home) fn made_since(conn: &Connection, maker: &UserName, day: u64) -> Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM groups WHERE maker = ?1 AND made_day >= ?2")?
        .query_row(params![maker.as_str(), int(day)], |row| row.get(0).map(num))
}

pub(in crate::home) fn insert_operation(
    conn: &Connection,
    operation: &NewOperation<'_>,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO roster_ops (log, number, seq, hash, operation) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        operation.log.0,
        int(operation.number),
        int(operation.seq.0),
        operation.hash.0,
        operation.encoded
    ])
    .map(drop)
}

/// Number and `seq` of an operation that is in the chain.
pub(in crate::home) fn operation(
    conn: &Connection,
    log: RowId,
    hash: OpHash,
) -> Result<Option<(u64, Seq)>> {
    conn.prepare_cached("SELECT number, seq FROM roster_ops WHERE log = ?1 AND hash = ?2")?
        .query_row(params![log.0, hash.0], |row| Ok((num(row.get(0)?), Seq(num(row.get(1)?)))))
        .optional()
}

/// Number of the newest operation that is not beyond `upto`; 0: there is none.
pub(in crate::home) fn number_upto(conn: &Connection, log: RowId, upto: Seq) -> Result<u64> {
    // Backwards by number: it goes through no more than came since.
    conn.prepare_cached(
        "SELECT number FROM roster_ops WHERE log = ?1 AND seq <= ?2 ORDER BY number DESC LIMIT 1",
    )?
    .query_row(params![log.0, int(upto.0)], |row| row.get(0).map(num))
    .optional()
    .map(Option::unwrap_or_default)
}

/// Operations after the one numbered `after` and not beyond `upto`, until `bytes_max` is reached;
/// at least one if there is one. Also says whether there are more.
pub(in crate::home) fn operations(
    conn: &Connection,
    log: RowId,
    after: u64,
    upto: Seq,
    bytes_max: usize,
) -> Result<(Vec<OperationRow>, bool)> {
    /// What surrounds an operation in a frame.
    const ROW_BYTES: usize = 32;
    let mut select = conn.prepare_cached(
        "SELECT number, seq, operation FROM roster_ops
         WHERE log = ?1 AND number > ?2 AND seq <= ?3 ORDER BY number",
    )?;
    // A number that SQLite would take for a negative one comes after all there are.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = select.query(params![log.0, after, int(upto.0)])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let encoded: Vec<u8> = row.get(2)?;
        bytes += encoded.len() + ROW_BYTES;
        if bytes > bytes_max && !page.is_empty() {
            return Ok((page, true));
        }
        let (number, seq) = (num(row.get(0)?), Seq(num(row.get(1)?)));
        page.push(OperationRow { number, seq, encoded: encoded.into() });
    }
    Ok((page, false))
}

/// Everybody's time in a group, in order of name and time.
pub(in crate::home) fn stays(conn: &Connection, log: RowId) -> Result<Vec<StayRow>> {
    let mut select = conn.prepare_cached(
        "SELECT user, since_seq, until_seq FROM members WHERE log = ?1 ORDER BY user, since_seq",
    )?;
    let rows = select.query_map([log.0], |row| {
        let until: Option<i64> = row.get(2)?;
        Ok(StayRow {
            user: row.get(0)?,
            since: Seq(num(row.get(1)?)),
            until: until.map(|seq| Seq(num(seq))),
        })
    })?;
    rows.collect()
}

pub(in crate::home) fn begin_stay(
    conn: &Connection,
    log: RowId,
    user: &UserName,
    since: Seq,
) -> Result<()> {
    conn.prepare_cached("INSERT INTO members (log, user, since_seq) VALUES (?1, ?2, ?3)")?
        .execute(params![log.0, user.as_str(), int(since.0)])
        .map(drop)
}

pub(in crate::home) fn end_stay(
    conn: &Connection,
    log: RowId,
    user: &UserName,
    until: Seq,
) -> Result<()> {
    conn.prepare_cached(
        "UPDATE members SET until_seq = ?3 WHERE log = ?1 AND user = ?2 AND until_seq IS NULL",
    )?
    .execute(params![log.0, user.as_str(), int(until.0)])
    .map(drop)
}

/// Who opened a log, with which device, and how far they read.
pub(in crate::home) fn cursors(
    conn: &Connection,
    log: RowId,
) -> Result<Vec<(String, DeviceId, Seq)>> {
    let mut select = conn.prepare_cached("SELECT user, device, seq FROM cursors WHERE log = ?1")?;
    let rows = select.query_map([log.0], |row| {
        Ok((row.get(0)?, DeviceId(num(row.get(1)?)), Seq(num(row.get(2)?))))
    })?;
    rows.collect()
}

/// The last day on which something came; 0: none is known.
pub(in crate::home) fn last_day(conn: &Connection, log: RowId) -> Result<u64> {
    conn.prepare_cached("SELECT COALESCE(MAX(day), 0) FROM days WHERE log = ?1")?
        .query_row([log.0], |row| row.get(0).map(num))
}

pub(in crate::home) fn put_day(conn: &Connection, log: RowId, day: u64, before: Seq) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO days (log, day, before) VALUES (?1, ?2, ?3)")?
        .execute(params![log.0, int(day), int(before.0)])
        .map(drop)
}

/// The last entry that came before `day`, of a log that ends at `head`.
pub(in crate::home) fn before_day(
    conn: &Connection,
    log: RowId,
    day: u64,
    head: Seq,
) -> Result<Seq> {
    let from = |order: &'static str| -> Result<Option<i64>> {
        conn.prepare_cached(order)?.query_row(params![log.0, int(day)], |row| row.get(0)).optional()
    };
    let later = from("SELECT before FROM days WHERE log = ?1 AND day >= ?2 ORDER BY day LIMIT 1")?;
    if let Some(before) = later {
        return Ok(Seq(num(before)));
    }
    let earlier = from("SELECT 1 FROM days WHERE log = ?1 AND day < ?2 LIMIT 1")?;
    Ok(if earlier.is_some() { head } else { Seq(0) })
}

pub(in crate::home) fn drop_days(conn: &Connection, log: RowId, before_day: u64) -> Result<()> {
    conn.prepare_cached("DELETE FROM days WHERE log = ?1 AND day < ?2")?
        .execute(params![log.0, int(before_day)])
        .map(drop)
}

/// Groups that know of a day before this one, by name.
pub(in crate::home) fn with_days_before(conn: &Connection, day: u64) -> Result<Vec<String>> {
    let mut select = conn.prepare_cached(
        "SELECT DISTINCT g.name FROM days d JOIN groups g ON g.log = d.log WHERE d.day < ?1",
    )?;
    select.query_map([int(day)], |row| row.get(0))?.collect()
}

/// Groups that keep entries which every member present has passed, by name.
pub(in crate::home) fn groups_to_reap(conn: &Connection) -> Result<Vec<String>> {
    let mut select = conn.prepare(
        "SELECT g.name FROM groups g JOIN logs l ON l.id = g.log
         WHERE l.head_seq >= l.first_seq AND NOT EXISTS (
             SELECT 1 FROM members m WHERE m.log = g.log AND m.until_seq IS NULL
                 AND m.since_seq <= l.first_seq AND l.first_seq > COALESCE(
                     (SELECT MAX(c.seq) FROM cursors c WHERE c.log = m.log AND c.user = m.user), 0))
         ORDER BY g.name",
    )?;
    select.query_map([], |row| row.get(0))?.collect()
}
