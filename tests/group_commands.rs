//! Groups as people and scripts use them: the real programs against a real cluster, by one-shot
//! commands and on terminals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod terminal;
mod world;

use std::fs;
use std::path::Path;

use terminal::Terminal;
use world::World;

const PASSWORD: &str = "open sesame, all of you";

#[test]
fn groups_are_made_joined_changed_and_left() {
    let world = World::start();
    world.register(&["alice", "bob", "carol", "dave"]);
    let folder = tempfile::tempdir().unwrap();
    a_script_makes_a_group_and_writes_to_it(&world, folder.path());
    who_has_the_password_or_a_link_comes_in(&world, folder.path());
    only_admins_change_a_group_and_the_last_one_hands_it_over(&world);
    who_was_brought_in_while_away_reads_it_all_at_once(&world);
    if terminal::possible() {
        people_meet_in_a_group(&world);
    }
}

fn file(folder: &Path, name: &str, line: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("{line}\n")).unwrap();
    path.display().to_string()
}

fn a_script_makes_a_group_and_writes_to_it(world: &World, folder: &Path) {
    let password = file(folder, "password", PASSWORD);
    let words = ["-p", "alice", "group", "create", "team", "bob", "nobody"];
    let words = [&words[..], &["--title", "The Team", "--join-password-file", &password]].concat();
    let ran = world.run(&[&words[..], &["--json"]].concat(), 7);
    let done = ran.json().remove(0);
    assert_eq!((&done["type"], &done["did"]), (&"group_done".into(), &"created".into()));
    assert_eq!(done["failed"][0]["user"], "nobody", "{done}");
    assert_eq!(done["failed"][0]["code"], "not_found", "{done}");
    world.run(&words, 8);

    world.run_with_input(&["-p", "alice", "send", "#team"], "build green", 0);
    // Bob has never heard of the group: what waits is read first.
    world.run(&["-p", "bob", "send", "#team", "hurray"], 0);
    let shown = world.run(&["-p", "bob", "recv", "--from", "#team", "--json"], 0).json();
    let message = shown.iter().find(|line| line["type"] == "message").unwrap();
    assert_eq!((&message["chat"], &message["to"]), (&"#team".into(), &"#team".into()));
    assert_eq!((&message["from"], &message["text"]), (&"alice".into(), &"build green".into()));
    assert!(shown.iter().any(|line| line["what"] == "created"), "{shown:?}");
    let shown = world.run(&["-p", "bob", "recv"], 0).out();
    assert!(shown.contains("alice added you to #team: /to #team"), "{shown}");

    let group = world.run(&["-p", "bob", "group", "show", "#team", "--json"], 0).json().remove(0);
    assert_eq!((&group["title"], &group["role"]), (&"The Team".into(), &"member".into()));
    assert_eq!(group["members"][0]["user"], "alice");
    assert_eq!(group["invites"][0]["password"], true);
    let chats = world.run(&["-p", "bob", "chats"], 0).out();
    assert!(chats.contains("#team"), "{chats}");
    let history = world.run(&["-p", "alice", "history", "#team"], 0).out();
    assert!(history.contains("you → #team  build green"), "{history}");
    world.run(&["-p", "alice", "send", "#nothere", "x"], 5);
    world.run(&["-p", "alice", "history", "#nothere"], 5);
}

fn who_has_the_password_or_a_link_comes_in(world: &World, folder: &Path) {
    let (right, wrong) = (file(folder, "right", PASSWORD), file(folder, "wrong", "open barley"));
    let ran = world.run(&["-p", "carol", "group", "join", "team"], 4);
    assert!(ran.err().contains("client group join team --join-password-file"), "{}", ran.err());
    let join = ["-p", "carol", "group", "join", "team", "--join-password-file"];
    world.run(&[&join[..], &[&wrong]].concat(), 8);
    world.run(&[&join[..], &[&right]].concat(), 0);
    world.run(&[&join[..], &[&right]].concat(), 0);
    world.run(&["-p", "carol", "send", "#team", "carol is here"], 0);
    let shown = world.run(&["-p", "alice", "recv"], 0).out();
    assert!(shown.contains("carol joined by an invitation"), "{shown}");
    assert!(shown.contains("carol: carol is here"), "{shown}");

    // Who is put out knows the password: it ends with that.
    let ran = world.run(&["-p", "alice", "group", "remove", "team", "carol"], 0);
    assert!(ran.err().contains("Invitations ended"), "{}", ran.err());
    let shown = world.run(&["-p", "carol", "recv"], 0).out();
    assert!(shown.contains("alice removed you from #team"), "{shown}");
    let ran = world.run(&["-p", "carol", "send", "#team", "x"], 8);
    assert!(ran.err().contains("You are not in #team any more: alice removed you."));
    assert!(ran.err().contains("client group join team"), "{}", ran.err());
    let history = world.run(&["-p", "carol", "history", "#team"], 0).out();
    assert!(history.contains("carol is here"), "{history}");
    world.run(&[&join[..], &[&right]].concat(), 8);

    let link = world.run(&["-p", "alice", "group", "invite", "team", "--uses", "1"], 0).out();
    let link = link.trim();
    assert!(link.starts_with("fastchat://join/team/"), "{link}");
    world.run(&["-p", "dave", "group", "join", link], 0);
    world.run(&["-p", "carol", "group", "join", link], 8);
    world.run(&["-p", "carol", "group", "join", "fastchat://join/team/x"], 2);
}

