//! The door of a home: requests of an edge come in, answers and pushes go out.
//!
//! The own edge and the edges of other servers enter by the same door, so a request is read in
//! one place. Passwords are proven beside the ordered way: 50 ms of bcrypt hold nobody else up.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::answer;
use super::passwords::{Change, PasswordError, Passwords, SignUp};
use crate::blob::Shape;
use crate::home::blobs::{BlobAsk, Blobs};
use crate::home::{
    Call, Caller, HomeGone, HomeHandle, HomeRequest, HomeStats, Output, Takeover, Target,
    Visibility,
};
use crate::limits::Limits;
use crate::net::Env;
use crate::ops::meters::AuthFailure;
use crate::types::{
    BlobId, DeviceId, GroupName, LogEpoch, LogName, Seq, ServerId, SessionEpoch, SessionId,
    UserName,
};
use crate::wire::Code;
use crate::wire::client::{self, Done, ServerFrame, client_frame::Body, server_frame};
use crate::wire::peer::Forward;

/// Answers of the password pool that may wait for one edge.
const PASSWORD_ANSWERS_MAX: usize = 64;

/// Why a request did not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// No honest edge sends such a request: it judges what clients send before passing it on.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The home stopped.
    #[error(transparent)]
    HomeGone(#[from] HomeGone),
}

/// The one door of this server's home.
pub struct HomeDoor {
    env: Env,
    server: ServerId,
    home: HomeHandle,
    passwords: Passwords,
}

impl HomeDoor {
    /// A door with its password pool.
    pub fn new(env: &Env, server: ServerId, limits: Arc<Limits>, home: HomeHandle) -> Arc<Self> {
        let passwords = Passwords::new(env, limits, home.clone());
        Arc::new(Self { env: env.clone(), server, home, passwords })
    }

    /// Puts other limits into force: quotas at the home, and the price of guessing.
    pub async fn set_limits(&self, limits: &Limits) {
        self.passwords.set_limits(limits);
        self.home.set_limits(limits.clone()).await;
    }

    /// The blobs of the home behind it: chunks come and go past the ordered way.
    pub fn blobs(&self) -> &Blobs {
        self.home.blobs()
    }

    /// How the home behind it is doing.
    pub fn stats(&self) -> HomeStats {
        self.home.stats()
    }

    /// Attaches an edge; an earlier attachment of the same edge ends.
    pub fn attach(self: &Arc<Self>, edge: ServerId) -> (Inlet, Outlet) {
        let outputs = self.home.attach(edge.clone());
        let (answers, password_answers) = mpsc::channel(PASSWORD_ANSWERS_MAX);
        let over = CancellationToken::new();
        let door = Arc::clone(self);
        let inlet = Inlet { door, edge, answers, over: over.clone(), _over: over.drop_guard() };
        (inlet, Outlet { outputs, password_answers })
    }
}

/// Where one edge's requests enter, in order.
pub struct Inlet {
    door: Arc<HomeDoor>,
    edge: ServerId,
    answers: mpsc::Sender<Output>,
    /// Ends the password checks of this attachment with it: their answers would find a later one.
    over: CancellationToken,
    _over: DropGuard,
}

impl Inlet {
    /// Queues one request at the home, or starts the proof of its password. Waits while the
    /// home's queue is full.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn forward(&self, forward: Forward) -> Result<(), DoorError> {
        match read(forward)? {
            Asked::Home(call) => self.door.home.call(&self.edge, call).await?,
            Asked::Perhaps(call) => self.door.home.offer(&self.edge, call),
            Asked::Blob(from, rid, ask) => self.ask_blob(from, rid, ask),
            Asked::Password(proof) => {
                let (door, edge) = (Arc::clone(&self.door), self.edge.clone());
                let (answers, over) = (self.answers.clone(), self.over.clone());
                self.door.env.spawn(over.run_until_cancelled_owned(async move {
                    let to = Target { sid: proof.from.sid, open_id: 0 };
                    let rid = proof.rid;
                    let frame = match door.prove(&edge, proof).await {
                        Ok(Proven::Passed) => None,
                        Ok(Proven::DoneBefore) => {
                            Some(answer::frame(rid, server_frame::Body::Done(Done::default())))
                        }
                        Err(error) => {
                            door.env.meters().auth_failed(reason(&error));
                            Some(password_answer(rid, &door.server, error))
                        }
                    };
                    if let Some(frame) = frame {
                        let _ = answers.send(Output { to: vec![to], frame }).await;
                    }
                }));
            }
        }
        Ok(())
    }

    /// Not ended with the attachment, as the proofs are: what was begun is brought to its end, and
    /// only its answer is lost.
    fn ask_blob(&self, from: Caller, rid: u64, ask: BlobAsk) {
        let (door, edge, answers) =
            (Arc::clone(&self.door), self.edge.clone(), self.answers.clone());
        self.door.env.spawn(async move {
            let to = Target { sid: from.sid, open_id: 0 };
            let frame = match door.home.ask_blob(&edge, from, ask).await {
                Ok(Some(body)) => answer::frame(rid, body),
                Ok(None) => return,
                Err(HomeGone) => answer::home_down(rid, &door.server),
            };
            let _ = answers.send(Output { to: vec![to], frame }).await;
        });
    }

    /// The edge's connection is gone.
    ///
    /// # Errors
    /// [`DoorError::HomeGone`].
    pub async fn detach(&self, sid: SessionId) -> Result<(), DoorError> {
        let from = Caller { sid, user: None, device: DeviceId(0), session_epoch: SessionEpoch(0) };
        let call = Call { from, rid: 0, request: HomeRequest::Detach };
        Ok(self.door.home.call(&self.edge, call).await?)
    }
}

