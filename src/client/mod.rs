//! The client: commands in, events out.
//!
//! A text is on this disk before anything else happens to it; what is shown is on this disk before
//! it is shown. A front end holds a [`Client`] and a receiver of [`Event`]s.
//!
//! Inside: `calls` is what front ends ask of a conversation; `core` is the profile and everything
//! that may be done to it, each change one transaction. Its chapters: `outbox` with `sealing`,
//! `answers`, `rows`; `inbox` with `judging`, `taking`, `hearing`; `actions`, `notes`, `reads` and
//! `forget` for what is no text; `contacts`, `settings`, `presence`, `search`, `views`. `sender` is
//! where one chat's appends stand; `session` is one connection's life; `run` keeps a session going,
//! `handover` takes it to another edge. `files` is the rows of files and `transfers` what moves
//! their bytes; `pictures` and `file_names` are pure: what is done to a file before it is sent, and
//! what others may call one.

pub mod account;
mod actions;
mod answers;
pub mod api;
pub mod backup;
mod calls;
mod connection;
mod contacts;
mod core;
pub mod file_names;
mod files;
mod forget;
mod group_log;
mod groups;
mod handover;
mod hearing;
mod inbox;
mod judging;
pub mod keys;
mod notes;
mod outbox;
pub mod password;
pub mod pictures;
mod presence;
pub mod probe;
pub mod profile;
mod reads;
mod rows;
mod run;
mod sealing;
mod search;
mod sender;
mod session;
mod settings;
mod store;
mod taking;
#[cfg(test)]
mod tests;
mod transfers;
mod views;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use api::{
    AccountChange, AccountSettings, ActionError, Author, Cancelled, ChatChange, ChatSettings,
    ChatView, Contact, ContactView, Direction, Draft, Event, FileDraft, FileError, FileView, Form,
    GroupChange, GroupCommand, GroupDone, GroupError, GroupView, InviteView, JoinState, KeyView,
    Line, LocalId, MemberView, MessageState, MessageView, Notify, Offline, OwnKeysView,
    PictureChoice, ReactionView, Refusal, ReplyView, RequestError, Role, SendError, Standing,
    StatusView, TransferFailure, TransferPolicy, TransferState, TransferView, Trouble, Trust,
    WhoView, WireId,
};
pub use profile::{Profile, ProfileError, Unlocked};
pub use transfers::SaveTo;

use crate::net::Env;
use crate::types::{ChatName, UserName};

use self::core::{Core, SharedCore};
use run::Link;
use session::Request;
use views::Note;

/// What a client does besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stay connected, send, and read the inbox.
    SendAndReceive,
    /// Stay connected and send; leave the inbox alone.
    SendOnly,
    /// Never connect: history and lists only.
    Offline,
}

/// A running client. Cheap to clone; the last one dropped stops it.
#[derive(Clone)]
pub struct Client {
    core: SharedCore,
    link: Arc<Link>,
    mode: Mode,
    requests: mpsc::Sender<Request>,
}

