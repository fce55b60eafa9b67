//! `bench`: figures of this machine, as a table or as one JSON line.
//!
//! Reads the command line and prints; what is measured is [`crate::bench`]'s business.

mod tables;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as Words, Parser, Subcommand, ValueEnum};

use super::exit::{Exit, Failure, finish, sentence};
use super::server;
use crate::bench::exchange::{self, Folder};
use crate::bench::load::{Gaps, Load, Pace, Pattern, Sealed};
use crate::bench::run::{self, Along, Target};
use crate::bench::{BenchError, relay, report};
use crate::limits::{TEXT_BYTES_MAX, UNANSWERED_PER_LOG_MAX};
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

#[derive(Debug, Words)]
struct LoadArgs {
    /// People
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=10_000))]
    clients: u32,
    /// Closed loop: messages of each sender under way at any time
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=UNANSWERED_PER_LOG_MAX as i64))]
    window: u32,
    /// Open loop: messages a second of all senders together, whether answers come or not
    #[arg(long, value_name = "N", conflicts_with = "window", value_parser = parse_rate)]
    rate: Option<f64>,
    /// How messages of the open loop lie apart
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    gaps: GapsWord,
    /// Who writes to whom
    #[arg(long, value_enum, default_value = "pairs")]
    pattern: PatternWord,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=TEXT_BYTES_MAX as i64))]
    size: u32,
    /// Whether messages are encrypted, signed and opened while the clock runs, or sealed before
    #[arg(long, value_enum, default_value = "real")]
    sealed: SealedWord,
    /// How long to measure: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// How long to write before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    warmup: Duration,
    /// How long messages may take after the last one was written, before they count as lost
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    drain: Duration,
    /// Decides chance
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GapsWord {
    /// Always the same
    Even,
    /// By chance, as of many people who know nothing of each other
    Exponential,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternWord {
    /// Everybody with one partner, both ways
    Pairs,
    /// Everybody to the first
    AllToOne,
    /// The first to everybody
    OneToAll,
    /// Everybody to everybody
    AllToAll,
    /// As pairs, 16 messages at a time
    Bursts,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SealedWord {
    /// Everything, as clients do
    Real,
    /// Once per conversation, before the clock runs: more of the machine is the servers'
    Pre,
}

impl LoadArgs {
    fn load(&self, forget: Option<u64>) -> Load {
        let gaps = match self.gaps {
            GapsWord::Even => Gaps::Even,
            GapsWord::Exponential => Gaps::Exponential,
        };
        Load {
            clients: self.clients as usize,
            pattern: match self.pattern {
                PatternWord::Pairs => Pattern::Pairs,
                PatternWord::AllToOne => Pattern::AllToOne,
                PatternWord::OneToAll => Pattern::OneToAll,
                PatternWord::AllToAll => Pattern::AllToAll,
                PatternWord::Bursts => Pattern::Bursts,
            },
            pace: match self.rate {
                Some(per_s) => Pace::Open { per_s, gaps },
                None => Pace::Closed { window: self.window as usize },
            },
            size: self.size as usize,
            sealed: match self.sealed {
                SealedWord::Real => Sealed::Real,
                SealedWord::Pre => Sealed::Pre,
            },
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            seed: self.seed,
            forget,
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.001..=10_000_000.0).contains(rate))
        .ok_or_else(|| "expected a number of messages a second, from 0.001".to_owned())
}

/// `500ms`, `30s`, `2m`, or seconds without a unit; at most an hour.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match text.get(digits.len()..) {
        Some("ms") => Some(1),
        Some("s" | "") => Some(1_000),
        Some("m") => Some(60_000),
        Some(_) | None => None,
    };
    let ms = digits.parse::<u64>().ok().zip(unit_ms);
    let ms = ms.and_then(|(number, unit)| number.checked_mul(unit));
    let time = ms.map(Duration::from_millis).filter(|time| *time <= TIME_MAX);
    time.ok_or_else(|| "expected a time up to an hour, as 500ms, 30s or 2m".to_owned())
}

/// Refusals that a limits file can lift.
const TOO_MUCH: [Code; 4] = [Code::SlowDown, Code::Busy, Code::ServerFull, Code::MailboxFull];
const TIME_MAX: Duration = Duration::from_secs(3600);

fn parse_place(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|_| !host.is_empty());
    port.map(|port| (host.to_owned(), port)).ok_or_else(|| "expected HOST:PORT".to_owned())
}

/// The whole program.
pub fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Result<Exit, Failure> {
    let (env, runtime) = (Env::system(), server::runtime()?);
    match &args.command {
        Command::Run(words) => runtime.block_on(run_load(&env, words)),
        Command::Limits { load, json } => {
            let load = load.load(None);
            let (environment, ceilings) =
                runtime.block_on(run::limits(&env, &own()?, &load)).map_err(failure)?;
            let table = || tables::limits(&load, &environment, &ceilings);
            say(*json, &(&environment, &ceilings), table)
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
    let load = words.load.load(words.forget);
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
    fn times_and_places_are_read_as_people_write_them() {
        let ms = |text| parse_time(text).ok().map(|time| time.as_millis());
        assert_eq!(
            [ms("500ms"), ms("30s"), ms("7"), ms("2m")].map(Option::unwrap),
            [500, 30_000, 7_000, 120_000]
        );
        assert_eq!([ms(""), ms("s"), ms("3h"), ms("-1s"), ms("61m")], [None; 5]);
        assert_eq!(parse_place("localhost:9000"), Ok(("localhost".to_owned(), 9000)));
        assert_eq!(parse_place("[::1]:9000"), Ok(("::1".to_owned(), 9000)));
        assert!(parse_place("localhost").is_err() && parse_place(":9000").is_err());
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
