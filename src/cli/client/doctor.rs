//! `doctor`: looks at everything that a client needs, one line each, and says what to do.
//!
//! Changes nothing, and looks on after the first thing that is wrong.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::cli::doctor::{self, Check, Verdict};
use crate::client::account::Cluster;
use crate::client::probe::{self, Found, Problem};
use crate::client::{Profile, ProfileError};
use crate::types::UserName;
use crate::ui::settings::Settings;
use crate::ui::theme::{Colour, Style};

use super::report::{Form, Outcome};
use super::{Context, failures, open};

const DISK_WARN_BYTES: u64 = 200 * 1024 * 1024;
const DISK_FAIL_BYTES: u64 = 20 * 1024 * 1024;
const EXPIRY_WARN_DAYS: u64 = 14;
const DAY_MS: u64 = 24 * 3600 * 1_000;
/// Longest pause for one answer; a person waits for all of them.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

struct Doctor<'a> {
    context: &'a Context,
    checks: Vec<Check>,
}

/// `client doctor`.
pub(super) async fn run(context: &Context) -> Outcome {
    let mut doctor = Doctor { context, checks: Vec::new() };
    doctor.settings();
    doctor.terminal();
    match open::chosen(context) {
        Ok(name) => doctor.profile(&name).await,
        Err(stop) => doctor.say("profile", Verdict::Warn, stop.failure.what, &stop.failure.remedy),
    }
    let form = match context.report.form {
        Form::Json => doctor::Form::Json,
        Form::Text => doctor::Form::Text,
    };
    Ok(doctor::report(&doctor.checks, form))
}

