//! `retry`, `cancel`: what waits on this machine, sent now or taken back.

use std::collections::BTreeSet;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{Cancelled, Client, Event, Line, LocalId, MessageState, Mode, RequestError};
use crate::types::ChatName;
use crate::ui::say;

use super::json::{Own, Record};
use super::report::{Outcome, Stop};
use super::{Context, failures, open, transfer};

/// Lines of a conversation that `retry` searches for what waits.
const SEARCHED_MAX: usize = 100_000;

/// `client retry`.
pub(super) async fn retry(context: &Context) -> Outcome {
    let mut session = open::session(context, Mode::SendOnly).await?;
    let client = session.client.clone();
    let outcome = tokio::select! {
        biased;
        outcome = retry_by(context, &client, &mut session.events) => outcome,
        () = context.report.io.interrupted() => Err(Stop::quiet(Exit::Interrupted)),
    };
    session.end().await;
    outcome
}

async fn retry_by(context: &Context, client: &Client, events: &mut Receiver<Event>) -> Outcome {
    let local = |error| failures::request(&error, None);
    let ours = waiting(client).map_err(local)?;
    if client.retry().map_err(local)? == 0 && ours.is_empty() {
        context.report.notice("Nothing waits to be sent.");
        return Ok(Exit::Done);
    }
    let deadline = Instant::now() + context.globals.timeout;
    let mut seen = BTreeSet::new();
    let (mut sent, mut refused) = (0, 0);
    let mut why = "There was no answer in time.".to_owned();
    while client.status().map_err(local)?.waiting > 0 {
        let Ok(event) = timeout_at(deadline, events.recv()).await else { break };
        match event {
            Some(Event::State { id, chat, state }) if concerns(&ours, id, &state) => {
                let outcome = moved(context, client, id, &chat, &state, &mut seen).await?;
                sent += usize::from(outcome == Moved::Sent);
                refused += usize::from(outcome == Moved::Refused);
            }
            Some(Event::ChatWaits { chat, code, detail }) => {
                why = say::code(code, Some(&chat), &detail, 0).what;
            }
            Some(Event::Offline { reason }) => {
                why = format!("No connection: {}.", say::offline(&reason))
            }
            Some(Event::SignedOut { code }) => {
                return Err(Stop::told(Exit::NotSignedIn, say::code(code, None, "", 0)));
            }
            Some(Event::LocalData { error }) => {
                return Err(Stop::told(Exit::LocalData, say::local_data(&error)));
            }
            Some(
                Event::Online { .. }
                | Event::Edited { .. }
                | Event::Deleted { .. }
                | Event::Reacted { .. }
                | Event::Expired { .. }
                | Event::Typing { .. }
                | Event::Presence { .. }
                | Event::State { .. }
                | Event::Lines
                | Event::CaughtUp
                | Event::Request { .. }
                | Event::Group { .. }
                | Event::Transfer { .. }
                | Event::KeyChanged { .. }
                | Event::WasAlreadySent { .. }
                | Event::RolledBack
                | Event::SessionReplaced,
            ) => {}
            None => break,
        }
    }
    // What moved while the last answers came in.
    while let Ok(event) = events.try_recv() {
        let Event::State { id, chat, state } = event else { continue };
        if !concerns(&ours, id, &state) {
            continue;
        }
        let outcome = moved(context, client, id, &chat, &state, &mut seen).await?;
        sent += usize::from(outcome == Moved::Sent);
        refused += usize::from(outcome == Moved::Refused);
    }
    match (client.status().map_err(local)?.waiting, sent, refused) {
        (0, _, 0) => Ok(Exit::Done),
        (0, 0, _) => Err(Stop::quiet(Exit::Refused)),
        (0, _, _) => Err(Stop::quiet(Exit::Partly)),
        (waiting, _, _) => Err(Stop::new(
            if sent > 0 { Exit::Partly } else { Exit::Unreachable },
            format!("{why} Still kept here: {waiting}."),
            "Try again later: client retry     Take one back: client cancel ID",
        )),
    }
}

