//! `send`, `retry`, `cancel`: messages out.
//!
//! A command returns when the message is on disk at the recipient's server. A message that could
//! not get there in time stays in the profile and goes first at the next contact: it is sent once,
//! whatever the caller does with the exit code.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Read as _};

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{
    Cancelled, Client, Event, Line, LocalId, MessageState, MessageView, Mode, Offline,
    RequestError, SendError, Trust,
};
use crate::limits::TEXT_BYTES_MAX;
use crate::types::UserName;
use crate::ui::line::TrustPolicy;
use crate::ui::say::{self, Told};
use crate::ui::text::nearest;
use crate::wire::Code;

use super::json::{Own, Record};
use super::report::{Outcome, Stop};
use super::{Context, failures, open};

/// Lines of a conversation that `retry` searches for what waits.
const SEARCHED_MAX: usize = 100_000;

/// `client send TO [TEXT...]`.
pub(super) async fn send(context: &Context, to: &UserName, words: Vec<String>) -> Outcome {
    let text = text_of(words)?;
    let name = open::chosen(context)?;
    let (unlocked, _) = open::unlocked(context, &name).await?;
    let (client, mut events) = Client::start(&context.env, unlocked, Mode::SendOnly);
    let outcome = tokio::select! {
        biased;
        outcome = send_by(context, &client, &mut events, to, &text) => outcome,
        _ = tokio::signal::ctrl_c() => interrupted(&client),
    };
    client.stop().await;
    outcome
}

fn interrupted(client: &Client) -> Outcome {
    let waiting = client.status().map_or(0, |status| status.waiting);
    if waiting == 0 {
        return Err(Stop::quiet(Exit::Interrupted));
    }
    Err(Stop::new(
        Exit::Interrupted,
        "Interrupted; the message is kept and goes first at the next contact: do not send it again.",
        "Send it: client retry     Its number, to take it back: client history --json",
    ))
}

/// The text: the words, or standard input when there are none and it is no terminal.
fn text_of(words: Vec<String>) -> Result<String, Stop> {
    let from_input = match words.as_slice() {
        [] => !io::stdin().is_terminal(),
        [only] => only == "-",
        [_, _, ..] => false,
    };
    if !from_input {
        if words.is_empty() {
            return Err(Stop::new(
                Exit::Usage,
                "There is no text to send.",
                "client send WHO TEXT     or: command | client send WHO",
            ));
        }
        return Ok(words.join(" "));
    }
    let mut bytes = Vec::new();
    let limit = TEXT_BYTES_MAX as u64 + 2;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| {
        Stop::new(Exit::LocalData, format!("Cannot read standard input: {error}."), "")
    })?;
    let mut text = String::from_utf8(bytes).map_err(|_| {
        Stop::new(Exit::Usage, "Standard input is not UTF-8 text.", "Only text can be sent.")
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(Stop::new(
            Exit::Refused,
            format!("The message is longer than {TEXT_BYTES_MAX} bytes."),
            "Send it in parts.",
        ));
    }
    Ok(text)
}

async fn send_by(
    context: &Context,
    client: &Client,
    events: &mut Receiver<Event>,
    to: &UserName,
    text: &str,
) -> Outcome {
    if context.globals.trust == TrustPolicy::Verified && !is_verified(client, to)? {
        return Err(Stop::new(
            Exit::KeyRefused,
            format!("{to} is not verified, and --trust verified was asked for. Nothing was sent."),
            format!("Compare numbers: /verify {to}     (inside: client chat)"),
        ));
    }
    let id = match client.send_text(to, text) {
        Err(SendError::KeyChanged(_)) if context.globals.trust == TrustPolicy::Always => {
            client.accept_key(to).map_err(|error| failures::request(&error, Some(to)))?;
            client.send_text(to, text)
        }
        other => other,
    }
    .map_err(|error| failures::send(&error))?;
    let message = Waiting { context, client, id, to }.until_sent(events).await?;
    context.report.data(&Record::Sent(Own::new(&message)), || format!("sent to {to} as {id}"))?;
    Ok(Exit::Done)
}

fn is_verified(client: &Client, user: &UserName) -> Result<bool, Stop> {
    let chats = client.chats().map_err(|error| failures::request(&error, None))?;
    Ok(chats.iter().any(|chat| chat.chat == *user && chat.trust == Trust::Verified))
}

