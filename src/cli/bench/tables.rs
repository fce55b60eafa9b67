//! The tables that `bench` prints.

use colored::Colorize as _;

use crate::bench::ceilings::{Ceilings, Passed};
use crate::bench::load::Load;
use crate::bench::run::{Environment, Report, words};
use crate::bench::{Summary, exchange};

fn build(optimised: bool) -> &'static str {
    if optimised { "" } else { ", not optimised" }
}

fn head() -> String {
    let head = format!(
        "{:<34}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds", "n", "p50", "p90", "p99", "p99.9", "max"
    );
    head.bold().to_string()
}

fn row(what: &str, s: &Summary) -> String {
    format!(
        "{what:<34}{:>9}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}",
        s.count, s.p50_ms, s.p90_ms, s.p99_ms, s.p999_ms, s.max_ms
    )
}

/// `bench run`.
pub(super) fn run(report: &Report) -> String {
    let servers = match report.servers {
        Some(1) => "one server".to_owned(),
        Some(servers) => format!("{servers} servers"),
        None => "a running cluster".to_owned(),
    };
    // To a group, a message is delivered more than once.
    let (delivered, what) = match report.groups {
        0 => ("delivered", "messages"),
        _ => ("deliveries", "deliveries"),
    };
    let mut lines = vec![
        format!("{servers}, {}{}", report.load, build(report.environment.optimised)),
        head(),
        row("written to known to be on disk", &report.sent),
        row("written to at its recipient", &report.delivered),
        format!(
            "{:<34}{:>9.0} sent, {:.0} {}",
            "messages a second", report.sent_per_s, report.delivered_per_s, delivered
        ),
    ];
    if let Some(cpu) = report.cpu_ms_per_1000 {
        let what = format!("ms of processor per 1,000 {what}");
        lines.push(format!("{what:<34}{cpu:>9.1}"));
    }
    if report.sign_up_wait_ms > 0.0 {
        let seconds = report.sign_up_wait_ms / 1_000.0;
        lines.push(format!("the cluster's sign-up rate made people wait for {seconds:.0} s"));
    }
    let faults = format!(
        "{} written, {} lost, {} doubled, {} out of order, {} damaged",
        report.written, report.lost, report.doubled, report.reordered, report.damaged
    );
    lines.push(if report.is_sound() { faults.green() } else { faults.red() }.to_string());
    if report.put_off > 0 {
        lines.push(
            format!("{} times somebody was told to wait", report.put_off).yellow().to_string(),
        );
    }
    if let Some(why) = &report.broken_why {
        let text = format!("{} sessions ended early: {why}", report.broken);
        lines.push(text.red().to_string());
    }
    if let Some(ceilings) = &report.ceilings {
        lines.push(String::new());
        lines.extend(ceiling_lines(ceilings));
        lines.extend(ratios(report, ceilings));
    }
    lines.join("\n")
}

/// The run as a part of what the relay does in the same minutes.
fn ratios(report: &Report, ceilings: &Ceilings) -> Vec<String> {
    let head =
        format!("{:<34}{:>9}{:>14}{:>14}", "run / relay", "per s", "p50 on disk", "p99 delivered");
    let row = |what: &str, relay: &Passed| {
        format!(
            "{what:<34}{:>9.2}{:>14.2}{:>14.2}",
            report.delivered_per_s / relay.per_s,
            report.sent.p50_ms / relay.sent.p50_ms,
            report.delivered.p99_ms / relay.delivered.p99_ms
        )
    };
    vec![
        head.bold().to_string(),
        row("of the relay in memory", &ceilings.memory),
        row("of the relay with SQLite", &ceilings.durable),
    ]
}

fn ceiling_lines(ceilings: &Ceilings) -> Vec<String> {
    let Ceilings { round_trip, memory, durable, disk } = ceilings;
    let mut lines = vec![head(), row("QUIC round trip, one stream", round_trip)];
    lines.push(row("fdatasync of 4 KiB", &disk.took));
    lines.push(format!("{:<34}{:>9.0}", "fdatasync a second", disk.per_s));
    for (what, passed) in [("relay in memory", memory), ("relay with SQLite", durable)] {
        lines.push(row(&format!("{what}: answered"), &passed.sent));
        lines.push(row(&format!("{what}: delivered"), &passed.delivered));
        lines.push(format!(
            "{:<34}{:>9.0}, {:.1} ms of processor per 1,000",
            "  messages a second", passed.per_s, passed.cpu_ms_per_1000
        ));
    }
    lines
}

/// `bench limits`.
pub(super) fn limits(load: &Load, environment: &Environment, ceilings: &Ceilings) -> String {
    let Environment { cores, kernel, sqlite, .. } = environment;
    let mut lines = vec![
        format!("{}{}", words(load), build(environment.optimised)),
        format!("{cores} cores, Linux {kernel}, SQLite {sqlite}"),
    ];
    lines.extend(ceiling_lines(ceilings));
    lines.join("\n")
}

/// `bench exchange`.
pub(super) fn exchange(report: &exchange::Report) -> String {
    let build = if cfg!(debug_assertions) { ", not optimised" } else { "" };
    let exchange::Report { servers, ready_ms, sign_up, sent, shown, memory, folder } = report;
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
