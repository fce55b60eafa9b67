//! Passwords that change, accounts that go.

use super::*;

const GRACE_MS: u64 = 7 * 24 * 3600 * 1000;

fn change(proven: &str, verifier: &str) -> HomeRequest {
    HomeRequest::ChangePassword { proven: proven.to_owned(), verifier: verifier.to_owned() }
}

fn delete(proven: &str) -> HomeRequest {
    HomeRequest::DeleteAccount { proven: proven.to_owned() }
}

fn later(bed: &Bed, ms: u64) {
    bed.world.now_ms.fetch_add(ms, Ordering::Relaxed);
}

/// Alice asked for her account to be deleted; returns when it will be.
async fn deleted(bed: &mut Bed, alice: &Caller) -> u64 {
    match bed.ask(alice, delete("hash of alice")).await {
        Body::Done(done) => done.at_unix_ms,
        other => panic!("{other:?}"),
    }
}

fn look_up(text: &str) -> HomeRequest {
    HomeRequest::LookUp { user: name(text) }
}

/// How many rows of a table are left in the file of a home that was stopped.
fn rows(bed: &Bed, sql: &str) -> u64 {
    let conn = rusqlite::Connection::open(bed.folder.path().join("s1.db")).unwrap();
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

#[tokio::test(start_paused = true)]
async fn a_password_changes_only_if_the_proven_one_is_still_the_accounts() {
    let mut bed = Bed::new();
    let (alice, _, _) = bed.alice_and_bob().await;
    let done = bed.ask(&alice, change("hash of alice", "second hash")).await;
    assert_eq!(done, Body::Done(wire::Done::default()));
    let Body::Error(error) = bed.ask(&alice, change("hash of alice", "third hash")).await else {
        panic!("no error")
    };
    assert_eq!(error.code, Code::Busy as u32);
    assert!(error.retry_after_ms > 0, "it is proven again then");
    bed.kill().await;
    let stored = bed.home.verifier(&name("alice")).await.unwrap().unwrap();
    assert_eq!(stored.hash, "second hash");
}

#[tokio::test(start_paused = true)]
async fn only_the_live_session_changes_a_password_or_deletes_an_account() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    let elsewhere = Caller { sid: SessionId(77), ..alice.clone() };
    for request in [change("hash of alice", "x"), delete("hash of alice")] {
        assert_eq!(code(bed.ask(&elsewhere, request.clone()).await), Code::SessionReplaced);
        assert_eq!(code(bed.ask(&stranger(9), request).await), Code::BadState);
    }
    // Bob's request is about Bob, whoever's hash it names.
    assert_eq!(code(bed.ask(&bob, delete("hash of alice")).await), Code::Busy);
    assert!(bed.home.verifier(&name("alice")).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_account_to_be_deleted_takes_mail_and_no_resume_and_a_login_keeps_it() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let at_ms = deleted(&mut bed, &alice).await;
    assert_eq!(at_ms, bed.world.unix_ms() + GRACE_MS);
    // The session is over, for good.
    assert_eq!(code(bed.ask(&alice, HomeRequest::Who { all: false }).await), Code::SessionReplaced);
    let person = Person::new("alice");
    assert_eq!(code(bed.ask(&stranger(3), person.resume(5, "e1")).await), Code::ResumeRefused);
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    bed.kill().await;
    later(&bed, GRACE_MS - 1);
    assert_eq!(code(bed.ask(&stranger(3), person.resume(6, "e1")).await), Code::ResumeRefused);
    let login = bed.ask(&stranger(3), person.login(Takeover::Ask)).await;
    let Body::Welcome(welcome) = login else { panic!("no welcome: {login:?}") };
    later(&bed, GRACE_MS);
    let alice = person.at(3, welcome.session_epoch);
    assert_eq!(bed.open(&alice, "alice", 1).await.head_seq, 1);
    bed.kill().await;
    assert!(bed.home.verifier(&name("alice")).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_longest_grace_there_is_is_not_over_at_once() {
    let limits = Limits { account_grace_ms: i64::MAX.unsigned_abs(), ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (alice, _, _) = bed.alice_and_bob().await;
    assert_eq!(deleted(&mut bed, &alice).await, i64::MAX.unsigned_abs());
    assert!(matches!(bed.ask(&stranger(3), look_up("alice")).await, Body::Account(_)));
}

#[tokio::test(start_paused = true)]
async fn when_the_time_has_come_nothing_is_left_but_a_name_nobody_gets() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    bed.ask(&alice, HomeRequest::Block { user: name("carol"), blocked: true }).await;
    for n in 1..=3 {
        appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
    }
    let opened = bed.open(&alice, "alice", 2).await;
    bed.cursor(&alice, &Opening::of(&opened), 1).await;
    bed.settle().await;
    // What she wrote to others stays theirs.
    let to_bob = Opening::of(&bed.open(&alice, "bob", 3).await);
    appended(bed.append(&alice, &to_bob, message("bob", &alice, 1)).await);
    deleted(&mut bed, &alice).await;
    // The home is not running when it is due.
    bed.home.stop().await;
    later(&bed, GRACE_MS);
    bed.reopen();
    let person = Person::new("alice");
    assert_eq!(code(bed.ask(&stranger(3), look_up("alice")).await), Code::NoSuchUser);
    assert_eq!(code(bed.ask(&stranger(3), person.login(Takeover::Ask)).await), Code::NoSuchUser);
    assert_eq!(code(bed.ask(&stranger(3), person.resume(9, "e1")).await), Code::NoSuchUser);
    assert_eq!(bed.home.verifier(&name("alice")).await, Ok(None));
    let again = HomeRequest::SignUp {
        user: name("alice"),
        verifier: "hash".to_owned(),
        bundle: person.bundle(1),
        device: person.device,
        visibility: Visibility::Visible,
    };
    assert_eq!(code(bed.ask(&stranger(3), again).await), Code::NameTaken);
    let epoch = to_alice.epoch;
    let open = HomeRequest::Open {
        log: inbox("alice"),
        open_id: 5,
        epoch,
        cursor: Seq(0),
        write_only: false,
    };
    assert_eq!(code(bed.ask(&bob, open).await), Code::NoSuchUser);
    let late = bed.append(&bob, &to_alice, message("alice", &bob, 4)).await;
    assert_eq!(code(late), Code::NoSuchUser);
    let Body::WhoList(list) = bed.ask(&bob, HomeRequest::Who { all: true }).await else {
        panic!("no list")
    };
    assert_eq!(list.users.iter().map(|user| user.user.as_str()).collect::<Vec<_>>(), ["bob"]);
    // Bob still gets what she wrote before.
    assert_eq!(bed.open(&bob, "bob", 6).await.head_seq, 1);
    bed.settle().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.home.stop().await;
    let of_alice = "FROM accounts a JOIN logs l ON l.id = a.id WHERE a.name = 'alice'";
    assert_eq!(rows(&bed, &format!("SELECT count(*) {of_alice}")), 0);
    assert_eq!(rows(&bed, "SELECT count(*) FROM entries"), 1);
    assert_eq!(rows(&bed, "SELECT count(*) FROM devices"), 1);
    assert_eq!(rows(&bed, "SELECT count(*) FROM blocks"), 0);
    assert_eq!(rows(&bed, "SELECT count(*) FROM cursors"), 1);
    assert_eq!(rows(&bed, "SELECT count(*) FROM producers"), 1);
    let name_only = "SELECT count(*) FROM accounts WHERE name = 'alice' AND verifier = ''
                     AND bundle = x'' AND session_sid IS NULL";
    assert_eq!(rows(&bed, name_only), 1);
    assert_eq!(rows(&bed, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_goes_by_itself_and_in_parts_while_nobody_asks() {
    let limits = Limits { account_grace_ms: 50_000, ..Limits::default() };
    let limits = Limits { inbox_author_entries_max: 5_000, ..limits };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=2_500 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    deleted(&mut bed, &alice).await;
    // News of her going are told, and then nothing wakes the home but its own clock.
    tokio::time::sleep(Duration::from_secs(5)).await;
    later(&bed, 50_000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    bed.home.stop().await;
    assert_eq!(rows(&bed, "SELECT count(*) FROM entries"), 0);
    assert_eq!(rows(&bed, "SELECT count(*) FROM logs"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_of_an_older_database_can_be_deleted() {
    let mut bed = Bed::new();
    bed.home.stop().await;
    let database = bed.folder.path().join("s1.db");
    std::fs::remove_file(&database).unwrap();
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.execute_batch(include_str!("testdata/v1.sql")).unwrap();
    drop(conn);
    bed.reopen();
    let person = Person::new("alice");
    let Body::Welcome(welcome) = bed.ask(&stranger(1), person.resume(10, "e1")).await else {
        panic!("no welcome")
    };
    deleted(&mut bed, &person.at(1, welcome.session_epoch)).await;
    later(&bed, GRACE_MS);
    assert_eq!(code(bed.ask(&stranger(1), look_up("alice")).await), Code::NoSuchUser);
}
