//! Where profiles, unlock files and the input history are.
//!
//! An unlock file holds the key of a profile's database, so that commands work without the password
//! between sign-in and sign-out. It lies in the user's runtime directory (gone at reboot), 0600 in
//! a folder that nobody else can enter; where that cannot be had, there is none.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::types::{UserName, hex};

use super::report::Stop;

/// Bytes of an unlock file at most.
const UNLOCK_BYTES_MAX: u64 = 1024;

/// `client.toml`: the named file, or the one in the user's folder for settings; `None` when the
/// home folder is not known.
pub(super) fn settings_file(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => Xdg::new().ok().map(|xdg| xdg.config_dir().join("fastchat").join("client.toml")),
    }
}

/// The person's home folder.
pub(super) fn home() -> Option<PathBuf> {
    Xdg::new().ok().map(|xdg| xdg.home_dir().to_owned())
}

/// Where files go that are given no place: the person's folder for downloads, as their desktop
/// calls it; else `~/Downloads`; else the folder that we are in.
pub(super) fn downloads() -> PathBuf {
    let Ok(xdg) = Xdg::new() else { return PathBuf::from(".") };
    let home = xdg.home_dir().to_owned();
    let named = std::env::var_os("XDG_DOWNLOAD_DIR").map(PathBuf::from);
    let of_desktop = || {
        let text = fs::read_to_string(xdg.config_dir().join("user-dirs.dirs")).ok()?;
        user_dir(&text, "XDG_DOWNLOAD_DIR", &home)
    };
    let found = named.or_else(of_desktop).into_iter().chain([home.join("Downloads")]);
    found.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| PathBuf::from("."))
}

/// A folder in the file of a desktop: `NAME="$HOME/Downloads"`, or an absolute path.
fn user_dir(text: &str, name: &str, home: &Path) -> Option<PathBuf> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let (_, value) = lines.rfind(|(key, _)| key.trim() == name)?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    match value.strip_prefix("$HOME") {
        Some(rest) => Some(home.join(rest.trim_start_matches('/'))),
        None => Some(PathBuf::from(value)).filter(|path| path.is_absolute()),
    }
}

/// Systems differ; 104 with the final zero is the least.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The folders.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Profiles are folders in here.
    data: PathBuf,
    /// Input histories are in folders in here, when they are not in the profiles.
    state: Option<PathBuf>,
    /// What can be had again is in folders in here.
    cache: Option<PathBuf>,
    runtime: Option<PathBuf>,
}

impl Places {
    /// `data_dir` instead of the user's data folder, if given.
    pub(super) fn find(data_dir: Option<&Path>) -> Result<Self, Stop> {
        let xdg = Xdg::new();
        let runtime = xdg.as_ref().ok().and_then(Xdg::runtime_dir).filter(|dir| dir.is_dir());
        match (data_dir, xdg) {
            (Some(data), _) => {
                Ok(Self { data: data.to_owned(), state: None, cache: None, runtime })
            }
            (None, Ok(xdg)) => Ok(Self {
                data: xdg.data_dir().join("fastchat"),
                state: xdg.state_dir().map(|dir| dir.join("fastchat")),
                cache: Some(xdg.cache_dir().join("fastchat")),
                runtime,
            }),
            (None, Err(_)) => Err(Stop::new(
                Exit::LocalData,
                "Your home folder is not known.",
                "Set HOME, or name a folder: --data-dir DIR",
            )),
        }
    }

    pub(super) fn folder(&self, profile: &UserName) -> PathBuf {
        self.data.join(profile.as_str())
    }

    /// A folder beside the profiles that no name can be.
    pub(super) fn hidden(&self, name: &str) -> PathBuf {
        self.data.join(format!(".{name}"))
    }

