//! Sealed copies of files, in the folder `blobs` of a profile: whole before an upload begins,
//! growing while a download runs.
//!
//! What is there is not written down anywhere: a chunk that hashes right is there, any other is
//! not. Everything here waits for a disk, and belongs on a blocking thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::blob::{Have, Shape, hash_chunk};
use crate::crypto::blob::BlobKey;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_PLAIN_BYTES, CHUNKS_WRITTEN_TOGETHER, FILE_BYTES_MAX};
use crate::net::files::begin_writing;
use crate::types::BlobId;

use super::super::api::FileError;

/// The folder with the sealed copies of one profile.
#[derive(Clone, Debug)]
pub(super) struct Spools(PathBuf);

/// A file that is about to be sealed.
pub(super) struct Source {
    pub(super) file: File,
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What sealing made.
pub(super) struct SealedCopy {
    pub(super) shape: Shape,
    /// Bytes of the file.
    pub(super) plain_bytes: u64,
}

impl Source {
    /// Opens a file that can be sent. Nothing but a regular file is ever read, and a pipe keeps
    /// nobody waiting.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let no_file = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => FileError::NotFound(path.to_owned()),
            _ => FileError::Io { path: path.to_owned(), cause },
        };
        // A device may do something when it is opened.
        if !fs::metadata(path).map_err(no_file)?.is_file() {
            return Err(FileError::NotAFile(path.to_owned()));
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.cast_signed());
        let file = options.open(path).map_err(no_file)?;
        let is = file.metadata().map_err(no_file)?;
        if !is.is_file() {
            return Err(FileError::NotAFile(path.to_owned()));
        }
        Ok(Self { file, path: path.to_owned(), bytes: is.len(), modified: is.modified().ok() })
    }

    /// Refuses what cannot be sent as it is.
    pub(super) fn measure(&self) -> Result<(), FileError> {
        fits(&self.path, self.bytes)
    }

    pub(super) fn is_unchanged(&self) -> bool {
        let is = self.file.metadata();
        is.is_ok_and(|is| is.len() == self.bytes && is.modified().ok() == self.modified)
    }
}

