//! `load_balancer doctor` and `server doctor`: what is wrong with a cluster, seen from its machine.
//!
//! Changes nothing. A stopped cluster can be looked at as well as a running one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::super::certs::day;
use super::super::exit::Exit;
use super::super::located::Located;
use super::super::operator::Folders;
use super::super::server::read_limits;
use super::files::{self, plain};
use super::{Check, Form, report};
use crate::balancer::cluster::{self, reachable};
use crate::balancer::process::udp_owner;
use crate::balancer::renew::roles;
use crate::limits::Limits;
use crate::net::pki::{BALANCER_NAME, CaCert, Role};
use crate::net::{ConnectError, Env, Target, client_endpoint, connect};
use crate::placement::PlacementMap;
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
    let form = Form::of_flag(questions.json);
    let mut checks = vec![Check::ok("version", env!("CARGO_PKG_VERSION"))];
    checks.push(limits(questions.limits.as_deref()));
    let located = match Located::find(folders) {
        Ok(located) => located,
        Err(error) => {
            let remedy = "Give the cluster.toml of this machine's folder with --cluster.";
            checks.push(Check::fail("cluster file", plain(&error), remedy));
            return report(&checks, form);
        }
    };
    let scope = match (scope, &located.server) {
        (Scope::Cluster, Some(id)) => Scope::Server(id),
        (Scope::Cluster | Scope::Server(_), _) => scope,
    };
    checks.push(files::folder("data folder", &located.data));
    checks.push(files::folder("certificates", &located.certs));
    checks.push(files::keys(&located.certs));
    let (check, map) = files::map(&located);
    checks.push(check);
    let ca = CaCert::load(&located.certs.join("ca.pem"));
    match (&map, &ca) {
        (Some(map), Ok(ca)) => checks.extend(of_cluster(&located, map, ca, scope).await),
        (_, Err(error)) => {
            let remedy = "Give the cluster's --certs folder, or restore its backup.";
            checks.push(Check::fail("certificate ca", plain(error), remedy));
        }
        (None, Ok(_)) => {}
    }
    checks.push(files::disk(&located.data));
    report(&checks, form)
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
    located: &Located,
    map: &PlacementMap,
    ca: &CaCert,
    scope: Scope<'_>,
) -> Vec<Check> {
    let env = &Env::system();
    let now_ms = env.unix_ms();
    let mut checks = vec![Check::ok("clock", format!("{} UTC", day(now_ms)))];
    // One machine of several has what it needs, and nothing of the others.
    let all_here = located.is_one_machine();
    for role in roles(map).iter().filter(|role| scope.covers(role)) {
        let is_here = located.certs.join(format!("{}.key", role.name())).exists();
        if is_here || all_here {
            checks.push(files::certificate(&located.certs, role, map, ca, now_ms));
        }
    }
    let servers = || map.servers.iter().filter(|s| scope.covers(&Role::Server(s.id.clone())));
    for server in servers() {
        let is_here = cluster::database_path(&located.data, &server.id).exists();
        if is_here || all_here {
            checks.push(files::database(&located.data, &server.id));
        }
    }
    if let Some(balancer) = located.balancer(map) {
        let start = start_of(located, &Role::Balancer);
        let (target, cluster) = (Target::Balancer, ca.cluster_id());
        checks.push(reach(env, BALANCER_NAME, balancer, target, &cluster, &start).await);
    }
    for server in servers() {
        let addr = SocketAddr::new(reachable(server.addr.ip()), server.addr.port());
        let name = server.id.as_str();
        let start = start_of(located, &Role::Server(server.id.clone()));
        checks.push(reach(env, name, addr, Target::Client, &ca.cluster_id(), &start).await);
    }
    if let Scope::Server(id) = scope
        && map.server(id).is_none()
    {
        let detail = format!("{id} is not in it");
        checks.push(Check::fail("placement map", detail, "Give one of its servers with --id."));
    }
    checks
}

/// Whether UDP reaches somebody, and whether it is who it should be.
async fn reach(
    env: &Env,
    name: &str,
    addr: SocketAddr,
    target: Target,
    cluster: &ClusterId,
    start: &str,
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
            unreached(line, addr, format!("no answer on UDP {addr}"), start)
        }
        Err(error) => unreached(line, addr, format!("UDP {addr}: {error}"), start),
    }
}

/// How whoever does not answer is started.
fn start_of(located: &Located, role: &Role) -> String {
    if located.is_one_machine() {
        return "Start the cluster:  load_balancer 3 9000".to_owned();
    }
    let with_file = "--cluster cluster.toml";
    match role {
        Role::Server(id) => format!("Start it on its machine:  server --id {id} {with_file}"),
        Role::Balancer | Role::Operator => {
            format!("Start it on its machine:  load_balancer --no-spawn {with_file}")
        }
    }
}

fn unreached(line: String, addr: SocketAddr, detail: String, start: &str) -> Check {
    match udp_owner(addr) {
        Some(owner) => {
            let remedy =
                format!("Look at pid {} ({}), which has that port.", owner.pid, owner.name);
            Check::unreachable(line, detail, remedy)
        }
        None => {
            let remedy = format!("{start}  or open UDP in the firewall.");
            Check::unreachable(line, detail, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::folders;
    use crate::balancer::hosts::Hosts;

    const HOSTS: &str = "\
        balancer = { listen = \"127.0.0.1:9600\" }\n\
        [[server]]\nid = \"s1\"\nlisten = \"127.0.0.2:9601\"\npeer_listen = \"127.0.0.2:9602\"\n";

    #[test]
    fn whoever_does_not_answer_is_started_as_it_was_set_up() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("cluster");
        folders::make(&Env::system(), &Hosts::parse(HOSTS).unwrap(), &out).unwrap();
        let file = out.join("balancer/cluster.toml");
        let start = |cluster, role: &Role| {
            let folders = Folders { data: folder.path(), certs: folder.path(), cluster };
            start_of(&Located::find(&folders).unwrap(), role)
        };
        let s1 = Role::Server(ServerId::numbered(1));
        assert!(start(None, &s1).ends_with("load_balancer 3 9000"));
        assert!(start(Some(&file), &s1).ends_with("server --id s1 --cluster cluster.toml"));
        let balancer = start(Some(&file), &Role::Balancer);
        assert!(
            balancer.ends_with("load_balancer --no-spawn --cluster cluster.toml"),
            "{balancer}"
        );
    }
}
