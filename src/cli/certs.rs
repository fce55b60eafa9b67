//! `load_balancer certs show|rotate`, and the renewal of certificates while a cluster runs.
//!
//! A renewed certificate is written first; then the balancer takes its own, and each server process
//! is told to read its own again. Deliberately makes no certificate itself: that is
//! `balancer::renew`.

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::doctor::Form;
use super::exit::{Exit, Failure, sentence};
use super::located::Located;
use super::operator::Folders;
use super::refusals::name_the_cluster;
use super::server::unreadable;
use super::upkeep::{CERTIFICATE_LOOK, Reload};
use crate::balancer::Fleet;
use crate::balancer::cluster::LOCK_FILE;
use crate::balancer::process::{Ask, Holder, holder, signal};
use crate::balancer::renew::{Which, renew, roles};
use crate::net::pki::BALANCER_NAME;
use crate::net::{Credentials, Env, Live};
use crate::placement::PlacementMap;

/// `load_balancer certs ...`
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(super) enum CertsCommand {
    /// Show how long each certificate lasts
    Show {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Renew every certificate now; a running cluster takes them without dropping anybody
    Rotate,
}

/// Does one of them.
///
/// # Errors
/// [`Failure`]: there is no cluster here, or its files cannot be read or written.
pub(super) fn run(command: CertsCommand, folders: &Folders<'_>) -> Result<Exit, Failure> {
    let located = Located::find(folders).map_err(|error| unreadable(&error))?;
    let map = located.map().map_err(|error| unreadable(&error))?.ok_or_else(|| {
        let what = format!("No cluster in {}.", located.data.display());
        Failure::new(Exit::LocalData, what, name_the_cluster())
    })?;
    match command {
        CertsCommand::Show { json } => show(&located, &map, Form::of_flag(json)),
        CertsCommand::Rotate => rotate(&located, &map),
    }
}

fn show(located: &Located, map: &PlacementMap, form: Form) -> Result<Exit, Failure> {
    use std::io::Write as _;
    let now_ms = Env::system().unix_ms();
    let mut out = std::io::stdout().lock();
    for role in roles(map) {
        let name = role.name();
        // On a machine of several not every certificate is here.
        let Ok(found) = Credentials::load(&located.certs, name) else { continue };
        let ends_ms = found.expires_unix_ms();
        let days = ends_ms.saturating_sub(now_ms) / (24 * 3_600_000);
        let line = match form {
            Form::Text if ends_ms <= now_ms => format!("{name:<10} expired"),
            Form::Text => format!("{name:<10} {days} days, until {}", day(ends_ms)),
            Form::Json => json!({
                "v": 1, "type": "certificate", "name": name, "ends_unix_ms": ends_ms,
                "begins_unix_ms": found.begins_unix_ms(), "spki_sha256": found.spki_sha256(),
            })
            .to_string(),
        };
        // A reader that went away has what it wanted.
        let _ = writeln!(out, "{line}");
    }
    Ok(Exit::Done)
}

/// The day of a moment, in UTC.
pub(super) fn day(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| "the far future".to_owned(),
        |moment| moment.strftime("%Y-%m-%d").to_string(),
    )
}

fn rotate(located: &Located, map: &PlacementMap) -> Result<Exit, Failure> {
    let renewed = renew(&Env::system(), &located.certs, map, Which::All).map_err(|error| {
        let remedy = "Run this on the machine that has the cluster's ca.key.";
        Failure { remedy: remedy.into(), ..unreadable(&error) }
    })?;
    let running = match holder(&located.data.join(LOCK_FILE)) {
        Ok(Holder::Process(pid)) => {
            signal(pid, Ask::Reload);
            "The running cluster takes them now."
        }
        Ok(Holder::Nobody | Holder::Unknown) | Err(_) => "The next start takes them.",
    };
    use std::io::Write as _;
    let count = renewed.len();
    let _ = writeln!(std::io::stdout(), "{count} certificates renewed. {running}");
    Ok(Exit::Done)
}

/// Keeps the certificates of a running cluster fresh.
pub(super) struct Renewer {
    pub(super) env: Env,
    pub(super) certs: PathBuf,
    pub(super) data: PathBuf,
    pub(super) map: PlacementMap,
    pub(super) fleet: Fleet,
    pub(super) credentials: Live<Credentials>,
}

impl Renewer {
    /// Renews what is due, every hour; passes a SIGHUP on. For ever.
    pub(super) async fn keep(self, asked: std::sync::Arc<Notify>) {
        loop {
            match renew(&self.env, &self.certs, &self.map, Which::Due) {
                Ok(renewed) if renewed.is_empty() => {}
                Ok(_) => self.reload(),
                Err(error) => {
                    tracing::error!(error = sentence(&error), "certificates were not renewed");
                }
            }
            tokio::select! {
                biased;
                () = asked.notified() => self.reload(),
                () = sleep(CERTIFICATE_LOOK) => {}
            }
        }
    }

    fn reload(&self) {
        let (certs, data, credentials) = (&self.certs, &self.data, self.credentials.clone());
        Reload { certs, data, name: BALANCER_NAME, credentials, limits: None }.once();
        for pid in self.fleet.members().iter().filter_map(|member| member.process.pid()) {
            signal(pid, Ask::Reload);
        }
    }
}