fn fits(path: &Path, bytes: u64) -> Result<(), FileError> {
    match bytes {
        0 => Err(FileError::Empty(path.to_owned())),
        got if got > FILE_BYTES_MAX => {
            Err(FileError::TooLarge { path: path.to_owned(), got, max: FILE_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

impl Spools {
    /// The copies in this folder, which need not be there yet.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.0.join(id.to_string())
    }

    fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// Seals a file into the folder: on disk, under its id, when this returns. `number` tells
    /// unfinished copies apart.
    ///
    /// # Errors
    /// [`FileError`]; nothing is left behind then.
    pub(super) fn seal(
        &self,
        mut source: Source,
        key: &BlobKey,
        number: u64,
    ) -> Result<SealedCopy, FileError> {
        source.measure()?;
        let made = self.write_sealed(&mut source.file, key, number);
        let copy = made.map_err(|error| error.about(&source.path, &self.0))?;
        if copy.plain_bytes != source.bytes || !source.is_unchanged() {
            self.remove(&copy.shape.id());
            return Err(FileError::Changed(source.path));
        }
        Ok(copy)
    }

    /// As [`Self::seal`], for what is in memory already; `path` is what errors are about.
    pub(super) fn seal_bytes(
        &self,
        path: &Path,
        bytes: &[u8],
        key: &BlobKey,
        number: u64,
    ) -> Result<SealedCopy, FileError> {
        fits(path, bytes.len() as u64)?;
        let mut bytes = bytes;
        self.write_sealed(&mut bytes, key, number).map_err(|error| error.about(path, &self.0))
    }

    fn write_sealed(
        &self,
        source: &mut impl Read,
        key: &BlobKey,
        number: u64,
    ) -> Result<SealedCopy, SealError> {
        self.make().map_err(SealError::Write)?;
        let mut unfinished = Unfinished::create(self.0.join(format!("new-{number:016x}")))?;
        let mut plain = Zeroizing::new(vec![0; CHUNK_PLAIN_BYTES]);
        let (mut hashes, mut plain_bytes, mut sealed_bytes) = (Vec::new(), 0, 0);
        loop {
            let length = read_full(source, &mut plain).map_err(SealError::Read)?;
            let Some(chunk) = plain.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
            plain_bytes += length as u64;
            // What grows while it is read is not followed to its end.
            if plain_bytes > FILE_BYTES_MAX {
                return Err(SealError::Grew);
            }
            let sealed = key.seal_chunk(chunk);
            hashes.push(hash_chunk(&sealed));
            unfinished.file.write_all_at(&sealed, sealed_bytes).map_err(SealError::Write)?;
            sealed_bytes += sealed.len() as u64;
            if hashes.len().is_multiple_of(CHUNKS_WRITTEN_TOGETHER as usize) {
                let together = u64::from(CHUNKS_WRITTEN_TOGETHER) * CHUNK_BYTES_MAX as u64;
                begin_writing(&unfinished.file, sealed_bytes.saturating_sub(together), together);
            }
            if length < CHUNK_PLAIN_BYTES {
                break;
            }
        }
        let shape = Shape::made(sealed_bytes, hashes).map_err(|_| SealError::Grew)?;
        unfinished.finish(&self.path(&shape.id())).map_err(SealError::Write)?;
        Ok(SealedCopy { shape, plain_bytes })
    }

    /// Opens the copy of a blob for an upload or for its reader.
    pub(super) fn open(&self, id: &BlobId) -> io::Result<Spool> {
        File::open(self.path(id)).map(|file| Spool { file })
    }

    /// Opens the copy of a blob that is being fetched, or begins one.
    pub(super) fn begin(&self, id: &BlobId) -> io::Result<Spool> {
        self.make()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.path(id)).map(|file| Spool { file })
    }

    /// A copy is of no more use. One that cannot be removed now is removed at the next start.
    pub(super) fn remove(&self, id: &BlobId) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a sealed copy cannot be removed");
        }
    }

    /// When a copy was finished, and its bytes.
    pub(super) fn age(&self, id: &BlobId) -> Option<(u64, u64)> {
        let is = fs::metadata(self.path(id)).ok()?;
        let since = is.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((u64::try_from(since.as_millis()).ok()?, is.len()))
    }
}

/// Why sealing failed.
enum SealError {
    Read(io::Error),
    Write(io::Error),
    /// It became longer than a file may be.
    Grew,
}

impl From<io::Error> for SealError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl SealError {
    fn about(self, path: &Path, folder: &Path) -> FileError {
        match self {
            Self::Read(cause) => FileError::Io { path: path.to_owned(), cause },
            Self::Write(cause) => FileError::Io { path: folder.to_owned(), cause },
            Self::Grew => FileError::Changed(path.to_owned()),
        }
    }
}

/// A file that goes away unless it is finished.
struct Unfinished {
    file: File,
    path: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    fn create(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, is_finished: false })
    }

    fn finish(&mut self, name: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, name)?;
        self.is_finished = true;
        let folder = name.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Fills `into` unless the source ends before.
fn read_full(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// One sealed copy.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
}

