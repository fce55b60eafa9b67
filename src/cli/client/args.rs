//! The command line of `client`. Every global option works before and after the command.
//!
//! HOST and PORT come in as strings: judged by clap, a mistyped command would be answered with
//! "invalid PORT".

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use serde::{Deserialize, Serialize};

use crate::client::account::Where;
use crate::limits::{ALIAS_BYTES_MAX, EXPIRE_MAX, EXPIRE_MIN};
use crate::types::{ChatName, UserName};
use crate::ui::line::TrustPolicy;
use crate::ui::settings::{ColourWhen, Settings};
use crate::ui::theme::{Colour, Style};

pub(super) use super::group::Group;
pub(super) use super::subcommands::{Account, Config, Contact, Key, Transfer};

#[cfg(test)]
mod tests;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a bug, 2 usage, 3 not reached in time (a kept \
    message says so), 4 not signed in, 5 no such user, group or file, 6 key new or changed, 7 \
    partly done, 8 refused, 9 local data locked or damaged, 10 nothing arrived in time, 130 Ctrl-C.";

/// Chat with people on a FastChat cluster. Without a command: the line client.
///
/// The password is asked for, or read from --password-file or --password-fd; it is never an
/// argument. After a sign-in, commands work without it until `client logout` or a reboot.
#[derive(Debug, Parser)]
#[command(name = "client", version, subcommand_precedence_over_arg = true)]
#[command(override_usage = "client [OPTIONS] [HOST PORT]\n       client [OPTIONS] <COMMAND>")]
#[command(after_help = EXIT_CODES)]
pub(super) struct Arguments {
    /// Host of the balancer: the line client signs up or in there
    #[arg(value_name = "HOST")]
    pub(super) host: Option<String>,
    /// UDP port of the balancer
    #[arg(value_name = "PORT")]
    pub(super) port: Option<String>,
    #[command(flatten)]
    pub(super) globals: Globals,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub(super) struct Globals {
    /// Profile to use [default: the only one; a new one is called like its user]
    #[arg(short, long, global = true, value_name = "NAME", env = "FASTCHAT_PROFILE")]
    #[arg(value_parser = name)]
    pub(super) profile: Option<UserName>,
    /// Balancer; a profile that knows another one uses this from now on
    #[arg(long, global = true, value_name = "HOST:PORT", env = "FASTCHAT_SERVER")]
    #[arg(value_parser = parse_where)]
    pub(super) server: Option<Where>,
    /// Settings [default: $XDG_CONFIG_HOME/fastchat/client.toml]
    #[arg(long, global = true, value_name = "FILE", env = "FASTCHAT_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Certificate authority of the cluster: its fingerprint (64 hex digits) or a PEM file
    #[arg(long, global = true, value_name = "CA", env = "FASTCHAT_CA")]
    pub(super) ca: Option<String>,
    /// Folder of the profiles [default: $XDG_DATA_HOME/fastchat]
    #[arg(long, global = true, value_name = "DIR", env = "FASTCHAT_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long, global = true, env = "FASTCHAT_JSON")]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) json: bool,
    /// ASCII, one event per line, no cursor movement: to be read aloud
    #[arg(long, global = true, env = "FASTCHAT_PLAIN", value_name = "true|false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    plain: Option<bool>,
    /// When to colour [default: auto]
    #[arg(long, global = true, value_name = "WHEN", env = "FASTCHAT_COLOR")]
    #[arg(value_parser = colour_when())]
    color: Option<ColourWhen>,
    /// Say only what was asked for
    #[arg(short, long, global = true, env = "FASTCHAT_QUIET")]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) quiet: bool,
    /// Log to standard error; twice: more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "FASTCHAT_VERBOSE")]
    pub(super) verbose: u8,
    /// How long to wait for the network
    #[arg(long, global = true, value_name = "SECS", env = "FASTCHAT_TIMEOUT")]
    #[arg(default_value = "10", value_parser = seconds)]
    pub(super) timeout: Duration,
    /// Whose keys are good enough to write to: those first seen, only verified ones, or any
    #[arg(long, global = true, value_name = "POLICY", env = "FASTCHAT_TRUST")]
    #[arg(default_value = "tofu", value_parser = trust_policy())]
    pub(super) trust: TrustPolicy,
    /// File whose first line is the password
    #[arg(long, global = true, value_name = "FILE", env = "FASTCHAT_PASSWORD_FILE")]
    #[arg(conflicts_with = "password_fd")]
    pub(super) password_file: Option<PathBuf>,
    /// Open file descriptor whose first line is the password
    #[arg(long, global = true, value_name = "N", env = "FASTCHAT_PASSWORD_FD")]
    pub(super) password_fd: Option<u32>,
}

impl Globals {
    pub(super) fn colour(&self, settings: &Settings) -> Colour {
        match self.color.unwrap_or(settings.colour) {
            ColourWhen::Always => Colour::On,
            ColourWhen::Never => Colour::Off,
            ColourWhen::Auto => Colour::of_environment(),
        }
    }

