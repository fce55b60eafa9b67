//! How much a day takes: changes of a group, and groups of a person.

use super::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What is left of the day when a quota is used up.
#[track_caller]
fn slow_down(body: Body) -> u64 {
    match body {
        Body::Error(error) if error.code == Code::SlowDown as u32 => error.retry_after_ms,
        other => panic!("{other:?}"),
    }
}

fn left_of_day(bed: &Bed) -> u64 {
    DAY_MS - bed.world.now_ms.load(Ordering::Relaxed) % DAY_MS
}

fn title(team: &Team, by: &Person, text: &str) -> SignedOperation {
    sign(by, Some(team), Change::Title(text.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_group_changes_only_so_often_a_day_and_can_be_defended_beyond() {
    let limits = Limits { group_changes_per_day: 4, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (mut team, [pa, pb, pc], [alice, bob, carol]) = bed.team().await;
    let pd = Person::new("dave");
    let dave = bed.sign_up_quietly(&pd, 4).await;
    let group = team.name.clone();
    let a = bed.open_team(&alice, &team, 1).await;
    // CREATE is the first of the day, so this is the last.
    let invite = joining::invitation(&team, &pa, 0);
    bed.change(&alice, &mut team, &invite).await;
    for text in ["one", "two"] {
        let operation = title(&team, &pa, text);
        bed.change(&alice, &mut team, &operation).await;
    }
    let (rows, chain) = (bed.rows(), bed.chain(&alice, &team).await);
    let beyond = [
        (&alice, title(&team, &pa, "three")),
        (&alice, team.add(&pa, "dave")),
        (&dave, joining::join(&team, &pd, &joining::invite_key(&team))),
    ];
    for (from, operation) in &beyond {
        let wait = slow_down(bed.hand_in(from, &group, operation).await);
        assert_eq!(wait, left_of_day(&bed));
    }
    // What is there already, and what would not be taken anyhow, is answered as on any other day.
    assert_eq!(changed(bed.hand_in(&bob, &group, &invite).await), (2, 2));
    let not_his = title(&team, &pb, "Bob's");
    assert_eq!(code(bed.hand_in(&bob, &group, &not_his).await), Code::Forbidden);
    let stale = title(&Team { head: invite.hash, ..team.clone() }, &pa, "late");
    assert_eq!(code(bed.hand_in(&alice, &group, &stale).await), Code::RosterConflict);
    assert_eq!(bed.rows(), rows);
    assert_eq!(bed.chain(&alice, &team).await, chain);
    // A kill does not begin another day, and messages are no changes.
    bed.kill().await;
    slow_down(bed.hand_in(&alice, &group, &beyond[0].1).await);
    let a = bed.open_team_at(&alice, &team, 2, 0, a.opened.epoch).await;
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 1))).await);
    // Who has to go can be put out, may go, and the key is made anew.
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    team.members.retain(|member| member.as_str() != "bob");
    let leave = sign(&pc, Some(&team), Change::Leave);
    bed.change(&carol, &mut team, &leave).await;
    team.members.retain(|member| member.as_str() != "carol");
    let rekey = sign(&pa, Some(&team), Change::Rekey(team.key_without("nobody")));
    bed.change(&alice, &mut team, &rekey).await;
    slow_down(bed.hand_in(&alice, &group, &title(&team, &pa, "three")).await);
    // Twice the number is the end of it, with the eighth.
    let before = team.clone();
    let close = sign(&pa, Some(&team), Change::Close);
    bed.change(&alice, &mut team, &close).await;
    assert_eq!(team.number, before.number + 1);
    assert_eq!(team.number, 8);
}

