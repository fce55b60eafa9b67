//! `server`: one server process, started by the balancer or alone.
//!
//! Reads what the balancer made on disk, runs [`crate::server::run`] until it is told to stop, and
//! turns every failure into two lines and an exit code. Makes nothing on disk but with `--create`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::doctor::{
    self,
    cluster::{Questions, Scope},
    is_open_to_others,
};
use super::exit::{Exit, Failure, finish, sentence};
use super::logs::{self, LogFormat};
use super::operator::{self, Folders};
use super::refusals;
use super::signals::Signals;
use super::upkeep::{Options, Reload, warn_of_expiry};
use crate::balancer::cluster::{self, MAP_FILE};
use crate::balancer::folders::{self, ClusterFile, folder_of};
use crate::balancer::process::{PidFile, PidFileError};
use crate::home::OpenError;
use crate::limits::{Limits, STOP_DEADLINE};
use crate::net::{CaCert, Credentials, Env, ListenError, QuicKeys};
use crate::ops::service;
use crate::placement::PlacementMap;
use crate::server::{self, ServerConfig, ServerError, Stop};
use crate::types::ServerId;

/// One server of a FastChat cluster. Started by `load_balancer`, or alone for one that stopped.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
#[command(override_usage = "server [OPTIONS] --id <ID>\n       server doctor [OPTIONS]")]
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
    /// The cluster.toml of this machine's folder, instead of --data and --certs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "certs"])]
    cluster: Option<PathBuf>,
    /// Make the database of a new cluster, once, and end
    #[arg(long, requires = "cluster")]
    create: bool,
    /// Limits to use instead of the defaults (TOML)
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    upkeep: Options,
    /// The version of the placement map that the balancer started this server for
    #[arg(long, hide = true)]
    map_version: Option<u64>,
}

/// The name of a server, on the command line.
pub(super) fn parse_id(text: &str) -> Result<ServerId, String> {
    ServerId::parse(text).map_err(|error| error.to_string())
}

/// The first word that asks for a doctor instead of a server.
const DOCTOR_WORD: &str = "doctor";

/// Look for what is wrong with a server, running or stopped.
#[derive(Debug, Parser)]
#[command(name = "server doctor", version)]
struct DoctorArgs {
    /// Which server of the placement map. Default: all of them, and the balancer
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<ServerId>,
    /// Folder of the placement map and the databases
    #[arg(long, value_name = "DIR", default_value = "databases")]
    data: PathBuf,
    /// Folder of the certificates and keys
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// The server's cluster.toml, which says where all of that is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "certs"])]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    questions: Questions,
}

/// The whole program `server`.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == DOCTOR_WORD) {
        let words = std::env::args_os().skip(1);
        return finish(examine(&DoctorArgs::parse_from(words)));
    }
    finish(serve(&Args::parse()))
}

fn examine(args: &DoctorArgs) -> Result<Exit, Failure> {
    let cluster = args.cluster.as_deref();
    if let (Some(path), Some(id)) = (cluster, &args.id) {
        whose(path, id)?;
    }
    let folders = Folders { data: &args.data, certs: &args.certs, cluster };
    let scope = args.id.as_ref().map_or(Scope::Cluster, Scope::Server);
    Ok(runtime()?.block_on(doctor::cluster::run(&args.questions, &folders, scope)))
}