/// Where answers and pushes for one edge come out.
pub struct Outlet {
    outputs: mpsc::Receiver<Output>,
    password_answers: mpsc::Receiver<Output>,
}

impl Outlet {
    /// The next output; `None` when the home ended this attachment. Cancel-safe.
    pub async fn next(&mut self) -> Option<Output> {
        tokio::select! {
            biased;
            output = self.outputs.recv() => output,
            Some(answer) = self.password_answers.recv() => Some(answer),
        }
    }

    /// The next output that is there already.
    pub fn try_next(&mut self) -> Option<Output> {
        self.outputs.try_recv().or_else(|_| self.password_answers.try_recv()).ok()
    }
}

impl HomeDoor {
    async fn prove(&self, edge: &ServerId, proof: Proof) -> Result<Proven, PasswordError> {
        let Proof { from, rid, user, device, auth_key, visibility, kind } = proof;
        let request = match kind {
            ProofKind::Login { takeover } => {
                self.passwords.login(&user, auth_key).await?;
                HomeRequest::Login { user, device, takeover, visibility }
            }
            ProofKind::SignUp { bundle } => {
                match self.passwords.sign_up(&user, auth_key, &bundle).await? {
                    SignUp::New { verifier } => {
                        HomeRequest::SignUp { user, verifier, bundle, device, visibility }
                    }
                    SignUp::Again => {
                        let takeover = Takeover::Ask;
                        HomeRequest::Login { user, device, takeover, visibility }
                    }
                }
            }
            ProofKind::Change { new } => match self.passwords.change(&user, auth_key, new).await? {
                Change::New { proven, verifier } => {
                    HomeRequest::ChangePassword { proven, verifier }
                }
                Change::Again => return Ok(Proven::DoneBefore),
            },
            ProofKind::Deletion => {
                let proven = self.passwords.proven(&user, auth_key).await?;
                HomeRequest::DeleteAccount { proven }
            }
        };
        self.home.call(edge, Call { from, rid, request }).await?;
        Ok(Proven::Passed)
    }
}

/// What became of a request whose password is proven.
enum Proven {
    /// The home answers.
    Passed,
    /// There was nothing left to do.
    DoneBefore,
}

fn reason(error: &PasswordError) -> AuthFailure {
    match error {
        PasswordError::Wrong => AuthFailure::Password,
        PasswordError::NoSuchUser => AuthFailure::NoSuchUser,
        PasswordError::NameTaken => AuthFailure::NameTaken,
        PasswordError::SlowDown(_) => AuthFailure::TooFast,
        PasswordError::Busy(_) => AuthFailure::Busy,
        PasswordError::HomeGone(_) | PasswordError::Internal => AuthFailure::Other,
    }
}

fn password_answer(rid: u64, home: &ServerId, error: PasswordError) -> ServerFrame {
    let detail = error.to_string();
    match error {
        PasswordError::Wrong => answer::error(rid, Code::WrongPassword, detail),
        PasswordError::NoSuchUser => answer::error(rid, Code::NoSuchUser, detail),
        PasswordError::NameTaken => answer::error(rid, Code::NameTaken, detail),
        PasswordError::SlowDown(after) => answer::error_later(rid, Code::SlowDown, after, detail),
        PasswordError::Busy(after) => answer::error_later(rid, Code::Busy, after, detail),
        PasswordError::HomeGone(_) => answer::home_down(rid, home),
        PasswordError::Internal => {
            tracing::error!("bcrypt failed");
            answer::error(rid, Code::Internal, detail)
        }
    }
}

