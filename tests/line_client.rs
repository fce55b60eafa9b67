//! The line client as people see it: real programs on real terminals, whose screens are read.
//!
//! One cluster and five accounts serve all chapters: starting and signing up take most of the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod terminal;
mod world;

use std::fs;

use terminal::Terminal;
use world::World;

/// Column in which the screens of 80 columns have their texts.
const TEXTS: usize = 19;

#[test]
fn the_line_client_shows_and_does_what_it_promises() {
    if !terminal::possible() {
        return;
    }
    let world = World::start();
    world.register(&["alice", "bob", "carol", "mallory"]);
    let (alice, bob) = strangers_meet(&world);
    let (alice, bob) = two_people_talk(alice, bob);
    let (alice, bob) = long_texts_are_sent_on_purpose(alice, bob);
    let (alice, bob) = nothing_disturbs_half_a_line(&world, alice, bob);
    let alice = everything_else_answers(&world, alice);
    bob.ends_by("/quit");
    alice.ends_by("/quit");
    what_strangers_send_is_harmless(&world);
    a_request_is_shown_though_its_first_line_was_read_elsewhere(&world);
    plain_is_ascii_and_one_event_per_line(&world);
    help_fits_one_screen(&world);
    a_changed_key_cannot_be_missed(&world);
    the_network_goes_and_comes(world);
}

trait Ends {
    fn ends_by(self, line: &str);
}

impl Ends for Terminal {
    fn ends_by(mut self, line: &str) {
        self.press(&format!("{line}\r"));
        self.ends_with(0);
    }
}

fn line_with(shown: &str, text: &str) -> String {
    shown.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
}

/// The number in front of the first line that has one and holds `text`.
fn number_of(shown: &str, text: &str) -> Option<u32> {
    let lines = shown.lines().filter(|line| line.contains(text));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).next()
}

/// Types a line and waits for a numbered line with `text`; returns its number.
#[track_caller]
fn number_after(terminal: &mut Terminal, line: &str, text: &str) -> u32 {
    terminal.press(&format!("{line}\r"));
    let shown = terminal.until("a numbered line", |shown| number_of(shown, text).is_some());
    number_of(&shown, text).unwrap()
}

fn strangers_meet(world: &World) -> (Terminal, Terminal) {
    let mut alice = Terminal::start(world, "-p alice --color always chat bob");
    alice.until_shown("bob> ");
    alice.does("are you coming tonight?", "you → bob  are you coming tonight?");
    let mut bob = Terminal::sized(world, "-p bob --color never", 24, 40);
    bob.until_all(&["are you coming tonight?", "/accept alice", "/block alice"]);
    let shown = bob.until_shown("bob> ");
    assert!(!shown.contains("Nothing new"), "{shown}");
    bob.does("/accept alice", "Accepted.");
    bob.does("/to alice", "alice> ");
    // Alice's line says that it was read, or a line below it does.
    alice.until("that it was read", |shown| shown.contains("✓✓"));
    (alice, bob)
}