fn only_admins_change_a_group_and_the_last_one_hands_it_over(world: &World) {
    for words in [
        &["add", "team", "carol"][..],
        &["remove", "team", "dave"],
        &["promote", "team", "bob"],
        &["rename", "team", "Mine"],
        &["invite", "team"],
        &["topic", "team", "mine"],
        &["close", "team", "--yes"],
    ] {
        let ran = world.run(&[&["-p", "bob", "group"], words].concat(), 8);
        assert!(ran.err().contains("Only an admin of #team"), "{words:?}: {}", ran.err());
    }
    world.run(&["-p", "alice", "group", "add", "team", "carol", "nobody"], 7);
    let ran = world.run(&["-p", "alice", "group", "add", "team", "bob"], 0);
    assert!(ran.err().contains("bob is in #team already"), "{}", ran.err());
    world.run(&["-p", "alice", "group", "topic", "team", "release", "on", "friday"], 0);
    world.run(&["-p", "alice", "group", "forget", "team"], 8);
    let ran = world.run(&["-p", "alice", "group", "leave", "team"], 8);
    assert!(ran.err().contains("You are the only admin of #team."), "{}", ran.err());
    assert!(ran.err().contains("--successor bob"), "{}", ran.err());
    world.run(&["-p", "alice", "group", "leave", "team", "--successor", "bob"], 0);
    let ran = world.run(&["-p", "alice", "send", "#team", "x"], 8);
    assert!(ran.err().contains("You are not in #team any more: you left."), "{}", ran.err());
    world.run(&["-p", "bob", "group", "promote", "team", "dave"], 0);
    let ran = world.run(&["-p", "bob", "group", "close", "team"], 4);
    assert!(ran.err().contains("client group close team --yes"), "{}", ran.err());
    world.run(&["-p", "bob", "group", "close", "team", "--yes"], 0);
    let ran = world.run(&["-p", "bob", "send", "#team", "x"], 8);
    assert!(ran.err().contains("#team is closed"), "{}", ran.err());
    world.run(&["-p", "alice", "group", "forget", "team"], 0);
    let history = world.run(&["-p", "alice", "history", "#team"], 0).out();
    assert!(history.contains("build green"), "{history}");
}

fn who_was_brought_in_while_away_reads_it_all_at_once(world: &World) {
    for (name, read) in [
        ("one", &["recv", "--json"][..]),
        ("two", &["recv", "--json", "-n", "3"]),
        ("three", &["recv", "--json", "--peek"]),
    ] {
        let group = format!("#{name}");
        world.run(&["-p", "alice", "group", "create", name, "bob", "carol"], 0);
        world.run(&["-p", "alice", "send", &group, "good morning"], 0);
        let shown = world.run(&[&["-p", "carol"], read].concat(), 0).json();
        let place = |wanted: &dyn Fn(&serde_json::Value) -> bool| {
            shown.iter().position(wanted).unwrap_or_else(|| panic!("{read:?}: {shown:?}"))
        };
        let added = place(&|line| line["what"] == "added" && line["group"] == *group);
        let made = place(&|line| line["what"] == "created" && line["chat"] == *group);
        let said = place(&|line| line["text"] == "good morning" && line["chat"] == *group);
        assert!(made < said && added < said, "{read:?}: {shown:?}");
        world.run(&["-p", "carol", "send", &group, "hi"], 0);
        world.run(&["-p", "carol", "recv"], 0);
    }
}

/// The number in front of the first line that has one and holds `text`.
fn number_of(shown: &str, text: &str) -> Option<u32> {
    let lines = shown.lines().filter(|line| line.contains(text));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).next()
}

