//! `bench`: figures of this machine, as a table or as one JSON line.
//!
//! Reads the command line and prints; what is measured is [`crate::bench`]'s business.

mod fanout;
mod files;
mod tables;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as Words, Parser, Subcommand};

use self::fanout::FanoutArgs;
use self::files::{FilesArgs, PartArgs};
use self::words::{LoadArgs, parse_place};
use super::exit::{Exit, Failure, finish, sentence};
use super::server;
use crate::bench::exchange::{self, Folder};
use crate::bench::run::{self, Along, Target};
use crate::bench::{BenchError, relay, report};
use crate::net::Env;
use crate::wire::Code;

/// Measure FastChat on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How much load a cluster carries, and how long messages take meanwhile
    ///
    /// Many real sessions write to each other. Without HOST PORT a cluster is started for it in a
    /// temporary folder, with the programs beside this one. Exit code 7: a message was lost,
    /// doubled, out of order or damaged.
    Run(RunArgs),
    /// The ceilings of this machine: QUIC, disk, and a relay that only passes on and stores
    Limits {
        #[command(flatten)]
        load: LoadArgs,
        /// One JSON object in place of the table
        #[arg(long)]
        json: bool,
    },
    /// What one message to a group costs: one writer, groups of 2 to 256 who are all online
    ///
    /// For each size a cluster of its own is started, as by `run`, and one member writes as fast as
    /// the window lets them. Exit code 7: a message was lost, doubled, out of order or damaged.
    Fanout(FanoutArgs),
    /// How fast files travel, against a bare relay, or (--text) how long texts take meanwhile
    ///
    /// Starts a cluster of its own in a temporary folder with the programs beside this one, and
    /// people whose clients run in processes of their own. Exit code 7: a text was lost.
    Files(FilesArgs),
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
    /// A process of `files`
    #[command(hide = true)]
    Part {
        #[command(subcommand)]
        part: PartArgs,
    },
    /// The reference relay of `limits`
    #[command(hide = true)]
    Relay {
        /// The SQLite file it stores in; without one it only passes on
        #[arg(long)]
        store: Option<PathBuf>,
    },
}

#[derive(Debug, Words)]
struct RunArgs {
    /// Balancer of a running cluster
    #[arg(requires = "port")]
    host: Option<String>,
    /// Its UDP port
    port: Option<u16>,
    /// The same as HOST PORT
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "host", value_parser = parse_place)]
    server: Option<(String, u16)>,
    /// CA of that cluster: its fingerprint or a PEM file [default: whoever answers]
    #[arg(long, value_name = "CA")]
    ca: Option<String>,
    /// Keep the people in this file, so that the next run there needs no sign-ups
    #[arg(long, value_name = "FILE")]
    people: Option<PathBuf>,
    /// Servers of the cluster to start
    #[arg(long, value_name = "N", default_value = "1", conflicts_with_all = ["host", "server"])]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    servers: u16,
    #[command(flatten)]
    load: LoadArgs,
    /// Measure the ceilings of the machine right before, and print the ratios
    #[arg(long)]
    limits: bool,
    /// Write interval log, percentile tables, JSON and a page into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One JSON object in place of the table
    #[arg(long)]
    json: bool,
    /// Everybody loses the entry with this number: to see that it is noticed
    #[arg(long, hide = true)]
    forget: Option<u64>,
}

/// Refusals that a limits file can lift.
const TOO_MUCH: [Code; 4] = [Code::SlowDown, Code::Busy, Code::ServerFull, Code::MailboxFull];

/// The whole program.
pub fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Result<Exit, Failure> {
    let (env, runtime) = (Env::system(), server::runtime()?);
    match &args.command {
        Command::Run(words) => runtime.block_on(run_load(&env, words)),
        Command::Limits { load, json } => {
            let load = load.load(None)?;
            let (environment, ceilings) =
                runtime.block_on(run::limits(&env, &own()?, &load)).map_err(failure)?;
            let table = || tables::limits(&load, &environment, &ceilings);
            say(*json, &(&environment, &ceilings), table)
        }
        Command::Fanout(words) => runtime.block_on(fanout::run(&env, words)),
        Command::Files(words) => runtime.block_on(files::run(&env, words)),
        Command::Part { part } => {
            let done = runtime.block_on(files::part(&env, part));
            // A thread may still wait for a line of standard input.
            runtime.shutdown_background();
            done
        }
        Command::Exchange { messages, servers, keep, json } => {
            let folder = if *keep { Folder::Keep } else { Folder::Delete };
            let programs = own()?.parent().map(Path::to_owned).unwrap_or_default();
            let options =
                exchange::Options { programs, servers: *servers, messages: *messages, folder };
            let report = runtime.block_on(exchange::run(&env, &options)).map_err(failure)?;
            say(*json, &report, || tables::exchange(&report))
        }
        Command::Relay { store } => {
            let store = store.clone().map_or(relay::Store::Memory, relay::Store::Sqlite);
            runtime.block_on(relay::serve(&env, &store)).map_err(failure)?;
            // A thread may still wait for a line of standard input.
            runtime.shutdown_background();
            Ok(Exit::Done)
        }
    }
}

