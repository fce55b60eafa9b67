//! One session stream: reads frames into the [`State`], writes what comes out of it.
//!
//! Reading and writing are two halves of one task, so that a client that does not read is not
//! kept from being heard, nor the other way round. Decides nothing itself.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::limits;
use crate::net::endpoint::raise_after_login;
use crate::net::stream::ReadError;
use crate::net::{FrameReader, FrameWriter};
use crate::types::{ServerId, SessionId};
use crate::wire::Code;
use crate::wire::client::{ClientFrame, ServerFrame, client_frame, server_frame};
use crate::wire::frame::FrameError;

use super::datagram::Fate;
use super::state::{Conduct, End, State};
use super::{Edge, lock};

/// Bytes handed to the connection at once.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// How a session stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// We ended it.
    Ended(End),
    /// The connection is lost.
    Gone,
}

/// A session as the rest of the edge reaches it.
pub(super) struct Session {
    sid: SessionId,
    state: Mutex<State>,
    wake_reader: Notify,
    wake_writer: Notify,
    /// Told once, when somebody is logged in and has heard so.
    welcomed: Notify,
}

impl Session {
    pub(super) fn new(sid: SessionId, state: State) -> Self {
        let (wake_reader, wake_writer) = (Notify::new(), Notify::new());
        let welcomed = Notify::new();
        Self { sid, state: Mutex::new(state), wake_reader, wake_writer, welcomed }
    }

    pub(super) fn sid(&self) -> SessionId {
        self.sid
    }

    /// Homes that remember this session.
    pub(super) fn touched(&self) -> BTreeSet<ServerId> {
        std::mem::take(&mut lock(&self.state).touched)
    }

    /// What counts against the connection, taken over by its next stream.
    pub(super) fn conduct(&self) -> Conduct {
        std::mem::take(&mut lock(&self.state).conduct)
    }

    /// When a login would have had to be there; `None` after one.
    pub(super) fn login_due(&self) -> Option<Instant> {
        lock(&self.state).login_due()
    }

