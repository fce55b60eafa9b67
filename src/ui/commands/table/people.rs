//! People and their keys.

use crate::ui::commands::row::{Argument, Heading, Row, row};
use crate::ui::commands::{Command, Scope};

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::People,
        "contacts",
        "/contacts",
        "list the people you know",
        &[("/contacts", "with their keys, and who is online")],
        |words| words.none(Command::Contacts),
    ),
    row(
        Heading::People,
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
        Heading::People,
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
        Heading::People,
        "accept",
        "/accept WHO",
        "talk to somebody who wrote first",
        &[("/accept bob", "bob's messages are no longer marked as a request")],
        |words| Ok(Command::Accept(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Heading::People,
        "block",
        "/block WHO",
        "take no more messages from WHO",
        &[("/block bob", "bob is told that you do not take messages from him")],
        |words| Ok(Command::Block(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Heading::People,
        "unblock",
        "/unblock WHO",
        "take messages from WHO again",
        &[("/unblock bob", "bob can write to you again")],
        |words| Ok(Command::Unblock(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Heading::Keys,
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
        Heading::Keys,
        "accept-key",
        "/accept-key WHO",
        "trust WHO's new key without comparing",
        &[("/accept-key bob", "what waits for bob is sent under the new key")],
        |words| Ok(Command::AcceptKey(words.person()?)),
    )
    .offers(Argument::Person),
    row(
        Heading::Keys,
        "keys",
        "/keys",
        "your keys, and whose you have verified",
        &[("/keys", "fingerprints only, never a secret")],
        |words| words.none(Command::Keys),
    ),
];
