//! What Tab offers.

use super::find;
use super::row::{Argument, Whom};
use super::table::rows;

/// Who and what there is to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Names and one-word aliases of people.
    pub people: Vec<String>,
    /// The groups that one is in.
    pub groups: Vec<Group>,
    /// The group that is the current chat, with its `#`.
    pub here: Option<String>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// With its `#`.
    pub name: String,
    /// Its admins, without oneself.
    pub admins: Vec<String>,
    /// The others in it, without oneself.
    pub plain: Vec<String>,
}

impl Known {
    fn in_group(&self, whom: Whom, name: Option<&str>) -> Vec<&str> {
        let name = name.or(self.here.as_deref());
        let group = self.groups.iter().find(|group| Some(group.name.as_str()) == name);
        let (admins, plain) =
            group.map_or((&[][..], &[][..]), |group| (&group.admins[..], &group.plain[..]));
        match whom {
            Whom::Outsiders => {
                let is_in = |name: &String| admins.contains(name) || plain.contains(name);
                self.people.iter().filter(|name| !is_in(name)).map(String::as_str).collect()
            }
            Whom::Members => plain.iter().chain(admins).map(String::as_str).collect(),
            Whom::Plain => plain.iter().map(String::as_str).collect(),
            Whom::Admins => admins.iter().map(String::as_str).collect(),
            Whom::Off => vec!["off"],
            Whom::Nobody => Vec::new(),
        }
    }

    fn groups(&self) -> Vec<&str> {
        self.groups.iter().map(|group| group.name.as_str()).collect()
    }

    fn people(&self) -> Vec<&str> {
        self.people.iter().map(String::as_str).collect()
    }
}

/// The words that begin as `typed`, which may have an `@` in front; each ends with a space.
fn beginning<'a>(words: impl IntoIterator<Item = &'a str>, typed: &str) -> Vec<String> {
    let at = if typed.starts_with('@') { "@" } else { "" };
    let typed = typed.trim_start_matches('@');
    words
        .into_iter()
        .filter(|word| word.starts_with(typed) && (at.is_empty() || !word.starts_with('#')))
        .map(|word| format!("{at}{word} "))
        .collect()
}

/// What Tab offers for the word that ends at the end of `line`: where that word starts, and its
/// possible endings. `settings` are the keys of settings.
pub fn complete(line: &str, known: &Known, settings: &[&str]) -> (usize, Vec<String>) {
    let start = line.rfind(' ').map_or(0, |space| space + 1);
    let (before, word) = line.split_at(start);
    let commands = |typed: &str, slash: &str| -> Vec<String> {
        rows()
            .filter(|row| row.name.starts_with(typed))
            .map(|row| format!("{slash}{} ", row.name))
            .collect()
    };
    let mut earlier = before.split_whitespace();
    let Some(first) = earlier.next() else {
        let offers = match word.strip_prefix('/') {
            Some(typed) => commands(typed, "/"),
            None => mentioned(word, known),
        };
        return (start, offers);
    };
    let Some(row) = first.strip_prefix(['/', '\\']).and_then(find) else {
        return (start, mentioned(word, known));
    };
    let before: Vec<&str> = earlier.collect();
    let offers = match (row.argument, before.as_slice()) {
        (Argument::Person, []) => beginning(known.people(), word),
        (Argument::Chat, []) => beginning(known.people().into_iter().chain(known.groups()), word),
        (Argument::PeopleAfterName, [_, named @ ..]) => {
            beginning(known.people().into_iter().filter(|who| !named.contains(who)), word)
        }
        (Argument::InGroup(_), []) if word.starts_with('#') => beginning(known.groups(), word),
        (Argument::InGroup(whom), named) => {
            let group = named.first().copied().filter(|name| name.starts_with('#'));
            let people = known.in_group(whom, group);
            beginning(people.into_iter().filter(|who| !named.contains(who)), word)
        }
        (Argument::Words(some), []) => beginning(some.iter().copied(), word),
        (Argument::Command, []) => commands(word.trim_start_matches('/'), ""),
        (Argument::Setting, []) => beginning(settings.iter().copied(), word),
        (Argument::Files, named) if word.starts_with('-') && !named.contains(&"-m") => {
            beginning(["-m", "--original", "--fit"], word)
        }
        (
            Argument::Person
            | Argument::Chat
            | Argument::PeopleAfterName
            | Argument::Words(_)
            | Argument::Files
            | Argument::PathAfterId
            | Argument::Command
            | Argument::Setting
            | Argument::None,
            _,
        ) => Vec::new(),
    };
    (start, offers)
}

/// Whether the word that ends at the end of `line` is the name of a file, which only a look at the
/// disk can complete.
pub fn wants_file(line: &str) -> bool {
    let Some((row, rest)) = super::row_of(line) else { return false };
    // The name of the command itself is still being typed.
    let behind = line.contains(char::is_whitespace);
    let word = rest.rsplit(' ').next().unwrap_or_default();
    let mut words = rest.split_whitespace();
    behind
        && match row.argument {
            Argument::Files => !word.starts_with('-') && !words.any(|word| word == "-m"),
            Argument::PathAfterId => words.next().is_some_and(|id| rest.len() > id.len()),
            Argument::None
            | Argument::Person
            | Argument::Chat
            | Argument::PeopleAfterName
            | Argument::InGroup(_)
            | Argument::Words(_)
            | Argument::Command
            | Argument::Setting => false,
        }
}

/// In a text, `@` begins the name of somebody: in a group, of who is in it.
fn mentioned(word: &str, known: &Known) -> Vec<String> {
    match (word.starts_with('@'), &known.here) {
        (false, _) => Vec::new(),
        (true, Some(_)) => beginning(known.in_group(Whom::Members, None), word),
        (true, None) => beginning(known.people(), word),
    }
}