impl Spool {
    /// The bytes at a chunk's place, right or wrong; `None` where there are none.
    pub(super) fn read(&self, shape: &Shape, index: u32) -> io::Result<Option<Bytes>> {
        let Some((from, length)) = shape.place(index) else { return Ok(None) };
        let mut sealed = vec![0; length];
        match self.file.read_exact_at(&mut sealed, from) {
            Ok(()) => Ok(Some(sealed.into())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A chunk, if what is there is that chunk.
    pub(super) fn read_right(&self, shape: &Shape, index: u32) -> io::Result<Option<Bytes>> {
        Ok(self.read(shape, index)?.filter(|sealed| shape.fits(index, sealed)))
    }

    /// Puts a chunk to its place. The caller has compared it with its hash.
    pub(super) fn write(&self, shape: &Shape, index: u32, sealed: &[u8]) -> io::Result<()> {
        match shape.place(index) {
            Some((from, _)) => self.file.write_all_at(sealed, from)?,
            None => return Ok(()),
        }
        if let Some((from, length)) = shape.written_together(index) {
            begin_writing(&self.file, from, length);
        }
        Ok(())
    }

    /// Which chunks are there, by their hashes.
    pub(super) fn check(&self, shape: &Shape) -> io::Result<Have> {
        let mut have = Have::none(shape.count());
        let all = Have::none(shape.count());
        let length = self.file.metadata()?.len();
        for index in all.missing() {
            // Nothing is behind the end of the file.
            if shape.place(index).is_none_or(|(from, _)| from >= length) {
                break;
            }
            if self.read_right(shape, index)?.is_some() {
                have.insert(index);
            }
        }
        Ok(have)
    }

    /// All of it is there, finished at this time. Nobody waits for the disk: it can be fetched
    /// again, and a chunk that a power failure took does not hash right.
    pub(super) fn finish(&self, now_unix_ms: u64) -> io::Result<()> {
        self.file.set_modified(UNIX_EPOCH + Duration::from_millis(now_unix_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        spools: Spools,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::new(dir.path().join("blobs"));
        Place { dir, spools }
    }

    impl Place {
        fn file(&self, bytes: &[u8]) -> PathBuf {
            let path = self.dir.path().join("file");
            fs::write(&path, bytes).unwrap();
            path
        }

        fn copies(&self) -> usize {
            fs::read_dir(&self.spools.0).map_or(0, Iterator::count)
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect()
    }

    #[test]
    fn a_sealed_copy_is_private_and_opens_to_what_was_sealed() {
        let place = place();
        let plain = noise(2 * CHUNK_PLAIN_BYTES + 5);
        let key = BlobKey::generate();
        let source = Source::open(&place.file(&plain)).unwrap();
        let copy = place.spools.seal(source, &key, 1).unwrap();
        assert_eq!((copy.plain_bytes, copy.shape.count()), (plain.len() as u64, 3));
        let path = place.spools.path(&copy.shape.id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place.spools.0), mode(&path)), (0o700, 0o600));
        let spool = place.spools.open(&copy.shape.id()).unwrap();
        let opened: Vec<u8> = (0..3)
            .flat_map(|i| {
                let sealed = spool.read_right(&copy.shape, i).unwrap().unwrap();
                key.open_chunk(&sealed).unwrap().to_vec()
            })
            .collect();
        assert!(opened == plain);
        assert_eq!(place.copies(), 1);
    }

    #[test]
    fn a_file_that_somebody_writes_to_meanwhile_is_not_sent_and_nothing_is_left() {
        let place = place();
        let path = place.file(&noise(1_000));
        let grows = |at_end: &[u8]| {
            let source = Source::open(&path).unwrap();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(at_end).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(at_end.len() as u64)).unwrap();
            place.spools.seal(source, &BlobKey::generate(), 1)
        };
        // Longer; and as long as before, but written to.
        assert!(matches!(grows(b"more"), Err(FileError::Changed(changed)) if changed == path));
        assert!(matches!(grows(b""), Err(FileError::Changed(_))));
        let source = Source::open(&path).unwrap();
        fs::write(&path, b"").unwrap();
        let emptied = place.spools.seal(source, &BlobKey::generate(), 1);
        assert!(matches!(emptied, Err(FileError::Changed(_))));
        assert_eq!(place.copies(), 0);
    }

    #[test]
    fn a_pipe_is_no_file_and_keeps_nobody_waiting() {
        let place = place();
        let path = place.dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(matches!(Source::open(&path), Err(FileError::NotAFile(pipe)) if pipe == path));
    }

    #[test]
    fn what_is_there_is_what_hashes_right() {
        let place = place();
        let key = BlobKey::generate();
        let plain = noise(4 * CHUNK_PLAIN_BYTES);
        let copy = place.spools.seal_bytes(Path::new("x"), &plain, &key, 1).unwrap();
        let shape = copy.shape;
        let whole = place.spools.open(&shape.id()).unwrap();
        assert!(whole.check(&shape).unwrap().is_all());
        let chunk = |index| whole.read_right(&shape, index).unwrap().unwrap();
        let kept = [chunk(1), chunk(3)];
        place.spools.remove(&shape.id());
        let growing = place.spools.begin(&shape.id()).unwrap();
        assert_eq!(growing.check(&shape).unwrap(), Have::none(4));
        growing.write(&shape, 1, &kept[0]).unwrap();
        // At another's place, and cut off in the middle.
        growing.write(&shape, 2, &kept[0]).unwrap();
        growing.write(&shape, 3, &kept[1][..1_000]).unwrap();
        let have = place.spools.begin(&shape.id()).unwrap().check(&shape).unwrap();
        assert_eq!(have.missing().collect::<Vec<_>>(), [0, 2, 3]);
        growing.write(&shape, 3, &kept[1]).unwrap();
        growing.finish(5_000).unwrap();
        assert_eq!(growing.check(&shape).unwrap().missing().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(place.spools.age(&shape.id()), Some((5_000, shape.bytes())));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let place = place();
        fs::write(&place.spools.0, "no folder").unwrap();
        let copy = place.spools.seal_bytes(Path::new("x"), b"1", &BlobKey::generate(), 1);
        assert!(matches!(copy, Err(FileError::Io { path, .. }) if path == place.spools.0));
    }
}