    /// Makes the folder of the profiles.
    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.data)
    }

    pub(super) fn exists(&self, profile: &UserName) -> bool {
        self.folder(profile).is_dir()
    }

    /// The profiles on this machine, in order of name; those of sign-ups that came to nothing too.
    pub(super) fn profiles(&self) -> Vec<UserName> {
        let entries = fs::read_dir(&self.data).into_iter().flatten().flatten();
        let mut names: Vec<UserName> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| UserName::canonical(entry.file_name().to_str()?).ok())
            .collect();
        names.sort();
        names
    }

    pub(super) fn input_history(&self, profile: &UserName) -> PathBuf {
        match &self.state {
            Some(state) => state.join(profile.as_str()).join("input"),
            None => self.folder(profile).join("input"),
        }
    }

    /// Where files lie that are being looked at.
    pub(super) fn opened(&self, profile: &UserName) -> PathBuf {
        match &self.cache {
            Some(cache) => cache.join(profile.as_str()).join("opened"),
            None => self.folder(profile).join("opened"),
        }
    }

    /// Deletes everything of a profile.
    pub(super) fn forget(&self, profile: &UserName) -> io::Result<()> {
        self.lock(profile);
        if let Some(cache) = &self.cache {
            let _ = fs::remove_dir_all(cache.join(profile.as_str()));
        }
        if let Some(state) = &self.state {
            let _ = fs::remove_dir_all(state.join(profile.as_str()));
        }
        fs::remove_dir_all(self.folder(profile))
    }

    /// Removes what a sign-in that came to nothing left in a folder that was not there before it.
    /// One that holds keys stays, because the same attempt, made again, goes on with them.
    pub(super) fn sweep(&self, profile: &UserName) {
        let folder = self.folder(profile);
        if !folder.join("identity.pem").exists() {
            for name in ["lock", "profile.sqlite", "profile.sqlite-wal", "profile.sqlite-shm"] {
                let _ = fs::remove_file(folder.join(name));
            }
            // Fails, as it should, when anything else is in there.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Where the holder of a profile listens: in the profile's folder, or, where that is open to
    /// others or its path too long for a socket, beside the unlock files.
    pub(super) fn socket(&self, profile: &UserName) -> io::Result<PathBuf> {
        let folder = fs::canonicalize(self.folder(profile))?;
        let path = folder.join("socket");
        let is_ours = is_private(&fs::metadata(&folder)?, own_uid()?);
        if is_ours && path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(path);
        }
        let path = self.unlock_file(profile)?.with_extension("socket");
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(path);
        }
        Err(io::Error::other("no path is short enough for a socket"))
    }

    // --- unlock files ---

    /// A folder for what must not be read by others and need not outlive the machine's uptime.
    pub(super) fn private_folder(&self) -> Option<PathBuf> {
        self.unlock_folder().ok()
    }

    /// The folder of unlock files, made if need be; an error when others could get at it.
    fn unlock_folder(&self) -> io::Result<PathBuf> {
        let own = own_uid()?;
        let folder = match &self.runtime {
            Some(runtime) => runtime.join("fastchat"),
            None => std::env::temp_dir().join(format!("fastchat-{own}")),
        };
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let found = fs::symlink_metadata(&folder)?;
        if found.is_dir() && is_private(&found, own) { Ok(folder) } else { Err(not_private()) }
    }

    /// Profiles of one name in different data folders have different unlock files.
    fn unlock_file(&self, profile: &UserName) -> io::Result<PathBuf> {
        let folder = fs::canonicalize(self.folder(profile))?;
        let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
        let short = digest.get(..8).map(hex).unwrap_or_default();
        Ok(self.unlock_folder()?.join(format!("{profile}-{short}.key")))
    }

    /// Writes the key of an unlocked profile.
    pub(super) fn unlock(&self, profile: &UserName, key: &[u8]) -> io::Result<()> {
        let path = self.unlock_file(profile)?;
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(key).and_then(|()| fs::rename(&new, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    /// The key of a profile, if it is unlocked and nobody else could have put it there.
    pub(super) fn unlock_key(&self, profile: &UserName) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.unlock_file(profile).ok()?;
        let found = fs::symlink_metadata(&path).ok()?;
        let good = found.is_file()
            && found.len() <= UNLOCK_BYTES_MAX
            && is_private(&found, own_uid().ok()?);
        if good { fs::read(&path).ok().map(Zeroizing::new) } else { None }
    }

    /// Removes the unlock file. Says whether there was one.
    pub(super) fn lock(&self, profile: &UserName) -> bool {
        self.unlock_file(profile).is_ok_and(|path| fs::remove_file(path).is_ok())
    }
}

fn is_private(found: &Metadata, own: u32) -> bool {
    found.uid() == own && found.mode() & 0o077 == 0
}

fn not_private() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "others can enter the folder of unlock files")
}

