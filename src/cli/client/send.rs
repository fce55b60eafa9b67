//! `send`: messages out.
//!
//! A message that could not get there in time stays in the profile and goes first at the next
//! contact: it is sent once, whatever the caller does with the exit code.

use std::io::{self, IsTerminal as _, Read as _};

use tokio::sync::mpsc::Receiver;

use crate::cli::exit::Exit;
use crate::client::{Client, Draft, Event, Mode, SendError, Trust};
use crate::limits::TEXT_BYTES_MAX;
use crate::types::{ChatName, UserName};
use crate::ui::line::TrustPolicy;
use crate::ui::say;

use super::args::{Goal, Send, Who};
use super::batch::Batch;
use super::open::Session;
use super::report::{Outcome, Stop};
use super::{Context, failures, files, group, open};

/// Messages of one command that are under way at once.
const UNDER_WAY_MAX: usize = 256;
/// The same of files: a sealed copy of each lies on the disk meanwhile.
const FILES_UNDER_WAY_MAX: usize = 7;

/// `client send TO [TEXT...]`.
pub(super) async fn send(context: &Context, send: &Send) -> Outcome {
    let to_a_group = || recipients(send).any(|who| who.0.starts_with('#'));
    let mode = match send.wait {
        // That somebody has brought one into a group may wait in one's own inbox.
        Goal::Sent | Goal::Delivered if to_a_group() => Mode::SendAndReceive,
        Goal::Sent | Goal::Delivered => Mode::SendOnly,
        // The receipt is a message in one's own inbox.
        Goal::Read => Mode::SendAndReceive,
    };
    let mut session = open::session(context, mode).await?;
    let outcome = sent(context, send, &mut session).await;
    session.end().await;
    outcome
}

async fn sent(context: &Context, send: &Send, session: &mut Session) -> Outcome {
    let client = session.client.clone();
    let to = chats(context, send, session).await?;
    if context.globals.trust == TrustPolicy::Verified {
        for to in &to {
            must_be_verified(&client, &session.me, to)?;
        }
    }
    let mut batch = Batch::new(context, &client, send.wait);
    batch.expire(send.expire);
    let outcome = tokio::select! {
        biased;
        outcome = through(context, send, &to, &mut batch, session) => outcome,
        () = context.report.io.interrupted() => {
            return batch.uploading().map_or_else(|| interrupted(&client), Err);
        }
    };
    outcome?;
    batch.outcome()
}

fn recipients(send: &Send) -> impl Iterator<Item = &Who> {
    std::iter::once(&send.to).chain(&send.also)
}

/// Each once, in the order in which they were named.
async fn chats(
    context: &Context,
    send: &Send,
    session: &mut Session,
) -> Result<Vec<ChatName>, Stop> {
    let mut to = Vec::new();
    for who in recipients(send) {
        let chat = open::any_chat(&session.client, who)?;
        if let ChatName::Group(name) = &chat
            && open::known(&session.client, &chat).is_err()
        {
            session.group(context, name).await?;
        }
        if !to.contains(&chat) {
            to.push(chat);
        }
    }
    Ok(to)
}

async fn through(
    context: &Context,
    send: &Send,
    to: &[ChatName],
    batch: &mut Batch<'_>,
    session: &mut Session,
) -> Result<(), Stop> {
    if send.each_line {
        each_line(context, to, batch, session).await?;
    } else {
        let paths = files::looked_at(context, send)?;
        let text = send.text.join(" ");
        for to in to.iter().filter(|_| paths.is_empty() || !send.text.is_empty()) {
            batch.take(to, &text, None);
        }
        for (index, path) in paths.iter().enumerate() {
            for to in to {
                batch.take_file(to, files::draft(send, path, index)).await;
                batch.settle(&mut session.events, FILES_UNDER_WAY_MAX).await?;
            }
        }
    }
    batch.settle(&mut session.events, 0).await
}

