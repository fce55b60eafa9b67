//! A session's states driven by hand: frames in, frames out, and what reaches the homes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::datagram::Fate as Passed;
use super::limits::AddressKey;
use super::router::{Generation, ToHome};
use super::state::{Conduct, Phase, State, login_deadline};
use super::{Edge, EdgeConfig};
use crate::admission::AdmissionKey;
use crate::limits::{self, Limits};
use crate::net::Env;
use crate::placement::{PlacementMap, ServerEntry};
use crate::types::{ServerId, SessionId};
use crate::wire::client::client_frame::Body as Ask;
use crate::wire::client::server_frame::Body as Answer;
use crate::wire::client::{
    Appended, Block, ClientFrame, Cursor, Done, Entry, Envelope, Error, Header, Hello, Login,
    Logout, LookUp, Open, Opened, Presence, Resume, ServerFrame, SignUp, Welcome, Who, WhoList,
};
use crate::wire::code::Fate;
use crate::wire::peer::Forward;
use crate::wire::{Code, client};

/// With three servers, alice lives on s1 and bob on s3; the edge is s2.
const ALICE: &str = "alice";
const DEVICE: u64 = 77;

struct Bench {
    env: Env,
    edge: Arc<Edge>,
    lines: BTreeMap<ServerId, (Generation, Receiver<ToHome>)>,
    state: State,
    now: Instant,
    rid: u64,
}

fn server(number: u16) -> ServerId {
    ServerId::numbered(number)
}

fn key() -> AdmissionKey {
    AdmissionKey::from_bytes(&[7; 32]).unwrap()
}

fn bench_with(limits: Limits) -> Bench {
    let entry = |number: u16| ServerEntry {
        id: server(number),
        addr: ([127, 0, 0, 1], 0).into(),
        peer_addr: ([127, 0, 0, 1], 0).into(),
        spki_sha256: String::new(),
    };
    let env = Env::system_for_tests();
    let edge = Edge::new(
        &env,
        EdgeConfig {
            id: server(2),
            map: Arc::new(PlacementMap::deal((1..=3).map(entry).collect(), String::new())),
            limits: Arc::new(limits),
            admission_key: key(),
        },
    );
    let lines = (1..=3)
        .map(|number| (server(number), edge.router().port(&server(number)).unwrap().open()))
        .collect();
    let now = Instant::now();
    let address = AddressKey::of(IpAddr::from([127, 0, 0, 1]));
    let deadline = login_deadline(edge.limits(), now);
    let state = State::new(SessionId(5), address, Conduct::default(), deadline, now);
    Bench { env, edge, lines, state, now, rid: 0 }
}

fn bench() -> Bench {
    bench_with(Limits::default())
}

impl Bench {
    fn send(&mut self, rid: u64, body: Ask) {
        let frame = ClientFrame { rid, optional: false, body: Some(body) };
        self.state.on_frame(&self.edge, frame, self.now);
    }

    fn ask(&mut self, body: Ask) -> u64 {
        self.rid += 1;
        self.send(self.rid, body);
        self.rid
    }

    fn answer(&mut self) -> Option<Answer> {
        self.state.pop().and_then(|frame| frame.body)
    }

    fn error(&mut self) -> Option<(Code, Error)> {
        match self.answer() {
            Some(Answer::Error(error)) => Some((Code::from_number(error.code).unwrap(), error)),
            other => panic!("expected an error, got {other:?}"),
        }
    }

    fn code(&mut self) -> Code {
        self.error().unwrap().0
    }