/// One message on its way.
struct Waiting<'a> {
    context: &'a Context,
    client: &'a Client,
    id: LocalId,
    to: &'a UserName,
}

impl Waiting<'_> {
    async fn until_sent(&self, events: &mut Receiver<Event>) -> Result<MessageView, Stop> {
        let deadline = Instant::now() + self.context.globals.timeout;
        let mut why = Told { what: "There was no answer in time.".into(), remedy: String::new() };
        loop {
            if let Some(message) = self.settled()? {
                return Ok(message);
            }
            match timeout_at(deadline, events.recv()).await {
                Ok(Some(event)) => self.heard(&event, &mut why)?,
                Ok(None) => return Err(self.kept(Exit::Internal, "The client stopped by itself.")),
                Err(_) => return Err(self.kept(Exit::Unreachable, &why.what)),
            }
        }
    }

    /// The message once it is sent; an error once it never will be.
    fn settled(&self) -> Result<Option<MessageView>, Stop> {
        let message =
            self.client.message(self.id).map_err(|error| failures::request(&error, None))?;
        let Some(message) = message else { return Ok(None) };
        match &message.state {
            Some(MessageState::Sent | MessageState::Delivered | MessageState::Read) => {
                Ok(Some(message))
            }
            Some(MessageState::Refused(refusal)) => {
                let mut stop = failures::refusal(*refusal, self.to);
                if stop.failure.exit == Exit::NotFound {
                    stop.failure.remedy = did_you_mean(self.client, self.to);
                }
                Err(stop)
            }
            Some(MessageState::Cancelled) => {
                Err(Stop::new(Exit::Refused, format!("Message {} was cancelled.", self.id), ""))
            }
            Some(MessageState::Waiting | MessageState::Pending) | None => Ok(None),
        }
    }

    /// Notes why it takes long; ends early when waiting cannot help.
    fn heard(&self, event: &Event, why: &mut Told) -> Result<(), Stop> {
        match event {
            Event::ChatWaits { chat, code, detail } if chat == self.to => {
                *why = say::code(*code, Some(chat), detail, 0);
                if *code == Code::MailboxFull {
                    return Err(self.kept(Exit::Refused, &why.what));
                }
            }
            Event::Offline { reason: Offline::WrongCluster } => {
                return Err(self.kept(Exit::KeyRefused, &say::wrong_cluster().what));
            }
            Event::Offline { reason } => {
                let server = self.client.status().map(|status| status.balancer);
                let server = server.unwrap_or_else(|_| "the server".to_owned());
                why.what = format!("Cannot reach {server} ({}).", say::offline(reason));
            }
            Event::KeyChanged { user }
                if user == self.to && self.context.globals.trust == TrustPolicy::Always =>
            {
                let accepted = self.client.accept_key(user);
                accepted.map_err(|error| failures::request(&error, Some(user)))?;
            }
            Event::KeyChanged { user } if user == self.to => {
                let told = say::key_changed(user);
                let mut stop = self.kept(Exit::KeyRefused, &told.what);
                stop.failure.remedy = failures::in_line_client(&told.remedy);
                return Err(stop);
            }
            Event::SignedOut { code } => {
                return Err(self.kept(Exit::NotSignedIn, &say::code(*code, None, "", 0).what));
            }
            Event::SessionReplaced => {
                let told = say::code(Code::SessionReplaced, None, "", 0);
                return Err(self.kept(Exit::NotSignedIn, &told.what));
            }
            Event::LocalData { error } => {
                return Err(Stop::told(Exit::LocalData, say::local_data(error)));
            }
            Event::RolledBack => self.context.report.notice(&say::rolled_back().line()),
            Event::Edited { .. }
            | Event::Deleted { .. }
            | Event::Reacted { .. }
            | Event::Expired { .. }
            | Event::Typing { .. }
            | Event::Presence { .. }
            | Event::Online { .. }
            | Event::Lines
            | Event::CaughtUp
            | Event::State { .. }
            | Event::ChatWaits { .. }
            | Event::Request { .. }
            | Event::KeyChanged { .. }
            | Event::WasAlreadySent { .. } => {}
        }
        Ok(())
    }

    fn kept(&self, exit: Exit, why: &str) -> Stop {
        let id = self.id;
        let mut stop = Stop::new(
            exit,
            format!(
                "{why} The message is kept as {id} and goes first at the next contact: do not send it again."
            ),
            match exit {
                Exit::NotSignedIn => {
                    "Sign in again: client login     Then: client retry".to_owned()
                }
                _ => format!("Now: client retry     Take it back: client cancel {id}"),
            },
        );
        stop.kept = Some(id);
        stop
    }
}

