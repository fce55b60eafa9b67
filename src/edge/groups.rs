//! What a client asks about groups: judged for form and size, and passed on to the group's home.

use tokio::time::Instant;

use super::Edge;
use super::state::{Pending, Phase, State};
use crate::limits;
use crate::types::{GroupName, LogId, LogName};
use crate::wire::Code;
use crate::wire::client::{ClientFrame, client_frame::Body};

/// Whether a header's log can be the one that is appended to.
pub(super) fn names(header: &LogId, log: &str) -> bool {
    match header {
        LogId::Inbox(_) => header.to_string() == log,
        // Which group it is for, its home will see.
        LogId::Group(_) => log.starts_with('#'),
    }
}

impl State {
    /// Bytes of a frame that the client may send now: strangers hand in no operations.
    pub(super) fn frame_limit(&self) -> usize {
        match self.phase {
            Phase::Greeting | Phase::Stranger | Phase::Proving { .. } => limits::FRAME_BYTES_MAX,
            Phase::LoggedIn(_) => limits::OPERATION_FRAME_BYTES_MAX,
        }
    }

    /// A request about a group: for the group's home.
    pub(super) fn of_group(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        let (group, is_large) = match &frame.body {
            Some(Body::Change(ask)) => {
                if ask.operation.is_empty() {
                    return self.malformed(rid, "no operation", edge.limits(), now);
                }
                if ask.operation.len() > limits::OPERATION_BYTES_MAX {
                    let code = Code::FrameTooLarge;
                    return self.close(code, code.fate(), "the operation is too long");
                }
                (&ask.group, true)
            }
            Some(Body::GetRoster(ask)) => (&ask.group, true),
            Some(Body::JoinAsk(ask)) => (&ask.group, false),
            Some(Body::JoinProof(ask)) => {
                if ask.invite.len() != 32 || ask.signature.len() != 64 {
                    let detail = "an invitation has 32 bytes, its signature 64";
                    return self.malformed(rid, detail, edge.limits(), now);
                }
                (&ask.group, false)
            }
            Some(_) | None => return,
        };
        let Ok(name) = GroupName::canonical(group) else {
            return self.malformed(rid, "not a group name", edge.limits(), now);
        };
        let Some(home) = edge.router().home_of_log(&LogName::Group(name)).cloned() else { return };
        let is_waited_for = |pending: &&Pending| matches!(pending, Pending::Large(_));
        if is_large
            && self.pending.values().filter(is_waited_for).count() >= limits::OPERATIONS_PENDING_MAX
        {
            return self.busy(rid);
        }
        let kind = if is_large { Pending::Large } else { Pending::Plain };
        if self.ask(edge, &home, frame, kind) {
            // It may remember a nonce of this connection.
            self.touched.insert(home);
        }
    }
}
