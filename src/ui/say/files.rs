//! Sentences about files: why one was not taken, why its bytes do not come any further.

use std::fmt;
use std::path::Path;

use crate::client::pictures::PictureError;
use crate::client::{FileError, LocalId, TransferFailure, TransferView};
use crate::limits::BLOB_LIFE;
use crate::ui::files::{bound, size};
use crate::ui::text::clean_line;

use super::{Place, Told, code, local, send_error};

/// A path as people see it: its last part.
fn name(path: &Path) -> String {
    let last = path.file_name().unwrap_or(path.as_os_str());
    clean_line(&last.to_string_lossy())
}

/// Why a file for `to` was not taken, or one that came was not stored.
pub fn file_error(error: &FileError, to: &dyn fmt::Display, place: Place) -> Told {
    match error {
        FileError::NotFound(path) => Told::new(
            format!("There is no file {}.", clean_line(&path.to_string_lossy())),
            match place {
                Place::Line => "A name with spaces needs quotes; Tab completes it.",
                Place::Shell => "A text goes before -f, or with the file: -m CAPTION",
            },
        ),
        FileError::NoFolder(path) => Told::new(
            format!(
                "There is no folder {}; nothing was stored.",
                clean_line(&path.to_string_lossy())
            ),
            "Make it first, or name another one.",
        ),
        FileError::NotAFile(path) => Told::new(
            format!("{} is not a file.", name(path)),
            "A folder goes as an archive: tar czf FILE.tgz FOLDER",
        ),
        FileError::Empty(path) => {
            Told::new(format!("{} is empty: there is nothing to send.", name(path)), "")
        }
        FileError::TooLarge { path, got, max } => Told::new(
            format!("{} is {}; at most {} can be sent.", name(path), size(*got), bound(*max)),
            smaller_copy(path, to, place),
        ),
        FileError::Changed(path) => Told::new(
            format!("{} changed while it was read; nothing was sent.", name(path)),
            "Send it again when nobody writes to it.",
        ),
        FileError::Io { path, cause } => Told::new(
            format!("{}: {cause}.", clean_line(&path.to_string_lossy())),
            "See who may read and write there, and that the disk is not full.",
        ),
        FileError::Picture { path, cause } => picture_error(path, cause),
        FileError::Send(error) => send_error(error),
        FileError::NoFile(id) => Told::new(
            format!("Message {id} has no file."),
            match place {
                Place::Line => "Numbers of messages: /ids",
                Place::Shell => "Numbers: client history WHO --json",
            },
        ),
        FileError::Transfer(failure) => failed(*failure, "The file", None, place),
        FileError::CaptionTooLong { got, max } => Told::new(
            format!("The caption has {got} bytes; {max} are allowed."),
            "Send the rest as a message of its own.",
        ),
        FileError::Local(why) => local(why),
    }
}

/// Why a picture cannot be made ready.
fn picture_error(path: &Path, error: &PictureError) -> Told {
    let name = name(path);
    match error {
        PictureError::NotWhatItSays { name_says, is } => Told::new(
            format!("{name} is called {name_says}, but it is {is}; nothing was sent."),
            "Give it the ending of what it is, then send it.",
        ),
        PictureError::NoPicture { is } => Told::new(
            format!("A smaller copy can be made of JPEG, PNG, GIF and WebP; {name} is {is}."),
            "Leave --fit out to send it as it is.",
        ),
        PictureError::TooManyPixels { width, height } => Told::new(
            format!("{name} says that it is {width} x {height} pixels; nothing was sent."),
            "If that is right, send it inside an archive: whoever opens it alone may run out of memory.",
        ),
        PictureError::TooLarge { bytes, bytes_max } => Told::new(
            format!(
                "{name} is {}; pictures of up to {} can be made ready.",
                size(*bytes),
                bound(*bytes_max)
            ),
            "--original sends it as it is, if it is not larger than a file may be.",
        ),
        PictureError::Broken(_) => Told::new(
            format!("{name} is not whole, or damaged; nothing was sent."),
            "--original sends it all the same.",
        ),
        PictureError::Io(cause) => Told::new(format!("{name} cannot be read: {cause}."), ""),
    }
}

/// A smaller copy can be made of pictures only.
fn smaller_copy(path: &Path, to: &dyn fmt::Display, place: Place) -> String {
    const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "gif", "webp"];
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if !ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) {
        return String::new();
    }
    let path = path.to_string_lossy();
    let quote = if path.contains([' ', '\'', '"', '\\']) { "'" } else { "" };
    let path = clean_line(&path);
    match place {
        Place::Line => format!("Smaller copy: /send {quote}{path}{quote} --fit"),
        Place::Shell => format!("Smaller copy: client send {to} -f {quote}{path}{quote} --fit"),
    }
}

