//! A forwarded frame becomes what the home is asked, by the way that its kind takes.

use zeroize::Zeroizing;

use super::DoorError;
use crate::blob::Shape;
use crate::home::blobs::BlobAsk;
use crate::home::{Call, Caller, HomeRequest, Takeover, Visibility};
use crate::types::{
    BlobId, DeviceId, GroupName, LogEpoch, LogName, Seq, SessionEpoch, SessionId, UserName,
};
use crate::wire::client::{self, client_frame::Body};
use crate::wire::peer::Forward;

/// What a forwarded frame asks for.
pub(super) enum Asked {
    Home(Call),
    /// May be lost, and must not wait.
    Perhaps(Call),
    Password(Proof),
    /// Beside the ordered way, for files are slow.
    Blob(Caller, u64, BlobAsk),
}

/// A password to prove before the home is asked.
pub(super) struct Proof {
    pub(super) from: Caller,
    pub(super) rid: u64,
    pub(super) user: UserName,
    pub(super) device: DeviceId,
    pub(super) auth_key: Zeroizing<String>,
    pub(super) visibility: Visibility,
    pub(super) kind: ProofKind,
}

pub(super) enum ProofKind {
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
pub(super) fn read(forward: Forward) -> Result<Asked, DoorError> {
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
