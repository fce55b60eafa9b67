//! Groups: who is in them, how people come, what they are called.
//!
//! Each is about the group of the current chat, or the one whose `#name` comes first.

use crate::types::ChatName;
use crate::ui::commands::row::{Argument, Heading, Row, Whom, row};
use crate::ui::commands::wish::{Sure, Wish};
use crate::ui::commands::{Command, LINK_BEGINS};

/// Most people that one link may be for.
const USES_MAX: u32 = 1_000_000;

pub(super) static ROWS: &[Row] = &[
    row(
        Heading::Groups,
        "create",
        "/create NAME [WHO...]",
        "make a group; asks for a password to join by, Enter: none",
        &[
            ("/create team bob carol", "makes #team with bob and carol, and opens it"),
            ("/create #club", "you alone, until others are added or join"),
        ],
        |words| {
            let (name, rest) = words.group()?;
            Ok(Command::Create(name, rest.people_or_none()?))
        },
    )
    .also(&["create_group"])
    .offers(Argument::PeopleAfterName),
    row(
        Heading::Groups,
        "join",
        "/join NAME|LINK",
        "join a group by its password, which is asked for, or by a link",
        &[("/join team", "asks for the password"), ("/join fastchat://join/x", "needs none")],
        |words| match words.rest {
            link if link.starts_with(LINK_BEGINS) => Ok(Command::JoinLink(link.to_owned())),
            _ => {
                let (name, rest) = words.group()?;
                rest.none(Command::Join(name))
            }
        },
    )
    // A link is as good as a password: it is not kept among the commands.
    .of_texts(),
    row(
        Heading::Groups,
        "add",
        "/add WHO...",
        "bring people into this group",
        &[("/add bob carol", "both can write and read from now on"), ("/add #team bob", "there")],
        |words| words.wish(|words| Ok(Wish::Add(words.people()?))),
    )
    .offers(Argument::InGroup(Whom::Outsiders)),
    row(
        Heading::Groups,
        "kick",
        "/kick WHO",
        "put somebody out; the others get a new key",
        &[("/kick bob", "bob reads nothing that is written from now on")],
        |words| words.wish(|words| Ok(Wish::Kick(words.person()?))),
    )
    .offers(Argument::InGroup(Whom::Members)),
    row(
        Heading::Groups,
        "admin",
        "/admin WHO...",
        "make members admins",
        &[("/admin bob", "bob may add, kick and invite people too")],
        |words| words.wish(|words| Ok(Wish::Grant(words.people()?))),
    )
    .also(&["make_admin"])
    .offers(Argument::InGroup(Whom::Plain)),
    row(
        Heading::Groups,
        "unadmin",
        "/unadmin WHO",
        "make an admin a plain member",
        &[("/unadmin bob", "bob stays in the group")],
        |words| words.wish(|words| Ok(Wish::Revoke(words.person()?))),
    )
    .offers(Argument::InGroup(Whom::Admins)),
    row(
        Heading::Groups,
        "invite",
        "/invite [USES|off]",
        "make a link to join by; off: no link and no password counts",
        &[
            ("/invite", "a link for everybody who has it"),
            ("/invite 1", "for one person"),
            ("/invite #team off", "takes all links and the password back"),
        ],
        |words| {
            words.wish(|words| match (words.rest, words.rest.parse()) {
                ("", _) => Ok(Wish::Invite(0)),
                ("off", _) => Ok(Wish::Withdraw),
                (_, Ok(uses @ 1..=USES_MAX)) => Ok(Wish::Invite(uses)),
                (_, Ok(_) | Err(_)) => Err("a number of people or off may follow".into()),
            })
        },
    )
    .offers(Argument::InGroup(Whom::Off)),
    row(
        Heading::Groups,
        "password",
        "/password",
        "set the password to join by; Enter: none",
        &[("/password", "asks for it; whoever knows it can come in"), ("/password #team", "there")],
        |words| words.wish(|words| words.nothing(Wish::Password)),
    )
    .offers(Argument::InGroup(Whom::Nobody)),
    row(
        Heading::Groups,
        "title",
        "/title [TEXT]",
        "what people read as this group's name",
        &[("/title The Team", "#team stays its name"), ("/title", "says what it is")],
        |words| words.wish(|words| Ok(Wish::Title(words.some()))),
    )
    .offers(Argument::InGroup(Whom::Nobody))
    .of_texts(),
    row(
        Heading::Groups,
        "topic",
        "/topic [TEXT]",
        "what this group is about",
        &[("/topic release on friday", "everybody in it sees it"), ("/topic", "says what it is")],
        |words| words.wish(|words| Ok(Wish::Topic(words.some()))),
    )
    .offers(Argument::InGroup(Whom::Nobody))
    .of_texts(),
    row(
        Heading::Groups,
        "leave",
        "/leave [WHO]",
        "go; the only admin says WHO takes over",
        &[("/leave", "you read nothing more of it"), ("/leave bob", "bob is the admin then")],
        |words| {
            words.wish(|words| match words.rest {
                "" => Ok(Wish::Leave(None)),
                _ => Ok(Wish::Leave(Some(words.person()?))),
            })
        },
    )
    .offers(Argument::InGroup(Whom::Members)),
    row(
        Heading::Groups,
        "members",
        "/members",
        "who is in this group, its topic and invitations",
        &[("/members", "with roles and keys"), ("/members #team", "of another group")],
        |words| words.wish(|words| words.nothing(Wish::Members)),
    )
    .offers(Argument::InGroup(Whom::Nobody)),
    row(
        Heading::Groups,
        "groups",
        "/groups",
        "list your groups",
        &[("/groups", "with your role, members and what is unread")],
        |words| words.none(Command::Groups),
    ),
    row(
        Heading::Groups,
        "delgrp",
        "/delgrp",
        "close this group for everybody; asks first",
        &[("/delgrp", "what was written stays with those who have it")],
        |words| {
            words.wish(|words| match words.rest {
                "" => Ok(Wish::Close(Sure::Ask)),
                "yes" => Ok(Wish::Close(Sure::Yes)),
                _ => Err("only the word yes may follow".into()),
            })
        },
    )
    .offers(Argument::InGroup(Whom::Nobody)),
];

/// As older systems had it: the group's name without its `#`, then a text.
pub(super) static OLD: Row = row(
    Heading::Groups,
    "group_message",
    "/group_message NAME TEXT",
    "as /msg #NAME TEXT",
    &[("/group_message team hi", "sends it to #team")],
    |words| {
        let (name, text) = words.group()?;
        Ok(Command::Message(ChatName::Group(name), text.text()?))
    },
)
.of_texts();
