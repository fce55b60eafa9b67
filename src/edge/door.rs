//! The door of a home: requests of an edge come in, answers and pushes go out.
//!
//! The own edge and the edges of other servers enter by the same door, so a request is read in
//! one place. Passwords are proven beside the ordered way, and so is what needs the files of blobs:
//! 50 ms of bcrypt, or a slow disk, hold nobody else up.

mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::read::{Asked, Proof, ProofKind, read};
use super::answer;
use super::passwords::{Change, PasswordError, Passwords, SignUp};
use crate::home::blobs::{BlobAsk, Blobs};
use crate::home::{
    Call, Caller, HomeGone, HomeHandle, HomeRequest, HomeStats, Output, Takeover, Target,
};
use crate::limits::Limits;
use crate::net::Env;
use crate::ops::meters::AuthFailure;
use crate::types::{DeviceId, ServerId, SessionEpoch, SessionId};
use crate::wire::Code;
use crate::wire::client::{Done, ServerFrame, server_frame};
use crate::wire::peer::Forward;

/// Answers of the password pool, and about blobs, that may wait for one edge.
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
    /// Also those about blobs.
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
