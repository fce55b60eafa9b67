//! The client itself.

use crate::ui::commands::row::{Argument, Heading, Row, row};
use crate::ui::commands::{Command, find};
use crate::ui::settings::TimeForm;
use crate::ui::text;

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::Client,
        "status",
        "/status",
        "who you are, where connected, what waits",
        &[("/status", "a few lines")],
        |words| words.none(Command::Status),
    ),
    row(
        Heading::Client,
        "doctor",
        "/doctor",
        "check connection, data and terminal",
        &[("/doctor", "one line each: ok, warn or FAIL, with what to do")],
        |words| words.none(Command::Doctor),
    ),
    row(
        Heading::Client,
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
        Heading::Client,
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
        Heading::Client,
        "clear",
        "/clear",
        "an empty screen",
        &[("/clear", "what stood there is not deleted: /history")],
        |words| words.none(Command::Clear),
    ),
    row(
        Heading::Client,
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
        Heading::Client,
        "quit",
        "/quit",
        "leave (also Ctrl-D); what waits is kept",
        &[("/quit", "messages not sent yet go first the next time")],
        |words| words.none(Command::Quit),
    )
    .also(&["q", "exit"]),
];
