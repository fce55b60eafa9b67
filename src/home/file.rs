//! The database file: made once, checked at every open, migrated by numbered files.
//!
//! Deliberately never repairs, replaces or deletes a file that has a name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::HomeConfig;
use super::refusal::Fault;
use crate::net::Env;
use crate::types::{ClusterId, ServerId, SlotId};

/// Marks a file as ours ("FCHS").
const APPLICATION_ID: i32 = 0x4643_4853;

/// Every migration, in order; the first has number 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_init.sql"),
    include_str!("migrations/002_deletion_and_presence.sql"),
    include_str!("migrations/003_groups.sql"),
    include_str!("migrations/004_groups_made.sql"),
    include_str!("migrations/005_blobs.sql"),
];

/// Pages of the write-ahead log before SQLite copies them into the file: 16 MiB. With SQLite's
/// 4 MiB a crowd of writers checkpoints several times a second, each time with two more fsyncs.
const CHECKPOINT_PAGES: u32 = 4_096;
/// What the write-ahead log may keep on disk after a checkpoint.
const WAL_BYTES_KEPT: u32 = 64 * 1024 * 1024;
/// SQLite's page cache, in KiB.
const CACHE_KIB: i32 = 32 * 1024;
/// More statements than this room has, so that none is prepared twice.
const STATEMENTS_CACHED: usize = 96;

/// Why a database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one already; a database is never made twice.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The folder cannot be written.
    #[error("cannot write {0}")]
    Io(PathBuf, #[source] io::Error),
    /// SQLite refused.
    #[error("cannot make a database at {0}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
}

/// Why a database cannot be served. It is never repaired, replaced or deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such file.
    #[error("there is no database at {0}")]
    Missing(PathBuf),
    /// Another process serves it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Not a server database of this program.
    #[error("{0} is not a database of this program")]
    NotOurs(PathBuf),
    /// The file is damaged.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the check found.
        detail: String,
    },
    /// Made by a newer version of the program.
    #[error("{path} has version {got}, this program knows up to {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        got: u32,
        /// The highest version known here.
        known: u32,
    },
    /// A migration in the file is not the one of that number known here.
    #[error("migration {version} of {path} is another than the one known here")]
    Migration {
        /// Which file.
        path: PathBuf,
        /// The migration.
        version: u32,
    },
    /// It belongs to another cluster.
    #[error("{path} belongs to cluster {got}, expected {expected}")]
    OtherCluster {
        /// Which file.
        path: PathBuf,
        /// Its cluster.
        got: String,
        /// Ours.
        expected: ClusterId,
    },
    /// It belongs to another server.
    #[error("{path} belongs to server {got}, expected {expected}")]
    OtherServer {
        /// Which file.
        path: PathBuf,
        /// Its server.
        got: String,
        /// Us.
        expected: ServerId,
    },
    /// The slots it owns are not those the placement map gives this server.
    #[error(
        "{path} does not own the slots of the placement map: {missing} missing, {extra} too many"
    )]
    OtherSlots {
        /// Which file.
        path: PathBuf,
        /// Slots of the map that the database does not own.
        missing: usize,
        /// Slots the database owns and the map gives to another server.
        extra: usize,
    },
    /// The file cannot be read or written.
    #[error("cannot open {0}")]
    Io(PathBuf, #[source] io::Error),
    /// SQLite refused.
    #[error("cannot open {0}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
}

/// Makes the database of one server: the only place where one comes into being.
///
/// Atomic: the file appears under its name complete and on disk, or not at all.
///
/// # Errors
/// [`CreateError`]; an existing file is left alone.
pub fn create(
    env: &Env,
    path: &Path,
    server: &ServerId,
    cluster: &ClusterId,
    slots: &[SlotId],
) -> Result<(), CreateError> {
    // A write-ahead log without its database would be replayed into the new one.
    for taken in [path.to_owned(), beside(path, "-wal")] {
        if taken.exists() {
            return Err(CreateError::Exists(taken));
        }
    }
    let unfinished = beside(path, ".new");
    write_new(env, &unfinished, server, cluster, slots)?;
    let io = |cause| CreateError::Io(path.to_owned(), cause);
    std::fs::rename(&unfinished, path).map_err(io)?;
    sync_folder(path).map_err(io)
}

