//! `client`: the line client and the one-shot commands.
//!
//! Judges the arguments, finds and unlocks the profile, runs one command, and says how it ended.
//! What a message is, and when it is sent, is [`crate::client`]'s.

mod account;
mod args;
mod ask;
mod batch;
mod chat;
mod config;
mod contact;
mod copies;
mod doctor;
mod failures;
mod files;
mod group;
mod io;
mod json;
mod keys;
mod open;
mod people;
mod places;
mod progress;
mod recv;
mod report;
mod saving;
mod send;
mod show;
mod sign;
mod socket;
mod subcommands;
mod transfer;
mod waiting;
mod wizard;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use jiff::tz::TimeZone;
use tokio::time::Instant;

use crate::client::account::Where;
use crate::net::Env;
use crate::types::UserName;
use crate::ui::hidden;
use crate::ui::settings::Settings;
use crate::ui::text::nearest;
use crate::ui::theme::Theme;

use self::args::{Arguments, Command, Company, Config, Globals, Key};
use self::io::Io;
use self::places::Places;
use self::report::{Form, Notices, Outcome, Report, Stop};
use self::socket::serve::Held;
use super::exit::Exit;

/// What every command needs.
#[derive(Clone)]
struct Context {
    env: Env,
    globals: Globals,
    places: Places,
    report: Report,
    settings: SettingsFile,
    /// The profile's client, when this process holds it and runs the command for another one.
    held: Option<Held>,
}

impl Context {
    /// The profile that was named: as an argument, or in the settings.
    fn named_profile(&self) -> Option<&UserName> {
        self.globals.profile.as_ref().or(self.settings.known.profile.as_ref())
    }

    /// The balancer for somebody new on this machine: as an argument, or in the settings.
    fn server_for_newcomers(&self) -> Option<&Where> {
        self.globals.server.as_ref().or(self.settings.known.server.as_ref())
    }
}

/// `client.toml`: where it is, and what it says.
#[derive(Clone, Debug, Default)]
struct SettingsFile {
    /// `None`: there is no home folder.
    path: Option<PathBuf>,
    known: Settings,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error).into(),
    };
    let (settings, problem) = settings_of(&arguments.globals);
    let report = Report {
        form: if arguments.globals.json { Form::Json } else { Form::Text },
        theme: Theme {
            style: arguments.globals.style(&settings.known),
            colour: arguments.globals.colour(&settings.known),
        },
        zone: TimeZone::system(),
        notices: if arguments.globals.quiet { Notices::Quiet } else { Notices::Shown },
        io: Io::Own,
    };
    let outcome = match problem {
        Some(problem) if !mends_settings(arguments.command.as_ref()) => Err(problem),
        Some(_) | None => run(arguments, settings, report.clone()),
    };
    let exit = match outcome {
        Ok(exit) => exit,
        Err(stop) => {
            report.stop(&stop);
            stop.failure.exit
        }
    };
    exit.into()
}

/// Whether a command is how a person finds out what is wrong with the settings.
fn mends_settings(command: Option<&Command>) -> bool {
    match command {
        Some(Command::Config(config)) => !matches!(config, Config::Get { .. }),
        Some(command) => matches!(command, Command::Doctor),
        None => false,
    }
}

/// The settings in force, and why they are only the defaults if they are for a reason.
fn settings_of(globals: &Globals) -> (SettingsFile, Option<Stop>) {
    let path = places::settings_file(globals.config.as_deref());
    let Some(path) = path else { return (SettingsFile::default(), None) };
    if globals.config.is_some() && !path.exists() {
        let what = format!("There is no settings file {}.", path.display());
        let remedy = "Make one: client config set KEY VALUE --config FILE";
        let file = SettingsFile { path: Some(path), known: Settings::default() };
        return (file, Some(Stop::new(Exit::NotFound, what, remedy)));
    }
    match Settings::load(&path) {
        Ok(known) => (SettingsFile { path: Some(path), known }, None),
        Err(error) => {
            let file = SettingsFile { path: Some(path), known: Settings::default() };
            (file, Some(failures::settings(&error)))
        }
    }
}