impl Client {
    /// Starts connecting (unless [`Mode::Offline`]) and returns at once.
    pub fn start(env: &Env, profile: Unlocked, mode: Mode) -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let core = SharedCore::new(Core::new(env.clone(), profile, events));
        core.keep_forgetting(env);
        core.lock().note_earlier_files();
        let link = Arc::new(Link::new(env.unix_ms()));
        if mode != Mode::Offline {
            env.spawn(run::run(env.clone(), core.clone(), mode, Arc::clone(&link), incoming));
            let heard = requests.downgrade();
            env.spawn(transfers::carry(env.clone(), core.clone(), Arc::clone(&link), heard));
        }
        (Self { core, link, mode, requests }, receiver)
    }

    fn poke(&self, request: Request) {
        // Full: there is plenty that makes the session look. Gone: there is no session.
        let _ = self.requests.try_send(request);
    }

    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, RequestError>>) -> Request,
    ) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.answered(request(reply), answer).await
    }

    async fn answered<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        self.requests.send(request).await.map_err(|_| RequestError::Offline)?;
        match timeout(REQUEST_PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RequestError::Offline),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    /// Takes a text: when this returns it is on this disk, and goes out at the next contact.
    ///
    /// # Errors
    /// [`SendError`]; nothing was stored then.
    pub fn send_text(&self, to: &ChatName, text: &str) -> Result<LocalId, SendError> {
        let id = self.core.lock().queue_text(to, text)?;
        self.poke(Request::Look);
        Ok(id)
    }

    /// Takes back an own message that is not known to be sent.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn cancel(&self, id: LocalId) -> Result<Cancelled, RequestError> {
        let done = self.core.lock().cancel(id)?;
        self.poke(Request::Look);
        Ok(done)
    }

    /// Tries everything that waits now instead of after its pause. Returns how many messages wait.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn retry(&self) -> Result<usize, RequestError> {
        let waiting = self.core.lock().waiting_count()?;
        self.poke(Request::Hurry);
        Ok(waiting)
    }

    /// One own message as it stands.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn message(&self, id: LocalId) -> Result<Option<MessageView>, RequestError> {
        Ok(match self.core.lock().line(id)? {
            Some(Line::Message(message)) => Some(message),
            Some(Line::Trouble { .. } | Line::Membership { .. }) | None => None,
        })
    }

    /// Takes up to `max` lines that were never shown, oldest first, and notes that they are being
    /// shown. Show them, flush, then call [`Self::mark_shown`]; killed in between, they come again
    /// with `again` set.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn take_unshown(&self, max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().unshown(max, Note::BeingShown)?)
    }

    /// As [`Self::take_unshown`], of one chat: for `recv --from`.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn take_unshown_of(&self, chat: &ChatName, max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().unshown_of(chat, max)?)
    }

    /// As [`Self::take_unshown`], without noting anything: for `recv --peek`.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn peek_unshown(&self, max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().unshown(max, Note::Nothing)?)
    }

    /// The number of the newest line, if there is one.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn last_line(&self) -> Result<Option<LocalId>, RequestError> {
        Ok(self.core.lock().last_line()?)
    }

    /// Lines of others, and troubles, that came after the line `id`, oldest first: for a second
    /// reader, who notes nothing.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn lines_after(&self, id: LocalId, max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().lines_after(id, max)?)
    }

    /// These lines are on the screen or in the pipe.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn mark_shown(&self, ids: &[LocalId]) -> Result<(), RequestError> {
        Ok(self.core.lock().shown(ids)?)
    }

    /// The last `max` lines of a chat, oldest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn history(&self, chat: &ChatName, max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(self.core.lock().history(chat, max)?)
    }

    /// All chats, newest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn chats(&self) -> Result<Vec<ChatView>, RequestError> {
        Ok(self.core.lock().chats()?)
    }

    /// Where the client stands.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn status(&self) -> Result<StatusView, RequestError> {
        let mut status = self.core.lock().status()?;
        (status.connected, status.offline_since_unix_ms) = self.link.state();
        Ok(status)
    }

    /// Who is online, or everybody.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn who(&self, all: bool) -> Result<WhoView, RequestError> {
        self.ask(|reply| Request::Who { all, reply }).await
    }

    /// Makes sure that the person exists and that their key is pinned.
    ///
    /// # Errors
    /// [`RequestError`]; `NO_SUCH_USER` when there is nobody of that name.
    pub async fn look_up(&self, user: &UserName) -> Result<Trust, RequestError> {
        self.ask(|reply| Request::LookUp { user: user.clone(), reply }).await?;
        Ok(self.core.lock().person(user)?.map_or(Trust::Unknown, contacts::Person::trust))
    }

    /// The safety number with a person, if their key is known here.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn known_key(&self, user: &UserName) -> Result<Option<KeyView>, RequestError> {
        Ok(self.core.lock().key_view(user)?)
    }

    /// The safety number with a person; looks their key up when it is not known yet.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn key_of(&self, user: &UserName) -> Result<KeyView, RequestError> {
        if let Some(view) = self.core.lock().key_view(user)? {
            return Ok(view);
        }
        self.look_up(user).await?;
        self.core.lock().key_view(user)?.ok_or(RequestError::BadBundle)
    }

    /// The person compared the safety numbers: the key now seen is verified (and accepted).
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn mark_verified(&self, user: &UserName) -> Result<(), RequestError> {
        self.core.lock().set_verified(user)?;
        self.poke(Request::Look);
        Ok(())
    }

    /// Accepts a changed key; what waits for that person is sealed to it and sent.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn accept_key(&self, user: &UserName) -> Result<(), RequestError> {
        self.core.lock().accept_changed_key(user)?;
        self.poke(Request::Look);
        Ok(())
    }

    /// Accepts somebody who wrote first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn accept(&self, user: &UserName) -> Result<(), RequestError> {
        self.core.lock().set_contact(user, Contact::Accepted)?;
        self.poke(Request::Follow);
        Ok(())
    }

    /// Blocks or unblocks a person, here and at one's home.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn block(&self, user: &UserName, blocked: bool) -> Result<(), RequestError> {
        self.ask(|reply| Request::Block { user: user.clone(), blocked, reply }).await?;
        let contact = if blocked { Contact::Blocked } else { Contact::Accepted };
        Ok(self.core.lock().set_contact(user, contact)?)
    }

    /// Ends the session at the home and stops. The profile stays.
    ///
    /// # Errors
    /// [`RequestError`]; the client has stopped all the same.
    pub async fn log_out(&self) -> Result<(), RequestError> {
        self.ask(|reply| Request::LogOut { reply }).await
    }

    /// Sends what the server should still know (the cursor), closes the connection, releases the
    /// profile.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Stop { reply }).await.is_ok() {
            let _ = timeout(REQUEST_PATIENCE, answer).await;
        }
    }
}

const EVENTS_MAX: usize = 4_096;
const REQUESTS_MAX: usize = 256;
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
