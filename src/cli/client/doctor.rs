//! `doctor`: looks at everything that a client needs, one line each, and says what to do.
//!
//! Changes nothing, and looks on after the first thing that is wrong.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::client::account::Cluster;
use crate::client::probe::{self, Found, Problem};
use crate::client::{Profile, ProfileError};
use crate::types::UserName;
use crate::ui::settings::Settings;
use crate::ui::theme::{Colour, Style};

use super::json::Record;
use super::report::{Outcome, Stop};
use super::{Context, failures, open};

const DISK_WARN_BYTES: u64 = 200 * 1024 * 1024;
const DISK_FAIL_BYTES: u64 = 20 * 1024 * 1024;
const EXPIRY_WARN_DAYS: u64 = 14;
const DAY_MS: u64 = 24 * 3600 * 1_000;
/// Longest pause for one answer; a person waits for all of them.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

struct Check {
    name: String,
    state: State,
    text: String,
    remedy: String,
}

struct Doctor<'a> {
    context: &'a Context,
    failed: usize,
    unreachable: bool,
}

/// `client doctor`.
pub(super) async fn run(context: &Context) -> Outcome {
    let mut doctor = Doctor { context, failed: 0, unreachable: false };
    doctor.settings().await?;
    doctor.terminal().await?;
    match open::chosen(context) {
        Ok(name) => doctor.profile(&name).await?,
        Err(stop) => {
            let Stop { failure, .. } = stop;
            doctor.say("profile", State::Warn, failure.what, &failure.remedy).await?;
        }
    }
    Ok(match (doctor.failed, doctor.unreachable) {
        (0, _) => Exit::Done,
        (_, true) => Exit::Unreachable,
        (_, false) => Exit::Partly,
    })
}