/// At 80 columns and in colour, and at 40 without.
fn two_people_talk(mut alice: Terminal, mut bob: Terminal) -> (Terminal, Terminal) {
    let id = number_after(&mut bob, "/ids", "] alice");
    bob.does(&format!("/reply {id} on my way"), "↪ alice: are you");
    let answer = format!("{}on my way", " ".repeat(TEXTS));
    let shown = alice.until("the answer", |shown| shown.lines().any(|line| line == answer));
    let at = shown.lines().position(|line| line == answer).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[at - 1].ends_with("bob        ↪ you: are you coming tonight?"), "{shown}");
    let dim = alice.screen.screen().cell(u16::try_from(at - 1).unwrap(), 19).unwrap();
    assert!(dim.dim(), "what is answered is dim");

    let id = number_after(&mut alice, "/ids", "↪ you");
    alice.does(&format!("/react {id} 👍"), "you: 👍 to bob's \"on my way\"");
    bob.until_shown("alice: 👍 to your \"on my way\"");
    alice.does(&format!("/react {id} off"), "you took back a reaction");
    bob.until_shown("alice took back a reaction");

    bob.does("/edit on my way, really", "(edited)");
    alice.until_shown(&format!("bob changed message {id} of "));
    let shown = bob.does("/me waves", "* bob waves");
    for line in shown.lines() {
        assert!(line.chars().count() <= 40, "{line:?} in\n{shown}");
    }
    alice.until_shown("bob        * bob waves");

    let waved = number_after(&mut bob, "/history 3", "* bob waves");
    bob.does(&format!("/delete {waved}"), "deleted here; alice is asked to");
    alice.until_shown("bob deleted message");
    bob.does(&format!("/reply {waved} no"), "was deleted.");
    bob.does("/delete 9999", "There is no message 9999.");
    alice.does("/edit tonight at eight?", "tonight at eight?");
    bob.until_shown("\"tonight at eight?\"");
    alice.does("/ids off", "numbers are hidden");
    bob.does("/ids off", "numbers are hidden");
    (alice, bob)
}

fn long_texts_are_sent_on_purpose(mut alice: Terminal, mut bob: Terminal) -> (Terminal, Terminal) {
    // A paste of several lines asks once, and no is no.
    alice.press("\x1b[200~first line\nsecond line\x1b[201~\r");
    alice.until_shown("Send these 2 lines to bob as one message?");
    alice.until_shown("y/n> ");
    alice.does("n", "not sent; it can be called back");
    alice.press("\x1b[200~third line\nfourth line\x1b[201~\r");
    alice.until("the second question", |shown| shown.matches("Send these 2").count() == 2);
    alice.press("y\r");
    let shown = bob.until_all(&["alice  third line", "fourth line"]);
    assert!(!shown.contains("second line"), "{shown}");
    // `/multi` takes slashes for what they are; Ctrl-C drops what was begun.
    alice.does("/multi", "... ");
    alice.press("/quit is a word\r");
    alice.press("the end\r");
    alice.press(".\r");
    bob.until_shown("alice  /quit is a word");
    bob.until_shown("        the end");
    alice.does("/multi", "... ");
    alice.press("never mind\r");
    alice.until("the next line", |shown| {
        shown.contains("... never mind") && shown.lines().last() == Some("... ")
    });
    alice.press("\u{3}");
    alice.until_shown("dropped; nothing was sent");
    // The person's own editor, and a text that begins with a slash.
    alice.does("/editor", "you → bob  written in an editor");
    alice.does("//etc/hosts", "you → bob  /etc/hosts");
    bob.until_shown("alice  /etc/hosts");
    (alice, bob)
}

fn nothing_disturbs_half_a_line(
    world: &World,
    mut alice: Terminal,
    mut bob: Terminal,
) -> (Terminal, Terminal) {
    alice.does("/clear", "bob> ");
    alice.until("an empty screen", |shown| !shown.contains("tonight"));
    alice.press("half a li");
    alice.until_shown("bob> half a li");
    // Bob sees that Alice types, once; she sees his message above her line.
    bob.until_shown("alice is typing");
    bob.does("come at nine", "you → alice  come at nine");
    alice.until("the message above the line", |shown| {
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines.iter().position(|line| line.ends_with("bob        come at nine"));
        at.is_some() && lines.last() == Some(&"bob> half a li")
    });
    // Somebody else writes: it is counted, in the title too, and Alt-A goes there and back.
    world.run(&["-p", "carol", "send", "alice", "hello from carol"], 0);
    alice.until_shown("carol      hello from carol");
    alice.when("the title", |terminal| {
        terminal.screen.callbacks().titles.last().is_some_and(|title| title == "(1) FastChat")
    });
    assert_eq!(alice.screen.callbacks().bells, 0, "nothing rings within 30 s of a catch-up");
    alice.press("\x1ba");
    alice.until_shown("carol> ");
    alice.when("the title", |terminal| {
        terminal.screen.callbacks().titles.last().is_some_and(|title| title == "FastChat")
    });
    alice.does("/next", "nothing is unread");
    alice.does("/to bob", "bob> half a li");
    alice.press("ne\r");
    bob.until_shown("alice  half a line");
    assert_eq!(bob.shown().matches("alice is typing").count(), 1, "said once");
    // The input history answers Ctrl-R.
    alice.until_prompt("bob> ");
    alice.press("\x12/next");
    alice.until_shown("(reverse-i-search)`/next': /next");
    alice.press("\u{3}");
    alice.until_prompt("bob> ");
    (alice, bob)
}

