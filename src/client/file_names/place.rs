//! A file on its way to its name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::numbered;
use crate::limits::FILE_NUMBER_MAX;

/// Why a file cannot be put where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder is not there, is full or cannot be written.
    #[error("cannot write in the folder")]
    Io(#[from] io::Error),
    /// Its name and [`FILE_NUMBER_MAX`] names beside it are taken.
    #[error("too many files of this name")]
    NamesTaken,
    /// What stands under the name of the unfinished file is no ordinary file.
    #[error("the unfinished file is no ordinary file")]
    NotAFile,
}

/// A file that is not complete yet, as `NAME.part`. Only its owner can read it. Dropped, it stays.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Creates `NAME.part` in a folder, or `NAME-2.part` and so on when that is there already,
    /// even as a link to somewhere else. `name` comes from [`super::safe`].
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn create(folder: &Path, name: &str) -> Result<Self, PlaceError> {
        for number in 1..=FILE_NUMBER_MAX {
            let path = folder.join(numbered(name, number, ".part"));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
            {
                Ok(file) => return Ok(Self { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlaceError::NamesTaken)
    }

    /// Opens again what [`Self::create`] made in an earlier life of the program.
    ///
    /// # Errors
    /// [`PlaceError`]; of the kind `NotFound` when somebody removed it, and
    /// [`PlaceError::NotAFile`] when something else, such as a link, is in its place.
    pub fn reopen(path: &Path) -> Result<Self, PlaceError> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = opened.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => PlaceError::NotAFile,
            _ => error.into(),
        })?;
        if !file.metadata()?.is_file() {
            return Err(PlaceError::NotAFile);
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// The open file, for reading and writing.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Where it is now: to be remembered for [`Self::reopen`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the complete file its name, or `NAME-2`, `NAME-3` and so on: never the place of
    /// another. When this returns, a crash does not undo it. Returns where it is.
    ///
    /// # Errors
    /// [`PlaceError`]; the file is still there under the name it had.
    pub fn finish(self, name: &str) -> Result<PathBuf, PlaceError> {
        self.file.sync_all()?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        for number in 1..=FILE_NUMBER_MAX {
            let path = folder.join(numbered(name, number, ""));
            match rename_to_free(&self.path, &path) {
                Ok(()) => {
                    File::open(folder)?.sync_all()?;
                    return Ok(path);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlaceError::NamesTaken)
    }

    /// Removes the unfinished file: nobody wants it any more.
    ///
    /// # Errors
    /// [`PlaceError::Io`].
    pub fn discard(self) -> Result<(), PlaceError> {
        Ok(std::fs::remove_file(&self.path)?)
    }
}

/// Renames unless something has the name, in one step.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_to_free(from, to),
        Err(error) => Err(error.into()),
    }
}

/// The same on file systems without such a rename.
fn link_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => reserve_and_rename(from, to),
    }
}

/// The same on file systems without links: an empty file of ours takes the name first.
fn reserve_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    std::fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::limits::FILE_NAME_BYTES_MAX;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let part = Part::create(folder, name).unwrap();
        part.file().write_all(text.as_bytes()).unwrap();
        part.finish(name).unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for (text, name) in [("1", "photo.jpg"), ("2", "photo-2.jpg"), ("3", "photo-3.jpg")] {
            let path = write(folder.path(), "photo.jpg", text);
            assert_eq!(path, folder.path().join(name));
        }
        symlink("/nowhere", folder.path().join("photo-4.jpg")).unwrap();
        fs::create_dir(folder.path().join("photo-5.jpg")).unwrap();
        let path = write(folder.path(), "photo.jpg", "6");
        assert_eq!(path, folder.path().join("photo-6.jpg"));
        for (text, name) in [("1", "photo.jpg"), ("2", "photo-2.jpg"), ("6", "photo-6.jpg")] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert_eq!(write(folder.path(), "a.tar.gz", ""), folder.path().join("a.tar.gz"));
        assert_eq!(write(folder.path(), "a.tar.gz", ""), folder.path().join("a-2.tar.gz"));
    }

    #[test]
    fn an_unfinished_file_is_its_own_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "mine").unwrap();
        symlink(&secret, folder.path().join("a.txt.part")).unwrap();
        let part = Part::create(folder.path(), "a.txt").unwrap();
        assert_eq!(part.path(), folder.path().join("a-2.txt.part"));
        let another = Part::create(folder.path(), "a.txt").unwrap();
        assert_eq!(another.path(), folder.path().join("a-3.txt.part"));
        assert_eq!(part.file().metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
        another.discard().unwrap();
        let path = part.finish("a.txt").unwrap();
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(files(folder.path()), ["a.txt", "a.txt.part", "secret"]);
    }

    #[test]
    fn an_unfinished_file_is_opened_again_but_no_link_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::create(folder.path(), "a.txt").unwrap();
        part.file().write_all(b"half").unwrap();
        let path = part.path().to_owned();
        drop(part);
        let again = Part::reopen(&path).unwrap();
        assert_eq!(again.file().metadata().unwrap().len(), 4);
        drop(again);
        let moved = folder.path().join("elsewhere");
        fs::rename(&path, &moved).unwrap();
        let gone = Part::reopen(&path).unwrap_err();
        assert!(
            matches!(gone, PlaceError::Io(ref error) if error.kind() == io::ErrorKind::NotFound)
        );
        symlink(&moved, &path).unwrap();
        assert!(matches!(Part::reopen(&path), Err(PlaceError::NotAFile)));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Part::reopen(&path), Err(PlaceError::NotAFile)));
    }

    #[test]
    fn the_longest_name_still_fits_with_all_that_is_put_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}.jpeg", "ä".repeat(125));
        assert_eq!(name.len(), FILE_NAME_BYTES_MAX);
        let part = Part::create(folder.path(), &name).unwrap();
        let another = Part::create(folder.path(), &name).unwrap();
        assert_eq!(part.finish(&name).unwrap(), folder.path().join(&name));
        let second = another.finish(&name).unwrap();
        assert!(second.to_str().unwrap().ends_with("ä-2.jpeg"));
    }

    #[test]
    fn without_a_rename_that_spares_what_is_there_others_do_the_same() {
        for free in [link_to_free, reserve_and_rename] {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            fs::write(path("new"), "new").unwrap();
            fs::write(path("old"), "old").unwrap();
            let taken = free(&path("new"), &path("old")).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(path("old")).unwrap(), "old");
            free(&path("new"), &path("free")).unwrap();
            assert_eq!(files(folder.path()), ["free", "old"]);
            assert_eq!(fs::read_to_string(path("free")).unwrap(), "new");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_no_search() {
        let folder = tempfile::tempdir().unwrap();
        let error = Part::create(&folder.path().join("no"), "a").unwrap_err();
        assert!(matches!(error, PlaceError::Io(_)));
    }
}
