//! What a client may ask, when, and how often; then it goes to the home that can answer.
//!
//! Every row of the table of bad input that a frame can cause is decided here. Plain and
//! synchronous: a request is queued for its home or refused at once, nothing waits.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::crypto::{EnvelopeError, parse_header};
use crate::limits;
use crate::types::{LogName, ServerId, UserName};
use crate::wire::client::{Append, ClientFrame, Cursor, Hello, HelloOk, Open, WhoList};
use crate::wire::client::{client_frame::Body, server_frame};
use crate::wire::peer::Forward;
use crate::wire::{Code, PROTOCOL_VERSION};

use super::Edge;
use super::answer::{self, About, RETRY_AFTER};
use super::groups::names;
use super::proof::{AUTH_KEY_CHARS, Needs, read_proof};
use super::router::{Generation, PortError, ToHome};
use super::state::{OpenLog, Pending, Phase, State, Via};
use super::who::WhoMerge;

/// In which phase a frame is allowed.
#[derive(Clone, Copy)]
enum When {
    First,
    BeforeLogin,
    Greeted,
    LoggedIn,
    /// In a datagram only.
    Never,
}

fn when(body: &Body) -> When {
    match body {
        Body::Hello(_) => When::First,
        Body::SignUp(_) | Body::Login(_) | Body::Resume(_) => When::BeforeLogin,
        Body::LookUp(_) => When::Greeted,
        Body::Logout(_)
        | Body::PutBundle(_)
        | Body::Who(_)
        | Body::Block(_)
        | Body::ChangePassword(_)
        | Body::DeleteAccount(_)
        | Body::SetPresence(_)
        | Body::Change(_)
        | Body::GetRoster(_)
        | Body::JoinAsk(_)
        | Body::JoinProof(_)
        | Body::BeginBlob(_)
        | Body::CommitBlob(_)
        | Body::DropBlob(_)
        | Body::GetBlob(_)
        | Body::Open(_)
        | Body::Append(_)
        | Body::Cursor(_) => When::LoggedIn,
        Body::Typing(_) => When::Never,
    }
}

fn allowed(phase: &Phase, when: When) -> bool {
    match phase {
        Phase::Greeting => matches!(when, When::First),
        Phase::Stranger => matches!(when, When::BeforeLogin | When::Greeted),
        Phase::Proving { .. } => matches!(when, When::Greeted),
        Phase::LoggedIn(_) => matches!(when, When::LoggedIn | When::Greeted),
    }
}

impl State {
    /// Takes one frame of the client.
    pub(super) fn on_frame(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        if self.end.is_some() {
            return;
        }
        let rid = frame.rid;
        let Some(body) = &frame.body else {
            if self.within_rate(edge, &frame, now) && !frame.optional {
                let detail = "this server does not know such a request";
                self.outbox.answer(answer::error(rid, Code::Unsupported, detail));
            }
            return;
        };
        if !allowed(&self.phase, when(body)) {
            let code = Code::BadState;
            return self.close(code, code.fate(), "not allowed in this state");
        }
        if !self.within_rate(edge, &frame, now) {
            return;
        }
        match frame.body {
            Some(Body::Open(open)) => self.open(edge, open, now),
            Some(Body::Append(append)) => self.append(edge, append, now),
            Some(Body::Cursor(cursor)) => self.cursor(edge, cursor),
            Some(Body::Hello(hello)) => self.hello(edge, rid, &hello, now),
            Some(_) | None => self.by_rid(edge, frame, now),
        }
    }

    /// Counts the frame; refuses it when it comes too soon. Appends are bounded by their answers.
    fn within_rate(&mut self, edge: &Edge, frame: &ClientFrame, now: Instant) -> bool {
        let rate = edge.request_rate();
        match &frame.body {
            Some(Body::Append(_)) => true,
            Some(Body::Cursor(cursor)) => {
                let checked = self.cursors.check(rate, now);
                if checked.is_err() {
                    edge.env.meters().rate_limited();
                    self.drop_open(&cursor.log, cursor.open_id, Code::SlowDown);
                }
                checked.is_ok()
            }
            Some(Body::Open(open)) => match self.requests.check(rate, now) {
                Ok(()) => true,
                Err(after) => {
                    edge.env.meters().rate_limited();
                    let about = About { log: &open.log, open_id: open.open_id, n: 0 };
                    let refused = answer::refused_later(about, Code::SlowDown, after, "");
                    self.outbox.answer(refused);
                    false
                }
            },
            Some(_) | None => match self.requests.check(rate, now) {
                Ok(()) => true,
                Err(after) => {
                    edge.env.meters().rate_limited();
                    self.too_fast(frame.rid, after);
                    false
                }
            },
        }
    }