fn did_you_mean(client: &Client, name: &UserName) -> String {
    let chats = client.chats().unwrap_or_default();
    let others = chats.iter().map(|chat| chat.chat.as_str()).filter(|c| *c != name.as_str());
    nearest(name.as_str(), others)
        .map_or_else(|| "See how it is spelt.".to_owned(), |near| format!("Did you mean {near}?"))
}

/// `client retry`.
pub(super) async fn retry(context: &Context) -> Outcome {
    let name = open::chosen(context)?;
    let (unlocked, _) = open::unlocked(context, &name).await?;
    let (client, mut events) = Client::start(&context.env, unlocked, Mode::SendOnly);
    let outcome = retry_by(context, &client, &mut events).await;
    client.stop().await;
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
                let outcome = moved(context, client, id, &chat, &state, &mut seen)?;
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
                | Event::State { .. }
                | Event::Lines
                | Event::CaughtUp
                | Event::Request { .. }
                | Event::KeyChanged { .. }
                | Event::WasAlreadySent { .. }
                | Event::Edited { .. }
                | Event::Deleted { .. }
                | Event::Reacted { .. }
                | Event::Expired { .. }
                | Event::Typing { .. }
                | Event::Presence { .. }
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
        let outcome = moved(context, client, id, &chat, &state, &mut seen)?;
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
            Line::Trouble { .. } => None,
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
fn moved(
    context: &Context,
    client: &Client,
    id: LocalId,
    chat: &UserName,
    state: &MessageState,
    seen: &mut BTreeSet<LocalId>,
) -> Result<Moved, Stop> {
    let moved = match state {
        MessageState::Sent | MessageState::Delivered | MessageState::Read => Moved::Sent,
        MessageState::Refused(_) => Moved::Refused,
        MessageState::Waiting | MessageState::Pending | MessageState::Cancelled => Moved::NotYet,
    };
    if moved == Moved::NotYet || !seen.insert(id) {
        return Ok(Moved::NotYet);
    }
    let message = client.message(id).map_err(|error| failures::request(&error, None))?;
    let Some(message) = message else { return Ok(moved) };
    match state {
        MessageState::Refused(refusal) => {
            let told = say::refusal(*refusal, chat);
            context.report.data(&Record::Refused(Own::new(&message)), || {
                format!("{id} to {chat} not sent: {}", told.line())
            })?;
        }
        MessageState::Sent
        | MessageState::Delivered
        | MessageState::Read
        | MessageState::Waiting
        | MessageState::Pending
        | MessageState::Cancelled => {
            let record = Record::Sent(Own::new(&message));
            context.report.data(&record, || format!("sent {id} to {chat}"))?;
        }
    }
    Ok(moved)
}

/// `client cancel ID`.
pub(super) async fn cancel(context: &Context, id: i64) -> Outcome {
    let name = open::chosen(context)?;
    let (unlocked, _) = open::unlocked(context, &name).await?;
    let (client, _events) = Client::start(&context.env, unlocked, Mode::Offline);
    let id = LocalId(id);
    let before = client.message(id);
    let cancelled = client.cancel(id);
    client.stop().await;
    let local = |error| failures::request(&error, None);
    let pending =
        before.map_err(local)?.is_some_and(|message| message.state == Some(MessageState::Pending));
    match cancelled.map_err(local)? {
        Cancelled::Yes => {
            context.report.data(&Record::Cancelled { id: id.to_string() }, || {
                format!("Message {id} will not be sent.")
            })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_and_a_lone_dash_means_standard_input() {
        assert_eq!(text_of(vec!["hi".into(), "there".into()]).unwrap(), "hi there");
        assert_eq!(text_of(vec!["-".into(), "x".into()]).unwrap(), "- x");
    }
}
