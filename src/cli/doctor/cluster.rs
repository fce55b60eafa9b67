//! `load_balancer doctor` and `server doctor`: what is wrong with a cluster, seen from its machine.
//!
//! Changes nothing. A stopped cluster can be looked at as well as a running one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::super::certs::day;
use super::super::exit::Exit;
use super::super::operator::Folders;
use super::super::server::read_limits;
use super::files::{self, plain};
use super::{Check, Form, report};
use crate::balancer::cluster::{self, reachable};
use crate::balancer::folders::{ClusterFile, folder_of};
use crate::balancer::process::udp_owner;
use crate::balancer::renew::roles;
use crate::limits::Limits;
use crate::net::pki::{BALANCER_NAME, CaCert, Role};
use crate::net::{ConnectError, Env, Target, client_endpoint, connect};
use crate::placement::{PlacementMap, ServerEntry};
use crate::types::{ClusterId, ServerId};

/// What a doctor of servers is asked.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Questions {
    /// Limits file to check (TOML)
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Whom it is about.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Scope<'a> {
    /// The balancer and every server of the map.
    Cluster,
    /// One server.
    Server(&'a ServerId),
}

impl Scope<'_> {
    fn covers(self, role: &Role) -> bool {
        match (self, role) {
            (Self::Cluster, _) => true,
            (Self::Server(one), Role::Server(id)) => one == id,
            (Self::Server(_), Role::Balancer | Role::Operator) => false,
        }
    }
}

/// Runs every check and prints what it came to.
pub(in crate::cli) async fn run(
    questions: &Questions,
    folders: &Folders<'_>,
    scope: Scope<'_>,
) -> Exit {
    let env = Env::system();
    let mut checks = vec![Check::ok("version", env!("CARGO_PKG_VERSION"))];
    checks.push(limits(questions.limits.as_deref()));
    let (place, check) = Place::of(folders);
    checks.push(files::folder("data folder", &place.data));
    checks.push(files::folder("certificates", &place.certs));
    checks.push(files::keys(&place.certs));
    checks.push(check);
    let ca = CaCert::load(&place.certs.join("ca.pem"));
    match (&place.map, &ca) {
        (Some(map), Ok(ca)) => {
            checks.extend(of_cluster(&env, &place, map, ca, scope).await);
        }
        (_, Err(error)) => {
            let remedy = "Give the cluster's --certs folder, or restore its backup.";
            checks.push(Check::fail("certificate ca", plain(error), remedy));
        }
        (None, Ok(_)) => {}
    }
    checks.push(files::disk(&place.data));
    report(&checks, Form::of_flag(questions.json))
}

/// Where everything is that is looked at.
struct Place {
    data: PathBuf,
    certs: PathBuf,
    map: Option<PlacementMap>,
    /// One machine of several has what it needs, and not what is another's.
    is_whole: bool,
    /// Where the balancer listens, as far as this machine knows.
    balancer: Option<SocketAddr>,
}

impl Place {
    fn of(folders: &Folders<'_>) -> (Self, Check) {
        let Some(path) = folders.cluster else {
            let (check, map) = files::map(folders.data);
            let balancer = map.as_ref().and_then(|map| map.servers.first()).map(before_first);
            let (data, certs) = (folders.data.to_owned(), folders.certs.to_owned());
            let is_whole = certs.join("ca.key").exists();
            return (Self { data, certs, map, is_whole, balancer }, check);
        };
        let certs = folder_of(path).to_owned();
        match ClusterFile::read(path) {
            Ok(file) => {
                let balancer = (file.id == BALANCER_NAME).then_some(file.listen);
                let data = file.data_folder(path);
                let check = Check::ok("cluster file", format!("{}", path.display()));
                let map = Some(file.placement);
                (Self { data, certs, map, is_whole: false, balancer }, check)
            }
            Err(error) => {
                let remedy = "Bring the file that init made, whole.";
                let check = Check::fail("cluster file", plain(&error), remedy);
                let data = certs.clone();
                (Self { data, certs, map: None, is_whole: false, balancer: None }, check)
            }
        }
    }
}

