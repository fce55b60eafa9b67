//! Reading: pushes, pages, cursors, new devices, delivered_n, reaping.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_appended_is_pushed_to_the_reader_once_and_in_order() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let opened = bed.open(&alice, "alice", 5).await;
    assert_eq!((opened.first_seq, opened.head_seq), (1, 0));
    for n in 1..=5 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    let seen = bed.settle().await;
    assert_eq!(entries(&seen), [1, 2, 3, 4, 5]);
    let to = Target { sid: alice.sid, open_id: 5 };
    assert!(seen.iter().all(|(target, body)| !matches!(body, Body::Entry(_)) || *target == to));
    let Some((_, Body::Entry(entry))) = seen.iter().find(|(target, _)| *target == to) else {
        panic!("no entry")
    };
    assert_eq!(entry.envelope, message("alice", &bob, 1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_entries_come_in_order_and_never_more_than_the_window_beyond_the_cursor() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=1000 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    let mut got = Vec::new();
    let mut cursor = 0;
    while got.len() < 1000 {
        let page = entries(&bed.settle().await);
        assert!(!page.is_empty(), "stuck after {}", got.len());
        got.extend(page);
        assert!(got.len() as u64 <= cursor + limits::ENTRIES_BEYOND_CURSOR_MAX);
        cursor = got.len() as u64;
        bed.cursor(&alice, &own, cursor).await;
    }
    assert_eq!(got, (1..=1000).collect::<Vec<u64>>());
    // The window was used, not only kept.
    bed.settle().await;
    bed.send(&bob, 0, to_alice.append(message("alice", &bob, 1001))).await;
    assert_eq!(entries(&bed.settle().await), [1001]);
}

#[tokio::test(start_paused = true)]
async fn opening_again_goes_on_after_the_clients_cursor_in_the_same_epoch_only() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=4 {
        appended(bed.append(&bob, &to_alice, message("alice", &bob, n)).await);
    }
    let epoch = to_alice.epoch;
    bed.open_at(&alice, "alice", 1, epoch, Seq(3)).await;
    assert_eq!(entries(&bed.settle().await), [4]);
    // Another epoch: the client starts anew with what is kept.
    let opened = bed.open_at(&alice, "alice", 2, LogEpoch(epoch.0 ^ 1), Seq(3)).await;
    assert_eq!((opened.epoch, opened.first_seq), (epoch.0, 1));
    assert_eq!(entries(&bed.settle().await), [1, 2, 3, 4]);
    // A cursor beyond the head cannot have come from here; nothing is believed passed.
    let opened = bed.open_at(&alice, "alice", 3, epoch, Seq(9)).await;
    assert_eq!(opened.head_seq, 4);
    let again = bed.open(&bob, "alice", 2).await;
    assert_eq!((again.last_n, again.delivered_n), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_counts_only_within_its_open_its_epoch_and_the_head_and_never_goes_back() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let own = Opening::of(&bed.open(&alice, "alice", 4).await);
    for n in 1..=5 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    let stale = Opening { open_id: 3, ..own.clone() };
    let other = Opening { epoch: LogEpoch(own.epoch.0 ^ 1), ..own.clone() };
    bed.cursor(&alice, &stale, 5).await;
    bed.cursor(&alice, &other, 5).await;
    bed.cursor(&alice, &own, 6).await;
    bed.cursor(&bob, &to_alice, 5).await;
    assert_eq!(delivered(&bed.settle().await, 2), [0_u64; 0]);
    bed.cursor(&alice, &own, 3).await;
    bed.cursor(&alice, &own, 2).await;
    assert_eq!(delivered(&bed.settle().await, 2), [3]);
    bed.kill().await;
    assert_eq!(bed.open(&bob, "alice", 2).await.delivered_n, 3);
}

#[tokio::test(start_paused = true)]
async fn delivered_stops_before_the_first_number_that_is_still_unread() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let carol = bed.sign_up(&Person::new("carol"), 3).await;
    bed.open(&carol, "alice", 8).await;
    // seq: 1 bob, 2 carol, 3 bob (void 2..4), 4 bob, 5.. bob
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    appended(bed.append(&carol, &to_alice, message("alice", &carol, 1)).await);
    appended(bed.append(&bob, &to_alice, void("alice", &bob, 2, 4)).await);
    for n in 5..=100 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    assert_eq!(bed.open(&bob, "alice", 2).await.delivered_n, 0);
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    bed.settle().await;
    bed.cursor(&alice, &own, 1).await;
    let seen = bed.settle().await;
    assert_eq!((delivered(&seen, 2), delivered(&seen, 3)), (vec![1], vec![]));
    bed.cursor(&alice, &own, 2).await;
    let seen = bed.settle().await;
    assert_eq!((delivered(&seen, 2), delivered(&seen, 3)), (vec![], vec![1]));
    bed.cursor(&alice, &own, 3).await;
    assert_eq!(delivered(&bed.settle().await, 2), [4]);
    // The lowest unread number is further back than the appends that are remembered.
    bed.kill().await;
    assert_eq!(bed.open(&bob, "alice", 3).await.delivered_n, 4);
    let own = Opening { open_id: 2, ..own };
    bed.open_at(&alice, "alice", 2, own.epoch, Seq(3)).await;
    bed.settle().await;
    bed.cursor(&alice, &own, 99).await;
    assert_eq!(delivered(&bed.settle().await, 2), [100]);
}

#[tokio::test(start_paused = true)]
async fn several_cursors_in_one_batch_are_told_once() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    for n in 1..=5 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    for upto in 1..=5 {
        bed.cursor(&alice, &own, upto).await;
    }
    assert_eq!(delivered(&bed.settle().await, 2), [5]);
}

