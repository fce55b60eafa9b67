//! One-shot commands beside a client that holds the profile, and those about keys, passwords and
//! copies: the real programs against a real cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;
use world::World;

/// A line client in a pipe: it holds its profile until its input ends.
struct LineClient {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl LineClient {
    fn start(world: &World, name: &str) -> Self {
        let mut child = world
            .client(&["-p", name, "--plain"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut client = Self { child, input, output };
        // It has the profile once it has answered.
        client.types("/status");
        client.until(name);
        client
    }

    fn types(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn until(&mut self, text: &str) -> String {
        self.output.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap()
    }

    fn ends(mut self) -> i32 {
        drop(self.input.take());
        for _ in self.output.by_ref() {}
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for LineClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

#[test]
fn commands_and_a_client_that_holds_the_profile_work_side_by_side() {
    let world = World::start();
    world.register(&["alice", "bob"]);
    commands_go_through_a_line_client(&world);
    two_followers_both_get_everything(&world);
    a_killed_holder_leaves_nothing_in_the_way(&world);
    commands_wait_for_each_other(&world);
    send_takes_several_people_and_lines(&world);
}

fn commands_go_through_a_line_client(world: &World) {
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob from the line");
    line.until("sent to bob");
    let who = world.run(&["-p", "alice", "whoami", "--json"], 0).json();
    assert_eq!((&who[0]["user"], &who[0]["signed_in"]), (&"alice".into(), &true.into()));
    let sent = world.run(&["-p", "alice", "send", "bob", "from a script", "--json"], 0).json();
    assert_eq!(sent[0]["state"], "sent");
    let piped = world.run_with_input(&["-p", "alice", "send", "bob"], "from\na pipe\n", 0);
    assert!(piped.out().contains("sent to bob"), "{}", piped.out());
    let status = world.run(&["-p", "alice", "status", "--json"], 0).json();
    assert_eq!(status[0]["online"], true);
    let chats = world.run(&["-p", "alice", "chats", "--json"], 0).json();
    assert_eq!(chats[0]["chat"], "bob");
    let got = world.run(&["-p", "bob", "recv", "--json"], 0).json();
    assert_eq!(texts(&got), ["from the line", "from a script", "from\na pipe"]);
    let history = world.run(&["-p", "alice", "history", "bob", "--json"], 0).json();
    assert_eq!(texts(&history), texts(&got));
    // Errors and exit codes come back as they are.
    let typo = world.run(&["-p", "alice", "send", "bbo", "hi"], 5);
    assert!(typo.err().contains("Did you mean bob?"), "{}", typo.err());
    let error = world.run(&["-p", "alice", "cancel", "9999", "--json"], 5).json_error();
    assert_eq!(error["exit"], 5);
    world.run(&["-p", "alice", "recv", "--wait", "0.2"], 10);
    // What needs the profile for itself says so.
    let busy = world.run(&["-p", "alice", "logout"], 9);
    assert!(busy.err().contains("in use"), "{}", busy.err());
    let second = world.run_with_input(&["-p", "alice"], "", 9);
    assert!(second.err().contains(&format!("process {}", line.child.id())), "{}", second.err());
    assert_eq!(line.ends(), 0);
    assert!(!world.profile("alice").join("socket").exists());
    world.run(&["-p", "alice", "chats"], 0);
}

fn two_followers_both_get_everything(world: &World) {
    let follow = || {
        let mut child = world
            .client(&["-p", "alice", "recv", "--follow", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    world.run(&["-p", "bob", "send", "alice", "waits"], 0);
    let (mut first, mut first_lines) = follow();
    assert!(first_lines.next().unwrap().unwrap().contains("waits"));
    let (mut second, mut second_lines) = follow();
    // The second listens once it has taken what is there: its own command went through.
    world.run(&["-p", "alice", "chats"], 0);
    let mut got = String::new();
    for number in 0.. {
        let text = format!("for both {number}");
        world.run(&["-p", "bob", "send", "alice", &text], 0);
        assert!(first_lines.next().unwrap().unwrap().contains(&text));
        if world.run(&["-p", "alice", "recv", "--peek", "--json"], 0).out().is_empty() {
            got = text;
            break;
        }
    }
    assert!(second_lines.by_ref().any(|line| line.unwrap().contains(&got)));
    // The holder's end ends the other one, which says so.
    first.kill().unwrap();
    first.wait().unwrap();
    let ended = second.wait().unwrap();
    assert_eq!(ended.code(), Some(3));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut second.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("held the profile ended"), "{said}");
}

fn a_killed_holder_leaves_nothing_in_the_way(world: &World) {
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob alive");
    line.until("sent to bob");
    let socket = world.profile("alice").join("socket");
    assert!(socket.exists());
    line.child.kill().unwrap();
    line.child.wait().unwrap();
    assert!(socket.exists(), "nobody was there to remove it");
    world.run(&["-p", "alice", "chats"], 0);
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob again");
    line.until("sent to bob");
    world.run(&["-p", "alice", "chats"], 0);
    assert_eq!(line.ends(), 0);
}

fn commands_wait_for_each_other(world: &World) {
    std::thread::scope(|scope| {
        for number in 0..6 {
            let text = format!("at once {number}");
            scope.spawn(move || world.run(&["-p", "bob", "send", "alice", &text], 0));
        }
    });
    let got = world.run(&["-p", "alice", "recv", "--json"], 0).json();
    assert_eq!(
        got.iter().filter(|line| line["text"].as_str().unwrap().starts_with("at once")).count(),
        6
    );
}

fn send_takes_several_people_and_lines(world: &World) {
    world.register(&["carol"]);
    let both = ["-p", "bob", "send", "alice", "--also", "carol", "hi both", "--json"];
    let sent = world.run(&both, 0).json();
    let to: Vec<&str> = sent.iter().map(|line| line["to"].as_str().unwrap()).collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&"alice") && to.contains(&"carol"));
    let partly = ["-p", "bob", "send", "carol", "--also", "nobody", "hi", "--json"];
    let partly = world.run(&partly, 7);
    let lines = partly.json();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).unwrap()["to"].clone();
    assert_eq!((of("sent"), of("refused")), ("carol".into(), "nobody".into()));
    assert_eq!(partly.json_error()["exit"], 7);
    // Line by line, while somebody is there to take them.
    let each = ["-p", "bob", "send", "carol", "--each-line", "--json"];
    let sent = world.run_with_input(&each, "one\n\ntwo\nthree", 0).json();
    assert_eq!(sent.len(), 3);
    let long = format!("fits\n{}\nfits too\n", "x".repeat(fastchat::limits::TEXT_BYTES_MAX + 1));
    let partly = world.run_with_input(&each, &long, 7).json();
    let bad = partly.iter().find(|line| line["type"] == "not_taken").unwrap();
    assert_eq!((&bad["line"], &bad["code"]), (&"2".into(), &"refused".into()));
    let got = world.run(&["-p", "carol", "recv", "--json"], 0).json();
    assert_eq!(texts(&got), ["hi both", "hi", "one", "two", "three", "fits", "fits too"]);
    // A receipt that does not come in time is not a message that was not sent.
    let late = ["-p", "bob", "send", "carol", "x", "--wait", "delivered", "--timeout", "0.5"];
    let late = world.run(&late, 10);
    assert!(late.err().contains("is sent, but was not delivered"), "{}", late.err());
    let carol = LineClient::start(world, "carol");
    let there = ["-p", "bob", "send", "carol", "y", "--wait", "delivered", "--json"];
    assert_eq!(world.run(&there, 0).json()[0]["state"], "delivered");
    assert_eq!(carol.ends(), 0);
    let _ = fs::metadata(world.profile("carol")).unwrap();
}
