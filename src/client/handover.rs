//! From one edge to another without a gap: the next connection is there before the old one is left.
//!
//! The session says that it was sent away, whoever keeps it going finds another edge meanwhile, and
//! then the session ends where nothing is in the air. Deliberately knows nothing of edges.

use tokio_util::sync::CancellationToken;

use super::connection::Wire;

/// What a session and its keeper tell each other about leaving. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover {
    /// The edge said `GoAway`.
    pub(super) asked: CancellationToken,
    /// The next connection stands: the session may end.
    pub(super) ready: CancellationToken,
}

/// Two connections: the old one is closed only when the new one has the session.
pub(crate) struct Moving {
    pub(super) old: Wire,
    pub(super) new: Wire,
}
