//! The real `client` against a real cluster: commands, exit codes, JSON, and the line client on a
//! real terminal (a pty by `script`, where there is one; its screen is read by vt100).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod terminal;
mod world;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use terminal::Terminal;
use world::{PASSWORD, World};

#[test]
fn the_commands_do_what_help_and_exit_codes_promise() {
    let world = World::start();
    signing_in_has_all_its_outcomes(&world);
    messages_arrive_once_and_in_order(&world);
    what_is_refused_says_so(&world);
    settings_are_read_and_a_flag_beats_them(&world);
    signing_out_locks_the_profile(&world);
    what_cannot_be_sent_is_kept_and_sent_once(world);
}

fn settings_are_read_and_a_flag_beats_them(world: &World) {
    let path = world.run(&["config", "path"], 0).out();
    assert!(path.trim().ends_with("config/fastchat/client.toml"), "{path}");
    world.run(&["config", "set", "profile", "bob"], 0);
    assert_eq!(world.run(&["whoami", "--json"], 0).json()[0]["profile"], "bob");
    assert_eq!(world.run(&["whoami", "--json", "-p", "alice"], 0).json()[0]["profile"], "alice");
    assert_eq!(world.run(&["config", "get", "profile"], 0).out(), "bob\n");
    let wrong = world.run(&["config", "set", "profil", "bob"], 2);
    assert!(wrong.err().contains("did you mean profile?"), "{}", wrong.err());
    // A file that cannot be understood stops everything but its mending.
    fs::write(path.trim(), "# mine\nprofil = \"bob\"\n").unwrap();
    let broken = world.run(&["whoami"], 2);
    assert!(broken.err().contains("client.toml:2:1"), "{}", broken.err());
    world.run(&["config", "path"], 0);
    world.run(&["whoami", "-p", "bob", "--config", "nowhere.toml"], 5);
    fs::remove_file(path.trim()).unwrap();
}

fn signing_in_has_all_its_outcomes(world: &World) {
    let server = world.server();
    let at = ["--server", server.as_str()];
    // Without a terminal nothing is asked: the fingerprint is shown, and the command to run.
    let unknown =
        world.run(&[&["register", "zoe", "--password-file", "password"][..], &at].concat(), 6);
    assert!(unknown.err().contains(&format!("--ca {}", world.ca)), "{}", unknown.err());
    world.run(&[&["register", "zoe", "--ca", &world.ca][..], &at].concat(), 4);
    world.run(&["chats"], 4);
    let line = world.run(&["127.0.0.1", &world.port.to_string()], 4);
    assert!(line.err().contains("client register"), "{}", line.err());
    world.register(&["alice", "bob"]);
    let known = [&at[..], &["--ca", &world.ca, "--password-file", "password"]].concat();
    // Another profile asks for a taken name; somebody logs in who does not exist.
    world.run(&[&["register", "alice", "-p", "other"][..], &known].concat(), 8);
    world.run(&[&["login", "zoe"][..], &known].concat(), 5);
    // A device without the identity key says so, and what to do.
    let no_key = world.run(&[&["login", "alice", "-p", "second"][..], &known].concat(), 6);
    assert!(no_key.err().contains("--identity FILE"), "{}", no_key.err());
    let forged = "0".repeat(64);
    let wrong = ["login", "zoe", "--server", &server, "--ca", &forged];
    let wrong = [&wrong[..], &["--password-file", "password"]].concat();
    assert!(world.run(&wrong, 6).err().contains(&world.ca));
    let several = world.run(&["chats"], 2);
    assert!(several.err().contains("client -p alice"), "{}", several.err());
    let who = world.run(&["-p", "alice", "whoami", "--json"], 0).json().remove(0);
    assert_eq!((&who["user"], &who["signed_in"]), (&"alice".into(), &true.into()));
    world.run(&["sned", "alice", "hi"], 2);
    assert!(world.run(&["completions", "bash"], 0).out().contains("--password-file"));
}

