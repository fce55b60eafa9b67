//! What an edge asks of a home, and what a home sends back: plain values, no behaviour.

use bytes::Bytes;

use crate::types::{
    BlobId, DeviceId, GroupName, LogEpoch, LogName, Seq, SessionEpoch, SessionId, UserName,
};
use crate::wire::client::{ServerFrame, server_frame};

/// Who asks, as the edge that holds the connection vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The edge's number of the connection.
    pub sid: SessionId,
    /// Who is logged in there; `None` before login.
    pub user: Option<UserName>,
    /// The device that is logged in; 0 before login.
    pub device: DeviceId,
    /// As given by the user's home in `Welcome`; 0 before login.
    pub session_epoch: SessionEpoch,
}

/// One request of one connection.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks.
    pub from: Caller,
    /// Echoed in the answer; 0 for Open, Append and Cursor, which are answered by log and open id.
    pub rid: u64,
    /// What is asked.
    pub request: HomeRequest,
}

/// Whether a login may replace the live session of another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// No: answer `ALREADY_LOGGED_IN`, so that the person can be asked.
    Ask,
    /// Yes: the person agreed.
    Replace,
}

/// Whether a session is listed as online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Yes.
    #[default]
    Visible,
    /// No.
    Invisible,
}

/// Everything an edge can ask of a home.
///
/// Answered by `rid`: `LookUp` by `Account`; `SignUp`, `Login`, `Resume` by `Welcome`; `Logout`,
/// `PutBundle`, `Block`, `ChangePassword`, `DeleteAccount`, `SetPresence` by `Done`; `Who` by
/// `WhoList`; `Change` by `Changed`, `GetRoster` by `Roster`, `JoinAsk` by `JoinOffer`, `JoinProof`
/// by `Done`; `BeginBlob` by `BlobOffer`, `CommitBlob` and `DropBlob` by `Done`; each of them else
/// by `Error`. Answered by
/// log and open id: `Open` by `Opened` or `Refused{n: 0}`, `Append` by `Appended` or `Refused`.
/// `Cursor`, `Typing`, `TypingIn` and `Detach` have no answer.
#[derive(Clone, Debug)]
pub enum HomeRequest {
    /// The key bundle of an account. Needs no login.
    LookUp {
        /// Whose.
        user: UserName,
    },
    /// Makes an account and logs its first device in.
    ///
    /// Repeated with the same bundle it is a login: whoever passes it on has proven the password
    /// against [`super::HomeHandle::verifier`] when the account was there already.
    SignUp {
        /// The name wanted.
        user: UserName,
        /// bcrypt hash of the auth key.
        verifier: String,
        /// Encoded `SignedBundle` of version 1 in which `device` is active.
        bundle: Bytes,
        /// The first device.
        device: DeviceId,
        /// Of the session.
        visibility: Visibility,
    },
    /// Begins a session. The password is already proven.
    Login {
        /// Who.
        user: UserName,
        /// With which device; it need not be in the bundle yet.
        device: DeviceId,
        /// What to do about a live session of another device.
        takeover: Takeover,
        /// Of the session.
        visibility: Visibility,
    },
    /// Begins a session by the device key alone. The signature names the edge that asks.
    Resume {
        /// Who.
        user: UserName,
        /// With which device; active in the current bundle.
        device: DeviceId,
        /// Greater than any used before by this device.
        count: u64,
        /// Ed25519 over the claim.
        signature: Bytes,
        /// Of the session.
        visibility: Visibility,
    },
    /// Ends the caller's session.
    Logout,
    /// A new version of the caller's own bundle.
    PutBundle {
        /// Encoded `SignedBundle`.
        bundle: Bytes,
    },
    /// Takes another verifier. The old password is already proven.
    ChangePassword {
        /// The verifier it was proven against; another one by now: `BUSY`, to prove it again.
        proven: String,
        /// bcrypt hash of the new auth key.
        verifier: String,
    },
    /// Has the account deleted when the grace period ends. The password is already proven.
    DeleteAccount {
        /// The verifier it was proven against.
        proven: String,
    },
    /// How the caller's session wants to be seen.
    SetPresence {
        /// As what.
        visibility: Visibility,
    },
    /// The caller is writing to somebody of this home. May be lost.
    Typing {
        /// To whom.
        to: UserName,
    },
    /// The caller is writing in a group of this home. May be lost.
    TypingIn {
        /// Where.
        group: GroupName,
    },
    /// Hands in one operation of a group.
    Change {
        /// Of which.
        group: GroupName,
        /// Encoded `SignedOperation`.
        operation: Bytes,
    },
    /// A page of a group's operations.
    GetRoster {
        /// Of which.
        group: GroupName,
        /// Number of the last one known; 0: from the first.
        after: u64,
    },
    /// Asks for a nonce over which an invitation can be proven.
    JoinAsk {
        /// To which group.
        group: GroupName,
    },
    /// Proves an invitation.
    JoinProof {
        /// To which group.
        group: GroupName,
        /// Its public key.
        invite: Bytes,
        /// By it, over the last nonce of this connection.
        signature: Bytes,
    },
    /// The users of this home.
    Who {
        /// Also those who are not connected.
        all: bool,
    },
    /// Stops or allows mail from somebody into the caller's inbox.
    Block {
        /// From whom.
        user: UserName,
        /// `true`: stop it.
        blocked: bool,
    },
    /// Attaches the connection to a log.
    Open {
        /// Which.
        log: LogName,
        /// Echoed in everything that belongs to this Open.
        open_id: u32,
        /// The epoch the client knows; 0: none.
        epoch: LogEpoch,
        /// Highest `seq` safe on the client's disk; counts for the caller's own inbox and groups.
        cursor: Seq,
        /// Of a group: nothing is pushed and no cursor moves.
        write_only: bool,
    },
    /// Appends one envelope.
    Append {
        /// To which log.
        log: LogName,
        /// Echoed in the answer.
        open_id: u32,
        /// The epoch learned by Open.
        epoch: LogEpoch,
        /// Encoded `Envelope`.
        envelope: Bytes,
    },
    /// Everything up to `upto` is safe on the client's disk.
    Cursor {
        /// Of which log: the caller's own inbox, or a group.
        log: LogName,
        /// The Open it belongs to; another one's is ignored.
        open_id: u32,
        /// The epoch of the log; another one's is ignored.
        epoch: LogEpoch,
        /// Cumulative.
        upto: Seq,
    },
    /// Begins an upload of the caller, or goes on with one: makes or refreshes its row.
    BeginBlob {
        /// Of which blob.
        id: BlobId,
        /// Its sealed bytes.
        bytes: u64,
        /// Its file lies there as a committed one does.
        lies_whole: bool,
    },
    /// Notes that an upload of the caller is a blob from here on.
    CommitBlob {
        /// Which.
        id: BlobId,
        /// All of it was just brought to disk. If not, it is only asked whether it was before.
        is_safe: bool,
    },
    /// Forgets a blob or an upload of the caller.
    DropBlob {
        /// Which.
        id: BlobId,
    },
    /// The connection is gone: its session and its opens end.
    Detach,
}

