//! Hands a file to the program that this machine has for files of its kind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Endings of what runs when it is opened: a person looks at those first.
const PROGRAMS: [&str; 24] = [
    "apk", "app", "appimage", "bat", "cmd", "com", "command", "desktop", "dmg", "exe", "hta",
    "jar", "js", "lnk", "msi", "pkg", "ps1", "reg", "scr", "sh", "url", "vbs", "webloc", "wsf",
];

/// The program, where there is a screen for what it shows. `variable` reads the environment.
pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let name = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    // Without a screen of its own it would begin a text browser in the middle of the chat.
    let has_screen = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| variable(name).is_some());
    let folders = variable("PATH").filter(|_| has_screen)?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether opening it could run it.
pub fn is_program(file: &Path) -> bool {
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| PROGRAMS.contains(&ending.as_str()))
}

/// Opens a file and does not wait for what that leads to.
///
/// # Errors
/// When the program cannot be started.
pub fn open(program: &Path, file: &Path) -> std::io::Result<()> {
    let mut child = Command::new(program)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Somebody has to hear of its end; nobody cares how it was.
    std::thread::Builder::new().name("opener".to_owned()).spawn(move || child.wait()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_when_it_is_opened_is_known_by_its_ending() {
        for name in ["a.desktop", "a.EXE", "a.jpg.sh", "a.url"] {
            assert!(is_program(Path::new(name)), "{name}");
        }
        for name in ["a.jpg", "exe", "a.pdf", "a.sh.txt"] {
            assert!(!is_program(Path::new(name)), "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_opened_where_there_is_no_screen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("xdg-open"), "").unwrap();
        let path = folder.path().as_os_str().to_owned();
        let with = |display: bool| {
            find(|name| match name {
                "PATH" => Some(path.clone()),
                "DISPLAY" if display => Some(":0".into()),
                _ => None,
            })
        };
        assert_eq!(with(true), Some(folder.path().join("xdg-open")));
        assert_eq!(with(false), None);
    }
}
