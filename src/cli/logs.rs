//! Where log lines go: standard error, as text or JSON, with the process's name in each.
//!
//! Quiet by default: a cluster in which all is well logs nothing. `RUST_LOG` says otherwise.
//! Deliberately the only place that sets up tracing.

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless `RUST_LOG` says otherwise. A link between servers breaks whenever one of
/// them stops or is restarted; the screen reports that already, and better.
const DEFAULT_FILTER: &str = "warn,fastchat::peer::link=error";

/// In the data folder: what is logged instead, read at the start and at every SIGHUP.
pub const LEVEL_FILE: &str = "log-level";

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Sends this process's logs to standard error under the name `process` (`balancer`, `s1`, ...).
///
/// A second call in one process changes nothing.
pub fn start(format: LogFormat, process: &str) {
    let (filter, refused) = match started_with() {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let writer = Named { format, process: process.to_owned() };
    // `log_internal_errors` prints with a macro that panics when the terminal is gone; a server
    // must outlive the terminal it was started from.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            keep(builder.try_init().is_ok(), move |filter| handle.reload(filter).is_ok());
        }
        LogFormat::Json => {
            // The innermost span is the connection; a list of one more would say nothing.
            let builder = builder.json().with_span_list(false).with_filter_reloading();
            let handle = builder.reload_handle();
            keep(builder.try_init().is_ok(), move |filter| handle.reload(filter).is_ok());
        }
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "RUST_LOG is no log filter: logging as without it");
    }
}

type SetFilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// How the filter of this process is changed, once its logs go anywhere.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

fn keep(started: bool, set: impl Fn(EnvFilter) -> bool + Send + Sync + 'static) {
    if started {
        let _ = SET_FILTER.set(Box::new(set));
    }
}

/// Puts the filter in [`LEVEL_FILE`] of the data folder into force, if there is such a file:
/// `info`, or `warn,fastchat::edge=debug`. Without one: what the process was started with.
pub fn read_level(data: &Path) {
    let Some(set) = SET_FILTER.get() else { return };
    let filter = match std::fs::read_to_string(data.join(LEVEL_FILE)) {
        Ok(text) => filter_of(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(started_with().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER)))
        }
        Err(error) => return tracing::warn!(%error, "cannot read {LEVEL_FILE}"),
    };
    match filter {
        Ok(filter) => drop(set(filter)),
        Err(error) => tracing::warn!(%error, "{LEVEL_FILE} is no log filter: nothing changes"),
    }
}

/// Why a text is no log filter.
#[derive(Debug, thiserror::Error)]
enum FilterError {
    /// The filter would take such a word for the name of a module, and log nothing else.
    #[error("{0:?} is no level; expected off, error, warn, info, debug or trace")]
    NotALevel(String),
    /// Not in the language of filters.
    #[error(transparent)]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
}

/// The words that may stand without a `=`.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn filter_of(text: &str) -> Result<EnvFilter, FilterError> {
    let text = text.trim();
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let mut directives = text.split(',').map(str::trim);
    match directives.find(|one| !one.is_empty() && !one.contains('=') && !is_level(one)) {
        Some(word) => Err(FilterError::NotALevel(word.to_owned())),
        None => Ok(EnvFilter::try_new(text)?),
    }
}

/// What `RUST_LOG` asks for, or the default.
fn started_with() -> Result<EnvFilter, FilterError> {
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) => filter_of(&text),
        Err(_) => Ok(EnvFilter::new(DEFAULT_FILTER)),
    }
}

/// Puts the process's name in front of each line (text) or into each object (JSON).
struct Named {
    format: LogFormat,
    process: String,
}

impl<'a> MakeWriter<'a> for Named {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { name: self }
    }
}

/// Writes one event; the subscriber hands over a whole line at a time.
struct Line<'a> {
    name: &'a Named,
}

impl Line<'_> {
    fn named(&self, line: &[u8]) -> Vec<u8> {
        let process = &self.name.process;
        let (prefix, rest) = match (self.name.format, line.strip_prefix(b"{")) {
            (LogFormat::Json, Some(rest)) => (format!("{{\"process\":\"{process}\","), rest),
            (LogFormat::Json, None) | (LogFormat::Text, _) => (format!("{process} "), line),
        };
        [prefix.as_bytes(), rest].concat()
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&self.named(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused_and_not_taken_for_a_module() {
        for good in ["info", " WARN\n", "warn,fastchat::edge=debug", "fastchat=trace, off", ""] {
            assert!(filter_of(good).is_ok(), "{good}");
        }
        for bad in ["wran", "warn,infos", "fastchat::edge", "warn,fastchat=loud"] {
            assert!(filter_of(bad).is_err(), "{bad}");
        }
        let said = filter_of("wran\n").unwrap_err().to_string();
        assert!(said.starts_with("\"wran\" is no level"), "{said}");
    }

    #[test]
    fn each_line_names_its_process_in_both_formats() {
        let named = |format, line: &str| {
            let name = Named { format, process: "s1".into() };
            String::from_utf8(Line { name: &name }.named(line.as_bytes())).unwrap()
        };
        assert_eq!(named(LogFormat::Text, "WARN slow\n"), "s1 WARN slow\n");
        assert_eq!(named(LogFormat::Json, "{\"a\":1}\n"), "{\"process\":\"s1\",\"a\":1}\n");
    }
}
