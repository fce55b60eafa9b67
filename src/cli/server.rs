//! `server`: one server process, started by the balancer or alone.
//!
//! Reads what the balancer made on disk, runs [`crate::server::run`] until it is told to stop, and
//! turns every failure into two lines and an exit code. Deliberately makes nothing on disk.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::exit::{Exit, Failure, finish, sentence};
use super::logs::{self, LogFormat};
use super::refusals;
use super::signals::Signals;
use crate::balancer::cluster::{self, MAP_FILE};
use crate::balancer::process::{PidFile, PidFileError};
use crate::home::OpenError;
use crate::limits::{Limits, STOP_DEADLINE};
use crate::net::{CaCert, Credentials, Env, ListenError, QuicKeys};
use crate::server::{self, ServerConfig, ServerError, Stop};
use crate::types::ServerId;

/// One server of a FastChat cluster. Started by `load_balancer`, or alone for one that stopped.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
struct Args {
    /// Which server of the placement map this is: s1, s2, ...
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: ServerId,
    /// Where clients connect (UDP). Default: as the placement map says
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Where other servers connect (UDP). Default: as the placement map says
    #[arg(long, value_name = "IP:PORT")]
    peer: Option<SocketAddr>,
    /// Folder of the placement map and the databases
    #[arg(long, value_name = "DIR", default_value = "databases")]
    data: PathBuf,
    /// Folder of the certificates and keys
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Limits to use instead of the defaults (TOML)
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// The version of the placement map that the balancer started this server for
    #[arg(long, hide = true)]
    map_version: Option<u64>,
}

fn parse_id(text: &str) -> Result<ServerId, String> {
    ServerId::parse(text).map_err(|error| error.to_string())
}

/// The whole program `server`.
pub fn main() -> ExitCode {
    finish(serve(&Args::parse()))
}

/// The same program inside `load_balancer`; `words` are its arguments without its name.
pub(super) fn main_as_child(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("server")).chain(words);
    finish(serve(&Args::parse_from(words)))
}

/// What `load_balancer` passes to [`main_as_child`].
pub(super) struct ChildArguments<'a> {
    pub(super) id: &'a ServerId,
    pub(super) listen: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) data: &'a Path,
    pub(super) certs: &'a Path,
    pub(super) limits: Option<&'a Path>,
    pub(super) log_format: LogFormat,
    pub(super) map_version: u64,
}

impl ChildArguments<'_> {
    /// The words of the command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
        option("--id", self.id.as_str().into());
        option("--listen", self.listen.to_string().into());
        option("--peer", self.peer.to_string().into());
        option("--data", self.data.into());
        option("--certs", self.certs.into());
        option("--log-format", self.log_format.word().into());
        option("--map-version", self.map_version.to_string().into());
        if let Some(limits) = self.limits {
            option("--limits", limits.into());
        }
        words
    }
}

/// Reads a limits file; without one, the defaults.
///
/// # Errors
/// A usage failure that names the file and what is wrong in it.
pub(super) fn read_limits(file: Option<&Path>) -> Result<Limits, Failure> {
    let Some(file) = file else { return Ok(Limits::default()) };
    let usage = |what: String, remedy: &str| Failure::new(Exit::Usage, what, remedy);
    let text = std::fs::read_to_string(file).map_err(|error| {
        let what = format!("Cannot read the limits file {}: {error}.", file.display());
        usage(what, "Give another --limits FILE, or none for the defaults.")
    })?;
    Limits::parse(&text).map_err(|error| {
        let what = format!("{} is no limits file: {error}.", file.display());
        usage(what, "Correct that line, or leave it out for the default.")
    })
}

fn serve(args: &Args) -> Result<Exit, Failure> {
    logs::start(args.log_format, args.id.as_str());
    let limits = read_limits(args.limits.as_deref())?;
    let _held = hold(args)?;
    let config = configure(args, limits)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(run(config));
    // Whatever still runs on a thread has nothing to say that anybody was told of.
    runtime.shutdown_background();
    outcome
}

/// The runtime of a program.
///
/// # Errors
/// An internal failure: the system gives no threads.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::Internal, format!("Cannot start threads: {error}."), "")
    })
}

