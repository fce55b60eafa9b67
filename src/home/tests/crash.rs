//! Nothing is answered before its COMMIT; what was answered is kept; planted bugs are visible.

use rusqlite::Connection;

use super::*;
use crate::net::env::Bug;

const DISK: u64 = 1_000;

/// Lets the disk take a second from here on.
fn slow_disk(bed: &Bed) {
    bed.world.disk_ms.store(DISK, Ordering::Relaxed);
}

/// Ends the node's tasks at their next await, as the simulator does.
async fn crash(bed: &Bed) {
    bed.killed.cancel();
    bed.home.queue.closed().await;
}

fn stored(bed: &Bed) -> (Vec<i64>, i64) {
    let conn = Connection::open(bed.folder.path().join("s1.db")).unwrap();
    let mut select = conn.prepare("SELECT n FROM entries ORDER BY id").unwrap();
    let numbers = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let last = "SELECT coalesce(max(last_n), 0) FROM producers";
    (numbers, conn.query_row(last, [], |row| row.get(0)).unwrap())
}

async fn bed_with(bug: Option<Bug>) -> (Bed, Caller, Opening) {
    let options = TestOptions { bug, ..TestOptions::default() };
    let mut bed = Bed::with(Limits::default(), options);
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    bed.settle().await;
    slow_disk(&bed);
    bed.send(&bob, 0, to_alice.append(message("alice", &bob, 1))).await;
    (bed, bob, to_alice)
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_commit_leaves_nothing_and_nothing_was_answered() {
    let (mut bed, ..) = bed_with(None).await;
    tokio::time::sleep(Duration::from_millis(DISK / 2)).await;
    assert!(bed.outputs.is_empty());
    crash(&bed).await;
    assert!(bed.outputs.recv().await.is_none());
    assert_eq!(stored(&bed), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_commit_keeps_the_entry_though_nobody_was_told() {
    let (mut bed, bob, to_alice) = bed_with(None).await;
    tokio::time::sleep(Duration::from_millis(DISK + DISK / 2)).await;
    assert!(bed.outputs.is_empty());
    crash(&bed).await;
    assert!(bed.outputs.recv().await.is_none());
    assert_eq!(stored(&bed), (vec![1], 1));
    // Sent again, it is known.
    bed.world.disk_ms.store(0, Ordering::Relaxed);
    bed.reopen();
    let again = bed.append(&bob, &to_alice, message("alice", &bob, 1)).await;
    assert_eq!(appended(again).1, Seq(1));
    assert_eq!(stored(&bed).0, [1]);
}

#[tokio::test(start_paused = true)]
async fn everything_answered_survives_a_kill() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    for round in 0..5 {
        for n in round * 20 + 1..=round * 20 + 20 {
            bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
        }
        for _ in 0..10 {
            bed.next().await;
        }
        bed.kill().await;
        let opened = bed.open(&bob, "alice", 2).await;
        assert!(opened.last_n >= round * 20 + 10);
        assert_eq!((opened.epoch, opened.last_n), (to_alice.epoch.0, opened.head_seq));
        for n in opened.last_n + 1..=round * 20 + 20 {
            appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
        }
    }
    bed.open(&alice, "alice", 1).await;
    assert_eq!(entries(&bed.settle().await), (1..=100).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn the_planted_ack_before_commit_loses_an_acknowledged_entry() {
    let (mut bed, ..) = bed_with(Some(Bug::AckBeforeCommit)).await;
    assert!(matches!(bed.next().await.1, Body::Appended(_)));
    crash(&bed).await;
    assert_eq!(stored(&bed), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn the_planted_second_transaction_stores_an_entry_twice() {
    let (mut bed, bob, to_alice) = bed_with(Some(Bug::DedupInAnotherTransaction)).await;
    tokio::time::sleep(Duration::from_millis(DISK + DISK / 2)).await;
    crash(&bed).await;
    assert_eq!(stored(&bed), (vec![1], 0));
    bed.world.disk_ms.store(0, Ordering::Relaxed);
    bed.reopen();
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    assert_eq!(stored(&bed).0, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_planted_missing_gap_check_stores_what_leaves_a_gap() {
    let (mut bed, bob, to_alice) = bed_with(Some(Bug::NoGapCheck)).await;
    assert!(matches!(bed.next().await.1, Body::Appended(_)));
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 3)).await);
    assert_eq!(stored(&bed).0, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_waits_and_leaves_one_file() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=50 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.home.stop().await;
    let call = Call { from: bob.clone(), rid: 1, request: HomeRequest::Logout };
    assert_eq!(bed.home.call(&edge("e1"), call).await, Err(HomeGone));
    assert_eq!(bed.home.verifier(&name("bob")).await, Err(HomeGone));
    for n in 1..=50 {
        assert_eq!(appended(bed.next().await.1).0, N(n));
    }
    assert!(bed.outputs.recv().await.is_none());
    assert!(!bed.folder.path().join("s1.db-wal").exists());
    bed.reopen();
    assert_eq!(bed.open(&bob, "alice", 2).await.last_n, 50);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_stops_the_home_instead_of_being_pushed() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    let conn = Connection::open(bed.folder.path().join("s1.db")).unwrap();
    conn.execute("UPDATE entries SET envelope = CAST(x'00' || envelope AS BLOB)", []).unwrap();
    let (log, epoch) = (inbox("alice"), LogEpoch(0));
    let open = HomeRequest::Open { log, open_id: 1, epoch, cursor: Seq(0), write_only: false };
    bed.send(&alice, 0, open).await;
    let failure = bed.home.failed().await;
    assert_eq!(failure, HomeFailure::Corrupt("entry 1 of log u-".to_owned()));
    assert!(matches!(bed.next().await.1, Body::Opened(_)));
    assert!(bed.outputs.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_deliveries_go_on_and_nothing_is_half_done() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    for n in 1..=300 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    let before = bed.settle().await;
    bed.home.tamper("PRAGMA max_page_count = 1").await;
    // One batch: what cannot be stored, and what can go on.
    let big = envelope(wire::Kind::Message, "alice", &bob, 301, 301, &[0; 60_000]);
    bed.send(&bob, 0, to_alice.append(big.clone())).await;
    bed.cursor(&alice, &own, 256).await;
    bed.send(&bob, 77, HomeRequest::Who { all: false }).await;
    let seen = bed.settle().await;
    let full = seen.iter().find_map(|(_, body)| match body {
        Body::Refused(refused) => Some((refused.n, refused.code)),
        _ => None,
    });
    assert_eq!(full, Some((301, Code::StorageFull as u32)));
    assert!(seen.iter().any(|(_, body)| matches!(body, Body::WhoList(_))));
    let mut got = entries(&before);
    got.extend(entries(&seen));
    assert_eq!(got, (1..=300).collect::<Vec<u64>>());
    bed.home.tamper("PRAGMA max_page_count = 1000000").await;
    assert_eq!(appended(bed.append(&bob, &to_alice, big).await).0, N(301));
}

#[tokio::test(start_paused = true)]
async fn one_operation_that_fails_is_internal_and_the_rest_of_its_batch_is_done() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    let carol = bed.sign_up(&Person::new("carol"), 3).await;
    let trigger = "CREATE TRIGGER wrong BEFORE INSERT ON entries WHEN NEW.n = 2
                   BEGIN SELECT RAISE(ABORT, 'as the test wants'); END";
    bed.home.tamper(trigger).await;
    for n in 1..=3 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
        bed.send(&carol, 0, to_alice.append(message("alice", &carol, n))).await;
    }
    let answers: Vec<(u64, u32)> = bed
        .settle()
        .await
        .into_iter()
        .map(|(_, body)| match body {
            Body::Appended(appended) => (appended.n, 0),
            Body::Refused(refused) => (refused.n, refused.code),
            other => panic!("{other:?}"),
        })
        .collect();
    let (internal, gap) = (Code::Internal as u32, Code::Gap as u32);
    let each = [(1, 0), (2, internal), (3, gap)];
    assert_eq!(answers, each.iter().flat_map(|answer| [*answer; 2]).collect::<Vec<_>>());
    assert_eq!(stored(&bed).0, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_stops_the_home_and_nothing_is_answered() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    let break_commit = "CREATE TABLE wrong (log INTEGER REFERENCES logs (id)
                            DEFERRABLE INITIALLY DEFERRED);
                        CREATE TRIGGER wrong AFTER INSERT ON entries
                            BEGIN INSERT INTO wrong VALUES (12345); END";
    bed.home.tamper(break_commit).await;
    bed.send(&bob, 0, to_alice.append(message("alice", &bob, 1))).await;
    assert!(matches!(bed.home.failed().await, HomeFailure::Storage(_)));
    assert!(bed.outputs.recv().await.is_none());
    let call = Call { from: bob.clone(), rid: 1, request: HomeRequest::Logout };
    bed.home.queue.closed().await;
    assert_eq!(bed.home.call(&edge("e1"), call).await, Err(HomeGone));
    assert_eq!(stored(&bed), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_writer_is_a_failure_of_the_home() {
    let mut bed = Bed::new();
    let (done, _waiting) = oneshot::channel();
    assert!(bed.home.queue.send(Item::Tamper("as the test wants", done)).await.is_ok());
    assert_eq!(bed.home.failed().await, HomeFailure::Panicked);
    assert!(bed.outputs.recv().await.is_none());
}

/// The other tests run the writer as a task; this one as the thread it is in life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_thread_keeps_what_it_answered_and_pushes_it() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    bed.home.stop().await;
    let env = Env::system_for_tests();
    bed.home = HomeHandle::open(&env, bed.config()).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    for n in 1..=200 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    let (mut answered, mut shown) = (0, 0);
    while answered < 150 || shown < 150 {
        match bed.next().await.1 {
            Body::Appended(appended) => answered = appended.n,
            Body::Entry(entry) => {
                shown += 1;
                assert_eq!(entry.seq, shown);
                bed.cursor(&alice, &own, shown).await;
            }
            Body::Delivered(_) => {}
            other => panic!("{other:?}"),
        }
    }
    bed.home.clone().kill().await;
    bed.home = HomeHandle::open(&env, bed.config()).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    assert!(bed.open(&bob, "alice", 2).await.last_n >= answered);
    bed.home.stop().await;
}