impl Doctor<'_> {
    async fn say(
        &mut self,
        name: impl Into<String>,
        state: State,
        text: impl Into<String>,
        remedy: &str,
    ) -> Result<(), Stop> {
        self.failed += usize::from(state == State::Fail);
        let check = Check { name: name.into(), state, text: text.into(), remedy: remedy.into() };
        let record = Record::Check {
            name: &check.name,
            state: check.state.word(),
            text: &check.text,
            remedy: &check.remedy,
        };
        let line = || {
            let Check { name, state, text, remedy } = &check;
            let first = format!("{:<4} {name:<12} {text}", state.word());
            if remedy.is_empty() { first } else { format!("{first}\n{:>18}{remedy}", "") }
        };
        self.context.report.data(&record, line).await
    }

    async fn settings(&mut self) -> Result<(), Stop> {
        let Some(path) = self.context.settings.path.clone() else {
            let text = "your home folder is not known";
            return self.say("settings", State::Warn, text, "Set HOME").await;
        };
        match Settings::load(&path) {
            Ok(_) if !path.exists() => {
                self.say("settings", State::Ok, "none: everything has its default", "").await
            }
            Ok(_) => self.say("settings", State::Ok, path.display().to_string(), "").await,
            Err(error) => {
                let failure = failures::settings(&error).failure;
                self.say("settings", State::Fail, failure.what, &failure.remedy).await
            }
        }
    }

    async fn terminal(&mut self) -> Result<(), Stop> {
        if !std::io::stdout().is_terminal() {
            return self.say("terminal", State::Ok, "the output is no terminal", "").await;
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
        if theme.style == Style::Rich && !knows_signs {
            let remedy = "Signs may not show: LANG=C.UTF-8, or client --plain";
            return self.say("terminal", State::Warn, text, remedy).await;
        }
        self.say("terminal", State::Ok, text, "").await
    }

    async fn profile(&mut self, name: &UserName) -> Result<(), Stop> {
        let folder = self.context.places.folder(name);
        self.modes(&folder).await?;
        self.disk(&folder).await?;
        self.clock(&folder).await?;
        let look = folder.clone();
        match self.context.env.blocking(move || probe::check_database(&look)).await {
            Ok(()) => self.say("history", State::Ok, "the database is whole", "").await?,
            Err(why) => {
                let remedy = "Put it back from a copy: client restore FILE --force";
                self.say("history", State::Fail, why, remedy).await?;
            }
        }
        let cluster = match Profile::open(&self.context.env, &folder) {
            Ok(profile) => match profile.owner().cloned() {
                Some(owner) => {
                    self.keys(name, profile).await?;
                    Cluster { at: owner.balancer, id: owner.cluster }
                }
                None => {
                    let failure = failures::not_signed_in(name).failure;
                    return self.say("keys", State::Warn, failure.what, &failure.remedy).await;
                }
            },
            Err(ProfileError::Locked { pid }) => {
                let text = format!("opened by process {pid}, which has them");
                self.say("keys", State::Ok, text, "").await?;
                match self.holders_cluster(name).await {
                    Some(cluster) => cluster,
                    None => return Ok(()),
                }
            }
            Err(error) => {
                let failure = failures::profile(error, name).failure;
                return self.say("keys", State::Fail, failure.what, &failure.remedy).await;
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

    async fn keys(&mut self, name: &UserName, profile: Profile) -> Result<(), Stop> {
        let Some(key) = self.context.places.unlock_key(name) else {
            let remedy = format!("For commands without a password: client -p {name} login");
            return self.say("keys", State::Ok, "locked", &remedy).await;
        };
        match profile.unlock_with_key(&self.context.env, &key) {
            Ok(_) => self.say("keys", State::Ok, "the profile opens", "").await,
            Err(error) => {
                let failure = failures::profile(error, name).failure;
                let remedy = format!("client -p {name} login");
                self.say("keys", State::Fail, failure.what, &remedy).await
            }
        }
    }

    /// Nobody else may enter the folder or read a file in it.
    async fn modes(&mut self, folder: &Path) -> Result<(), Stop> {
        let mut open = Vec::new();
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in std::iter::once(folder.to_owned()).chain(entries.map(|entry| entry.path())) {
            if path.symlink_metadata().is_ok_and(|found| found.mode() & 0o077 != 0) {
                open.push(path.display().to_string());
            }
        }
        if open.is_empty() {
            let text = format!("{} is private", folder.display());
            return self.say("files", State::Ok, text, "").await;
        }
        let remedy = format!("chmod go= {}", open.join(" "));
        self.say("files", State::Fail, "others can read files of the profile", &remedy).await
    }

    async fn disk(&mut self, folder: &Path) -> Result<(), Stop> {
        let free = self.context.env.disk_free_bytes(folder);
        let (state, remedy) = match free {
            0 => (State::Ok, ""),
            ..DISK_FAIL_BYTES => (State::Fail, "Make room: messages cannot be kept soon."),
            DISK_FAIL_BYTES..DISK_WARN_BYTES => (State::Warn, "Make room."),
            DISK_WARN_BYTES.. => (State::Ok, ""),
        };
        let text = match free {
            0 => "free space is not known".to_owned(),
            free => format!("{} MB free", free / 1024 / 1024),
        };
        self.say("disk", state, text, remedy).await
    }

    async fn network(&mut self, name: &UserName, cluster: &Cluster) -> Result<(), Stop> {
        let patience = self.context.globals.timeout.min(PATIENCE_MAX);
        let probe = probe::probe(&self.context.env, cluster, name, patience).await;
        let at = cluster.at.to_string();
        match (&probe.balancer, probe.answer) {
            (None, _) => {
                self.unreachable = true;
                let text = format!("{at}: there is no such host");
                self.say("balancer", State::Fail, text, "See the name and the resolver.").await?;
            }
            (Some(_), Ok(took)) => {
                self.say("balancer", State::Ok, format!("{at} answers in {}", ms(took)), "")
                    .await?;
            }
            (Some(_), Err(problem)) => self.problem("balancer", &at, &problem).await?,
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
                    self.say(server.server.as_str(), State::Ok, text, "").await?;
                }
                Err(problem) => self.problem(server.server.as_str(), &at, problem).await?,
            }
        }
        if probe.servers.is_empty() && probe.balancer.is_some() && !self.unreachable {
            self.unreachable = true;
            let remedy = "On its machine: load_balancer status";
            self.say("servers", State::Fail, "the balancer offers none", remedy).await?;
        }
        match newest {
            Some(found) => self.certificate(found).await,
            None => Ok(()),
        }
    }

    async fn problem(&mut self, name: &str, at: &str, problem: &Problem) -> Result<(), Stop> {
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
        self.unreachable = true;
        self.say(name, State::Fail, text, remedy).await
    }

    /// The chain was checked against the pinned authority when the server answered.
    async fn certificate(&mut self, found: Found) -> Result<(), Stop> {
        let left = found.valid_until_unix_ms.saturating_sub(self.context.env.unix_ms());
        let days = left / DAY_MS;
        let text = format!("of the pinned authority, valid for {days} more days");
        let (state, remedy) = if days < EXPIRY_WARN_DAYS {
            (State::Warn, "The operator should see that it is renewed.")
        } else {
            (State::Ok, "")
        };
        self.say("certificate", state, text, remedy).await
    }

    /// A clock that stands before the last use of the profile has been set back; certificates are
    /// refused then, and nothing answers.
    async fn clock(&mut self, folder: &Path) -> Result<(), Stop> {
        let used = folder.join("profile.sqlite").metadata().map_or(0, |found| found.mtime());
        let used_ms = u64::try_from(used).unwrap_or(0).saturating_mul(1_000);
        if self.context.env.unix_ms().saturating_add(DAY_MS) < used_ms {
            let text = "stands before the last use of this profile";
            return self.say("clock", State::Fail, text, "Set the clock of this machine.").await;
        }
        self.say("clock", State::Ok, "stands after the last use of this profile", "").await
    }
}

fn ms(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}
