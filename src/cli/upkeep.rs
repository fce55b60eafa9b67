//! What a running program does beside its work: the admin address, the service manager, and what a
//! SIGHUP asks for.
//!
//! Deliberately decides nothing about the work itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::exit::{Exit, Failure, sentence};
use super::logs;
use super::server::read_limits;
use crate::admission::AdmissionKey;
use crate::limits::Limits;
use crate::net::{Credentials, Env, Live};
use crate::ops::admin::{Admin, parse_address};
use crate::ops::{Meters, Names, Observer, Watched, service};

/// The options of every program that runs for long.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Options {
    /// Answer /healthz, /readyz and /metrics by HTTP there; a PORT alone: on this machine only
    #[arg(long, value_name = "[IP:]PORT", value_parser = parse_address)]
    pub(super) admin: Option<SocketAddr>,
    /// Write user names into the logs, instead of a keyed hash of them
    #[arg(long)]
    pub(super) log_names: bool,
}

/// A program that is watched, before it works.
pub(super) struct Upkeep {
    observer: Observer,
    admin: Option<Admin>,
}

impl Options {
    /// The same for the server of this number: its admin port follows the balancer's.
    pub(super) fn of_server(&self, number: u16) -> Self {
        let admin = self.admin.and_then(|addr| {
            let port = addr.port().checked_add(number)?;
            Some(SocketAddr::new(addr.ip(), port))
        });
        Self { admin, ..self.clone() }
    }

    /// Takes the admin address; nothing is answered there yet.
    ///
    /// # Errors
    /// The address is taken, or is none of this machine.
    pub(super) async fn prepare(&self, key: &AdmissionKey) -> Result<Upkeep, Failure> {
        let names =
            if self.log_names { Names::Plain } else { Names::Hashed(Arc::new(*key.as_bytes())) };
        let admin = match self.admin {
            None => None,
            Some(addr) => Some(Admin::bind(addr).await.map_err(|error| {
                let what = format!("Cannot answer on TCP {addr}: {error}.");
                Failure::new(Exit::Unreachable, what, "Give another port with --admin.")
            })?),
        };
        // What nobody can ask for is not counted.
        let meters = if admin.is_some() { Meters::counting() } else { Meters::default() };
        Ok(Upkeep { observer: Observer::new(meters, names), admin })
    }
}

impl Upkeep {
    /// The world, watched.
    pub(super) fn env(&self) -> Env {
        Env::system().watched_by(self.observer.clone())
    }

    /// Lets whoever asks see `part`.
    pub(super) fn introduce(&self, part: impl Watched) {
        self.observer.introduce(part);
    }

    /// From now on questions are answered, and the service manager hears that the program is alive
    /// for as long as it is.
    pub(super) fn begin(self, env: &Env) {
        let Self { observer, admin } = self;
        if let Some(admin) = admin {
            drop(env.spawn(admin.serve(observer.clone())));
        }
        let Some(every) = service::pulse() else { return };
        drop(env.spawn(async move {
            loop {
                if observer.is_alive().await {
                    service::alive();
                } else {
                    tracing::error!("the database's writer does not answer: no sign of life");
                }
                sleep(every).await;
            }
        }));
    }
}

/// What a SIGHUP puts into force again.
pub(super) struct Reload<'a> {
    pub(super) certs: &'a Path,
    pub(super) data: &'a Path,
    /// The certificate's name, and where it is in use.
    pub(super) name: &'a str,
    pub(super) credentials: Live<Credentials>,
    /// The limits file, and where its limits are in force.
    pub(super) limits: Option<(&'a Path, Live<Limits>)>,
}

impl Reload<'_> {
    /// Reads again whenever `asked`, for ever. What cannot be read stays as it was.
    pub(super) async fn keep(self, asked: &Notify) {
        loop {
            asked.notified().await;
            self.once();
        }
    }

    /// Reads certificate, limits and log level again.
    pub(super) fn once(&self) {
        match Credentials::load(self.certs, self.name) {
            Ok(read) if read.spki_sha256() != self.credentials.now().spki_sha256() => {
                tracing::warn!("the certificate on disk has another key: not taken");
            }
            Ok(read) if read.expires_unix_ms() == self.credentials.now().expires_unix_ms() => {}
            Ok(read) => self.credentials.replace(read),
            Err(error) => {
                tracing::warn!(error = sentence(&error), "the certificate stays as it was");
            }
        }
        if let Some((file, limits)) = &self.limits {
            match read_limits(Some(file)) {
                Ok(read) if read == limits.now() => {}
                Ok(read) => limits.replace(read),
                Err(failure) => tracing::warn!(error = failure.what, "the limits stay"),
            }
        }
        logs::read_level(self.data);
    }
}

/// How often the end of a certificate is looked at.
pub(super) const CERTIFICATE_LOOK: Duration = Duration::from_secs(3600);
/// A certificate with less than this left is warned of.
pub(super) const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Warns every hour of a certificate that ends soon. Where the cluster's CA is, it is renewed long
/// before; elsewhere somebody has to bring a new one.
pub(super) async fn warn_of_expiry(env: Env, credentials: Live<Credentials>) {
    loop {
        let left_ms = credentials.now().expires_unix_ms().saturating_sub(env.unix_ms());
        if u128::from(left_ms) < EXPIRY_WARNING.as_millis() {
            let days = left_ms / (24 * 3_600_000);
            tracing::warn!(days, "the certificate ends soon: renew it, then send SIGHUP");
        }
        sleep(CERTIFICATE_LOOK).await;
    }
}