    pub(super) fn style(&self, settings: &Settings) -> Style {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = self.plain.unwrap_or(settings.plain);
        if plain || dumb { Style::Plain } else { Style::Rich }
    }
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub(super) enum Command {
    /// Create an account, with its keys on this machine
    #[serde(skip)]
    Register {
        /// The name; letters a-z, digits, '.', '_', '-'
        #[arg(value_parser = name)]
        user: Option<UserName>,
    },
    /// Sign in: unlock this profile, or make this machine a device of the account
    #[serde(skip)]
    Login(Login),
    /// Sign out; the profile stays, locked
    #[serde(skip)]
    Logout {
        /// Also delete the profile: keys and history
        #[arg(long)]
        forget: bool,
        /// Do not ask before deleting
        #[arg(long)]
        yes: bool,
    },
    /// Show who this profile is; works offline
    Whoami,
    /// Chat in the terminal
    #[serde(skip)]
    Chat {
        /// Whom to write to first
        #[arg(value_parser = chat)]
        to: Option<ChatName>,
    },
    /// Send a message; returns when it is on disk at the recipient's server
    Send(Send),
    /// Print what has arrived and was not shown yet. Beside a client that has the profile: both do
    Recv(Recv),
    /// Print a conversation from this machine; works offline
    History(History),
    /// List conversations, newest first; works offline
    Chats,
    /// Show where this profile is connected and what waits
    Status,
    /// Send now what waits on this machine
    Retry,
    /// Take back a message that was not sent yet
    Cancel {
        /// Its number, as `send` and `history --json` show it
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
    },
    /// Files on their way: list, go on with, stop, store them
    #[command(subcommand)]
    Transfer(Transfer),
    /// People you talk to: list, add, name and block them
    #[command(subcommand)]
    Contact(Contact),
    /// Groups: make, join, change, show and leave them
    #[command(subcommand)]
    Group(Group),
    /// Your keys and those of others: look, compare, accept, replace, take along
    #[command(subcommand)]
    Key(Key),
    /// Change the password of the account
    Passwd {
        /// File whose first line is the new password
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// The account at the server
    #[command(subcommand)]
    #[serde(skip)]
    Account(Account),
    /// Copy the profile (keys, history, settings of chats) to one new file
    Backup {
        /// The file
        file: PathBuf,
    },
    /// Make a profile from such a copy; it becomes a new device of the account
    #[serde(skip)]
    Restore {
        /// The file
        file: PathBuf,
        /// Put it in the place of a profile that is there; that one is kept beside it
        #[arg(long)]
        force: bool,
    },
    /// Look for what keeps this client from working, and say what to do about it
    #[serde(skip)]
    Doctor,
    /// Look at and change the settings of this person on this machine
    #[serde(skip)]
    #[command(subcommand)]
    Config(Config),
    /// Write the manual pages
    #[serde(skip)]
    Man {
        /// An existing folder
        dir: PathBuf,
    },
    /// Print a completion script for a shell
    #[serde(skip)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct Login {
    /// The account [default: the profile's]
    #[arg(value_parser = name)]
    pub(super) user: Option<UserName>,
    /// Replace another device that is signed in
    #[arg(long)]
    pub(super) takeover: bool,
    /// The account's identity key: a PEM file, opened with the account's password
    #[arg(long, value_name = "FILE", conflicts_with = "new_identity")]
    pub(super) identity: Option<PathBuf>,
    /// Make a new identity key: everybody you talk to sees that your key changed
    #[arg(long)]
    pub(super) new_identity: bool,
}

/// Whether a command can run on the client of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// On whichever client holds the profile.
    Shared,
    /// In its own process only.
    Alone,
}

impl Command {
    pub(super) fn company(&self) -> Company {
        match self {
            Self::Whoami
            | Self::Send(_)
            | Self::Retry
            | Self::Cancel { .. }
            | Self::Recv(_)
            | Self::History(_)
            | Self::Chats
            | Self::Transfer(_)
            | Self::Contact(_)
            | Self::Group(_)
            | Self::Passwd { .. }
            | Self::Backup { .. }
            | Self::Status => Company::Shared,
            Self::Key(key) => match key {
                Key::Import(_) => Company::Alone,
                Key::Show | Key::Verify(_) | Key::Accept(_) | Key::Rotate | Key::Export { .. } => {
                    Company::Shared
                }
            },
            Self::Register { .. }
            | Self::Login(_)
            | Self::Logout { .. }
            | Self::Chat { .. }
            | Self::Account(_)
            | Self::Restore { .. }
            | Self::Doctor
            | Self::Config(_)
            | Self::Man { .. }
            | Self::Completions { .. } => Company::Alone,
        }
    }
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(super) struct Send {
    /// Who gets it: a user, or what you call them
    pub(super) to: Who,
    /// The text; without it, or with '-', standard input. Beside files, a message of its own
    /// before them
    pub(super) text: Vec<String>,
    /// Files, one message each; what stands before them is TO and TEXT
    #[arg(short, long, value_name = "FILE", num_args = 1.., conflicts_with = "each_line")]
    pub(super) file: Vec<PathBuf>,
    /// Words that go with the first file
    #[arg(short = 'm', long, value_name = "CAPTION", requires = "file")]
    pub(super) caption: Option<String>,
    /// Send pictures byte for byte, with what the camera wrote about place and time
    #[arg(long, requires = "file")]
    pub(super) original: bool,
    /// Send smaller copies of pictures
    #[arg(long, requires = "file", conflicts_with = "original")]
    pub(super) fit: bool,
    /// Also to this person; may be given several times
    #[arg(long, value_name = "TO")]
    pub(super) also: Vec<Who>,
    /// Send each line of standard input as a message of its own, as it comes
    #[arg(long)]
    pub(super) each_line: bool,
    /// Return when it is on disk at the recipient's server, on their device, or on
    /// their screen; a receipt that does
    /// not come within --timeout: exit code 10
    #[arg(long, value_name = "STATE", default_value = "sent", value_parser = goal())]
    pub(super) wait: Goal,
    /// Both sides forget it this long after it was read: 30s, 2h, 7 days
    #[arg(long, value_name = "DURATION", value_parser = life)]
    pub(super) expire: Option<Duration>,
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(super) struct History {
    /// With whom
    pub(super) chat: Who,
    /// How many lines at most [default: 50; with --since or --export: all]
    #[arg(short = 'n', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) lines: Option<u32>,
    /// Only what was stored here since then: 2026-11-20, 2026-11-20T12:01, or 2h for two hours ago
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
    /// Only messages that contain this text, upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub(super) grep: Option<String>,
    /// Write it as JSON lines to this new file instead
    #[arg(long, value_name = "FILE")]
    pub(super) export: Option<PathBuf>,
}

/// How far a message is to come before `send` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Goal {
    /// On disk at the recipient's server.
    Sent,
    /// On disk at the recipient's device.
    Delivered,
    /// On the recipient's screen, and they let it be known.
    Read,
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(super) struct Recv {
    /// Go on printing what arrives
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only from this person; what others wrote stays unshown
    #[arg(long, value_name = "WHO")]
    pub(super) from: Option<Who>,
    /// Stop after this many lines
    #[arg(short = 'n', value_name = "MAX")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max: Option<u64>,
    /// Leave everything unshown
    #[arg(long, conflicts_with = "follow")]
    pub(super) peek: bool,
    /// Wait this long for something to arrive; nothing: exit code 10
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub(super) wait: Option<Duration>,
    /// Fetch the files that come and store them in this folder, also those of people who write for
    /// the first time; one that cannot be had: exit code 7
    #[arg(long, value_name = "DIR", conflicts_with = "peek")]
    pub(super) save_dir: Option<PathBuf>,
}

/// A person as typed: a user's name, or what the owner of the profile calls them. Where a chat is
/// meant, also a group with its `#`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Who(pub(super) String);

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.strip_prefix('@').unwrap_or(text);
        match word.len() {
            0 => Err("a name".to_owned()),
            1..=ALIAS_BYTES_MAX => Ok(Self(word.to_owned())),
            _ => Err(format!("a name of {ALIAS_BYTES_MAX} bytes at most")),
        }
    }
}

/// `90s`, `2h 30m`, `7 days`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let error = || "a duration such as 90s, 2h or 7 days".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| error())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(days).map_err(|_| error())?;
    duration.try_into().map_err(|_| error())
}

/// How long a text lives: a duration that its author can mean.
fn life(text: &str) -> Result<Duration, String> {
    let life = duration(text)?;
    if (EXPIRE_MIN..=EXPIRE_MAX).contains(&life) {
        Ok(life)
    } else {
        Err("from 1s to 365 days".to_owned())
    }
}

/// A moment: `2026-11-20`, `2026-11-20T12:01`, either with a zone, or so long ago: `2h`.
pub(super) fn moment(text: &str, now: &jiff::Zoned) -> Option<u64> {
    let ago = || duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    let local = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(now.time_zone().clone()).ok()
    };
    let exact = || text.parse::<jiff::Timestamp>().ok();
    let found = exact().or_else(|| local().or_else(ago).map(|zoned| zoned.timestamp()))?;
    u64::try_from(found.as_millisecond()).ok()
}