/// Help and version are answers; anything else clap refuses is a usage error, in JSON if asked.
fn misunderstood(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Done;
    }
    if std::env::args_os().any(|word| word == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first);
        let report = Report { form: Form::Json, ..Report::default() };
        report.stop(&Stop::new(Exit::Usage, what, "client --help"));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

fn run(arguments: Arguments, settings: SettingsFile, report: Report) -> Outcome {
    let Arguments { host, port, globals, command } = arguments;
    start_logs(globals.verbose);
    let at = judge_address(host.as_deref(), port.as_deref())?;
    if let (Some(_), Some(command)) = (&at, &command)
        && !matches!(command, Command::Chat { .. })
    {
        return Err(Stop::new(
            Exit::Usage,
            "HOST PORT goes with the line client only.",
            "For a command: --server HOST:PORT",
        ));
    }
    if let Some(Command::Completions { shell }) = &command {
        let mut tree = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut tree, "client", &mut script);
        // A pipe that is closed early is no failure.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
        return Ok(Exit::Done);
    }
    let places = Places::find(globals.data_dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Stop::new(Exit::Internal, format!("No threads: {error}."), ""))?;
    let context = Context { env: Env::system(), globals, places, report, settings, held: None };
    let outcome = runtime.block_on(dispatch(&context, at, command));
    // A thread may still wait for a key that nobody will press.
    runtime.shutdown_background();
    hidden::show_again();
    outcome
}

