//! What a start must have to itself: the data, the ports, and no servers of an earlier balancer
//! in the way.
//!
//! Servers that fit are left running; adopting them is the business of whoever starts the others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::CHILD_WORD;
use crate::balancer::children::{ChildSpec, Leftover, leftover, stop_leftover};
use crate::balancer::cluster::{self, LOCK_FILE};
use crate::balancer::process::{PidFile, PidFileError};
use crate::cli::exit::{Exit, Failure};
use crate::cli::refusals::{self, port_taken};
use crate::cli::server;
use crate::limits::SERVERS_MAX;
use crate::net::{Env, files};
use crate::placement::ServerEntry;
use crate::types::ServerId;

/// Makes sure that no other balancer works on the same data.
pub(super) fn lock(data: &Path) -> Result<PidFile, Failure> {
    files::create_private_dir(data).map_err(|error| server::unreadable(&error))?;
    PidFile::take(&data.join(LOCK_FILE)).map_err(|error| match &error {
        PidFileError::Held { pid, .. } => {
            let who = pid.map_or_else(|| "another process".into(), |pid| format!("pid {pid}"));
            Failure::new(
                Exit::LocalData,
                format!("The data in {} is in use by {who} (load_balancer).", data.display()),
                "Stop that one first:  load_balancer stop",
            )
        }
        PidFileError::Io { .. } => server::unreadable(&error),
    })
}

/// Whether a UDP port can be had.
pub(super) fn check_free(env: &Env, addr: SocketAddr) -> Result<(), Failure> {
    match env.bind(addr) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(port_taken(addr)),
        Err(error) => Err(Failure::new(
            Exit::Unreachable,
            format!("Cannot listen on UDP {addr}: {error}."),
            "Give an address of this machine with --bind IP, and a port above 1023.",
        )),
    }
}

/// Finds servers that outlived an earlier balancer: those that fit are left to be adopted, others
/// are stopped. Then every port that is still needed must be free.
pub(super) async fn make_way(
    env: &Env,
    specs: &[ChildSpec],
    servers: &[ServerEntry],
    data: &Path,
) -> Result<(), Failure> {
    let dropped = (1..=SERVERS_MAX)
        .map(ServerId::numbered)
        .filter(|id| specs.iter().all(|spec| spec.id != *id));
    for id in dropped {
        let pid_file = cluster::pid_path(data, &id);
        let none =
            ChildSpec { id, program: PathBuf::new(), arguments: vec![CHILD_WORD.into()], pid_file };
        if let Leftover::Outdated(pid) = look(&none)? {
            stop_leftover(pid, &none.pid_file).await;
        }
    }
    let mut needed = Vec::new();
    for (spec, server) in specs.iter().zip(servers) {
        match look(spec)? {
            Leftover::Same(_) => continue,
            Leftover::None => {}
            Leftover::Outdated(pid) => stop_leftover(pid, &spec.pid_file).await,
            Leftover::Foreign(pid) => return Err(refusals::foreign_server(&spec.id, pid)),
        }
        needed.extend([server.addr, server.peer_addr]);
    }
    needed.into_iter().try_for_each(|addr| check_free(env, addr))
}

fn look(spec: &ChildSpec) -> Result<Leftover, Failure> {
    leftover(spec).map_err(|source| {
        let path = spec.pid_file.clone();
        server::unreadable(&files::FileError { action: "read", path, source })
    })
}
