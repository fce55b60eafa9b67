//! Every row of the table of bad input that a client can cause: its typed answer, and what
//! becomes of the connection. The server stays well through all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use bytes::Bytes;
use fastchat::limits::{FRAME_BYTES_MAX, Limits};
use fastchat::net::{ConnectError, Target};
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{Hello, LookUp, ServerFrame};
use raw::{Cluster, LONG, Raw, error};

fn look_up(user: &str) -> Ask {
    Ask::LookUp(LookUp { user: user.to_owned() })
}

/// Sends bytes on a fresh session stream and returns it with the reader of the answers.
async fn bytes_on(
    conn: &quinn::Connection,
    bytes: &[u8],
) -> (quinn::SendStream, fastchat::net::FrameReader<ServerFrame>) {
    let (mut send, recv) = conn.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    (send, fastchat::net::FrameReader::new(recv, FRAME_BYTES_MAX, LONG))
}

async fn error_on(reader: &mut fastchat::net::FrameReader<ServerFrame>) -> Code {
    let frame = tokio::time::timeout(LONG, reader.read()).await.unwrap().unwrap().unwrap();
    error(frame.body.unwrap()).0
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_limit_closes_the_connection_before_it_is_read() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let conn = cluster.connect(1).await;
    let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let (_send, mut reader) = bytes_on(&conn, &length).await;
    assert_eq!(error_on(&mut reader).await, Code::FrameTooLarge);
    assert_eq!(raw::close_code(&conn).await, Some(Code::FrameTooLarge));
    cluster.greeted(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_end_their_stream_and_the_third_the_connection() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let conn = cluster.connect(1).await;
    for bad in [framed(&[0xff; 9]), framed(&[])] {
        let (_send, mut reader) = bytes_on(&conn, &bad).await;
        assert_eq!(error_on(&mut reader).await, Code::Malformed);
        assert!(matches!(reader.read().await, Ok(None)), "the stream ends in order");
    }
    // The connection is as good as new: another stream, another session.
    let mut raw = Raw::over(conn).await;
    raw.greet().await;
    raw.send(0, look_up("alice")).await;
    assert_eq!(error(raw.next().await).0, Code::Malformed);
    assert_eq!(raw.close_code().await, Some(Code::Malformed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_request_is_answered_and_an_optional_one_is_not() {
    let cluster = Cluster::start(1, Limits::default()).await;
    // Field 1 (rid) = 7, field 100 = an empty message; the second also field 2 (optional) = true.
    let unknown = |optional: bool| {
        let mut body = vec![0x08, 7];
        if optional {
            body.extend([0x10, 1]);
        }
        body.extend([0xa2, 0x06, 0]);
        framed(&body)
    };
    let conn = cluster.connect(1).await;
    let hello = fastchat::wire::client::ClientFrame {
        rid: 1,
        optional: false,
        body: Some(Ask::Hello(Hello { version_min: 1, version_max: 1, agent: String::new() })),
    };
    let mut bytes = framed(&prost::Message::encode_to_vec(&hello));
    bytes.extend(unknown(true));
    bytes.extend(unknown(false));
    let (_send, mut reader) = bytes_on(&conn, &bytes).await;
    let first = reader.read().await.unwrap().unwrap();
    assert!(matches!(first.body, Some(Answer::HelloOk(_))));
    let second = reader.read().await.unwrap().unwrap();
    assert_eq!(second.rid, 7);
    assert_eq!(error(second.body.unwrap()).0, Code::Unsupported);
    assert!(conn.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_another_version_or_protocol_is_turned_away() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let mut raw = cluster.raw(1).await;
    let hello = Hello { version_min: 2, version_max: 3, agent: String::new() };
    let (code, told) = raw.ask_error(Ask::Hello(hello)).await;
    assert_eq!((code, told.version_min, told.version_max), (Code::Version, 1, 1));
    assert_eq!(raw.close_code().await, Some(Code::Version));
    for wrong in [Target::Balancer, Target::Peer] {
        let refused = cluster.try_connect(1, wrong).await;
        assert!(matches!(refused, Err(ConnectError::Protocol)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_out_of_state_closes_the_connection() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let mut raw = cluster.raw(1).await;
    raw.send(1, look_up("alice")).await;
    assert_eq!(error(raw.next().await).0, Code::BadState);
    assert_eq!(raw.close_code().await, Some(Code::BadState));
    let mut raw = cluster.greeted(1).await;
    assert_eq!(error(raw.open("@alice", 1, 0).await).0, Code::BadState);
    assert_eq!(raw.close_code().await, Some(Code::BadState));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_stays_partial_ends_its_stream() {
    let limits = Limits { frame_deadline_ms: 100, ..Limits::default() };
    let cluster = Cluster::start(1, limits).await;
    let conn = cluster.connect(1).await;
    let (send, mut reader) = bytes_on(&conn, &[0, 0]).await;
    assert_eq!(error_on(&mut reader).await, Code::Timeout);
    drop(send);
    let mut raw = Raw::over(conn).await;
    raw.greet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_log_in_in_time_is_closed() {
    let limits = Limits { login_deadline_ms: 200, ..Limits::default() };
    let cluster = Cluster::start(1, limits).await;
    let silent = cluster.connect(1).await;
    let mut greeted = cluster.greeted(1).await;
    assert_eq!(error(greeted.next().await).0, Code::LoginTimeout);
    assert_eq!(greeted.close_code().await, Some(Code::LoginTimeout));
    assert_eq!(raw::close_code(&silent).await, Some(Code::LoginTimeout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_only_so_many_connections_and_a_free_place_is_taken_again() {
    let limits = Limits { connections_per_ip_max: 2, ..Limits::default() };
    let cluster = Cluster::start(1, limits).await;
    let first = cluster.greeted(1).await;
    let _second = cluster.greeted(1).await;
    let third = cluster.connect(1).await;
    assert_eq!(raw::close_code(&third).await, Some(Code::ServerFull));
    first.conn.close(0u32.into(), b"");
    // The place is free once the server has seen the close: ask until it has.
    loop {
        let conn = cluster.connect(1).await;
        let Ok(stream) = conn.open_bi().await else { continue };
        if Raw::on(conn, stream).is_greeted().await {
            return;
        }
    }
}

// ---------------------------------------------------------------- login

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_failed_login_closes_the_connection() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let mut alice = cluster.person("alice", 0);
    let _first = cluster.sign_up(1, &mut alice).await;
    let mut raw = cluster.greeted(1).await;
    let mut wrong = alice.login(cluster.ticket(1));
    wrong.auth_key = "B".repeat(44);
    assert_eq!(raw.ask_error(Ask::Login(wrong.clone())).await.0, Code::WrongPassword);
    let nobody = cluster.person("nobody", 1).login(cluster.ticket(1));
    assert_eq!(raw.ask_error(Ask::Login(nobody)).await.0, Code::NoSuchUser);
    let taken = cluster.person("alice", 1).sign_up(cluster.ticket(1));
    assert_eq!(raw.ask_error(taken).await.0, Code::NameTaken);
    assert_eq!(raw.close_code().await, Some(Code::NameTaken));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_slow_the_account_down_at_every_server_but_not_its_resume() {
    let limits =
        Limits { password_failures_free: 2, failures_per_connection_max: 9, ..Limits::default() };
    let cluster = Cluster::start(2, limits).await;
    let mut alice = cluster.person("alice", 0);
    drop(cluster.sign_up(1, &mut alice).await);
    for (server, expected) in
        [(1, Code::WrongPassword), (2, Code::WrongPassword), (1, Code::SlowDown)]
    {
        let mut raw = cluster.greeted(server).await;
        let mut wrong = alice.login(cluster.ticket(server));
        wrong.auth_key = "B".repeat(44);
        assert_eq!(raw.ask_error(Ask::Login(wrong)).await.0, expected);
    }
    let mut raw = cluster.greeted(1).await;
    let right = Ask::Login(alice.login(cluster.ticket(1)));
    let (code, told) = raw.ask_error(right).await;
    assert_eq!(code, Code::SlowDown);
    assert!((1..=1_000).contains(&told.retry_after_ms), "{told:?}");
    cluster.resume(1, &mut alice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_up_whose_answer_was_lost_can_be_repeated_and_nobody_else_gets_the_name() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let mut alice = cluster.person("alice", 0);
    drop(cluster.sign_up(1, &mut alice).await);
    drop(cluster.sign_up(1, &mut alice).await);
    let mut raw = cluster.greeted(1).await;
    // The bundle is public; without the password it proves nothing.
    let mut thief = cluster.person("alice", 0);
    thief.auth_key = "B".repeat(44);
    assert_eq!(raw.ask_error(thief.sign_up(cluster.ticket(1))).await.0, Code::NameTaken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_is_missing_used_or_for_another_server_admits_nobody() {
    let cluster = Cluster::start(2, Limits::default()).await;
    let alice = cluster.person("alice", 0);
    let mut raw = cluster.greeted(1).await;
    for bad in [Bytes::new(), cluster.ticket(2), Bytes::from_static(b"\x0a\x02s1")] {
        assert_eq!(raw.ask_error(alice.sign_up(bad)).await.0, Code::TicketInvalid);
    }
    let ticket = cluster.ticket(1);
    let welcome = raw.ask(alice.sign_up(ticket.clone())).await;
    assert!(matches!(welcome, Answer::Welcome(_)), "{welcome:?}");
    let mut again = cluster.greeted(1).await;
    let used = Ask::Login(alice.login(ticket));
    assert_eq!(again.ask_error(used).await.0, Code::TicketInvalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_counts_once_and_only_where_it_was_signed_for() {
    let cluster = Cluster::start(2, Limits::default()).await;
    let mut alice = cluster.person("alice", 0);
    drop(cluster.sign_up(1, &mut alice).await);
    let claim = alice.resume(&cluster, 2);
    let mut elsewhere = cluster.greeted(1).await;
    let moved = Ask::Resume(claim.clone());
    assert_eq!(elsewhere.ask_error(moved).await.0, Code::ResumeRefused);
    let mut raw = cluster.greeted(2).await;
    let answer = raw.ask(Ask::Resume(claim.clone())).await;
    assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");
    let mut replay = cluster.greeted(2).await;
    assert_eq!(replay.ask_error(Ask::Resume(claim)).await.0, Code::ResumeRefused);
    let mut forged = alice.resume(&cluster, 2);
    forged.count += 1;
    assert_eq!(replay.ask_error(Ask::Resume(forged)).await.0, Code::ResumeRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_signs_up_and_logs_in_only_so_often() {
    let limits = Limits {
        logins_per_ip_per_min: 1,
        sign_ups_per_ip_per_min: 1,
        look_ups_per_ip_per_min: 1,
        ..Limits::default()
    };
    let cluster = Cluster::start(1, limits).await;
    let mut raw = cluster.greeted(1).await;
    let alice = cluster.person("alice", 0);
    let login = || Ask::Login(alice.login(Bytes::new()));
    let sign_up = || alice.sign_up(Bytes::new());
    for expected in [Code::TicketInvalid, Code::SlowDown] {
        assert_eq!(raw.ask_error(login()).await.0, expected);
        assert_eq!(raw.ask_error(sign_up()).await.0, expected);
    }
    for expected in [Code::NoSuchUser, Code::SlowDown] {
        let (code, told) = raw.ask_error(look_up("bob")).await;
        assert_eq!(code, expected);
        assert_eq!(told.retry_after_ms > 0, code == Code::SlowDown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_device_has_to_ask_before_it_takes_a_session_over() {
    let cluster = Cluster::start(2, Limits::default()).await;
    let mut alice = cluster.person("alice", 0);
    let mut first = cluster.sign_up(1, &mut alice).await;
    let mut second = cluster.greeted(2).await;
    let mut login = alice.login(cluster.ticket(2));
    login.device = 99;
    let (code, told) = second.ask_error(Ask::Login(login.clone())).await;
    assert_eq!(code, Code::AlreadyLoggedIn);
    assert!(told.since_unix_ms > 0);
    login.takeover = true;
    login.ticket = cluster.ticket(2);
    let answer = second.ask(Ask::Login(login)).await;
    assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");
    assert_eq!(error(first.next().await).0, Code::SessionReplaced);
    assert_eq!(first.close_code().await, Some(Code::SessionReplaced));
}
