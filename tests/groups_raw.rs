//! Groups across two servers, frame by frame, and what hostile clients get for their trouble.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::time::Duration;

use bytes::Bytes;
use fastchat::crypto::group::GroupKey;
use fastchat::crypto::operation::{Change, Invitation};
use fastchat::limits::{
    FRAME_BYTES_MAX, JOIN_GRANT_LIFE, Limits, OPERATION_BYTES_MAX, OPERATION_FRAME_BYTES_MAX,
    OPERATIONS_PENDING_MAX,
};
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Change as ChangeFrame, ClientFrame, Closed, Entry, GetRoster, JoinAsk, JoinOffer, LookUp,
    Opened, Typing,
};
use prost::Message;
use raw::groups::Team;
use raw::{Cluster, Person, Raw, error};

/// Two servers: the group lives on s2, alice and bob live on s1 and are connected there, carol is
/// of s2.
struct Scene {
    cluster: Cluster,
    people: Vec<Person>,
    raws: Vec<Raw>,
    team: Team,
}

async fn scene(members: usize) -> Scene {
    let cluster = Cluster::start(2, Limits::default()).await;
    let mut people: Vec<Person> = [(1, "alice"), (1, "bob"), (2, "carol")]
        .into_iter()
        .enumerate()
        .map(|(number, (home, salt))| cluster.person(&cluster.name_at(home, salt), number))
        .collect();
    let mut raws = Vec::new();
    for (person, at) in people.iter_mut().zip([1, 1, 2]) {
        raws.push(cluster.sign_up(at, person).await);
    }
    let group = cluster.group_at(2, "team");
    let all = people.iter().take(members).enumerate();
    let all = all.map(|(number, person)| person.as_member(number)).collect();
    let (mut team, create) = people[0].create(&group, all);
    let changed = raws[0].change(&mut team, &create).await;
    assert_eq!((changed.number, changed.seq), (1, 1));
    Scene { cluster, people, raws, team }
}

async fn open(raw: &mut Raw, team: &Team, open_id: u32) -> Opened {
    raw.opened(&team.log(), open_id, 0).await
}

async fn entry(raw: &mut Raw) -> Entry {
    match raw.next().await {
        Answer::Entry(entry) => entry,
        other => panic!("not an entry: {other:?}"),
    }
}

