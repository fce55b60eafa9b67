//! Frames between two processes of one person: a tag, four bytes of length, that many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::limits::SOCKET_FRAME_BYTES_MAX;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Caller: the command. First, and once.
    Hello = 1,
    /// Caller: answers the one question that is open.
    Answer = 2,
    /// Caller: the question has no answer.
    NoAnswer = 3,
    /// Caller: Ctrl-C.
    Interrupt = 4,
    /// Holder: for standard output. To be answered when it is flushed.
    Out = 5,
    /// Holder: for standard error.
    Err = 6,
    /// Holder: a question.
    Ask = 7,
    /// Holder: the exit code. The last.
    Exit = 8,
    /// Caller: what came for standard output is flushed.
    Written = 9,
    /// Holder: the command begins. Before this nothing was done.
    Begun = 10,
    /// Holder: how far a file is, for a terminal.
    Bar = 11,
}

const TAGS: [Tag; 11] = [
    Tag::Hello,
    Tag::Answer,
    Tag::NoAnswer,
    Tag::Interrupt,
    Tag::Out,
    Tag::Err,
    Tag::Ask,
    Tag::Exit,
    Tag::Written,
    Tag::Begun,
    Tag::Bar,
];

/// One frame. May hold a password.
pub(super) struct Frame {
    pub(super) tag: Tag,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Frame {
    pub(super) fn new(tag: Tag, bytes: impl Into<Vec<u8>>) -> Self {
        Self { tag, bytes: Zeroizing::new(bytes.into()) }
    }
}

/// Reads a frame; `None` at the end of the connection.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let [tag, length @ ..] = head;
    let tag = TAGS.into_iter().find(|known| *known as u8 == tag);
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let Some(tag) = tag.filter(|_| length <= SOCKET_FRAME_BYTES_MAX) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of ours"));
    };
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes).await?;
    Ok(Some(Frame { tag, bytes }))
}

/// Writes a frame.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
    to.write_u8(frame.tag as u8).await?;
    to.write_u32(length).await?;
    to.write_all(&frame.bytes).await?;
    to.flush().await
}