/// Makes sure that a `cluster.toml` is that server's. One that cannot be read is the doctor's.
fn whose(path: &Path, id: &ServerId) -> Result<(), Failure> {
    match ClusterFile::read(path) {
        Ok(file) => {
            file.belongs_to(path, id.as_str()).map_err(|error| refusals::of_folders(&error))
        }
        Err(_) => Ok(()),
    }
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
    pub(super) upkeep: &'a Options,
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
        if let Some(addr) = self.upkeep.admin {
            option("--admin", addr.to_string().into());
        }
        if self.upkeep.log_names {
            words.push("--log-names".into());
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
    Limits::parse(&text).map_err(|error| refusals::of_limits(file, &text, &error))
}

fn serve(args: &Args) -> Result<Exit, Failure> {
    logs::start(args.log_format, args.id.as_str());
    let limits = read_limits(args.limits.as_deref())?;
    let place = Place::of(args)?;
    logs::read_level(&place.data);
    warn_of_open_keys(&place.certs, &args.id);
    if let (true, Some(file)) = (args.create, &args.cluster) {
        return create(args, file);
    }
    let _held = hold(args, &place)?;
    let config = configure(args, &place, limits)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(run(args, &place, config));
    // Whatever still runs on a thread has nothing to say that anybody was told of.
    runtime.shutdown_background();
    outcome
}

/// Says which of the keys that this server uses others can read; it starts all the same.
fn warn_of_open_keys(certs: &Path, id: &ServerId) {
    let open = open_keys(certs, id);
    if !open.is_empty() {
        let (folder, names) = (certs.display(), open.join(" "));
        tracing::warn!(%folder, %names, "other users can read these keys: close them, chmod 600");
    }
}

fn open_keys(certs: &Path, id: &ServerId) -> Vec<String> {
    let keys = [format!("{id}.key"), format!("{id}.quic"), cluster::ADMISSION_FILE.to_owned()];
    keys.into_iter().filter(|name| is_open_to_others(&certs.join(name))).collect()
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

/// Where a server finds what it needs.
struct Place {
    data: PathBuf,
    certs: PathBuf,
    listen: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// From a `cluster.toml`; else it lies in the data folder.
    map: Option<PlacementMap>,
}

impl Place {
    fn of(args: &Args) -> Result<Self, Failure> {
        let (listen, peer) = (args.listen, args.peer);
        let Some(path) = &args.cluster else {
            let (data, certs) = (args.data.clone(), args.certs.clone());
            if !data.join(MAP_FILE).exists() {
                return Err(refusals::no_cluster(&data));
            }
            return Ok(Self { data, certs, listen, peer, map: None });
        };
        let read = || {
            let file = ClusterFile::read(path)?;
            file.belongs_to(path, args.id.as_str())?;
            Ok(file)
        };
        let file = read().map_err(|error| refusals::of_folders(&error))?;
        let data = file.data_folder(path);
        let database = cluster::database_path(&data, &args.id);
        if !args.create && !database.exists() {
            return Err(Failure::new(
                Exit::LocalData,
                format!("{} is missing.", database.display()),
                "It holds people's mail: bring it back. Only on the very first start add --create.",
            ));
        }
        Ok(Self {
            data,
            certs: folder_of(path).to_owned(),
            listen: listen.or(Some(file.listen)),
            peer: peer.or(file.peer_listen),
            map: Some(file.placement),
        })
    }
}

fn create(args: &Args, file: &Path) -> Result<Exit, Failure> {
    let made = folders::create_database(&Env::system(), file, &args.id)
        .map_err(|error| refusals::of_folders(&error))?;
    operator::print(&format!(
        "Made {}. Start it:  server --id {} --cluster {}",
        made.display(),
        args.id,
        file.display()
    ));
    Ok(Exit::Done)
}

/// Makes sure that nobody else serves this database.
fn hold(args: &Args, place: &Place) -> Result<PidFile, Failure> {
    PidFile::take(&cluster::pid_path(&place.data, &args.id)).map_err(|error| match &error {
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
    let remedy = if is_missing(error) {
        "Bring it back, or say where it is: --cluster FILE, or --data DIR and --certs DIR."
    } else {
        "Check the owner and the rights of that file and its folder."
    };
    Failure::new(Exit::LocalData, sentence(error), remedy)
}

/// Whether there is no such file.
fn is_missing(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::NotFound;
        }
        cause = inner.source();
    }
    false
}

fn configure(args: &Args, place: &Place, limits: Limits) -> Result<ServerConfig, Failure> {
    let missing = |what: String| {
        Failure::new(Exit::LocalData, what, "Start the cluster first:  load_balancer 3 9000")
    };
    let map = match &place.map {
        Some(map) => map.clone(),
        None => cluster::read_map(&place.data)
            .map_err(|error| unreadable(&error))?
            .ok_or_else(|| refusals::no_cluster(&place.data))?,
    };
    let Some(entry) = map.server(&args.id) else {
        return Err(missing(format!("{} is not in the placement map.", args.id)));
    };
    if args.map_version.is_some_and(|version| version != map.version) {
        return Err(missing(format!("The placement map changed to version {}.", map.version)));
    }
    let certs = place.certs.as_path();
    let admission_key = cluster::read_admission_key(certs)
        .map_err(|error| unreadable(&error))?
        .ok_or_else(|| missing(format!("No admission key in {}.", certs.display())))?;
    let name = args.id.as_str();
    let ca = CaCert::load(&certs.join("ca.pem")).map_err(|error| unreadable(&error))?;
    Ok(ServerConfig {
        id: args.id.clone(),
        listen: place.listen.unwrap_or(entry.addr),
        peer_listen: place.peer.unwrap_or(entry.peer_addr),
        database: cluster::database_path(&place.data, &args.id),
        credentials: Credentials::load(certs, name).map_err(|error| unreadable(&error))?.into(),
        quic_keys: QuicKeys::load(certs, name).map_err(|error| unreadable(&error))?,
        cluster: ca.cluster_id(),
        map,
        limits: limits.into(),
        admission_key,
    })
}

async fn run(args: &Args, place: &Place, config: ServerConfig) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(Exit::Internal, format!("No signals: {error}."), ""))?;
    let stop = Stop::default();
    let (ready, is_ready) = oneshot::channel();
    let id = config.id.clone();
    let upkeep = args.upkeep.prepare(&config.admission_key).await?;
    let env = upkeep.env();
    upkeep.begin(&env);
    let reload = Reload {
        certs: &place.certs,
        data: &place.data,
        name: args.id.as_str(),
        credentials: config.credentials.clone(),
        limits: args.limits.as_deref().map(|file| (file, config.limits.clone())),
    };
    let asked = signals.reload();
    let expiry = warn_of_expiry(env.clone(), config.credentials.clone());
    let server = server::run_until(env, config, ready, stop.clone());
    let beside = async {
        if is_ready.await.is_ok() {
            tracing::info!(server = %id, "ready");
            service::ready("ready");
        }
        tokio::join!(reload.keep(&asked), expiry);
    };
    tokio::pin!(server, beside);
    let exit = tokio::select! {
        biased;
        exit = signals.next() => exit,
        outcome = &mut server => return outcome.map(|()| Exit::Done).map_err(failure),
        () = &mut beside => Exit::Done,
    };
    service::stopping();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::hosts::Hosts;
    use crate::net::files;

    const HOSTS: &str = "\
        balancer = { listen = \"127.0.0.1:9600\" }\n\
        [[server]]\nid = \"s1\"\nlisten = \"127.0.0.2:9601\"\npeer_listen = \"127.0.0.2:9602\"\n\
        [[server]]\nid = \"s2\"\nlisten = \"127.0.0.3:9601\"\npeer_listen = \"127.0.0.3:9602\"\n";

    #[test]
    fn a_doctor_of_one_server_refuses_the_folder_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("cluster");
        folders::make(&Env::system(), &Hosts::parse(HOSTS).unwrap(), &out).unwrap();
        let file = out.join("s2/cluster.toml");
        assert!(whose(&file, &ServerId::numbered(2)).is_ok());
        let refused = whose(&file, &ServerId::numbered(1)).unwrap_err();
        assert!(refused.what.contains("is the folder of s2, not of s1"), "{}", refused.what);
        assert!(whose(&out.join("none.toml"), &ServerId::numbered(1)).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_is_warned_of_at_the_start() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (certs, id) = (folder.path(), ServerId::numbered(1));
        files::write_private(&certs.join("s1.key"), b"key").unwrap();
        files::write_public(&certs.join("s1.pem"), b"certificate").unwrap();
        assert!(open_keys(certs, &id).is_empty());
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(certs.join("s1.key"), open).unwrap();
        assert_eq!(open_keys(certs, &id), ["s1.key"]);
    }

    #[test]
    fn a_missing_file_is_not_answered_with_owner_and_rights() {
        let folder = tempfile::tempdir().unwrap();
        let missing = files::read(&folder.path().join("none")).unwrap_err();
        assert!(unreadable(&missing).remedy.contains("--cluster FILE"));
        let wrapped = CaCert::load(&folder.path().join("ca.pem")).err().unwrap();
        assert!(unreadable(&wrapped).remedy.contains("--cluster FILE"));
        let no_file = files::read(folder.path()).unwrap_err();
        assert!(unreadable(&no_file).remedy.contains("rights"));
    }
}
