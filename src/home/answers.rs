//! The form of an answer: by `rid`, or by log and open id, as its request wants it.

use super::logs;
use super::refusal::Refusal;
use super::request::{HomeRequest, Output, Target};
use super::state::{Asker, Home};
use crate::ops::meters::AuthFailure;
use crate::types::N;
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

impl Home {
    pub(super) fn answer(&mut self, asker: Asker<'_>, request: &HomeRequest, body: Body) {
        let open_id = match request {
            HomeRequest::Open { open_id, .. }
            | HomeRequest::Append { open_id, .. }
            | HomeRequest::Cursor { open_id, .. } => *open_id,
            HomeRequest::LookUp { .. }
            | HomeRequest::SignUp { .. }
            | HomeRequest::Login { .. }
            | HomeRequest::Resume { .. }
            | HomeRequest::Logout
            | HomeRequest::PutBundle { .. }
            | HomeRequest::Who { .. }
            | HomeRequest::Block { .. }
            | HomeRequest::ChangePassword { .. }
            | HomeRequest::DeleteAccount { .. }
            | HomeRequest::SetPresence { .. }
            | HomeRequest::Typing { .. }
            | HomeRequest::TypingIn { .. }
            | HomeRequest::Change { .. }
            | HomeRequest::GetRoster { .. }
            | HomeRequest::JoinAsk { .. }
            | HomeRequest::JoinProof { .. }
            | HomeRequest::BeginBlob { .. }
            | HomeRequest::CommitBlob { .. }
            | HomeRequest::DropBlob { .. }
            | HomeRequest::Detach => 0,
        };
        if let Some(index) = asker.aside {
            self.aside.push((index, body));
            return;
        }
        let target = Target { sid: asker.place.sid, open_id };
        self.out.push((asker.place, Output::one(target, asker.rid, body)));
    }

    pub(super) fn refuse(&mut self, asker: Asker<'_>, request: &HomeRequest, refusal: &Refusal) {
        if let HomeRequest::Resume { .. } = request {
            self.env.meters().auth_failed(match refusal.code {
                Code::NoSuchUser => AuthFailure::NoSuchUser,
                _ => AuthFailure::Device,
            });
        }
        let refused = |log: String, open_id: u32, n: N| {
            Body::Refused(wire::Refused {
                log,
                open_id,
                n: n.0,
                code: refusal.code as u32,
                retry_after_ms: refusal.retry_after_ms,
                expected: refusal.expected.0,
                detail: refusal.detail.to_owned(),
            })
        };
        let body = match request {
            HomeRequest::Open { log, open_id, .. } => refused(log.to_string(), *open_id, N(0)),
            HomeRequest::Append { log, open_id, envelope, .. } => {
                refused(log.to_string(), *open_id, logs::first_number(envelope))
            }
            // None of them has an answer.
            HomeRequest::Cursor { .. }
            | HomeRequest::Typing { .. }
            | HomeRequest::TypingIn { .. }
            | HomeRequest::Detach => return,
            HomeRequest::LookUp { .. }
            | HomeRequest::SignUp { .. }
            | HomeRequest::Login { .. }
            | HomeRequest::Resume { .. }
            | HomeRequest::Logout
            | HomeRequest::PutBundle { .. }
            | HomeRequest::Who { .. }
            | HomeRequest::Block { .. }
            | HomeRequest::ChangePassword { .. }
            | HomeRequest::DeleteAccount { .. }
            | HomeRequest::Change { .. }
            | HomeRequest::GetRoster { .. }
            | HomeRequest::JoinAsk { .. }
            | HomeRequest::JoinProof { .. }
            | HomeRequest::BeginBlob { .. }
            | HomeRequest::CommitBlob { .. }
            | HomeRequest::DropBlob { .. }
            | HomeRequest::SetPresence { .. } => Body::Error(refusal.error()),
        };
        self.answer(asker, request, body);
    }
}
