//! What is kept, and for how long: rows, days, and everything over a crash.

use super::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn grown(
    before: &[(&'static str, i64)],
    after: &[(&'static str, i64)],
) -> Vec<(&'static str, i64)> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(old, new)| old != new).map(|(old, new)| (old.0, new.1 - old.1)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_message_is_one_row_whatever_the_number_of_members() {
    for others in [0, 15, 255] {
        let mut bed = Bed::new();
        let alice = Person::new("alice");
        let from = bed.sign_up(&alice, 1).await;
        let names: Vec<String> = (0..others).map(|number| format!("m{number}")).collect();
        let mut members: Vec<&str> = names.iter().map(String::as_str).collect();
        members.push("alice");
        let team = bed.team_of(&alice, &from, "team", &members).await;
        let open = bed.open_team(&from, &team, 1).await;
        let before = bed.rows();
        appended(bed.ask_quietly(&from, open.append(team.message(&from, 1))).await);
        let first = bed.rows();
        assert_eq!(grown(&before, &first), [("entries", 1), ("producers", 1)]);
        appended(bed.ask_quietly(&from, open.append(team.message(&from, 2))).await);
        assert_eq!(grown(&first, &bed.rows()), [("entries", 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_everybody_has_read_goes_and_operations_stay() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let b = bed.open_team(&bob, &team, 1).await;
    let c = bed.open_team(&carol, &team, 1).await;
    for n in 1..=1_200 {
        bed.send(&alice, 0, a.append(team.message(&alice, n))).await;
        if n % 200 == 0 {
            for (caller, open) in [(&alice, &a), (&bob, &b), (&carol, &c)] {
                bed.settle_all().await;
                bed.send(caller, 0, open.cursor(n + 1)).await;
            }
        }
    }
    bed.settle_all().await;
    let entries = |bed: &Bed| bed.rows().into_iter().find(|(table, _)| *table == "entries");
    assert!(entries(&bed).unwrap().1 < 300);
    let title = sign(&pa, Some(&team), Change::Title("still here".to_owned()));
    bed.change(&alice, &mut team, &title).await;
    bed.kill().await;
    assert_eq!(bed.chain(&alice, &team).await, [(1, 1), (2, 1_202)]);
    let again = bed.open_team(&alice, &team, 2).await;
    assert!(again.opened.first_seq > 1_000);
    assert_eq!((again.opened.head_seq, again.opened.last_n), (1_202, 1_200));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_goes_after_thirty_days_and_the_cursor_jumps() {
    let mut bed = Bed::new();
    let (team, _, [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    for n in 1..=5 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    bed.world.now_ms.fetch_add(20 * DAY_MS, Ordering::Relaxed);
    for n in 6..=8 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    bed.world.now_ms.fetch_add(10 * DAY_MS, Ordering::Relaxed);
    let b = bed.open_team(&bob, &team, 1).await;
    assert_eq!(b.opened.first_seq, 1);
    bed.settle_all().await;
    bed.world.now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
    bed.settle_all().await;
    let c = bed.open_team(&carol, &team, 1).await;
    assert_eq!((c.opened.first_seq, c.opened.head_seq), (7, 9));
    assert_eq!(pushed_to(&bed.settle_all().await, 3), [7, 8, 9]);
    assert_eq!(bed.chain(&carol, &team).await, [(1, 1)]);
    // Quiet for a month: everything goes, and the group goes on.
    bed.world.now_ms.fetch_add(60 * DAY_MS, Ordering::Relaxed);
    bed.kill().await;
    bed.settle_all().await;
    let a = bed.open_team(&alice, &team, 2).await;
    assert_eq!((a.opened.first_seq, a.opened.head_seq), (10, 9));
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 9))).await);
    assert_eq!(pushed_to(&bed.settle_all().await, 1), [10]);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_chain_members_cursors_and_what_is_delivered_are_the_same() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let b = bed.open_team(&bob, &team, 1).await;
    let c = bed.open_team(&carol, &team, 1).await;
    for n in 1..=4 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    bed.send(&alice, 0, a.cursor(5)).await;
    bed.send(&bob, 0, b.cursor(4)).await;
    bed.send(&carol, 0, c.cursor(3)).await;
    for text in ["one", "two"] {
        let title = sign(&pa, Some(&team), Change::Title(text.to_owned()));
        bed.change(&alice, &mut team, &title).await;
    }
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    let chain = bed.chain(&alice, &team).await;
    bed.settle_all().await;
    bed.kill().await;
    assert_eq!(bed.chain(&alice, &team).await, chain);
    let again = bed.open_team(&alice, &team, 2).await;
    assert_eq!(again.opened.epoch, a.opened.epoch);
    assert_eq!((again.opened.head_seq, again.opened.last_n), (8, 4));
    // Carol has up to 3, which is the second message.
    assert_eq!(again.opened.delivered_n, 2);
    // The chain goes on where it was, although nobody kept the roster in memory.
    let title = sign(&pa, Some(&team), Change::Title("three".to_owned()));
    bed.change(&alice, &mut team, &title).await;
    let b = bed.open_team(&bob, &team, 2).await;
    assert_eq!(b.opened.head_seq, 8);
}

#[tokio::test(start_paused = true)]
async fn another_device_of_a_member_begins_again_and_holds_up_what_is_delivered() {
    let mut bed = Bed::new();
    let (team, [_, pb, _], [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let b = bed.open_team(&bob, &team, 1).await;
    let c = bed.open_team(&carol, &team, 1).await;
    for n in 1..=3 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    for (caller, open) in [(&alice, &a), (&bob, &b), (&carol, &c)] {
        bed.send(caller, 0, open.cursor(4)).await;
    }
    bed.settle_all().await;
    let next = pb.next_device();
    let login = bed.ask_quietly(&stranger(7), next.login(Takeover::Replace)).await;
    let Body::Welcome(welcome) = login else { panic!("{login:?}") };
    let bob = next.at(7, welcome.session_epoch);
    let put = HomeRequest::PutBundle { bundle: next.bundle(2) };
    assert!(matches!(bed.ask_quietly(&bob, put).await, Body::Done(_)));
    let b = bed.open_team(&bob, &team, 1).await;
    assert_eq!(b.opened.first_seq, 1);
    assert_eq!(pushed_to(&bed.settle_all().await, 7), [1, 2, 3, 4]);
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 4))).await);
    bed.send(&alice, 0, a.cursor(5)).await;
    bed.send(&carol, 0, c.cursor(5)).await;
    assert!(delivered_to(&bed.settle_all().await, 1).is_empty());
    bed.send(&bob, 0, b.cursor(5)).await;
    assert_eq!(delivered_to(&bed.settle_all().await, 1), [4]);
}

/// Not a test of speed: it says what a start of a group's first change costs.
#[tokio::test(start_paused = true)]
async fn a_chain_of_300_operations_is_applied_again_after_a_start() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    for number in 0..299 {
        let title = sign(&pa, Some(&team), Change::Title(number.to_string()));
        bed.change(&alice, &mut team, &title).await;
    }
    bed.kill().await;
    let title = sign(&pa, Some(&team), Change::Title("after".to_owned()));
    let began = std::time::Instant::now();
    bed.change(&alice, &mut team, &title).await;
    eprintln!("300 operations applied again: {:?}", began.elapsed());
    assert_eq!(team.number, 301);
}
