//! What crosses two servers: messages, look-ups, and the news that one of them is away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::time::Duration;

use fastchat::limits::Limits;
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Block, ChangePassword, ClientFrame, DeleteAccount, Done, LookUp, Opened, ServerFrame,
    SetPresence, Typing, Who, WhoList,
};
use prost::Message;
use raw::{Cluster, LONG, Person, Raw, error};

/// Two servers; alice lives on s1 and is connected at s2, bob the other way round.
struct Crossed {
    cluster: Cluster,
    alice: Person,
    alice_at_2: Raw,
    bob: Person,
    bob_at_1: Raw,
}

async fn crossed() -> Crossed {
    let cluster = Cluster::start(2, Limits::default()).await;
    let mut alice = cluster.person(&cluster.name_at(1, "alice"), 0);
    let mut bob = cluster.person(&cluster.name_at(2, "bob"), 1);
    let alice_at_2 = cluster.sign_up(2, &mut alice).await;
    let bob_at_1 = cluster.sign_up(1, &mut bob).await;
    Crossed { cluster, alice, alice_at_2, bob, bob_at_1 }
}

fn look_up(user: &str) -> Ask {
    Ask::LookUp(LookUp { user: user.to_owned() })
}

async fn appended(raw: &mut Raw) -> u64 {
    match raw.next().await {
        Answer::Appended(appended) => appended.n,
        other => panic!("not appended: {other:?}"),
    }
}

