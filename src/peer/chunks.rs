//! The streams beside a link: chunks that another server's edge passes on for its clients.

use std::time::Duration;

use super::serve::{Fault, LOST, UNEXPECTED};
use crate::edge::Edge;
use crate::edge::chunks::{StreamFault, Wish, home};
use crate::home::blobs::Blobs;
use crate::net::Several;
use crate::net::chunk::{ChunkWriter, read_head};
use crate::net::stream::ReadError;
use crate::types::UserName;
use crate::wire::Code;
use crate::wire::peer::ChunkForward;

/// Serves chunks until the peer breaks the rules or is gone; QUIC bounds how many at once.
pub(super) async fn serve(conn: &quinn::Connection, edge: &Edge, blobs: &Blobs) -> Fault {
    // Clients of the other server have half of this: they are told by their edge.
    let patience = Duration::from_millis(edge.limits().frame_deadline_ms) * 2;
    let mut running = Several::default();
    loop {
        tokio::select! {
            biased;
            done = running.next() => if let Err(fault) = done {
                return fault;
            },
            stream = conn.accept_bi() => {
                let Ok((send, recv)) = stream else { return LOST };
                let writer = ChunkWriter::new(send, patience);
                running.push(one(blobs.clone(), writer, recv, patience));
            }
        }
    }
}

async fn one(
    blobs: Blobs,
    writer: ChunkWriter,
    recv: quinn::RecvStream,
    patience: Duration,
) -> Result<(), Fault> {
    let (forward, reader) = match read_head::<ChunkForward>(recv, patience).await {
        Ok(read) => read,
        Err(ReadError::Frame(_)) => return Err(UNEXPECTED),
        // Its client went, or the link is slow.
        Err(ReadError::Timeout | ReadError::Lost(_)) => return Ok(()),
    };
    let user = UserName::canonical(&forward.user).map_err(|_| UNEXPECTED)?;
    let ask = forward.ask.ok_or(UNEXPECTED)?;
    let wish = Wish::read(&ask).map_err(|_| UNEXPECTED)?;
    match home::answer(&blobs, &user, wish, reader, writer).await {
        Ok(()) | Err(StreamFault::Gone | StreamFault::Broken(Code::Timeout)) => Ok(()),
        Err(StreamFault::Broken(code)) => Err((code, "not the chunk that was announced")),
    }
}
