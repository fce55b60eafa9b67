//! A copy of a profile in one file, and a profile from such a copy.
//!
//! The copy holds what the folder holds: keys and texts stay sealed under the password. A restored
//! profile is an old one: its numbers may have been used since, so it becomes a new device at the
//! first contact, as one whose disk was put back does.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::types::{UserName, hex};

use super::Client;
use super::profile::{ENCRYPTION_PEM, IDENTITY_PEM};
use super::store::{MIGRATIONS, meta_text, set_meta_u64};

const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "profile.sqlite";
const FILES: [&str; 3] = [DATABASE, IDENTITY_PEM, ENCRYPTION_PEM];
/// Bytes of one file of a copy; far beyond what a person writes in a life.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// Set in a restored database until the profile has become a new device.
pub(crate) const RESTORED: &str = "restored";

/// Why there is no copy, or no profile from one. Nothing was replaced.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be written: it is there already, or the disk is full.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no copy of a profile, or a damaged one.
    #[error("not a whole copy of a profile: {0}")]
    Damaged(String),
}

/// What a copy says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form; 1.
    v: u32,
    /// Whose profile it is.
    pub user: UserName,
    /// The cluster of the account.
    pub cluster: String,
    /// When it was made.
    pub made_unix_ms: u64,
    files: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    sha256: String,
}

impl Client {
    /// Writes a consistent copy of the profile to a new file (0600), while everything goes on.
    ///
    /// # Errors
    /// [`BackupError`]; no file is left then.
    pub async fn backup(&self, to: &Path) -> Result<Manifest, BackupError> {
        let (env, folder, database, manifest) = {
            let core = self.core.lock();
            let owner = &core.profile.owner;
            let manifest = Manifest {
                v: 1,
                user: owner.user.clone(),
                cluster: owner.cluster.to_string(),
                made_unix_ms: core.env.unix_ms(),
                files: Vec::new(),
            };
            let database = core.profile.store.path().to_owned();
            (core.env.clone(), core.profile.folder.clone(), database, manifest)
        };
        let to = to.to_owned();
        env.blocking(move || {
            let copy = folder.join("backup.sqlite");
            let done =
                snapshot(&database, &copy).and_then(|()| pack(&folder, &copy, manifest, &to));
            let _ = fs::remove_file(&copy);
            done
        })
        .await
    }
}

/// The database as of one moment, without its free pages, by a connection of our own.
fn snapshot(database: &Path, copy: &Path) -> Result<(), BackupError> {
    let failed = |error: &dyn std::fmt::Display| BackupError::Write {
        path: copy.to_owned(),
        source: io::Error::other(error.to_string()),
    };
    let _ = fs::remove_file(copy);
    let private = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy);
    private.map_err(|error| failed(&error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let name = copy.to_string_lossy();
    Connection::open_with_flags(database, flags)
        .and_then(|db| db.execute("VACUUM INTO ?1", [name.as_ref()]))
        .map(drop)
        .map_err(|error| failed(&error))
}

fn pack(
    folder: &Path,
    copy: &Path,
    mut manifest: Manifest,
    to: &Path,
) -> Result<Manifest, BackupError> {
    let mut parts = Vec::new();
    for name in FILES {
        let path = if name == DATABASE { copy.to_owned() } else { folder.join(name) };
        match hash(&path) {
            Ok((bytes, sha256)) => {
                manifest.files.push(Part { name: name.to_owned(), bytes, sha256 });
                parts.push((name, path));
            }
            // A key file that the person took away.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != DATABASE => {}
            Err(source) => return Err(BackupError::Read { path, source }),
        }
    }
    let write = || -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut tar = tar::Builder::new(&file);
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, MANIFEST, text.as_slice())?;
        for (name, path) in &parts {
            tar.append_file(name, &mut File::open(path)?)?;
        }
        tar.finish()?;
        drop(tar);
        file.sync_all()
    };
    let was_there = to.exists();
    write().map_err(|source| {
        if !was_there {
            let _ = fs::remove_file(to);
        }
        BackupError::Write { path: to.to_owned(), source }
    })?;
    Ok(manifest)
}

fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut Hashing(&mut hasher))?;
    Ok((bytes, hex(&hasher.finalize())))
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A copy that was read, verified, and unpacked into a folder of its own. Dropped, that goes away.
#[derive(Debug)]
pub struct Unpacked {
    /// What it says about itself.
    pub manifest: Manifest,
    folder: Option<PathBuf>,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Reads a copy into `folder`, which must not be there, and verifies all of it: every hash, the
/// database, and that it is the profile of whom it says.
///
/// # Errors
/// [`BackupError`]; nothing is left of the folder then.
pub fn unpack(from: &Path, folder: &Path) -> Result<Unpacked, BackupError> {
    let file =
        File::open(from).map_err(|source| BackupError::Read { path: from.to_owned(), source })?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|source| BackupError::Write { path: folder.to_owned(), source })?;
    let guard = Guard(Some(folder.to_owned()));
    let manifest = extract(file, folder)?;
    check(folder, &manifest)?;
    Ok(Unpacked { manifest, folder: guard.keep() })
}

struct Guard(Option<PathBuf>);

impl Guard {
    fn keep(mut self) -> Option<PathBuf> {
        self.0.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> BackupError {
    BackupError::Damaged(error.to_string())
}

fn extract(file: File, folder: &Path) -> Result<Manifest, BackupError> {
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    let mut entries = tar.entries().map_err(damaged)?;
    let first = entries.next().ok_or_else(|| damaged("it is empty"))?.map_err(damaged)?;
    if first.path_bytes().as_ref() != MANIFEST.as_bytes() {
        return Err(damaged("it does not begin with a manifest"));
    }
    let mut text = Vec::new();
    first.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(damaged)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(damaged)?;
    if manifest.v != 1 {
        return Err(damaged("made by a newer version"));
    }
    for part in &manifest.files {
        let entry = entries.next().ok_or_else(|| damaged("it is cut off"))?.map_err(damaged)?;
        let known = FILES.iter().find(|name| **name == part.name);
        let known = known.filter(|name| entry.path_bytes().as_ref() == name.as_bytes());
        let Some(name) = known.filter(|_| part.bytes <= FILE_BYTES_MAX) else {
            return Err(damaged(format!("an unexpected file {:?}", part.name)));
        };
        let path = folder.join(name);
        let write = || -> io::Result<(u64, String)> {
            let mut out =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            // One more than it should be is enough to be found out.
            io::copy(&mut entry.take(part.bytes.saturating_add(1)), &mut out)?;
            out.flush()?;
            out.sync_all()?;
            hash(&path)
        };
        let (bytes, sha256) =
            write().map_err(|source| BackupError::Write { path: path.clone(), source })?;
        if bytes != part.bytes || sha256 != part.sha256 {
            return Err(damaged(format!("{name} is not what it was")));
        }
    }
    Ok(manifest)
}

/// The database is whole, not of a newer version, and of whom the manifest says.
fn check(folder: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = folder.join(DATABASE);
    let db =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(damaged)?;
    let whole: String =
        db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(damaged)?;
    let version: i64 =
        db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(damaged)?;
    if whole != "ok" {
        return Err(damaged(whole));
    }
    if usize::try_from(version).is_ok_and(|version| version > MIGRATIONS.len()) {
        return Err(damaged("made by a newer version"));
    }
    let user = meta_text(&db, "user").map_err(damaged)?;
    if user.as_deref() != Some(manifest.user.as_str()) {
        return Err(damaged("it is somebody else's than it says"));
    }
    set_meta_u64(&db, RESTORED, 1).map_err(damaged)
}

impl Unpacked {
    /// Puts the profile in its place, which must be free.
    ///
    /// # Errors
    /// [`BackupError::Write`].
    pub fn place(mut self, at: &Path) -> Result<(), BackupError> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        fs::rename(&folder, at).map_err(|source| {
            let _ = fs::remove_dir_all(&folder);
            BackupError::Write { path: at.to_owned(), source }
        })
    }
}
