//! Why a cluster does not start, in two lines each, with the exit code.
//!
//! Words only: the reasons are found elsewhere.

use std::net::SocketAddr;
use std::path::Path;

use super::exit::{Exit, Failure, sentence};
use super::server::unreadable;
use crate::balancer::children::Ended;
use crate::balancer::cluster::{ClusterError, MAP_FILE, Wanted};
use crate::balancer::folders::{CLUSTER_FILE, FoldersError};
use crate::balancer::hosts::{HostsError, HostsFault};
use crate::balancer::process::udp_owner;
use crate::home::CreateError;
use crate::limits::{LimitsError, SERVERS_MAX};
use crate::types::ServerId;
use crate::ui::text::nearest;

/// Judges `<NUM_SERVERS> <PORT>`. They come as text, so that a mistyped command is answered as one.
pub(super) fn judge_numbers(
    count: Option<&str>,
    port: Option<&str>,
) -> Result<(u16, u16), Failure> {
    let usage = |what: String| {
        Failure::new(Exit::Usage, what, "For example:  load_balancer 3 9000      Help:  --help")
    };
    let Some(count) = count else {
        return Err(usage("How many servers, and on which port?".into()));
    };
    let Ok(number) = count.parse::<u16>() else {
        return Err(if count.starts_with(|first: char| first.is_ascii_alphabetic()) {
            usage(format!(
                "There is no command {count:?}; the commands are status, drain, undrain, init and stop."
            ))
        } else {
            usage(format!("{count:?} is no number of servers (1 to {SERVERS_MAX})."))
        });
    };
    let Some(port) = port else { return Err(usage("On which port?".into())) };
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok((number, port)),
        Ok(_) | Err(_) => Err(usage(format!("{port:?} is no UDP port (1 to 65535)."))),
    }
}

/// A UDP port that somebody has, and who.
pub(super) fn port_taken(addr: SocketAddr) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("UDP {} is taken by {}.", addr.port(), owner_of(addr)),
        "Stop that program, or choose another port.",
    )
}

/// What is wrong with a port that somebody else has.
fn owner_of(addr: SocketAddr) -> String {
    udp_owner(addr)
        .map_or_else(|| "another program".into(), |o| format!("pid {} ({})", o.pid, o.name))
}

/// A server of ours that somebody else runs.
pub(super) fn foreign_server(id: &ServerId, pid: Option<u32>) -> Failure {
    let who = pid.map_or_else(|| "another process".into(), |pid| format!("pid {pid}"));
    Failure::new(
        Exit::LocalData,
        format!("{id} is served by {who}, which this program did not start."),
        "Stop that one first.",
    )
}

/// A server that could not come up. It has said why on the same terminal, unless it crashed.
pub(super) fn server_failed(exit: Exit, id: &ServerId, ended: Ended) -> Failure {
    let remedy = if exit == Exit::Internal { "" } else { "Its own message stands above." };
    Failure::new(exit, format!("{id} could not start ({ended}); everything is stopped."), remedy)
}

/// No placement map where one was looked for; the machine may be one of several.
pub(super) fn no_cluster(data: &Path) -> Failure {
    let what = format!("No {MAP_FILE} in {}.", data.display());
    Failure::new(Exit::LocalData, what, name_the_cluster())
}

/// How to say where a cluster is.
pub(super) fn name_the_cluster() -> String {
    how_to_name(Path::new("."))
}

fn how_to_name(here: &Path) -> String {
    if here.join(CLUSTER_FILE).exists() {
        format!("Its {CLUSTER_FILE} is here: add  --cluster {CLUSTER_FILE}")
    } else {
        "Say where it is: --cluster FILE, or --data DIR and --certs DIR.".to_owned()
    }
}

/// Why there is no cluster on disk to start.
pub(super) fn of_cluster(error: &ClusterError, wanted: &Wanted) -> Failure {
    let what = sentence(error);
    let keep = "Nothing was changed or deleted; keep the files, they hold people's mail.";
    match error {
        ClusterError::Count(_) => {
            Failure::new(Exit::Usage, what, "For example:  load_balancer 3 9000")
        }
        ClusterError::PortRange { .. } => Failure::new(Exit::Usage, what, "Choose a lower port."),
        ClusterError::TooFew { present, stranded, wanted: count } => {
            let names: Vec<&str> = stranded.iter().map(ServerId::as_str).collect();
            Failure::new(
                Exit::Usage,
                format!(
                    "With {count} of {present} servers the data of {} would be out of reach.",
                    names.join(", ")
                ),
                format!("Start them all:  load_balancer {present} {}", wanted.port),
            )
        }
        ClusterError::NoMap { .. }
        | ClusterError::NoDatabase(_)
        | ClusterError::NoAuthority { .. }
        | ClusterError::MapSyntax { .. }
        | ClusterError::Map { .. }
        | ClusterError::AdmissionKey { .. } => Failure::new(Exit::LocalData, what, keep),
        ClusterError::ForeignCertificate { .. } => Failure::new(
            Exit::LocalData,
            what,
            "Give the --certs and --data folders that belong together.",
        ),
        ClusterError::File(_)
        | ClusterError::Pki(_)
        | ClusterError::QuicKeys(_)
        | ClusterError::Database(_) => unreadable(error),
    }
}