    fn refused(&mut self) -> (Code, client::Refused) {
        match self.answer() {
            Some(Answer::Refused(refused)) => (Code::from_number(refused.code).unwrap(), refused),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn closed(&mut self) -> (Code, client::Closed) {
        match self.answer() {
            Some(Answer::Closed(closed)) => (Code::from_number(closed.code).unwrap(), closed),
            other => panic!("expected a closed log, got {other:?}"),
        }
    }

    /// What the edge queued for this home, if anything.
    fn queued(&mut self, number: u16) -> Option<Forward> {
        match self.lines.get_mut(&server(number)).unwrap().1.try_recv() {
            Ok(ToHome::Forward(forward)) => Some(forward),
            Ok(ToHome::Detach(sid)) => panic!("detach of {sid}"),
            Err(_) => None,
        }
    }

    fn home_says(&mut self, number: u16, rid: u64, open_id: u32, body: Answer) {
        let frame = ServerFrame { rid, optional: false, body: Some(body) };
        self.state.deliver(&server(number), open_id, frame, &self.edge.limits, self.now);
    }

    fn break_line(&mut self, number: u16) {
        let (generation, _) = *self.lines.get(&server(number)).unwrap();
        self.edge.router().port(&server(number)).unwrap().close();
        self.state.home_lost(&server(number), generation, self.now);
    }

    fn ends_with(&self, code: Code, fate: Fate) -> bool {
        self.state.end.is_some_and(|end| end.code == Some(code) && end.fate == fate)
    }

    fn greet(&mut self) {
        self.send(0, Ask::Hello(Hello { version_min: 1, version_max: 1, agent: "t".into() }));
        assert!(matches!(self.answer(), Some(Answer::HelloOk(_))));
    }

    fn log_in(&mut self) {
        self.greet();
        let resume = Resume { user: ALICE.into(), device: DEVICE, count: 1, ..Resume::default() };
        let rid = self.ask(Ask::Resume(resume));
        assert!(self.queued(1).is_some());
        let welcome = Welcome { session_epoch: 9, ..Welcome::default() };
        self.home_says(1, rid, 0, Answer::Welcome(welcome));
        assert!(matches!(self.answer(), Some(Answer::Welcome(_))));
    }

    fn open(&mut self, log: &str, open_id: u32) {
        self.send(0, Ask::Open(Open { log: log.into(), open_id, ..Open::default() }));
    }

    fn login(&mut self, ticket: Bytes) -> u64 {
        self.ask(Ask::Login(Login {
            user: ALICE.into(),
            auth_key: "k".repeat(44),
            ticket,
            device: DEVICE,
            takeover: false,
            invisible: false,
        }))
    }

    fn ticket(&self) -> Bytes {
        key().issue(&self.env, &server(2))
    }
}

fn append(log: &str, open_id: u32, author: &str, device: u64, n: u64) -> Ask {
    let header = Header {
        suite: 1,
        kind: client::Kind::Void as i32,
        log: log.into(),
        author: author.into(),
        device,
        n,
        upto: n,
        ..Header::default()
    };
    let envelope = Envelope {
        header: header.encode_to_vec().into(),
        payload: Bytes::new(),
        signature: vec![0; 64].into(),
    };
    let envelope = envelope.encode_to_vec().into();
    Ask::Append(client::Append { log: log.into(), open_id, epoch: 1, envelope })
}

fn look_up(user: &str) -> Ask {
    Ask::LookUp(LookUp { user: user.into() })
}

// ---------------------------------------------------------------- before login

#[test]
fn nothing_is_allowed_before_hello_and_hello_only_once() {
    let mut b = bench();
    b.ask(look_up("bob"));
    assert_eq!(b.code(), Code::BadState);
    assert!(b.ends_with(Code::BadState, Fate::Closed));

    let mut b = bench();
    b.greet();
    b.send(0, Ask::Hello(Hello { version_min: 1, version_max: 1, agent: String::new() }));
    assert_eq!(b.code(), Code::BadState);
}

#[test]
fn a_client_of_another_version_is_told_which_ones_are_spoken() {
    let mut b = bench();
    b.send(0, Ask::Hello(Hello { version_min: 2, version_max: 9, agent: String::new() }));
    let (code, error) = b.error().unwrap();
    assert_eq!((code, error.version_min, error.version_max), (Code::Version, 1, 1));
    assert!(b.ends_with(Code::Version, Fate::Closed));
}

#[test]
fn an_unknown_request_is_unsupported_and_an_optional_one_is_ignored() {
    let mut b = bench();
    b.greet();
    b.state.on_frame(&b.edge, ClientFrame { rid: 4, optional: false, body: None }, b.now);
    assert_eq!(b.code(), Code::Unsupported);
    b.state.on_frame(&b.edge, ClientFrame { rid: 5, optional: true, body: None }, b.now);
    assert_eq!(b.answer(), None);
    assert_eq!(b.state.end, None);
}

#[test]
fn an_append_before_login_closes_the_connection() {
    let mut b = bench();
    b.greet();
    b.send(0, append("@bob", 1, ALICE, DEVICE, 1));
    assert_eq!(b.code(), Code::BadState);
    assert!(b.ends_with(Code::BadState, Fate::Closed));
}

#[test]
fn a_look_up_goes_to_the_home_of_the_name_and_its_answer_comes_back() {
    let mut b = bench();
    b.greet();
    let rid = b.ask(look_up("bob"));
    let forward = b.queued(3).unwrap();
    assert_eq!((forward.sid, forward.user.as_str(), forward.device), (5, "", 0));
    let account = client::Account { user: "bob".into(), bundle: Bytes::new() };
    b.home_says(3, rid, 0, Answer::Account(account.clone()));
    assert_eq!(b.answer(), Some(Answer::Account(account.clone())));
    b.home_says(3, rid, 0, Answer::Account(account));
    assert_eq!(b.answer(), None, "an answer comes once");
}

#[test]
fn a_home_that_is_away_is_named() {
    let mut b = bench();
    b.greet();
    b.break_line(3);
    b.ask(look_up("bob"));
    let (code, error) = b.error().unwrap();
    assert_eq!((code, error.detail.as_str()), (Code::HomeDown, "s3"));
    assert!(error.retry_after_ms > 0);
    assert_eq!(b.state.end, None);
}

#[test]
fn a_rid_that_is_missing_or_in_use_is_malformed() {
    let mut b = bench();
    b.greet();
    b.send(0, look_up("bob"));
    assert_eq!(b.code(), Code::Malformed);
    assert!(b.ends_with(Code::Malformed, Fate::StreamClosed));

    let mut b = bench();
    b.greet();
    b.send(3, look_up("bob"));
    b.send(3, look_up("bob"));
    assert_eq!(b.code(), Code::Malformed);
}

#[test]
fn fields_without_sense_are_malformed() {
    let long = Bytes::from(vec![0; limits::BUNDLE_BYTES_MAX + 1]);
    let auth_key = "k".repeat(44);
    let sign_up = SignUp {
        user: ALICE.into(),
        auth_key: auth_key.clone(),
        ticket: Bytes::new(),
        bundle: Bytes::from_static(b"b"),
        device: 1,
        ..SignUp::default()
    };
    let login = Login { user: ALICE.into(), auth_key, device: 1, ..Login::default() };
    for bad in [
        look_up("Not A Name"),
        Ask::SignUp(SignUp { auth_key: "short".into(), ..sign_up.clone() }),
        Ask::SignUp(SignUp { bundle: long, ..sign_up.clone() }),
        Ask::SignUp(SignUp { bundle: Bytes::new(), ..sign_up.clone() }),
        Ask::SignUp(SignUp { device: 0, ..sign_up }),
        Ask::Login(Login { user: "@".into(), ..login.clone() }),
        Ask::Login(Login { auth_key: "x".repeat(45), ..login }),
        Ask::Resume(Resume { user: ALICE.into(), ..Resume::default() }),
    ] {
        let mut b = bench();
        b.greet();
        b.ask(bad.clone());
        assert_eq!(b.code(), Code::Malformed, "{bad:?}");
        assert!(b.lines.values_mut().all(|(_, line)| line.try_recv().is_err()));
    }
}

#[test]
fn the_third_malformed_frame_in_ten_minutes_closes_the_connection() {
    let mut b = bench();
    let malformed = |b: &mut Bench, after: Duration| {
        b.now += after;
        b.state.end = None;
        b.state.malformed(0, "x", &b.edge.limits, b.now);
        b.state.end.unwrap().fate
    };
    assert_eq!(malformed(&mut b, Duration::ZERO), Fate::StreamClosed);
    assert_eq!(malformed(&mut b, Duration::from_secs(599)), Fate::StreamClosed);
    assert_eq!(malformed(&mut b, Duration::from_secs(2)), Fate::StreamClosed);
    assert_eq!(malformed(&mut b, Duration::from_secs(2)), Fate::Closed);
}

// ---------------------------------------------------------------- login

#[test]
fn a_login_needs_a_good_unused_ticket_and_a_resume_needs_none() {
    let mut b = bench();
    b.greet();
    b.login(Bytes::new());
    assert_eq!(b.code(), Code::TicketInvalid);
    b.login(key().issue(&b.env, &server(1)));
    assert_eq!(b.code(), Code::TicketInvalid);

    let ticket = b.ticket();
    let rid = b.login(ticket.clone());
    let forward = b.queued(1).unwrap();
    let Some(Ask::Login(login)) = forward.frame.unwrap().body else { panic!("not a login") };
    assert!(login.ticket.is_empty(), "a ticket is of use only here");
    b.home_says(1, rid, 0, Answer::Error(Error { code: 0x21, ..Error::default() }));
    assert_eq!(b.code(), Code::WrongPassword);
    b.login(ticket);
    assert_eq!(b.code(), Code::TicketInvalid, "used");
    assert_eq!(b.state.end, None);
    assert!(b.queued(1).is_none());
}

#[test]
fn a_ticket_is_not_used_up_while_the_home_is_away() {
    let mut b = bench();
    b.greet();
    b.break_line(1);
    let ticket = b.ticket();
    b.login(ticket.clone());
    assert_eq!(b.code(), Code::HomeDown);
    let (_, line) = b.edge.router().port(&server(1)).unwrap().open();
    b.login(ticket);
    assert_eq!(b.answer(), None);
    assert_eq!(line.len(), 1);
}

#[test]
fn the_third_wrong_password_closes_the_connection() {
    let mut b = bench();
    b.greet();
    for (number, code) in [(1, 0x21), (2, 0x22), (3, 0x23)] {
        let ticket = b.ticket();
        let rid = b.login(ticket);
        b.home_says(1, rid, 0, Answer::Error(Error { code, ..Error::default() }));
        assert_eq!(b.code() as u32, code);
        assert_eq!(b.state.end.is_some(), number == 3);
    }
    assert!(b.ends_with(Code::NameTaken, Fate::Closed));
}

#[test]
fn the_login_deadline_stands_still_while_a_password_is_checked() {
    let mut b = bench();
    b.greet();
    let begin = b.now;
    assert_eq!(b.state.login_due(), Some(begin + Duration::from_secs(10)));
    b.now += Duration::from_secs(3);
    let ticket = b.ticket();
    let rid = b.login(ticket);
    assert_eq!(b.state.login_due(), None);
    b.now += Duration::from_secs(60);
    b.home_says(1, rid, 0, Answer::Error(Error { code: 0x24, ..Error::default() }));
    assert_eq!(b.state.login_due(), Some(begin + Duration::from_secs(70)));
}

#[test]
fn one_address_gets_only_so_many_logins_sign_ups_and_look_ups_a_minute() {
    let limits = Limits {
        logins_per_ip_per_min: 2,
        sign_ups_per_ip_per_min: 1,
        look_ups_per_ip_per_min: 2,
        ..Limits::default()
    };
    let mut b = bench_with(limits);
    b.greet();
    for _ in 0..2 {
        b.login(Bytes::new());
        assert_eq!(b.code(), Code::TicketInvalid);
        b.ask(look_up("bob"));
    }
    b.login(Bytes::new());
    let (code, error) = b.error().unwrap();
    assert_eq!((code, error.retry_after_ms), (Code::SlowDown, 30_000));
    b.ask(look_up("bob"));
    assert_eq!(b.code(), Code::SlowDown);
    for expected in [Code::TicketInvalid, Code::SlowDown] {
        b.ask(Ask::SignUp(SignUp {
            user: "bob".into(),
            auth_key: "k".repeat(44),
            ticket: Bytes::new(),
            bundle: Bytes::from_static(b"b"),
            device: 1,
            ..SignUp::default()
        }));
        assert_eq!(b.code(), expected);
    }
}

#[test]
fn a_second_login_while_one_is_tried_is_out_of_state() {
    let mut b = bench();
    b.greet();
    let ticket = b.ticket();
    b.login(ticket);
    b.ask(look_up("bob"));
    assert_eq!(b.answer(), None);
    let ticket = b.ticket();
    b.login(ticket);
    assert_eq!(b.code(), Code::BadState);
}

#[test]
fn a_welcome_from_another_home_logs_nobody_in() {
    let mut b = bench();
    b.greet();
    let ticket = b.ticket();
    let rid = b.login(ticket);
    b.home_says(3, rid, 0, Answer::Welcome(Welcome::default()));
    b.home_says(1, rid + 1, 0, Answer::Welcome(Welcome::default()));
    assert_eq!(b.answer(), None);
    assert!(matches!(b.state.phase, Phase::Proving { .. }));
}

// ---------------------------------------------------------------- after login

#[test]
fn requests_carry_who_is_logged_in_and_go_to_the_own_home() {
    let mut b = bench();
    b.log_in();
    assert_eq!(b.state.login_due(), None);
    b.ask(Ask::Block(Block { user: "bob".into(), blocked: true }));
    let forward = b.queued(1).unwrap();
    assert_eq!((forward.user.as_str(), forward.device), (ALICE, DEVICE));
    assert_eq!(forward.session_epoch, 9);
}

#[test]
fn more_requests_than_the_burst_are_told_to_slow_down() {
    let mut b = bench_with(Limits { requests_burst: 4, ..Limits::default() });
    b.log_in();
    for open_id in 1..=2 {
        b.open("@bob", open_id);
        assert_eq!(b.answer(), None);
    }
    b.open("@bob", 3);
    let (code, refused) = b.refused();
    assert_eq!((code, refused.n, refused.open_id), (Code::SlowDown, 0, 3));
    assert_eq!(refused.retry_after_ms, 20);
    b.ask(look_up("bob"));
    assert_eq!(b.code(), Code::SlowDown);
    b.now += Duration::from_millis(20);
    b.ask(look_up("bob"));
    assert_eq!(b.answer(), None);
}

#[test]
fn no_more_requests_wait_for_an_answer_than_the_limit() {
    let mut b = bench();
    b.log_in();
    for _ in 0..limits::PENDING_PER_SESSION_MAX {
        b.ask(look_up("bob"));
        assert_eq!(b.answer(), None);
    }
    b.ask(look_up("bob"));
    assert_eq!(b.code(), Code::Busy);
}

#[test]
fn an_envelope_of_somebody_else_is_refused_under_its_number() {
    let mut b = bench();
    b.log_in();
    b.open("@bob", 1);
    b.queued(3).unwrap();
    let mut log_lies = append("@carol", 1, ALICE, DEVICE, 4);
    if let Ask::Append(append) = &mut log_lies {
        append.log = "@bob".into();
    }
    let malformed =
        [append("@bob", 1, "mallory", DEVICE, 4), append("@bob", 1, ALICE, 78, 4), log_lies];
    for (number, bad) in malformed.into_iter().enumerate() {
        b.send(0, bad);
        let (code, refused) = b.refused();
        assert_eq!((code, refused.n), (Code::Malformed, 4));
        assert!(b.queued(3).is_none());
        assert_eq!(b.state.end.is_some(), number == 2, "the third closes");
    }
}

#[test]
fn what_is_no_envelope_ends_the_stream() {
    let mut b = bench();
    b.log_in();
    b.open("@bob", 1);
    let envelope = Bytes::from_static(b"junk");
    b.send(0, Ask::Append(client::Append { log: "@bob".into(), open_id: 1, epoch: 1, envelope }));
    assert_eq!(b.code(), Code::Malformed);
    assert!(b.ends_with(Code::Malformed, Fate::StreamClosed));
}

#[test]
fn an_append_to_a_log_that_is_not_open_is_told_to_open_it() {
    let mut b = bench();
    b.log_in();
    b.send(0, append("@bob", 1, ALICE, DEVICE, 1));
    assert_eq!(b.refused().0, Code::Reopen);
    b.open("@bob", 2);
    b.send(0, append("@bob", 1, ALICE, DEVICE, 1));
    assert_eq!(b.refused().0, Code::Reopen);
}

#[test]
fn more_unanswered_appends_than_the_limit_are_told_to_slow_down() {
    let mut b = bench();
    b.log_in();
    b.open("@bob", 1);
    let most = limits::UNANSWERED_PER_SESSION_MAX as u64;
    for n in 1..=most {
        b.send(0, append("@bob", 1, ALICE, DEVICE, n));
        assert_eq!(b.answer(), None);
    }
    b.send(0, append("@bob", 1, ALICE, DEVICE, most + 1));
    let (code, refused) = b.refused();
    assert_eq!((code, refused.n), (Code::SlowDown, most + 1));
    let appended = Appended { log: "@bob".into(), open_id: 1, n: 1, ..Appended::default() };
    b.home_says(3, 0, 0, Answer::Appended(appended));
    assert!(matches!(b.answer(), Some(Answer::Appended(_))));
    b.send(0, append("@bob", 1, ALICE, DEVICE, most + 1));
    assert_eq!(b.answer(), None);
}

#[test]
fn an_open_id_grows_and_what_belongs_to_an_earlier_open_is_dropped() {
    let mut b = bench();
    b.log_in();
    b.open("@alice", 1);
    b.open("@alice", 2);
    let entry = |seq| Entry { log: "@alice".into(), seq, ..Entry::default() };
    b.home_says(1, 0, 1, Answer::Entry(entry(1)));
    assert_eq!(b.answer(), None);
    b.home_says(1, 0, 2, Answer::Entry(entry(1)));
    let Some(Answer::Entry(passed)) = b.answer() else { panic!("no entry") };
    assert_eq!(passed.open_id, 2, "the target's open_id goes into the frame");
    b.open("@alice", 2);
    assert_eq!(b.code(), Code::Malformed);
}

#[test]
fn a_logout_is_answered_and_ends_the_connection() {
    let mut b = bench();
    b.log_in();
    let rid = b.ask(Ask::Logout(Logout {}));
    b.home_says(1, rid, 0, Answer::Done(Done::default()));
    assert_eq!(b.answer(), Some(Answer::Done(Done::default())));
    assert_eq!(b.state.end.map(|end| (end.code, end.fate)), Some((None, Fate::Closed)));
}

#[test]
fn a_session_that_was_taken_over_is_told_and_closed() {
    let mut b = bench();
    b.log_in();
    let replaced = || Answer::Error(Error { code: 0x26, ..Error::default() });
    b.home_says(3, 0, 0, replaced());
    assert_eq!(b.answer(), None, "only the own home may say so");
    b.home_says(1, 0, 0, replaced());
    assert_eq!(b.code(), Code::SessionReplaced);
    assert!(b.ends_with(Code::SessionReplaced, Fate::Closed));
}

#[test]
fn when_a_line_breaks_every_request_and_every_open_on_it_is_told() {
    let mut b = bench();
    b.log_in();
    let lost = b.ask(look_up("bob"));
    let kept = b.ask(look_up(ALICE));
    b.open("@bob", 1);
    b.open("@alice", 2);
    b.send(0, append("@bob", 1, ALICE, DEVICE, 1));
    b.break_line(3);
    let (code, error) = b.error().unwrap();
    assert_eq!((code, error.detail.as_str()), (Code::HomeDown, "s3"));
    let (code, closed) = b.closed();
    assert_eq!((code, closed.log.as_str(), closed.open_id), (Code::HomeDown, "@bob", 1));
    assert_eq!(b.answer(), None);
    assert_eq!((b.state.unanswered, b.state.end), (0, None));
    assert!(!b.state.pending.contains_key(&lost) && b.state.pending.contains_key(&kept));
    b.send(0, append("@bob", 1, ALICE, DEVICE, 2));
    assert_eq!(b.refused().0, Code::Reopen);
    b.open("@bob", 3);
    let (code, refused) = b.refused();
    assert_eq!((code, refused.n, refused.detail.as_str()), (Code::HomeDown, 0, "s3"));
}

#[test]
fn what_was_asked_after_the_line_came_back_is_not_lost_with_its_earlier_life() {
    let mut b = bench();
    b.log_in();
    let (old, _) = *b.lines.get(&server(3)).unwrap();
    let port = b.edge.router().port(&server(3)).unwrap();
    port.close();
    let _line = port.open();
    b.open("@bob", 1);
    let rid = b.ask(look_up("bob"));
    b.state.home_lost(&server(3), old, b.now);
    assert_eq!(b.answer(), None);
    assert!(b.state.opens.contains_key("@bob") && b.state.pending.contains_key(&rid));
}

#[test]
fn when_the_own_home_is_lost_the_connection_ends_so_that_it_can_be_resumed() {
    let mut b = bench();
    b.log_in();
    b.break_line(1);
    let (code, error) = b.error().unwrap();
    assert_eq!((code, error.detail.as_str()), (Code::HomeDown, "s1"));
    assert!(b.ends_with(Code::HomeDown, Fate::Closed));
}

#[test]
fn a_reader_too_slow_loses_its_log_and_is_told_and_keeps_the_rest() {
    let mut b = bench();
    b.log_in();
    b.open("@alice", 1);
    let opened = Opened { log: "@alice".into(), open_id: 1, ..Opened::default() };
    b.home_says(1, 0, 0, Answer::Opened(opened));
    let envelope = Bytes::from(vec![0; 60_000]);
    for seq in 1..=30 {
        let entry =
            Entry { log: "@alice".into(), seq, envelope: envelope.clone(), ..Entry::default() };
        b.home_says(1, 0, 1, Answer::Entry(entry));
    }
    assert!(matches!(b.answer(), Some(Answer::Opened(_))));
    let (code, closed) = b.closed();
    assert_eq!((code, closed.log.as_str(), closed.open_id), (Code::Busy, "@alice", 1));
    assert_eq!(b.answer(), None);
    assert_eq!(b.state.end, None);
}

#[test]
fn cursors_that_come_too_fast_close_the_log_instead_of_getting_lost() {
    let mut b = bench_with(Limits { requests_burst: 5, ..Limits::default() });
    b.log_in();
    b.open("@alice", 1);
    for upto in 1..=5 {
        b.send(0, Ask::Cursor(Cursor { log: "@alice".into(), open_id: 1, epoch: 1, upto }));
        assert_eq!(b.answer(), None);
    }
    b.send(0, Ask::Cursor(Cursor { log: "@alice".into(), open_id: 1, epoch: 1, upto: 6 }));
    assert_eq!(b.closed().0, Code::SlowDown);
}

// ---------------------------------------------------------------- who

fn who_list(names: &[&str]) -> Answer {
    let users =
        names.iter().map(|name| Presence { user: (*name).to_owned(), online: true }).collect();
    Answer::WhoList(WhoList { users, truncated: false, missing: vec![] })
}

#[test]
fn who_merges_the_answers_of_all_homes_by_name() {
    let mut b = bench();
    b.log_in();
    let rid = b.ask(Ask::Who(Who { all: true }));
    for number in 1..=3 {
        assert!(b.queued(number).is_some());
    }
    b.home_says(3, rid, 0, who_list(&["bob"]));
    b.home_says(1, rid, 0, who_list(&["alice", "zoe"]));
    b.home_says(1, rid, 0, who_list(&["twice"]));
    assert_eq!(b.answer(), None);
    b.home_says(2, rid, 0, who_list(&["carol"]));
    assert_eq!(b.answer(), Some(who_list(&["alice", "bob", "carol", "zoe"])));
}

#[test]
fn who_names_the_servers_that_could_not_say() {
    let mut b = bench();
    b.log_in();
    b.edge.router().port(&server(2)).unwrap().close();
    let rid = b.ask(Ask::Who(Who { all: false }));
    b.ask(Ask::Who(Who { all: false }));
    assert_eq!(b.code(), Code::Busy, "one at a time");
    b.home_says(1, rid, 0, who_list(&["alice"]));
    assert_eq!(b.state.who_due(), Some(b.now + limits::WHO_DEADLINE));
    b.now += limits::WHO_DEADLINE;
    b.state.who_overdue(b.now);
    let Some(Answer::WhoList(list)) = b.answer() else { panic!("no list") };
    assert_eq!(list.missing, ["s2", "s3"]);
    assert_eq!(list.users.len(), 1);
    assert_eq!(b.state.who_due(), None);
}

#[test]
fn who_does_not_wait_for_a_home_whose_line_breaks() {
    let mut b = bench();
    b.log_in();
    let rid = b.ask(Ask::Who(Who { all: false }));
    b.home_says(1, rid, 0, who_list(&[]));
    b.home_says(2, rid, 0, who_list(&[]));
    b.break_line(3);
    let Some(Answer::WhoList(list)) = b.answer() else { panic!("no list") };
    assert_eq!(list.missing, ["s3"]);
}

// ---------------------------------------------------------------- passwords and accounts

#[test]
fn a_password_change_goes_to_the_own_home_and_counts_as_a_login() {
    let limits = Limits { logins_per_ip_per_min: 1, ..Limits::default() };
    let mut b = bench_with(limits);
    b.log_in();
    let change = |old: usize, new: usize| {
        Ask::ChangePassword(client::ChangePassword {
            old_auth_key: "k".repeat(old),
            new_auth_key: "n".repeat(new),
        })
    };
    let rid = b.ask(change(44, 44));
    assert_eq!(b.queued(1).unwrap().user, ALICE);
    b.home_says(1, rid, 0, Answer::Error(Error { code: 0x21, ..Error::default() }));
    assert_eq!(b.code(), Code::WrongPassword);
    b.ask(change(44, 44));
    assert_eq!(b.code(), Code::SlowDown);
    assert_eq!(b.state.end, None);
    b.ask(change(44, 43));
    assert_eq!(b.code(), Code::Malformed);
}

#[test]
fn the_end_of_an_account_ends_the_connection_and_a_wrong_password_does_not() {
    let mut b = bench();
    b.log_in();
    let delete = || Ask::DeleteAccount(client::DeleteAccount { auth_key: "k".repeat(44) });
    let rid = b.ask(delete());
    b.home_says(1, rid, 0, Answer::Error(Error { code: 0x21, ..Error::default() }));
    assert_eq!(b.code(), Code::WrongPassword);
    assert_eq!(b.state.end, None);
    let rid = b.ask(delete());
    b.home_says(1, rid, 0, Answer::Done(Done { at_unix_ms: 5 }));
    assert_eq!(b.answer(), Some(Answer::Done(Done { at_unix_ms: 5 })));
    assert_eq!(b.state.end.map(|end| (end.code, end.fate)), Some((None, Fate::Closed)));
}

// ---------------------------------------------------------------- presence and typing

fn typing(to: &str) -> Vec<u8> {
    let body = Ask::Typing(client::Typing { user: to.into(), group: String::new() });
    ClientFrame { rid: 0, optional: false, body: Some(body) }.encode_to_vec()
}

impl Bench {
    fn datagram(&mut self, bytes: &[u8]) -> Passed {
        self.state.on_datagram(&self.edge, bytes, self.now)
    }
}

#[test]
fn typing_goes_to_the_recipients_home_once_in_its_interval() {
    let mut b = bench();
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped, "before login");
    b.log_in();
    assert_eq!(b.datagram(&typing("bob")), Passed::Passed);
    let forward = b.queued(3).unwrap();
    assert_eq!((forward.user.as_str(), forward.device), (ALICE, DEVICE));
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped, "too soon");
    assert_eq!(b.datagram(&typing(ALICE)), Passed::Dropped, "to oneself");
    b.now += limits::TYPING_ACCEPTED_INTERVAL;
    assert_eq!(b.datagram(&typing("bob")), Passed::Passed);
    b.break_line(3);
    b.now += limits::TYPING_ACCEPTED_INTERVAL;
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped, "no line");
    assert_eq!((b.answer(), b.state.end), (None, None), "never an answer");
}

