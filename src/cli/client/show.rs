//! `whoami`, `status`, `chats`, `history`: what this machine knows. None changes anything.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tokio::time::{Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{Event, Line, Mode};
use crate::types::UserName;
use crate::ui::{lists, say};
use crate::wire::Code;

use super::args::{History, moment};
use super::json::{Chat, Record, Status};
use super::open::Session;
use super::report::{Form, Outcome, Stop};
use super::{Context, failures, open};

/// Lines that `history` prints when nothing else is said.
const LINES: usize = 50;
/// Lines of a conversation that `--grep` searches.
const SEARCHED_MAX: usize = 1_000_000;

/// `client whoami`: without a password, without the network.
pub(super) async fn whoami(context: &Context) -> Outcome {
    let (name, user, server, cluster) = match &context.held {
        Some(held) => {
            let status = held.client.status().map_err(|error| failures::request(&error, None))?;
            (held.profile.clone(), status.user, status.balancer, status.cluster)
        }
        None => {
            let name = open::chosen(context)?;
            let profile = open::profile(context, &name)?;
            let owner = profile.owner().ok_or_else(|| failures::not_signed_in(&name))?;
            let server = owner.balancer.to_string();
            (name, owner.user.clone(), server, owner.cluster.to_string())
        }
    };
    let signed_in = context.places.unlock_key(&name).is_some();
    let record = Record::Whoami {
        user: user.to_string(),
        profile: name.to_string(),
        server: server.clone(),
        cluster,
        signed_in,
    };
    let text = || {
        let locked = if signed_in { "" } else { "   (locked: client login)" };
        format!("{user} at {server}   profile {name}{locked}")
    };
    context.report.data(&record, text).await?;
    Ok(Exit::Done)
}

/// `client status`: tries to connect for as long as `--timeout`.
pub(super) async fn status(context: &Context) -> Outcome {
    let mut session = open::session(context, Mode::SendOnly).await?;
    let deadline = Instant::now() + context.globals.timeout;
    let refused = loop {
        match timeout_at(deadline, session.events.recv()).await {
            Ok(Some(Event::SignedOut { code })) => break Some(code),
            Ok(Some(Event::SessionReplaced)) => break Some(Code::SessionReplaced),
            Ok(None | Some(Event::Online { .. } | Event::Offline { .. })) | Err(_) => break None,
            Ok(Some(_)) => {}
        }
    };
    let view = session.client.status();
    session.end().await;
    let view = view.map_err(|error| failures::request(&error, None))?;
    let screen = context.report.screen(&session.me);
    context
        .report
        .data(&Record::Status(Status::new(&view)), || {
            lists::status(&screen, &view, context.env.unix_ms())
        })
        .await?;
    if let Some(code) = refused {
        return Err(Stop::told(Exit::NotSignedIn, say::code(code, None, "", 0)));
    }
    Ok(if view.connected.is_some() { Exit::Done } else { Exit::Unreachable })
}

/// `client chats`.
pub(super) async fn chats(context: &Context) -> Outcome {
    let session = open::session(context, Mode::Offline).await?;
    let chats = session.client.chats();
    session.end().await;
    let chats = chats.map_err(|error| failures::request(&error, None))?;
    match context.report.form {
        Form::Json => {
            for chat in &chats {
                context.report.data(&Record::Chat(Chat::new(chat)), String::new).await?;
            }
        }
        Form::Text if chats.is_empty() => context.report.notice("No chats yet."),
        Form::Text => {
            let screen = context.report.screen(&session.me);
            let text = lists::chats(&screen, &chats, context.env.unix_ms());
            context.report.data(&Record::Notice { text: "" }, || text).await?;
        }
    }
    Ok(Exit::Done)
}

/// `client history CHAT`.
pub(super) async fn history(context: &Context, history: &History) -> Outcome {
    let since = history.since.as_deref().map(|when| since(context, when)).transpose()?;
    let session = open::session(context, Mode::Offline).await?;
    let outcome = printed(context, history, since, &session).await;
    session.end().await;
    outcome
}

fn since(context: &Context, when: &str) -> Result<u64, Stop> {
    let now = i64::try_from(context.env.unix_ms()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::MAX);
    moment(when, &now.to_zoned(context.report.zone.clone())).ok_or_else(|| {
        Stop::new(
            Exit::Usage,
            format!("\"{when}\" is no moment."),
            "A day (2026-11-20), a time (2026-11-20T12:01), or how long ago (2h)",
        )
    })
}

async fn printed(
    context: &Context,
    history: &History,
    since: Option<u64>,
    session: &Session,
) -> Outcome {
    let (client, me) = (&session.client, &session.me);
    let chat = &open::chat(client, &history.chat)?;
    let local = |error| failures::request(&error, None);
    let all = since.is_some() || history.export.is_some();
    let wanted = match history.lines {
        Some(lines) => usize::try_from(lines).unwrap_or(usize::MAX),
        None if all => SEARCHED_MAX,
        None => LINES,
    };
    let searched = if history.grep.is_some() { SEARCHED_MAX } else { wanted };
    let mut found = match since {
        Some(since) => client.since(chat, since, SEARCHED_MAX),
        None => client.history(chat, searched),
    }
    .map_err(local)?;
    let known = client.chats().map_err(local)?;
    if found.is_empty() && !known.iter().any(|known| known.chat == *chat) {
        return Err(Stop::new(
            Exit::NotFound,
            format!("There is no chat with {chat} on this machine."),
            "All: client chats",
        ));
    }
    if let Some(text) = history.grep.as_deref().map(str::to_lowercase) {
        found.retain(|line| contains(line, &text));
    }
    found.drain(..found.len().saturating_sub(wanted));
    if let Some(file) = &history.export {
        return export(context, file, &found, me).await;
    }
    let mut screen = context.report.screen(me).on_day_of(context.env.unix_ms());
    for line in &found {
        context.report.data(&Record::of_line(line, me), || screen.line(line)).await?;
    }
    Ok(Exit::Done)
}

/// Writes lines to a file that must not be there yet.
async fn export(context: &Context, file: &Path, lines: &[Line], me: &UserName) -> Outcome {
    let failed = |error: std::io::Error| {
        Stop::new(
            Exit::LocalData,
            format!("Cannot write {}: {error}.", file.display()),
            "A file that is there is never replaced.",
        )
    };
    let path = context.report.io.path(file);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map(std::io::BufWriter::new)
        .map_err(failed)?;
    let mut write = || -> std::io::Result<()> {
        lines.iter().try_for_each(|line| writeln!(out, "{}", Record::of_line(line, me).line()))?;
        out.flush()?;
        out.get_ref().sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&path);
        failed(error)
    })?;
    let shown = file.display().to_string();
    let text = || format!("{} lines are in {shown}.", lines.len());
    context.report.data(&Record::File { path: &shown }, text).await?;
    Ok(Exit::Done)
}

fn contains(line: &Line, lower_case: &str) -> bool {
    match line {
        Line::Message(message) => message.text.to_lowercase().contains(lower_case),
        Line::Trouble { .. } | Line::Membership { .. } => false,
    }
}