/// Sends the lines of standard input as they come; empty ones are left out.
async fn each_line(
    context: &Context,
    to: &[ChatName],
    batch: &mut Batch<'_>,
    session: &mut Session,
) -> Result<(), Stop> {
    let mut lines = Lines::default();
    loop {
        let input = context.report.io.input();
        tokio::pin!(input);
        let piece = loop {
            tokio::select! {
                biased;
                piece = &mut input => break piece.map_err(|error| unreadable(&error))?,
                // While nobody writes, what happens to the earlier ones is told: to its end, for
                // what is half told when a piece comes would be told never, or twice.
                event = next(&mut session.events) => batch.follow(&event).await?,
            }
        };
        let is_end = piece.is_empty();
        for (number, line) in lines.feed(&piece) {
            for to in to {
                match &line {
                    Ok(line) => batch.take(to, line, Some(number)),
                    Err(stop) => batch.not_taken(to, stop.clone(), Some(number)),
                }
            }
            batch.settle(&mut session.events, UNDER_WAY_MAX).await?;
        }
        if is_end {
            return Ok(());
        }
    }
}

/// The next event; of a client that has stopped, there is none.
async fn next(events: &mut Receiver<Event>) -> Event {
    match events.recv().await {
        Some(event) => event,
        None => std::future::pending().await,
    }
}

/// Takes pieces of input apart into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    number: usize,
    /// The line is longer than a message may be, and is read to its end.
    is_long: bool,
}

impl Lines {
    /// The lines that are complete with this piece; the end of the input completes the last one.
    fn feed(&mut self, piece: &[u8]) -> Vec<(usize, Result<String, Stop>)> {
        let mut done = Vec::new();
        if piece.is_empty() {
            done.extend(self.line());
        }
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(part) => {
                    self.add(part);
                    done.extend(self.line());
                }
                None => self.add(part),
            }
        }
        done
    }

    fn add(&mut self, part: &[u8]) {
        self.is_long |= self.rest.len() + part.len() > TEXT_BYTES_MAX;
        if !self.is_long {
            self.rest.extend_from_slice(part);
        }
    }

    fn line(&mut self) -> Option<(usize, Result<String, Stop>)> {
        self.number += 1;
        let bytes = std::mem::take(&mut self.rest);
        if std::mem::take(&mut self.is_long) {
            return Some((self.number, Err(too_long())));
        }
        let text = String::from_utf8(bytes).map_err(|_| not_text());
        match &text {
            Ok(text) if text.trim().is_empty() => None,
            Ok(_) | Err(_) => Some((self.number, text)),
        }
    }
}

/// The text of `send`, from standard input when there are no words and it is no terminal, or the
/// only word is `-`. Read before anything is opened: it may take long to come.
pub(super) fn with_input(send: &mut Send) -> Result<(), Stop> {
    if send.each_line {
        return if send.text.is_empty() || send.text == ["-"] { Ok(()) } else { Err(two_texts()) };
    }
    let from_input = match send.text.as_slice() {
        [] if !send.file.is_empty() => return Ok(()),
        [] => !io::stdin().is_terminal(),
        [only] => only == "-",
        [_, _, ..] => false,
    };
    if !from_input {
        if send.text.is_empty() {
            return Err(Stop::new(
                Exit::Usage,
                "There is no text to send.",
                "client send WHO TEXT     or: command | client send WHO",
            ));
        }
        return Ok(());
    }
    let mut bytes = Vec::new();
    let limit = TEXT_BYTES_MAX as u64 + 2;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    let mut text = String::from_utf8(bytes).map_err(|_| not_text())?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    send.text = vec![text];
    Ok(())
}

fn two_texts() -> Stop {
    Stop::new(
        Exit::Usage,
        "With --each-line the texts come from standard input.",
        "command | client send WHO --each-line",
    )
}