fn messages_arrive_once_and_in_order(world: &World) {
    let sent =
        world.run(&["-p", "bob", "send", "alice", "one", "two", "--json"], 0).json().remove(0);
    assert_eq!((&sent["type"], &sent["to"]), (&"sent".into(), &"alice".into()));
    assert!(["sent", "delivered"].contains(&sent["state"].as_str().unwrap()));
    world.run_with_input(&["-p", "bob", "send", "alice"], "from a pipe\n", 0);
    world.run_with_input(&["--json", "-p", "bob", "send", "@alice", "-"], "two\nlines\n", 0);
    let peeked = world.run(&["-p", "alice", "recv", "--peek", "--json"], 0).json();
    assert_eq!(peeked.len(), 3);
    let first = world.run(&["-p", "alice", "recv", "-n", "1", "--json"], 0).json();
    assert_eq!(first[0]["text"], "one two");
    assert_eq!(first[0]["again"], false, "peeking is not showing");
    assert_eq!(world.run(&["-p", "alice", "recv", "--from", "zoe", "--json"], 0).json().len(), 0);
    let rest = world.run(&["-p", "alice", "recv", "--from", "bob", "--json"], 0).json();
    let texts: Vec<&str> = rest.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["from a pipe", "two\nlines"]);
    assert_eq!(world.run(&["-p", "alice", "recv"], 0).out(), "");
    world.run(&["-p", "alice", "recv", "--wait", "0.5"], 10);
    let found = world.run(&["-p", "bob", "history", "alice", "--grep", "PIPE", "--json"], 0).json();
    assert_eq!((found.len(), &found[0]["from"]), (1, &"bob".into()));
    world.run(&["-p", "bob", "history", "nobody"], 5);
    let chats = world.run(&["-p", "alice", "chats", "--json"], 0).json();
    assert_eq!((&chats[0]["chat"], &chats[0]["unread"]), (&"bob".into(), &0.into()));
    let status = world.run(&["-p", "alice", "status", "--json"], 0).json().remove(0);
    assert_eq!((&status["online"], &status["waiting"]), (&true.into(), &0.into()));
    // `recv --follow` streams, and a closed pipe ends it quietly.
    let mut follow = world
        .client(&["-p", "alice", "recv", "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    world.run(&["-p", "bob", "send", "alice", "live"], 0);
    assert!(lines.next().unwrap().unwrap().contains("\"text\":\"live\""));
    // While it runs, commands go through it, and a line client says who has the profile.
    world.run(&["-p", "alice", "chats"], 0);
    let busy = world.run(&["-p", "alice"], 9);
    assert!(busy.err().contains(&format!("process {}", follow.id())), "{}", busy.err());
    drop(lines);
    world.run(&["-p", "bob", "send", "alice", "into a closed pipe"], 0);
    let ended = follow.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{ended:?}");
    let again = world.run(&["-p", "alice", "recv", "--json"], 0).json();
    assert_eq!(again[0]["text"], "into a closed pipe", "what nobody read stays unshown");
}

fn what_is_refused_says_so(world: &World) {
    let typo = world.run(&["-p", "bob", "send", "alcie", "hi"], 5);
    assert!(typo.err().contains("Did you mean alice?"), "{}", typo.err());
    world.run(&["-p", "bob", "send", "bob", "hi"], 2);
    world.run(&["-p", "bob", "send", "alice", "hi", "--trust", "verified"], 6);
    world.run(&["-p", "bob", "cancel", "9999"], 5);
    let long = "x".repeat(fastchat::limits::TEXT_BYTES_MAX + 1);
    world.run_with_input(&["-p", "bob", "send", "alice"], &long, 8);
    let usage = world.run(&["--json", "-p", "bob", "send"], 2);
    assert_eq!(usage.json_error()["exit"], 2);
    world.run_with_input(&["-p", "alice"], "/block bob\n", 0);
    world.run(&["-p", "bob", "send", "alice", "hi"], 8);
    world.run_with_input(&["-p", "alice"], "/unblock bob\n", 0);
    // The line client in a pipe: commands in order, one mistake among them.
    let ran = world.run_with_input(&["-p", "bob"], "/to alice\nhello\n//slash\n/mgs x\n", 7);
    assert!(ran.out().contains("Did you mean /msg?"), "{}", ran.out());
    let plain = world.run_with_input(&["-p", "bob", "--plain"], "/msg alice plain\n", 0);
    assert!(plain.out().contains("sent to alice") && plain.out().is_ascii(), "{}", plain.out());
    let got = world.run(&["-p", "alice", "recv", "--json"], 0).json();
    let texts: Vec<&str> = got.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello", "/slash", "plain"]);
}

fn signing_out_locks_the_profile(world: &World) {
    world.run(&["-p", "bob", "logout"], 0);
    world.run(&["-p", "bob", "chats"], 4);
    fs::write(world.folder.path().join("wrong"), "not the password").unwrap();
    world.run(&["-p", "bob", "login", "--password-file", "wrong"], 4);
    world.run(&["-p", "bob", "chats", "--password-file", "password"], 0);
    world.run(&["-p", "bob", "login", "--password-file", "password"], 0);
    world.run(&["-p", "bob", "chats"], 0);
    // The old profile's key file makes another folder a device of the account.
    let key = world.profile("bob").join("identity.pem");
    let (server, key) = (world.server(), key.to_str().unwrap().to_owned());
    let second = ["login", "bob", "-p", "second", "--server", &server, "--ca", &world.ca];
    let second =
        [&second[..], &["--password-file", "password", "--identity", &key, "--takeover"]].concat();
    world.run(&second, 0);
    world.run(&["-p", "second", "logout", "--forget"], 2);
    world.run(&["-p", "second", "logout", "--forget", "--yes"], 0);
    assert!(!world.profile("second").exists());
}

fn what_cannot_be_sent_is_kept_and_sent_once(mut world: World) {
    // The other device took bob's place: this one learns it, keeps the message, and signs in anew.
    let out = world.run(&["-p", "bob", "send", "alice", "before"], 4);
    assert!(out.err().contains("client login"), "{}", out.err());
    world.run(&["-p", "bob", "login", "--password-file", "password"], 0);
    world.run(&["-p", "bob", "retry"], 0);
    world.stop();
    let kept = world.run(&["-p", "bob", "send", "alice", "kept", "--timeout", "1", "--json"], 3);
    let error = kept.json_error();
    let id = error["kept"].as_str().unwrap().to_owned();
    assert!(error["text"].as_str().unwrap().contains("do not send it again"));
    let other =
        world.run(&["-p", "bob", "send", "alice", "taken back", "--timeout", "1", "--json"], 3);
    let other = other.json_error()["kept"].as_str().unwrap().to_owned();
    world.run(&["-p", "bob", "cancel", &other, "--json"], 0);
    world.run(&["-p", "bob", "cancel", &other], 8);
    world.run(&["-p", "bob", "retry", "--timeout", "1"], 3);
    world.run(&["-p", "bob", "status", "--timeout", "1"], 3);
    // The same folder, started again: what was kept goes once.
    let (port, ca) = (world.port, world.ca.clone());
    let folder = std::mem::replace(&mut world.folder, tempfile::tempdir().unwrap());
    let mut world = World::run_balancer(folder, port);
    world.ca = world.ready();
    assert_eq!(world.ca, ca);
    let sent = world.run(&["-p", "bob", "retry", "--json"], 0).json();
    assert_eq!((sent.len(), sent[0]["id"].as_str()), (1, Some(id.as_str())));
    world.run(&["-p", "bob", "retry"], 0);
    let got = world.run(&["-p", "alice", "recv", "--json"], 0).json();
    let texts: Vec<&str> = got.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["before", "kept"]);
}