async fn refusal(raw: &mut Raw) -> Code {
    match raw.next_answer().await {
        Answer::Refused(refused) => Code::from_number(refused.code).unwrap(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_on_another_server_carries_messages_and_operations_to_all_members() {
    let Scene { cluster: _cluster, people, mut raws, mut team } = scene(3).await;
    let mut opens = Vec::new();
    for raw in &mut raws {
        opens.push(open(raw, &team, 5).await);
        let first = entry(raw).await;
        assert_eq!((first.seq, first.number, first.open_id), (1, 1, 5));
        assert!(!first.operation.is_empty() && first.envelope.is_empty());
    }
    raws[0].send(0, people[0].group_message(&team, &opens[0], 1)).await;
    match raws[0].next().await {
        Answer::Appended(appended) => {
            assert_eq!((appended.log.as_str(), appended.n, appended.seq), (&*team.log(), 1, 2));
        }
        other => panic!("not appended: {other:?}"),
    }
    for raw in &mut raws {
        let second = entry(raw).await;
        assert_eq!((second.seq, second.number, second.open_id), (2, 0, 5));
    }
    for (raw, open) in raws.iter_mut().zip(&opens) {
        raw.cursor(open, 2).await;
    }
    match raws[0].next().await {
        Answer::Delivered(delivered) => assert_eq!(delivered.delivered_n, 1),
        other => panic!("not told: {other:?}"),
    }
    // Typing, past the server in between.
    let typing = Typing { user: String::new(), group: team.log() };
    let frame = ClientFrame { rid: 0, optional: true, body: Some(Ask::Typing(typing)) };
    raws[1].conn.send_datagram(frame.encode_to_vec().into()).unwrap();
    let heard = tokio::time::timeout(raw::LONG, raws[2].conn.read_datagram()).await.unwrap();
    let heard = fastchat::wire::client::ServerFrame::decode(heard.unwrap()).unwrap();
    match heard.body {
        Some(Answer::Typing(Typing { user, group })) => {
            assert_eq!((user, group), (people[1].name.to_string(), team.log()));
        }
        other => panic!("heard {other:?}"),
    }
    // A removal: the end is pushed, then the Open ends.
    let remove = people[0].sign_operation(Some(&team), team.removal(&people[1].name), None);
    raws[0].change(&mut team, &remove).await;
    assert_eq!(entry(&mut raws[1]).await.seq, 3);
    match raws[1].next().await {
        Answer::Closed(Closed { code, log, open_id, .. }) => {
            assert_eq!((code, log, open_id), (Code::NotAMember as u32, team.log(), 5));
        }
        other => panic!("not closed: {other:?}"),
    }
    let roster = raws[1].roster(&team, 0).await;
    assert_eq!(roster.entries.len(), 2);
    assert_eq!(raws[2].roster(&team, 1).await.entries[0].operation, remove.encoded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_of_the_largest_size_passes_and_comes_back_in_pages() {
    let Scene { cluster, people, mut raws, .. } = scene(1).await;
    let group = cluster.group_at(2, "crowd");
    let mut members = vec![people[0].as_member(0), people[1].as_member(1)];
    members.extend((0..254).map(|number| {
        let user = fastchat::types::UserName::canonical(&format!("m{number}")).unwrap();
        fastchat::crypto::operation::NewMember { user, identity: fastchat::types::KeyId([2; 32]) }
    }));
    let (mut team, create) = people[0].create(&group, members);
    raws[0].change(&mut team, &create).await;
    let bob = open(&mut raws[1], &team, 1).await;
    assert_eq!(entry(&mut raws[1]).await.operation, create.encoded);
    let mut large = Vec::new();
    for number in 0..3 {
        let gone = fastchat::types::UserName::canonical(&format!("m{number}")).unwrap();
        let remove = people[0].sign_operation(Some(&team), team.removal(&gone), None);
        assert!(remove.encoded.len() > FRAME_BYTES_MAX);
        raws[0].change(&mut team, &remove).await;
        team.members.retain(|member| member.user != gone);
        assert_eq!(entry(&mut raws[1]).await.operation, remove.encoded);
        large.push(remove);
    }
    raws[1].cursor(&bob, 4).await;
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = raws[1].roster(&team, after).await;
        seen.extend(page.entries.iter().map(|entry| entry.operation.clone()));
        after = page.entries.last().unwrap().number;
        if !page.more {
            break;
        }
    }
    let mut expected = vec![create.encoded];
    expected.extend(large.into_iter().map(|operation| operation.encoded));
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_to_a_group_learn_nothing_and_change_nothing() {
    let Scene { cluster, people, mut raws, mut team } = scene(2).await;
    let [alice, _, carol] = &mut raws[..] else { panic!() };
    assert_eq!(error(carol.ask(team.get_roster(0)).await).0, Code::NotAMember);
    carol
        .send(
            0,
            Ask::Open(fastchat::wire::client::Open {
                log: team.log(),
                open_id: 1,
                ..fastchat::wire::client::Open::default()
            }),
        )
        .await;
    assert_eq!(refusal(carol).await, Code::NotAMember);
    // Not open: the edge itself says so.
    let forged = Opened { open_id: 1, ..Opened::default() };
    carol.send(0, people[2].group_message(&team, &forged, 1)).await;
    assert_eq!(refusal(carol).await, Code::Reopen);
    // In somebody else's name: an operation that alice signed, one that carol signed.
    let title = people[0].sign_operation(Some(&team), Change::Title("x".into()), None);
    assert_eq!(error(carol.ask(team.change(&title)).await).0, Code::NotAMember);
    let own = people[2].sign_operation(Some(&team), Change::Add(people[2].as_member(2)), None);
    assert_eq!(error(carol.ask(team.change(&own)).await).0, Code::NotAMember);
    assert_eq!(error(alice.ask(team.change(&own)).await).0, Code::Forbidden);
    // Bytes that are no operation.
    let junk = Ask::Change(ChangeFrame {
        group: team.name.as_str().into(),
        operation: Bytes::from_static(b"junk"),
    });
    assert_eq!(error(alice.ask(junk).await).0, Code::Malformed);
    // Proofs: without a nonce, with a wrong key, over and over.
    let wrong = team.invite_key(&cluster, 9);
    let key = team.invite_key(&cluster, 5);
    let wrapped = key.wrap.wrap(key.public(), &GroupKey::generate());
    let invitation = Invitation { key: wrapped, password: false, uses: 1 };
    let invite = people[0].sign_operation(Some(&team), Change::Invite(invitation), None);
    alice.change(&mut team, &invite).await;
    let proof = people[2].join_proof(&team, &key, &[0; 32]);
    assert_eq!(error(carol.ask(proof).await).0, Code::WrongInvite);
    let nonce = |answer: Answer| match answer {
        Answer::JoinOffer(JoinOffer { nonce, member: false, .. }) => nonce,
        other => panic!("no offer: {other:?}"),
    };
    let ask = || Ask::JoinAsk(JoinAsk { group: team.name.as_str().into() });
    let mut codes = Vec::new();
    for _ in 0..6 {
        let once = nonce(carol.ask(ask()).await);
        codes.push(error(carol.ask(people[2].join_proof(&team, &wrong, &once)).await).0);
    }
    assert_eq!(codes[..5], [Code::WrongInvite; 5]);
    assert_eq!(codes[5], Code::SlowDown);
    // The right one, once the pause is over, opens the chain, and a JOIN goes through.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let once = nonce(carol.ask(ask()).await);
    let done = carol.ask(people[2].join_proof(&team, &key, &once)).await;
    assert!(matches!(done, Answer::Done(_)), "{done:?}");
    assert_eq!(carol.roster(&team, 0).await.entries.len(), 2);
    assert!(JOIN_GRANT_LIFE >= Duration::from_secs(10));
    let member = people[2].as_member(2);
    let change = Change::Join { identity: member.identity, invite: key.public() };
    let join = people[2].sign_operation(Some(&team), change, Some(&key));
    assert_eq!(carol.change(&mut team, &join).await.number, 3);
    open(carol, &team, 2).await;
    assert_eq!(entry(carol).await.seq, 3);
}

/// Sends what closes the connection, perhaps before all of it is there, and says with which code.
async fn closed_by(raw: &mut Raw, body: Ask) -> Option<Code> {
    let frame = ClientFrame { rid: 1, optional: false, body: Some(body) };
    let _ = raw.writer.send(&frame).await;
    raw.close_code().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operations_are_longer_than_other_frames_and_only_after_a_login() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let mut alice = cluster.person("alice", 0);
    let long = |bytes: usize| {
        Ask::Change(ChangeFrame { group: "team".into(), operation: vec![0; bytes].into() })
    };
    // A stranger.
    let mut raw = cluster.greeted(1).await;
    assert_eq!(closed_by(&mut raw, long(FRAME_BYTES_MAX)).await, Some(Code::FrameTooLarge));
    // Somebody with a long frame that is no operation.
    let mut raw = cluster.sign_up(1, &mut alice).await;
    let look_up = Ask::LookUp(LookUp { user: "x".repeat(FRAME_BYTES_MAX) });
    assert_eq!(closed_by(&mut raw, look_up).await, Some(Code::FrameTooLarge));
    // An operation that is too long, in a frame that is not, and in one that is.
    for bytes in [OPERATION_BYTES_MAX + 1, OPERATION_FRAME_BYTES_MAX] {
        let mut raw = cluster.resume(1, &mut alice).await;
        assert_eq!(closed_by(&mut raw, long(bytes)).await, Some(Code::FrameTooLarge));
    }
    // As long as may be: judged by the home.
    let mut raw = cluster.resume(1, &mut alice).await;
    raw.send(1, long(OPERATION_BYTES_MAX)).await;
    assert_eq!(error(raw.next().await).0, Code::Malformed);
    // Names and fields that make no sense end the stream.
    for bad in [
        Ask::Change(ChangeFrame { group: "#team".into(), operation: Bytes::from_static(b"x") }),
        Ask::Change(ChangeFrame { group: "team".into(), operation: Bytes::new() }),
    ] {
        let mut raw = cluster.resume(1, &mut alice).await;
        raw.send(1, bad).await;
        assert_eq!(error(raw.next().await).0, Code::Malformed);
        raw.stream_ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_large_requests_is_bounded_and_loses_nothing() {
    let Scene { cluster: _cluster, mut raws, team, .. } = scene(2).await;
    let flood = 4 * OPERATIONS_PENDING_MAX as u64;
    for rid in 1_000..1_000 + flood {
        let ask = GetRoster { group: team.name.as_str().into(), after: 0 };
        raws[0].send(rid, Ask::GetRoster(ask)).await;
    }
    let (mut pages, mut busy) = (0, 0);
    for _ in 0..flood {
        match raws[0].next().await {
            Answer::Roster(_) => pages += 1,
            Answer::Error(error) if error.code == Code::Busy as u32 => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(pages >= OPERATIONS_PENDING_MAX, "{pages} pages, {busy} refused");
    assert_eq!(raws[0].roster(&team, 0).await.entries.len(), 1);
}
