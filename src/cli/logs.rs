//! Where log lines go: standard error, as text or JSON, with the process's name in each.
//!
//! Quiet by default: a cluster in which all is well logs nothing. `RUST_LOG` says otherwise.
//! Deliberately the only place that sets up tracing.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless `RUST_LOG` says otherwise. A link between servers breaks whenever one of
/// them stops or is restarted; the screen reports that already, and better.
const DEFAULT_FILTER: &str = "warn,fastchat::peer::link=error";

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
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let writer = Named { format, process: process.to_owned() };
    // `log_internal_errors` prints with a macro that panics when the terminal is gone; a server
    // must outlive the terminal it was started from.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .log_internal_errors(false);
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
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
    fn each_line_names_its_process_in_both_formats() {
        let named = |format, line: &str| {
            let name = Named { format, process: "s1".into() };
            String::from_utf8(Line { name: &name }.named(line.as_bytes())).unwrap()
        };
        assert_eq!(named(LogFormat::Text, "WARN slow\n"), "s1 WARN slow\n");
        assert_eq!(named(LogFormat::Json, "{\"a\":1}\n"), "{\"process\":\"s1\",\"a\":1}\n");
    }
}
