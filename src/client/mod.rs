//! The client: commands in, events out.
//!
//! A text is on this disk before anything else happens to it; what is shown is on this disk before
//! it is shown. A front end holds a [`Client`] and a receiver of [`Event`]s.

pub mod account;
pub mod api;
pub mod profile;

use tokio::sync::mpsc;

pub use api::{
    Author, Cancelled, ChatView, Contact, Event, KeyView, Line, LocalId, MessageState, MessageView,
    Offline, Refusal, RequestError, SendError, StatusView, Trouble, Trust, WhoView, WireId,
};
pub use profile::{Profile, ProfileError, Unlocked};

use crate::net::Env;
use crate::types::UserName;

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
pub struct Client {}

impl Client {
    /// Starts connecting (unless [`Mode::Offline`]) and returns at once.
    pub fn start(_env: &Env, _profile: Unlocked, _mode: Mode) -> (Self, mpsc::Receiver<Event>) {
        let (_events, receiver) = mpsc::channel(1);
        (Self {}, receiver)
    }

    /// Takes a text: when this returns it is on this disk, and goes out at the next contact.
    ///
    /// # Errors
    /// [`SendError`]; nothing was stored then.
    pub fn send_text(&self, _to: &UserName, _text: &str) -> Result<LocalId, SendError> {
        Err(SendError::Empty)
    }

    /// Takes back an own message that is not known to be sent.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn cancel(&self, _id: LocalId) -> Result<Cancelled, RequestError> {
        Ok(Cancelled::NoSuchMessage)
    }

    /// Tries everything that waits now instead of after its pause. Returns how many messages wait.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn retry(&self) -> Result<usize, RequestError> {
        Ok(0)
    }

    /// One own message as it stands.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn message(&self, _id: LocalId) -> Result<Option<MessageView>, RequestError> {
        Ok(None)
    }

    /// Takes up to `max` lines that were never shown, oldest first, and notes that they are being
    /// shown. Show them, flush, then call [`Self::mark_shown`]; killed in between, they come again
    /// with `again` set.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn take_unshown(&self, _max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(Vec::new())
    }

    /// As [`Self::take_unshown`], of one chat: for `recv --from`.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn take_unshown_of(
        &self,
        _chat: &UserName,
        _max: usize,
    ) -> Result<Vec<Line>, RequestError> {
        Ok(Vec::new())
    }

    /// As [`Self::take_unshown`], without noting anything: for `recv --peek`.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn peek_unshown(&self, _max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(Vec::new())
    }

    /// These lines are on the screen or in the pipe.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn mark_shown(&self, _ids: &[LocalId]) -> Result<(), RequestError> {
        Ok(())
    }

    /// The last `max` lines of a chat, oldest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn history(&self, _chat: &UserName, _max: usize) -> Result<Vec<Line>, RequestError> {
        Ok(Vec::new())
    }

    /// All chats, newest first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn chats(&self) -> Result<Vec<ChatView>, RequestError> {
        Ok(Vec::new())
    }

    /// Where the client stands.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn status(&self) -> Result<StatusView, RequestError> {
        Err(RequestError::Offline)
    }

    /// Who is online, or everybody.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn who(&self, _all: bool) -> Result<WhoView, RequestError> {
        Err(RequestError::Offline)
    }

    /// Makes sure that the person exists and that their key is pinned.
    ///
    /// # Errors
    /// [`RequestError`]; `NO_SUCH_USER` when there is nobody of that name.
    pub async fn look_up(&self, _user: &UserName) -> Result<Trust, RequestError> {
        Err(RequestError::Offline)
    }

    /// The safety number with a person; looks their key up when it is not known yet.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn key_of(&self, _user: &UserName) -> Result<KeyView, RequestError> {
        Err(RequestError::Offline)
    }

    /// The person compared the safety numbers: the key now seen is verified (and accepted).
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn mark_verified(&self, _user: &UserName) -> Result<(), RequestError> {
        Ok(())
    }

    /// Accepts a changed key; what waits for that person is sealed to it and sent.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn accept_key(&self, _user: &UserName) -> Result<(), RequestError> {
        Ok(())
    }

    /// Accepts somebody who wrote first.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn accept(&self, _user: &UserName) -> Result<(), RequestError> {
        Ok(())
    }

    /// Blocks or unblocks a person, here and at one's home.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn block(&self, _user: &UserName, _blocked: bool) -> Result<(), RequestError> {
        Err(RequestError::Offline)
    }

    /// Ends the session at the home and stops. The profile stays.
    ///
    /// # Errors
    /// [`RequestError`]; the client has stopped all the same.
    pub async fn log_out(&self) -> Result<(), RequestError> {
        Err(RequestError::Offline)
    }

    /// Sends what the server should still know (the cursor), closes the connection, releases the
    /// profile.
    pub async fn stop(&self) {}
}
