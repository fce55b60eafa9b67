//! What the terminal can do, by what it says of itself in the environment.

use std::str::FromStr;

use super::{Ability, Colours};

/// What the settings say about pictures: `auto`, or the way they are to be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// As the terminal can.
    #[default]
    Auto,
    /// This way, whatever the environment says.
    Only(Ability),
}

/// A word that is no way to draw pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auto, kitty, iterm2, sixel, blocks or off")]
pub struct UnknownAbility;

impl FromStr for Wish {
    type Err = UnknownAbility;

    fn from_str(word: &str) -> Result<Self, UnknownAbility> {
        Ok(match word {
            "auto" => Self::Auto,
            "kitty" => Self::Only(Ability::Kitty),
            "iterm2" => Self::Only(Ability::Iterm2),
            "sixel" => Self::Only(Ability::Sixel),
            "blocks" => Self::Only(Ability::HalfBlocks),
            "off" => Self::Only(Ability::Off),
            _ => return Err(UnknownAbility),
        })
    }
}

impl Wish {
    /// The word for it in settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(Ability::Kitty) => "kitty",
            Self::Only(Ability::Iterm2) => "iterm2",
            Self::Only(Ability::Sixel) => "sixel",
            Self::Only(Ability::HalfBlocks) => "blocks",
            Self::Only(Ability::Off) => "off",
        }
    }
}

/// How pictures are drawn on this terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// By which means.
    pub ability: Ability,
    /// With which colours, where they are characters.
    pub colours: Colours,
}

impl Way {
    /// No pictures.
    pub const OFF: Self = Self { ability: Ability::Off, colours: Colours::None };

    /// What the environment tells, unless the person wishes otherwise. `variable` looks one up;
    /// `colour` is whether colours are wanted at all: without, there are no pictures. The caller
    /// knows whether there is a terminal, and whether it is to be read aloud.
    pub fn detect(wish: Wish, colour: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        if !colour {
            return Self::OFF;
        }
        let variable = |name: &str| variable(name).unwrap_or_default();
        let ability = match wish {
            Wish::Auto => ability(&variable),
            Wish::Only(ability) => ability,
        };
        let colours = match variable("COLORTERM").as_str() {
            "truecolor" | "24bit" => Colours::True,
            _ => Colours::Palette,
        };
        Self { ability, colours }
    }
}

fn ability(variable: &impl Fn(&str) -> String) -> Ability {
    let is_set = |name: &str| !variable(name).is_empty();
    let term = variable("TERM");
    if matches!(term.as_str(), "" | "dumb") {
        return Ability::Off;
    }
    // They stand between us and the terminal, whose variables are still there, and pass on text.
    let is_inside = is_set("TMUX") || is_set("STY") || is_set("ZELLIJ");
    if is_inside || term.starts_with("tmux") || term.starts_with("screen") {
        return characters(variable);
    }
    let program = variable("TERM_PROGRAM");
    // A terminal that names itself comes before what another one left behind in the environment.
    match (term.as_str(), program.as_str()) {
        ("xterm-kitty" | "xterm-ghostty", _) | (_, "ghostty" | "kitty") => Ability::Kitty,
        (_, "iTerm.app" | "WezTerm" | "mintty") | ("wezterm", _) => Ability::Iterm2,
        (term, _) if term.starts_with("foot") || term.starts_with("mlterm") => Ability::Sixel,
        // Whose pictures are off until somebody switches them on.
        (_, "vscode" | "Apple_Terminal") => characters(variable),
        _ if is_set("KITTY_WINDOW_ID") || is_set("GHOSTTY_RESOURCES_DIR") => Ability::Kitty,
        _ if is_set("WEZTERM_EXECUTABLE") || variable("LC_TERMINAL") == "iTerm2" => Ability::Iterm2,
        _ if konsole_draws(&variable("KONSOLE_VERSION")) => Ability::Kitty,
        _ => characters(variable),
    }
}

/// Konsole knows kitty's protocol since 22.04; it writes that as 220400.
fn konsole_draws(version: &str) -> bool {
    version.parse::<u32>().is_ok_and(|version| version >= 220_400)
}

/// Half-blocks, where the locale has such a character.
fn characters(variable: &impl Fn(&str) -> String) -> Ability {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(variable);
    let locale = locale.iter().find(|value| !value.is_empty());
    let is_utf8 = |value: &String| value.to_lowercase().replace('-', "").contains("utf8");
    if locale.is_some_and(is_utf8) { Ability::HalfBlocks } else { Ability::Off }
}