/// Makes sure that nobody else serves this database.
fn hold(args: &Args) -> Result<PidFile, Failure> {
    PidFile::take(&cluster::pid_path(&args.data, &args.id)).map_err(|error| match &error {
        PidFileError::Held { pid: Some(pid), .. } => Failure::new(
            Exit::LocalData,
            format!("{} runs already, as pid {pid}.", args.id),
            "Stop that one first, or leave it running.",
        ),
        PidFileError::Held { .. } | PidFileError::Io { .. } => unreadable(&error),
    })
}

/// A file that cannot be used as it is.
pub(super) fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::LocalData,
        sentence(error),
        "Check the owner and the rights of that file and its folder.",
    )
}

fn configure(args: &Args, limits: Limits) -> Result<ServerConfig, Failure> {
    let missing = |what: String| {
        Failure::new(Exit::LocalData, what, "Start the cluster first:  load_balancer 3 9000")
    };
    let map = cluster::read_map(&args.data)
        .map_err(|error| unreadable(&error))?
        .ok_or_else(|| missing(format!("No {MAP_FILE} in {}.", args.data.display())))?;
    let Some(entry) = map.server(&args.id) else {
        return Err(missing(format!("{} is not in the placement map.", args.id)));
    };
    if args.map_version.is_some_and(|version| version != map.version) {
        return Err(missing(format!("The placement map changed to version {}.", map.version)));
    }
    let admission_key = cluster::read_admission_key(&args.certs)
        .map_err(|error| unreadable(&error))?
        .ok_or_else(|| missing(format!("No admission key in {}.", args.certs.display())))?;
    let certs = args.certs.as_path();
    let name = args.id.as_str();
    let ca = CaCert::load(&certs.join("ca.pem")).map_err(|error| unreadable(&error))?;
    Ok(ServerConfig {
        id: args.id.clone(),
        listen: args.listen.unwrap_or(entry.addr),
        peer_listen: args.peer.unwrap_or(entry.peer_addr),
        database: cluster::database_path(&args.data, &args.id),
        credentials: Credentials::load(certs, name).map_err(|error| unreadable(&error))?,
        quic_keys: QuicKeys::load(certs, name).map_err(|error| unreadable(&error))?,
        cluster: ca.cluster_id(),
        map,
        limits,
        admission_key,
    })
}

async fn run(config: ServerConfig) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(Exit::Internal, format!("No signals: {error}."), ""))?;
    let stop = Stop::default();
    let (ready, is_ready) = oneshot::channel();
    let id = config.id.clone();
    let server = server::run_until(Env::system(), config, ready, stop.clone());
    let log_ready = async {
        if is_ready.await.is_ok() {
            tracing::info!(server = %id, "ready");
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(server, log_ready);
    let exit = tokio::select! {
        biased;
        exit = signals.next() => exit,
        outcome = &mut server => return outcome.map(|()| Exit::Done).map_err(failure),
        () = &mut log_ready => Exit::Done,
    };
    if exit == Exit::Interrupted {
        // Ctrl-C, and the balancer when it stops the whole cluster: nobody could go elsewhere.
        stop.at_once.cancel();
    } else {
        stop.gently.cancel();
    }
    let stopping = timeout(STOP_DEADLINE, server);
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            biased;
            outcome = &mut stopping => return match outcome {
                Ok(outcome) => outcome.map(|()| exit).map_err(failure),
                Err(_) => {
                    tracing::warn!(server = %id, "not everything was finished in time");
                    Ok(exit)
                }
            },
            second = signals.next() => {
                if stop.at_once.is_cancelled() {
                    return Ok(second);
                }
                stop.at_once.cancel();
            }
        }
    }
}

fn failure(error: ServerError) -> Failure {
    let what = sentence(&error);
    let local = |remedy| Failure::new(Exit::LocalData, what.clone(), remedy);
    match error {
        ServerError::Listen(ListenError::PortTaken(addr)) => refusals::port_taken(addr),
        ServerError::Listen(_) => Failure::new(Exit::Unreachable, what, ""),
        ServerError::Open(OpenError::InUse(_)) => local("Stop the process that serves it."),
        ServerError::Open(OpenError::Newer { .. } | OpenError::Migration { .. }) => {
            local("Use the version of the program that wrote it.")
        }
        ServerError::Open(_) => {
            local("It was not changed. Keep it: it holds what is not delivered yet.")
        }
        ServerError::Map(_) | ServerError::NotInMap(_) => {
            local("Start the cluster again with load_balancer, which keeps the map.")
        }
        ServerError::Home(_) => local("Check the disk. What people were told is sent is stored."),
    }
}
