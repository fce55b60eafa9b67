//! `client.toml`: what a person chose once for every start of the client.
//!
//! One table of keys is the source of everything: parsing, `config set`, and the help texts. Who
//! asks decides what a flag or a variable of the environment overrides; nothing here reads either.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Table, TableLike, Value};

use crate::client::account::Where;
use crate::net::files;
use crate::types::UserName;

use super::text::nearest;

/// Bytes of a settings file at most.
pub const SETTINGS_BYTES_MAX: u64 = 64 * 1024;

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
            server: None,
            profile: None,
        }
    }
}

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
enum Key {
    Plain,
    Colour,
    EditMode,
    Time,
    Bell,
    NotifyPreview,
    ShowPresence,
    ShowTyping,
    Server,
    Profile,
}

const TRUTH: &str = "true|false";

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

/// Writes a file that explains every key and sets none.
///
/// # Errors
/// [`SettingsError::Io`].
pub fn write_template(path: &Path) -> Result<(), SettingsError> {
    let mut text = String::from("# Settings of the FastChat client. All of them, unset:\n");
    let (plain, tables): (Vec<KeyHelp>, Vec<KeyHelp>) =
        keys().partition(|help| !help.key.contains('.'));
    for help in plain.into_iter().chain(tables) {
        let value = if help.values == TRUTH { "true" } else { "\"...\"" };
        text.push_str(&format!("\n# {} ({})\n# {} = {value}\n", help.help, help.values, help.key));
    }
    write(path, &text)
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

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is no TOML, or not text.
    #[error("{}:{at}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        at: Position,
        /// What is wrong there.
        why: String,
    },
    /// A key or value that means nothing.
    #[error("{}:{at}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Where.
        at: Position,
        /// What is wrong with it.
        #[source]
        error: KeyError,
    },
    /// The key or value to be written means nothing; the file is as it was.
    #[error(transparent)]
    Asked(#[from] KeyError),
}

/// A place in a file, from line 1, column 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Position {
    fn of(text: &str, span: Option<Range<usize>>) -> Self {
        let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

impl Settings {
    /// Reads a settings file. One that does not exist says nothing.
    ///
    /// # Errors
    /// [`SettingsError`], with line and column for a key or value that means nothing.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = read(path)?.unwrap_or_default();
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let document = Document::parse(text).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            at: Position::of(text, error.span()),
            why: error.message().to_owned(),
        })?;
        let mut settings = Self::default();
        settings.take_table(document.as_table(), "").map_err(|(error, span)| {
            SettingsError::Key { path: path.to_owned(), at: Position::of(text, span), error }
        })?;
        Ok(settings)
    }

    /// Takes the keys of a table whose own name, with its dot, is `prefix`.
    fn take_table(
        &mut self,
        table: &dyn TableLike,
        prefix: &str,
    ) -> Result<(), (KeyError, Option<Range<usize>>)> {
        for (name, item) in table.iter() {
            let full = format!("{prefix}{name}");
            let inside = format!("{full}.");
            if prefix.is_empty()
                && keys().any(|help| help.key.starts_with(&inside))
                && let Some(table) = item.as_table_like()
            {
                self.take_table(table, &inside)?;
                continue;
            }
            let span = table.get_key_value(name).and_then(|(key, _)| key.span());
            let (key, help) = find(&full).map_err(|error| (error, span))?;
            self.put(key, help, &written(item)).map_err(|error| (error, item.span()))?;
        }
        Ok(())
    }

    /// Sets one key from its text.
    fn put(&mut self, key: Key, help: KeyHelp, text: &str) -> Result<(), KeyError> {
        let wrong = || KeyError::Value {
            key: help.key,
            expected: help.values,
            got: format!("\"{}\"", super::text::excerpt(text, 40)),
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
            Key::Server => self.server.as_ref().map(ToString::to_string),
            Key::Profile => self.profile.as_ref().map(ToString::to_string),
        })
    }

    /// Sets a key here and in the file at `path`, which keeps its comments and its order; the file
    /// and its folder are made if need be.
    ///
    /// # Errors
    /// A key or value that means nothing, a file that cannot be used: nothing was changed then.
    pub fn set(&mut self, path: &Path, key: &str, value: &str) -> Result<(), SettingsError> {
        let (id, help) = find(key)?;
        let mut new = self.clone();
        new.put(id, help, value)?;
        let text = read(path)?.unwrap_or_default();
        // What cannot be read back must not be written.
        Self::parse(path, &text)?;
        let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let at = Position::of(&text, error.span());
            SettingsError::Syntax { path: path.to_owned(), at, why: error.message().to_owned() }
        })?;
        place(&mut document, help, value);
        write(path, &document.to_string())?;
        *self = new;
        Ok(())
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

fn find(key: &str) -> Result<(Key, KeyHelp), KeyError> {
    KEYS.iter().find(|(_, help)| help.key == key).copied().ok_or_else(|| KeyError::Unknown {
        key: super::text::excerpt(key, 40),
        nearest: nearest(key, KEYS.iter().map(|(_, help)| help.key)),
    })
}

/// A value as text: a string without its quotes, anything else as it is written.
fn written(item: &Item) -> String {
    match item.as_str() {
        Some(text) => text.to_owned(),
        None => item.to_string().trim().to_owned(),
    }
}