fn write_new(
    env: &Env,
    path: &Path,
    server: &ServerId,
    cluster: &ClusterId,
    slots: &[SlotId],
) -> Result<(), CreateError> {
    let io = |cause| CreateError::Io(path.to_owned(), cause);
    // What an earlier attempt left has never had a name: nothing refers to it.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(io(error));
    }
    // SQLite gives its side files the mode of the database.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    let sqlite = |cause| CreateError::Sqlite(path.to_owned(), cause);
    let conn = connect(path).map_err(sqlite)?;
    fill_new(env, &conn, server, cluster, slots).map_err(sqlite)?;
    conn.close().map_err(|(_, cause)| sqlite(cause))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(io)
}

fn fill_new(
    env: &Env,
    conn: &Connection,
    server: &ServerId,
    cluster: &ClusterId,
    slots: &[SlotId],
) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", env.sqlite_synchronous())?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.execute_batch(
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, sha256 BLOB NOT NULL) STRICT",
    )?;
    migrate(conn, 0)?;
    conn.execute(
        "INSERT INTO meta (one, cluster, server) VALUES (1, ?1, ?2)",
        params![cluster.0, server.as_str()],
    )?;
    let mut insert = conn.prepare("INSERT INTO slots (slot) VALUES (?1)")?;
    for slot in slots {
        insert.execute([slot.0])?;
    }
    drop(insert);
    conn.execute_batch("COMMIT")
}

/// Applies the migrations after `version`, inside the caller's transaction.
fn migrate(conn: &Connection, version: u32) -> rusqlite::Result<()> {
    for (number, sql) in (1u32..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= version) {
        conn.execute_batch(sql)?;
        conn.execute(
            "INSERT INTO migrations (version, sha256) VALUES (?1, ?2)",
            params![number, checksum(sql)],
        )?;
        conn.pragma_update(None, "user_version", number)?;
    }
    Ok(())
}

fn checksum(sql: &str) -> [u8; 32] {
    Sha256::digest(sql.as_bytes()).into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// A checked database, ready for its one writer.
pub(super) struct Database {
    pub(super) conn: Connection,
    /// Kept for its lock: two writers would each believe in their own caches.
    _lock: File,
}

impl Database {
    /// Moves the write-ahead log into the file and closes both.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        let Self { conn, _lock } = self;
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, cause)| cause)
    }
}

/// Opens, checks and migrates the database of `config`.
pub(super) fn open(env: &Env, config: &HomeConfig) -> Result<Database, OpenError> {
    let path = &config.database;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(OpenError::Missing(path.clone())),
        Err(cause) => return Err(OpenError::Io(path.clone(), cause)),
    }
    let lock = lock(path)?;
    let judged = |cause: rusqlite::Error| judge(path, cause);
    let conn = connect(path).map_err(judged)?;
    // Before anything is written: a file that is not ours is left as it was.
    check_mark(path, &conn)?;
    prepare(env, &conn).map_err(judged)?;
    quick_check(path, &conn)?;
    update(path, &conn)?;
    check_owner(config, &conn)?;
    Ok(Database { conn, _lock: lock })
}

/// Refuses a file that another program made.
pub(super) fn check_mark(path: &Path, conn: &Connection) -> Result<(), OpenError> {
    let mark: i32 = pragma(conn, "application_id").map_err(|cause| judge(path, cause))?;
    if mark == APPLICATION_ID { Ok(()) } else { Err(OpenError::NotOurs(path.to_owned())) }
}

/// The version of a file, which must be known here.
pub(super) fn check_version(path: &Path, conn: &Connection) -> Result<u32, OpenError> {
    let got: u32 = pragma(conn, "user_version").map_err(|cause| judge(path, cause))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if got > known {
        return Err(OpenError::Newer { path: path.to_owned(), got, known });
    }
    Ok(got)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    // Not on the database itself: closing any descriptor of it would drop SQLite's own locks.
    let name = beside(path, ".lock");
    let io = |cause| OpenError::Io(name.clone(), cause);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
    }
}

