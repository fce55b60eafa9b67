//! The commands typed earlier, in a 0600 file per profile.
//!
//! Only lines without a text for somebody are kept on disk: the file is not sealed, and what people
//! write to each other must not be readable on a stolen disk. Within a session all lines can be
//! recalled. Passwords are never typed into the editor.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustyline::history::History;
use rustyline::{Editor, Helper};

use super::commands::{self, Holds};

/// Lines that can be recalled.
pub(super) const LINES_MAX: usize = 1_000;

/// Where commands are remembered. Failing to write is no failure of the client.
pub(super) struct InputHistory {
    path: Option<PathBuf>,
}

impl InputHistory {
    /// Gives the editor what is kept at `path`.
    pub(super) fn open<H: Helper, I: History>(
        path: Option<PathBuf>,
        editor: &mut Editor<H, I>,
    ) -> Self {
        if let Some(path) = &path {
            for line in load(path) {
                let _ = editor.add_history_entry(line);
            }
        }
        Self { path }
    }

    /// A line was typed.
    pub(super) fn add<H: Helper, I: History>(&mut self, line: &str, editor: &mut Editor<H, I>) {
        let added = editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = self.path.as_ref().filter(|_| added && is_kept(line)) {
            let _ = append(path, line);
        }
    }
}

/// Whether the line may be written to disk: a command that holds names and numbers only.
fn is_kept(line: &str) -> bool {
    !line.contains('\n') && commands::row_of(line).is_some_and(|(row, _)| row.holds == Holds::Names)
}

/// The last lines of the file; a file that has grown to twice its bound is cut.
fn load(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines.get(lines.len().saturating_sub(LINES_MAX)..).unwrap_or_default();
    if lines.len() > 2 * LINES_MAX {
        let _ = std::fs::write(path, kept.join("\n") + "\n");
    }
    kept.iter().map(|line| (*line).to_owned()).collect()
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    writeln!(file, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_written_to_people_never_reaches_the_disk() {
        for secret in [
            "hello",
            "/msg bob secret",
            "/r secret",
            "/mgs bob secret",
            "//secret",
            "/w bob s",
            "/me secret",
            "/edit secret",
            "/reply 1 secret",
            "/search secret",
            "/editor secret",
            "\\single_message bob secret",
            "single_message bob secret",
            "/join fastchat://join/secret",
            "/title secret",
            "group_message team secret",
            "/ids\nsecret",
        ] {
            assert!(!is_kept(secret), "{secret}");
        }
        for command in ["/to bob", "/history 50", "/verify bob", "\\all"] {
            assert!(is_kept(command), "{command}");
        }
    }

    #[test]
    fn the_file_is_private_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bob/input");
        for number in 0..=2 * LINES_MAX {
            append(&path, &format!("/history {number}")).unwrap();
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let lines = load(&path);
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines.last().unwrap(), &format!("/history {}", 2 * LINES_MAX));
        assert_eq!(load(&path).len(), LINES_MAX);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), LINES_MAX);
    }
}
