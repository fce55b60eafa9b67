//! What follows the name of a command, taken apart.
//!
//! Each function says in a clause what is wrong; the row's usage is added to it.

use std::time::Duration;

use crate::client::{LocalId, PictureChoice};
use crate::types::{ChatName, GroupName, UserName};
use crate::ui::files;
use crate::ui::names::Names;
use crate::ui::text::excerpt;

use super::wish::Wish;
use super::{Command, Reach, Sending, Switch};

/// A time that something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// This long.
    For(Duration),
    /// Until it is ended.
    Always,
    /// Not any more.
    Off,
}

/// Longest duration that may be typed: ten years.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Reads `90s`, `10m`, `2h`, `7d`, `1w` and what is put together from them: `1h30m`.
pub fn duration(word: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut number = String::new();
    for c in word.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let count: u64 = std::mem::take(&mut number).parse().ok()?;
        seconds = seconds.checked_add(count.checked_mul(unit)?)?;
    }
    let all = Duration::from_secs(seconds);
    (number.is_empty() && seconds > 0 && all <= DURATION_MAX).then_some(all)
}

/// The number of a message that a text begins with, and the text behind it.
pub fn numbered(text: &str) -> Option<(LocalId, &str)> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    match word.trim_start_matches('#').parse::<i64>() {
        Ok(id @ 1..) if !rest.is_empty() => Some((LocalId(id), rest)),
        Ok(_) | Err(_) => None,
    }
}

/// The words behind a command, and the names that they may hold.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) rest: &'a str,
    pub(super) names: &'a Names,
}

type Parsed<T> = Result<T, String>;

impl<'a> Words<'a> {
    /// Nothing may follow.
    pub(super) fn none(self, command: Command) -> Parsed<Command> {
        if self.rest.is_empty() { Ok(command) } else { Err("nothing may follow".into()) }
    }

    /// The first word, and the others.
    pub(super) fn first(self) -> (&'a str, Self) {
        let (word, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        (word, Self { rest: rest.trim_start(), ..self })
    }

    /// What remains, if anything does.
    pub(super) fn some(self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.rest.to_owned())
    }

    /// A text must follow.
    pub(super) fn text(self) -> Parsed<String> {
        self.some().ok_or_else(|| "a text is missing".into())
    }

    /// One person, and nothing else.
    pub(super) fn person(self) -> Parsed<UserName> {
        let (who, rest) = self.somebody()?;
        if rest.rest.is_empty() { Ok(who) } else { Err("only a name may follow".into()) }
    }

    /// A person first.
    pub(super) fn somebody(self) -> Parsed<(UserName, Self)> {
        let (word, rest) = self.first();
        if word.is_empty() {
            return Err("a name is missing".into());
        }
        Ok((self.names.resolve(word)?, rest))
    }

    /// One chat, and nothing else.
    pub(super) fn chat(self) -> Parsed<ChatName> {
        let (chat, rest) = self.some_chat()?;
        if rest.rest.is_empty() { Ok(chat) } else { Err("only a name may follow".into()) }
    }

    /// A chat first.
    pub(super) fn some_chat(self) -> Parsed<(ChatName, Self)> {
        let (word, rest) = self.first();
        if word.is_empty() {
            return Err("a name is missing".into());
        }
        Ok((self.names.resolve_chat(word)?, rest))
    }