/// What a forwarded frame asks for.
enum Asked {
    Home(Call),
    /// May be lost, and must not wait.
    Perhaps(Call),
    Password(Proof),
    /// Beside the ordered way, for files are slow.
    Blob(Caller, u64, BlobAsk),
}

/// A password to prove before the home is asked.
struct Proof {
    from: Caller,
    rid: u64,
    user: UserName,
    device: DeviceId,
    auth_key: Zeroizing<String>,
    visibility: Visibility,
    kind: ProofKind,
}

enum ProofKind {
    SignUp { bundle: bytes::Bytes },
    Login { takeover: Takeover },
    Change { new: Zeroizing<String> },
    Deletion,
}

fn visibility(invisible: bool) -> Visibility {
    if invisible { Visibility::Invisible } else { Visibility::Visible }
}

fn user_name(text: &str) -> Result<UserName, DoorError> {
    UserName::canonical(text).map_err(|_| DoorError::Malformed("not a user name"))
}

fn blob_id(bytes: &[u8]) -> Result<BlobId, DoorError> {
    BlobId::from_bytes(bytes).ok_or(DoorError::Malformed("not the id of a blob"))
}

fn group_name(text: &str) -> Result<GroupName, DoorError> {
    GroupName::canonical(text).map_err(|_| DoorError::Malformed("not a group name"))
}

fn log_name(text: &str) -> Result<LogName, DoorError> {
    LogName::canonical(text).map_err(|_| DoorError::Malformed("not a log name"))
}