/// One of the connections an [`Output`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The edge's number of the connection.
    pub sid: SessionId,
    /// Goes into the frame in place of its own; 0 for frames without one.
    pub open_id: u32,
}

/// One answer or push, for one or more connections of one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// For whom.
    pub to: Vec<Target>,
    /// What. `open_id` of `Entry`, `Delivered`, `Online` and `Closed` is the target's, whatever
    /// stands here.
    pub frame: ServerFrame,
}

impl Output {
    /// A frame for one connection.
    pub(super) fn one(target: Target, rid: u64, body: server_frame::Body) -> Self {
        Self { to: vec![target], frame: ServerFrame { rid, optional: false, body: Some(body) } }
    }
}

/// What the password pool needs to know of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredVerifier {
    /// bcrypt hash of the auth key.
    pub hash: String,
    /// The current bundle: a sign-up repeated with the same bytes is not a taken name.
    pub bundle: Bytes,
}

impl std::fmt::Debug for StoredVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hash: _, bundle } = self;
        f.debug_struct("StoredVerifier").field("bundle_bytes", &bundle.len()).finish()
    }
}

/// How a home is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeStats {
    /// Live sessions of this home's users, at whatever edge.
    pub sessions: u64,
    /// Requests that wait for the writer.
    pub queue: u64,
    /// Bytes of the database file and its log.
    pub database_bytes: u64,
    /// Bytes of its users' blobs and begun uploads, beside the database.
    pub blob_bytes: u64,
}

/// The home does not answer any more: it was stopped, or it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this server's home has stopped")]
pub struct HomeGone;

/// Why a home stopped by itself. The process must end at once: nothing that was not answered may
/// be believed, and a failed fsync is never retried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeFailure {
    /// The database could not be written or read.
    #[error("the database failed: {0}")]
    Storage(String),
    /// What was read is not what was written. The operator restores a backup.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A bug of ours: the writer panicked.
    #[error("the writer panicked")]
    Panicked,
}