#[test]
fn a_session_types_to_so_many_people_and_no_more() {
    let mut b = bench();
    b.log_in();
    for number in 0..limits::TYPING_RECIPIENTS_MAX {
        b.now += Duration::from_millis(100);
        assert_eq!(b.datagram(&typing(&format!("user{number}"))), Passed::Passed);
    }
    b.now += Duration::from_millis(100);
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped);
    b.now += limits::TYPING_ACCEPTED_INTERVAL;
    assert_eq!(b.datagram(&typing("bob")), Passed::Passed);
}

#[test]
fn what_else_comes_in_datagrams_is_dropped_and_nothing_else_happens() {
    let mut b = bench();
    b.log_in();
    let mut long = typing("bob");
    long.extend([0x9a, 0x06, 127]);
    long.extend([0; 127]);
    let hello = ClientFrame { rid: 1, optional: false, body: Some(look_up("bob")) };
    for bad in [long, hello.encode_to_vec(), typing("Not A Name"), b"garbage".to_vec(), vec![]] {
        assert_eq!(b.datagram(&bad), Passed::Dropped);
    }
    assert!((1..=3).all(|number| b.queued(number).is_none()));
    assert_eq!((b.answer(), b.state.end), (None, None));
    // Garbage uses up the rate as well.
    for _ in 0..limits::TYPING_RECIPIENTS_MAX {
        b.datagram(b"garbage");
    }
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped);
}