/// Each command with what it leads to.
fn everything_else_answers(world: &World, mut alice: Terminal) -> Terminal {
    // A number names the message, though another is the last.
    let hosts = number_after(&mut alice, "/ids", "/etc/hosts");
    alice.does(&format!("/edit {hosts} /etc/hosts, mine"), "you → bob  /etc/hosts, mine");
    alice.does("/ids off", "numbers are hidden");
    for (line, leads_to) in [
        ("/mute noone", "No user \"noone\", or nobody you know; nothing was changed."),
        ("/alias noone N", "No user \"noone\", or nobody you know; nothing was changed."),
        ("/accept carl", "Did you mean carol?"),
        ("/unblock noone", "No user \"noone\", or nobody you know; nothing was changed."),
        ("/accept-key noone", "No user \"noone\", or nobody you know; nothing was changed."),
        ("/accept-key bob", "bob's key has not changed; there is nothing to accept"),
        ("/unblock bob", "bob is not blocked"),
        ("/block alice", "That is you; nothing was changed."),
        ("/msg noone hi", "No user \"noone\" here."),
        ("/mgs bob hi", "There is no /mgs; nothing was sent. Did you mean /msg?"),
        ("/alias bob Bobby", "bob is shown as Bobby; only you see it"),
        ("/msg bobby hello again", "you → Bobby  hello again"),
        ("/alias bob", "bob has no other name here now"),
        ("\\all", "Everybody: alice"),
        ("/contacts", "bob               o"),
        ("/keys", "Your identity key:"),
        ("/mute 2h", "bob is muted until "),
        ("/mute off", "bob is not muted"),
        ("/notify mentions", "only what names or answers you rings in the chat with bob"),
        ("/receipts off", "read receipts are neither sent nor shown in the chat with bob"),
        ("/receipts on everywhere", "in all chats without a wish"),
        ("/typing off", "that you are typing is not shown in the chat with bob"),
        ("/mute 2h", "bob is muted until "),
        ("/mute", "bob is muted for good (was until "),
        ("/invisible", "you are invisible"),
        ("/invisible off", "you are visible"),
        ("/ text", "To send it: // TEXT"),
        ("/expire 7d", "forgotten on both sides 1 week after"),
        ("/expire off", "what you write to bob is kept"),
        ("/time full", "times are shown with seconds"),
        ("/time", "times are shown without seconds"),
        ("/set bell false", "bell = false"),
        ("/set bell maybe", "bell is true|false, got \"maybe\""),
        ("/set edit_mode vi", "edit_mode = vi, from the next start on"),
        ("/search ETC/", "you → bob  /etc/hosts"),
        ("/goto yesterday", "tonight at eight?"),
        ("/goto 2020-01-01", "nothing from that day; the next is of "),
        ("/goto someday", "A day is written like"),
        ("/unread", "nothing is unread"),
        ("/retry", "nothing waits to be sent"),
        ("/doctor", "connection: to s"),
        ("/status", "waiting to be sent: 0"),
        ("/chats", "carol"),
        ("/close", "closed; bob comes back with the next message"),
        ("/msg nonesuch hi", "No user \"nonesuch\" here."),
        ("said to nobody", "Choose a chat first"),
        ("/to carol", "carol> said to nobody"),
    ] {
        // What stood there before must not be taken for the answer.
        alice.press("/clear\r");
        alice.until("an empty screen", |s| !s.contains(leads_to) && !s.contains("/clear"));
        alice.does(line, leads_to);
    }
    alice.press("\u{3}");
    alice.until_prompt("carol> ");
    alice.press("/clear\r");
    alice.does("/contacts", "bob               o");
    let shown = alice.until_prompt("carol> ");
    assert!(!shown.contains("noone"), "{shown}");
    let settings = fs::read_to_string(world.folder.path().join("config/fastchat/client.toml"));
    let settings = settings.unwrap();
    assert!(settings.contains("bell = false") && settings.contains("edit_mode = \"vi\""));
    fs::remove_file(world.folder.path().join("config/fastchat/client.toml")).unwrap();
    // What was written to people is in no input history on disk.
    let input = fs::read_to_string(world.folder.path().join("state/fastchat/alice/input")).unwrap();
    for secret in ["hello again", "eight", "ETC/", "half a", "nobody", "third", "👍"] {
        assert!(!input.contains(secret), "{secret} in\n{input}");
    }
    assert!(input.contains("/mute 2h"), "{input}");
    alice
}

