//! What waits to be written to one client, bounded.
//!
//! Answers are never dropped: their number is bounded by the requests that may wait, and no
//! request is read while more than [`PAUSE_BYTES`] of answers wait. Pushes are dropped log by log,
//! with a `Closed` in their place. Deliberately does no writing.

use std::collections::VecDeque;

use prost::Message;

use crate::limits;
use crate::wire::client::{ServerFrame, server_frame::Body};

/// While more than this waits, the client's requests stay unread.
const PAUSE_BYTES: usize = limits::SESSION_BUFFER_BYTES_MAX / 4;
/// What a queued frame costs beyond its encoding, so that tiny frames count as well.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A push does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

/// The frames for one client, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<(ServerFrame, usize)>,
    bytes: usize,
}

impl Outbox {
    /// Queues an answer, or the end of something.
    pub(super) fn answer(&mut self, frame: ServerFrame) {
        let cost = frame.encoded_len() + FRAME_OVERHEAD_BYTES;
        self.bytes += cost;
        self.frames.push_back((frame, cost));
    }

    /// Queues a push if it fits.
    pub(super) fn push(&mut self, frame: ServerFrame) -> Result<(), TooSlow> {
        let cost = frame.encoded_len() + FRAME_OVERHEAD_BYTES;
        if self.bytes + cost > limits::SESSION_BUFFER_BYTES_MAX {
            return Err(TooSlow);
        }
        self.bytes += cost;
        self.frames.push_back((frame, cost));
        Ok(())
    }

    /// Drops the pushes of one log.
    pub(super) fn drop_pushes(&mut self, log: &str) {
        let bytes = &mut self.bytes;
        self.frames.retain(|(frame, cost)| {
            let keep = match &frame.body {
                Some(Body::Entry(entry)) => entry.log != log,
                Some(Body::Delivered(delivered)) => delivered.log != log,
                Some(Body::Online(online)) => online.log != log,
                Some(_) | None => true,
            };
            if !keep {
                *bytes -= cost;
            }
            keep
        });
    }

    /// Takes the oldest frame.
    pub(super) fn pop(&mut self) -> Option<ServerFrame> {
        let (frame, cost) = self.frames.pop_front()?;
        self.bytes -= cost;
        Some(frame)
    }

    /// Whether so much waits that no more requests should be read.
    pub(super) fn is_slow(&self) -> bool {
        self.bytes > PAUSE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::client::{Appended, Entry};

    fn entry(log: &str, bytes: usize) -> ServerFrame {
        let envelope = vec![0; bytes].into();
        let body = Body::Entry(Entry {
            log: log.to_owned(),
            open_id: 1,
            seq: 1,
            envelope,
            ..Entry::default()
        });
        ServerFrame { rid: 0, optional: false, body: Some(body) }
    }

    #[test]
    fn pushes_stop_at_the_limit_and_answers_do_not() {
        let mut outbox = Outbox::default();
        while outbox.push(entry("@alice", 50_000)).is_ok() {}
        assert!(outbox.bytes <= limits::SESSION_BUFFER_BYTES_MAX);
        assert!(outbox.is_slow());
        assert_eq!(outbox.push(entry("@alice", 50_000)), Err(TooSlow));
        outbox.answer(ServerFrame::default());
    }

    #[test]
    fn dropping_a_log_leaves_the_others_and_all_answers() {
        let mut outbox = Outbox::default();
        outbox.push(entry("@alice", 10)).unwrap();
        outbox.push(entry("@bob", 10)).unwrap();
        let answer = Body::Appended(Appended { log: "@alice".to_owned(), ..Appended::default() });
        outbox.answer(ServerFrame { rid: 0, optional: false, body: Some(answer.clone()) });
        outbox.drop_pushes("@alice");
        assert_eq!(outbox.pop(), Some(entry("@bob", 10)));
        assert_eq!(outbox.pop().and_then(|frame| frame.body), Some(answer));
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.bytes, 0);
    }
}
