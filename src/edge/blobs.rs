//! What a client asks about blobs: judged for form, and passed on to the blob's home.

use tokio::time::Instant;

use super::Edge;
use super::state::{Pending, State};
use crate::blob::Shape;
use crate::types::{BlobId, UserName};
use crate::wire::client::{ClientFrame, client_frame::Body};

impl State {
    /// A request about a blob: one's own lies at one's own home, any other at its owner's.
    pub(super) fn of_blob(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        let (id, owner) = match &frame.body {
            Some(Body::BeginBlob(ask)) => {
                let shape = BlobId::from_bytes(&ask.blob_id)
                    .map(|id| Shape::of(&id, ask.size, &ask.hashes));
                if let Some(Err(error)) = shape {
                    return self.malformed(rid, &error.to_string(), edge.limits(), now);
                }
                (&ask.blob_id, None)
            }
            Some(Body::CommitBlob(ask)) => (&ask.blob_id, None),
            Some(Body::DropBlob(ask)) => (&ask.blob_id, None),
            Some(Body::GetBlob(ask)) => (&ask.blob_id, Some(&ask.owner)),
            Some(_) | None => return,
        };
        if BlobId::from_bytes(id).is_none() {
            return self.malformed(rid, "the id of a blob has 32 bytes", edge.limits(), now);
        }
        match owner {
            None => self.ask_own_home(edge, frame, Pending::Plain),
            Some(owner) => {
                let Ok(owner) = UserName::canonical(owner) else {
                    return self.malformed(rid, "not a user name", edge.limits(), now);
                };
                let Some(home) = edge.router().home_of_user(&owner).cloned() else { return };
                self.ask(edge, &home, frame, Pending::Plain);
            }
        }
    }
}
