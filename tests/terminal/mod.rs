//! A program on a pty (made by `script`, where there is one), and the screen that it draws.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests; not every test uses all of it"
)]

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use super::world::{PATIENCE, World};

/// Whether terminals can be made here; says so when they cannot.
pub fn possible() -> bool {
    let is = Command::new("script").arg("--version").output().is_ok();
    if !is {
        eprintln!("skipped: there is no `script` to make a terminal with");
    }
    is
}

/// What a terminal was told beside what it shows.
#[derive(Default)]
pub struct Heard {
    pub titles: Vec<String>,
    pub bells: usize,
    pub unknown: Vec<String>,
}

impl vt100::Callbacks for Heard {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.bells += 1;
    }

    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.titles.push(String::from_utf8_lossy(title).into_owned());
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, words: &[&[u8]]) {
        let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        self.unknown.push(words.join(";"));
    }
}

/// A client on a terminal of its own.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    bytes: mpsc::Receiver<Vec<u8>>,
    /// What has come and is not on the screen yet.
    coming: VecDeque<u8>,
    pub screen: vt100::Parser<Heard>,
    /// Everything that the terminal got.
    pub raw: Vec<u8>,
}

impl Terminal {
    pub fn start(world: &World, words: &str) -> Self {
        Self::sized(world, words, 24, 80)
    }

    pub fn sized(world: &World, words: &str, rows: u16, columns: u16) -> Self {
        let line = format!("exec '{}' {words}", env!("CARGO_BIN_EXE_client"));
        Self::shell(world.command("script"), &line, rows, columns)
    }

    /// A line of the shell, run by this `script`.
    pub fn shell(mut script: Command, line: &str, rows: u16, columns: u16) -> Self {
        let line = format!("stty cols {columns} rows {rows}; {line}");
        let mut child = script
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env_remove("VISUAL")
            .env("EDITOR", "echo written in an editor >")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, bytes) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut buffer) {
                let _ = sender.send(buffer[..read].to_vec());
            }
        });
        let screen = vt100::Parser::new_with_callbacks(rows, columns, 0, Heard::default());
        Self { child, keys, bytes, coming: VecDeque::new(), screen, raw: Vec::new() }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the terminal is as wanted. Looks after every byte: a screen that is only half
    /// drawn is seen at every run, not only on a busy machine, and whoever wants two things on it
    /// has to wait for both.
    #[track_caller]
    pub fn when(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if wanted(self) {
                return shown;
            }
            if let Some(byte) = self.coming.pop_front() {
                self.screen.process(&[byte]);
                self.raw.push(byte);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.coming.extend(bytes),
                Err(_) => panic!("{what} is not on the screen:\n{shown}"),
            }
        }
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.when(what, |terminal| wanted(&terminal.shown()))
    }

    #[track_caller]
    pub fn until_shown(&mut self, text: &str) -> String {
        self.until_all(&[text])
    }

    /// Waits until all of them are on the screen together.
    #[track_caller]
    pub fn until_all(&mut self, texts: &[&str]) -> String {
        let what = texts.join("\n");
        self.until(&what, |shown| texts.iter().all(|text| shown.contains(text)))
    }

    /// Waits for an empty line to type on. Keys that come before it are taken, Ctrl-C is not.
    #[track_caller]
    pub fn until_prompt(&mut self, prompt: &str) -> String {
        self.until(prompt, |shown| shown.lines().last() == Some(prompt))
    }

    /// Types a line and waits for what it leads to.
    #[track_caller]
    pub fn does(&mut self, line: &str, leads_to: &str) -> String {
        self.does_all(line, &[leads_to])
    }

    /// Types a line and waits for all that it leads to.
    #[track_caller]
    pub fn does_all(&mut self, line: &str, leads_to: &[&str]) -> String {
        self.press(&format!("{line}\r"));
        self.until_all(leads_to)
    }

    #[track_caller]
    pub fn ends_with(mut self, exit: i32) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.raw.extend(self.coming.drain(..));
        while let Ok(bytes) = self.bytes.recv_timeout(left()) {
            self.raw.extend(bytes);
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(exit));
        self.raw
    }
}
