//! Append: order, duplicates, gaps, voids, permission and quotas.

use sha2::{Digest, Sha256};

use super::*;

fn hash(envelope: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(envelope)[..8])
}

#[tokio::test(start_paused = true)]
async fn an_append_takes_the_next_seq_and_a_repeated_one_gets_the_same_answer() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    let first = message("alice", &bob, 1);
    assert_eq!(
        appended(bed.append(&bob, &to_alice, first.clone()).await),
        (N(1), Seq(1), hash(&first))
    );
    bed.settle().await;
    let note = message("alice", &alice, 1);
    assert_eq!(appended(bed.append(&alice, &own, note).await).1, Seq(2));
    bed.settle().await;
    // Another text under the same number changes nothing: the answer tells what is stored.
    let other = envelope(wire::Kind::Message, "alice", &bob, 1, 1, b"another text");
    assert_eq!(appended(bed.append(&bob, &to_alice, other).await), (N(1), Seq(1), hash(&first)));
    let second = message("alice", &bob, 2);
    assert_eq!(appended(bed.append(&bob, &to_alice, second).await).1, Seq(3));
}

#[tokio::test(start_paused = true)]
async fn a_number_left_out_is_a_gap_and_nothing_is_stored() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    let refusal = refused(bed.append(&bob, &to_alice, message("alice", &bob, 2)).await);
    assert_eq!((refusal.code, refusal.n, refusal.expected), (Code::Gap as u32, 2, 1));
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    let refusal = refused(bed.append(&bob, &to_alice, message("alice", &bob, 3)).await);
    assert_eq!(refusal.expected, 2);
    assert_eq!(bed.open(&bob, "alice", 2).await.head_seq, 1);
}

#[tokio::test(start_paused = true)]
async fn a_void_covers_its_range_and_may_not_reach_back() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    // n <= last < upto
    let refusal = refused(bed.append(&bob, &to_alice, void("alice", &bob, 1, 3)).await);
    assert_eq!((refusal.code, refusal.expected), (Code::Gap as u32, 2));
    let covering = void("alice", &bob, 2, 5);
    let stored = (N(5), Seq(2), hash(&covering));
    assert_eq!(appended(bed.append(&bob, &to_alice, covering.clone()).await), stored);
    // A message whose number the void took: the answer shows the void.
    let late = appended(bed.append(&bob, &to_alice, message("alice", &bob, 3)).await);
    assert_eq!(late, (N(3), Seq(2), hash(&covering)));
    assert_eq!(appended(bed.append(&bob, &to_alice, message("alice", &bob, 6)).await).1, Seq(3));
    assert_eq!(bed.open(&bob, "alice", 2).await.last_n, 6);
}

#[tokio::test(start_paused = true)]
async fn an_append_of_another_epoch_must_reopen_whatever_else_is_wrong_with_it() {
    let mut bed = Bed::new();
    let (_, bob, mut to_alice) = bed.alice_and_bob().await;
    to_alice.epoch = LogEpoch(to_alice.epoch.0 ^ 1);
    assert_eq!(code(bed.append(&bob, &to_alice, message("alice", &bob, 9)).await), Code::Reopen);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_fit_the_session_is_malformed() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let other_device = Caller { device: DeviceId(5), ..bob.clone() };
    for wrong in [
        message("alice", &alice, 1),
        message("bob", &bob, 1),
        message("alice", &other_device, 1),
        Bytes::from_static(b"\xff\xff"),
    ] {
        assert_eq!(code(bed.append(&bob, &to_alice, wrong).await), Code::Malformed);
    }
    assert_eq!(bed.open(&bob, "alice", 2).await.head_seq, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_to_a_name_that_does_not_exist_or_before_login() {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    let (log, open_id) = (inbox("carol"), 3);
    let open =
        HomeRequest::Open { log, open_id, epoch: LogEpoch(0), cursor: Seq(0), write_only: false };
    let refusal = refused(bed.ask(&bob, open).await);
    assert_eq!((refusal.n, refusal.open_id, refusal.code), (0, 3, Code::NoSuchUser as u32));
    let log = LogName::canonical("#team").unwrap();
    let (open_id, epoch) = (4, LogEpoch(0));
    let open =
        HomeRequest::Open { log: log.clone(), open_id, epoch, cursor: Seq(0), write_only: false };
    assert_eq!(code(bed.ask(&bob, open).await), Code::NoSuchGroup);
    let envelope = message("alice", &bob, 1);
    let append = HomeRequest::Append { log, open_id, epoch, envelope };
    assert_eq!(code(bed.ask(&bob, append).await), Code::Malformed);
    let to_carol = Opening { log: "carol".to_owned(), ..to_alice.clone() };
    assert_eq!(
        code(bed.append(&bob, &to_carol, message("carol", &bob, 1)).await),
        Code::NoSuchUser
    );
    let nobody = Caller { user: None, ..bob.clone() };
    assert_eq!(
        code(bed.append(&nobody, &to_alice, message("alice", &bob, 1)).await),
        Code::BadState
    );
}

#[tokio::test(start_paused = true)]
async fn a_blocked_author_is_refused_but_may_say_that_a_number_is_void() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    let block = |blocked| HomeRequest::Block { user: name("bob"), blocked };
    assert!(matches!(bed.ask(&alice, block(true)).await, Body::Done(_)));
    assert_eq!(code(bed.append(&bob, &to_alice, message("alice", &bob, 2)).await), Code::Blocked);
    // What was stored before is answered as before.
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    appended(bed.append(&bob, &to_alice, void("alice", &bob, 2, 2)).await);
    bed.kill().await;
    assert_eq!(code(bed.append(&bob, &to_alice, message("alice", &bob, 3)).await), Code::Blocked);
    assert!(matches!(bed.ask(&alice, block(false)).await, Body::Done(_)));
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 3)).await);
}