fn limits(file: Option<&Path>) -> Check {
    match (read_limits(file), file) {
        (Ok(_), None) => Check::ok("limits", "the defaults"),
        (Ok(_), Some(file)) => Check::ok("limits", format!("{}", file.display())),
        (Err(failure), _) => {
            Check::fail("limits", failure.what.trim_end_matches('.'), failure.remedy)
        }
    }
}

async fn of_cluster(
    env: &Env,
    place: &Place,
    map: &PlacementMap,
    ca: &CaCert,
    scope: Scope<'_>,
) -> Vec<Check> {
    let now_ms = env.unix_ms();
    let mut checks = vec![Check::ok("clock", format!("{} UTC", day(now_ms)))];
    for role in roles(map).iter().filter(|role| scope.covers(role)) {
        if place.is_whole || place.certs.join(format!("{}.key", role.name())).exists() {
            checks.push(files::certificate(&place.certs, role, map, ca, now_ms));
        }
    }
    let servers = || map.servers.iter().filter(|s| scope.covers(&Role::Server(s.id.clone())));
    for server in servers() {
        if place.is_whole || cluster::database_path(&place.data, &server.id).exists() {
            checks.push(files::database(&place.data, &server.id));
        }
    }
    if let Some(balancer) = place.balancer {
        let balancer = SocketAddr::new(reachable(balancer.ip()), balancer.port());
        checks.push(reach(env, BALANCER_NAME, balancer, Target::Balancer, &ca.cluster_id()).await);
    }
    for server in servers() {
        let addr = SocketAddr::new(reachable(server.addr.ip()), server.addr.port());
        let name = server.id.as_str();
        checks.push(reach(env, name, addr, Target::Client, &ca.cluster_id()).await);
    }
    if let Scope::Server(id) = scope
        && map.server(id).is_none()
    {
        let detail = format!("{id} is not in it");
        checks.push(Check::fail("placement map", detail, "Give one of its servers with --id."));
    }
    checks
}

/// The balancer's port is the one before the first server's.
fn before_first(first: &ServerEntry) -> SocketAddr {
    SocketAddr::new(first.addr.ip(), first.addr.port().saturating_sub(1))
}

/// Whether UDP reaches somebody, and whether it is who it should be.
async fn reach(
    env: &Env,
    name: &str,
    addr: SocketAddr,
    target: Target,
    cluster: &ClusterId,
) -> Check {
    let line = format!("reach {name}");
    let any = SocketAddr::new(
        match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        },
        0,
    );
    let endpoint = match client_endpoint(env, any) {
        Ok(endpoint) => endpoint,
        Err(error) => return Check::fail(line, plain(&error), "UDP may be forbidden here."),
    };
    let began = Instant::now();
    // A handshake on this machine takes milliseconds; across the world, less than this.
    let limits = Limits { handshake_deadline_ms: 2_000, ..Limits::default() };
    match connect(&endpoint, env, addr, name, target, cluster, None, &limits).await {
        Ok(connection) => {
            let took_ms = began.elapsed().as_micros() as f64 / 1000.0;
            connection.close(0u32.into(), b"bye");
            endpoint.wait_idle().await;
            Check::ok(line, format!("UDP {addr} answers in {took_ms:.1} ms"))
        }
        Err(ConnectError::Unreachable(_)) => {
            unreached(line, addr, format!("no answer on UDP {addr}"))
        }
        Err(error) => unreached(line, addr, format!("UDP {addr}: {error}")),
    }
}

fn unreached(line: String, addr: SocketAddr, detail: String) -> Check {
    match udp_owner(addr) {
        Some(owner) => {
            let remedy =
                format!("Look at pid {} ({}), which has that port.", owner.pid, owner.name);
            Check::unreachable(line, detail, remedy)
        }
        None => {
            let remedy = "Start the cluster:  load_balancer 3 9000  or open UDP in the firewall.";
            Check::unreachable(line, detail, remedy)
        }
    }
}
