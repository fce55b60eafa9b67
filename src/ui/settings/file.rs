//! The settings file: read with the place of every mistake, written with its comments and order
//! kept. What the keys mean is in `keys`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Table, TableLike, Value};

use super::Settings;
use super::keys::{KeyError, KeyHelp, TRUTH, find, keys};
use crate::net::files;

/// Bytes of a settings file at most.
pub const SETTINGS_BYTES_MAX: u64 = 64 * 1024;

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

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
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
