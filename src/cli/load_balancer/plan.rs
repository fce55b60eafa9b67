//! What the arguments of a start ask for, once they make sense, and the start itself in order.
//!
//! What is in the way is found in `claim`; what follows the start is `running`'s.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::claim::{check_free, lock, make_way};
use super::running::{Beside, Running};
use super::{Args, CHILD_WORD};
use crate::balancer::Strategy;
use crate::balancer::children::ChildSpec;
use crate::balancer::cluster::{self, Cluster, Wanted};
use crate::balancer::folders::{self, ClusterFile, folder_of};
use crate::cli::exit::{Exit, Failure, sentence};
use crate::cli::logs::{self, LogFormat};
use crate::cli::refusals;
use crate::cli::screen::Screen;
use crate::cli::server::{self, ChildArguments};
use crate::cli::signals::Signals;
use crate::cli::upkeep::Options;
use crate::limits::Limits;
use crate::net::Env;
use crate::placement::ServerEntry;

/// What the arguments ask for, once they make sense.
pub(super) struct Plan {
    wanted: Wanted,
    pub(super) strategy: Strategy,
    pub(super) limits: Limits,
    limits_file: Option<PathBuf>,
    log_format: LogFormat,
    upkeep: Options,
    pub(super) servers: Servers,
    /// The balancer's `cluster.toml`.
    cluster: Option<PathBuf>,
}

/// Who starts the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Servers {
    /// This program, on this machine.
    Ours,
    /// Somebody else, anywhere.
    Others,
}

impl Plan {
    pub(super) fn judge(args: Args) -> Result<Self, Failure> {
        let servers = if args.no_spawn { Servers::Others } else { Servers::Ours };
        let limits_file = args.limits.clone().map(absolute).transpose()?;
        let wanted = match &args.cluster {
            Some(file) => Self::judge_cluster(&args, file)?,
            None => {
                let (count, port) =
                    refusals::judge_numbers(args.num_servers.as_deref(), args.port.as_deref())?;
                Wanted { count, port, bind: args.bind, data: args.data, certs: args.certs }
            }
        };
        if args.cluster.is_none() {
            cluster::check_ports(&wanted).map_err(|error| refusals::of_cluster(&error, &wanted))?;
        }
        Ok(Self {
            servers,
            cluster: args.cluster,
            wanted,
            strategy: args.strategy,
            limits: server::read_limits(limits_file.as_deref())?,
            limits_file,
            log_format: args.log_format,
            upkeep: args.upkeep,
        })
    }

    /// What a `cluster.toml` says, in place of the numbers on the command line.
    fn judge_cluster(args: &Args, file: &Path) -> Result<Wanted, Failure> {
        let usage = |what: &str| {
            let remedy = "Like this:  load_balancer --no-spawn --cluster cluster.toml";
            Failure::new(Exit::Usage, what, remedy)
        };
        if args.num_servers.is_some() {
            return Err(usage(
                "With --cluster the file says how many servers there are, and where.",
            ));
        }
        if !args.no_spawn {
            return Err(usage("The servers of a --cluster are on machines of their own."));
        }
        let read = ClusterFile::read(file).map_err(|error| refusals::of_folders(&error))?;
        let folder = folder_of(file).to_owned();
        Ok(Wanted {
            count: u16::try_from(read.placement.servers.len()).unwrap_or(u16::MAX),
            port: read.listen.port(),
            bind: read.listen.ip(),
            data: read.data_folder(file),
            certs: folder,
        })
    }

    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let started = Instant::now();
        let env = Env::system();
        let wanted = &self.wanted;
        let listen = SocketAddr::new(wanted.bind, wanted.port);
        check_free(&env, listen)?;
        let signals = Signals::listen().map_err(|error| internal(&error))?;
        let _lock = lock(&wanted.data)?;
        let cluster = env.in_place(|| self.prepare(&env))?;
        let specs = match self.servers {
            Servers::Ours => self.specs(&cluster)?,
            Servers::Others => Vec::new(),
        };
        if self.servers == Servers::Ours {
            make_way(&env, &specs, &cluster.map.servers, &wanted.data).await?;
        }
        logs::read_level(&wanted.data);
        let upkeep = self.upkeep.prepare(&cluster.admission_key).await?;
        let env = upkeep.env();
        let count = cluster.map.servers.len();
        Screen::starting(listen, self.strategy, count, &wanted.data, self.servers);
        let beside = Beside {
            strategy: self.strategy,
            certs: wanted.certs.clone(),
            data: wanted.data.clone(),
            reload: signals.reload(),
        };
        let running = Running::begin(&env, self, listen, cluster, specs, started).await?;
        running.look_after(&env, upkeep, beside);
        running.attend(signals).await
    }

    fn prepare(&self, env: &Env) -> Result<Cluster, Failure> {
        let wanted = &self.wanted;
        match &self.cluster {
            Some(file) => {
                folders::open_balancer(env, file).map_err(|error| refusals::of_folders(&error))
            }
            None => {
                cluster::prepare(env, wanted).map_err(|error| refusals::of_cluster(&error, wanted))
            }
        }
    }

    /// How each server is started.
    fn specs(&self, cluster: &Cluster) -> Result<Vec<ChildSpec>, Failure> {
        let program = std::env::current_exe().map_err(|error| internal(&error))?;
        let data = absolute(self.wanted.data.clone())?;
        let certs = absolute(self.wanted.certs.clone())?;
        let spec = |(number, server): (u16, &ServerEntry)| {
            let words = ChildArguments {
                id: &server.id,
                listen: server.addr,
                peer: server.peer_addr,
                data: &data,
                certs: &certs,
                limits: self.limits_file.as_deref(),
                log_format: self.log_format,
                map_version: cluster.map.version,
                upkeep: &self.upkeep.of_server(number),
            };
            let mut arguments = vec![CHILD_WORD.into()];
            arguments.extend(words.words());
            let pid_file = cluster::pid_path(&data, &server.id);
            ChildSpec { id: server.id.clone(), program: program.clone(), arguments, pid_file }
        };
        Ok((1..).zip(&cluster.map.servers).map(spec).collect())
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| internal(&error))
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, sentence(error), "")
}