async fn entry(raw: &mut Raw) -> (u64, u32) {
    match raw.next().await {
        Answer::Entry(entry) => (entry.seq, entry.open_id),
        other => panic!("not an entry: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_crosses_two_servers_and_its_delivery_is_told() {
    let mut c = crossed().await;
    let inbox = c.bob_at_1.opened(&c.bob.log(), 7, 0).await;
    let log = c.alice_at_2.opened(&c.bob.log(), 1, 0).await;
    assert_eq!((log.last_n, log.delivered_n), (0, 0));
    c.alice_at_2.send(0, c.alice.append(&c.bob.log(), &log, 1)).await;
    assert_eq!(appended(&mut c.alice_at_2).await, 1);
    assert_eq!(entry(&mut c.bob_at_1).await, (1, 7));
    c.bob_at_1.cursor(&inbox, 1).await;
    match c.alice_at_2.next().await {
        Answer::Delivered(delivered) => {
            assert_eq!((delivered.open_id, delivered.delivered_n), (1, 1));
        }
        other => panic!("not told: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_session_stay_in_order_all_the_way() {
    let mut c = crossed().await;
    c.bob_at_1.opened(&c.bob.log(), 1, 0).await;
    let log = c.alice_at_2.opened(&c.bob.log(), 1, 0).await;
    for n in 1..=64 {
        c.alice_at_2.send(0, c.alice.append(&c.bob.log(), &log, n)).await;
    }
    for n in 1..=64 {
        assert_eq!(appended(&mut c.alice_at_2).await, n);
        assert_eq!(entry(&mut c.bob_at_1).await.0, n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_author_and_an_unknown_name_are_refused_across_servers() {
    let mut c = crossed().await;
    let block = Block { user: c.alice.name.to_string(), blocked: true };
    assert_eq!(c.bob_at_1.ask(Ask::Block(block)).await, Answer::Done(Done::default()));
    let log = c.alice_at_2.opened(&c.bob.log(), 1, 0).await;
    c.alice_at_2.send(0, c.alice.junk(&c.bob.log(), &log, 1)).await;
    match c.alice_at_2.next().await {
        Answer::Refused(refused) => {
            assert_eq!((refused.code, refused.n), (Code::Blocked as u32, 1));
        }
        other => panic!("not refused: {other:?}"),
    }
    let nobody = c.cluster.name_at(1, "nobody");
    let (code, _) = c.bob_at_1.ask_error(look_up(&nobody)).await;
    assert_eq!(code, Code::NoSuchUser);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named_and_everything_else_goes_on() {
    let mut c = crossed().await;
    let mut carol = c.cluster.person(&c.cluster.name_at(1, "carol"), 2);
    let mut carol_at_1 = c.cluster.sign_up(1, &mut carol).await;
    carol_at_1.opened(&c.bob.log(), 1, 0).await;
    carol_at_1.opened(&c.alice.log(), 2, 0).await;
    c.cluster.stop(2).await;

    // Bob's home is gone: his session has to be resumed elsewhere in time.
    assert_eq!(error(c.bob_at_1.next().await).0, Code::HomeDown);
    assert_eq!(c.bob_at_1.close_code().await, Some(Code::HomeDown));
    let Answer::Closed(closed) = carol_at_1.next().await else { panic!("not told") };
    assert_eq!((closed.code, closed.open_id), (Code::HomeDown as u32, 1));
    let Answer::Refused(refused) = carol_at_1.open(&c.bob.log(), 3, 0).await else {
        panic!("not refused")
    };
    assert_eq!((refused.code, refused.detail.as_str()), (Code::HomeDown as u32, "s2"));
    let (code, told) = carol_at_1.ask_error(look_up(c.bob.name.as_str())).await;
    assert_eq!((code, told.detail.as_str()), (Code::HomeDown, "s2"));
    let mut bob_again = c.cluster.greeted(1).await;
    let resume = c.bob.resume(&c.cluster, 1);
    assert_eq!(bob_again.ask_error(Ask::Resume(resume)).await.0, Code::HomeDown);

    // What lives on s1 is as usual.
    let found = carol_at_1.ask(look_up(c.alice.name.as_str())).await;
    assert!(matches!(found, Answer::Account(_)), "{found:?}");
    let Answer::WhoList(WhoList { users, missing, .. }) =
        carol_at_1.ask(Ask::Who(Who { all: true })).await
    else {
        panic!("no list")
    };
    assert_eq!(missing, ["s2"]);
    assert!(users.iter().any(|user| user.user == carol.name.as_str() && user.online));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_survives_the_restart_of_its_home_and_numbers_go_on() {
    let mut c = crossed().await;
    let mut carol = c.cluster.person(&c.cluster.name_at(1, "carol"), 2);
    let mut carol_at_1 = c.cluster.sign_up(1, &mut carol).await;
    let log = carol_at_1.opened(&c.bob.log(), 1, 0).await;
    carol_at_1.send(0, carol.append(&c.bob.log(), &log, 1)).await;
    assert_eq!(appended(&mut carol_at_1).await, 1);
    c.cluster.stop(2).await;
    c.cluster.restart(2).await;
    let log = open_when_back(&mut carol_at_1, &c.bob).await;
    assert_eq!(log.last_n, 1);
    let mut bob_at_1 = c.cluster.resume(1, &mut c.bob).await;
    bob_at_1.opened(&c.bob.log(), 1, 0).await;
    assert_eq!(entry(&mut bob_at_1).await.0, 1);
}

/// Opens somebody's inbox as soon as the line to its home is up again.
async fn open_when_back(raw: &mut Raw, owner: &Person) -> Opened {
    for open_id in 10.. {
        let mut answer = raw.open(&owner.log(), open_id, 0).await;
        if let Answer::Closed(_) = answer {
            answer = raw.next().await;
        }
        match answer {
            Answer::Opened(opened) => return opened,
            Answer::Refused(refused) => assert_eq!(refused.code, Code::HomeDown as u32),
            other => panic!("neither open nor away: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("never came back")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_during_the_password_check_leaves_no_session_behind() {
    for home in [1, 2] {
        let cluster = Cluster::start(2, Limits::default()).await;
        let mut alice = cluster.person(&cluster.name_at(home, "alice"), 0);
        drop(cluster.sign_up(1, &mut alice).await);
        let mut gone = cluster.greeted(1).await;
        gone.send(5, Ask::Login(alice.login(cluster.ticket(1)))).await;
        drop(gone);
        // Another device gets in, once the server noticed, without taking anything over.
        loop {
            let mut raw = cluster.greeted(1).await;
            let mut login = alice.login(cluster.ticket(1));
            login.device = 99;
            match raw.ask(Ask::Login(login)).await {
                Answer::Welcome(_) => break,
                other => assert_eq!(error(other).0, Code::AlreadyLoggedIn),
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_ends_the_session_at_once() {
    let mut c = crossed().await;
    let logout = Ask::Logout(fastchat::wire::client::Logout {});
    assert_eq!(c.alice_at_2.ask(logout).await, Answer::Done(Done::default()));
    c.alice_at_2.stream_ends().await;
    assert_eq!(c.alice_at_2.close_code().await, None);
    let mut other_device = c.cluster.greeted(1).await;
    let mut login = c.alice.login(c.cluster.ticket(1));
    login.device = 99;
    let answer = other_device.ask(Ask::Login(login)).await;
    assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_changes_across_servers_and_the_old_one_opens_nothing() {
    let mut c = crossed().await;
    let change = |old: &str, new: &str| {
        let (old_auth_key, new_auth_key) = (old.repeat(44), new.repeat(44));
        Ask::ChangePassword(ChangePassword { old_auth_key, new_auth_key })
    };
    let done = Answer::Done(Done::default());
    assert_eq!(c.alice_at_2.ask_error(change("X", "B")).await.0, Code::WrongPassword);
    assert_eq!(c.alice_at_2.ask(change("A", "B")).await, done);
    // The answer may have been lost.
    assert_eq!(c.alice_at_2.ask(change("A", "B")).await, done);
    assert_eq!(c.alice_at_2.ask_error(change("A", "C")).await.0, Code::WrongPassword);
    let mut raw = c.cluster.greeted(1).await;
    let login = c.alice.login(c.cluster.ticket(1));
    assert_eq!(raw.ask_error(Ask::Login(login)).await.0, Code::WrongPassword);
    c.alice.auth_key = "B".repeat(44);
    let login = c.alice.login(c.cluster.ticket(1));
    assert!(matches!(raw.ask(Ask::Login(login)).await, Answer::Welcome(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_account_ends_its_session_and_a_login_brings_it_back() {
    let mut c = crossed().await;
    let delete = |key: &str| Ask::DeleteAccount(DeleteAccount { auth_key: key.repeat(44) });
    assert_eq!(c.alice_at_2.ask_error(delete("X")).await.0, Code::WrongPassword);
    let Answer::Done(done) = c.alice_at_2.ask(delete("A")).await else { panic!("not done") };
    assert!(done.at_unix_ms > c.cluster.env.unix_ms());
    c.alice_at_2.stream_ends().await;
    assert_eq!(c.alice_at_2.close_code().await, None, "as after a logout");
    let mut raw = c.cluster.greeted(1).await;
    let resume = c.alice.resume(&c.cluster, 1);
    assert_eq!(raw.ask_error(Ask::Resume(resume)).await.0, Code::ResumeRefused);
    let log = c.bob_at_1.opened(&c.alice.log(), 1, 0).await;
    c.bob_at_1.send(0, c.bob.append(&c.alice.log(), &log, 1)).await;
    assert_eq!(appended(&mut c.bob_at_1).await, 1);
    let login = c.alice.login(c.cluster.ticket(1));
    assert!(matches!(raw.ask(Ask::Login(login)).await, Answer::Welcome(_)));
    drop(raw);
    c.cluster.resume(2, &mut c.alice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_going_and_hiding_are_told_across_servers() {
    let mut c = crossed().await;
    let log = c.alice_at_2.opened(&c.bob.log(), 4, 0).await;
    assert!(log.online);
    let set = |invisible| Ask::SetPresence(SetPresence { invisible });
    for (invisible, online) in [(true, false), (false, true)] {
        assert_eq!(c.bob_at_1.ask(set(invisible)).await, Answer::Done(Done::default()));
        match c.alice_at_2.next().await {
            Answer::Online(told) => {
                assert_eq!((told.log, told.open_id, told.online), (c.bob.log(), 4, online));
            }
            other => panic!("not told: {other:?}"),
        }
    }
    c.bob_at_1.conn.close(0u32.into(), b"");
    let Answer::Online(told) = c.alice_at_2.next().await else { panic!("not told") };
    assert!(!told.online);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_crosses_two_servers_in_datagrams_and_garbage_hurts_nobody() {
    let mut c = crossed().await;
    let typing = |user: &str| {
        let body = Ask::Typing(Typing { user: user.to_owned(), group: String::new() });
        ClientFrame { rid: 0, optional: false, body: Some(body) }.encode_to_vec()
    };
    let mut stranger = c.cluster.greeted(2).await;
    for bytes in [typing(c.bob.name.as_str()), b"garbage".to_vec()] {
        stranger.conn.send_datagram(bytes.into()).unwrap();
    }
    c.alice_at_2.conn.send_datagram(vec![7; 100].into()).unwrap();
    c.alice_at_2.conn.send_datagram(typing(c.bob.name.as_str()).into()).unwrap();
    let heard = tokio::time::timeout(LONG, c.bob_at_1.conn.read_datagram()).await.unwrap();
    let frame = ServerFrame::decode(heard.unwrap()).unwrap();
    let from = c.alice.name.to_string();
    assert_eq!(
        (frame.rid, frame.body),
        (0, Some(Answer::Typing(Typing { user: from, group: String::new() })))
    );
    // Both connections are as they were.
    for raw in [&mut c.alice_at_2, &mut stranger] {
        let found = raw.ask(look_up(c.bob.name.as_str())).await;
        assert!(matches!(found, Answer::Account(_)), "{found:?}");
    }
}