/// Who we are, without a system call that needs `unsafe`: the owner of a file we make.
fn own_uid() -> io::Result<u32> {
    if let Ok(own) = fs::metadata("/proc/self") {
        return Ok(own.uid());
    }
    let path = std::env::temp_dir().join(format!("fastchat-uid-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let uid = file.metadata().map(|found| found.uid());
    let _ = fs::remove_file(&path);
    uid
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn places(root: &Path) -> Places {
        let runtime = root.join("run");
        fs::create_dir_all(&runtime).unwrap();
        Places { data: root.join("data"), state: None, cache: None, runtime: Some(runtime) }
    }

    #[test]
    fn the_folder_for_downloads_is_the_one_that_the_desktop_names() {
        let text = "# a comment\nXDG_DESKTOP_DIR=\"$HOME/\"\nXDG_DOWNLOAD_DIR=\"$HOME/In\"\n";
        let of = |text: &str| user_dir(text, "XDG_DOWNLOAD_DIR", Path::new("/home/bob"));
        assert_eq!(of(text), Some("/home/bob/In".into()));
        assert_eq!(of("XDG_DOWNLOAD_DIR=\"/data/in\""), Some("/data/in".into()));
        for nothing in ["", "XDG_DOWNLOAD_DIR=", "XDG_DOWNLOAD_DIR=\"in\"", "# XDG_DOWNLOAD_DIR"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_unlock_file_is_private_and_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir_all(places.folder(&name("bob"))).unwrap();
        assert!(places.unlock_key(&name("bob")).is_none());
        places.unlock(&name("bob"), b"secret").unwrap();
        places.unlock(&name("bob"), b"secret").unwrap();
        assert_eq!(places.unlock_key(&name("bob")).unwrap().as_slice(), b"secret");
        let path = places.unlock_file(&name("bob")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert!(places.lock(&name("bob")));
        assert!(places.unlock_key(&name("bob")).is_none());
        assert!(!places.lock(&name("bob")));
    }

    #[test]
    fn an_unlock_file_that_others_can_reach_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir_all(places.folder(&name("bob"))).unwrap();
        places.unlock(&name("bob"), b"secret").unwrap();
        let path = places.unlock_file(&name("bob")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(places.unlock_key(&name("bob")).is_none());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(places.unlock_key(&name("bob")).is_none());
        assert!(places.unlock(&name("bob"), b"secret").is_err());
    }

    #[test]
    fn a_link_in_place_of_an_unlock_file_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir_all(places.folder(&name("bob"))).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, b"planted").unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        let path = places.unlock_file(&name("bob")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(places.unlock_key(&name("bob")).is_none());
    }

    #[test]
    fn profiles_are_the_folders_with_a_users_name() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        for folder in ["data/bob", "data/alice", "data/.hidden", "data/Not A Name"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("data/file"), b"").unwrap();
        assert_eq!(places.profiles(), [name("alice"), name("bob")]);
        assert!(places.exists(&name("bob")) && !places.exists(&name("carol")));
        places.forget(&name("bob")).unwrap();
        assert_eq!(places.profiles(), [name("alice")]);
    }
}
