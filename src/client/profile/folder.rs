//! The profile's folder, its lock, and how a private file gets into it whole.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::ProfileError;
use super::errors::io_error;

pub(super) fn make_private_folder(folder: &Path) -> Result<(), ProfileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error(folder))
}

/// The lock is the kernel's, so a killed client leaves none behind; the text in it is for people.
pub(super) fn take_lock(path: &Path) -> Result<File, ProfileError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(ProfileError::Locked { pid: text.trim().parse().unwrap_or(0) });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io_error(path)(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io_error(path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_error(path))?;
    Ok(file)
}

/// Temporary file, fsync, rename: the file is whole under its name, or the old one is.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    crate::net::files::write_private(path, bytes)
        .map_err(|error| ProfileError::Io { path: error.path, source: error.source })
}
