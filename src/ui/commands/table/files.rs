//! Files: out, in, and on their way.

use crate::ui::commands::Command;
use crate::ui::commands::row::{Argument, Heading, Row, row};

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::Files,
        "send",
        "/send FILE... [-m CAPTION]",
        "send files; pictures without place and time",
        &[
            ("/send photo.jpg -m from the trip", "Tab completes names of files"),
            ("/send 'my photo.jpg' notes.pdf", "two messages; names with spaces in quotes"),
            ("/send ~/photo.jpg --fit", "a smaller copy; --original: byte for byte"),
        ],
        |words| Ok(Command::Send(words.files()?)),
    )
    .also(&["img", "image"])
    .offers(Argument::Files)
    .of_texts(),
    row(
        Heading::Files,
        "open",
        "/open ID",
        "look at a file",
        &[("/open 42", "with the program that this machine has for it")],
        |words| {
            let (id, rest) = words.message()?;
            rest.none(Command::Open(id))
        },
    ),
    row(
        Heading::Files,
        "save",
        "/save ID [PATH]",
        "store a file; PATH: a folder or a new name",
        &[
            ("/save 42", "among your downloads; nothing is overwritten"),
            ("/save 42 ~/trip/", "in that folder"),
        ],
        |words| {
            let (id, rest) = words.message()?;
            Ok(Command::Save(id, rest.file()?))
        },
    )
    .offers(Argument::PathAfterId),
    row(
        Heading::Files,
        "transfers",
        "/transfers",
        "list the files on their way",
        &[("/transfers", "with their numbers, for /cancel")],
        |words| words.none(Command::Transfers),
    ),
    row(
        Heading::Files,
        "cancel",
        "/cancel ID",
        "stop a file, or a message that still waits",
        &[("/cancel 42", "what had come of it is dropped")],
        |words| {
            let (id, rest) = words.message()?;
            rest.none(Command::Cancel(id))
        },
    ),
];
