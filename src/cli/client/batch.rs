//! Messages on their way for one command: what is known of each, and what that means together.

use std::collections::BTreeMap;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Duration, Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{
    Client, Draft, Event, FileDraft, LocalId, MessageState, MessageView, Offline, TransferState,
};
use crate::types::{ChatName, UserName};
use crate::ui::line::TrustPolicy;
use crate::ui::say;
use crate::ui::text::{clean_line, nearest};
use crate::wire::Code;

use super::args::Goal;
use super::files::{self, take_file};
use super::json::{Own, Record};
use super::progress::Progress;
use super::report::{Form, Outcome, Stop, code_word};
use super::send::take;
use super::{Context, failures};

/// An event that was lost is made up for by looking again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The messages of a command.
pub(super) struct Batch<'a> {
    context: &'a Context,
    client: &'a Client,
    goal: Goal,
    expire: Option<Duration>,
    /// Not settled yet, in order of their numbers.
    open: BTreeMap<LocalId, ChatName>,
    /// Settled, or not even taken.
    good: usize,
    bad: Vec<Stop>,
    kept: Vec<LocalId>,
    /// Why it takes long, by recipient, and for all.
    why: BTreeMap<ChatName, String>,
    why_all: Option<String>,
    /// Several messages: each is reported for itself.
    total: usize,
    /// To be printed.
    lines: Vec<Settled>,
    /// How far files are, and what people are told of it.
    files: BTreeMap<LocalId, u64>,
    progress: Progress,
}

/// Whether a file came further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Further,
    Same,
}

/// What became of a message.
enum Settled {
    Good(MessageView),
    Refused(MessageView, Stop),
    /// Not there yet when time was up, or not to be waited for.
    Kept(MessageView, Stop),
    NotTaken {
        to: ChatName,
        line: Option<usize>,
        stop: Stop,
    },
}

impl<'a> Batch<'a> {
    pub(super) fn new(context: &'a Context, client: &'a Client, goal: Goal) -> Self {
        Self {
            context,
            client,
            goal,
            expire: None,
            open: BTreeMap::new(),
            good: 0,
            bad: Vec::new(),
            kept: Vec::new(),
            why: BTreeMap::new(),
            why_all: None,
            total: 0,
            lines: Vec::new(),
            files: BTreeMap::new(),
            progress: Progress::new(&context.report),
        }
    }

    /// Both sides are to forget the messages so long after they were read.
    pub(super) fn expire(&mut self, after: Option<Duration>) {
        self.expire = after;
    }

    /// Takes a message; `line`: the line of the input that it came from.
    pub(super) fn take(&mut self, to: &ChatName, text: &str, line: Option<usize>) {
        let draft = Draft { expire: self.expire, ..Draft::text(text) };
        match take(self.client, self.context.globals.trust, to, &draft) {
            Ok(id) => {
                self.total += 1;
                self.open.insert(id, to.clone());
            }
            Err(stop) => self.not_taken(to, stop, line),
        }
    }

    /// Takes a file: reads it to its end.
    pub(super) async fn take_file(&mut self, to: &ChatName, draft: FileDraft) {
        let draft = FileDraft { expire: self.expire, ..draft };
        match take_file(self.client, self.context.globals.trust, to, draft).await {
            Ok(id) => self.adopt(id, to.clone()),
            Err(stop) => self.not_taken(to, stop, None),
        }
    }

    /// Follows a message that was taken before, whose file goes on now.
    pub(super) fn adopt(&mut self, id: LocalId, to: ChatName) {
        self.total += 1;
        self.files.insert(id, 0);
        self.open.insert(id, to);
    }

    /// Whether there was anything to follow.
    pub(super) fn has_any(&self) -> bool {
        self.total > 0
    }

    /// Notes one that could not be taken.
    pub(super) fn not_taken(&mut self, to: &ChatName, stop: Stop, line: Option<usize>) {
        self.total += 1;
        self.lines.push(Settled::NotTaken { to: to.clone(), line, stop });
    }

