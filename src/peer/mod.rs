//! The ordered link between two servers, and the door for the balancer that watches.
//!
//! An edge calls the home it needs: `link` goes out, `serve` lets in. Both ends prove a
//! certificate of the cluster whose key stands in the placement map. Deliberately decides nothing
//! about requests: those enter and leave by `edge::door` and `edge::router`.

mod chunks;
pub mod link;
pub mod serve;

use std::time::Duration;

use crate::limits::{Limits, PEER_FRAME_BYTES_MAX};
use crate::net::{FrameReader, FrameWriter};
use crate::wire::peer::{PeerFrame, peer_frame::Body};

type Reader = FrameReader<PeerFrame>;
type Writer = FrameWriter<PeerFrame>;

/// Bytes handed to the connection at once.
const WRITE_BATCH_BYTES: usize = 256 * 1024;

fn framed(stream: (quinn::SendStream, quinn::RecvStream), limits: &Limits) -> (Writer, Reader) {
    let (send, recv) = stream;
    let deadline = Duration::from_millis(limits.frame_deadline_ms);
    let writer = FrameWriter::new(send, PEER_FRAME_BYTES_MAX);
    (writer, FrameReader::new(recv, PEER_FRAME_BYTES_MAX, deadline))
}

fn frame(body: Body) -> PeerFrame {
    PeerFrame { body: Some(body) }
}