/// Why a transfer will not go on.
pub fn transfer_failure(failure: TransferFailure, view: &TransferView) -> Told {
    transfer_failure_at(failure, view, Place::Line)
}

/// As [`transfer_failure`], where the reader types.
pub fn transfer_failure_at(failure: TransferFailure, view: &TransferView, place: Place) -> Told {
    failed(failure, &clean_line(&view.name), Some(view.id), place)
}

fn failed(failure: TransferFailure, name: &str, id: Option<LocalId>, place: Place) -> Told {
    let again = || match (id, place) {
        (Some(id), Place::Line) => format!("Try again: /retry {id}"),
        (Some(id), Place::Shell) => format!("Try again: client transfer resume {id}"),
        (None, _) => String::new(),
    };
    match failure {
        TransferFailure::Server(answer) => {
            let told = code(answer, None, "", 0);
            let remedy = if told.remedy.is_empty() { again() } else { told.remedy };
            Told::new(format!("{name}: {}", told.what), remedy)
        }
        TransferFailure::TooLarge { limit_bytes } => Told::new(
            format!("{name} is too large: this server takes {} at most.", bound(limit_bytes)),
            "It was not sent. Of a picture, a smaller copy may do: --fit",
        ),
        TransferFailure::Quota { limit_bytes, used_bytes } => Told::new(
            format!(
                "There is no room for {name}: of {} that the server keeps for you, {} are used.",
                bound(limit_bytes),
                size(used_bytes)
            ),
            format!(
                "Files make room {} days after they were sent, or when you delete their message.",
                BLOB_LIFE.as_secs() / 86_400
            ),
        ),
        TransferFailure::Gone => Told::new(
            format!("{name} is not at the server any more: it was taken back, or is too old."),
            "Ask whoever sent it to send it again.",
        ),
        TransferFailure::NotTheFile => Told::new(
            format!("What the server has in place of {name} is not what was sent: not stored."),
            "Ask whoever sent it to send it again.",
        ),
        TransferFailure::CopyLost => Told::new(
            format!("The copy of {name} on this machine is damaged or gone."),
            "Send the file again.",
        ),
        TransferFailure::DiskFull => {
            Told::new(format!("There is no room for {name} on this disk."), again())
        }
        TransferFailure::Cancelled => {
            Told::new(format!("{name} was cancelled."), "Send the file again.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TransferState;
    use crate::ui::files::tests::photo;
    use crate::wire::Code;

    fn too_large(name: &str, place: Place) -> Told {
        let (got, max) = (80_000_000, crate::limits::FILE_BYTES_MAX);
        file_error(&FileError::TooLarge { path: name.into(), got, max }, &"bob", place)
    }

    #[test]
    fn a_file_that_is_too_large_says_so_and_offers_a_smaller_copy_of_pictures_only() {
        let told = too_large("in/photo.png", Place::Shell);
        assert_eq!(told.what, "photo.png is 80 MB; at most 64 MiB can be sent.");
        assert_eq!(told.remedy, "Smaller copy: client send bob -f in/photo.png --fit");
        assert_eq!(too_large("a b.JPG", Place::Line).remedy, "Smaller copy: /send 'a b.JPG' --fit");
        assert_eq!(too_large("film.mp4", Place::Shell).remedy, "");
    }

    #[test]
    fn every_failure_is_a_sentence_that_names_the_file() {
        for failure in [
            TransferFailure::Server(Code::Forbidden),
            TransferFailure::TooLarge { limit_bytes: 1_000_000 },
            TransferFailure::Quota { limit_bytes: 1 << 30, used_bytes: 1_073_000_000 },
            TransferFailure::Gone,
            TransferFailure::NotTheFile,
            TransferFailure::CopyLost,
            TransferFailure::DiskFull,
            TransferFailure::Cancelled,
        ] {
            for place in [Place::Line, Place::Shell] {
                let view = photo(1, 2, TransferState::Failed(failure));
                let told = transfer_failure_at(failure, &view, place);
                assert!(told.what.contains("photo.jpg") && told.what.ends_with('.'), "{told:?}");
                assert!(!told.remedy.is_empty(), "{told:?}");
                assert!(place == Place::Line || !told.remedy.contains(" /"), "{told:?}");
            }
        }
    }

    #[test]
    fn escape_sequences_in_a_path_stay_in_the_path() {
        let error = FileError::NotFound("\x1b[2J.png".into());
        assert!(!file_error(&error, &"bob", Place::Line).what.contains('\x1b'));
    }
}