fn what_strangers_send_is_harmless(world: &World) {
    let mut alice = Terminal::start(world, "-p alice");
    alice.until_shown("alice> ");
    let hostile = "x\u{1b}]2;owned\u{7}\u{1b}[2J\u{1b}[31m\u{9b}1Ay\u{202e}z\r[12:00] bob  hi\u{7}";
    world.run_with_input(&["-p", "mallory", "send", "alice"], hostile, 0);
    // On one line.
    alice.until_shown("mallory    xy<U+202E>z[12:00] bob  hi");
    let first = "mallory writes to you for the first time:";
    alice.until_all(&[first, "/accept mallory   /block mallory"]);
    alice.until_prompt("alice> ");
    let heard = alice.screen.callbacks();
    assert!(heard.titles.iter().all(|title| title.ends_with("FastChat")), "{:?}", heard.titles);
    assert_eq!((heard.bells, heard.unknown.len()), (0, 0));
    alice.does("/block mallory", "mallory is blocked.");
    alice.ends_by("/quit");
}

fn a_request_is_shown_though_its_first_line_was_read_elsewhere(world: &World) {
    world.run(&["-p", "carol", "send", "bob", "the first line"], 0);
    world.run(&["-p", "bob", "recv", "--wait", "60", "-n", "1"], 0);
    let mut bob = Terminal::start(world, "-p bob");
    bob.until_shown("bob> ");
    world.run(&["-p", "carol", "send", "bob", "the second line"], 0);
    bob.until_all(&["the second line", "/accept carol   /block carol"]);
    world.run(&["-p", "carol", "send", "bob", "the third line"], 0);
    let shown = bob.until_shown("the third line");
    assert_eq!(shown.matches("/accept carol").count(), 1, "said once:\n{shown}");
    bob.ends_by("/quit");
}