    /// Changes the state; whatever it wants written is written soon.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = self.look(change);
        self.wake_writer.notify_one();
        done
    }

    /// As [`Self::change`], for the writer itself.
    fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let (done, wake) = {
            let mut state = lock(&self.state);
            let done = look(&mut state);
            (done, state.take_reader_wake())
        };
        if wake {
            self.wake_reader.notify_one();
        }
        done
    }

    /// Serves the stream until it ends.
    pub(super) async fn run(
        &self,
        edge: &Edge,
        conn: &quinn::Connection,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
    ) -> Outcome {
        let frame_deadline = Duration::from_millis(edge.limits().frame_deadline_ms);
        let mut reader = FrameReader::new(recv, limits::FRAME_BYTES_MAX, frame_deadline);
        let mut writer = FrameWriter::new(send, limits::OPERATION_FRAME_BYTES_MAX);
        tokio::select! {
            biased;
            outcome = self.write(edge, conn, &mut writer) => outcome,
            outcome = self.read(edge, &mut reader) => outcome,
            outcome = self.hear(edge, conn) => outcome,
            () = self.chunks(edge, conn) => Outcome::Gone,
        }
    }

    /// Returns once after a login.
    pub(super) async fn logged_in(&self) {
        self.welcomed.notified().await;
    }

    /// Datagrams; before login they are read only to be dropped.
    async fn hear(&self, edge: &Edge, conn: &quinn::Connection) -> Outcome {
        while let Ok(bytes) = conn.read_datagram().await {
            let fate = self.look(|state| state.on_datagram(edge, &bytes, Instant::now()));
            match fate {
                Fate::Passed => {}
                Fate::Dropped => drop(edge.datagrams_dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
        // The connection is gone: the reader knows why.
        std::future::pending().await
    }

    async fn read(&self, edge: &Edge, reader: &mut FrameReader<ClientFrame>) -> Outcome {
        loop {
            let (end, slow, login_due, limit) = self.look(|state| {
                (state.end, state.outbox.is_slow(), state.login_due(), state.frame_limit())
            });
            reader.set_limit(limit);
            if let Some(end) = end {
                // The writer says the last words and returns first, unless nobody listens.
                sleep(limits::LAST_FRAME_DEADLINE * 2).await;
                return Outcome::Ended(end);
            }
            tokio::select! {
                biased;
                () = self.wake_reader.notified() => {}
                () = sleep_until_some(login_due) => self.change(|state| {
                    let code = Code::LoginTimeout;
                    state.close(code, code.fate(), "nobody logged in");
                }),
                read = reader.read(), if !slow => match read {
                    Ok(Some(frame)) if is_too_long(&frame, reader.last_length()) => {
                        let code = Code::FrameTooLarge;
                        self.change(|state| state.close(code, code.fate(), "only an operation"));
                        reader.stop(code);
                    }
                    Ok(Some(frame)) => {
                        self.change(|state| state.on_frame(edge, frame, Instant::now()));
                    }
                    Ok(None) => self.change(State::hang_up),
                    Err(error) => match self.unreadable(edge, &error) {
                        Some(gone) => return gone,
                        None => reader.stop(error.code().unwrap_or(Code::Malformed)),
                    },
                },
            }
        }
    }

    fn unreadable(&self, edge: &Edge, error: &ReadError) -> Option<Outcome> {
        let detail = error.to_string();
        match error {
            ReadError::Lost(_) => return Some(Outcome::Gone),
            ReadError::Timeout => self.change(|state| {
                state.close(Code::Timeout, Code::Timeout.fate(), detail);
            }),
            ReadError::Frame(FrameError::TooLarge { .. }) => self.change(|state| {
                state.close(Code::FrameTooLarge, Code::FrameTooLarge.fate(), detail);
            }),
            ReadError::Frame(FrameError::Malformed) => self.change(|state| {
                state.malformed(0, &detail, edge.limits(), Instant::now());
            }),
        }
        None
    }

    async fn write(
        &self,
        edge: &Edge,
        conn: &quinn::Connection,
        writer: &mut FrameWriter<ServerFrame>,
    ) -> Outcome {
        loop {
            self.fill(edge, conn, writer);
            if writer.buffered_bytes() > 0 {
                if writer.flush().await.is_err() {
                    return Outcome::Gone;
                }
                continue;
            }
            let (end, who_due) = self.look(|state| (state.end, state.who_due()));
            if let Some(end) = end {
                writer.finish();
                let _ = timeout(limits::LAST_FRAME_DEADLINE, writer.wait_delivered()).await;
                return Outcome::Ended(end);
            }
            tokio::select! {
                biased;
                () = self.wake_writer.notified() => {}
                () = sleep_until_some(who_due) => {
                    self.look(|state| state.who_overdue(Instant::now()));
                }
            }
        }
    }

    /// Encodes what waits, up to one batch.
    fn fill(&self, edge: &Edge, conn: &quinn::Connection, writer: &mut FrameWriter<ServerFrame>) {
        while let Some(datagram) = self.look(|state| state.datagrams.pop()) {
            // What a client does not take is lost.
            let _ = conn.send_datagram(datagram);
        }
        while writer.buffered_bytes() < WRITE_BATCH_BYTES
            && let Some(frame) = self.look(State::pop)
        {
            if matches!(frame.body, Some(server_frame::Body::Welcome(_))) {
                raise_after_login(conn);
                self.welcomed.notify_one();
                self.look(|state| state.log_login(edge.env.names()));
            }
            for frame in edge.env.on_the_way_out(|| self.look(|state| state.user()), frame) {
                if let Err(error) = writer.push(&frame) {
                    tracing::error!(%error, "an answer does not fit into a frame");
                    let code = Code::Internal;
                    self.look(|state| state.close(code, crate::wire::code::Fate::Closed, ""));
                }
            }
        }
    }
}

/// Only an operation of a group may be longer than other frames.
fn is_too_long(frame: &ClientFrame, length: usize) -> bool {
    length > limits::FRAME_BYTES_MAX && !matches!(frame.body, Some(client_frame::Body::Change(_)))
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A panic that was caught.
#[derive(Debug)]
pub(super) struct Panicked;

/// Runs a future to its end, or to its panic. What it shared must be fit for use afterwards: here
/// that is one session's state, which is then dropped.
pub(super) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_future_only() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let caught = catch_panic(async {
            tokio::task::yield_now().await;
            panic!("planted");
        })
        .await;
        std::panic::set_hook(quiet);
        assert!(caught.is_err());
        assert_eq!(catch_panic(async { 7 }).await.unwrap(), 7);
    }
}