#[test]
fn typing_leaves_half_of_a_line_to_everything_else() {
    let mut b = bench();
    b.log_in();
    b.ask(look_up("bob"));
    let port = b.edge.router().port(&server(3)).unwrap();
    for _ in 0..limits::LINK_QUEUE_MAX / 2 {
        port.send(ToHome::Detach(SessionId(1))).unwrap();
    }
    assert_eq!(b.datagram(&typing("bob")), Passed::Dropped);
    b.ask(look_up("bob"));
    assert_eq!(b.answer(), None, "a request still fits");
}

#[test]
fn typing_on_the_stream_is_out_of_state() {
    let mut b = bench();
    b.log_in();
    b.send(0, Ask::Typing(client::Typing { user: "bob".into(), group: String::new() }));
    assert_eq!(b.code(), Code::BadState);
    assert!(b.ends_with(Code::BadState, Fate::Closed));
}

#[test]
fn only_the_own_home_says_that_somebody_is_writing_and_much_of_it_is_lost() {
    let mut b = bench();
    b.log_in();
    let says = Answer::Typing(client::Typing { user: "bob".into(), group: String::new() });
    b.home_says(3, 0, 0, says.clone());
    assert_eq!(b.state.datagrams.pop(), None);
    for _ in 0..limits::TYPING_QUEUE_MAX + 5 {
        b.home_says(1, 0, 0, says.clone());
    }
    let mut count = 0;
    while let Some(bytes) = b.state.datagrams.pop() {
        let frame = ServerFrame::decode(bytes).unwrap();
        assert_eq!((frame.rid, frame.body), (0, Some(says.clone())));
        count += 1;
    }
    assert_eq!(count, limits::TYPING_QUEUE_MAX);
    assert_eq!(b.answer(), None, "not on the stream");
}