async fn run_load(env: &Env, words: &RunArgs) -> Result<Exit, Failure> {
    let place = words.host.clone().zip(words.port).or_else(|| words.server.clone());
    let target = match place {
        Some((host, port)) => {
            let (ca, people) = (words.ca.clone(), words.people.clone());
            Target::Running { host, port, ca, people }
        }
        None => Target::Own { servers: words.servers },
    };
    let along = if words.limits { Along::Ceilings } else { Along::Nothing };
    let load = words.load.load(words.forget)?;
    if let Target::Running { .. } = target {
        // To standard error: what follows may be JSON.
        eprintln!(
            "Sign-ups there come as fast as its limits file lets them, by default 5 a minute."
        );
    }
    let options = run::Options { program: own()?, target, load, along };
    let (figures, outcome) = run::run(env, &options).await.map_err(failure)?;
    if let Some(folder) = &words.report {
        report::write(folder, &figures, &outcome).map_err(failure)?;
    }
    say(words.json, &figures, || tables::run(&figures))?;
    Ok(if figures.is_sound() { Exit::Done } else { Exit::Partly })
}

/// This program.
fn own() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| internal(&error))
}

fn say(
    json: bool,
    figures: &impl serde::Serialize,
    table: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    let text = if json {
        serde_json::to_string(figures).map_err(|error| internal(&error))?
    } else {
        table()
    };
    println_or_not(&text);
    Ok(Exit::Done)
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, sentence(error), "")
}

fn failure(error: BenchError) -> Failure {
    let exit = match &error {
        BenchError::Program { .. } => Exit::NotFound,
        BenchError::Failed { .. } | BenchError::TooSlow(_) => Exit::Unreachable,
        BenchError::Connect { .. } | BenchError::NoSuchHost(_) => Exit::Unreachable,
        BenchError::Refused { .. } => Exit::Refused,
        BenchError::Unexpected(_) | BenchError::System(_) => Exit::Internal,
        BenchError::File { .. } | BenchError::People { .. } => Exit::LocalData,
        BenchError::Interrupted => Exit::Interrupted,
    };
    let remedy = match &error {
        BenchError::Program { .. } => "Build all programs first: cargo build --release",
        BenchError::Connect { .. } => "Check that the cluster runs, and its HOST PORT.",
        BenchError::NoSuchHost(_) => "Check the name of the balancer's host.",
        BenchError::Refused { code, .. } if TOO_MUCH.contains(code) => {
            "Give that cluster a limits file that allows the load."
        }
        BenchError::Refused { .. } => "Check that all its servers run, and look at their logs.",
        BenchError::People { .. } => "Name another file, or delete it: then new people sign up.",
        BenchError::Failed { .. }
        | BenchError::TooSlow(_)
        | BenchError::Unexpected(_)
        | BenchError::System(_)
        | BenchError::File { .. }
        | BenchError::Interrupted => "",
    };
    Failure::new(exit, sentence(&error), remedy)
}

fn println_or_not(text: &str) {
    use std::io::Write as _;
    // Nobody reads it: then it was for nothing.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn open_and_closed_loop_exclude_each_other() {
        let parse = |words: &str| Args::try_parse_from(words.split(' '));
        assert!(parse("bench run --rate 100 --window 2").is_err());
        assert!(parse("bench run --gaps exponential").is_err());
        assert!(parse("bench run --window 65").is_err());
        assert!(parse("bench run localhost").is_err());
        assert!(parse("bench run localhost 9000 --rate 100 --gaps exponential").is_ok());
    }
}
