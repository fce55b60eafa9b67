//! A chunk's stream passed on to the home on another server, piece by piece.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::wish::Wish;
use super::{StreamFault, home_down, say, unreadable};
use crate::edge::router::PeerChunks;
use crate::limits::{CHUNK_ANSWER_DEADLINE, CHUNK_BYTES_MAX, CHUNK_BYTES_PER_S_MIN};
use crate::net::chunk::{ChunkReader, ChunkWriteError, ChunkWriter, read_head};
use crate::net::endpoint::close;
use crate::net::stream::ReadError;
use crate::types::{ServerId, UserName};
use crate::wire::Code;
use crate::wire::client::{ChunkAnswer, ChunkAsk};
use crate::wire::peer::ChunkForward;

/// A question on its way.
pub(super) struct Relay<'a> {
    pub(super) way: &'a PeerChunks,
    pub(super) home: &'a ServerId,
    pub(super) user: &'a UserName,
    pub(super) patience: Duration,
}

/// What came of handing on what the client sends.
enum Upload {
    /// All of it is on its way.
    Done,
    /// The client broke off or the rules.
    Client(ReadError),
    /// The home wants no more of it, or is gone.
    Home,
}

impl Relay<'_> {
    /// Asks the home and passes its answer on.
    pub(super) async fn run(
        &self,
        ask: ChunkAsk,
        wish: &Wish,
        mut reader: ChunkReader,
        writer: ChunkWriter,
    ) -> Result<(), StreamFault> {
        // In turn, so that nobody's chunks keep those of others waiting for ever.
        let Ok(_place) = self.way.places.acquire().await else {
            return say(writer, &home_down(self.home)).await;
        };
        let Ok((send, recv)) = self.way.conn.open_bi().await else {
            return say(writer, &home_down(self.home)).await;
        };
        // The home is given more time than the client: whoever is too slow is told here.
        let mut to_home = ChunkWriter::new(send, self.patience * 2);
        let head = ChunkForward { user: self.user.to_string(), ask: Some(ask) };
        let told = to_home.head(&head).await;
        let mut answer = pin!(read_head::<ChunkAnswer>(recv, self.patience + self.longest(wish)));
        let answered = match (told, wish) {
            (Err(_), _) => answer.await,
            (Ok(()), Wish::Get { .. }) => {
                to_home.finish();
                answer.await
            }
            (Ok(()), Wish::Put { length, .. }) => {
                reader.expect(*length);
                let sent = tokio::select! {
                    biased;
                    answered = &mut answer => Err(answered),
                    sent = upload(&mut reader, &mut to_home) => Ok(sent),
                };
                match sent {
                    // It did not want to wait for the rest.
                    Err(answered) => {
                        to_home.reset(Code::RetryLater);
                        answered
                    }
                    Ok(Upload::Client(error)) => {
                        to_home.reset(error.code().unwrap_or(Code::RetryLater));
                        reader.stop(error.code().unwrap_or(Code::Malformed));
                        return Err(unreadable(writer, &error).await);
                    }
                    Ok(sent @ (Upload::Done | Upload::Home)) => {
                        match sent {
                            Upload::Done => to_home.finish(),
                            // Ended in order, it would be a chunk shorter than announced.
                            Upload::Client(_) | Upload::Home => to_home.reset(Code::RetryLater),
                        }
                        let answered = timeout(CHUNK_ANSWER_DEADLINE, answer).await;
                        answered.unwrap_or(Err(ReadError::Timeout))
                    }
                }
            }
        };
        match answered {
            Ok((answer, from_home)) => self.pass_on(answer, from_home, wish, writer).await,
            Err(error) => {
                if matches!(error, ReadError::Frame(_)) {
                    self.nonsense();
                }
                say(writer, &home_down(self.home)).await
            }
        }
    }

    /// How long the home may have to wait for the whole question, and for its own disk.
    fn longest(&self, wish: &Wish) -> Duration {
        match wish {
            Wish::Put { length, .. } => {
                Duration::from_secs(*length as u64 / CHUNK_BYTES_PER_S_MIN) + CHUNK_ANSWER_DEADLINE
            }
            Wish::Get { .. } => CHUNK_ANSWER_DEADLINE,
        }
    }

    async fn pass_on(
        &self,
        answer: ChunkAnswer,
        mut from_home: ChunkReader,
        wish: &Wish,
        mut writer: ChunkWriter,
    ) -> Result<(), StreamFault> {
        let length = usize::try_from(answer.length).unwrap_or(usize::MAX);
        let most = match wish {
            Wish::Get { .. } if answer.code == 0 => CHUNK_BYTES_MAX,
            Wish::Get { .. } | Wish::Put { .. } => 0,
        };
        if length > most {
            self.nonsense();
            return say(writer, &home_down(self.home)).await;
        }
        writer.head(&answer).await?;
        from_home.expect(length);
        loop {
            match from_home.pieces().await {
                Ok(Some(mut pieces)) => writer.pieces(&mut pieces).await?,
                Ok(None) => break,
                Err(error) => {
                    if matches!(error, ReadError::Frame(_)) {
                        self.nonsense();
                    }
                    writer.reset(Code::HomeDown);
                    return Err(StreamFault::Gone);
                }
            }
        }
        Ok(writer.end().await?)
    }

    /// No honest server says that: the link begins anew.
    fn nonsense(&self) {
        tracing::warn!(home = %self.home, "a chunk was answered with nonsense");
        close(&self.way.conn, Code::Malformed, "a chunk was answered with nonsense");
    }
}

async fn upload(reader: &mut ChunkReader, to_home: &mut ChunkWriter) -> Upload {
    loop {
        match reader.pieces().await {
            Ok(Some(mut pieces)) => match to_home.pieces(&mut pieces).await {
                Ok(()) => {}
                Err(ChunkWriteError::Timeout | ChunkWriteError::Lost(_)) => return Upload::Home,
            },
            Ok(None) => return Upload::Done,
            Err(error) => return Upload::Client(error),
        }
    }
}
