//! The chunks of one session: a few at a time, until the session ends.

use tokio::time::Instant;

use super::relay::Relay;
use super::wish::Wish;
use super::{StreamFault, home, home_down, patience, refusal, say, unreadable};
use crate::edge::Edge;
use crate::edge::router::{ChunkWay, Port};
use crate::edge::session::Session;
use crate::limits;
use crate::net::Several;
use crate::net::chunk::{ChunkWriter, read_head};
use crate::types::UserName;
use crate::wire::Code;
use crate::wire::client::{ChunkAnswer, ChunkAsk};

impl Session {
    /// Serves the streams that a logged-in client opens beside its session, for as long as it is
    /// polled. More than [`limits::CHUNKS_AT_ONCE`] wait unread.
    pub(in crate::edge) async fn chunks(&self, edge: &Edge, conn: &quinn::Connection) {
        self.logged_in().await;
        let mut running = Several::default();
        loop {
            tokio::select! {
                biased;
                () = running.next() => {}
                stream = conn.accept_bi(), if running.len() < limits::CHUNKS_AT_ONCE => {
                    match stream {
                        Ok((send, recv)) => running.push(self.chunk(edge, send, recv)),
                        // The connection is gone: the reader of the session knows why.
                        Err(_) => return std::future::pending().await,
                    }
                }
            }
        }
    }

    async fn chunk(&self, edge: &Edge, send: quinn::SendStream, recv: quinn::RecvStream) {
        match self.serve_chunk(edge, send, recv).await {
            Ok(()) | Err(StreamFault::Gone) => {}
            Err(StreamFault::Broken(code)) => self.change(|state| {
                state.chunk_fault(code, edge.limits(), Instant::now());
            }),
        }
    }

    async fn serve_chunk(
        &self,
        edge: &Edge,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
    ) -> Result<(), StreamFault> {
        let patience = patience(edge.limits());
        let writer = ChunkWriter::new(send, patience);
        let (ask, mut reader) = match read_head::<ChunkAsk>(recv, patience).await {
            Ok(read) => read,
            Err(error) => return Err(unreadable(writer, &error).await),
        };
        let wish = match Wish::read(&ask) {
            Ok(wish) => wish,
            Err(error) => {
                let code = error.code();
                reader.stop(code);
                say(writer, &refusal(code, error.to_string())).await?;
                return Err(StreamFault::Broken(code));
            }
        };
        let (user, counted) =
            self.change(|state| (state.user(), state.count_chunk(Instant::now())));
        let Some(user) = user else {
            return say(writer, &refusal(Code::BadState, "nobody is logged in")).await;
        };
        if let Err(after) = counted {
            edge.env.meters().rate_limited();
            let retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1);
            reader.stop(Code::SlowDown);
            let slower = refusal(Code::SlowDown, "too many chunks");
            return say(writer, &ChunkAnswer { retry_after_ms, ..slower }).await;
        }
        let owner: &UserName = match &wish {
            Wish::Put { .. } => &user,
            Wish::Get { owner, .. } => owner,
        };
        let Some(at) = edge.router().home_of_user(owner) else { return Err(StreamFault::Gone) };
        match edge.router().port(at).and_then(Port::chunks) {
            None => {
                reader.stop(Code::HomeDown);
                say(writer, &home_down(at)).await
            }
            Some(ChunkWay::Local(blobs)) => home::answer(&blobs, &user, wish, reader, writer).await,
            Some(ChunkWay::Peer(way)) => {
                let relay = Relay { way: &way, home: at, user: &user, patience };
                relay.run(ask, &wish, reader, writer).await
            }
        }
    }
}
