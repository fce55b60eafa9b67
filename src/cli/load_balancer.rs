//! `load_balancer`: one command starts a cluster; others ask it for its state, drain a server, stop
//! it, or prepare a cluster on several machines.
//!
//! Reads the command line and hands each command to whoever does it. Starting a cluster has three
//! chapters: `plan` judges what was asked for, `claim` makes sure that data and ports are free,
//! `running` is the cluster until it stops. Deliberately decides nothing about health or placement.

mod claim;
mod plan;
mod running;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::plan::Plan;
use super::certs::{self, CertsCommand};
use super::doctor::{
    self,
    cluster::{Questions, Scope},
};
use super::exit::{Exit, Failure, finish};
use super::init::{Init, init};
use super::logs::{self, LogFormat};
use super::operator::{self, Folders, Form, Whom};
use super::server;
use super::upkeep::Options;
use crate::balancer::Strategy;
use crate::balancer::fleet::Wish;
use crate::types::ServerId;

pub(super) use self::plan::Servers;

/// The hidden first word with which this program starts itself as a server.
const CHILD_WORD: &str = "serve-child";

/// Starts a FastChat cluster: a balancer and its servers on this machine.
///
/// The balancer takes UDP port PORT, the servers take PORT+1, PORT+2, ... for clients and PORT+101,
/// PORT+102, ... among themselves. The first start makes certificates and databases.
#[derive(Debug, Parser)]
#[command(name = "load_balancer", version, subcommand_precedence_over_arg = true)]
#[command(override_usage = "load_balancer [OPTIONS] <NUM_SERVERS> <PORT>\n       \
                            load_balancer [OPTIONS] --no-spawn --cluster FILE\n       \
                            load_balancer status|drain|undrain|stop [--server HOST:PORT]\n       \
                            load_balancer [OPTIONS] doctor|certs show|certs rotate\n       \
                            load_balancer init --servers FILE [--out DIR]")]
struct Args {
    /// How many servers to start, from 1 to 99
    num_servers: Option<String>,
    /// The balancer's UDP port
    port: Option<String>,
    /// Address to listen on; 0.0.0.0 for all of this machine
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// In which order clients are offered servers: random, round-robin, least-connections,
    /// least-load (processor and bytes of the last seconds), home (each user's own server)
    #[arg(long, value_name = "NAME", default_value = "random", value_parser = parse_strategy)]
    strategy: Strategy,
    /// Folder of the placement map and the databases
    #[arg(long, value_name = "DIR", default_value = "databases", global = true)]
    data: PathBuf,
    /// Folder of the certificates and keys
    #[arg(long, value_name = "DIR", default_value = "certs", global = true)]
    certs: PathBuf,
    /// Limits to use instead of the defaults (TOML)
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    #[command(flatten)]
    upkeep: Options,
    /// Watch servers that others start, and start none
    #[arg(long)]
    no_spawn: bool,
    /// The balancer's cluster.toml, as made by init, instead of --data and --certs
    #[arg(long, value_name = "FILE", global = true)]
    cluster: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the servers of a running cluster
    Status {
        #[command(flatten)]
        whom: Whom,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Send the clients of a server on and hand it out no more
    Drain {
        /// Which: s1, s2, ...
        #[arg(value_parser = server::parse_id)]
        id: ServerId,
        #[command(flatten)]
        whom: Whom,
    },
    /// Hand a drained server out again
    Undrain {
        /// Which: s1, s2, ...
        #[arg(value_parser = server::parse_id)]
        id: ServerId,
        #[command(flatten)]
        whom: Whom,
    },
    /// Stop a running cluster in order; with --no-spawn, the balancer alone
    Stop {
        #[command(flatten)]
        whom: Whom,
    },
    /// Look for what is wrong with the cluster, running or stopped
    Doctor {
        #[command(flatten)]
        questions: Questions,
    },
    /// Show or renew the cluster's certificates
    Certs {
        #[command(subcommand)]
        command: CertsCommand,
    },
    /// Prepare a cluster on several machines: a folder for each
    Init(Init),
}

fn parse_strategy(text: &str) -> Result<Strategy, String> {
    let names = || Strategy::ALL.iter().map(|strategy| strategy.name()).collect::<Vec<_>>();
    Strategy::parse(text).ok_or_else(|| format!("possible: {}", names().join(", ")))
}

/// The whole program.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.peek().is_some_and(|word| word == CHILD_WORD) {
        return server::main_as_child(words.skip(1));
    }
    finish(run(Args::parse()))
}

fn run(args: Args) -> Result<Exit, Failure> {
    let cluster = args.cluster.as_deref();
    let folders = Folders { data: &args.data, certs: &args.certs, cluster };
    let Some(command) = &args.command else { return start(args) };
    logs::start(args.log_format, "balancer");
    let runtime = server::runtime()?;
    match command {
        Command::Status { whom, json } => {
            let form = if *json { Form::Json } else { Form::Table };
            runtime.block_on(operator::status(whom, &folders, form))
        }
        Command::Drain { id, whom } => {
            runtime.block_on(operator::drain(whom, &folders, id, Wish::Drain))
        }
        Command::Undrain { id, whom } => {
            runtime.block_on(operator::drain(whom, &folders, id, Wish::Serve))
        }
        Command::Stop { whom } => runtime.block_on(operator::stop(whom, &folders)),
        Command::Doctor { questions } => {
            Ok(runtime.block_on(doctor::cluster::run(questions, &folders, Scope::Cluster)))
        }
        Command::Certs { command } => certs::run(*command, &folders),
        Command::Init(args) => init(args),
    }
}

fn start(args: Args) -> Result<Exit, Failure> {
    logs::start(args.log_format, "balancer");
    let plan = Plan::judge(args)?;
    let runtime = server::runtime()?;
    let outcome = runtime.block_on(plan.run());
    runtime.shutdown_background();
    outcome
}
