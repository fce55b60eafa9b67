//! The profile's database: opening, migrations, small values, and sealing at rest.
//!
//! What the rows mean is the business of `contacts`, `outbox`, `inbox` and `views`; each change
//! that must be atomic is one function there, in one transaction here.

use std::path::{Path, PathBuf};

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

use crate::crypto::secret::DbKey;
use crate::net::Env;
use crate::types::{ChatName, GroupName};

use super::api::RequestError;
use super::profile::ProfileError;

/// Numbered, never edited once released.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_init.sql"),
    include_str!("migrations/002_conversations.sql"),
    include_str!("migrations/003_groups.sql"),
    include_str!("migrations/004_group_messages.sql"),
    include_str!("migrations/005_files.sql"),
];

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A sealed value does not open: the database is damaged or not ours.
    #[error("a sealed value does not open")]
    Sealed,
    /// A chat of a group that this profile is not in.
    #[error("you are in no group {0}")]
    NoSuchGroup(GroupName),
    /// Cryptography failed on our own data.
    #[error("{0}")]
    Crypto(String),
}

/// A chat is stored as it is printed.
impl ToSql for ChatName {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.to_string()))
    }
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        Self::Local(error.to_string())
    }
}

/// The open database of a profile.
pub(crate) struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens or makes the database of a profile and brings it to the newest form.
    pub(crate) fn open(env: &Env, path: &Path) -> Result<Self, ProfileError> {
        let damaged = |error: rusqlite::Error| ProfileError::Damaged {
            path: path.to_owned(),
            why: error.to_string(),
        };
        make_private_file(path)?;
        let mut db = Connection::open(path).map_err(damaged)?;
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {};
             PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; PRAGMA secure_delete = ON;",
            env.sqlite_synchronous()
        ))
        .map_err(damaged)?;
        db.set_prepared_statement_cache_capacity(128);
        migrate(&mut db).map_err(damaged)?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For reading.
    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    /// One transaction: all of `change` is on the disk when this returns, or nothing of it.
    pub(crate) fn commit<T, E: From<rusqlite::Error>>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

/// SQLite makes its files by the umask; ours are made private first.
fn make_private_file(path: &Path) -> Result<(), ProfileError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|source| ProfileError::Io { path: path.to_owned(), source })
}

fn migrate(db: &mut Connection) -> Result<(), rusqlite::Error> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(0);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let tx = db.transaction()?;
        tx.execute_batch(migration)?;
        tx.execute_batch(&format!("PRAGMA user_version = {}", index + 1))?;
        tx.commit()?;
    }
    Ok(())
}

/// Reads a small value.
pub(crate) fn meta(db: &Connection, key: &str) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Reads a small text.
pub(crate) fn meta_text(db: &Connection, key: &str) -> Result<Option<String>, rusqlite::Error> {
    Ok(meta(db, key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads a small number; 0 when it is not there.
pub(crate) fn meta_u64(db: &Connection, key: &str) -> Result<u64, rusqlite::Error> {
    Ok(meta(db, key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// Writes a small value.
pub(crate) fn set_meta(db: &Connection, key: &str, value: &[u8]) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])
        .map(drop)
}

/// Writes a small number.
pub(crate) fn set_meta_u64(db: &Connection, key: &str, value: u64) -> Result<(), rusqlite::Error> {
    set_meta(db, key, &value.to_be_bytes())
}

/// Opens a sealed column.
pub(crate) fn unseal(key: &DbKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    key.open(sealed).map_err(|_| StoreError::Sealed)
}

/// The signed integer of the same 64 bits: how SQLite keeps ids and numbers.
pub(crate) fn bits(value: u64) -> i64 {
    i64::from_be_bytes(value.to_be_bytes())
}

/// Back from [`bits`].
pub(crate) fn unbits(value: i64) -> u64 {
    u64::from_be_bytes(value.to_be_bytes())
}