/// The own messages that are not sent yet.
fn waiting(client: &Client) -> Result<BTreeSet<LocalId>, RequestError> {
    let mut ids = BTreeSet::new();
    for chat in client.chats()?.iter().filter(|chat| chat.waiting > 0) {
        let lines = client.history(&chat.chat, SEARCHED_MAX)?;
        ids.extend(lines.iter().filter_map(|line| match line {
            Line::Message(message) => match message.state {
                Some(MessageState::Waiting | MessageState::Pending) => Some(message.id),
                Some(_) | None => None,
            },
            Line::Trouble { .. } | Line::Membership { .. } => None,
        }));
    }
    Ok(ids)
}

/// Messages sent earlier are reported as delivered in between; they are no news here.
fn concerns(ours: &BTreeSet<LocalId>, id: LocalId, state: &MessageState) -> bool {
    ours.contains(&id) || *state == MessageState::Sent
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Sent,
    Refused,
    NotYet,
}

/// Prints each message once, when it is known what became of it.
async fn moved(
    context: &Context,
    client: &Client,
    id: LocalId,
    chat: &ChatName,
    state: &MessageState,
    seen: &mut BTreeSet<LocalId>,
) -> Result<Moved, Stop> {
    let moved = match state {
        MessageState::Sent | MessageState::Delivered | MessageState::Read => Moved::Sent,
        MessageState::Refused(_) => Moved::Refused,
        MessageState::Uploading
        | MessageState::Waiting
        | MessageState::Pending
        | MessageState::Cancelled => Moved::NotYet,
    };
    if moved == Moved::NotYet || !seen.insert(id) {
        return Ok(Moved::NotYet);
    }
    let message = client.message(id).map_err(|error| failures::request(&error, None))?;
    let Some(message) = message else { return Ok(moved) };
    match state {
        MessageState::Refused(refusal) => {
            let told = say::refusal(*refusal, chat);
            context
                .report
                .data(&Record::Refused(Own::new(&message)), || {
                    format!("{id} to {chat} not sent: {}", told.line())
                })
                .await?;
        }
        MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Uploading
        | MessageState::Waiting
        | MessageState::Pending
        | MessageState::Cancelled => {
            let record = Record::Sent(Own::new(&message));
            context.report.data(&record, || format!("sent {id} to {chat}")).await?;
        }
    }
    Ok(moved)
}

/// `client cancel ID`.
pub(super) async fn cancel(context: &Context, id: i64) -> Outcome {
    let session = open::session(context, Mode::Offline).await?;
    let client = &session.client;
    let id = LocalId(id);
    let before = client.message(id);
    if let Ok(Some(message)) = &before
        && message.state == Some(MessageState::Uploading)
    {
        let outcome = transfer::cancel(context, client, id).await;
        session.end().await;
        return outcome;
    }
    let cancelled = client.cancel(id);
    session.end().await;
    let local = |error| failures::request(&error, None);
    let pending =
        before.map_err(local)?.is_some_and(|message| message.state == Some(MessageState::Pending));
    match cancelled.map_err(local)? {
        Cancelled::Yes => {
            context
                .report
                .data(&Record::Cancelled { id: id.to_string() }, || {
                    format!("Message {id} will not be sent.")
                })
                .await?;
            if pending {
                context.report.notice(
                    "It was under way already; if it had arrived before this, that shows at the \
                     next contact.",
                );
            }
            Ok(Exit::Done)
        }
        Cancelled::TooLate => Err(Stop::new(
            Exit::Refused,
            format!("Message {id} cannot be taken back any more."),
            "It was sent, or it ended before.",
        )),
        Cancelled::NoSuchMessage => Err(Stop::new(
            Exit::NotFound,
            format!("There is no message {id} of yours."),
            "Numbers: client history WHO --json",
        )),
    }
}