/// Turns a forwarded client frame into what the home is asked.
fn read(forward: Forward) -> Result<Asked, DoorError> {
    let user = match forward.user.as_str() {
        "" => None,
        name => Some(user_name(name)?),
    };
    let from = Caller {
        sid: SessionId(forward.sid),
        user,
        device: DeviceId(forward.device),
        session_epoch: SessionEpoch(forward.session_epoch),
    };
    let frame = forward.frame.ok_or(DoorError::Malformed("no frame"))?;
    let rid = frame.rid;
    let request = match frame.body.ok_or(DoorError::Malformed("no request"))? {
        Body::Hello(_) => return Err(DoorError::Malformed("a greeting is not for homes")),
        Body::SignUp(client::SignUp { user, auth_key, ticket: _, bundle, device, invisible }) => {
            return Ok(Asked::Password(Proof {
                from,
                rid,
                user: user_name(&user)?,
                device: DeviceId(device),
                auth_key: Zeroizing::new(auth_key),
                visibility: visibility(invisible),
                kind: ProofKind::SignUp { bundle },
            }));
        }
        Body::Login(client::Login { user, auth_key, ticket: _, device, takeover, invisible }) => {
            let takeover = if takeover { Takeover::Replace } else { Takeover::Ask };
            return Ok(Asked::Password(Proof {
                from,
                rid,
                user: user_name(&user)?,
                device: DeviceId(device),
                auth_key: Zeroizing::new(auth_key),
                visibility: visibility(invisible),
                kind: ProofKind::Login { takeover },
            }));
        }
        Body::ChangePassword(client::ChangePassword { old_auth_key, new_auth_key }) => {
            let kind = ProofKind::Change { new: Zeroizing::new(new_auth_key) };
            return own_proof(from, rid, old_auth_key, kind);
        }
        Body::DeleteAccount(client::DeleteAccount { auth_key }) => {
            return own_proof(from, rid, auth_key, ProofKind::Deletion);
        }
        Body::SetPresence(ask) => {
            HomeRequest::SetPresence { visibility: visibility(ask.invisible) }
        }
        Body::Typing(ask) => {
            let request = if ask.group.is_empty() {
                HomeRequest::Typing { to: user_name(&ask.user)? }
            } else {
                match log_name(&ask.group)? {
                    LogName::Group(group) => HomeRequest::TypingIn { group },
                    LogName::Inbox(_) => return Err(DoorError::Malformed("not a group")),
                }
            };
            return Ok(Asked::Perhaps(Call { from, rid, request }));
        }
        Body::Change(ask) => {
            HomeRequest::Change { group: group_name(&ask.group)?, operation: ask.operation }
        }
        Body::GetRoster(ask) => {
            HomeRequest::GetRoster { group: group_name(&ask.group)?, after: ask.after }
        }
        Body::JoinAsk(ask) => HomeRequest::JoinAsk { group: group_name(&ask.group)? },
        Body::JoinProof(ask) => HomeRequest::JoinProof {
            group: group_name(&ask.group)?,
            invite: ask.invite,
            signature: ask.signature,
        },
        Body::BeginBlob(ask) => {
            let shape = Shape::of(&blob_id(&ask.blob_id)?, ask.size, &ask.hashes)
                .map_err(|_| DoorError::Malformed("not the hashes of a blob"))?;
            return Ok(Asked::Blob(from, rid, BlobAsk::Begin(shape)));
        }
        Body::CommitBlob(ask) => {
            return Ok(Asked::Blob(from, rid, BlobAsk::Commit(blob_id(&ask.blob_id)?)));
        }
        Body::DropBlob(ask) => {
            return Ok(Asked::Blob(from, rid, BlobAsk::Drop(blob_id(&ask.blob_id)?)));
        }
        Body::GetBlob(ask) => {
            let (owner, id) = (user_name(&ask.owner)?, blob_id(&ask.blob_id)?);
            return Ok(Asked::Blob(from, rid, BlobAsk::Get { owner, id }));
        }
        Body::LookUp(ask) => HomeRequest::LookUp { user: user_name(&ask.user)? },
        Body::Resume(ask) => HomeRequest::Resume {
            user: user_name(&ask.user)?,
            device: DeviceId(ask.device),
            count: ask.count,
            signature: ask.signature,
            visibility: visibility(ask.invisible),
        },
        Body::Logout(_) => HomeRequest::Logout,
        Body::PutBundle(ask) => HomeRequest::PutBundle { bundle: ask.bundle },
        Body::Who(ask) => HomeRequest::Who { all: ask.all },
        Body::Block(ask) => {
            HomeRequest::Block { user: user_name(&ask.user)?, blocked: ask.blocked }
        }
        Body::Open(ask) => HomeRequest::Open {
            log: log_name(&ask.log)?,
            open_id: ask.open_id,
            epoch: LogEpoch(ask.epoch),
            cursor: Seq(ask.cursor),
            write_only: ask.write_only,
        },
        Body::Append(ask) => HomeRequest::Append {
            log: log_name(&ask.log)?,
            open_id: ask.open_id,
            epoch: LogEpoch(ask.epoch),
            envelope: ask.envelope,
        },
        Body::Cursor(ask) => HomeRequest::Cursor {
            log: log_name(&ask.log)?,
            open_id: ask.open_id,
            epoch: LogEpoch(ask.epoch),
            upto: Seq(ask.upto),
        },
    };
    Ok(Asked::Home(Call { from, rid, request }))
}