fn small_quota() -> Limits {
    Limits { inbox_entries_max: 5, inbox_author_entries_max: 3, ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn an_authors_share_of_an_inbox_is_full_at_its_limit_until_the_reader_reads() {
    let mut bed = Bed::with(small_quota(), TestOptions::default());
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=3 {
        appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
    }
    let full = refused(bed.append(&bob, &to_alice, message("alice", &bob, 4)).await);
    assert_eq!(full.code, Code::MailboxFull as u32);
    assert!(full.retry_after_ms > 0);
    // Exempt: a void may always say that a number will not come.
    appended(bed.append(&bob, &to_alice, void("alice", &bob, 4, 4)).await);
    // The counts are those of the database, not only of memory.
    bed.kill().await;
    let again = bed.append(&bob, &to_alice, message("alice", &bob, 5)).await;
    assert_eq!(code(again), Code::MailboxFull);
    let own = Opening::of(&bed.open(&alice, "alice", 7).await);
    bed.settle().await;
    bed.cursor(&alice, &own, 1).await;
    bed.settle().await;
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 5)).await);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_is_full_at_its_limit_whoever_filled_it() {
    let mut bed = Bed::with(small_quota(), TestOptions::default());
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    let carol = bed.sign_up(&Person::new("carol"), 3).await;
    for n in 1..=3 {
        appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
    }
    for n in 1..=2 {
        appended(bed.append(&carol, &to_alice, message("alice", &carol, n)).await);
    }
    let full = bed.append(&carol, &to_alice, message("alice", &carol, 3)).await;
    assert_eq!(code(full), Code::MailboxFull);
}

#[tokio::test(start_paused = true)]
async fn bytes_count_as_entries_do() {
    let size = |caller: &Caller| message("alice", caller, 1).len() as u64;
    let dummy = Person::new("bob").at(2, 1);
    let limits = Limits { inbox_author_bytes_max: 2 * size(&dummy), ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=2 {
        appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
    }
    let full = bed.append(&bob, &to_alice, message("alice", &bob, 3)).await;
    assert_eq!(code(full), Code::MailboxFull);
}

#[tokio::test(start_paused = true)]
async fn voids_have_a_limit_of_their_own() {
    let mut bed = Bed::with(small_quota(), TestOptions::default());
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=3 {
        appended(bed.append(&bob, &to_alice, void("alice", &bob, n, n)).await);
    }
    let full = bed.append(&bob, &to_alice, void("alice", &bob, 4, 4)).await;
    assert_eq!(code(full), Code::MailboxFull);
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 4)).await);
}

#[tokio::test(start_paused = true)]
async fn one_may_write_to_so_many_new_people_in_an_hour() {
    let limits = Limits { new_peers_per_hour: 2, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let bob = bed.sign_up(&Person::new("bob"), 1).await;
    let mut to = Vec::new();
    for (sid, peer) in (2..).zip(["alice", "carol", "dave"]) {
        bed.sign_up(&Person::new(peer), sid).await;
        to.push(Opening::of(&bed.open(&bob, peer, 1).await));
    }
    // Notes to oneself do not count.
    let own = Opening::of(&bed.open(&bob, "bob", 1).await);
    appended(bed.append(&bob, &own, message("bob", &bob, 1)).await);
    bed.settle().await;
    appended(bed.append(&bob, &to[0], message("alice", &bob, 1)).await);
    bed.world.now_ms.fetch_add(1_800_000, Ordering::Relaxed);
    appended(bed.append(&bob, &to[1], message("carol", &bob, 1)).await);
    let slow = refused(bed.append(&bob, &to[2], message("dave", &bob, 1)).await);
    assert_eq!((slow.code, slow.retry_after_ms), (Code::SlowDown as u32, 1_800_000));
    appended(bed.append(&bob, &to[0], message("alice", &bob, 2)).await);
    bed.world.now_ms.fetch_add(1_800_000, Ordering::Relaxed);
    appended(bed.append(&bob, &to[2], message("dave", &bob, 1)).await);
}

#[tokio::test(start_paused = true)]
async fn another_home_owns_other_names() {
    let mut bed = Bed::new();
    bed.home.stop().await;
    bed.map = map(2);
    let path = bed.folder.path().join("half.db");
    let s1 = ServerId::numbered(1);
    create(&bed.env, &path, &s1, &cluster(), &bed.map.slots_of(&s1)).unwrap();
    bed.home = HomeHandle::open(&bed.env, config(&path, &bed.map, &bed.limits)).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let home_of = |user: &str| bed.map.home_of_user(&name(user)).unwrap().id.clone();
    let users = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    let away = users.iter().find(|user| home_of(user) != s1).unwrap();
    let here = users.iter().find(|user| home_of(user) == s1).unwrap();
    let here = bed.sign_up(&Person::new(here), 1).await;
    let request = HomeRequest::LookUp { user: name(away) };
    assert_eq!(code(bed.ask(&here, request).await), Code::WrongHome);
    let (log, epoch) = (inbox(away), LogEpoch(0));
    let open = HomeRequest::Open { log, open_id: 1, epoch, cursor: Seq(0), write_only: false };
    assert_eq!(code(bed.ask(&here, open).await), Code::WrongHome);
    // An author of another home needs no session here.
    let guest = Person::new(away).at(9, 77);
    let opened = bed.open(&guest, here.user.as_ref().unwrap().as_str(), 1).await;
    let to = Opening::of(&opened);
    appended(bed.append(&guest, &to, message(&to.log, &guest, 1)).await);
}