    /// A group first, with its `#` or without.
    pub(super) fn group(self) -> Parsed<(GroupName, Self)> {
        let (word, rest) = self.first();
        match GroupName::parse(word) {
            Ok(name) => Ok((name, rest)),
            Err(_) if word.is_empty() => Err("the name of a group is missing".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A wish about the group that is named first by its `#`, or about the current one.
    pub(super) fn wish(self, parse: impl FnOnce(Self) -> Parsed<Wish>) -> Parsed<Command> {
        if self.rest.starts_with('#') {
            let (name, rest) = self.group()?;
            return Ok(Command::InGroup(Some(name), parse(rest)?));
        }
        Ok(Command::InGroup(None, parse(self)?))
    }

    /// A wish that nothing may follow.
    pub(super) fn nothing(self, wish: Wish) -> Parsed<Wish> {
        if self.rest.is_empty() { Ok(wish) } else { Err("only a #group may follow".into()) }
    }

    /// People, each once, and nothing else.
    pub(super) fn people(self) -> Parsed<Vec<UserName>> {
        let people = self.people_or_none()?;
        if people.is_empty() { Err("a name is missing".into()) } else { Ok(people) }
    }

    /// As [`Self::people`], or nobody.
    pub(super) fn people_or_none(self) -> Parsed<Vec<UserName>> {
        let mut people = Vec::new();
        for word in self.rest.split_whitespace() {
            let who = self.names.resolve(word)?;
            if !people.contains(&who) {
                people.push(who);
            }
        }
        Ok(people)
    }

    /// The number of a message first.
    pub(super) fn message(self) -> Parsed<(LocalId, Self)> {
        let (word, rest) = self.first();
        match word.trim_start_matches('#').parse::<i64>() {
            Ok(id @ 1..) => Ok((LocalId(id), rest)),
            Ok(_) | Err(_) if word.is_empty() => Err("a number is missing (see /ids)".into()),
            Ok(_) | Err(_) => Err("ID is the number of a message (see /ids)".into()),
        }
    }

    /// Names of files, and what goes with them. A caption in quotes is one word; without them it
    /// goes to the end of the line. After `--`, everything is a name.
    pub(super) fn files(self) -> Parsed<Sending> {
        let mut sending =
            Sending { files: Vec::new(), caption: String::new(), picture: PictureChoice::Clean };
        let (mut text, mut names_only) = (self.rest, false);
        while let Some((word, rest)) = files::split(text) {
            // In quotes it is a name, whatever it begins with.
            let is_option = text.trim_start().starts_with('-') && !names_only;
            text = rest;
            match (is_option, word.as_str()) {
                (true, "--") => names_only = true,
                (true, "--original" | "--fit") if sending.picture != PictureChoice::Clean => {
                    return Err("--original or --fit, one of them and once".into());
                }
                (true, "--original") => sending.picture = PictureChoice::Original,
                (true, "--fit") => sending.picture = PictureChoice::Fit,
                (true, "-m") => match rest.chars().next() {
                    None => return Err("a caption is missing after -m".into()),
                    Some('"' | '\'') => {
                        let (caption, behind) = files::split(rest).unwrap_or_default();
                        (sending.caption, text) = (caption, behind);
                    }
                    Some(_) => {
                        sending.caption = rest.trim_end().to_owned();
                        text = "";
                    }
                },
                (true, other) => {
                    return Err(format!(
                        "there is no {} here; a file of that name: ./NAME",
                        excerpt(other, 20)
                    ));
                }
                (false, name) => sending.files.push(name.to_owned()),
            }
        }
        if sending.files.is_empty() {
            Err("the name of a file is missing".into())
        } else {
            Ok(sending)
        }
    }

    /// The name of one file, or nothing.
    pub(super) fn file(self) -> Parsed<Option<String>> {
        match files::split(self.rest) {
            None => Ok(None),
            Some((name, "")) => Ok(Some(name)),
            Some(_) => Err("one name may follow; with spaces, in quotes".into()),
        }
    }

    /// `on`, `off`, or nothing.
    pub(super) fn switch(self) -> Parsed<Option<Switch>> {
        match self.rest {
            "" => Ok(None),
            "on" => Ok(Some(Switch::On)),
            "off" => Ok(Some(Switch::Off)),
            _ => Err("on or off may follow".into()),
        }
    }

    /// `on` or `off`, and how far.
    pub(super) fn switch_and_reach(self) -> Parsed<(Switch, Reach)> {
        let (word, rest) = self.first();
        match (Self { rest: word, ..self }).switch()? {
            Some(switch) => Ok((switch, rest.reach()?)),
            None => Err("on or off is missing".into()),
        }
    }

    /// Nothing, or `everywhere`.
    pub(super) fn reach(self) -> Parsed<Reach> {
        match self.rest {
            "" => Ok(Reach::Here),
            "everywhere" => Ok(Reach::Everywhere),
            _ => Err("only the word everywhere may follow".into()),
        }
    }

    /// A duration, `off`, or nothing.
    pub(super) fn lasting(self) -> Parsed<Option<Lasting>> {
        match self.rest {
            "" => Ok(None),
            "off" => Ok(Some(Lasting::Off)),
            word => match duration(word) {
                Some(time) => Ok(Some(Lasting::For(time))),
                None => Err("a duration is written like 30m, 8h, 7d or 1h30m".into()),
            },
        }
    }
}
