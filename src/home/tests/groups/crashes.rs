//! A kill at every step of the disk: what was answered is there, and nothing is there by half.

use std::collections::BTreeSet;

use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::crypto::operation::verify_operation;
use crate::roster::Roster;

const DISK: u64 = 1_000;
const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// One thing that somebody does, by the place of their name.
enum Step {
    Change(usize, SignedOperation),
    Message { by: usize, n: u64, key_epoch: u64 },
}

/// CREATE, ADD, INVITE, JOIN, REMOVE and messages between them.
struct Script {
    people: [Person; 4],
    team: Team,
    steps: Vec<Step>,
}

fn script() -> Script {
    let people = NAMES.map(Person::new);
    let create = create_of(&people[0], "team", &["alice", "bob"], 1);
    let members = NAMES.map(name).to_vec();
    let (id, group) = (GroupId(create.hash.0), GroupName::canonical("team").unwrap());
    let mut team = Team { name: group, id, head: create.hash, number: 1, members, key_epoch: 1 };
    let mut steps = vec![Step::Change(0, create), Step::Message { by: 1, n: 1, key_epoch: 1 }];
    let mut change = |steps: &mut Vec<Step>, by, make: &dyn Fn(&Team) -> SignedOperation| {
        let operation = make(&team);
        team.follow(&operation);
        steps.push(Step::Change(by, operation));
    };
    change(&mut steps, 0, &|team| team.add(&people[0], "carol"));
    change(&mut steps, 0, &|team| joining::invitation(team, &people[0], 1));
    change(&mut steps, 3, &|team| joining::join(team, &people[3], &joining::invite_key(team)));
    steps.push(Step::Message { by: 3, n: 1, key_epoch: 1 });
    change(&mut steps, 0, &|team| team.remove(&people[0], "bob"));
    steps.push(Step::Message { by: 2, n: 1, key_epoch: 2 });
    Script { people, team, steps }
}

/// What the file says of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Name, epoch of the key, closed, oldest entry kept, head.
    groups: Vec<(String, i64, bool, i64, i64)>,
    /// Number, seq, operation.
    chain: Vec<(i64, i64, Vec<u8>)>,
    /// User, since, until.
    members: Vec<(String, i64, Option<i64>)>,
    /// Seq, n, kind, bytes.
    entries: Vec<(i64, i64, i64, Vec<u8>)>,
    /// Author, the last n.
    producers: Vec<(String, i64)>,
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut select = conn.prepare(sql).unwrap();
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn state(bed: &Bed) -> State {
    let path = bed.folder.path().join("s1.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
    let groups = "SELECT g.name, g.key_epoch, g.closed, l.first_seq, l.head_seq
                  FROM groups g JOIN logs l ON l.id = g.log ORDER BY g.log";
    let producers = "SELECT author, last_n FROM producers WHERE log < 0 AND author != ''
                     ORDER BY author";
    State {
        groups: all(&conn, groups, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        }),
        chain: all(&conn, "SELECT number, seq, operation FROM roster_ops ORDER BY number", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        }),
        members: all(
            &conn,
            "SELECT user, since_seq, until_seq FROM members ORDER BY user, since_seq",
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        ),
        entries: all(
            &conn,
            "SELECT seq, n, kind, envelope FROM entries WHERE log < 0 ORDER BY seq",
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        ),
        producers: all(&conn, producers, |row| Ok((row.get(0)?, row.get(1)?))),
    }
}

