//! `bench`: figures of this machine, as a table or as one JSON line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::exit::{Exit, Failure, finish, sentence};
use super::server;
use crate::bench::BenchError;
use crate::bench::exchange::{self, Folder, Options, Report};
use crate::net::Env;

/// Measure FastChat on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What one person feels: start, sign-up, and single messages between two servers
    ///
    /// Starts a cluster of its own in a temporary folder with the programs beside this one.
    Exchange {
        /// Messages, one after the other
        #[arg(long, value_name = "N", default_value = "200")]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        messages: u32,
        /// Servers
        #[arg(long, value_name = "N", default_value = "3")]
        #[arg(value_parser = clap::value_parser!(u16).range(2..=99))]
        servers: u16,
        /// Leave the folder with databases, logs and profiles
        #[arg(long)]
        keep: bool,
        /// One JSON object in place of the table
        #[arg(long)]
        json: bool,
    },
}

/// The whole program.
pub fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Result<Exit, Failure> {
    let Command::Exchange { messages, servers, keep, json } = args.command;
    let folder = if keep { Folder::Keep } else { Folder::Delete };
    let options = Options { programs: beside()?, servers, messages, folder };
    let runtime = server::runtime()?;
    let report = runtime.block_on(exchange::run(&Env::system(), &options)).map_err(failure)?;
    let text = if json {
        serde_json::to_string(&report).map_err(|error| internal(&error))?
    } else {
        table(&report)
    };
    println_or_not(&text);
    Ok(Exit::Done)
}

/// The folder of this program.
fn beside() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| internal(&error))?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, sentence(error), "")
}

fn failure(error: BenchError) -> Failure {
    let exit = match &error {
        BenchError::Program { .. } => Exit::NotFound,
        BenchError::Failed { .. } | BenchError::TooSlow(_) => Exit::Unreachable,
        BenchError::Unexpected(_) | BenchError::System(_) => Exit::Internal,
        BenchError::File { .. } => Exit::LocalData,
        BenchError::Interrupted => Exit::Interrupted,
    };
    let remedy = match &error {
        BenchError::Program { .. } => "Build all programs first: cargo build --release",
        _ => "",
    };
    Failure::new(exit, sentence(&error), remedy)
}

fn println_or_not(text: &str) {
    use std::io::Write as _;
    // Nobody reads it: then it was for nothing.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn table(report: &Report) -> String {
    let build = if cfg!(debug_assertions) { ", not optimised" } else { "" };
    let Report { servers, ready_ms, sign_up, sent, shown, memory, folder } = report;
    let mut lines = vec![
        format!("{servers} servers, messages from one server to another, one at a time{build}"),
        format!("{:<34}{:>6}{:>10}{:>10}{:>10}", "milliseconds", "n", "p50", "p99", "max"),
        format!("{:<34}{:>6}{ready_ms:>10.1}", "start of the cluster to ready", 1),
    ];
    for (what, figures) in [
        ("client register, start to exit", sign_up),
        ("client send, start to exit", sent),
        ("client send, start to display", shown),
    ] {
        lines.push(format!(
            "{what:<34}{:>6}{:>10.1}{:>10.1}{:>10.1}",
            figures.count, figures.p50_ms, figures.p99_ms, figures.max_ms
        ));
    }
    lines.push("memory at rest, MiB".to_owned());
    for process in memory {
        let mib = process.rss_bytes as f64 / (1024.0 * 1024.0);
        lines.push(format!("  {:<38}{mib:>10.1}", process.process));
    }
    lines.extend(folder.iter().map(|folder| format!("kept: {}", folder.display())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        Args::command().debug_assert();
    }
}
