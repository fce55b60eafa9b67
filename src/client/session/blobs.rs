//! Requests about blobs, and what the servers say to them.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::blob::Shape;
use crate::types::{BlobId, UserName};
use crate::wire::client::{BeginBlob, CommitBlob, DropBlob, GetBlob, client_frame, server_frame};

use super::super::connection::Refused;
use super::answers::Waiting;
use super::{End, Session};

/// What is asked about a blob.
pub(crate) enum BlobAsk {
    /// Begin an upload, or go on with it.
    Begin(BlobId, Shape),
    /// All of it is there.
    Commit(BlobId),
    /// It is of no more use.
    Drop(BlobId),
    /// Whose and which is to be fetched.
    Get(UserName, BlobId),
}

/// What the server says when it does what was asked.
pub(crate) enum BlobReply {
    /// To `Begin`.
    Offer { have: Bytes, committed: bool },
    /// To `Commit` and `Drop`.
    Done,
    /// To `Get`.
    Info { bytes: u64, hashes: Bytes },
}

/// Why it was not done.
pub(crate) enum BlobRefusal {
    /// There is no connection any more, or no answer that makes sense.
    Lost,
    /// A typed answer.
    Refused(Refused),
}

/// What comes back to whoever asked.
pub(crate) type BlobAnswer = Result<BlobReply, BlobRefusal>;

/// A question and where its answer goes.
pub(crate) struct BlobRequest {
    pub(crate) ask: BlobAsk,
    pub(crate) reply: oneshot::Sender<BlobAnswer>,
}

impl BlobRequest {
    pub(super) fn fail(self) {
        let _ = self.reply.send(Err(BlobRefusal::Lost));
    }
}

impl Session<'_> {
    pub(super) fn blob_request(&mut self, request: BlobRequest) -> Result<(), End> {
        let bytes = |id: BlobId| Bytes::copy_from_slice(&id.0);
        let body = match request.ask {
            BlobAsk::Begin(id, shape) => client_frame::Body::BeginBlob(BeginBlob {
                blob_id: bytes(id),
                size: shape.bytes(),
                hashes: shape.hash_bytes().into(),
            }),
            BlobAsk::Commit(id) => {
                client_frame::Body::CommitBlob(CommitBlob { blob_id: bytes(id) })
            }
            BlobAsk::Drop(id) => client_frame::Body::DropBlob(DropBlob { blob_id: bytes(id) }),
            BlobAsk::Get(owner, id) => {
                let owner = owner.to_string();
                client_frame::Body::GetBlob(GetBlob { owner, blob_id: bytes(id) })
            }
        };
        let rid = self.push(body)?;
        self.waiting.insert(rid, Waiting::Blob(request.reply));
        Ok(())
    }
}

pub(super) fn blob_answer(body: server_frame::Body, error: Option<Refused>) -> BlobAnswer {
    match (body, error) {
        (_, Some(refused)) => Err(BlobRefusal::Refused(refused)),
        (server_frame::Body::BlobOffer(offer), None) => {
            Ok(BlobReply::Offer { have: offer.have, committed: offer.committed })
        }
        (server_frame::Body::Done(_), None) => Ok(BlobReply::Done),
        (server_frame::Body::BlobInfo(info), None) => {
            Ok(BlobReply::Info { bytes: info.size, hashes: info.hashes })
        }
        (_, None) => Err(BlobRefusal::Lost),
    }
}
