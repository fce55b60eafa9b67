//! `bench fanout`: its words and its table.

use std::time::Duration;

use clap::Args as Words;
use colored::Colorize as _;

use super::words::{SealedWord, parse_time};
use super::{failure, own, say};
use crate::bench::fanout::{Options, Row, Table, run as measure};
use crate::bench::load::{Load, Pace, Pattern};
use crate::cli::exit::{Exit, Failure};
use crate::limits::{GROUP_MEMBERS_MAX, TEXT_BYTES_MAX, UNANSWERED_PER_LOG_MAX};
use crate::net::Env;

#[derive(Debug, Words)]
pub(super) struct FanoutArgs {
    /// Members of the groups, the writer among them: a row each
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "2,16,64,256")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=GROUP_MEMBERS_MAX as i64))]
    sizes: Vec<u16>,
    /// Servers of each cluster
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    servers: u16,
    /// Messages of the writer under way at any time
    #[arg(long, value_name = "N", default_value = "64")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=UNANSWERED_PER_LOG_MAX as i64))]
    window: u32,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=TEXT_BYTES_MAX as i64))]
    size: u32,
    /// Whether messages are encrypted, signed and opened while the clock runs, or sealed before
    #[arg(long, value_enum, default_value = "pre")]
    sealed: SealedWord,
    /// How long to measure each size: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// How long to write before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    warmup: Duration,
    /// How long messages may take after the last one was written, before they count as lost
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    drain: Duration,
    /// One JSON object in place of the table
    #[arg(long)]
    json: bool,
    /// Everybody loses the entry with this number: to see that it is noticed
    #[arg(long, hide = true)]
    forget: Option<u64>,
}

/// Measures and prints.
pub(super) async fn run(env: &Env, words: &FanoutArgs) -> Result<Exit, Failure> {
    let load = Load {
        clients: 2,
        pattern: Pattern::Pairs,
        pace: Pace::Closed { window: words.window as usize },
        size: words.size as usize,
        sealed: words.sealed.sealed(),
        warmup: words.warmup,
        duration: words.duration,
        drain: words.drain,
        seed: 1,
        forget: words.forget,
    };
    let sizes = words.sizes.iter().map(|&size| usize::from(size)).collect();
    let options = Options { program: own()?, servers: words.servers, sizes, load };
    let figures = measure(env, &options).await.map_err(failure)?;
    say(words.json, &figures, || table(words, &figures))?;
    Ok(if figures.rows.iter().all(Row::is_sound) { Exit::Done } else { Exit::Partly })
}

fn table(words: &FanoutArgs, table: &Table) -> String {
    let optimised = table.environment.as_ref().is_some_and(|environment| environment.optimised);
    let servers = match table.servers {
        1 => "one server".to_owned(),
        servers => format!("{servers} servers"),
    };
    let build = if optimised { "" } else { ", not optimised" };
    let FanoutArgs { window, size, .. } = words;
    let head = format!(
        "{:>8}{:>12}{:>14}{:>12}{:>14}{:>14}{:>16}",
        "members",
        "messages/s",
        "deliveries/s",
        "p50 sent",
        "p50 delivered",
        "p99 delivered",
        "CPU ms / 1,000"
    );
    let mut lines = vec![
        format!("{servers}, one writer, {window} in flight, {size} bytes{build}; milliseconds"),
        head.bold().to_string(),
    ];
    for row in &table.rows {
        lines.push(format!(
            "{:>8}{:>12.0}{:>14.0}{:>12.2}{:>14.2}{:>14.2}{:>16.2}",
            row.members,
            row.messages_per_s,
            row.deliveries_per_s,
            row.sent.p50_ms,
            row.delivered.p50_ms,
            row.delivered.p99_ms,
            row.cpu_ms_per_1000
        ));
    }
    for row in table.rows.iter().filter(|row| !row.is_sound()) {
        let Row { members, lost, faults, broken, .. } = row;
        let why = row.broken_why.as_deref().unwrap_or_default();
        let text = format!(
            "of {members}: {lost} lost, {faults} doubled, out of order or damaged, \
             {broken} sessions ended early {why}"
        );
        lines.push(text.red().to_string());
    }
    if table.rows.iter().all(Row::is_sound) {
        let written: u64 = table.rows.iter().map(|row| row.written).sum();
        let text =
            format!("{written} messages written, each once and in order at every other member");
        lines.push(text.green().to_string());
    }
    let put_off: u64 = table.rows.iter().map(|row| row.put_off).sum();
    if put_off > 0 {
        let text = format!("{put_off} times the writer or a reader was told to wait");
        lines.push(text.yellow().to_string());
    }
    lines.join("\n")
}
