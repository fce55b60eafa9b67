//! From chat to chat, and to be left alone.

use super::{HISTORY_LINES, LINES_MAX, ON_OFF};
use crate::client::Notify;
use crate::ui::commands::row::{Argument, Heading, Row, row};
use crate::ui::commands::words::Lasting;
use crate::ui::commands::{Command, Switch};

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::Move,
        "chats",
        "/chats",
        "list your chats, newest first",
        &[("/chats", "one line per chat, with what is unread or waits")],
        |words| words.none(Command::Chats),
    ),
    row(
        Heading::Move,
        "next",
        "/next",
        "go to the next chat with something unread (also Alt-A)",
        &[("/next", "opens it and shows what is unread there")],
        |words| words.none(Command::Next),
    )
    .also(&["n"]),
    row(
        Heading::Move,
        "unread",
        "/unread",
        "list the chats with something unread",
        &[("/unread", "one line per chat")],
        |words| words.none(Command::Unread),
    ),
    row(
        Heading::Move,
        "close",
        "/close",
        "leave this chat; it comes back with its next message",
        &[("/close", "it is gone from /chats; what was written stays")],
        |words| words.none(Command::Close),
    ),
    row(
        Heading::Move,
        "history",
        "/history [N]",
        "show the last N lines of this chat",
        &[("/history", "the last 20"), ("/history 100", "the last 100")],
        |words| match words.rest {
            "" => Ok(Command::History(HISTORY_LINES)),
            number => match number.parse() {
                Ok(lines @ 1..=LINES_MAX) => Ok(Command::History(lines)),
                Ok(_) | Err(_) => Err(format!("N is a number from 1 to {LINES_MAX}")),
            },
        },
    ),
    row(
        Heading::Move,
        "search",
        "/search TEXT",
        "find messages of this chat; of all when none is open",
        &[("/search map", "each with its number and day")],
        |words| Ok(Command::Search(words.text()?)),
    )
    .of_texts(),
    row(
        Heading::Move,
        "goto",
        "/goto DATE",
        "show this chat from a day on",
        &[
            ("/goto yesterday", "also: today, monday, 3d (three days ago)"),
            ("/goto 2026-11-20", "a day; with a time: 2026-11-20 18:30"),
        ],
        |words| match words.some() {
            Some(date) => Ok(Command::Goto(date)),
            None => Err("a day is missing".into()),
        },
    )
    .offers(Argument::Words(&["today", "yesterday"])),
    row(
        Heading::Quiet,
        "mute",
        "/mute [WHO] [DURATION|off]",
        "no bell for this chat or WHO's",
        &[
            ("/mute", "this chat, until /mute off"),
            ("/mute 8h", "this chat, for eight hours"),
            ("/mute bob 1w", "bob's, for a week"),
            ("/mute bob off", "it rings again"),
        ],
        |words| match words.lasting() {
            Ok(lasting) => Ok(Command::Mute(None, lasting.unwrap_or(Lasting::Always))),
            Err(_) => {
                let (who, rest) = words.some_chat()?;
                Ok(Command::Mute(Some(who), rest.lasting()?.unwrap_or(Lasting::Always)))
            }
        },
    )
    .offers(Argument::Chat),
    row(
        Heading::Quiet,
        "notify",
        "/notify all|mentions|none",
        "what rings in this chat; everywhere: in all",
        &[
            ("/notify mentions", "only what names you, or answers you, in this chat"),
            ("/notify none everywhere", "silence, in chats without a wish of their own"),
        ],
        |words| {
            let (word, rest) = words.first();
            let notify = match word {
                "all" => Notify::All,
                "mentions" => Notify::Mentions,
                "none" => Notify::None,
                _ => return Err("all, mentions or none must follow".into()),
            };
            Ok(Command::Notify(notify, rest.reach()?))
        },
    )
    .offers(Argument::Words(&["all", "mentions", "none"])),
    row(
        Heading::Quiet,
        "receipts",
        "/receipts on|off",
        "show what you have read; off: you see no receipts either",
        &[
            ("/receipts off", "in this chat"),
            ("/receipts on everywhere", "in chats without a wish of their own"),
        ],
        |words| words.switch_and_reach().map(|(on, reach)| Command::Receipts(on, reach)),
    )
    .offers(ON_OFF),
    row(
        Heading::Quiet,
        "typing",
        "/typing on|off",
        "show that you are typing",
        &[
            ("/typing off", "in this chat"),
            ("/typing off everywhere", "in chats without a wish of their own"),
        ],
        |words| words.switch_and_reach().map(|(on, reach)| Command::Typing(on, reach)),
    )
    .offers(ON_OFF),
    row(
        Heading::Quiet,
        "invisible",
        "/invisible [on|off]",
        "be online without being seen",
        &[
            ("/invisible", "others do not see that you are online"),
            ("/invisible off", "others see when you are online"),
        ],
        |words| Ok(Command::Invisible(words.switch()?.unwrap_or(Switch::On))),
    )
    .offers(ON_OFF),
    row(
        Heading::Quiet,
        "expire",
        "/expire [DURATION|off]",
        "what you write here vanishes after DURATION",
        &[("/expire 7d", "from your next message on"), ("/expire", "says what is so")],
        |words| Ok(Command::Expire(words.lasting()?)),
    )
    .offers(Argument::Words(&["off"])),
];
