//! Who is handed out, when, and what an answer of an earlier life is worth.

use std::net::SocketAddr;

use super::*;

fn fleet() -> Fleet {
    let entry = |number| ServerEntry {
        id: ServerId::numbered(number),
        addr: SocketAddr::from(([127, 0, 0, 1], 9000 + number)),
        peer_addr: SocketAddr::from(([127, 0, 0, 1], 9100 + number)),
        spki_sha256: String::new(),
    };
    Fleet::new(&PlacementMap::deal((1..=2).map(entry).collect(), String::new()))
}

fn ready_ids(fleet: &Fleet) -> Vec<String> {
    let mut ids: Vec<String> = fleet
        .offer(&Env::system(), Strategy::Random, None)
        .iter()
        .map(|entry| entry.id.to_string())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn only_a_server_that_answers_and_accepts_is_handed_out() {
    let fleet = fleet();
    let s1 = ServerId::numbered(1);
    assert!(ready_ids(&fleet).is_empty());
    fleet.answered(&s1, 0, Load::default(), State::Starting);
    assert!(ready_ids(&fleet).is_empty());
    fleet.answered(&s1, 0, Load::default(), State::Ready);
    assert_eq!(ready_ids(&fleet), ["s1"]);
    fleet.silent(&s1, 0);
    assert!(ready_ids(&fleet).is_empty());
}

#[tokio::test]
async fn a_late_answer_of_a_dead_process_does_not_make_it_ready() {
    let fleet = fleet();
    let s1 = ServerId::numbered(1);
    fleet.process_started(&s1, 41);
    let life = fleet.life(&s1);
    fleet.answered(&s1, life, Load::default(), State::Ready);
    fleet.process_ended(&s1);
    fleet.answered(&s1, life, Load::default(), State::Ready);
    assert!(ready_ids(&fleet).is_empty());
    fleet.process_started(&s1, 42);
    fleet.answered(&s1, life, Load::default(), State::Ready);
    assert!(ready_ids(&fleet).is_empty());
    assert_eq!(fleet.members()[0].restarts, 1);
}

#[tokio::test]
async fn a_server_told_to_drain_is_up_but_not_handed_out_until_that_is_taken_back() {
    let fleet = fleet();
    let (s1, s2) = (ServerId::numbered(1), ServerId::numbered(2));
    for id in [&s1, &s2] {
        fleet.answered(id, 0, Load::default(), State::Ready);
    }
    fleet.wish(&s1, Wish::Drain).unwrap();
    assert_eq!(ready_ids(&fleet), ["s2"]);
    // It has not heard of it yet; then it restarts.
    fleet.answered(&s1, 0, Load::default(), State::Ready);
    assert_eq!(ready_ids(&fleet), ["s2"]);
    fleet.process_ended(&s1);
    fleet.process_started(&s1, 42);
    fleet.answered(&s1, fleet.life(&s1), Load::default(), State::Ready);
    assert_eq!(ready_ids(&fleet), ["s2"]);
    assert!(fleet.is_closed_on_purpose());
    fleet.wish(&s1, Wish::Serve).unwrap();
    fleet.answered(&s1, fleet.life(&s1), Load::default(), State::Ready);
    assert_eq!(ready_ids(&fleet), ["s1", "s2"]);
    assert_eq!(fleet.wish(&ServerId::numbered(9), Wish::Drain), Err(NoSuchServer));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_sent_counts_until_the_report_can_show_it() {
    let fleet = fleet();
    let (s1, s2) = (ServerId::numbered(1), ServerId::numbered(2));
    let report = |id: &ServerId, connections| {
        let load = Load { connections, ..Load::default() };
        fleet.answered(id, 0, load, State::Ready);
    };
    let first = || {
        let offered = fleet.offer(&Env::system(), Strategy::LeastConnections, None);
        offered[0].id.to_string()
    };
    report(&s1, 0);
    report(&s2, 2);
    assert_eq!([first(), first()], ["s1", "s1"]);
    // Reports that come too early to know of them do not bring them all to s1 again.
    report(&s1, 0);
    report(&s2, 2);
    first();
    first();
    assert_eq!(fleet.members()[1].offered_first, 1);
    for _ in 0..2 {
        tokio::time::advance(REPORT_INTERVAL).await;
        report(&s1, 3);
        report(&s2, 2);
    }
    assert_eq!(first(), "s2");
}
