//! A file gets its place on this disk: whole and verified, or not at all, and never over another.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::blob::Shape;
use crate::crypto::blob::BlobKey;
use crate::limits::{CHUNK_PLAIN_BYTES, CHUNKS_WRITTEN_TOGETHER};
use crate::net::files::begin_writing;

use super::super::api::{Direction, FileError, LocalId, TransferFailure};
use super::super::core::Core;
use super::super::file_names::{self, Part, PlaceError};
use super::super::files::{FileRow, FileState};
use super::super::{Client, Mode};
use super::carried::Back;
use super::spool::{Spool, Spools};
use crate::wire::Code;

/// Where a file is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveTo {
    /// In this folder, under the name that it has.
    Folder(PathBuf),
    /// Under exactly this name, if nothing is there; else with a number.
    File(PathBuf),
}

impl SaveTo {
    /// What a person typed: a folder that is there or ends like one, or the name of a file.
    pub fn typed(path: &Path) -> Self {
        let is_folder = path.is_dir() || path.as_os_str().as_bytes().ends_with(b"/");
        if is_folder { Self::Folder(path.to_owned()) } else { Self::File(path.to_owned()) }
    }

    /// The folder must be there before anything is fetched for it.
    fn check(&self) -> Result<(), FileError> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::File(path) => parent(path),
        };
        if folder.is_dir() { Ok(()) } else { Err(FileError::NoFolder(folder.to_owned())) }
    }

    /// The folder and the name in it. A name that a person chose is taken as it is.
    fn place(&self, row: &FileRow) -> Result<(PathBuf, String), FileError> {
        match self {
            Self::Folder(folder) => Ok((folder.clone(), file_names::safe(&row.body.name))),
            Self::File(path) => {
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| FileError::Io {
                    path: path.clone(),
                    cause: io::ErrorKind::InvalidFilename.into(),
                })?;
                Ok((parent(path).to_owned(), name.to_owned()))
            }
        }
    }
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a sealed copy is here, as far as the rows say.
enum Copy {
    Here,
    /// It is coming, or has to be asked for.
    Not,
    Never(TransferFailure),
}

impl Client {
    /// Stores a file in a folder under its safe name, or under the name given; what stands there is
    /// never overwritten: the path that it got is returned. Fetches it first if it is not here.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::Transfer`] when it cannot come.
    pub async fn save_file(&self, id: LocalId, to: &SaveTo) -> Result<PathBuf, FileError> {
        to.check()?;
        let mut changes = self.core.lock().files.carried.changes();
        let mut asked = false;
        for _ in 0..TRIES_MAX {
            let (env, row, spools) = loop {
                changes.mark_unchanged();
                let (row, copy) = self.core.lock().copy_of(id)?;
                match copy {
                    Copy::Here => {
                        let core = self.core.lock();
                        break (core.env.clone(), row, Spools::new(core.spool_folder()));
                    }
                    Copy::Never(failure) if asked => return Err(FileError::Transfer(failure)),
                    Copy::Not | Copy::Never(_) if self.mode == Mode::Offline => return Err(AWAY),
                    Copy::Not | Copy::Never(_) => {}
                }
                if !asked {
                    self.core.lock().want(&row)?;
                    asked = true;
                    continue;
                }
                tokio::select! {
                    biased;
                    () = self.link.over().cancelled() => return Err(AWAY),
                    // The core is held by this client: it cannot be gone.
                    _ = changes.changed() => {}
                }
            };
            let (folder, name) = to.place(&row)?;
            let copy = row.clone();
            let saved = env.blocking(move || save(&spools, &copy, &folder, &name)).await?;
            match saved {
                Saved::At(path) => return Ok(path),
                Saved::NotTheFile => {
                    self.core.lock().not_the_file(&row)?;
                    return Err(FileError::Transfer(TransferFailure::NotTheFile));
                }
                // Fetched once more: a disk may forget.
                Saved::Damaged => self.core.lock().copy_damaged(&row)?,
            }
            asked = false;
        }
        Err(FileError::Transfer(TransferFailure::CopyLost))
    }
}

impl Core {
    fn copy_of(&self, id: LocalId) -> Result<(FileRow, Copy), FileError> {
        let row = self.file(id)?.ok_or(FileError::NoFile(id))?;
        let copy = match (self.files.carried.backs.get(&id), row.direction, row.state) {
            (Some(Back::Here), ..) => Copy::Here,
            (Some(Back::Wanted), ..) => Copy::Not,
            (Some(Back::Failed(failure)), ..) => Copy::Never(*failure),
            (None, Direction::Up, FileState::Done) => Copy::Not,
            (
                None,
                Direction::Up,
                FileState::Failed(
                    failure @ (TransferFailure::Cancelled | TransferFailure::CopyLost),
                ),
            ) => Copy::Never(failure),
            // Whole before its upload begins, and kept until it is done.
            (None, Direction::Up, _) => Copy::Here,
            (None, Direction::Down, FileState::Done) => Copy::Here,
            (None, Direction::Down, FileState::Failed(failure)) => Copy::Never(failure),
            (None, Direction::Down, _) => Copy::Not,
        };
        Ok((row, copy))
    }