    /// Follows what happens until at most `left` are open, or time is up for those that are.
    pub(super) async fn settle(
        &mut self,
        events: &mut Receiver<Event>,
        left: usize,
    ) -> Result<(), Stop> {
        let mut deadline = Instant::now() + self.context.globals.timeout;
        if self.open.len() > left {
            self.look()?;
        }
        self.print().await?;
        while self.open.len() > left {
            let now = Instant::now();
            if now >= deadline {
                self.look()?;
                self.give_up()?;
                break;
            }
            match timeout_at(deadline.min(now + LOOK_AGAIN), events.recv()).await {
                Ok(Some(event)) => {
                    if self.heard(&event).await? == Pace::Further {
                        deadline = Instant::now() + self.context.globals.timeout;
                    }
                }
                Ok(None) => {
                    self.why_all = Some("The client stopped by itself.".into());
                    self.give_up()?;
                }
                Err(_) => self.look()?,
            }
            self.print().await?;
        }
        self.print().await
    }

    /// Takes in what happened, and tells what is settled by it.
    pub(super) async fn follow(&mut self, event: &Event) -> Result<(), Stop> {
        self.heard(event).await?;
        self.print().await
    }

    /// Looks at all that are open.
    fn look(&mut self) -> Result<(), Stop> {
        let ids: Vec<LocalId> = self.open.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.look_at(id))
    }

    fn look_at(&mut self, id: LocalId) -> Result<(), Stop> {
        let Some(to) = self.open.get(&id) else { return Ok(()) };
        let message = self.client.message(id).map_err(|error| failures::request(&error, None))?;
        let Some(message) = message else { return Ok(()) };
        if let Some(stop) = self.file_failure(&message) {
            self.open.remove(&id);
            self.lines.push(Settled::Refused(message, stop));
            return Ok(());
        }
        let settled = match &message.state {
            Some(MessageState::Sent) if self.goal == Goal::Sent => Settled::Good(message),
            Some(MessageState::Delivered) if self.goal <= Goal::Delivered => Settled::Good(message),
            Some(MessageState::Read) => Settled::Good(message),
            Some(MessageState::Refused(refusal)) => {
                let mut stop = failures::refusal(*refusal, to);
                if stop.failure.exit == Exit::NotFound {
                    stop.failure.remedy = did_you_mean(self.client, to);
                }
                Settled::Refused(message, stop)
            }
            Some(MessageState::Cancelled) => {
                let stop = Stop::new(Exit::Refused, format!("Message {id} was cancelled."), "");
                Settled::Refused(message, stop)
            }
            Some(
                MessageState::Uploading
                | MessageState::Waiting
                | MessageState::Pending
                | MessageState::Sent
                | MessageState::Delivered,
            )
            | None => return Ok(()),
        };
        self.open.remove(&id);
        self.lines.push(settled);
        Ok(())
    }

    /// Why the file of a message will not go any further.
    fn file_failure(&self, message: &MessageView) -> Option<Stop> {
        let TransferState::Failed(failure) = message.file.as_ref()?.transfer else { return None };
        let view = self.client.transfer(message.id).ok().flatten()?;
        Some(failures::transfer(failure, &view))
    }

    /// Why the command ends now, when a file is not through: what becomes of that.
    pub(super) fn uploading(&mut self) -> Option<Stop> {
        self.progress.rest();
        let mut open = self.open.keys();
        let view = open.find_map(|id| {
            let message = self.client.message(*id).ok().flatten()?;
            let is_up = message.state == Some(MessageState::Uploading);
            self.client.transfer(*id).ok().flatten().filter(|_| is_up)
        })?;
        let holds = self.context.held.is_some();
        Some(files::kept(&view, Exit::Interrupted, "Interrupted.", holds))
    }

    /// Time is up for all that are open.
    fn give_up(&mut self) -> Result<(), Stop> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().try_for_each(|(id, to)| {
            let why = self.why.get(&to).or(self.why_all.as_ref()).cloned();
            let why = why.unwrap_or_else(|| "There was no answer in time.".into());
            self.keep(id, Exit::Unreachable, &why)
        })
    }

    /// There is no use in waiting for what is open, of one person or of all.
    fn stop_waiting(
        &mut self,
        whose: Option<&ChatName>,
        exit: Exit,
        why: &str,
    ) -> Result<(), Stop> {
        let ids: Vec<LocalId> = self
            .open
            .iter()
            .filter(|(_, to)| whose.is_none_or(|whose| whose == *to))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().try_for_each(|id| {
            self.open.remove(&id);
            self.keep(id, exit, why)
        })
    }

    fn keep(&mut self, id: LocalId, exit: Exit, why: &str) -> Result<(), Stop> {
        let message = self.client.message(id).map_err(|error| failures::request(&error, None))?;
        let Some(message) = message else { return Ok(()) };
        let is_sent = matches!(message.state, Some(MessageState::Sent | MessageState::Delivered));
        let upload = match message.state {
            Some(MessageState::Uploading) => self.client.transfer(id).ok().flatten(),
            _ => None,
        };
        let stop = match upload {
            _ if is_sent => self.no_receipt(&message),
            Some(view) => files::kept(&view, exit, why, self.context.held.is_some()),
            None => kept(id, exit, why),
        };
        self.lines.push(Settled::Kept(message, stop));
        Ok(())
    }

    fn no_receipt(&self, message: &MessageView) -> Stop {
        let waited = match self.goal {
            Goal::Sent | Goal::Delivered => "was not delivered to",
            Goal::Read => "was not read by",
        };
        Stop::new(
            Exit::NothingArrived,
            format!(
                "Message {} is sent, but {waited} {} in time: do not send it again.",
                message.id, message.chat
            ),
            "It is there for them; its state: client history WHO --json",
        )
    }

    /// Notes what an event says about what is open. Who waits is patient with a file as long as it
    /// comes further.
    async fn heard(&mut self, event: &Event) -> Result<Pace, Stop> {
        match event {
            Event::State { id, .. } => {
                self.look_at(*id)?;
                // Its bytes are there, and its message goes out now.
                let is_open = self.open.contains_key(id);
                return Ok(if is_open { Pace::Further } else { Pace::Same });
            }
            Event::Transfer { view } if self.open.contains_key(&view.id) => {
                self.progress.heard(view).await?;
                self.look_at(view.id)?;
                if let TransferState::Waiting(Some(code)) = view.state {
                    let why = say::code(code, None, "", 0).what;
                    self.why.insert(view.chat.clone(), why);
                }
                let done = self.files.entry(view.id).or_default();
                let further = view.done_bytes > *done;
                *done = view.done_bytes;
                return Ok(if further { Pace::Further } else { Pace::Same });
            }
            Event::ChatWaits { chat, code, detail } => {
                let why = say::code(*code, Some(chat), detail, 0).what;
                if *code == Code::MailboxFull {
                    self.stop_waiting(Some(chat), Exit::Refused, &why)?;
                }
                self.why.insert(chat.clone(), why);
            }
            Event::Offline { reason: Offline::WrongCluster } => {
                self.stop_waiting(None, Exit::KeyRefused, &say::wrong_cluster().what)?;
            }
            Event::Offline { reason } => {
                let server = self.client.status().map(|status| status.balancer);
                let server = server.unwrap_or_else(|_| "the server".to_owned());
                self.why_all = Some(format!("Cannot reach {server} ({}).", say::offline(reason)));
            }
            Event::KeyChanged { user } => self.key_changed(user)?,
            Event::SignedOut { code } => {
                let why = say::code(*code, None, "", 0).what;
                self.stop_waiting(None, Exit::NotSignedIn, &why)?;
            }
            Event::SessionReplaced => {
                let why = say::code(Code::SessionReplaced, None, "", 0).what;
                self.stop_waiting(None, Exit::NotSignedIn, &why)?;
            }
            Event::LocalData { error } => {
                return Err(Stop::told(Exit::LocalData, say::local_data(error)));
            }
            Event::RolledBack => self.context.report.notice(&say::rolled_back().line()),
            Event::Online { .. }
            | Event::Edited { .. }
            | Event::Deleted { .. }
            | Event::Reacted { .. }
            | Event::Expired { .. }
            | Event::Typing { .. }
            | Event::Presence { .. }
            | Event::Lines
            | Event::CaughtUp
            | Event::Request { .. }
            | Event::Group { .. }
            | Event::Transfer { .. }
            | Event::WasAlreadySent { .. } => {}
        }
        Ok(Pace::Same)
    }

    fn key_changed(&mut self, user: &UserName) -> Result<(), Stop> {
        let chat = &ChatName::from(user.clone());
        if !self.open.values().any(|to| to == chat) {
            return Ok(());
        }
        if self.context.globals.trust == TrustPolicy::Always {
            let accepted = self.client.accept_key(user);
            return accepted.map_err(|error| failures::request(&error, Some(user)));
        }
        let before = self.lines.len();
        self.stop_waiting(Some(chat), Exit::KeyRefused, &say::key_changed(user).what)?;
        for settled in self.lines.iter_mut().skip(before) {
            if let Settled::Kept(_, stop) = settled {
                stop.failure.remedy = failures::changed_key_remedy(user);
            }
        }
        Ok(())
    }

    /// Reports what is settled: data for each, and for several messages also why not.
    async fn print(&mut self) -> Result<(), Stop> {
        if !self.lines.is_empty() {
            self.progress.rest();
        }
        for settled in std::mem::take(&mut self.lines) {
            let report = &self.context.report;
            match settled {
                Settled::Good(message) => {
                    self.good += 1;
                    let state = match self.goal {
                        Goal::Sent => "sent",
                        Goal::Delivered => "delivered",
                        Goal::Read => "read",
                    };
                    let what = message.file.as_ref().map(|file| clean_line(&file.name) + " ");
                    let what = what.unwrap_or_default();
                    let text = || match self.goal {
                        Goal::Read => format!("{what}read by {}: {}", message.chat, message.id),
                        Goal::Sent | Goal::Delivered => {
                            format!("{what}{state} to {} as {}", message.chat, message.id)
                        }
                    };
                    report.data(&Record::Sent(Own::new(&message)), text).await?;
                }
                Settled::Refused(message, stop) => {
                    if self.total > 1 && report.form == Form::Json {
                        report.data(&Record::Refused(Own::new(&message)), String::new).await?;
                    }
                    self.failed(stop, None);
                }
                Settled::Kept(message, stop) => {
                    self.kept.push(message.id);
                    if self.total > 1 && report.form == Form::Json {
                        report.data(&Record::Waiting(Own::new(&message)), String::new).await?;
                    }
                    self.failed(stop, None);
                }
                Settled::NotTaken { to, line, stop } => {
                    if report.form == Form::Json && (self.total > 1 || line.is_some()) {
                        let record = Record::NotTaken {
                            to: &to.to_string(),
                            line: line.map(|line| line.to_string()),
                            code: code_word(stop.failure.exit),
                            text: &stop.failure.what,
                        };
                        report.data(&record, String::new).await?;
                    }
                    self.failed(stop, line);
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, stop: Stop, line: Option<usize>) {
        if self.total > 1 && self.context.report.form == Form::Text {
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            self.context.report.io.err(&format!("{line}{}", stop.failure.what));
        }
        self.bad.push(stop);
    }

    /// How the command ends.
    pub(super) fn outcome(mut self) -> Outcome {
        let Some(first) = self.bad.first() else { return Ok(Exit::Done) };
        if self.total == 1 {
            return Err(self.bad.remove(0));
        }
        let all_alike = self.bad.iter().all(|stop| stop.failure.exit == first.failure.exit);
        let exit = if self.good == 0 && all_alike { first.failure.exit } else { Exit::Partly };
        let failed = self.bad.len() - self.kept.len();
        let mut stop = Stop::new(
            exit,
            format!(
                "{} {}, {} not yet and kept on the way (do not send those again), {failed} not sent.",
                self.good,
                match self.goal {
                    Goal::Sent => "sent",
                    Goal::Delivered => "delivered",
                    Goal::Read => "read",
                },
                self.kept.len(),
            ),
            if self.kept.is_empty() {
                ""
            } else {
                "What waits goes first at the next contact: client retry"
            },
        );
        stop.kept = self.kept.first().copied();
        Err(stop)
    }
}

fn kept(id: LocalId, exit: Exit, why: &str) -> Stop {
    let remedy = match exit {
        Exit::NotSignedIn => "Sign in again: client login     Then: client retry".to_owned(),
        _other => format!("Now: client retry     Take it back: client cancel {id}"),
    };
    let what = format!(
        "{why} The message is kept as {id} and goes first at the next contact: do not send it again."
    );
    let mut stop = Stop::new(exit, what, remedy);
    stop.kept = Some(id);
    stop
}

fn did_you_mean(client: &Client, to: &ChatName) -> String {
    let chats = client.chats().unwrap_or_default();
    let others: Vec<String> =
        chats.iter().filter(|chat| chat.chat != *to).map(|chat| chat.chat.to_string()).collect();
    nearest(&to.to_string(), others.iter().map(String::as_str))
        .map_or_else(|| "See how it is spelt.".to_owned(), |near| format!("Did you mean {near}?"))
}
