//! Help: all commands on one screen, or one with its examples.

use std::fmt::Write as _;

use crate::ui::text::columns;

use super::row::{Heading, Row};
use super::table::rows;

/// Columns of the headings.
const HEADING_COLUMNS: usize = 10;
/// Least room for what stands beside a heading.
const ROOM_MIN: usize = 20;

/// All commands by heading, in lines of less than `width` columns.
pub fn help(width: usize) -> String {
    let room = width.saturating_sub(HEADING_COLUMNS + 1).max(ROOM_MIN);
    let mut out = String::new();
    for heading in Heading::ALL {
        let mut lines = vec![String::new()];
        for row in rows().filter(|row| row.heading == heading) {
            let last = lines.last().map_or(0, |line| columns(line));
            match lines.last_mut() {
                Some(line) if last == 0 => line.push_str(row.usage),
                Some(line) if last + 3 + columns(row.usage) <= room => {
                    let _ = write!(line, "   {}", row.usage);
                }
                Some(_) | None => lines.push(row.usage.to_owned()),
            }
        }
        for (index, line) in lines.iter().enumerate() {
            let words = if index == 0 { heading.words() } else { "" };
            let _ = writeln!(out, "{words:<HEADING_COLUMNS$}{line}");
        }
    }
    out.push_str("A line that begins with // sends a text that begins with /.\n");
    out.push_str("What one does, with examples: /help msg");
    out
}

/// One command with its examples.
pub fn help_of(row: &Row) -> String {
    let mut out = format!("{}   {}", row.usage, row.summary);
    for (line, effect) in row.examples {
        let _ = write!(out, "\n  {line:<26} {effect}");
    }
    if !row.aliases.is_empty() {
        let names: Vec<String> = row.aliases.iter().map(|alias| format!("/{alias}")).collect();
        let _ = write!(out, "\n  also: {}", names.join(", "));
    }
    out
}
