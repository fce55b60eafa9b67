//! The one table of commands: a row says how a command is called, written, explained and read.

use crate::client::Notify;
use crate::ui::settings::TimeForm;
use crate::ui::text;

use super::row::{Argument, Group, Row, row};
use super::words::Lasting;
use super::{Command, Scope, Switch, find};

/// Lines that `/history` shows when no number is given.
pub const HISTORY_LINES: usize = 20;
/// Most lines that one command shows.
pub const LINES_MAX: usize = 1_000;

const ON_OFF: Argument = Argument::Words(&["on", "off"]);

/// Every command, in the order in which help lists them.
pub static TABLE: &[Row] = &[
    row(
        Group::Write,
        "msg",
        "/msg WHO [TEXT]",
        "send TEXT to WHO; without TEXT as /to",
        &[
            ("/msg bob are you coming?", "sends it to bob, and opens the chat if none is open"),
            ("/msg bob", "the next lines go to bob"),
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
    .offers(Argument::Person)
    .of_texts(),
    row(
        Group::Write,
        "to",
        "/to WHO",
        "what you type next goes to WHO",
        &[("/to bob", "the next lines go to bob")],
        |words| Ok(Command::To(words.chat()?)),
    )
    .offers(Argument::Person),
    row(
        Group::Write,
        "r",
        "/r TEXT",
        "answer whoever wrote last",
        &[("/r on my way", "sends it to whoever wrote last")],
        |words| Ok(Command::Answer(words.text()?)),
    )
    .of_texts(),
    row(
        Group::Write,
        "me",
        "/me TEXT",
        "say what you do",
        &[("/me waves", "is shown as: * alice waves")],
        |words| Ok(Command::Emote(words.text()?)),
    )
    .of_texts(),
    row(
        Group::Write,
        "multi",
        "/multi",
        "write several lines; a line with only . sends them",
        &[("/multi", "all lines up to a line . are one message; Ctrl-C drops it")],
        |words| words.none(Command::Multi),
    ),
    row(
        Group::Write,
        "editor",
        "/editor [TEXT]",
        "write in your own editor (VISUAL or EDITOR)",
        &[("/editor", "what you save is shown and sent; an empty file sends nothing")],
        |words| Ok(Command::Editor(words.some().unwrap_or_default())),
    )
    .of_texts(),
    row(
        Group::Write,
        "paste",
        "/paste",
        "as /multi for pasted text; asks before it is sent",
        &[("/paste", "paste, then a line with only . ends it")],
        |words| words.none(Command::Paste),
    ),
    row(
        Group::Messages,
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
        Group::Messages,
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
        Group::Messages,
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
        Group::Messages,
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
        Group::Messages,
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
        Group::Messages,
        "ids",
        "/ids [on|off]",
        "show the numbers of messages",
        &[("/ids", "numbers at the left, for /reply, /react and /delete")],
        |words| Ok(Command::Ids(words.switch()?)),
    )
    .offers(ON_OFF),
    row(
        Group::Move,
        "chats",
        "/chats",
        "list your chats, newest first",
        &[("/chats", "one line per chat, with what is unread or waits")],
        |words| words.none(Command::Chats),
    ),
    row(
        Group::Move,
        "next",
        "/next",
        "go to the next chat with something unread (also Alt-A)",
        &[("/next", "opens it and shows what is unread there")],
        |words| words.none(Command::Next),
    )
    .also(&["n"]),
    row(
        Group::Move,
        "unread",
        "/unread",
        "list the chats with something unread",
        &[("/unread", "one line per chat")],
        |words| words.none(Command::Unread),
    ),
    row(
        Group::Move,
        "close",
        "/close",
        "leave this chat; it comes back with its next message",
        &[("/close", "it is gone from /chats; what was written stays")],
        |words| words.none(Command::Close),
    ),
    row(
        Group::Move,
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
        Group::Move,
        "search",
        "/search TEXT",
        "find messages of this chat; of all when none is open",
        &[("/search map", "each with its number and day")],
        |words| Ok(Command::Search(words.text()?)),
    )
    .of_texts(),
    row(
        Group::Move,
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
        Group::People,
        "contacts",
        "/contacts",
        "list the people you know",
        &[("/contacts", "with their keys, and who is online")],
        |words| words.none(Command::Contacts),
    ),
    row(
        Group::People,
        "who",
        "/who [all]",
        "who is online; all: everybody",
        &[("/who", "who is signed in now"), ("/who all", "everybody with an account")],
        |words| match words.rest {
            "" => Ok(Command::Who(Scope::Online)),
            "all" => Ok(Command::Who(Scope::All)),
            _ => Err("only the word all may follow".into()),
        },
    )
    .also(&["online"])
    .offers(Argument::Words(&["all"])),
    row(
        Group::People,
        "alias",
        "/alias WHO [NAME]",
        "call WHO by a name of your own",
        &[("/alias bob Bobby", "only you see it"), ("/alias bob", "bob is bob again")],
        |words| {
            let (who, name) = words.somebody()?;
            Ok(Command::Alias(who, name.some()))
        },
    )
    .offers(Argument::Person),
    row(
        Group::People,
        "accept",
        "/accept WHO",
        "talk to somebody who wrote first",
        &[("/accept bob", "bob's messages are no longer marked as a request")],
        |words| Ok(Command::Accept(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Group::People,
        "block",
        "/block WHO",
        "take no more messages from WHO",
        &[("/block bob", "bob is told that you do not take messages from him")],
        |words| Ok(Command::Block(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Group::People,
        "unblock",
        "/unblock WHO",
        "take messages from WHO again",
        &[("/unblock bob", "bob can write to you again")],
        |words| Ok(Command::Unblock(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Group::Keys,
        "verify",
        "/verify WHO [yes]",
        "show the number that proves WHO's key; yes: it is the same",
        &[
            ("/verify bob", "shows the number to compare with bob, by voice or side by side"),
            ("/verify bob yes", "you compared: bob's key is marked verified"),
        ],
        |words| {
            let (who, rest) = words.somebody()?;
            match rest.rest {
                "" => Ok(Command::Verify(who)),
                "yes" => Ok(Command::Verified(who)),
                _ => Err("only the word yes may follow the name".into()),
            }
        },
    )
    .offers(Argument::Person),
    row(
        Group::Keys,
        "accept-key",
        "/accept-key WHO",
        "trust WHO's new key without comparing",
        &[("/accept-key bob", "what waits for bob is sent under the new key")],
        |words| Ok(Command::AcceptKey(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Group::Keys,
        "keys",
        "/keys",
        "your keys, and whose you have verified",
        &[("/keys", "fingerprints only, never a secret")],
        |words| words.none(Command::Keys),
    ),
    row(
        Group::Quiet,
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
    .offers(Argument::Person),
    row(
        Group::Quiet,
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
        Group::Quiet,
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
        Group::Quiet,
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
        Group::Quiet,
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
        Group::Quiet,
        "expire",
        "/expire [DURATION|off]",
        "what you write here vanishes after DURATION",
        &[("/expire 7d", "from your next message on"), ("/expire", "says what is so")],
        |words| Ok(Command::Expire(words.lasting()?)),
    )
    .offers(Argument::Words(&["off"])),
    row(
        Group::Client,
        "status",
        "/status",
        "who you are, where connected, what waits",
        &[("/status", "a few lines")],
        |words| words.none(Command::Status),
    ),
    row(
        Group::Client,
        "doctor",
        "/doctor",
        "check connection, data and terminal",
        &[("/doctor", "one line each: ok, warn or FAIL, with what to do")],
        |words| words.none(Command::Doctor),
    ),
    row(
        Group::Client,
        "set",
        "/set [KEY [VALUE]]",
        "show or change a setting",
        &[("/set", "all settings"), ("/set edit_mode vi", "vi keys from the next start on")],
        |words| {
            let (key, value) = words.first();
            Ok(Command::Set((!key.is_empty()).then(|| key.to_owned()), value.some()))
        },
    )
    .offers(Argument::Setting),
    row(
        Group::Client,
        "time",
        "/time [full|short]",
        "times with or without seconds",
        &[("/time full", "12:01:02"), ("/time short", "12:01")],
        |words| match words.rest {
            "" => Ok(Command::Time(None)),
            "full" => Ok(Command::Time(Some(TimeForm::Full))),
            "short" => Ok(Command::Time(Some(TimeForm::Short))),
            _ => Err("full or short may follow".into()),
        },
    )
    .offers(Argument::Words(&["full", "short"])),
    row(
        Group::Client,
        "clear",
        "/clear",
        "an empty screen",
        &[("/clear", "what stood there is not deleted: /history")],
        |words| words.none(Command::Clear),
    ),
    row(
        Group::Client,
        "help",
        "/help [COMMAND]",
        "all commands; with a command: examples",
        &[("/help msg", "how to use /msg")],
        |words| match words.rest.trim_start_matches(['/', '\\']) {
            "" => Ok(Command::Help(None)),
            word => match find(word) {
                Some(row) => Ok(Command::Help(Some(row))),
                None => Err(format!("there is no command /{}", text::clean_line(word))),
            },
        },
    )
    .also(&["h"])
    .offers(Argument::Command),
    row(
        Group::Client,
        "quit",
        "/quit",
        "leave (also Ctrl-D); what waits is kept",
        &[("/quit", "messages not sent yet go first the next time")],
        |words| words.none(Command::Quit),
    )
    .also(&["q", "exit"]),
];