#[test]
fn ctrl_c_at_a_password_leaves_a_terminal_that_echoes() {
    if !terminal::possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("exported"), "never read").unwrap();
    let mut script = Command::new("script");
    script.env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
    script.current_dir(folder.path());
    let client = env!("CARGO_BIN_EXE_client");
    let line = format!("'{client}' key import exported zoe; echo \"ended with $?\"; exec cat");
    let mut zoe = Terminal::shell(script, &line, 24, 80);
    zoe.until_shown("Passphrase of the file:");
    zoe.press("secret\u{3}");
    zoe.until_shown("ended with 130");
    // The terminal shows it while it is typed: nobody has pressed Enter.
    zoe.press("seen");
    let shown = zoe.until_shown("seen");
    assert!(!shown.contains("secret"), "{shown}");
    zoe.press("\r\u{4}");
    zoe.ends_with(0);
}

#[test]
fn two_people_talk_in_the_line_client_and_a_half_typed_line_survives() {
    if !terminal::possible() {
        return;
    }
    let world = World::start();
    world.register(&["bob"]);
    // The first run: the fingerprint is asked for, the name, the password twice.
    let mut alice = Terminal::start(&world, &format!("-p alice 127.0.0.1 {}", world.port));
    assert!(alice.until_shown("trusted from now on. [y/N]").contains(&world.ca));
    alice.press("y\r");
    alice.until_shown("User name:");
    alice.press("bob\r");
    alice.until_shown("Is it yours? Sign in [y/N]");
    alice.press("n\r");
    alice.until("the name again", |shown| shown.matches("User name:").count() == 2);
    alice.press("Alice\r");
    alice.until_shown("\"alice\" is free");
    alice.until_shown("is fine):");
    alice.press("short\r");
    alice.until_shown("too short");
    alice.until("the password again", |shown| shown.matches("is fine):").count() == 2);
    alice.press(&format!("{PASSWORD}\r"));
    alice.until_shown("Once more:");
    alice.press(&format!("{PASSWORD}\r"));
    alice.until_shown("alice> ");
    assert!(!alice.screen.screen().contents().contains(PASSWORD));
    // Own lines get their mark; what is typed is replaced by them.
    alice.press("/msg bob hello bob\r");
    // A server that takes its time puts the mark into a line of its own.
    let shown = alice.until("the mark", |shown| {
        let own = |line: &str| line.contains("you → bob  hello bob") && line.ends_with('·');
        shown.lines().any(|line| own(line) || line == "· sent to bob")
    });
    assert!(!shown.contains("/msg bob hello bob"), "{shown}");
    // Tab completes; a message comes in above the half-typed line; then the line is sent.
    alice.press("/to b\t\r");
    alice.until_shown("bob> ");
    alice.press("half a li");
    alice.until_shown("bob> half a li");
    world.run(&["-p", "bob", "send", "alice", "are you \u{1b}[31mcoming\u{7}?"], 0);
    let shown = alice.until_shown("are you coming?");
    let incoming = shown.lines().position(|line| line.contains("are you coming?")).unwrap();
    alice.until("the half-typed line below it", |shown| {
        shown.lines().nth(incoming + 1).is_some_and(|line| line == "bob> half a li")
    });
    alice.press("ne\r");
    alice.until_shown("you → bob  half a line");
    let got = world.run(&["-p", "bob", "recv", "--json"], 0).json();
    let texts: Vec<&str> = got.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello bob", "half a line"]);
    alice.until_shown("delivered to bob");
    // The safety number, and that it must be looked at before it is confirmed.
    alice.press("/verify bob yes\r");
    alice.until_shown("Look at the number first");
    alice.press("/verify bob\r");
    alice.until_shown("The same on both screens");
    alice.press("/verify bob yes\r");
    alice.until_shown("bob is verified.");
    // Ctrl-C clears a line, twice on an empty one leaves.
    alice.press("something typed");
    alice.until_shown("bob> something typed");
    alice.press("\u{3}");
    alice.until("an empty line", |shown| shown.lines().last() == Some("bob> "));
    alice.press("\u{3}");
    alice.until_shown("once more leaves");
    alice.press("\u{3}");
    alice.ends_with(130);
    // What was written to people is not in the input history on disk; it is in the sealed history.
    let input = fs::read_to_string(world.folder.path().join("state/fastchat/alice/input")).unwrap();
    assert!(input.contains("/to bob") && !input.contains("hello") && !input.contains("half"));
    let history = world.run(&["-p", "alice", "history", "bob", "-n", "1"], 0).out();
    assert!(history.contains("half a line"), "{history}");
    // A second start needs no password: the first one left the profile unlocked.
    let mut again = Terminal::start(&world, "-p alice chat bob");
    again.until_shown("bob> ");
    again.press("/quit\r");
    again.ends_with(0);
}