/// Puts a value where its key belongs; what stood after it on its line stays.
fn place(document: &mut DocumentMut, help: KeyHelp, value: &str) {
    let (table, name) = match help.key.split_once('.') {
        Some((table, name)) => {
            let table = document.entry(table).or_insert_with(|| Item::Table(Table::new()));
            (table.as_table_like_mut(), name)
        }
        None => (Some(document.as_table_mut() as &mut dyn TableLike), help.key),
    };
    let Some(table) = table else { return };
    let mut new: Value = match (help.values, value) {
        (TRUTH, truth) => (truth == "true").into(),
        (_, text) => text.into(),
    };
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(name, Item::Value(new));
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let failed = |source| SettingsError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(SETTINGS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(failed(io::Error::other("larger than settings can be")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| failed(io::Error::other("not text in UTF-8")))
}

fn write(path: &Path, text: &str) -> Result<(), SettingsError> {
    // A link, as people keep who manage their settings elsewhere, stays one.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), files::create_private_dir);
    made.and_then(|()| files::write_private(&target, text.as_bytes()))
        .map_err(|error| SettingsError::Io { path: path.to_owned(), source: error.source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("client.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_does_not_say_has_its_default() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(&folder.path().join("none")).unwrap(), Settings::default());
        let settings = parse("plain = true\n[notify]\npreview = true\n").unwrap();
        assert_eq!(settings, Settings { plain: true, notify_preview: true, ..Settings::default() });
        // The same in the other ways of writing a table.
        assert_eq!(parse("plain = true\nnotify.preview = true").unwrap(), settings);
        assert_eq!(parse("plain = true\nnotify = { preview = true }").unwrap(), settings);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
        for (text, error) in [
            (
                "# mine\n  edit_mod = \"vi\"",
                "client.toml:2:3: there is no setting \"edit_mod\"; did you mean edit_mode?",
            ),
            (
                "[notify]\nprevew = true",
                "client.toml:2:1: there is no setting \"notify.prevew\"; did you mean notify.preview?",
            ),
            ("xyzzy = 1", "client.toml:1:1: there is no setting \"xyzzy\""),
            (
                "[colour]\nx = 1",
                "client.toml:1:2: there is no setting \"colour\"; did you mean color?",
            ),
            (
                "notify = true",
                "client.toml:1:1: there is no setting \"notify\"; did you mean notify.preview?",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place_and_what_may_stand_there() {
        for (text, error) in [
            ("color = \"red\"", "client.toml:1:9: color is auto|always|never, got \"red\""),
            ("bell = 1", "client.toml:1:8: bell is true|false, got \"1\""),
            ("\nserver = \"host\"", "client.toml:2:10: server is HOST:PORT, got \"host\""),
            ("[notify.preview]", "client.toml:1:2: notify.preview is true|false, got \"\""),
        ] {
            let got = parse(text).unwrap_err();
            assert_eq!(got.split(": ").last(), error.split(": ").last(), "{got}");
            if !text.starts_with('[') {
                assert_eq!(got, error);
            }
        }
        assert!(parse("bell = \nplain = true").unwrap_err().starts_with("client.toml:1:"));
    }

    #[test]
    fn every_key_can_be_set_and_read_back_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/client.toml");
        let mut settings = Settings::default();
        for help in keys() {
            let value = match help.values {
                "HOST:PORT" => "[::1]:9000",
                "NAME" => "bob",
                words => words.split('|').next_back().unwrap(),
            };
            settings.set(&path, help.key, value).unwrap();
            assert_eq!(settings.get(help.key).unwrap().as_deref(), Some(value));
            assert_eq!(Settings::load(&path).unwrap(), settings, "{}", help.key);
        }
    }

    #[test]
    fn setting_a_key_keeps_the_comments_and_order_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        std::fs::write(&path, "# mine\nbell = true # loud\n\n[show]\ntyping = true\n").unwrap();
        let mut settings = Settings::load(&path).unwrap();
        settings.set(&path, "bell", "false").unwrap();
        settings.set(&path, "show.presence", "false").unwrap();
        settings.set(&path, "time", "full").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "# mine\nbell = false # loud\ntime = \"full\"\n\n[show]\ntyping = true\npresence = \
             false\n"
        );
    }

    #[test]
    fn the_template_sets_nothing_and_takes_every_key_when_uncommented() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        write_template(&path).unwrap();
        assert_eq!(Settings::load(&path).unwrap(), Settings::default());
        let text = std::fs::read_to_string(&path).unwrap();
        for help in keys() {
            assert!(text.contains(&format!("\n# {} = ", help.key)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_set_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        std::fs::write(&path, "bel = true\n").unwrap();
        let mut settings = Settings::default();
        for (key, value) in [("bel", "true"), ("bell", "loud"), ("bell", "false")] {
            assert!(settings.set(&path, key, value).is_err());
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "bel = true\n");
    }

    #[test]
    fn a_file_that_is_a_link_stays_one_and_a_huge_one_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("client.toml"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Settings::default().set(&link, "bell", "false").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(!Settings::load(&real).unwrap().bell);
        let size = usize::try_from(SETTINGS_BYTES_MAX).unwrap();
        std::fs::write(&real, "#".repeat(size)).unwrap();
        assert!(Settings::load(&link).is_ok());
        std::fs::write(&real, "#".repeat(size + 1)).unwrap();
        assert!(Settings::load(&link).is_err());
    }
}
