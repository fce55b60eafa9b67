//! What Tab offers.

use super::find;
use super::row::Argument;
use super::table::rows;

/// What Tab offers for the word that ends at the end of `line`: where that word starts, and its
/// possible endings. `people` are the names known, `settings` the keys of settings.
pub fn complete(line: &str, people: &[String], settings: &[&str]) -> (usize, Vec<String>) {
    let start = line.rfind(' ').map_or(0, |space| space + 1);
    let (before, word) = line.split_at(start);
    let names = |word: &str| -> Vec<String> {
        let at = if word.starts_with('@') { "@" } else { "" };
        let typed = word.trim_start_matches('@');
        people
            .iter()
            .filter(|name| name.starts_with(typed))
            .map(|name| format!("{at}{name} "))
            .collect()
    };
    let commands = |typed: &str, slash: &str| -> Vec<String> {
        rows()
            .filter(|row| row.name.starts_with(typed))
            .map(|row| format!("{slash}{} ", row.name))
            .collect()
    };
    let mut earlier = before.split_whitespace();
    let command = |word: &str| word.strip_prefix(['/', '\\']).and_then(find);
    let offers = match (earlier.next(), earlier.next()) {
        (None, _) => word.strip_prefix('/').map_or_else(Vec::new, |typed| commands(typed, "/")),
        (Some(first), None) => match command(first).map(|row| row.argument) {
            Some(Argument::Person) => names(word),
            Some(Argument::Words(some)) => some
                .iter()
                .filter(|one| one.starts_with(word))
                .map(|one| format!("{one} "))
                .collect(),
            Some(Argument::Command) => commands(word.trim_start_matches('/'), ""),
            Some(Argument::Setting) => settings
                .iter()
                .filter(|key| key.starts_with(word))
                .map(|key| format!("{key} "))
                .collect(),
            Some(Argument::None) | None => Vec::new(),
        },
        (Some(_), Some(_)) => Vec::new(),
    };
    (start, offers)
}
