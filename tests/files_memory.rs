//! A large file passes through little memory: clients, its home, and a server that only relays.
//!
//! Real processes. The people are clients in processes of `bench`, told what to do line by line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fastchat::types::UserName;
use processes::{Place, Running};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;
/// How much more memory a file of 64 MiB may need than one of 1 MiB.
const ROOM: usize = 16 * MIB;

/// A client in a process of its own.
struct Person {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Person {
    fn start(place: &Place, name: &UserName, ca: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(["part", "person", name.as_str()]).arg(place.path(name.as_str()));
        command.args([&format!("127.0.0.1:{}", place.port), ca, "correct horse battery staple"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut person = Self { child, orders, answers };
        assert_eq!(person.line(), "ready");
        person
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, order: &Value) {
        writeln!(self.orders, "{}", json!({ "number": 1, "what": order })).unwrap();
        let answer: Value = serde_json::from_str(&self.line()).unwrap();
        assert!(answer["what"].get("Done").is_some(), "{order}: {answer}");
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a process ever held.
fn peak_bytes(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Forgets what a process held at most: making an account takes 64 MiB for a moment, and nothing
/// below that would be seen.
fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// The first name of that kind that lives on a server.
fn name_at(place: &Place, server: &str, word: &str) -> UserName {
    let map = place.map();
    (0..1_000)
        .map(|number| UserName::parse(&format!("{word}{number}")).unwrap())
        .find(|name| map.home_of_user(name).unwrap().id.as_str() == server)
        .unwrap()
}

/// From Ann's disk to her home, and from there over Ben's server to Ben's disk.
fn exchange(ann: &mut Person, ben: &mut Person, to: &UserName, folder: &Path, mib: usize) {
    let name = format!("{mib}.bin");
    // No two chunks are the same.
    let content: Vec<u8> = (0..mib * MIB / 8).flat_map(|i| (i * 0x9e37).to_le_bytes()).collect();
    fs::write(folder.join(&name), &content).unwrap();
    ann.ask(&json!({ "Send": { "to": to.as_str(), "path": folder.join(&name) } }));
    let saved = folder.join("saved");
    fs::create_dir_all(&saved).unwrap();
    ben.ask(&json!({ "Save": { "name": name, "folder": saved } }));
    assert!(fs::read(saved.join(&name)).unwrap() == content, "{name} arrived as something else");
}

#[test]
fn a_file_of_64_mib_raises_no_peak_of_memory_by_more_than_16() {
    let place = Place::new();
    let running: Running = place.begin(2);
    let joined = running.wait_for("Join:");
    let ca = joined.split_once("--ca ").unwrap().1.split_whitespace().next().unwrap();
    let (ann, ben) = (name_at(&place, "s1", "ann"), name_at(&place, "s2", "ben"));
    let mut author = Person::start(&place, &ann, ca);
    let mut reader = Person::start(&place, &ben, ca);

    let processes = [
        ("the client that sends", author.child.id()),
        ("the client that fetches", reader.child.id()),
        ("the file's home", place.pid("s1")),
        ("the server that relays", place.pid("s2")),
    ];
    let folder = place.path("files");
    fs::create_dir(&folder).unwrap();
    processes.iter().for_each(|(_, pid)| forget_peak(*pid));
    exchange(&mut author, &mut reader, &ben, &folder, 1);
    let before = processes.map(|(_, pid)| peak_bytes(pid));
    exchange(&mut author, &mut reader, &ben, &folder, 64);
    for ((who, pid), before) in processes.into_iter().zip(before) {
        let more = peak_bytes(pid).saturating_sub(before);
        println!("{who}: {} MiB, {:.1} MiB more for 64", before / MIB, more as f64 / MIB as f64);
        assert!(more <= ROOM, "{who} held {before} bytes at most, and then {more} more");
    }
}