fn plain_is_ascii_and_one_event_per_line(world: &World) {
    // In a pipe, a text of several lines ends with a dot, or is not sent.
    let unended = world.run_with_input(&["-p", "alice"], "/to bob\n/multi\nnot whole\n", 2);
    assert!(unended.out().contains("it was not sent"), "{}", unended.out());
    // One that is too long goes nowhere, and neither do the lines that are left of it.
    let long = format!("{}\n", "x".repeat(1_000)).repeat(40);
    let long = format!("/to bob\n/multi\n{long}the rest of it\n.\n");
    let refused = world.run_with_input(&["-p", "alice"], &long, 2);
    assert!(refused.out().contains("longer than a message may be"), "{}", refused.out());
    let history = world.run(&["-p", "alice", "history", "bob"], 0);
    assert!(!history.out().contains("the rest of it"), "{}", history.out());
    world.run_with_input(&["-p", "alice"], "/to bob\n/multi\n/one\ntwo\n.\n", 0);
    let mut bob = Terminal::start(world, "-p bob --plain chat alice");
    bob.until_shown("alice says: /one | two");
    bob.press("\u{3}");
    bob.until_shown("once more leaves");
    world.run(&["-p", "alice", "send", "bob", "two\nlines"], 0);
    bob.until_shown("alice says: two | lines");
    bob.does("thanks", "sent to alice");
    bob.press("/me waves\r");
    bob.until("that it is sent", |shown| shown.matches("sent to alice").count() == 2);
    bob.does("/help", "/help msg");
    bob.does("/doctor", "ok    terminal");
    bob.press("/quit\r");
    let raw = String::from_utf8(bob.ends_with(0)).unwrap();
    assert!(raw.is_ascii() && !raw.contains('\u{1b}'), "{raw:?}");
    assert!(raw.contains("what you type goes to alice") || raw.contains("Help: /help"), "{raw}");
    world.run(&["-p", "alice", "recv"], 0);
}

fn help_fits_one_screen(world: &World) {
    let mut alice = Terminal::start(world, "-p alice");
    alice.until_shown("alice> ");
    alice.press("/help\r");
    let shown = alice.until("all of it", |shown| {
        shown.contains("/help msg") && shown.lines().last() == Some("alice> ")
    });
    assert!(shown.lines().any(|line| line.starts_with("Write")), "the first line:\n{shown}");
    assert!(shown.contains("/quit"), "{shown}");
    alice.does("/help msg", "/msg bob are you coming?");
    alice.ends_by("/quit");
}

fn a_changed_key_cannot_be_missed(world: &World) {
    let server = world.server();
    let again = ["login", "carol", "-p", "carol2", "--server", &server, "--ca", &world.ca];
    let words = ["--password-file", "password", "--takeover", "--new-identity", "--timeout", "30"];
    world.run(&[&again[..], &words].concat(), 0);
    let mut alice = Terminal::start(world, "-p alice chat carol");
    alice.until_shown("carol> ");
    let changed = ["!! carol's key has changed", "/verify carol", "/accept-key"];
    let shown = alice.does_all("is it you?", &changed);
    let row = shown.lines().position(|line| line.starts_with("!! carol's")).unwrap();
    let cell = alice.screen.screen().cell(u16::try_from(row).unwrap(), 0).unwrap();
    assert!(cell.bold(), "it stands out");
    alice.does("/accept-key carol", "carol's new key is accepted; not verified.");
    alice.until_shown("carol> ");
    alice.ends_by("/quit");
}

fn the_network_goes_and_comes(mut world: World) {
    let mut alice = Terminal::start(&world, "-p alice chat bob");
    alice.until_shown("bob> ");
    world.stop();
    alice.until_shown("offline since ");
    alice.does("written in the dark", "…");
    let (port, folder) =
        (world.port, std::mem::replace(&mut world.folder, tempfile::tempdir().unwrap()));
    let mut world = World::run_balancer(folder, port);
    world.ca = world.ready();
    let shown = alice
        .until("how many were sent", |shown| line_with(shown, "back online, ").contains(" sent"));
    assert_eq!(shown.matches("offline since").count(), 1, "one line, never a scroll:\n{shown}");
    alice.press("half a thought");
    alice.until_shown("bob> half a thought");
    // A terminal that goes away leaves the half line as a draft.
    let pid = fs::read_to_string(world.profile("alice").join("lock")).unwrap_or_default();
    if let Ok(pid) = pid.trim().parse::<u32>() {
        std::process::Command::new("kill").args(["-HUP", &pid.to_string()]).status().unwrap();
        alice.ends_with(130);
        let mut again = Terminal::start(&world, "-p alice chat bob");
        again.until_shown("bob> half a thought");
        again.press("\u{3}");
        again.until_prompt("bob> ");
        again.ends_by("/quit");
    } else {
        panic!("the lock file names the process: {pid:?}");
    }
}
