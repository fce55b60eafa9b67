//! A look at a database without serving it: for a doctor, beside a server that may be running.
//!
//! Opens read-only and changes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::file::{OpenError, check_mark, check_version, judge, quick_check};

/// What a database that is in order says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Accounts in it.
    pub accounts: u64,
    /// Its version; the number of migrations it has seen.
    pub version: u32,
}

/// Checks the structure of a database: whether it is ours, of a version that is known here, and
/// undamaged. Reads all of it.
///
/// # Errors
/// [`OpenError`] says what is wrong.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(OpenError::Missing(path.to_owned())),
        Err(cause) => return Err(OpenError::Io(path.to_owned(), cause)),
    }
    let judged = |cause| judge(path, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(judged)?;
    check_mark(path, &conn)?;
    let version = check_version(path, &conn)?;
    quick_check(path, &conn)?;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let accounts = conn.query_row("SELECT count(*) FROM accounts", [], count).map_err(judged)?;
    Ok(Inspection { accounts: u64::try_from(accounts).unwrap_or(0), version })
}