/// The proof of the caller's own password. That they hold the session is for the home to say.
fn own_proof(
    from: Caller,
    rid: u64,
    auth_key: String,
    kind: ProofKind,
) -> Result<Asked, DoorError> {
    let user = from.user.clone().ok_or(DoorError::Malformed("nobody is logged in"))?;
    let (device, auth_key) = (from.device, Zeroizing::new(auth_key));
    let visibility = Visibility::Visible;
    Ok(Asked::Password(Proof { from, rid, user, device, auth_key, visibility, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::hash_chunk;
    use crate::home::HomeConfig;
    use crate::placement::{PlacementMap, ServerEntry};
    use crate::types::ClusterId;
    use crate::wire::client::{ClientFrame, Login, Open};

    fn forward(body: Option<Body>) -> Forward {
        let frame = Some(ClientFrame { rid: 9, optional: false, body });
        Forward { sid: 3, user: "alice".into(), device: 7, session_epoch: 2, frame }
    }

    #[test]
    fn a_request_keeps_its_caller_and_its_rid() {
        let open = Open { log: "@bob".into(), open_id: 1, cursor: 5, ..Open::default() };
        let Ok(Asked::Home(call)) = read(forward(Some(Body::Open(open)))) else {
            panic!("not a call");
        };
        assert_eq!(call.rid, 9);
        assert_eq!(call.from.sid, SessionId(3));
        assert_eq!(call.from.user, Some(UserName::canonical("alice").unwrap()));
        assert_eq!((call.from.device, call.from.session_epoch), (DeviceId(7), SessionEpoch(2)));
        assert!(matches!(call.request, HomeRequest::Open { open_id: 1, cursor: Seq(5), .. }));
    }

    #[test]
    fn a_password_is_proven_before_the_home_is_asked() {
        let login = Login { user: "alice".into(), takeover: true, ..Login::default() };
        let asked = read(forward(Some(Body::Login(login))));
        let Ok(Asked::Password(proof)) = asked else { panic!("went past the password") };
        assert!(matches!(proof.kind, ProofKind::Login { takeover: Takeover::Replace }));
    }

    /// Id, size and hashes of a blob of one chunk.
    fn begin() -> client::BeginBlob {
        let shape = Shape::made(9, vec![hash_chunk(b"some bytes")]).unwrap();
        client::BeginBlob {
            blob_id: shape.id().0.to_vec().into(),
            size: shape.bytes(),
            hashes: shape.hash_bytes().into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_about_blobs_is_answered_by_rid_past_the_ordered_way() {
        let folder = tempfile::tempdir().unwrap();
        let (env, database) = (Env::system_for_tests(), folder.path().join("s1.db"));
        let (s1, cluster) = (ServerId::numbered(1), ClusterId([7; 32]));
        let entry = ServerEntry {
            id: s1.clone(),
            addr: ([127, 0, 0, 1], 0).into(),
            peer_addr: ([127, 0, 0, 1], 0).into(),
            spki_sha256: String::new(),
        };
        let map = Arc::new(PlacementMap::deal(vec![entry], String::new()));
        crate::home::create(&env, &database, &s1, &cluster, &map.slots_of(&s1)).unwrap();
        let limits = Arc::new(Limits::default());
        let server = s1.clone();
        let config = HomeConfig { database, server, cluster, map, limits: Arc::clone(&limits) };
        let home = HomeHandle::open(&env, config).unwrap();
        let door = HomeDoor::new(&env, s1.clone(), limits, home.clone());
        let (inlet, mut outlet) = door.attach(s1);
        let blob_id = begin().blob_id;
        let get = client::GetBlob { owner: "bob".into(), blob_id: blob_id.clone() };
        for (body, code) in [
            // The writer knows nobody of that name.
            (Body::BeginBlob(begin()), Code::NoSuchUser),
            (Body::CommitBlob(client::CommitBlob { blob_id: blob_id.clone() }), Code::NoSuchUser),
            (Body::DropBlob(client::DropBlob { blob_id }), Code::NoSuchUser),
            (Body::GetBlob(get), Code::NoSuchBlob),
        ] {
            inlet.forward(forward(Some(body))).await.unwrap();
            let output = outlet.next().await.unwrap();
            let Some(server_frame::Body::Error(error)) = output.frame.body else {
                panic!("no error");
            };
            assert_eq!((error.code, output.frame.rid), (code as u32, 9));
            assert_eq!(output.to, [Target { sid: SessionId(3), open_id: 0 }]);
        }
        home.stop().await;
        inlet.forward(forward(Some(Body::BeginBlob(begin())))).await.unwrap();
        // Whichever comes first: that the home is gone, or that this attachment is over.
        if let Some(output) = outlet.next().await {
            let Some(server_frame::Body::Error(error)) = output.frame.body else {
                panic!("no error");
            };
            assert_eq!(error.code, Code::HomeDown as u32);
        }
    }

    #[test]
    fn what_no_honest_edge_sends_is_malformed() {
        for bad in [
            forward(None),
            forward(Some(Body::Hello(client::Hello::default()))),
            forward(Some(Body::LookUp(client::LookUp { user: "A!".into() }))),
            forward(Some(Body::Open(Open { log: "bob".into(), ..Open::default() }))),
            forward(Some(Body::BeginBlob(client::BeginBlob { size: 0, ..begin() }))),
            forward(Some(Body::BeginBlob(client::BeginBlob { size: 1 << 40, ..begin() }))),
            forward(Some(Body::BeginBlob(client::BeginBlob {
                hashes: vec![0; 32].into(),
                ..begin()
            }))),
            forward(Some(Body::CommitBlob(client::CommitBlob { blob_id: vec![0; 31].into() }))),
            forward(Some(Body::GetBlob(client::GetBlob {
                owner: "../alice".into(),
                blob_id: begin().blob_id,
            }))),
            Forward { user: "../x".into(), ..forward(Some(Body::Logout(client::Logout {}))) },
            Forward::default(),
        ] {
            assert!(matches!(read(bad), Err(DoorError::Malformed(_))));
        }
    }
}
