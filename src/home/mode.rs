//! What a home still does when its disk is full.

use super::request::HomeRequest;

/// How much may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything.
    Normal,
    /// The disk is full: only what hardly grows the database.
    Full,
    /// Not even that: only what is in memory.
    Frozen,
}

impl Mode {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Normal => Self::Full,
            Self::Full | Self::Frozen => Self::Frozen,
        }
    }

    /// Whether a request is done in this mode.
    pub(super) fn allows(self, request: &HomeRequest) -> bool {
        match request {
            HomeRequest::LookUp { .. }
            | HomeRequest::Who { .. }
            | HomeRequest::Cursor { .. }
            | HomeRequest::Typing { .. }
            | HomeRequest::TypingIn { .. }
            | HomeRequest::GetRoster { .. }
            | HomeRequest::JoinAsk { .. }
            | HomeRequest::JoinProof { .. }
            | HomeRequest::Detach => true,
            HomeRequest::Login { .. }
            | HomeRequest::Resume { .. }
            | HomeRequest::Logout
            | HomeRequest::ChangePassword { .. }
            | HomeRequest::DeleteAccount { .. }
            | HomeRequest::SetPresence { .. }
            | HomeRequest::CommitBlob { .. }
            | HomeRequest::DropBlob { .. }
            | HomeRequest::Open { .. } => self != Self::Frozen,
            HomeRequest::SignUp { .. }
            | HomeRequest::PutBundle { .. }
            | HomeRequest::Block { .. }
            | HomeRequest::Change { .. }
            | HomeRequest::BeginBlob { .. }
            | HomeRequest::Append { .. } => self == Self::Normal,
        }
    }
}
