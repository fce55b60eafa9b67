//! To write, and what is done to a message that was written.

use super::ON_OFF;
use crate::ui::commands::Command;
use crate::ui::commands::row::{Argument, Heading, Row, row};

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::Write,
        "msg",
        "/msg WHO [TEXT]",
        "send TEXT to WHO; without TEXT as /to",
        &[
            ("/msg bob are you coming?", "sends it to bob, and opens the chat if none is open"),
            ("/msg #team release is out", "sends it to everybody in #team"),
        ],
        |words| {
            let (who, text) = words.some_chat()?;
            Ok(match text.some() {
                Some(text) => Command::Message(who, text),
                None => Command::To(who),
            })
        },
    )
    .also(&["m", "w", "single_message"])
    .offers(Argument::Chat)
    .of_texts(),
    row(
        Heading::Write,
        "to",
        "/to WHO",
        "what you type next goes to WHO",
        &[("/to bob", "the next lines go to bob"), ("/to #team", "to everybody in #team")],
        |words| Ok(Command::To(words.chat()?)),
    )
    .offers(Argument::Chat),
    row(
        Heading::Write,
        "r",
        "/r TEXT",
        "answer whoever wrote last",
        &[("/r on my way", "sends it to whoever wrote last")],
        |words| Ok(Command::Answer(words.text()?)),
    )
    .of_texts(),
    row(
        Heading::Write,
        "me",
        "/me TEXT",
        "say what you do",
        &[("/me waves", "is shown as: * alice waves")],
        |words| Ok(Command::Emote(words.text()?)),
    )
    .of_texts(),
    row(
        Heading::Write,
        "multi",
        "/multi",
        "write several lines; a line with only . sends them",
        &[("/multi", "all lines up to a line . are one message; Ctrl-C drops it")],
        |words| words.none(Command::Multi),
    ),
    row(
        Heading::Write,
        "editor",
        "/editor [TEXT]",
        "write in your own editor (VISUAL or EDITOR)",
        &[("/editor", "what you save is shown and sent; an empty file sends nothing")],
        |words| Ok(Command::Editor(words.some().unwrap_or_default())),
    )
    .of_texts(),
    row(
        Heading::Write,
        "paste",
        "/paste",
        "as /multi for pasted text; asks before it is sent",
        &[("/paste", "paste, then a line with only . ends it")],
        |words| words.none(Command::Paste),
    ),
    row(
        Heading::Messages,
        "reply",
        "/reply ID TEXT",
        "answer one message",
        &[("/reply 42 yes, at eight", "is shown with the message it answers")],
        |words| {
            let (id, text) = words.message()?;
            Ok(Command::Reply(id, text.text()?))
        },
    )
    .of_texts(),
    row(
        Heading::Messages,
        "react",
        "/react ID EMOJI",
        "react to a message; off takes it back",
        &[("/react 42 👍", "everybody in the chat sees it"), ("/react 42 off", "takes it back")],
        |words| {
            let (id, emoji) = words.message()?;
            match emoji.rest {
                "" => Err("an emoji is missing".into()),
                "off" => Ok(Command::React(id, None)),
                emoji => Ok(Command::React(id, Some(emoji.to_owned()))),
            }
        },
    )
    .of_texts(),
    row(
        Heading::Messages,
        "edit",
        "/edit [ID] TEXT",
        "replace your last message here; ID: that one",
        &[
            ("/edit see you at nine", "the other side sees the new text, marked as edited"),
            ("/edit 42 see you at ten", "replaces your message 42"),
        ],
        |words| Ok(Command::Edit(words.text()?)),
    )
    .of_texts(),
    row(
        Heading::Messages,
        "delete",
        "/delete ID",
        "delete a message of yours, and ask the other side to",
        &[("/delete 42", "one that still waits is not sent at all")],
        |words| {
            let (id, rest) = words.message()?;
            rest.none(Command::Delete(id))
        },
    ),
    row(
        Heading::Messages,
        "retry",
        "/retry [ID]",
        "send what waits now; ID: a refused message again",
        &[("/retry", "does not wait for the next try"), ("/retry 42", "as a new message")],
        |words| match words.rest {
            "" => Ok(Command::Retry(None)),
            _ => {
                let (id, rest) = words.message()?;
                rest.none(Command::Retry(Some(id)))
            }
        },
    ),
    row(
        Heading::Messages,
        "seen",
        "/seen ID",
        "who has read your message",
        &[("/seen 42", "in a group: who has read it, and who has not yet")],
        |words| {
            let (id, rest) = words.message()?;
            rest.none(Command::Seen(id))
        },
    ),
    row(
        Heading::Messages,
        "ids",
        "/ids [on|off]",
        "show the numbers of messages",
        &[("/ids", "numbers at the left, for /reply, /react and /delete")],
        |words| Ok(Command::Ids(words.switch()?)),
    )
    .offers(ON_OFF),
];
