//! Writing a message in a program of the person's choice.
//!
//! The text lies in a private file meanwhile, in the folder that the caller names (one that is gone
//! at reboot, if there is such a folder), and the file is deleted as soon as it was read.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;

use crate::limits::TEXT_BYTES_MAX;
use crate::net::files;

/// The person's editor, and where its file may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its name, perhaps with words for the shell: `code --wait`.
    pub program: String,
    /// A folder that nobody else may enter.
    pub folder: PathBuf,
}

/// The file is removed when this goes.
struct Paper(PathBuf);

impl Drop for Paper {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Shows `text` in the editor and returns what the person left, without the empty lines at its
    /// end; or, as a sentence, why there is nothing.
    pub(super) fn write(&self, text: &str) -> Result<String, String> {
        let path = self.folder.join(format!("message-{}.txt", std::process::id()));
        files::write_private(&path, text.as_bytes()).map_err(|error| format!("{error}."))?;
        let paper = Paper(path);
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("{} \"$1\"", self.program))
            .arg("sh")
            .arg(&paper.0)
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("The editor {} did not end well; nothing was sent.", self.program));
        }
        let mut bytes = Vec::new();
        // One byte more than can be sent is enough to say that it is too long.
        let most = TEXT_BYTES_MAX as u64 + 1;
        File::open(&paper.0)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(|error| format!("What was written cannot be read: {error}."))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(program: &str, text: &str) -> (Result<String, String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer { program: program.into(), folder: folder.path().to_owned() };
        let result = writer.write(text);
        (result, fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn what_the_editor_leaves_is_the_text_and_its_file_is_gone() {
        let (text, left) = written("echo more >>", "begin\n");
        assert_eq!((text, left), (Ok("begin\nmore".to_owned()), 0));
        assert_eq!(written("stat -c %a >/dev/null", "\n\n"), (Ok(String::new()), 0));
    }

    #[test]
    fn the_file_can_be_read_by_nobody_else() {
        let (text, _) = written("f() { m=$(stat -c %a \"$1\"); echo $m > \"$1\"; }; f", "");
        assert_eq!(text, Ok("600".to_owned()));
    }

    #[test]
    fn an_editor_that_fails_sends_nothing() {
        let (text, left) = written("false", "secret");
        assert!(text.unwrap_err().contains("nothing was sent"));
        assert_eq!(left, 0);
    }

    #[test]
    fn a_text_longer_than_a_message_is_read_no_further_than_needed() {
        let (text, _) = written("f() { head -c 200000 /dev/zero | tr '\\0' x > \"$1\"; }; f", "");
        assert_eq!(text.unwrap().len(), TEXT_BYTES_MAX + 1);
    }
}