async fn dispatch(context: &Context, at: Option<Where>, command: Option<Command>) -> Outcome {
    let Some(mut command) = command else { return chat::run(context, at, None).await };
    if let Command::Send(send) = &mut command {
        send::with_input(send)?;
    }
    if command.company() == Company::Alone {
        return alone(context, at, command).await;
    }
    let profile = open::chosen(context)?;
    let deadline = Instant::now() + context.globals.timeout.min(HOLDER_PATIENCE);
    loop {
        if let Some(outcome) = socket::call::call(context, &profile, &command).await {
            return outcome;
        }
        match shared(context, command.clone()).await {
            // Another command has the profile for a moment.
            Err(stop) if stop.is_locked && Instant::now() < deadline => {
                tokio::time::sleep(HOLDER_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// How long a command waits for another one that holds the profile.
const HOLDER_PATIENCE: Duration = Duration::from_secs(10);
const HOLDER_PAUSE: Duration = Duration::from_millis(40);

/// Runs a command for a caller. Boxed: commands serve callers, who run commands.
fn served(
    context: &Context,
    command: Command,
) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
    Box::pin(async move {
        match command.company() {
            Company::Alone => Err(Stop::new(
                Exit::LocalData,
                "The profile is in use, and this cannot be done beside it.",
                "End the other client first.",
            )),
            Company::Shared => shared(context, command).await,
        }
    })
}

/// Commands that run on a client, whoever started it.
async fn shared(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Whoami => show::whoami(context).await,
        Command::Send(send) => send::send(context, &send).await,
        Command::Retry => waiting::retry(context).await,
        Command::Cancel { id } => waiting::cancel(context, id).await,
        Command::Recv(recv) => recv::recv(context, &recv).await,
        Command::History(history) => show::history(context, &history).await,
        Command::Transfer(what) => transfer::run(context, &what).await,
        Command::Contact(contact) => people::run(context, &contact).await,
        Command::Group(group) => group::run(context, &group).await,
        Command::Key(key) => keys::run(context, &key).await,
        Command::Passwd { new_password_file } => {
            account::passwd(context, new_password_file.as_deref()).await
        }
        Command::Backup { file } => copies::backup(context, &file).await,
        Command::Chats => show::chats(context).await,
        Command::Status => show::status(context).await,
        Command::Chat { .. }
        | Command::Register { .. }
        | Command::Login(_)
        | Command::Logout { .. }
        | Command::Account(_)
        | Command::Restore { .. }
        | Command::Doctor
        | Command::Config(_)
        | Command::Man { .. }
        | Command::Completions { .. } => Err(Stop::quiet(Exit::Internal)),
    }
}

/// Commands that are about something else than a running client.
async fn alone(context: &Context, at: Option<Where>, command: Command) -> Outcome {
    match command {
        Command::Chat { to } => chat::run(context, at, to).await,
        Command::Register { user } => sign::register(context, user).await,
        Command::Login(login) => sign::login(context, login).await,
        Command::Logout { forget, yes } => {
            let deletion = match (forget, yes) {
                (false, _) => sign::Deletion::Keep,
                (true, false) => sign::Deletion::Ask,
                (true, true) => sign::Deletion::Sure,
            };
            sign::logout(context, deletion).await
        }
        Command::Account(account) => account::run(context, account).await,
        Command::Key(Key::Import(import)) => keys::import(context, import).await,
        Command::Restore { file, force } => copies::restore(context, &file, force).await,
        Command::Doctor => doctor::run(context).await,
        Command::Config(config) => config::run(context, config).await,
        Command::Man { dir } => man(&dir),
        Command::Completions { .. }
        | Command::Whoami
        | Command::Send(_)
        | Command::Retry
        | Command::Cancel { .. }
        | Command::Recv(_)
        | Command::History(_)
        | Command::Transfer(_)
        | Command::Contact(_)
        | Command::Group(_)
        | Command::Key(_)
        | Command::Passwd { .. }
        | Command::Backup { .. }
        | Command::Chats
        | Command::Status => Err(Stop::quiet(Exit::Internal)),
    }
}

/// `client man DIR`: one page per command.
fn man(dir: &Path) -> Outcome {
    clap_mangen::generate_to(Arguments::command(), dir).map_err(|error| {
        Stop::new(
            Exit::NotFound,
            format!("Cannot write manual pages to {}: {error}.", dir.display()),
            "Name a folder that is there.",
        )
    })?;
    Ok(Exit::Done)
}

/// HOST and PORT are judged here, where a mistyped command can be told from an address.
fn judge_address(host: Option<&str>, port: Option<&str>) -> Result<Option<Where>, Stop> {
    let Some(host) = host else { return Ok(None) };
    let found = match port {
        Some(port) => Where::of(host, port),
        None => args::parse_where(host).ok(),
    };
    if found.is_some() {
        return Ok(found);
    }
    let tree = Arguments::command();
    let names: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
    let words = [Some(host), port].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Err(match (nearest(host, names.iter().copied()), port) {
        (Some(meant), _) => Stop::new(
            Exit::Usage,
            format!("There is no command \"{host}\"."),
            format!("Did you mean: client {meant}"),
        ),
        (None, None) => Stop::new(
            Exit::Usage,
            format!("\"{host}\" is neither a command nor HOST PORT."),
            "Line client: client 127.0.0.1 9000     All commands: client --help",
        ),
        (None, Some(_)) => Stop::new(
            Exit::Usage,
            format!("\"{words}\" is neither a command nor HOST PORT."),
            "A port is a number from 1 to 65535. All commands: client --help",
        ),
    })
}

/// Logs go to standard error, and only when asked for: they would stand in the line being typed.
fn start_logs(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "fastchat=info",
        2 => "fastchat=debug",
        _ => "debug",
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(host: &str, port: Option<&str>) -> Result<Option<Where>, String> {
        judge_address(Some(host), port)
            .map_err(|stop| format!("{} {}", stop.failure.what, stop.failure.remedy))
    }

    #[test]
    fn a_mistyped_command_is_not_answered_with_an_invalid_port() {
        assert!(judged("sned", Some("alice")).unwrap_err().contains("client send"));
        assert!(judged("chat-s", None).unwrap_err().contains("client chats"));
        assert!(judged("127.0.0.1", Some("ninethousand")).unwrap_err().contains("1 to 65535"));
        assert!(judged("127.0.0.1", None).unwrap_err().contains("client 127.0.0.1 9000"));
    }

    #[test]
    fn an_address_is_one_word_or_two() {
        let at = Where { host: "127.0.0.1".into(), port: 9000 };
        assert_eq!(judged("127.0.0.1", Some("9000")), Ok(Some(at.clone())));
        assert_eq!(judged("127.0.0.1:9000", None), Ok(Some(at)));
        assert_eq!(judge_address(None, None).unwrap(), None);
    }
}
