//! Files: what was sent, what homes have on their disks, what readers stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{SentFile, digest};
use crate::types::UserName;

/// F2: the message of a file goes only after its home has all of it for good. `home` is the folder
/// with the blobs of a person.
///
/// # Errors
/// SQLite's, when a profile cannot be read.
pub fn audit_sent(
    profiles: &BTreeMap<UserName, PathBuf>,
    home: impl Fn(&UserName) -> PathBuf,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut wrong = Vec::new();
    for (user, profile) in profiles {
        let db = Connection::open_with_flags(profile, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // Waiting, pending, sent, delivered, read: all that is no longer held back by its file.
        let mut rows = db.prepare(
            "SELECT l.id, l.state, lower(hex(f.blob_id)) FROM files f JOIN lines l ON l.id = f.line
             WHERE f.direction = 0 AND l.state IN (0, 1, 2, 3, 6) ORDER BY l.id",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (line, state): (i64, i64) = (row.get(0)?, row.get(1)?);
            let blob: String = row.get(2)?;
            if !home(user).join(&blob).is_file() {
                wrong.push(format!("F2: message {line} of {user} is at {state} without its file"));
            }
        }
    }
    Ok(wrong)
}

/// F3: a home has no file without a row, and no row of a blob without its file. Both may be for a
/// moment: this is for when all is at rest.
///
/// # Errors
/// When database or folder cannot be read.
pub fn audit_home(
    database: &Path,
    blobs: &Path,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = db.prepare(
        "SELECT a.name || '/' || lower(hex(b.id)) || iif(b.committed_ms IS NULL, '.part', '')
         FROM blobs b JOIN accounts a ON a.id = b.account",
    )?;
    let rows = rows.query_map([], |row| row.get(0))?.collect::<Result<BTreeSet<String>, _>>()?;
    let files = names_below(blobs)?;
    let of_uploads = |name: &&String| name.ends_with(".part");
    let lost = rows.difference(&files).filter(|name| !of_uploads(name));
    let lost = lost.map(|_| "a blob has a row and no file");
    let stray = files.difference(&rows).map(|_| "a file has no row");
    let home = database.display();
    // No ids: they are others in each run of a seed.
    Ok(lost.chain(stray).map(|what| format!("F3: {what} beside {home}")).collect())
}

/// `<folder>/<file>` of everything below.
fn names_below(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for inner in names_in(folder)? {
        names.extend(names_in(&folder.join(&inner))?.iter().map(|file| format!("{inner}/{file}")));
    }
    Ok(names)
}

fn names_in(folder: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        found => found?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

/// F4: what stands in a reader's folder is what was sent, all of it, under its name, and nothing
/// else is there. `shown` are the files that the reader was shown.
///
/// # Errors
/// When the folder cannot be read.
pub fn audit_saved(
    reader: &UserName,
    folder: &Path,
    shown: &[(String, Option<SentFile>)],
) -> io::Result<Vec<String>> {
    let mut names = names_in(folder)?;
    let mut wrong = Vec::new();
    for (caption, file) in shown {
        let Some(SentFile { name, digest: sent }) = file else {
            wrong.push(format!("F1: {reader} was shown a file that nobody sent: {caption:?}"));
            continue;
        };
        if !names.remove(name) {
            wrong.push(format!("F4: {reader} could not store {caption:?} as {name}"));
        } else if digest(&fs::read(folder.join(name))?) != *sent {
            wrong.push(format!("F4: {reader} stored {caption:?} with other bytes"));
        }
    }
    wrong.extend(names.iter().map(|name| format!("F4: {reader} has {name:?}, which nobody sent")));
    Ok(wrong)
}
