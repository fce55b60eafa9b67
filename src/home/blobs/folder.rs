//! The files of the blobs: `<database>.blobs/<user>/<id>`, and `<id>.part` until the commit.
//!
//! A file begins with the size and the hashes of its blob; the chunks follow, each at its place,
//! with holes where one has not come yet. Synchronous; whose turn it is and on which thread it runs
//! is the caller's business. What a name is made of can hold no `/` and never begins with a dot:
//! user names are canonical, ids are hexadecimal.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tracing::warn;

use super::BlobFault;
use crate::blob::{HASH_BYTES, Have, Shape};
use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_MAX};
use crate::net::files::begin_writing;
use crate::types::{BlobId, UserName};

/// Every file begins so: what it is, and the version of its form.
const MARK: [u8; 8] = *b"FCBLOB\x00\x01";
/// What comes before the hashes: mark, size of the blob, number of hashes.
const FIXED_BYTES: usize = MARK.len() + 8 + 4;
/// What an upload has behind its name.
const PART: &str = ".part";
/// A folder that is removed because it is empty may go while a file is made in it.
const MAKE_TRIES: usize = 8;

/// What lies under the name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lying {
    /// Nothing.
    Nothing,
    /// An upload, with so many bytes on the disk.
    Part(u64),
    /// The blob.
    Whole,
}

/// Where the blobs of one database lie.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl From<io::Error> for BlobFault {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            ErrorKind::NotFound => Self::Unknown,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => {
                warn!(%cause, "the file of a blob failed");
                Self::Failed
            }
        }
    }
}

