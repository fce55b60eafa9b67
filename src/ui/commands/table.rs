//! The tables of commands, by topic: a row says how a command is called, written, explained and
//! read.

use super::row::{Argument, Row};

mod chats;
mod client;
mod files;
mod groups;
mod people;
mod write;

/// Lines that `/history` shows when no number is given.
pub const HISTORY_LINES: usize = 20;
/// Most lines that one command shows.
pub const LINES_MAX: usize = 1_000;

const ON_OFF: Argument = Argument::Words(&["on", "off"]);

static TABLES: &[&[Row]] =
    &[write::ROWS, files::ROWS, chats::ROWS, groups::ROWS, people::ROWS, client::ROWS];

/// Every command, in the order in which help lists those under one heading.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.iter().copied().flatten()
}

/// A command of older systems that no list shows.
pub(super) fn old(word: &str) -> Option<&'static Row> {
    Some(&groups::OLD).filter(|row| row.name == word)
}
