//! Files: what is sent, how a file in a message looks, and how far its bytes have come.

use std::path::PathBuf;
use std::time::Duration;

use crate::types::ChatName;
use crate::wire::Code;

use super::super::pictures::PictureError;
use super::errors::SendError;
use super::message::LocalId;

/// A file to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDraft {
    /// Where it is now. What is sent is the file as it is when the call returns.
    pub path: PathBuf,
    /// Words that go with it; may be empty. At most 4 KiB.
    pub caption: String,
    /// The message of the same chat that it answers.
    pub reply_to: Option<LocalId>,
    /// As in [`super::Draft::expire`].
    pub expire: Option<Duration>,
    /// What of a picture is sent.
    pub picture: PictureChoice,
}

impl FileDraft {
    /// A file and nothing more, a picture without its metadata.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        let (caption, reply_to, expire) = (String::new(), None, None);
        Self { path: path.into(), caption, reply_to, expire, picture: PictureChoice::Clean }
    }
}

/// What of a picture is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureChoice {
    /// The picture, without what a camera or program wrote about it (place, time, comments).
    #[default]
    Clean,
    /// The file byte for byte.
    Original,
    /// A smaller copy.
    Fit,
}

/// A file as its message shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// As its author calls it, made safe: a base name that can be a file here.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// What it is, as its author says: cleaning it is the front end's to do.
    pub media_type: String,
    /// Of a picture: width and height in pixels, as its author says.
    pub dimensions: Option<(u32, u32)>,
    /// A small JPEG of a picture, as its author made it; empty without one.
    pub thumbnail: Vec<u8>,
    /// How far its bytes have come.
    pub transfer: TransferState,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From here.
    Up,
    /// To here.
    Down,
}

/// How far the bytes of a file have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferState {
    /// Somebody else's: nobody asked for it yet.
    NotFetched,
    /// It goes on by itself: at the next contact, or after a pause because of this code.
    Waiting(Option<Code>),
    /// It is on its way.
    Running,
    /// It goes on when it is resumed: another process began it, or the person stopped it.
    Paused,
    /// All of it has arrived: at the home (one's own), or on this disk, verified.
    Done,
    /// It will not go on.
    Failed(TransferFailure),
}

/// Why the bytes of a file will not come any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferFailure {
    /// A typed answer of the server.
    Server(Code),
    /// One file is larger than this home takes (sealed bytes).
    TooLarge {
        /// The most that it takes.
        limit_bytes: u64,
    },
    /// All files of the owner together are larger than this home keeps (sealed bytes).
    Quota {
        /// The most that it keeps.
        limit_bytes: u64,
        /// What it keeps now.
        used_bytes: u64,
    },
    /// The server has it no more: it was taken back, or its 30 days are over.
    Gone,
    /// What the server has is not what the message says.
    NotTheFile,
    /// The copy on this disk is damaged or gone: send the file again.
    CopyLost,
    /// The local disk is full.
    DiskFull,
    /// It was taken back.
    Cancelled,
}

/// One transfer, for lists and progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferView {
    /// The message it belongs to.
    pub id: LocalId,
    /// Its chat.
    pub chat: ChatName,
    /// Which way.
    pub direction: Direction,
    /// As [`FileView::name`].
    pub name: String,
    /// Bytes that have come (sealed bytes; the same measure as `total_bytes`).
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes a second, over the last seconds; 0 while none come.
    pub bytes_per_s: u64,
    /// How far it is.
    pub state: TransferState,
}

/// Which transfers a client carries on by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferPolicy {
    /// Files of accepted people and of groups up to this size are fetched as they come; 0: none.
    pub auto_fetch_bytes: u64,
    /// What was begun earlier goes on; else it waits for
    /// [`super::super::Client::resume_transfer`].
    pub resumes: bool,
}

/// Why a file was not taken, or not stored.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing is there.
    #[error("{0}: no such file")]
    NotFound(PathBuf),
    /// Where a file is to be stored is no folder.
    #[error("{0}: no such folder")]
    NoFolder(PathBuf),
    /// A folder, a device, a pipe.
    #[error("{0} is not a file")]
    NotAFile(PathBuf),
    /// Nothing is in it.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// Over [`crate::limits::FILE_BYTES_MAX`].
    #[error("{path} has {got} bytes, at most {max} allowed")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Bytes that it has.
        got: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Somebody wrote to it while it was read.
    #[error("{0} changed while it was read")]
    Changed(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {cause}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
    /// A picture that cannot be made ready.
    #[error("{path}: {cause}")]
    Picture {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: PictureError,
    },
    /// Nothing can be sent there.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The message of that number has no file.
    #[error("message {0} has no file")]
    NoFile(LocalId),
    /// It is not here, and cannot come.
    #[error("the file cannot be had")]
    Transfer(TransferFailure),
    /// The words that go with it are too long.
    #[error("a caption of {got} bytes, at most {max} allowed")]
    CaptionTooLong {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The local database failed.
    #[error("local data: {0}")]
    Local(String),
}