pub(super) fn judge(path: &Path, cause: rusqlite::Error) -> OpenError {
    match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotOurs(path.to_owned()),
        Some(ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path: path.to_owned(), detail: cause.to_string() }
        }
        Some(ErrorCode::DatabaseBusy) => OpenError::InUse(path.to_owned()),
        Some(_) | None => OpenError::Sqlite(path.to_owned(), cause),
    }
}

/// A database that passed its checks but could not be read.
pub(super) fn misread(path: &Path, fault: Fault) -> OpenError {
    match fault {
        Fault::Sqlite(cause) => judge(path, cause),
        Fault::Damaged(detail) => OpenError::Damaged { path: path.to_owned(), detail },
    }
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

fn prepare(env: &Env, conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", env.sqlite_synchronous())?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(())
}

pub(super) fn quick_check(path: &Path, conn: &Connection) -> Result<(), OpenError> {
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|cause| judge(path, cause))?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), detail: found })
}

/// Compares the migrations in the file with those known here, and applies what is missing.
fn update(path: &Path, conn: &Connection) -> Result<(), OpenError> {
    let judged = |cause: rusqlite::Error| judge(path, cause);
    let version = check_version(path, conn)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    for (number, sql) in (1..=version).zip(MIGRATIONS) {
        let stored: Option<Vec<u8>> = conn
            .query_row("SELECT sha256 FROM migrations WHERE version = ?1", [number], |r| r.get(0))
            .optional()
            .map_err(judged)?;
        if stored.as_deref() != Some(&checksum(sql)) {
            return Err(OpenError::Migration { path: path.to_owned(), version: number });
        }
    }
    if version < known {
        // A table that others refer to is made anew by dropping it: with the check on, its rows
        // could not go. What refers to it is checked before the COMMIT instead.
        conn.pragma_update(None, "foreign_keys", false).map_err(judged)?;
        conn.execute_batch("BEGIN IMMEDIATE").map_err(judged)?;
        migrate(conn, version).map_err(judged)?;
        check_references(path, conn)?;
        conn.execute_batch("COMMIT").map_err(judged)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(judged)?;
    }
    Ok(())
}

/// Whether every row that is referred to is there.
fn check_references(path: &Path, conn: &Connection) -> Result<(), OpenError> {
    let judged = |cause: rusqlite::Error| judge(path, cause);
    let mut check = conn.prepare("PRAGMA foreign_key_check").map_err(judged)?;
    if check.exists([]).map_err(judged)? {
        let detail = "a row refers to one that is not there".to_owned();
        return Err(OpenError::Damaged { path: path.to_owned(), detail });
    }
    Ok(())
}

fn check_owner(config: &HomeConfig, conn: &Connection) -> Result<(), OpenError> {
    let path = &config.database;
    let judged = |cause: rusqlite::Error| judge(path, cause);
    let (cluster, server): (Vec<u8>, String) = conn
        .query_row("SELECT cluster, server FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(judged)?;
    if cluster != config.cluster.0 {
        let (got, expected) = (crate::types::hex(&cluster), config.cluster);
        return Err(OpenError::OtherCluster { path: path.clone(), got, expected });
    }
    if server != config.server.as_str() {
        let expected = config.server.clone();
        return Err(OpenError::OtherServer { path: path.clone(), got: server, expected });
    }
    let own = own_slots(conn).map_err(judged)?;
    let map = config.map.slots_of(&config.server);
    let missing = map.iter().filter(|slot| own.binary_search(slot).is_err()).count();
    let extra = own.iter().filter(|slot| map.binary_search(slot).is_err()).count();
    if missing + extra > 0 {
        return Err(OpenError::OtherSlots { path: path.clone(), missing, extra });
    }
    Ok(())
}

/// The slots this database owns, in order.
pub(super) fn own_slots(conn: &Connection) -> rusqlite::Result<Vec<SlotId>> {
    let mut select = conn.prepare("SELECT slot FROM slots ORDER BY slot")?;
    let slots = select.query_map([], |row| row.get(0).map(SlotId))?;
    slots.collect()
}