impl Doctor<'_> {
    fn say(
        &mut self,
        name: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
        remedy: &str,
    ) {
        let (name, detail, remedy) = (name.into(), detail.into(), remedy.to_owned());
        self.checks.push(Check { name, verdict, detail, remedy });
    }

    fn settings(&mut self) {
        let Some(path) = self.context.settings.path.clone() else {
            let text = "your home folder is not known";
            return self.say("settings", Verdict::Warn, text, "Set HOME");
        };
        match Settings::load(&path) {
            Ok(_) if !path.exists() => {
                self.say("settings", Verdict::Ok, "none: everything has its default", "")
            }
            Ok(_) => self.say("settings", Verdict::Ok, path.display().to_string(), ""),
            Err(error) => {
                let failure = failures::settings(&error).failure;
                self.say("settings", Verdict::Fail, failure.what, &failure.remedy)
            }
        }
    }

    fn terminal(&mut self) {
        if !std::io::stdout().is_terminal() {
            return self.say("terminal", Verdict::Ok, "the output is no terminal", "");
        }
        let theme = self.context.report.theme;
        let style = if theme.style == Style::Plain { "plain" } else { "signs and columns" };
        let colour = if theme.colour == Colour::On { "colour" } else { "no colour" };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default();
        let knows_signs = locale.to_lowercase().replace('-', "").contains("utf8");
        let text = format!("{style}, {colour}, {}", if locale.is_empty() { "C" } else { &locale });
        let doubt = theme.style == Style::Rich && !knows_signs;
        let remedy = if doubt { "Signs do not show? LANG=C.UTF-8, or client --plain" } else { "" };
        self.say("terminal", Verdict::Ok, text, remedy)
    }

    async fn profile(&mut self, name: &UserName) {
        let folder = self.context.places.folder(name);
        self.modes(&folder);
        self.disk(&folder);
        self.clock(&folder);
        let look = folder.clone();
        match self.context.env.blocking(move || probe::check_database(&look)).await {
            Ok(()) => self.say("history", Verdict::Ok, "the database is whole", ""),
            Err(why) => {
                let remedy = "Put it back from a copy: client restore FILE --force";
                self.say("history", Verdict::Fail, why, remedy);
            }
        }
        let cluster = match Profile::open(&self.context.env, &folder) {
            Ok(profile) => match profile.owner().cloned() {
                Some(owner) => {
                    self.keys(name, profile);
                    Cluster { at: owner.balancer, id: owner.cluster }
                }
                None => {
                    let failure = failures::not_signed_in(name).failure;
                    return self.say("keys", Verdict::Warn, failure.what, &failure.remedy);
                }
            },
            Err(ProfileError::Locked { pid }) => {
                let text = format!("opened by process {pid}, which has them");
                self.say("keys", Verdict::Ok, text, "");
                match self.holders_cluster(name).await {
                    Some(cluster) => cluster,
                    None => return,
                }
            }
            Err(error) => {
                let failure = failures::profile(error, name).failure;
                return self.say("keys", Verdict::Fail, failure.what, &failure.remedy);
            }
        };
        let at = self.context.globals.server.clone().unwrap_or(cluster.at);
        self.network(name, &Cluster { at, id: cluster.id }).await
    }

    /// The cluster of a profile that another process has open.
    async fn holders_cluster(&mut self, name: &UserName) -> Option<Cluster> {
        let folder = self.context.places.folder(name);
        let look = move || probe::cluster_of(&folder);
        self.context.env.blocking(look).await
    }

    fn keys(&mut self, name: &UserName, profile: Profile) {
        let Some(key) = self.context.places.unlock_key(name) else {
            let remedy = format!("For commands without a password: client -p {name} login");
            return self.say("keys", Verdict::Ok, "locked", &remedy);
        };
        match profile.unlock_with_key(&self.context.env, &key) {
            Ok(unlocked) if unlocked.needs_password() => {
                let text = "they open, but the server does not take this device any more";
                let remedy = format!("Sign in again: client -p {name} login");
                self.say("keys", Verdict::Fail, text, &remedy)
            }
            Ok(_) => self.say("keys", Verdict::Ok, "the profile opens", ""),
            Err(error) => {
                let failure = failures::profile(error, name).failure;
                let remedy = format!("client -p {name} login");
                self.say("keys", Verdict::Fail, failure.what, &remedy)
            }
        }
    }

    /// Nobody else may enter the folder or read a file in it.
    fn modes(&mut self, folder: &Path) {
        let mut open = Vec::new();
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in std::iter::once(folder.to_owned()).chain(entries.map(|entry| entry.path())) {
            if path.symlink_metadata().is_ok_and(|found| found.mode() & 0o077 != 0) {
                open.push(path.display().to_string());
            }
        }
        if open.is_empty() {
            let text = format!("{} is private", folder.display());
            return self.say("files", Verdict::Ok, text, "");
        }
        let remedy = format!("chmod go= {}", open.join(" "));
        self.say("files", Verdict::Fail, "others can read files of the profile", &remedy)
    }

    fn disk(&mut self, folder: &Path) {
        let free = self.context.env.disk_free_bytes(folder);
        let (state, remedy) = match free {
            0 => (Verdict::Ok, ""),
            1..DISK_FAIL_BYTES => (Verdict::Fail, "Make room: messages cannot be kept soon."),
            DISK_FAIL_BYTES..DISK_WARN_BYTES => (Verdict::Warn, "Make room."),
            DISK_WARN_BYTES.. => (Verdict::Ok, ""),
        };
        let text = match free {
            0 => "free space is not known".to_owned(),
            free => format!("{} MB free", free / 1024 / 1024),
        };
        self.say("disk", state, text, remedy)
    }

    async fn network(&mut self, name: &UserName, cluster: &Cluster) {
        let patience = self.context.globals.timeout.min(PATIENCE_MAX);
        let probe = probe::probe(&self.context.env, cluster, name, patience).await;
        let at = cluster.at.to_string();
        let offers = probe.answer.is_ok();
        match (&probe.balancer, probe.answer) {
            (None, _) => {
                let text = format!("{at}: there is no such host");
                self.say("balancer", Verdict::Unreachable, text, "See the name and the resolver.");
            }
            (Some(_), Ok(took)) => {
                self.say("balancer", Verdict::Ok, format!("{at} answers in {}", ms(took)), "");
            }
            (Some(_), Err(problem)) => self.problem("balancer", &at, &problem),
        }
        let mut newest = None;
        for server in &probe.servers {
            let at = server.addr.to_string();
            match &server.found {
                Ok(found) => {
                    newest = newest.or(Some(*found));
                    let text = format!(
                        "{at} agrees in {}, version {}, packets of {} bytes",
                        ms(found.took),
                        crate::wire::PROTOCOL_VERSION,
                        found.mtu
                    );
                    self.say(server.server.as_str(), Verdict::Ok, text, "");
                }
                Err(problem) => self.problem(server.server.as_str(), &at, problem),
            }
        }
        if probe.servers.is_empty() && offers {
            let remedy = "On its machine: load_balancer status";
            self.say("servers", Verdict::Unreachable, "the balancer offers none", remedy);
        }
        if let Some(found) = newest {
            self.certificate(found);
        }
    }

    fn problem(&mut self, name: &str, at: &str, problem: &Problem) {
        let (text, remedy) = match problem {
            Problem::Silence => (
                format!("{at} does not answer"),
                "UDP may be blocked on the way, or the load_balancer is not running.",
            ),
            Problem::WrongCluster(got) => (
                format!("{at} is another cluster: {got}"),
                "Nothing is sent there. Ask the operator whether it was set up anew.",
            ),
            Problem::Refused(crate::wire::Code::Version) => {
                (format!("{at} speaks another version"), "Update this program, or the server.")
            }
            Problem::Refused(code) => (format!("{at} answers {code}"), "Try again later."),
        };
        self.say(name, Verdict::Unreachable, text, remedy)
    }

    /// The chain was checked against the pinned authority when the server answered.
    fn certificate(&mut self, found: Found) {
        let left = found.valid_until_unix_ms.saturating_sub(self.context.env.unix_ms());
        let days = left / DAY_MS;
        let text = format!("of the pinned authority, valid for {days} more days");
        let (state, remedy) = if days < EXPIRY_WARN_DAYS {
            (Verdict::Warn, "The operator should see that it is renewed.")
        } else {
            (Verdict::Ok, "")
        };
        self.say("certificate", state, text, remedy)
    }

    /// A clock that stands before the last use of the profile has been set back; certificates are
    /// refused then, and nothing answers.
    fn clock(&mut self, folder: &Path) {
        let used = folder.join("profile.sqlite").metadata().map_or(0, |found| found.mtime());
        let used_ms = u64::try_from(used).unwrap_or(0).saturating_mul(1_000);
        if self.context.env.unix_ms().saturating_add(DAY_MS) < used_ms {
            let text = "stands before the last use of this profile";
            return self.say("clock", Verdict::Fail, text, "Set the clock of this machine.");
        }
        self.say("clock", Verdict::Ok, "stands after the last use of this profile", "")
    }
}

fn ms(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}