    fn too_fast(&mut self, rid: u64, after: Duration) {
        self.outbox.answer(answer::error_later(rid, Code::SlowDown, after, "too many requests"));
    }

    fn hello(&mut self, edge: &Edge, rid: u64, hello: &Hello, now: Instant) {
        if hello.version_min > hello.version_max {
            return self.malformed(rid, "version_min is above version_max", edge.limits(), now);
        }
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            self.outbox.answer(answer::version_error(rid));
            return self.finish(Some(Code::Version), Code::Version.fate());
        }
        let ok = HelloOk {
            version: PROTOCOL_VERSION,
            server: edge.id().to_string(),
            map_version: edge.router().map().version,
        };
        self.outbox.answer(answer::frame(rid, server_frame::Body::HelloOk(ok)));
        self.phase = Phase::Stranger;
    }

    /// A request that is answered by `rid`.
    fn by_rid(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        if rid == 0 || self.pending.contains_key(&rid) {
            return self.malformed(rid, "a rid is missing or in use", edge.limits(), now);
        }
        if self.pending.len() >= limits::PENDING_PER_SESSION_MAX {
            return self.busy(rid);
        }
        let home_of = |user: &str| {
            let user = UserName::canonical(user).ok()?;
            edge.router().home_of_user(&user).cloned()
        };
        match &frame.body {
            Some(Body::LookUp(look_up)) => {
                let Some(home) = home_of(&look_up.user) else {
                    return self.malformed(rid, "not a user name", edge.limits(), now);
                };
                if !matches!(self.phase, Phase::LoggedIn(_))
                    && let Err(after) = edge.count_look_up(self.address, now)
                {
                    return self.too_fast(rid, after);
                }
                self.ask(edge, &home, frame, Pending::Plain);
            }
            Some(Body::SignUp(_) | Body::Login(_) | Body::Resume(_)) => {
                self.prove(edge, frame, now);
            }
            Some(Body::Block(block)) if UserName::canonical(&block.user).is_err() => {
                self.malformed(rid, "not a user name", edge.limits(), now);
            }
            Some(Body::PutBundle(put)) if put.bundle.len() > limits::BUNDLE_BYTES_MAX => {
                self.malformed(rid, "the bundle is too long", edge.limits(), now);
            }
            Some(Body::ChangePassword(_) | Body::DeleteAccount(_)) => {
                self.with_password(edge, frame, now);
            }
            Some(Body::PutBundle(_) | Body::Block(_) | Body::SetPresence(_)) => {
                self.ask_own_home(edge, frame, Pending::Plain);
            }
            Some(Body::Change(_) | Body::GetRoster(_) | Body::JoinAsk(_) | Body::JoinProof(_)) => {
                self.of_group(edge, frame, now);
            }
            Some(
                Body::BeginBlob(_) | Body::CommitBlob(_) | Body::DropBlob(_) | Body::GetBlob(_),
            ) => self.of_blob(edge, frame, now),
            Some(Body::Logout(_)) => self.ask_own_home(edge, frame, Pending::Logout),
            Some(Body::Who(_)) => self.who(edge, frame, now),
            Some(
                Body::Hello(_)
                | Body::Open(_)
                | Body::Append(_)
                | Body::Cursor(_)
                | Body::Typing(_),
            )
            | None => {}
        }
    }

    /// A request of the logged-in person that costs a password check, as a login does.
    fn with_password(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        let (keys, kind): (Vec<&String>, fn(Via) -> Pending) = match &frame.body {
            Some(Body::ChangePassword(ask)) => {
                (vec![&ask.old_auth_key, &ask.new_auth_key], Pending::Plain)
            }
            Some(Body::DeleteAccount(ask)) => (vec![&ask.auth_key], Pending::Logout),
            Some(_) | None => return,
        };
        if keys.iter().any(|key| key.len() != AUTH_KEY_CHARS) {
            return self.malformed(rid, "an auth key has 44 characters", edge.limits(), now);
        }
        if let Err(after) = edge.count_login(self.address, now) {
            return self.too_fast(rid, after);
        }
        self.ask_own_home(edge, frame, kind);
    }

    pub(super) fn ask_own_home(
        &mut self,
        edge: &Edge,
        frame: ClientFrame,
        kind: fn(Via) -> Pending,
    ) {
        if let Phase::LoggedIn(me) = &self.phase {
            let home = me.home.clone();
            self.ask(edge, &home, frame, kind);
        }
    }

    /// Queues a request for its home, or says why not. True when it was queued.
    pub(super) fn ask(
        &mut self,
        edge: &Edge,
        home: &ServerId,
        frame: ClientFrame,
        kind: fn(Via) -> Pending,
    ) -> bool {
        let rid = frame.rid;
        match self.send(edge, home, frame) {
            Ok(generation) => {
                self.pending.insert(rid, kind(Via { home: home.clone(), generation }));
                true
            }
            Err(PortError::Down) => {
                self.outbox.answer(answer::home_down(rid, home));
                false
            }
            Err(PortError::Full) => {
                self.busy(rid);
                false
            }
        }
    }

    fn send(
        &self,
        edge: &Edge,
        home: &ServerId,
        frame: ClientFrame,
    ) -> Result<Generation, PortError> {
        let mut forward = Forward { sid: self.sid.0, frame: Some(frame), ..Forward::default() };
        match &self.phase {
            Phase::Greeting | Phase::Stranger | Phase::Proving { .. } => {}
            Phase::LoggedIn(me) => {
                forward.user = me.user.to_string();
                forward.device = me.device.0;
                forward.session_epoch = me.session_epoch.0;
            }
        }
        edge.router().send(home, ToHome::Forward(forward))
    }

    pub(super) fn busy(&mut self, rid: u64) {
        let busy = answer::error_later(rid, Code::Busy, RETRY_AFTER, "too much waits already");
        self.outbox.answer(busy);
    }

    /// Sign-up, login or resume: rate, then the home must be there, then the ticket is used up.
    fn prove(&mut self, edge: &Edge, mut frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        let proof = match read_proof(&mut frame) {
            Ok(proof) => proof,
            Err(detail) => return self.malformed(rid, detail, edge.limits(), now),
        };
        let counted = match &proof.needs {
            Needs::Nothing => Ok(()),
            Needs::SignUpTicket(_) => edge.count_sign_up(self.address, now),
            Needs::LoginTicket(_) => edge.count_login(self.address, now),
        };
        if let Err(after) = counted {
            return self.too_fast(rid, after);
        }
        let Some(home) = edge.router().home_of_user(&proof.user).cloned() else { return };
        if !edge.router().port(&home).is_some_and(super::router::Port::is_up) {
            return self.outbox.answer(answer::home_down(rid, &home));
        }
        match &proof.needs {
            Needs::Nothing => {}
            Needs::SignUpTicket(ticket) | Needs::LoginTicket(ticket) => {
                if let Err(why) = edge.admit(ticket) {
                    let error = answer::error(rid, Code::TicketInvalid, why.to_string());
                    return self.outbox.answer(error);
                }
            }
        }
        if self.ask(edge, &home, frame, Pending::Proof) {
            self.touched.insert(home);
            self.phase = Phase::Proving { user: proof.user, device: proof.device, since: now };
        }
    }

    fn who(&mut self, edge: &Edge, frame: ClientFrame, now: Instant) {
        let rid = frame.rid;
        if self.pending.values().any(|pending| matches!(pending, Pending::Who(_))) {
            return self.busy(rid);
        }
        let mut list = WhoList::default();
        let mut waiting = BTreeMap::new();
        for home in edge.router().homes() {
            match self.send(edge, home, frame.clone()) {
                Ok(generation) => {
                    waiting.insert(home.clone(), generation);
                }
                Err(PortError::Down | PortError::Full) => list.missing.push(home.to_string()),
            }
        }
        let until = now + limits::WHO_DEADLINE;
        self.pending.insert(rid, Pending::Who(WhoMerge { waiting, list, until }));
        self.finish_who(rid);
    }

    fn open(&mut self, edge: &Edge, open: Open, now: Instant) {
        let Ok(log) = LogName::canonical(&open.log) else {
            return self.malformed(0, "not a log name", edge.limits(), now);
        };
        let known = self.opens.get(&open.log).map(|earlier| earlier.open_id);
        if open.open_id <= known.unwrap_or(0) {
            return self.malformed(0, "an open_id must grow", edge.limits(), now);
        }
        let about = About { log: &open.log.clone(), open_id: open.open_id, n: 0 };
        if known.is_none() && self.opens.len() >= limits::OPENS_PER_SESSION_MAX {
            let detail = "too many logs are open";
            let refused = answer::refused_later(about, Code::Busy, RETRY_AFTER, detail);
            return self.outbox.answer(refused);
        }
        let Some(home) = edge.router().home_of_log(&log).cloned() else { return };
        // Whatever was open under this name ends now: its answers are stale from here on.
        if let Some(earlier) = self.opens.remove(about.log) {
            self.unanswered -= earlier.unanswered;
            self.outbox.drop_pushes(about.log);
        }
        let frame = ClientFrame { rid: 0, optional: false, body: Some(Body::Open(open)) };
        match self.send(edge, &home, frame) {
            Ok(generation) => {
                self.touched.insert(home.clone());
                let via = Via { home, generation };
                let open = OpenLog { open_id: about.open_id, via, unanswered: 0 };
                self.opens.insert(about.log.to_owned(), open);
            }
            Err(error) => self.refuse(about, error, &home),
        }
    }

    fn refuse(&mut self, about: About<'_>, error: PortError, home: &ServerId) {
        let (code, detail) = match error {
            PortError::Down => (Code::HomeDown, home.as_str()),
            PortError::Full => (Code::Busy, "too much waits already"),
        };
        self.outbox.answer(answer::refused_later(about, code, RETRY_AFTER, detail));
    }

    fn append(&mut self, edge: &Edge, append: Append, now: Instant) {
        let Phase::LoggedIn(me) = &self.phase else { return };
        // Without a number a refusal could not say which message it is about.
        let header = match parse_header(&append.envelope) {
            Ok(header) => header,
            Err(error @ EnvelopeError::TooLarge { .. }) => {
                let code = Code::FrameTooLarge;
                return self.close(code, code.fate(), error.to_string());
            }
            Err(error) => return self.malformed(0, &error.to_string(), edge.limits(), now),
        };
        let fits = header.author == me.user
            && header.device == me.device
            && names(&header.log, &append.log);
        let log = append.log.clone();
        let about = About { log: &log, open_id: append.open_id, n: header.n.0 };
        if !fits {
            let detail = "the header does not fit the session";
            self.outbox.answer(answer::refused(about, Code::Malformed, detail));
            if let Some(fate) = self.count_malformed(edge.limits(), now) {
                self.close(Code::Malformed, fate, detail);
            }
            return;
        }
        let via = match self.opens.get(&log) {
            Some(open) if open.open_id == append.open_id => open.via.clone(),
            Some(_) | None => {
                let detail = "the log is not open";
                return self.outbox.answer(answer::refused(about, Code::Reopen, detail));
            }
        };
        if self.unanswered >= limits::UNANSWERED_PER_SESSION_MAX {
            let detail = "too many unanswered messages";
            let refused = answer::refused_later(about, Code::SlowDown, RETRY_AFTER, detail);
            return self.outbox.answer(refused);
        }
        let frame = ClientFrame { rid: 0, optional: false, body: Some(Body::Append(append)) };
        match self.send(edge, &via.home, frame) {
            Ok(generation) if generation == via.generation => {
                self.unanswered += 1;
                if let Some(open) = self.opens.get_mut(&log) {
                    open.unanswered += 1;
                }
            }
            // The line broke and came back between two frames: the home does not know this Open,
            // and the news that closes it is on its way here.
            Ok(_) => {}
            Err(error) => self.refuse(about, error, &via.home),
        }
    }

    fn cursor(&mut self, edge: &Edge, cursor: Cursor) {
        let via = match self.opens.get(&cursor.log) {
            Some(open) if open.open_id == cursor.open_id => open.via.clone(),
            // A cursor of an earlier Open means nothing any more.
            Some(_) | None => return,
        };
        let (log, open_id) = (cursor.log.clone(), cursor.open_id);
        let frame = ClientFrame { rid: 0, optional: false, body: Some(Body::Cursor(cursor)) };
        match self.send(edge, &via.home, frame) {
            // When the line is down, the news that closes this Open is on its way here.
            Ok(_) | Err(PortError::Down) => {}
            Err(PortError::Full) => self.drop_open(&log, open_id, Code::Busy),
        }
    }

    /// Ends an Open whose cursor could not be passed on: the next Open carries it.
    fn drop_open(&mut self, log: &str, open_id: u32, code: Code) {
        if self.opens.get(log).is_some_and(|open| open.open_id == open_id)
            && let Some(open) = self.opens.remove(log)
        {
            self.unanswered -= open.unanswered;
            self.outbox.drop_pushes(log);
            self.outbox.answer(answer::closed(log, open_id, code, ""));
        }
    }
}