/// Why a folder of a cluster on several machines cannot be made or used.
pub(super) fn of_folders(error: &FoldersError) -> Failure {
    let what = sentence(error);
    match error {
        FoldersError::Exists(path) => Failure::new(
            Exit::Usage,
            format!("{} is there already.", path.display()),
            "Nothing was changed. Choose another folder with --out DIR, or move that one away.",
        ),
        FoldersError::Syntax { .. } | FoldersError::Map { .. } => Failure::new(
            Exit::LocalData,
            what,
            "Copy it again from where load_balancer init was run.",
        ),
        FoldersError::Other { .. } => {
            Failure::new(Exit::Usage, what, "Give the cluster.toml of that machine's own folder.")
        }
        FoldersError::Database(CreateError::Exists(_)) => Failure::new(
            Exit::LocalData,
            what,
            "It was not changed. Start without --create: it holds people's mail.",
        ),
        FoldersError::Missing(_)
        | FoldersError::Cluster(_)
        | FoldersError::File(_)
        | FoldersError::Pki(_)
        | FoldersError::QuicKeys(_)
        | FoldersError::Database(_) => unreadable(error),
    }
}

/// What is wrong in a `hosts.toml`.
pub(super) fn of_hosts(path: &Path, error: &HostsError) -> Failure {
    in_toml(path, error, "Correct that; docs/OPERATIONS.md has an example.")
}

/// What is wrong in a limits file.
pub(super) fn of_limits(path: &Path, text: &str, error: &LimitsError) -> Failure {
    let remedy = "Correct that line, or leave it out for the default.";
    match error {
        LimitsError::Syntax(error) => in_toml(path, &HostsError::of_toml(text, error), remedy),
        LimitsError::Range { .. } => {
            let what = format!("{} is no limits file: {error}.", path.display());
            Failure::new(Exit::Usage, what, remedy)
        }
    }
}

/// A mistake with its place; a key that is nearly one is answered with that one.
fn in_toml(path: &Path, error: &HostsError, remedy: &str) -> Failure {
    let near = match &error.what {
        HostsFault::UnknownKey { key, known } => nearest(key, known.iter().map(String::as_str)),
        HostsFault::Syntax(_)
        | HostsFault::NotAnAddress(_)
        | HostsFault::NoPort(_)
        | HostsFault::NeedsPublic { .. }
        | HostsFault::NotAnId(_)
        | HostsFault::TakenName(_)
        | HostsFault::IdTwice(_)
        | HostsFault::AddressTwice(_)
        | HostsFault::Count(_) => None,
    };
    let remedy = near.map_or_else(|| remedy.to_owned(), |key| format!("Did you mean {key:?}?"));
    Failure::new(Exit::Usage, format!("{}: {error}.", path.display()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn a_mistyped_limit_is_named_with_its_place_and_the_nearest_one() {
        let said =
            |text: &str| of_limits(Path::new("l.toml"), text, &Limits::parse(text).unwrap_err());
        let typo = said("bcrypt_cost = 10\nconnection_max = 5\n");
        assert_eq!(typo.what, "l.toml: line 2, column 1: there is no key \"connection_max\".");
        assert_eq!(typo.remedy, "Did you mean \"connections_max\"?");
        let kind = said("connections_max = \"many\"\n");
        assert!(kind.what.starts_with("l.toml: line 1, column 19: invalid type"), "{}", kind.what);
        assert!(said("bcrypt_cost = 99").what.contains("from 4 to 15"));
    }

    #[test]
    fn a_cluster_file_that_lies_there_is_named() {
        let here = tempfile::tempdir().unwrap();
        assert!(how_to_name(here.path()).contains("--cluster FILE"));
        std::fs::write(here.path().join(CLUSTER_FILE), "").unwrap();
        assert!(how_to_name(here.path()).ends_with("--cluster cluster.toml"));
    }

    #[test]
    fn a_mistyped_command_is_not_answered_as_a_bad_port() {
        let what = |count, port| judge_numbers(count, port).unwrap_err().what;
        assert!(what(Some("statsu"), None).contains("no command \"statsu\""));
        assert!(what(Some("-3x"), Some("9000")).contains("no number of servers"));
        assert!(what(Some("3"), Some("90000")).contains("no UDP port"));
        assert!(what(Some("3"), None).contains("On which port"));
        assert_eq!(judge_numbers(Some("3"), Some("9000")), Ok((3, 9000)));
    }
}