#[tokio::test(start_paused = true)]
async fn a_new_device_starts_at_the_oldest_entry_and_takes_the_cursor_of_the_one_it_replaces() {
    let mut bed = Bed::new();
    let (at_phone, bob, to_alice) = bed.alice_and_bob().await;
    let own = Opening::of(&bed.open(&at_phone, "alice", 1).await);
    for n in 1..=4 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.settle().await;
    bed.cursor(&at_phone, &own, 3).await;
    let laptop = Person::new("alice").next_device();
    bed.send(&stranger(4), 9, laptop.login(Takeover::Replace)).await;
    bed.settle().await;
    let at_laptop = laptop.at(4, 2);
    // Before its keys are known it may not move the reading position.
    let (log, open_id, epoch) = (inbox("alice"), 1, LogEpoch(0));
    let open = HomeRequest::Open { log, open_id, epoch, cursor: Seq(0), write_only: false };
    assert_eq!(code(bed.ask(&at_laptop, open).await), Code::Forbidden);
    let put = HomeRequest::PutBundle { bundle: laptop.bundle(2) };
    assert!(matches!(bed.ask(&at_laptop, put).await, Body::Done(_)));
    assert_eq!(bed.open(&at_laptop, "alice", 2).await.first_seq, 1);
    assert_eq!(entries(&bed.settle().await), [1, 2, 3, 4]);
    assert_eq!(bed.open(&bob, "alice", 2).await.delivered_n, 0);
    let conn = rusqlite::Connection::open(bed.folder.path().join("s1.db")).unwrap();
    let rows = "SELECT count(*), max(device) FROM cursors";
    let (count, device): (i64, i64) =
        conn.query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((count, device.cast_unsigned()), (1, laptop.device.0));
}

#[tokio::test(start_paused = true)]
async fn passed_entries_are_deleted_in_bulk_and_unread_ones_stay() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let limit = bed.limits.inbox_author_entries_max;
    let own = Opening::of(&bed.open(&alice, "alice", 1).await);
    for n in 1..=limit + 200 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
        if n % 200 == 0 {
            bed.settle().await;
            bed.cursor(&alice, &own, n - 50).await;
        }
    }
    bed.settle().await;
    let opened = bed.open(&bob, "alice", 2).await;
    let head = limit + 200;
    assert_eq!((opened.head_seq, opened.last_n, opened.delivered_n), (head, head, head - 50));
    assert!(opened.first_seq > 1 && opened.first_seq <= head - 49, "{}", opened.first_seq);
    bed.kill().await;
    assert_eq!(bed.open(&bob, "alice", 3).await.first_seq, head - 49);
    bed.open(&alice, "alice", 2).await;
    let unread: Vec<u64> = (head - 49..=head).collect();
    assert_eq!(entries(&bed.settle().await), unread);
    // A repeated append is known although its entry is gone.
    let answer = bed.append(&bob, &to_alice, message("alice", &bob, head - 60)).await;
    assert_eq!(appended(answer).1, Seq(head - 60));
    let old = bed.append(&bob, &to_alice, message("alice", &bob, 1)).await;
    assert_eq!(appended(old), (N(1), Seq(0), Bytes::new()));
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_takes_nothing_is_cut_off_and_harms_nobody_else() {
    let mut bed = Bed::new();
    let (_alice, bob, to_alice) = bed.alice_and_bob().await;
    let mut slow = bed.home.attach(edge("slow"));
    let carol = Person::new("carol");
    for rid in 0..limits::EDGE_OUTPUTS_MAX as u64 + 1 {
        let request = HomeRequest::LookUp { user: carol.name.clone() };
        let call = Call { from: stranger(1), rid, request };
        bed.home.call(&edge("slow"), call).await.unwrap();
    }
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    let mut taken = 0;
    while slow.recv().await.is_some() {
        taken += 1;
    }
    assert_eq!(taken, limits::EDGE_OUTPUTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn pushes_wait_while_an_edge_has_no_room_and_go_on_when_it_has() {
    let mut bed = Bed::new();
    let mut people = Vec::new();
    for (sid, letter) in (0u64..).zip('a'..='h') {
        let person = Person::new(&format!("{letter}reader"));
        people.push(bed.sign_up(&person, sid).await);
    }
    let writer = bed.sign_up(&Person::new("writer"), 99).await;
    for person in &people {
        let log = person.user.as_ref().unwrap().as_str().to_owned();
        let to = Opening::of(&bed.open(&writer, &log, 1).await);
        for n in 1..=250 {
            bed.send(&writer, 0, to.append(message(&log, &writer, n))).await;
        }
        bed.settle().await;
    }
    // 8 x 250 entries towards an edge that does not read yet: more than may be queued.
    for person in &people {
        let log = LogName::inbox(person.user.clone().unwrap());
        let (open_id, epoch) = (1, LogEpoch(0));
        bed.send(
            person,
            0,
            HomeRequest::Open { log, open_id, epoch, cursor: Seq(0), write_only: false },
        )
        .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let queued = bed.outputs.len();
    assert!((1000..2000).contains(&queued), "{queued}");
    let mut got = vec![0; people.len()];
    while got.iter().sum::<u64>() < 2000 {
        let (to, body) = bed.next().await;
        if let Body::Entry(entry) = body {
            let count = &mut got[to.sid.0 as usize];
            *count += 1;
            assert_eq!(entry.seq, *count);
        }
    }
}