fn unreadable(error: &io::Error) -> Stop {
    Stop::new(Exit::LocalData, format!("Cannot read standard input: {error}."), "")
}

fn not_text() -> Stop {
    Stop::new(Exit::Usage, "Standard input is not UTF-8 text.", "Only text can be sent.")
}

fn too_long() -> Stop {
    let what = format!("The message is longer than {TEXT_BYTES_MAX} bytes.");
    Stop::new(Exit::Refused, what, "Send it in parts.")
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

/// The key of who gets it was compared; in a group, of everybody.
fn must_be_verified(client: &Client, me: &UserName, to: &ChatName) -> Result<(), Stop> {
    let local = |error| failures::request(&error, None);
    let not_verified = match to {
        ChatName::Person(user) => {
            let known = client.known_key(user).map_err(local)?;
            let is_verified = known.is_some_and(|key| key.trust == Trust::Verified);
            (!is_verified).then(|| user.clone())
        }
        ChatName::Group(group) => client.group(group).map_err(local)?.and_then(|group| {
            let others = group.members.into_iter().filter(|member| member.user != *me);
            let mut doubtful = others.filter(|member| member.trust != Trust::Verified);
            doubtful.next().map(|member| member.user)
        }),
    };
    let Some(user) = not_verified else { return Ok(()) };
    let place = to.group().map(|group| format!(" (in {group})")).unwrap_or_default();
    Err(Stop::new(
        Exit::KeyRefused,
        format!(
            "{user}{place} is not verified, and --trust verified was asked for. Nothing was sent."
        ),
        format!("Compare numbers: client key verify {user}"),
    ))
}

/// Takes a text, under the policy that was asked for.
pub(super) fn take(
    client: &Client,
    trust: TrustPolicy,
    to: &ChatName,
    draft: &Draft,
) -> Result<crate::client::LocalId, Stop> {
    match client.send(to, draft) {
        Err(SendError::KeyChanged(user)) if trust == TrustPolicy::Always => {
            client.accept_key(&user).map_err(|error| failures::request(&error, Some(&user)))?;
            client.send(to, draft)
        }
        other => other,
    }
    .map_err(|error| match &error {
        SendError::NoSuchGroup(group) => match client.group(group) {
            Ok(Some(view)) => group::failed(&say::not_there(&view), Some(group)),
            Ok(None) | Err(_) => failures::send(&error),
        },
        _ => failures::send(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(pieces: &[&[u8]]) -> Vec<(usize, Option<String>)> {
        let mut lines = Lines::default();
        let pieces = pieces.iter().copied().chain([&b""[..]]);
        let fed = pieces.flat_map(|piece| lines.feed(piece));
        fed.map(|(number, line)| (number, line.ok())).collect()
    }

    #[test]
    fn input_is_taken_apart_into_numbered_lines_wherever_its_pieces_end() {
        let line = |number: usize, text: &str| (number, Some(text.to_owned()));
        assert_eq!(
            fed(&[b"one\ntw", b"o\n\n  \nfive"]),
            [line(1, "one"), line(2, "two"), line(5, "five")]
        );
        assert_eq!(fed(&[b"one\n"]), [line(1, "one")]);
        assert_eq!(fed(&[]), []);
        // Half a character at the end of a piece.
        assert_eq!(fed(&[b"\xc3", b"\xa4\n\xff\nx"]), [line(1, "ä"), (2, None), line(3, "x")]);
    }

    #[test]
    fn a_line_may_be_as_long_as_a_message_and_no_longer() {
        let fits = vec![b'x'; TEXT_BYTES_MAX];
        let text = String::from_utf8(fits.clone()).unwrap();
        assert_eq!(
            fed(&[&fits[..9], &fits[9..], b"\ny"]),
            [(1, Some(text)), (2, Some("y".into()))]
        );
        assert_eq!(fed(&[&fits, b"x\ny"]), [(1, None), (2, Some("y".into()))]);
    }
}
