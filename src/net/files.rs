//! Files that must be whole or absent: written beside the target, fsynced, then renamed.
//!
//! Deliberately small: no directory walks, no locking, and nothing is ever deleted except our own
//! unfinished temporary file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct FileError {
    /// What was tried: `read`, `write` or `create`.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Who may read a file besides its owner.
#[derive(Clone, Copy)]
enum Readers {
    /// Nobody: 0600.
    Owner,
    /// Everybody: 0644.
    All,
}

/// Writes a secret: mode 0600, atomically, on disk when this returns.
///
/// # Errors
/// [`FileError`]; the file is then as it was before.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, Readers::Owner).map_err(FileError::new("write", path))
}

/// Writes a file that anybody may read (0644), atomically, on disk when this returns.
///
/// # Errors
/// [`FileError`]; the file is then as it was before.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, Readers::All).map_err(FileError::new("write", path))
}

/// Has the system begin to put a part of a file on the disk, and waits for nothing: the fsync that
/// comes at the end has less to do then, and so has everybody else's meanwhile.
pub fn begin_writing(file: &File, from: u64, length: u64) {
    // The one call of Linux that starts this without waiting and without unsafe code; what is being
    // written when it is made stays in memory.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        // It is an advice: nothing is different if it is not followed.
        let _ = fadvise(file, from, std::num::NonZeroU64::new(length), Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, length);
}

/// Reads a whole file.
///
/// # Errors
/// [`FileError`] names the path.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::new("read", path))
}

/// Creates a directory that only its owner may enter (0700). One that exists is left as it is.
///
/// # Errors
/// [`FileError`] names the path.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(FileError::new("create", path))
}

fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(".tmp");
    let temporary = path.with_file_name(temporary_name);
    // What a crash left there may have other rights; a link there must not be followed.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        },
    );
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory_of(path)
}

/// A rename is durable only once the directory is.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_readable_by_its_owner_only_even_over_an_open_one() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_private_directory_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_private_dir(&path).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_error_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nothing here");
        let error = read(&path).unwrap_err();
        assert!(error.is_missing());
        assert!(error.to_string().contains("nothing here"));
        assert!(write_private(&path.join("deeper"), b"x").unwrap_err().is_missing());
    }
}
