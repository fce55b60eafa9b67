//! Files of one command: looked at before anything is sent, taken, and kept when it ends early.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::exit::Exit;
use crate::client::{
    Client, FileDraft, FileError, LocalId, PictureChoice, SendError, TransferView,
};
use crate::limits::FILE_BYTES_MAX;
use crate::types::ChatName;
use crate::ui::files::percent;
use crate::ui::line::TrustPolicy;
use crate::ui::say;
use crate::ui::text::clean_line;

use super::args::Send;
use super::report::Stop;
use super::{Context, failures, group};

/// The files of `send`, as paths that mean the same in every process. One that cannot be sent stops
/// the command before anything is.
pub(super) fn looked_at(context: &Context, send: &Send) -> Result<Vec<PathBuf>, Stop> {
    send.file
        .iter()
        .map(|typed| {
            look(&context.report.io.path(typed), send.fit)
                .map_err(|error| failures::file(&as_typed(error, typed), &send.to.0))?;
            Ok(context.report.io.path(typed))
        })
        .collect()
}

/// People know a file by the name that they typed.
fn as_typed(error: FileError, typed: &Path) -> FileError {
    let path = typed.to_owned();
    match error {
        FileError::NotFound(_) => FileError::NotFound(path),
        FileError::NotAFile(_) => FileError::NotAFile(path),
        FileError::Empty(_) => FileError::Empty(path),
        FileError::TooLarge { got, max, .. } => FileError::TooLarge { path, got, max },
        FileError::Io { cause, .. } => FileError::Io { path, cause },
        other => other,
    }
}

/// What can be seen of a file without reading it. A smaller copy may be made of one that is too
/// large.
fn look(path: &Path, fit: bool) -> Result<(), FileError> {
    let found = fs::metadata(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            FileError::NotFound(path.to_owned())
        }
        _ => FileError::Io { path: path.to_owned(), cause },
    })?;
    let path = path.to_owned();
    match found.len() {
        _ if !found.is_file() => Err(FileError::NotAFile(path)),
        0 => Err(FileError::Empty(path)),
        got if got > FILE_BYTES_MAX && !fit => {
            Err(FileError::TooLarge { path, got, max: FILE_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// The message of one file; the caption goes with the first.
pub(super) fn draft(send: &Send, path: &Path, index: usize) -> FileDraft {
    let caption = send.caption.clone().filter(|_| index == 0).unwrap_or_default();
    let picture = match (send.original, send.fit) {
        (true, _) => PictureChoice::Original,
        (false, true) => PictureChoice::Fit,
        (false, false) => PictureChoice::Clean,
    };
    FileDraft { caption, picture, ..FileDraft::of(path) }
}

/// Takes a file, under the policy that was asked for.
pub(super) async fn take_file(
    client: &Client,
    trust: TrustPolicy,
    to: &ChatName,
    draft: FileDraft,
) -> Result<LocalId, Stop> {
    let taken = match client.send_file(to, draft.clone()).await {
        Err(FileError::Send(SendError::KeyChanged(user))) if trust == TrustPolicy::Always => {
            client.accept_key(&user).map_err(|error| failures::request(&error, Some(&user)))?;
            client.send_file(to, draft).await
        }
        other => other,
    };
    taken.map_err(|error| match &error {
        FileError::Send(SendError::NoSuchGroup(name)) => match client.group(name) {
            Ok(Some(view)) => group::failed(&say::not_there(&view), Some(name)),
            Ok(None) | Err(_) => failures::file(&error, to),
        },
        _ => failures::file(&error, to),
    })
}

/// The command ends before a file is through; what has gone stays there. `goes_on`: the client that
/// holds the profile goes on with it.
pub(super) fn kept(view: &TransferView, exit: Exit, why: &str, goes_on: bool) -> Stop {
    let (id, name, percent) = (view.id, clean_line(&view.name), percent(view));
    let what = format!("{why} {name} is kept as {id}, at {percent} %: do not send it again.");
    let remedy = match (exit, goes_on) {
        (Exit::NotSignedIn, _) => {
            "Sign in again: client login     Then: client transfer resume".to_owned()
        }
        (_, true) => format!(
            "The client that holds the profile goes on with it. Stop it: client transfer cancel {id}"
        ),
        (_, false) => format!(
            "It goes on with: client transfer resume     Stop it: client transfer cancel {id}"
        ),
    };
    let mut stop = Stop::new(exit, what, remedy);
    stop.kept = Some(id);
    stop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_known_before_anything_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("empty"), "").unwrap();
        fs::write(path("some"), "x").unwrap();
        fs::File::create(path("huge")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        fs::File::create(path("most")).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        let exit = |name: &str, fit| match look(&path(name), fit) {
            Ok(()) => 0,
            Err(error) => failures::file(&error, &"bob").failure.exit.number(),
        };
        for (name, fit, code) in [
            ("none", false, 5),
            ("some/none", false, 5),
            ("", false, 2),
            ("empty", false, 2),
            ("huge", false, 2),
            ("huge", true, 0),
            ("most", false, 0),
            ("some", false, 0),
        ] {
            assert_eq!(exit(name, fit), code, "{name:?}");
        }
    }
}