pub(super) fn name(text: &str) -> Result<UserName, String> {
    UserName::parse(text.strip_prefix('@').unwrap_or(text)).map_err(|error| error.to_string())
}

fn chat(text: &str) -> Result<ChatName, String> {
    ChatName::parse(text).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let error = || "a number of seconds from 0.1 to 86400".to_owned();
    let seconds: f64 = text.parse().map_err(|_| error())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(error())
    }
}

fn goal() -> impl TypedValueParser<Value = Goal> {
    PossibleValuesParser::new(["sent", "delivered", "read"]).map(|word| match word.as_str() {
        "delivered" => Goal::Delivered,
        "read" => Goal::Read,
        _ => Goal::Sent,
    })
}

fn trust_policy() -> impl TypedValueParser<Value = TrustPolicy> {
    PossibleValuesParser::new(["tofu", "verified", "always"]).map(|word| match word.as_str() {
        "verified" => TrustPolicy::Verified,
        "always" => TrustPolicy::Always,
        _ => TrustPolicy::Tofu,
    })
}

fn colour_when() -> impl TypedValueParser<Value = ColourWhen> {
    PossibleValuesParser::new(["auto", "always", "never"]).map(|word| match word.as_str() {
        "always" => ColourWhen::Always,
        "never" => ColourWhen::Never,
        _ => ColourWhen::Auto,
    })
}

/// Reads `HOST:PORT`, `[v6]:PORT`.
pub(super) fn parse_where(text: &str) -> Result<Where, String> {
    Where::parse(text).ok_or_else(|| format!("HOST:PORT expected, got {text:?}"))
}