#[test]
fn news_of_presence_come_for_an_open_log_and_are_lost_where_it_is_tight() {
    let mut b = bench();
    b.log_in();
    b.open("@bob", 3);
    let online =
        |open_id| Answer::Online(client::Online { log: "@bob".into(), open_id, online: true });
    b.home_says(3, 0, 3, online(0));
    assert_eq!(b.answer(), Some(online(3)));
    b.home_says(3, 0, 2, online(2));
    b.home_says(1, 0, 3, online(3));
    assert_eq!(b.answer(), None, "another Open, another home");
    let entry = Entry { log: "@bob".into(), envelope: vec![0; 60_000].into(), ..Entry::default() };
    for _ in 0..5 {
        b.home_says(3, 0, 3, Answer::Entry(entry.clone()));
    }
    b.home_says(3, 0, 3, online(3));
    let mut seen = Vec::new();
    while let Some(answer) = b.answer() {
        seen.push(answer);
    }
    assert_eq!(seen.len(), 5, "the entries, and not the news");
}

#[tokio::test]
async fn more_chunks_than_a_second_takes_are_told_to_slow_down() {
    let mut b = bench();
    for _ in 0..limits::CHUNKS_PER_S {
        assert_eq!(b.state.count_chunk(b.now), Ok(()));
    }
    let after = b.state.count_chunk(b.now).unwrap_err();
    assert!(after > Duration::ZERO && after < Duration::from_secs(1), "{after:?}");
    assert_eq!(b.state.count_chunk(b.now + after), Ok(()));
}

#[tokio::test]
async fn the_third_malformed_chunk_says_goodbye_and_a_slow_one_never() {
    let mut b = bench();
    b.log_in();
    for _ in 0..9 {
        b.state.chunk_fault(Code::Timeout, b.edge.limits(), b.now);
        b.state.chunk_fault(Code::Unsupported, b.edge.limits(), b.now);
    }
    for _ in 0..2 {
        b.state.chunk_fault(Code::Malformed, b.edge.limits(), b.now);
        assert!(b.state.end.is_none());
    }
    b.state.chunk_fault(Code::Malformed, b.edge.limits(), b.now);
    assert_eq!(b.code(), Code::Malformed);
    assert!(b.ends_with(Code::Malformed, Fate::Closed));
}
