//! What a reader of a group is sent: from when they came to when they went, and nothing else.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_removed_member_is_sent_the_end_and_nothing_after_it_even_within_one_batch() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, _]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    bed.open_team(&bob, &team, 1).await;
    bed.settle_all().await;
    let remove = team.remove(&pa, "bob");
    let (group, operation) = (team.name.clone(), remove.encoded.clone());
    // One batch: a message, the REMOVE, two more messages.
    bed.send(&alice, 0, a.append(team.message(&alice, 1))).await;
    bed.send(&alice, 77, HomeRequest::Change { group, operation }).await;
    team.follow(&remove);
    for n in 2..=3 {
        bed.send(&alice, 0, a.append(team.message_at(&alice, n, 2))).await;
    }
    let sent = bed.settle_all().await;
    assert_eq!(pushed_to(&sent, 1), [2, 3, 4, 5]);
    assert_eq!(pushed_to(&sent, 2), [2, 3, 0]);
    let closed = sent.iter().find_map(|output| match &output.frame.body {
        Some(Body::Closed(closed)) => Some((output.to[0], closed.code)),
        _ => None,
    });
    let to = Target { sid: SessionId(2), open_id: 1 };
    assert_eq!(closed, Some((to, Code::NotAMember as u32)));
    // Whoever was away gets the same, however often they come back.
    for cursor in [0, 2, 3, 99] {
        let epoch = a.opened.epoch;
        let again = bed.open_team_at(&bob, &team, 2, cursor, epoch).await;
        assert_eq!(again.opened.head_seq, 3);
        let held = if cursor > 5 { 0 } else { cursor };
        let mut expected: Vec<u64> = (held + 1..=3).collect();
        expected.push(0);
        assert_eq!(pushed_to(&bed.settle_all().await, 2), expected, "from {cursor}");
    }
    let write_only = HomeRequest::Open {
        log: team.log(),
        open_id: 9,
        epoch: LogEpoch(0),
        cursor: Seq(0),
        write_only: true,
    };
    assert_eq!(code(bed.ask_quietly(&bob, write_only).await), Code::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_is_sent_both_times_and_not_what_lies_between() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, _]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    team.key_epoch = 2;
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 1))).await);
    let add = team.add(&pa, "bob");
    bed.change(&alice, &mut team, &add).await;
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 2))).await);
    // 1 CREATE, 2 REMOVE, 3 a message, 4 ADD, 5 a message.
    let first = bed.open_team(&bob, &team, 1).await;
    assert_eq!((first.opened.first_seq, first.opened.head_seq), (1, 2));
    let sent = bed.settle_all().await;
    assert_eq!(pushed_to(&sent, 2), [1, 2, 0]);
    let codes: Vec<u32> = sent
        .iter()
        .filter_map(|output| match &output.frame.body {
            Some(Body::Closed(closed)) => Some(closed.code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [Code::Reopen as u32]);
    let epoch = first.opened.epoch;
    let second = bed.open_team_at(&bob, &team, 2, 2, epoch).await;
    assert_eq!((second.opened.first_seq, second.opened.head_seq), (4, 5));
    assert_eq!(pushed_to(&bed.settle_all().await, 2), [4, 5]);
    // And live.
    appended(bed.ask_quietly(&bob, second.append(team.message(&bob, 1))).await);
    assert_eq!(bed.chain(&bob, &team).await, [(1, 1), (2, 2), (3, 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_begins_with_the_operation_that_brought_them_in() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    for n in 1..=3 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    let dave = bed.sign_up_quietly(&Person::new("dave"), 4).await;
    let add = team.add(&pa, "dave");
    bed.change(&alice, &mut team, &add).await;
    let d = bed.open_team(&dave, &team, 1).await;
    assert_eq!((d.opened.first_seq, d.opened.head_seq), (5, 5));
    assert_eq!(pushed_to(&bed.settle_all().await, 4), [5]);
    // Who has that already says so.
    let epoch = d.opened.epoch;
    bed.open_team_at(&dave, &team, 2, 5, epoch).await;
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 4))).await);
    assert_eq!(pushed_to(&bed.settle_all().await, 4), [6]);
}