/// Types a password where one is asked for.
fn secretly(terminal: &mut Terminal, question: &str, password: &str) {
    terminal.until_shown(question);
    terminal.press(&format!("{password}\r"));
}

fn people_meet_in_a_group(world: &World) {
    let mut bob = Terminal::sized(world, "-p bob --color never", 30, 40);
    bob.until_prompt("bob> ");
    let mut alice = Terminal::sized(world, "-p alice --color never", 60, 80);
    alice.until_prompt("alice> ");
    alice.press("/create club bob\r");
    secretly(&mut alice, "Password to join #club by (Enter: none):", PASSWORD);
    secretly(&mut alice, "Once more:", PASSWORD);
    alice.until_shown("#club is made, with bob");
    alice.until_prompt("#club> ");

    bob.until_shown("#club: /to #club");
    bob.does("/to #club", "#club> ");
    let shown = bob.does("hi @alice, nice", "you → #club  hi @alice");
    assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
    alice.until_shown("#club      bob: hi @alice, nice");
    bob.until_shown("read by all of #club");
    bob.press("/ids on\r");
    let shown = bob.until("a number", |shown| number_of(shown, "hi @alice").is_some());
    let id = number_of(&shown, "hi @alice").unwrap();
    bob.does(&format!("/seen {id}"), "read by alice (1 of 1)");
    bob.does("/ids off", "numbers are hidden");

    let mut carol = Terminal::start(world, "-p carol --plain");
    carol.press("/join club\r");
    secretly(&mut carol, "Password of #club:", "open barley, all of you");
    carol.until_shown("That does not open #club");
    carol.press("\\join #club\r");
    secretly(&mut carol, "Password of #club:", PASSWORD);
    carol.until_shown("you are in #club, with 2 others");
    alice.until_shown("carol joined by an invitation");
    carol.press("group_message club good evening\r");
    alice.until_shown("#club      carol: good evening");
    alice.does("welcome, carol", "you → #club  welcome, carol");
    carol.until_shown("alice says in #club: welcome, carol");

    bob.does("/kick carol", "Only an admin of #club");
    let members = ["3 members, you are an admin", "to join: the password (by alice)"];
    alice.does_all("/members", &members);
    // A command of a script goes through this client, who sees what it does.
    let link = world.run(&["-p", "alice", "group", "invite", "club"], 0).out();
    assert!(link.starts_with("fastchat://join/club/"), "{link}");

    // Broken by the terminal alone: what is copied there is one line.
    alice.press("/invite\r");
    alice.until_shown("can join #club, until");
    let row = |terminal: &Terminal| {
        let rows: Vec<String> = terminal.screen.screen().rows(0, 80).collect();
        rows.iter().position(|row| row.starts_with("fastchat://join/club/"))
    };
    // The beginning of it may be there before the rest.
    alice.when("a link that goes on in the next row", |terminal| {
        let begins = row(terminal).and_then(|row| u16::try_from(row).ok());
        begins.is_some_and(|row| terminal.screen.screen().row_wrapped(row))
    });

    alice.press("/kick carol\r");
    // It is done before anything is asked, and stays done when the answer is of no use.
    alice.until_shown("carol is out of #club");
    alice.until_shown("Invitations ended");
    carol.until_shown("alice removed you from #club");
    secretly(&mut alice, "A new password to join #club by (Enter: none):", "123");
    secretly(&mut alice, "Once more:", "321");
    alice.until_shown("not the same twice; no password was set");
    carol.until_shown("alice removed you from #club");
    bob.until_shown("carol was removed");
    carol.does("/msg #club still here?", "You are not in #club any more: alice removed you");

    let only =
        ["You are the only admin of #club.", "Hand it over: /leave bob   or close it: /delgrp"];
    alice.does_all("/leave", &only);
    alice.does("/leave bob", "you are out of #club");
    alice.until_prompt("alice> ");
    bob.until_shown("alice left");
    bob.does("/topic just me", "the topic of #club is changed");
    bob.does("anybody?", "you → #club  anybody?");
    bob.press("/delgrp\r");
    bob.until_prompt("y/n> ");
    bob.does("n", "nothing was closed");
    bob.press("/delgrp\r");
    bob.until_prompt("y/n> ");
    bob.press("y\r");
    bob.until_shown("#club is closed for everybody");
    for (mut terminal, prompt) in [(alice, "alice> "), (bob, "bob> ")] {
        terminal.until_prompt(prompt);
        terminal.press("/quit\r");
        terminal.ends_with(0);
    }
    carol.press("/quit\r");
    carol.ends_with(0);
}
