//! `bench fanout`: what one message to a group costs, by the number of those who get it.
//!
//! One member writes, everybody is online: messages a second fall with the size of the group,
//! deliveries a second and what one of them costs show what handing on is worth. Each size gets a
//! cluster of its own, so that none inherits another's rows.

use std::path::PathBuf;

use serde::Serialize;

use super::load::{Load, Pattern, Writers};
use super::run::{self, Along, Environment, Report, Target};
use super::{BenchError, Summary};
use crate::net::Env;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// This very program; `load_balancer` lies beside it.
    pub program: PathBuf,
    /// Servers of each cluster.
    pub servers: u16,
    /// Members of a group, the writer among them: a row each.
    pub sizes: Vec<usize>,
    /// The load; its people and its pattern are replaced.
    pub load: Load,
}

/// The figures of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Members, the writer among them.
    pub members: usize,
    /// Messages answered a second.
    pub messages_per_s: f64,
    /// Deliveries a second: `members - 1` of each message.
    pub deliveries_per_s: f64,
    /// From the moment a message was meant to go until its author knew that it is on disk.
    pub sent: Summary,
    /// From that moment until a member had it.
    pub delivered: Summary,
    /// Processor time of the cluster per 1,000 deliveries, in milliseconds.
    pub cpu_ms_per_1000: f64,
    /// Messages written, warm-up included.
    pub written: u64,
    /// Not arrived in time, counted at each member.
    pub lost: u64,
    /// Arrived again, after a later one, or damaged.
    pub faults: u64,
    /// Answers that told the writer to wait or to begin again.
    pub put_off: u64,
    /// Sessions that ended early.
    pub broken: usize,
    /// Why the first of them did.
    pub broken_why: Option<String>,
}

impl Row {
    /// Whether every message arrived at every member once, in order, as it was written.
    pub fn is_sound(&self) -> bool {
        self.lost + self.faults == 0 && self.broken == 0
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The machine and the program, as the last row found them.
    pub environment: Option<Environment>,
    /// Servers of each cluster.
    pub servers: u16,
    /// A row for each size.
    pub rows: Vec<Row>,
}

/// Measures one size after the other.
///
/// # Errors
/// [`BenchError`]; nothing is left running. Lost messages are no error: they stand in the table.
pub async fn run(env: &Env, options: &Options) -> Result<Table, BenchError> {
    let mut table = Table { environment: None, servers: options.servers, rows: Vec::new() };
    for &members in &options.sizes {
        let pattern = Pattern::Group { size: members, writers: Writers::One };
        let load = Load { clients: members, pattern, ..options.load.clone() };
        let target = Target::Own { servers: options.servers };
        let options =
            run::Options { program: options.program.clone(), target, load, along: Along::Nothing };
        let (report, _) = run::run(env, &options).await?;
        table.rows.push(row(members, &report));
        table.environment = Some(report.environment);
    }
    Ok(table)
}

fn row(members: usize, report: &Report) -> Row {
    Row {
        members,
        messages_per_s: report.sent_per_s,
        deliveries_per_s: report.delivered_per_s,
        sent: report.sent.clone(),
        delivered: report.delivered.clone(),
        cpu_ms_per_1000: report.cpu_ms_per_1000.unwrap_or_default(),
        written: report.written,
        lost: report.lost,
        faults: report.doubled + report.reordered + report.damaged,
        put_off: report.put_off,
        broken: report.broken,
        broken_why: report.broken_why.clone(),
    }
}