#[tokio::test(start_paused = true)]
async fn what_defends_a_group_ends_at_twice_the_number_and_the_next_day_is_another() {
    let limits = Limits { group_changes_per_day: 1, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    let group = team.name.clone();
    slow_down(bed.hand_in(&alice, &group, &title(&team, &pa, "one")).await);
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    team.members.retain(|member| member.as_str() != "bob");
    team.key_epoch = 2;
    let (rows, chain) = (bed.rows(), bed.chain(&alice, &team).await);
    let operations = [team.remove(&pa, "carol"), sign(&pa, Some(&team), Change::Close)];
    for operation in &operations {
        let wait = slow_down(bed.hand_in(&alice, &group, operation).await);
        assert_eq!(wait, left_of_day(&bed));
    }
    assert_eq!(bed.rows(), rows);
    assert_eq!(bed.chain(&alice, &team).await, chain);
    // Until the last moment of the day, and not beyond. A message may be what begins the next.
    let left = left_of_day(&bed);
    bed.world.now_ms.fetch_add(left - 1, Ordering::Relaxed);
    assert_eq!(slow_down(bed.hand_in(&alice, &group, &operations[0]).await), 1);
    bed.world.now_ms.fetch_add(1, Ordering::Relaxed);
    let a = bed.open_team(&alice, &team, 1).await;
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 1))).await);
    let one = title(&team, &pa, "one");
    bed.change(&alice, &mut team, &one).await;
    bed.kill().await;
    slow_down(bed.hand_in(&alice, &group, &title(&team, &pa, "two")).await);
    // A clock that is set back does not begin another day.
    bed.world.now_ms.fetch_sub(DAY_MS, Ordering::Relaxed);
    slow_down(bed.hand_in(&alice, &group, &title(&team, &pa, "two")).await);
}

#[tokio::test(start_paused = true)]
async fn a_person_makes_only_so_many_groups_a_day_whoever_signed_them() {
    let limits = Limits { groups_made_per_day: 2, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let people = ["alice", "bob"].map(Person::new);
    let alice = bed.sign_up_quietly(&people[0], 1).await;
    let bob = bed.sign_up_quietly(&people[1], 2).await;
    let mut one = bed.team_of(&people[0], &alice, "one", &["alice"]).await;
    bed.team_of(&people[0], &alice, "two", &["alice", "bob"]).await;
    // A closed group was made all the same.
    let close = sign(&people[0], Some(&one), Change::Close);
    bed.change(&alice, &mut one, &close).await;
    let rows = bed.rows();
    let three = GroupName::canonical("three").unwrap();
    let own = create_of(&people[0], "three", &["alice"], 1);
    let of_bob = create_of(&people[1], "three", &["alice", "bob"], 1);
    for operation in [&own, &of_bob] {
        let wait = slow_down(bed.hand_in(&alice, &three, operation).await);
        assert_eq!(wait, left_of_day(&bed));
    }
    // The same again has its answer, and names that are taken are.
    let two = GroupName::canonical("two").unwrap();
    let again = create_of(&people[0], "two", &["alice", "bob"], 1);
    assert_eq!(changed(bed.hand_in(&alice, &two, &again).await), (1, 1));
    let other = create_of(&people[0], "two", &["alice"], 2);
    assert_eq!(code(bed.hand_in(&alice, &two, &other).await), Code::NameTaken);
    bed.kill().await;
    slow_down(bed.hand_in(&alice, &three, &own).await);
    assert_eq!(bed.rows(), rows);
    // Bob has not made any: Alice being in his is nothing to her count, nor to his.
    assert_eq!(changed(bed.hand_in(&bob, &three, &of_bob).await), (1, 1));
    let left = left_of_day(&bed);
    bed.world.now_ms.fetch_add(left, Ordering::Relaxed);
    for group in ["four", "five"] {
        bed.team_of(&people[0], &alice, group, &["alice"]).await;
    }
    let six = GroupName::canonical("six").unwrap();
    let operation = create_of(&people[0], "six", &["alice"], 1);
    assert_eq!(slow_down(bed.hand_in(&alice, &six, &operation).await), DAY_MS);
}