/// That the home says what the file says, and that its parts agree with each other.
async fn agree(bed: &mut Bed, script: &Script, callers: &[Caller; 4]) -> State {
    let found = state(bed);
    let Some((_, key_epoch, _, first, head)) = found.groups.first().cloned() else {
        assert_eq!(found, State::default());
        let page = bed.roster_page(&callers[0], &script.team, 0).await;
        assert_eq!(code(page), Code::NoSuchGroup);
        return found;
    };
    let Body::Roster(page) = bed.roster_page(&callers[0], &script.team, 0).await else {
        panic!("no chain")
    };
    let told = page
        .entries
        .iter()
        .map(|row| (row.number.cast_signed(), row.seq.cast_signed(), row.operation.to_vec()));
    assert_eq!(told.collect::<Vec<_>>(), found.chain);
    let mut roster: Option<Roster> = None;
    for (_, seq, encoded) in &found.chain {
        let operation = verify_operation(&Bytes::copy_from_slice(encoded), &cluster()).unwrap();
        match &mut roster {
            Some(roster) => roster.apply(&operation).unwrap(),
            None => roster = Some(Roster::create(&operation).unwrap()),
        }
        assert!(found.entries.iter().any(|entry| entry.0 == *seq && entry.3 == *encoded));
    }
    let roster = roster.unwrap();
    assert_eq!(roster.key_epoch().0, key_epoch.cast_unsigned());
    let listed: BTreeSet<&str> = roster.members().keys().map(UserName::as_str).collect();
    let present = found.members.iter().filter(|member| member.2.is_none());
    assert_eq!(present.map(|member| member.0.as_str()).collect::<BTreeSet<_>>(), listed);
    let seqs: Vec<i64> = found.entries.iter().map(|entry| entry.0).collect();
    assert_eq!((first, seqs), (1, (1..=head).collect::<Vec<_>>()));
    // Everybody sees their part of it, up to the end of their time.
    for (sid, (person, caller)) in (1..).zip(NAMES.iter().zip(callers)) {
        let answer = bed.ask_quietly(caller, open_of(&script.team.log(), 90, 0, 0)).await;
        let Some((_, since, until)) = found.members.iter().find(|member| member.0 == *person)
        else {
            assert_eq!(code(answer), Code::NotAMember);
            continue;
        };
        let Body::Opened(opened) = answer else { panic!("{answer:?}") };
        let (since, until) = (since.cast_unsigned(), until.unwrap_or(head).cast_unsigned());
        assert_eq!((opened.first_seq, opened.head_seq), (since, until));
        let mut seen = pushed_to(&bed.settle_all().await, sid);
        seen.retain(|seq| *seq != 0);
        assert_eq!(seen, (since..=until).collect::<Vec<_>>());
        let last = found.producers.iter().find(|row| row.0 == *person).map_or(0, |row| row.1);
        assert_eq!(opened.last_n, last.cast_unsigned());
    }
    found
}

async fn sign_ups(bed: &mut Bed, script: &Script) -> [Caller; 4] {
    let mut callers = Vec::new();
    for (sid, person) in (1..).zip(&script.people) {
        callers.push(bed.sign_up(person, sid).await);
    }
    callers.try_into().unwrap()
}

/// The request of a step; what has to be opened for it is.
async fn request(
    bed: &mut Bed,
    script: &Script,
    callers: &[Caller; 4],
    step: &Step,
    open_id: u32,
) -> (Caller, HomeRequest) {
    match step {
        Step::Change(by, operation) => {
            let (group, operation) = (script.team.name.clone(), operation.encoded.clone());
            (callers[*by].clone(), HomeRequest::Change { group, operation })
        }
        Step::Message { by, n, key_epoch } => {
            let caller = callers[*by].clone();
            let envelope = script.team.message_at(&caller, *n, *key_epoch);
            let open = bed.open_team(&caller, &script.team, open_id).await;
            (caller, open.append(envelope))
        }
    }
}

/// What is answered to it; of a change number and seq, of a message n and seq.
#[track_caller]
fn answered(body: &Body) -> Option<(u64, u64)> {
    match body {
        Body::Changed(changed) => Some((changed.number, changed.seq)),
        Body::Appended(appended) => Some((appended.n, appended.seq)),
        Body::Entry(_) | Body::Delivered(_) | Body::Closed(_) => None,
        other => panic!("{other:?}"),
    }
}

async fn run(
    bed: &mut Bed,
    script: &Script,
    callers: &[Caller; 4],
    step: &Step,
    open_id: u32,
) -> (u64, u64) {
    let (from, request) = request(bed, script, callers, step, open_id).await;
    let body = bed.ask_quietly(&from, request).await;
    bed.settle_all().await;
    answered(&body).unwrap()
}

