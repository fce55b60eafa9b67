//! `load_balancer init`: the folders of a cluster on several machines, made and renewed.
//!
//! Reads the operator's `hosts.toml` and says what to carry where. Deliberately carries nothing.

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::operator::print;
use super::refusals::{of_folders, of_hosts};
use crate::balancer::folders;
use crate::balancer::hosts::{Host, Hosts};
use crate::net::pki::BALANCER_NAME;
use crate::net::{Env, files};
use crate::types::ClusterId;

/// What `init` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Init {
    /// The machines (TOML); docs/OPERATIONS.md has an example
    #[arg(long, value_name = "FILE", required_unless_present = "renew")]
    servers: Option<PathBuf>,
    /// The folder to make
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    out: PathBuf,
    /// Renew the certificates in the folders made earlier; keys stay
    #[arg(long, conflicts_with = "servers")]
    renew: bool,
}

/// Makes the folders, or renews what is in them.
///
/// # Errors
/// [`Failure`] names the line of `hosts.toml`, or what is in the way.
pub(super) fn init(args: &Init) -> Result<Exit, Failure> {
    let env = Env::system();
    match &args.servers {
        Some(file) => make(&env, file, &args.out)?,
        None => renew(&env, &args.out)?,
    }
    Ok(Exit::Done)
}

fn make(env: &Env, file: &Path, out: &Path) -> Result<(), Failure> {
    let usage = |what: String, remedy: &str| Failure::new(Exit::Usage, what, remedy);
    let bytes = files::read(file).map_err(|error| {
        let what = format!("Cannot read {}: {}.", file.display(), error.source);
        usage(what, "Write one first; docs/OPERATIONS.md has an example.")
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| usage(format!("{} is no text.", file.display()), "It has to be TOML."))?;
    let hosts = Hosts::parse(&text).map_err(|error| of_hosts(file, &error))?;
    let cluster = folders::make(env, &hosts, out).map_err(|error| of_folders(&error))?;
    print(&what_next(&hosts, out, &cluster));
    Ok(())
}

/// Which folder goes where, and what to type there.
fn what_next(hosts: &Hosts, out: &Path, cluster: &ClusterId) -> String {
    let count = hosts.servers.len();
    let mut lines =
        vec![format!("Made {}/ for {count} servers and their balancer.", out.display())];
    for Host { id, addr, .. } in &hosts.servers {
        let command = format!("server --id {id} --cluster cluster.toml");
        lines.push(format!("  {id}  to the machine of {addr}, and there:"));
        lines.push(format!("      {command} --create      (once)"));
        lines.push(format!("      {command}"));
    }
    let public = hosts.balancer_public;
    lines.push(format!("  {BALANCER_NAME}  to the machine of {public}, and there:"));
    lines.push("      load_balancer --no-spawn --cluster cluster.toml".to_owned());
    lines.push(format!("  Join:  client {} {} --ca {cluster}", public.ip(), public.port()));
    lines.push(
        "Keep a copy of all in a safe place: whoever has the folder balancer is your cluster."
            .into(),
    );
    lines.join("\n")
}

fn renew(env: &Env, out: &Path) -> Result<(), Failure> {
    let made = folders::renew(env, out).map_err(|error| of_folders(&error))?;
    let mut lines =
        vec!["Renewed for 90 days; carry each to its machine and restart there:".to_owned()];
    lines.extend(made.iter().map(|path| format!("  {}", path.display())));
    print(&lines.join("\n"));
    Ok(())
}