    /// Has the bytes of a file come.
    fn want(&mut self, row: &FileRow) -> Result<(), FileError> {
        if row.direction == Direction::Up {
            match row.state {
                FileState::Done => drop(self.files.carried.backs.insert(row.id, Back::Wanted)),
                // Nobody else has it.
                _ => return Err(FileError::Transfer(TransferFailure::CopyLost)),
            }
            self.files.carried.touch();
            self.files.bell.notify_one();
            return Ok(());
        }
        self.resume_transfer(row.id)
    }

    /// The bytes that its message names do not open to what it says: they are not kept, unless
    /// another message names them, too.
    fn not_the_file(&mut self, row: &FileRow) -> Result<(), FileError> {
        if row.direction == Direction::Down {
            self.set_file(row.id, FileState::Failed(TransferFailure::NotTheFile))?;
            self.remove_spool(&row.body.blob)?;
            self.moved(row.id);
        }
        Ok(())
    }

    /// What was here is damaged: of somebody else's file, or of one that the own home has, another
    /// copy can be had.
    fn copy_damaged(&mut self, row: &FileRow) -> Result<(), FileError> {
        match row.direction {
            Direction::Down => drop(self.set_file(row.id, FileState::NotFetched)?),
            Direction::Up => drop(self.files.carried.backs.remove(&row.id)),
        }
        self.moved(row.id);
        Ok(())
    }
}

/// What became of saving.
enum Saved {
    At(PathBuf),
    /// The sealed copy is not whole.
    Damaged,
    /// It is whole, and not what its message says.
    NotTheFile,
}

fn save(spools: &Spools, row: &FileRow, folder: &Path, name: &str) -> Result<Saved, FileError> {
    let Some(shape) = &row.shape else { return Ok(Saved::Damaged) };
    let Ok(spool) = spools.open(&row.body.blob) else { return Ok(Saved::Damaged) };
    let place = |error| place_error(folder, error);
    let part = Part::create(folder, name).map_err(place)?;
    match open_into(&spool, shape, &row.body.key, row.body.bytes, part.file()) {
        Ok(Opened::Whole) => part.finish(name).map(Saved::At).map_err(place),
        Ok(other) => {
            let _ = part.discard();
            Ok(match other {
                Opened::Damaged => Saved::Damaged,
                Opened::Whole | Opened::Foreign => Saved::NotTheFile,
            })
        }
        Err(error) => {
            let _ = part.discard();
            Err(place_error(folder, error.into()))
        }
    }
}

/// What a sealed copy turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Opened {
    Whole,
    /// A chunk is not there, or not that chunk.
    Damaged,
    /// The chunks are those of the message, and do not open to what it says.
    Foreign,
}

fn open_into(
    spool: &Spool,
    shape: &Shape,
    key: &BlobKey,
    bytes: u64,
    into: &File,
) -> io::Result<Opened> {
    let (mut at, mut plain) = (0, BlobKey::room());
    for index in 0..u32::try_from(shape.count()).unwrap_or(u32::MAX) {
        let Ok(Some(sealed)) = spool.read_right(shape, index) else { return Ok(Opened::Damaged) };
        if key.open_chunk_into(&sealed, &mut plain).is_none() {
            return Ok(Opened::Foreign);
        }
        into.write_all_at(&plain, at)?;
        at += plain.len() as u64;
        if (index + 1).is_multiple_of(CHUNKS_WRITTEN_TOGETHER) {
            let together = u64::from(CHUNKS_WRITTEN_TOGETHER) * CHUNK_PLAIN_BYTES as u64;
            begin_writing(into, at.saturating_sub(together), together);
        }
    }
    Ok(if at == bytes { Opened::Whole } else { Opened::Foreign })
}

fn place_error(folder: &Path, error: PlaceError) -> FileError {
    let cause = match error {
        PlaceError::Io(cause) => cause,
        PlaceError::NamesTaken => io::ErrorKind::AlreadyExists.into(),
        PlaceError::NotAFile => io::ErrorKind::InvalidInput.into(),
    };
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            FileError::Transfer(TransferFailure::DiskFull)
        }
        _ => FileError::Io { path: folder.to_owned(), cause },
    }
}

/// Nothing can come to a client that does not run.
const AWAY: FileError = FileError::Transfer(TransferFailure::Server(Code::HomeDown));
/// A copy that is damaged each time is given up.
const TRIES_MAX: usize = 2;