/// Everything step by step without a kill: the state before each and at the end, and the answers.
async fn straight(script: &Script) -> (Vec<State>, Vec<(u64, u64)>) {
    let mut bed = Bed::new();
    let callers = sign_ups(&mut bed, script).await;
    let (mut states, mut answers) = (vec![state(&bed)], Vec::new());
    for (open_id, step) in (1..).zip(&script.steps) {
        answers.push(run(&mut bed, script, &callers, step, open_id).await);
        states.push(state(&bed));
    }
    assert_eq!(agree(&mut bed, script, &callers).await, states[script.steps.len()]);
    (states, answers)
}

#[tokio::test(start_paused = true)]
async fn a_kill_before_the_commit_leaves_nothing_and_one_after_it_all_of_an_operation() {
    let script = script();
    let (states, answers) = straight(&script).await;
    for (at, step) in script.steps.iter().enumerate() {
        // While the disk begins, while the answer waits for it, and after the answer.
        for (moment, stored, told) in [(1, 0, false), (3, 1, false), (5, 1, true)] {
            let mut bed = Bed::new();
            let callers = sign_ups(&mut bed, &script).await;
            for (open_id, earlier) in (1..).zip(&script.steps[..at]) {
                run(&mut bed, &script, &callers, earlier, open_id).await;
            }
            let (from, request) = request(&mut bed, &script, &callers, step, 50).await;
            bed.settle_all().await;
            bed.world.disk_ms.store(DISK, Ordering::Relaxed);
            bed.send(&from, 7, request).await;
            tokio::time::sleep(Duration::from_millis(moment * DISK / 2)).await;
            bed.killed.cancel();
            bed.home.queue.closed().await;
            let mut said = Vec::new();
            while let Ok(output) = bed.outputs.try_recv() {
                said.extend(answered(&output.frame.body.unwrap()));
            }
            assert_eq!(said, if told { vec![answers[at]] } else { vec![] }, "{at} {moment}");
            bed.world.disk_ms.store(0, Ordering::Relaxed);
            bed.reopen();
            let found = agree(&mut bed, &script, &callers).await;
            assert_eq!(found, states[at + stored], "{at} {moment}");
            // Sent again: the one answer it has, and the one state it leads to.
            let again = run(&mut bed, &script, &callers, step, 100).await;
            assert_eq!((again, state(&bed)), (answers[at], states[at + 1].clone()));
        }
    }
}

/// The bytes of a write-ahead log up to the end of each of its pages.
fn page_ends(wal: &[u8]) -> Vec<usize> {
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    (32..=wal.len()).step_by(24 + page).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_page_was_the_last_that_reached_the_disk_the_file_is_as_after_some_answer() {
    let script = script();
    let mut bed = Bed::new();
    let file = bed.folder.path().join("s1.db");
    let wal = bed.folder.path().join("s1.db-wal");
    let made = std::fs::read(&file).unwrap();
    let callers = sign_ups(&mut bed, &script).await;
    let signed_up = std::fs::read(&wal).unwrap().len();
    let (mut states, mut lengths) = (vec![state(&bed)], vec![signed_up]);
    for (open_id, step) in (1..).zip(&script.steps) {
        run(&mut bed, &script, &callers, step, open_id).await;
        states.push(state(&bed));
        lengths.push(std::fs::read(&wal).unwrap().len());
    }
    let written = std::fs::read(&wal).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), made, "all of it is in the write-ahead log");
    let mut seen = BTreeSet::new();
    let ends = page_ends(&written);
    for (number, end) in ends.iter().enumerate().filter(|(_, end)| **end >= signed_up) {
        // Every other time some of the next page came along.
        let torn = if number % 2 == 0 { 0 } else { 1_000 };
        let upto = (end + torn).min(written.len());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s1.db"), &made).unwrap();
        std::fs::write(folder.path().join("s1.db-wal"), &written[..upto]).unwrap();
        bed.home.clone().kill().await;
        bed.folder = folder;
        bed.reopen();
        let found = agree(&mut bed, &script, &callers).await;
        let which = states.iter().position(|known| *known == found);
        let which = which.unwrap_or_else(|| panic!("no state of the group, at {upto}: {found:?}"));
        // At least what was answered by then, at most what was begun.
        let told = lengths.iter().rposition(|length| *length <= *end).unwrap();
        assert!(which == told || which == told + 1, "{which} after {told} answers");
        seen.insert(which);
    }
    assert_eq!(seen, (0..states.len()).collect());
}
