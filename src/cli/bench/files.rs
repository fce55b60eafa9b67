//! `bench files`: its words and its tables, and the processes that it is made of.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as Words, Subcommand};
use colored::Colorize as _;

use super::words::parse_time;
use super::{failure, internal, own, say};
use crate::bench::files::person::{self, Person};
use crate::bench::files::{Cost, Options, Report, Speed, raw, run as measure, text};
use crate::bench::{BenchError, Summary, report};
use crate::cli::exit::{Exit, Failure};
use crate::limits::FILE_BYTES_MAX;
use crate::net::Env;
use crate::types::{ClusterId, UserName};

#[derive(Debug, Words)]
pub(super) struct FilesArgs {
    /// Bytes of a file: 20MiB, 500KiB, 1000000 [default: 20MiB, with --text 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// How often each case is measured, in turns
    #[arg(long, value_name = "N", default_value = "9")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// How long texts take while somebody uploads, and while nobody does
    #[arg(long)]
    text: bool,
    /// With --text: texts a second of each of the two who write
    #[arg(long, value_name = "N", default_value = "100", requires = "text")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rate: u16,
    /// With --text: how long each case is measured in each round
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "text")]
    #[arg(value_parser = parse_time)]
    duration: Duration,
    /// With --text: datagrams lost each way, in percent, one case each
    #[arg(long, value_name = "P,P,..", value_delimiter = ',', default_value = "0,1")]
    #[arg(requires = "text", value_parser = parse_percent)]
    loss: Vec<f64>,
    /// Folder for the people's profiles and files, such as one on another disk than the server's
    #[arg(long, value_name = "DIR")]
    people_in: Option<PathBuf>,
    /// Write the figures as JSON, and percentile tables, into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One JSON object in place of the table
    #[arg(long)]
    json: bool,
}

/// A process that a measurement of files consists of.
#[derive(Debug, Subcommand)]
pub(super) enum PartArgs {
    /// Somebody with a client
    Person {
        #[arg(value_parser = parse_user)]
        user: UserName,
        folder: PathBuf,
        balancer: SocketAddr,
        #[arg(value_parser = parse_cluster)]
        ca: ClusterId,
        password: String,
    },
    /// The relay
    Relay,
    /// Where its bytes come from
    Up {
        port: u16,
        #[arg(value_parser = parse_cluster)]
        cluster: ClusterId,
    },
    /// Where they go
    Down {
        port: u16,
        #[arg(value_parser = parse_cluster)]
        cluster: ClusterId,
    },
}

/// Bytes of a file, if nothing else is said.
const SIZE: u64 = 20 * 1024 * 1024;

/// Is one of the processes.
pub(super) async fn part(env: &Env, words: &PartArgs) -> Result<Exit, Failure> {
    let done = match words {
        PartArgs::Person { user, folder, balancer, ca, password } => {
            let (user, folder, password) = (user.clone(), folder.clone(), password.clone());
            let person = Person { user, folder, balancer: *balancer, cluster: *ca, password };
            person::serve(env, &person).await
        }
        PartArgs::Relay => raw::relay(env).await,
        PartArgs::Up { port, cluster } => raw::end(env, raw::End::Up, *port, *cluster).await,
        PartArgs::Down { port, cluster } => raw::end(env, raw::End::Down, *port, *cluster).await,
    };
    done.map_err(failure)?;
    Ok(Exit::Done)
}

/// Measures and prints.
pub(super) async fn run(env: &Env, words: &FilesArgs) -> Result<Exit, Failure> {
    let (program, rounds) = (own()?, usize::from(words.rounds));
    let people_in = words.people_in.clone().unwrap_or_else(std::env::temp_dir);
    if words.text {
        let options = text::Options {
            program,
            people_in,
            bytes: words.size.unwrap_or(FILE_BYTES_MAX),
            rounds,
            per_s: f64::from(words.rate),
            duration: words.duration,
            losses: words.loss.clone(),
        };
        let (figures, cases) = text::run(env, &options).await.map_err(failure)?;
        if let Some(folder) = &words.report {
            for (name, durations) in &cases {
                put(folder, &format!("{name}.hgrm"), &report::percentiles(durations))?;
            }
            put_json(folder, "text.json", &figures)?;
        }
        say(words.json, &figures, || text_table(&figures))?;
        return Ok(if figures.is_sound() { Exit::Done } else { Exit::Partly });
    }
    let options = Options { program, people_in, bytes: words.size.unwrap_or(SIZE), rounds };
    let figures = measure(env, &options).await.map_err(failure)?;
    if let Some(folder) = &words.report {
        put_json(folder, "files.json", &figures)?;
    }
    say(words.json, &figures, || table(&figures))
}

fn put_json(folder: &Path, name: &str, figures: &impl serde::Serialize) -> Result<(), Failure> {
    put(folder, name, &serde_json::to_string_pretty(figures).map_err(|error| internal(&error))?)
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.map_err(|source| failure(BenchError::File { path, source }))
}

