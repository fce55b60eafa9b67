//! `whoami`, `status`, `chats`, `history`: what this machine knows. None changes anything.

use tokio::time::{Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{Client, Event, Line, Mode};
use crate::types::UserName;
use crate::ui::lists;

use super::json::{Chat, Record, Status};
use super::report::{Form, Outcome, Stop};
use super::{Context, failures, open};

/// Lines of a conversation that `--grep` searches.
const SEARCHED_MAX: usize = 1_000_000;

/// `client whoami`: without a password, without the network.
pub(super) fn whoami(context: &Context) -> Outcome {
    let name = open::chosen(context)?;
    let profile = open::profile(context, &name)?;
    let owner = profile.owner().ok_or_else(|| failures::not_signed_in(&name))?;
    let server = failures::address(&owner.balancer);
    let signed_in = context.places.unlock_key(&name).is_some();
    let record = Record::Whoami {
        user: owner.user.to_string(),
        profile: name.to_string(),
        server: server.clone(),
        cluster: owner.cluster.to_string(),
        signed_in,
    };
    context.report.data(&record, || {
        let locked = if signed_in { "" } else { "   (locked: client login)" };
        format!("{} at {server}   profile {name}{locked}", owner.user)
    })?;
    Ok(Exit::Done)
}

/// `client status`: tries to connect for as long as `--timeout`.
pub(super) async fn status(context: &Context) -> Outcome {
    let name = open::chosen(context)?;
    let (unlocked, _) = open::unlocked(context, &name).await?;
    let me = unlocked.owner().user.clone();
    let (client, mut events) = Client::start(&context.env, unlocked, Mode::SendOnly);
    let deadline = Instant::now() + context.globals.timeout;
    while let Ok(Some(event)) = timeout_at(deadline, events.recv()).await {
        if matches!(
            event,
            Event::Online { .. }
                | Event::Offline { .. }
                | Event::SignedOut { .. }
                | Event::SessionReplaced
        ) {
            break;
        }
    }
    let view = client.status();
    client.stop().await;
    let view = view.map_err(|error| failures::request(&error, None))?;
    let screen = context.report.screen(&me);
    context.report.data(&Record::Status(Status::new(&view)), || {
        lists::status(&screen, &view, context.env.unix_ms())
    })?;
    Ok(if view.connected.is_some() { Exit::Done } else { Exit::Unreachable })
}

/// Opens the profile without connecting.
async fn offline(context: &Context) -> Result<(Client, UserName), Stop> {
    let name = open::chosen(context)?;
    let (unlocked, _) = open::unlocked(context, &name).await?;
    let me = unlocked.owner().user.clone();
    let (client, _events) = Client::start(&context.env, unlocked, Mode::Offline);
    Ok((client, me))
}

/// `client chats`.
pub(super) async fn chats(context: &Context) -> Outcome {
    let (client, me) = offline(context).await?;
    let chats = client.chats();
    client.stop().await;
    let chats = chats.map_err(|error| failures::request(&error, None))?;
    match context.report.form {
        Form::Json => {
            for chat in &chats {
                context.report.data(&Record::Chat(Chat::new(chat)), String::new)?;
            }
        }
        Form::Text if chats.is_empty() => context.report.notice("No chats yet."),
        Form::Text => {
            let screen = context.report.screen(&me);
            let text = lists::chats(&screen, &chats, context.env.unix_ms());
            context.report.data(&Record::Notice { text: "" }, || text)?;
        }
    }
    Ok(Exit::Done)
}

/// `client history CHAT`.
pub(super) async fn history(
    context: &Context,
    chat: &UserName,
    lines: u32,
    grep: Option<&str>,
) -> Outcome {
    let (client, me) = offline(context).await?;
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let found = client.history(chat, if grep.is_some() { SEARCHED_MAX } else { wanted });
    let known = client.chats();
    client.stop().await;
    let local = |error| failures::request(&error, None);
    let mut found = found.map_err(local)?;
    if found.is_empty() && !known.map_err(local)?.iter().any(|known| known.chat == *chat) {
        return Err(Stop::new(
            Exit::NotFound,
            format!("There is no chat with {chat} on this machine."),
            "All: client chats",
        ));
    }
    if let Some(text) = grep.map(str::to_lowercase) {
        found.retain(|line| contains(line, &text));
        found.drain(..found.len().saturating_sub(wanted));
    }
    let mut screen = context.report.screen(&me).on_day_of(context.env.unix_ms());
    for line in &found {
        context.report.data(&Record::of_line(line, &me), || screen.line(line))?;
    }
    Ok(Exit::Done)
}

fn contains(line: &Line, lower_case: &str) -> bool {
    match line {
        Line::Message(message) => message.text.to_lowercase().contains(lower_case),
        Line::Trouble { .. } => false,
    }
}
