//! `client.toml`: what a person chose once for every start of the client.
//!
//! One table of keys, in `keys`, is the source of everything: parsing, `config set`, and the help
//! texts; `file` reads and writes. Who asks decides what a flag or a variable of the environment
//! overrides; nothing here reads either.

mod file;
mod keys;
#[cfg(test)]
mod tests;

pub use self::file::{Position, SETTINGS_BYTES_MAX, SettingsError, write_template};
pub use self::keys::{KeyError, KeyHelp, keys};

use crate::client::account::Where;
use crate::types::UserName;
use crate::ui::pictures::Wish;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourWhen {
    /// As the environment and the terminal ask for.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Keys of the line editor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EditMode {
    /// As in bash.
    #[default]
    Emacs,
    /// As in vi.
    Vi,
}

/// How the time of a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeForm {
    /// `12:01`.
    #[default]
    Short,
    /// `12:01:02`.
    Full,
}

/// Bytes up to which files are fetched as they come, unless the person says otherwise.
pub const AUTO_FETCH_BYTES: u64 = 5_000_000;

/// Everything that `client.toml` can say, with defaults for what it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `plain`: ASCII, one event per line, to be read aloud.
    pub plain: bool,
    /// `color`.
    pub colour: ColourWhen,
    /// `edit_mode`.
    pub edit_mode: EditMode,
    /// `time`.
    pub time: TimeForm,
    /// `bell`: ring when a message arrives.
    pub bell: bool,
    /// `notify.preview`: the text of a message may stand in a notification.
    pub notify_preview: bool,
    /// `show.presence`: lines about who comes and goes.
    pub show_presence: bool,
    /// `show.typing`: who is typing.
    pub show_typing: bool,
    /// `show.membership`: a line for every change of a group.
    pub show_membership: bool,
    /// `show.pictures`: how the terminal is given pictures.
    pub show_pictures: Wish,
    /// `transfers.auto_fetch`: files up to so many bytes are fetched as they come; 0: none.
    pub auto_fetch_bytes: u64,
    /// `server`: the balancer where none is named.
    pub server: Option<Where>,
    /// `profile`: the profile where none is named.
    pub profile: Option<UserName>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain: false,
            colour: ColourWhen::default(),
            edit_mode: EditMode::default(),
            time: TimeForm::default(),
            bell: true,
            notify_preview: false,
            show_presence: true,
            show_typing: true,
            show_membership: true,
            show_pictures: Wish::default(),
            auto_fetch_bytes: AUTO_FETCH_BYTES,
            server: None,
            profile: None,
        }
    }
}