fn build(optimised: bool) -> &'static str {
    if optimised { "" } else { ", not optimised" }
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / (1024.0 * 1024.0))
}

fn table(report: &Report) -> String {
    let Report { environment, bytes, rounds, up, down, relay, costs, relay_costs, rates } = report;
    let head = format!("{:<48}{:>9}{:>9}{:>9}{:>9}", "MB/s", "median", "min", "max", "/ relay");
    let row = |what: &str, speed: &Speed| {
        let Speed { median, min, max } = speed;
        let ratio = median / relay.median;
        format!("{what:<48}{median:>9.0}{min:>9.0}{max:>9.0}{ratio:>9.2}")
    };
    let mut lines = vec![
        format!(
            "one server, a file of {} up and one down at once, {rounds} rounds{}",
            mib(*bytes),
            build(environment.optimised)
        ),
        head.bold().to_string(),
        row("up: sealed, sent, durable at the home", up),
        row("down: asked for, verified, opened, durable", down),
        row("relay: the same bytes over two bare hops", relay),
        format!("{:<48}{:>9}", "processor, seconds per GB each way", "").bold().to_string(),
    ];
    let cost = |cost: &Cost| format!("{:<48}{:>9.2}", cost.process, cost.cpu_s_per_gb);
    lines.extend(costs.iter().map(cost));
    lines.extend(relay_costs.iter().map(|c| cost(c).dimmed().to_string()));
    lines.push(format!("{:<48}{:>9}", "alone, MB/s", "").bold().to_string());
    for (what, rate) in [
        ("one core seals", rates.seal),
        ("one core opens", rates.open),
        ("one core hashes (SHA-256)", rates.hash),
        ("the disk: written and fsynced", rates.disk),
    ] {
        lines.push(format!("{what:<48}{rate:>9.0}"));
    }
    lines.push(format!("{:<48}{:>9.1}", "  of that, the fsync: ms", rates.fsync_ms));
    lines.join("\n")
}

fn text_table(report: &text::Report) -> String {
    let text::Report { environment, bytes, per_s, seconds, rows, uploaded } = report;
    let head = format!(
        "{:<22}{:>7}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}",
        "texts", "loss %", "n", "p50", "p99", "max", "p50 up", "p99 up", "max up", "p50 x", "p99 x"
    );
    let mut lines = vec![
        format!(
            "one server, {per_s} texts a second, without and with (\"up\") an upload of {} again \
             and again, {seconds} s each{}; milliseconds",
            mib(*bytes),
            build(environment.optimised)
        ),
        head.bold().to_string(),
    ];
    for row in rows {
        let Summary { p50_ms, p99_ms, max_ms, count, .. } = row.alone;
        let up = &row.beside;
        lines.push(format!(
            "{:<22}{:>7.1}{count:>8}{p50_ms:>9.2}{p99_ms:>9.2}{max_ms:>9.2}{:>9.2}{:>9.2}{:>9.2}\
             {:>8.2}{:>8.2}",
            row.who,
            row.loss * 100.0,
            up.p50_ms,
            up.p99_ms,
            up.max_ms,
            row.p50_ratio,
            row.p99_ratio
        ));
    }
    let speeds: Vec<String> = uploaded.iter().map(|speed| format!("{speed:.0}")).collect();
    lines.push(format!("uploaded meanwhile, by line: {} MB/s", speeds.join(", ")));
    let lost: u64 = rows.iter().map(|row| row.lost).sum();
    lines.push(match lost {
        0 => "every text came".green().to_string(),
        _ => format!("{lost} texts did not come").red().to_string(),
    });
    lines.join("\n")
}

/// `20MiB`, `500KiB`, or bytes without a unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("") => Some(1),
        Some("KiB") => Some(1024),
        Some("MiB") => Some(1024 * 1024),
        Some(_) | None => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(unit);
    let bytes = bytes.and_then(|(number, unit)| number.checked_mul(unit));
    let bytes = bytes.filter(|bytes| (1..=FILE_BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| "expected a size up to 64MiB, as 20MiB, 500KiB or 1000000".to_owned())
}

fn parse_user(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|error| error.to_string())
}

fn parse_cluster(text: &str) -> Result<ClusterId, String> {
    ClusterId::parse(text).ok_or_else(|| "not a cluster".to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.parse().ok().filter(|p| (0.0..=50.0).contains(p));
    percent.map(|percent| percent / 100.0).ok_or_else(|| "expected percent, up to 50".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percents_are_read_as_people_write_them() {
        assert_eq!(parse_size("20MiB"), Ok(SIZE));
        assert_eq!((parse_size("2KiB"), parse_size("7")), (Ok(2048), Ok(7)));
        for wrong in ["", "0", "65MiB", "1GiB", "-1", "MiB", "99999999999999999999"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!((parse_percent("1"), parse_percent("0")), (Ok(0.01), Ok(0.0)));
        assert!(parse_percent("51").is_err() && parse_percent("x").is_err());
    }
}