impl Folder {
    pub(super) fn beside(database: &Path) -> Self {
        Self { path: database.with_extension("blobs") }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn of(&self, user: &UserName) -> PathBuf {
        self.path.join(user.as_str())
    }

    fn whole(&self, user: &UserName, id: &BlobId) -> PathBuf {
        self.of(user).join(id.to_string())
    }

    fn part(&self, user: &UserName, id: &BlobId) -> PathBuf {
        self.of(user).join(format!("{id}{PART}"))
    }

    pub(super) fn lying(&self, user: &UserName, id: &BlobId) -> Lying {
        if self.whole(user, id).exists() {
            return Lying::Whole;
        }
        // Blocks of 512 bytes, whatever the disk's are.
        fs::metadata(self.part(user, id))
            .map_or(Lying::Nothing, |found| Lying::Part(found.blocks().saturating_mul(512)))
    }

    /// Makes the file of an upload, or opens what an earlier life left of it: then every chunk is
    /// read, and what has not the right hash is not there.
    pub(super) fn begin(&self, user: &UserName, shape: &Shape) -> Result<Have, BlobFault> {
        let id = shape.id();
        let part = self.part(user, &id);
        match fs::rename(self.whole(user, &id), &part) {
            // Whoever asks knows from its row that it is not committed (any more).
            Ok(()) => {}
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(cause.into()),
        }
        match File::open(&part) {
            Ok(file) => {
                if read_shape(&file, &id)?.as_ref() == Some(shape) {
                    return judge(&file, shape);
                }
                // Cut short before its head was on the disk, or begun with another size.
                fs::remove_file(&part)?;
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(cause.into()),
        }
        let file = self.make(user, &part)?;
        file.write_all_at(&head(shape), 0).inspect_err(|_| {
            // Nothing refers to it.
            let _ = fs::remove_file(&part);
        })?;
        Ok(Have::none(shape.count()))
    }

    fn make(&self, user: &UserName, part: &Path) -> io::Result<File> {
        let mut tries = 0;
        loop {
            make_folder(&self.path)?;
            make_folder(&self.of(user))?;
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
            match made {
                Err(cause) if cause.kind() == ErrorKind::NotFound && tries < MAKE_TRIES => {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// Writes one chunk at its place.
    pub(super) fn write(
        &self,
        user: &UserName,
        id: &BlobId,
        shape: &Shape,
        index: u32,
        sealed: &[u8],
    ) -> Result<(), BlobFault> {
        let (from, _) = shape.place(index).ok_or(BlobFault::NotTheChunk)?;
        let file = OpenOptions::new().write(true).open(self.part(user, id))?;
        let head = head_bytes(shape.count());
        file.write_all_at(sealed, head + from)?;
        if let Some((from, length)) = shape.written_together(index) {
            begin_writing(&file, head + from, length);
        }
        Ok(())
    }

    /// Puts an upload on the disk for good: after this it may be said to be there. What failed here
    /// is never tried again, for the system may think by then that it was written.
    pub(super) fn sync(&self, user: &UserName, id: &BlobId) -> Result<(), BlobFault> {
        let part = self.part(user, id);
        let synced = File::open(&part).and_then(|file| file.sync_all()).and_then(|()| {
            for folder in [self.of(user).as_path(), self.path.as_path()] {
                File::open(folder)?.sync_all()?;
            }
            sync_parent(&self.path)
        });
        Ok(synced.inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?)
    }

    /// Gives a committed upload its name: from here on it is served.
    pub(super) fn publish(&self, user: &UserName, id: &BlobId) -> Result<(), BlobFault> {
        Ok(fs::rename(self.part(user, id), self.whole(user, id))?)
    }

    /// Takes the name away from what is not committed.
    pub(super) fn withdraw(&self, user: &UserName, id: &BlobId) -> Result<(), BlobFault> {
        Ok(fs::rename(self.whole(user, id), self.part(user, id))?)
    }

    /// Removes whatever lies under the name of a blob. Says whether something did.
    pub(super) fn remove(&self, user: &UserName, id: &BlobId) -> bool {
        let mut any = false;
        for path in [self.whole(user, id), self.part(user, id)] {
            match fs::remove_file(&path) {
                Ok(()) => any = true,
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                // The next start tries again.
                Err(cause) => warn!(%cause, "the file of a blob could not be removed"),
            }
        }
        // Fails while others are in it, which is as it should be.
        let _ = fs::remove_dir(self.of(user));
        any
    }

    /// Size and hashes of a committed blob.
    pub(super) fn shape(&self, owner: &UserName, id: &BlobId) -> Result<Shape, BlobFault> {
        let file = File::open(self.whole(owner, id))?;
        read_shape(&file, id)?.ok_or_else(damaged)
    }

    /// One chunk of a committed blob.
    pub(super) fn read(
        &self,
        owner: &UserName,
        id: &BlobId,
        index: u32,
    ) -> Result<Bytes, BlobFault> {
        let file = File::open(self.whole(owner, id))?;
        let shape = read_shape(&file, id)?.ok_or_else(damaged)?;
        let (from, length) = shape.place(index).ok_or(BlobFault::Unknown)?;
        let mut sealed = vec![0; length];
        match file.read_exact_at(&mut sealed, head_bytes(shape.count()) + from) {
            Ok(()) => Ok(sealed.into()),
            Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => Err(damaged()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Calls with every file there is, and what is no file of ours.
    pub(super) fn each(&self, mut found: impl FnMut(Found)) -> io::Result<()> {
        let users = match fs::read_dir(&self.path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            users => users?,
        };
        for user in users {
            let user = user?;
            let name = user.file_name();
            let known = name.to_str().and_then(|name| UserName::canonical(name).ok());
            let Some(name) = known.filter(|_| user.path().is_dir()) else {
                found(Found::Strange(user.path()));
                continue;
            };
            for file in fs::read_dir(user.path())? {
                let file = file?;
                found(read_name(&name, &file.file_name()).unwrap_or(Found::Strange(file.path())));
            }
        }
        Ok(())
    }
}

/// What lies in the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Part(UserName, BlobId),
    Whole(UserName, BlobId),
    /// Nothing that this program puts there.
    Strange(PathBuf),
}

fn read_name(user: &UserName, name: &std::ffi::OsStr) -> Option<Found> {
    let name = name.to_str()?;
    let (hex, is_part) = match name.strip_suffix(PART) {
        Some(hex) => (hex, true),
        None => (name, false),
    };
    // As it is written here, and in no other way.
    let id = BlobId::parse(hex).filter(|id| id.to_string() == hex)?;
    Some(if is_part { Found::Part(user.clone(), id) } else { Found::Whole(user.clone(), id) })
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(cause),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn damaged() -> BlobFault {
    warn!("the file of a blob is damaged");
    BlobFault::Failed
}

/// Where the first chunk begins.
fn head_bytes(count: usize) -> u64 {
    (FIXED_BYTES + count * HASH_BYTES) as u64
}

fn head(shape: &Shape) -> Vec<u8> {
    let count = u32::try_from(shape.count()).unwrap_or(u32::MAX);
    let mut head = MARK.to_vec();
    head.extend_from_slice(&shape.bytes().to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    head.extend_from_slice(&shape.hash_bytes());
    head
}

/// The shape at the head of a file, if it is that of this blob.
fn read_shape(mut file: &File, id: &BlobId) -> io::Result<Option<Shape>> {
    let longest = FIXED_BYTES + CHUNKS_MAX * HASH_BYTES;
    let mut head = Vec::with_capacity(longest);
    file.by_ref().take(longest as u64).read_to_end(&mut head)?;
    let Some(rest) = head.strip_prefix(&MARK) else { return Ok(None) };
    let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let Some((count, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let hashes = (u32::from_le_bytes(*count) as usize)
        .checked_mul(HASH_BYTES)
        .and_then(|length| rest.get(..length));
    Ok(hashes.and_then(|hashes| Shape::of(id, u64::from_le_bytes(*bytes), hashes).ok()))
}

/// Which chunks of a file are right.
fn judge(file: &File, shape: &Shape) -> Result<Have, BlobFault> {
    let mut have = Have::none(shape.count());
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    for index in (0..).take(shape.count()) {
        let Some((from, length)) = shape.place(index) else { break };
        let Some(sealed) = buffer.get_mut(..length) else { break };
        match file.read_exact_at(sealed, head_bytes(shape.count()) + from) {
            Ok(()) if shape.fits(index, sealed) => have.insert(index),
            Ok(()) => {}
            Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => break,
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(have)
}
