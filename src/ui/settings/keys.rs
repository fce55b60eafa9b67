//! The table of keys, and the only place that knows which key is which field of the settings.

use super::{ColourWhen, EditMode, Settings, TimeForm};
use crate::client::account::Where;
use crate::types::UserName;
use crate::ui::files;
use crate::ui::text::{excerpt, nearest};

/// What one key says, for help and completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHelp {
    /// The key, with its table: `notify.preview`.
    pub key: &'static str,
    /// What may stand there: `true|false`.
    pub values: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
}

/// One setting, for `match`es that the compiler keeps complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Plain,
    Colour,
    EditMode,
    Time,
    Bell,
    NotifyPreview,
    ShowPresence,
    ShowTyping,
    ShowMembership,
    ShowPictures,
    AutoFetch,
    Server,
    Profile,
}

pub(super) const TRUTH: &str = "true|false";
const PICTURES: &str = "auto|kitty|iterm2|sixel|blocks|off";
const SIZE: &str = "SIZE (5 MB)";

/// Every key, in the order in which they are listed.
const KEYS: &[(Key, KeyHelp)] = &[
    row(Key::Plain, "plain", TRUTH, "ASCII, one event per line, to be read aloud"),
    row(Key::Colour, "color", "auto|always|never", "when to colour"),
    row(Key::EditMode, "edit_mode", "emacs|vi", "keys of the line editor"),
    row(Key::Time, "time", "short|full", "times with minutes, or with seconds too"),
    row(Key::Bell, "bell", TRUTH, "ring the terminal's bell when a message arrives"),
    row(Key::NotifyPreview, "notify.preview", TRUTH, "show the text in notifications"),
    row(Key::ShowPresence, "show.presence", TRUTH, "a line when somebody comes or goes"),
    row(Key::ShowTyping, "show.typing", TRUTH, "show who is typing"),
    row(Key::ShowMembership, "show.membership", TRUTH, "a line for every change of a group"),
    row(Key::ShowPictures, "show.pictures", PICTURES, "how the terminal is given pictures"),
    row(
        Key::AutoFetch,
        "transfers.auto_fetch",
        SIZE,
        "files up to this size are fetched as they come; 0: none",
    ),
    row(Key::Server, "server", "HOST:PORT", "balancer to use where none is named"),
    row(Key::Profile, "profile", "NAME", "profile to use where none is named"),
];

const fn row(
    id: Key,
    key: &'static str,
    values: &'static str,
    help: &'static str,
) -> (Key, KeyHelp) {
    (id, KeyHelp { key, values, help })
}

/// Every key with its values and its meaning.
pub fn keys() -> impl Iterator<Item = KeyHelp> {
    KEYS.iter().map(|(_, help)| *help)
}

/// A value that is not one of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("there is no setting \"{key}\"{}", meant(*.nearest))]
    Unknown {
        /// As it was written.
        key: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// The key cannot have this value.
    #[error("{key} is {expected}, got {got}")]
    Value {
        /// The key.
        key: &'static str,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
}

fn meant(nearest: Option<&'static str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}

impl Settings {
    /// Sets one key from its text.
    pub(super) fn put(&mut self, key: Key, help: KeyHelp, text: &str) -> Result<(), KeyError> {
        let wrong = || KeyError::Value {
            key: help.key,
            expected: help.values,
            got: format!("\"{}\"", excerpt(text, 40)),
        };
        let truth = || match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong()),
        };
        match key {
            Key::Plain => self.plain = truth()?,
            Key::Colour => self.colour = pick(&COLOURS, text).ok_or_else(wrong)?,
            Key::EditMode => self.edit_mode = pick(&EDIT_MODES, text).ok_or_else(wrong)?,
            Key::Time => self.time = pick(&TIMES, text).ok_or_else(wrong)?,
            Key::Bell => self.bell = truth()?,
            Key::NotifyPreview => self.notify_preview = truth()?,
            Key::ShowPresence => self.show_presence = truth()?,
            Key::ShowTyping => self.show_typing = truth()?,
            Key::ShowMembership => self.show_membership = truth()?,
            Key::ShowPictures => self.show_pictures = text.parse().map_err(|_| wrong())?,
            Key::AutoFetch => self.auto_fetch_bytes = files::parse(text).ok_or_else(wrong)?,
            Key::Server => self.server = Some(Where::parse(text).ok_or_else(wrong)?),
            Key::Profile => self.profile = Some(UserName::parse(text).map_err(|_| wrong())?),
        }
        Ok(())
    }

    /// What a key says, as it would stand in the file without quotes; `None`: nothing.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn get(&self, key: &str) -> Result<Option<String>, KeyError> {
        let (key, _) = find(key)?;
        Ok(match key {
            Key::Plain => Some(self.plain.to_string()),
            Key::Colour => word(&COLOURS, self.colour),
            Key::EditMode => word(&EDIT_MODES, self.edit_mode),
            Key::Time => word(&TIMES, self.time),
            Key::Bell => Some(self.bell.to_string()),
            Key::NotifyPreview => Some(self.notify_preview.to_string()),
            Key::ShowPresence => Some(self.show_presence.to_string()),
            Key::ShowTyping => Some(self.show_typing.to_string()),
            Key::ShowMembership => Some(self.show_membership.to_string()),
            Key::ShowPictures => Some(self.show_pictures.word().to_owned()),
            Key::AutoFetch => Some(files::exact(self.auto_fetch_bytes)),
            Key::Server => self.server.as_ref().map(ToString::to_string),
            Key::Profile => self.profile.as_ref().map(ToString::to_string),
        })
    }
}

const COLOURS: [(&str, ColourWhen); 3] =
    [("auto", ColourWhen::Auto), ("always", ColourWhen::Always), ("never", ColourWhen::Never)];
const EDIT_MODES: [(&str, EditMode); 2] = [("emacs", EditMode::Emacs), ("vi", EditMode::Vi)];
const TIMES: [(&str, TimeForm); 2] = [("short", TimeForm::Short), ("full", TimeForm::Full)];
fn pick<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

fn word<T: PartialEq>(words: &[(&str, T)], value: T) -> Option<String> {
    words.iter().find(|(_, known)| *known == value).map(|(word, _)| (*word).to_owned())
}

pub(super) fn find(key: &str) -> Result<(Key, KeyHelp), KeyError> {
    KEYS.iter().find(|(_, help)| help.key == key).copied().ok_or_else(|| KeyError::Unknown {
        key: excerpt(key, 40),
        nearest: nearest(key, KEYS.iter().map(|(_, help)| help.key)),
    })
}
