//! Who is refused what, in which order; a refusal changes nothing.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_checks_of_an_append_come_in_their_order() {
    let mut bed = Bed::new();
    let (mut team, people, [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let b = bed.open_team(&bob, &team, 1).await;
    let dave = bed.sign_up_quietly(&Person::new("dave"), 4).await;
    appended(bed.ask_quietly(&bob, b.append(team.message(&bob, 1))).await);
    let remove = team.remove(&people[0], "bob");
    bed.change(&alice, &mut team, &remove).await;
    team.key_epoch = 2;
    // Bob: the epoch of the log, what is stored, gaps; only then that he is no member any more.
    let mut other = b.clone();
    other.opened.epoch ^= 1;
    let stored = team.message_at(&bob, 1, 1);
    assert_eq!(code(bed.ask_quietly(&bob, other.append(stored.clone())).await), Code::Reopen);
    appended(bed.ask_quietly(&bob, b.append(stored)).await);
    let gap = team.message_at(&bob, 5, 1);
    assert_eq!(code(bed.ask_quietly(&bob, b.append(gap)).await), Code::Gap);
    let foreign = group_envelope(wire::Kind::Message, GroupId([8; 32]), &bob, 2, 2, 1);
    assert_eq!(code(bed.ask_quietly(&bob, b.append(foreign)).await), Code::Malformed);
    for envelope in [team.message_at(&bob, 2, 1), team.void(&bob, 2, 2)] {
        assert_eq!(code(bed.ask_quietly(&bob, b.append(envelope)).await), Code::NotAMember);
    }
    // Who never was one has no log to append to.
    let open = open_of(&team.log(), 1, 0, 0);
    assert_eq!(code(bed.ask_quietly(&dave, open).await), Code::NotAMember);
    let forged = GroupOpen { opened: a.opened.clone(), log: team.log() };
    let envelope = team.message(&dave, 1);
    assert_eq!(code(bed.ask_quietly(&dave, forged.append(envelope)).await), Code::NotAMember);
    // A member: the epoch of the key, unless nothing is sealed.
    let old = team.message_at(&alice, 1, 1);
    assert_eq!(code(bed.ask_quietly(&alice, a.append(old)).await), Code::StaleEpoch);
    let newer = team.message_at(&alice, 1, 3);
    assert_eq!(code(bed.ask_quietly(&alice, a.append(newer)).await), Code::RosterBehind);
    appended(bed.ask_quietly(&alice, a.append(team.void(&alice, 1, 1))).await);
    appended(bed.ask_quietly(&alice, a.append(team.message(&alice, 2))).await);
    // A header for an inbox, under a group's log.
    let direct = message("carol", &alice, 3);
    assert_eq!(code(bed.ask_quietly(&alice, a.append(direct)).await), Code::Malformed);
    // Closed: nobody.
    let close = sign(&people[0], Some(&team), Change::Close);
    bed.change(&alice, &mut team, &close).await;
    let late = refused(bed.ask_quietly(&alice, a.append(team.message(&alice, 3))).await);
    assert_eq!((late.code, late.detail.as_str()), (Code::NotAMember as u32, "closed"));
    let c = bed.open_team(&carol, &team, 1).await;
    // bob's, REMOVE, alice's two, CLOSE.
    assert_eq!(c.opened.head_seq, 6);
}

#[tokio::test(start_paused = true)]
async fn an_operation_follows_the_newest_one_and_is_allowed_or_changes_nothing() {
    let mut bed = Bed::new();
    let (mut team, [pa, pb, pc], [alice, bob, carol]) = bed.team().await;
    let dave = bed.sign_up_quietly(&Person::new("dave"), 4).await;
    let (group, first) = (team.name.clone(), team.clone());
    let title =
        |by: &Person, team: &Team, text: &str| sign(by, Some(team), Change::Title(text.to_owned()));
    let one = title(&pa, &team, "one");
    bed.change(&alice, &mut team, &one).await;
    let (rows, chain) = (bed.rows(), bed.chain(&alice, &team).await);
    let mut damaged = one.clone();
    let mut bytes = damaged.encoded.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    damaged.encoded = bytes.into();
    let outside = Team { id: GroupId([9; 32]), ..team.clone() };
    let refusals = [
        (&alice, title(&pa, &first, "late"), Code::RosterConflict),
        (&alice, damaged, Code::Malformed),
        (&alice, title(&pa, &outside, "else"), Code::Malformed),
        (&alice, create_of(&pa, "other", &["alice"], 1), Code::Malformed),
        (&alice, create_of(&pa, "team", &["alice"], 7), Code::NameTaken),
        (&alice, title(&pa, &team, "one"), Code::Forbidden),
        (&alice, team.add(&pa, "bob"), Code::Forbidden),
        (&alice, team.remove(&pa, "zoe"), Code::Forbidden),
        (&alice, sign(&pa, Some(&team), Change::Leave), Code::Forbidden),
        (&bob, title(&pb, &team, "mine"), Code::Forbidden),
        (&bob, team.remove(&pb, "carol"), Code::Forbidden),
        (&dave, title(&pa, &team, "two"), Code::NotAMember),
        (&dave, one.clone(), Code::NotAMember),
        (&alice, title(&Person::new("dave"), &team, "by a stranger"), Code::Forbidden),
    ];
    for (from, operation, expected) in refusals {
        let answer = bed.hand_in(from, &group, &operation).await;
        assert_eq!(code(answer), expected, "{:?}", operation.hash);
    }
    let nowhere = GroupName::canonical("nowhere").unwrap();
    assert_eq!(code(bed.hand_in(&alice, &nowhere, &one).await), Code::NoSuchGroup);
    assert_eq!(bed.rows(), rows);
    assert_eq!(bed.chain(&alice, &team).await, chain);
    // Any member may hand in what another one signed, and repeat what is in the chain.
    let two = title(&pa, &team, "two");
    bed.change(&carol, &mut team, &two).await;
    for operation in [&one, &two] {
        assert!(changed(bed.hand_in(&bob, &group, operation).await).0 > 1);
    }
    // A leaver's own LEAVE has the same answer also when it comes again; nothing else has one.
    let leave = sign(&pc, Some(&team), Change::Leave);
    let said = changed(bed.hand_in(&carol, &group, &leave).await);
    team.follow(&leave);
    assert_eq!(changed(bed.hand_in(&carol, &group, &leave).await), said);
    assert_eq!(code(bed.hand_in(&carol, &group, &two).await), Code::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn the_chain_is_for_members_and_for_former_ones_up_to_their_end() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, bob, _]) = bed.team().await;
    let dave = bed.sign_up_quietly(&Person::new("dave"), 4).await;
    assert_eq!(code(bed.roster_page(&dave, &team, 0).await), Code::NotAMember);
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    let title = sign(&pa, Some(&team), Change::Title("without Bob".to_owned()));
    bed.change(&alice, &mut team, &title).await;
    assert_eq!(bed.chain(&bob, &team).await, [(1, 1), (2, 2)]);
    assert_eq!(bed.chain(&alice, &team).await, [(1, 1), (2, 2), (3, 3)]);
    let Body::Roster(page) = bed.roster_page(&alice, &team, 2).await else { panic!("no page") };
    assert_eq!(page.group_id, team.id.0.to_vec());
    assert_eq!(page.entries[0].operation, title.encoded);
    let nowhere = Team { name: GroupName::canonical("nowhere").unwrap(), ..team.clone() };
    assert_eq!(code(bed.roster_page(&alice, &nowhere, 0).await), Code::NoSuchGroup);
    // Any number a client can say.
    let Body::Roster(page) = bed.roster_page(&alice, &team, u64::MAX).await else { panic!() };
    assert!(page.entries.is_empty() && !page.more);
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_comes_in_pages_that_fit_a_frame() {
    let mut bed = Bed::new();
    let pa = Person::new("alice");
    let alice = bed.sign_up_quietly(&pa, 1).await;
    let names: Vec<String> = (0..255).map(|number| format!("m{number}")).collect();
    let mut members: Vec<&str> = names.iter().map(String::as_str).collect();
    members.push("alice");
    let mut team = bed.team_of(&pa, &alice, "team", &members).await;
    for gone in ["m1", "m2", "m3"] {
        // Each carries a key for everybody who stays.
        let remove = team.remove(&pa, gone);
        bed.change(&alice, &mut team, &remove).await;
        team.members.retain(|member| member.as_str() != gone);
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let Body::Roster(page) = bed.roster_page(&alice, &team, after).await else { panic!() };
        assert!(page.encoded_len() <= limits::OPERATION_FRAME_BYTES_MAX - 256);
        seen.extend(page.entries.iter().map(|entry| entry.number));
        after = *seen.last().unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (1..=4).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_group_has_256_members_and_a_user_256_groups() {
    let limits = Limits { groups_made_per_day: 1_000, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let people = ["alice", "bob"].map(Person::new);
    let alice = bed.sign_up_quietly(&people[0], 1).await;
    let names: Vec<String> = (0..255).map(|number| format!("m{number}")).collect();
    let mut members: Vec<&str> = names.iter().map(String::as_str).collect();
    members.push("alice");
    let mut full = bed.team_of(&people[0], &alice, "full", &members).await;
    let one_more = full.add(&people[0], "zoe");
    assert_eq!(code(bed.hand_in(&alice, &full.name, &one_more).await), Code::Quota);
    let remove = full.remove(&people[0], "m7");
    assert!(remove.encoded.len() > 100_000);
    bed.change(&alice, &mut full, &remove).await;
    let zoe = full.add(&people[0], "zoe");
    bed.change(&alice, &mut full, &zoe).await;
    for number in 1..256 {
        bed.team_of(&people[0], &alice, &format!("g{number}"), &["alice"]).await;
    }
    let create = create_of(&people[0], "too-many", &["alice"], 1);
    let group = GroupName::canonical("too-many").unwrap();
    assert_eq!(code(bed.hand_in(&alice, &group, &create).await), Code::Quota);
    // Nor may somebody else bring her into one more.
    let bob = bed.sign_up_quietly(&people[1], 2).await;
    let both = create_of(&people[1], "both", &["alice", "bob"], 1);
    let group = GroupName::canonical("both").unwrap();
    assert_eq!(code(bed.hand_in(&bob, &group, &both).await), Code::Quota);
    let mut bobs = bed.team_of(&people[1], &bob, "bobs", &["bob"]).await;
    let add = bobs.add(&people[1], "alice");
    assert_eq!(code(bed.hand_in(&bob, &bobs.name.clone(), &add).await), Code::Quota);
    // A closed one does not count.
    let close = sign(&people[0], Some(&full), Change::Close);
    bed.change(&alice, &mut full, &close).await;
    bed.change(&bob, &mut bobs, &add).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_full_at_its_limit_whoever_is_too_slow() {
    let limits = Limits { group_entries_max: 5, group_author_entries_max: 3, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let (team, _, [alice, bob, carol]) = bed.team().await;
    let a = bed.open_team(&alice, &team, 1).await;
    let b = bed.open_team(&bob, &team, 1).await;
    for n in 1..=3 {
        appended(bed.ask_quietly(&alice, a.append(team.message(&alice, n))).await);
    }
    let full = bed.ask_quietly(&alice, a.append(team.message(&alice, 4))).await;
    assert_eq!(code(full), Code::MailboxFull);
    for n in 1..=2 {
        appended(bed.ask_quietly(&bob, b.append(team.message(&bob, n))).await);
    }
    let full = bed.ask_quietly(&bob, b.append(team.message(&bob, 3))).await;
    assert_eq!(code(full), Code::MailboxFull);
    // Carol is the slow one, and she was never here.
    bed.send(&alice, 0, a.cursor(6)).await;
    bed.send(&bob, 0, b.cursor(6)).await;
    let full = bed.ask_quietly(&bob, b.append(team.message(&bob, 3))).await;
    assert_eq!(code(full), Code::MailboxFull);
    let c = bed.open_team(&carol, &team, 1).await;
    bed.settle_all().await;
    bed.send(&carol, 0, c.cursor(6)).await;
    appended(bed.ask_quietly(&bob, b.append(team.message(&bob, 3))).await);
}
