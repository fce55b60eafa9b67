//! What a front end sees of the client: views, events and errors. No behaviour.
//!
//! A front end learns of things by [`Event`], reads them by calls on [`super::Client`], and never
//! touches a connection or a database. Line client, one-shot commands and tests are peers.

mod errors;
mod event;
mod files;
mod groups;
mod message;
mod people;
mod settings;

pub use errors::{ActionError, Cancelled, RequestError, SendError};
pub use event::{Event, Offline};
pub use files::{
    Direction, FileDraft, FileError, FileView, PictureChoice, TransferFailure, TransferPolicy,
    TransferState, TransferView,
};
pub use groups::{
    GroupChange, GroupCommand, GroupDone, GroupError, GroupView, InviteView, JoinState, MemberView,
    Role, Standing,
};
pub use message::{
    Author, Draft, Form, Line, LocalId, MessageState, MessageView, ReactionView, Refusal,
    ReplyView, Trouble, WireId,
};
pub use people::{
    ChatView, Contact, ContactView, KeyView, OwnKeysView, StatusView, Trust, WhoView,
};
pub use settings::{AccountChange, AccountSettings, ChatChange, ChatSettings, Notify};