#[tokio::test(start_paused = true)]
async fn only_to_write_nothing_is_pushed_and_no_cursor_moves() {
    let mut bed = Bed::new();
    let (team, _, [alice, bob, _]) = bed.team().await;
    let b = bed.open_team(&bob, &team, 1).await;
    let open = HomeRequest::Open {
        log: team.log(),
        open_id: 1,
        epoch: LogEpoch(b.opened.epoch),
        cursor: Seq(1),
        write_only: true,
    };
    let Body::Opened(opened) = bed.ask_quietly(&alice, open).await else { panic!("not opened") };
    let a = GroupOpen { opened, log: team.log() };
    bed.settle_all().await;
    let cursors = |bed: &Bed| bed.rows().into_iter().find(|(table, _)| *table == "cursors");
    let before = cursors(&bed);
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 1))).await);
    bed.send(&alice, 0, a.cursor(2)).await;
    let sent = bed.settle_all().await;
    assert!(pushed_to(&sent, 1).is_empty());
    assert_eq!(pushed_to(&sent, 2), [2]);
    assert_eq!(cursors(&bed), before);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_session_does_not_take_a_group_from_a_later_one() {
    let mut bed = Bed::new();
    bed.home.stop().await;
    bed.map = map(2);
    let path = bed.folder.path().join("half.db");
    let s1 = ServerId::numbered(1);
    create(&bed.env, &path, &s1, &cluster(), &bed.map.slots_of(&s1)).unwrap();
    bed.home = HomeHandle::open(&bed.env, config(&path, &bed.map, &bed.limits)).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let is_here =
        |log: LogName| bed.map.home_of_slot(crate::placement::slot_of_log(&log)).unwrap().id == s1;
    let group = ["g1", "g2", "g3", "g4", "g5", "g6"]
        .into_iter()
        .find(|group| is_here(LogName::canonical(&format!("#{group}")).unwrap()))
        .unwrap();
    let away = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi"]
        .into_iter()
        .find(|user| !is_here(inbox(user)))
        .unwrap();
    // Nobody here can say which of that user's sessions is the live one: their epochs decide.
    let person = Person::new(away);
    let (old, new) = (person.at(2, 4), person.next_device().at(3, 5));
    let team = bed.team_of(&person, &old, group, &[away]).await;
    let first = bed.open_team(&old, &team, 1).await;
    let second = bed.open_team(&new, &team, 1).await;
    assert_eq!(
        code(bed.ask_quietly(&old, open_of(&team.log(), 2, 0, 0)).await),
        Code::SessionReplaced
    );
    bed.settle_all().await;
    appended(bed.ask_quietly(&new, second.append(team.message(&new, 1))).await);
    // A cursor of the earlier device is none.
    bed.send(&old, 0, first.cursor(2)).await;
    let sent = bed.settle_all().await;
    assert_eq!((pushed_to(&sent, 2), pushed_to(&sent, 3)), (vec![], vec![2]));
    assert!(delivered_to(&sent, 3).is_empty());
    bed.send(&new, 0, second.cursor(2)).await;
    assert_eq!(delivered_to(&bed.settle_all().await, 3), [1]);
}

#[tokio::test(start_paused = true)]
async fn who_writes_is_told_to_the_others_four_times_a_second() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, carol]) = bed.team().await;
    for caller in [&alice, &bob, &carol] {
        bed.open_team(caller, &team, 1).await;
    }
    let remove = team.remove(&pa, "carol");
    bed.change(&alice, &mut team, &remove).await;
    bed.settle_all().await;
    let typing = || HomeRequest::TypingIn { group: GroupName::canonical("team").unwrap() };
    for _ in 0..5 {
        bed.send(&alice, 0, typing()).await;
        bed.send(&carol, 0, typing()).await;
    }
    let heard = |sent: &[Output]| -> Vec<(u64, String, String)> {
        let read = |output: &Output| match &output.frame.body {
            Some(Body::Typing(typing)) => {
                Some((output.to[0].sid.0, typing.user.clone(), typing.group.clone()))
            }
            _ => None,
        };
        sent.iter().filter_map(read).collect()
    };
    let once = [(2, "alice".to_owned(), "#team".to_owned())];
    assert_eq!(heard(&bed.settle_all().await), once);
    tokio::time::advance(Duration::from_millis(250)).await;
    bed.send(&alice, 0, typing()).await;
    assert_eq!(heard(&bed.settle_all().await), once);
}

#[tokio::test(start_paused = true)]
async fn a_reader_far_behind_is_read_from_the_database_in_windows() {
    let mut bed = Bed::new();
    let (team, _, [alice, bob, _]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    for n in 1..=300 {
        bed.send(&alice, 0, a.append(team.message(&alice, n))).await;
    }
    bed.settle_all().await;
    let b = bed.open_team(&bob, &team, 1).await;
    let sent = pushed_to(&bed.settle_all().await, 2);
    assert_eq!(sent, (1..=256).collect::<Vec<u64>>());
    bed.send(&bob, 0, b.cursor(256)).await;
    let sent = pushed_to(&bed.settle_all().await, 2);
    assert_eq!(sent, (257..=301).collect::<Vec<u64>>());
}
