//! Who is there, who came and went, who is typing.

use super::*;

/// What a connection was told of somebody's presence.
fn told(outputs: &[(Target, Body)], sid: u64) -> Vec<(u32, bool)> {
    let one = |(to, body): &(Target, Body)| match body {
        Body::Online(news) if to.sid == SessionId(sid) => Some((to.open_id, news.online)),
        _ => None,
    };
    outputs.iter().filter_map(one).collect()
}

/// Waits until news of presence are due and returns all that came.
async fn news(bed: &mut Bed) -> Vec<(Target, Body)> {
    let mut seen = bed.settle().await;
    tokio::time::sleep(limits::PRESENCE_PAUSE * 2).await;
    seen.extend(bed.settle().await);
    seen
}

fn presence(visibility: Visibility) -> HomeRequest {
    HomeRequest::SetPresence { visibility }
}

fn typing(to: &str) -> HomeRequest {
    HomeRequest::Typing { to: name(to) }
}

async fn online(bed: &mut Bed, from: &Caller, all: bool) -> Vec<(String, bool)> {
    let Body::WhoList(list) = bed.ask(from, HomeRequest::Who { all }).await else {
        panic!("no list")
    };
    list.users.into_iter().map(|user| (user.user, user.online)).collect()
}

async fn back(bed: &mut Bed, sid: u64) -> Caller {
    let person = Person::new("alice");
    let Body::Welcome(welcome) = bed.ask(&stranger(sid), person.login(Takeover::Ask)).await else {
        panic!("no welcome")
    };
    person.at(sid, welcome.session_epoch)
}

#[tokio::test(start_paused = true)]
async fn who_has_a_log_open_hears_when_its_owner_goes_and_comes() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    assert!(bed.open(&bob, "alice", 4).await.online);
    bed.open(&alice, "alice", 1).await;
    bed.send(&alice, 0, HomeRequest::Detach).await;
    let seen = news(&mut bed).await;
    assert_eq!(told(&seen, 2), [(4, false)]);
    assert_eq!(told(&seen, 1), [], "nobody hears of themselves");
    assert!(!bed.open(&bob, "alice", 5).await.online);
    let alice = back(&mut bed, 3).await;
    assert_eq!(told(&news(&mut bed).await, 2), [(5, true)]);
    // Gone and back within the pause is not worth a word.
    bed.send(&alice, 0, HomeRequest::Detach).await;
    back(&mut bed, 4).await;
    assert_eq!(told(&news(&mut bed).await, 2), []);
}

#[tokio::test(start_paused = true)]
async fn an_invisible_session_is_seen_by_nobody_and_lasts_over_a_restart() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    bed.open(&bob, "alice", 4).await;
    let done = bed.ask(&alice, presence(Visibility::Invisible)).await;
    assert_eq!(done, Body::Done(wire::Done::default()));
    assert_eq!(told(&news(&mut bed).await, 2), [(4, false)]);
    assert!(!bed.open(&bob, "alice", 5).await.online);
    assert_eq!(online(&mut bed, &bob, false).await, [("bob".to_owned(), true)]);
    let everybody = [("alice".to_owned(), false), ("bob".to_owned(), true)];
    assert_eq!(online(&mut bed, &bob, true).await, everybody);
    // The same connection goes on after a restart: still invisible.
    bed.kill().await;
    bed.open(&alice, "alice", 1).await;
    bed.open(&bob, "bob", 1).await;
    assert_eq!(online(&mut bed, &bob, false).await, [("bob".to_owned(), true)]);
    bed.open(&bob, "alice", 6).await;
    bed.ask(&alice, presence(Visibility::Visible)).await;
    let seen = news(&mut bed).await;
    assert_eq!(told(&seen, 2), [(6, true)]);
    assert_eq!(told(&seen, 1), [], "nobody hears of themselves");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_begins_invisible_is_never_shown() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    bed.send(&alice, 0, HomeRequest::Detach).await;
    news(&mut bed).await;
    bed.open(&bob, "alice", 5).await;
    let Person { name: user, device, .. } = Person::new("alice");
    let visibility = Visibility::Invisible;
    let login = HomeRequest::Login { user, device, takeover: Takeover::Ask, visibility };
    assert!(matches!(bed.ask(&stranger(3), login).await, Body::Welcome(_)));
    assert_eq!(told(&news(&mut bed).await, 2), []);
    assert_eq!(online(&mut bed, &bob, false).await, [("bob".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_person_sees_somebody_who_is_away() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    bed.open(&bob, "alice", 4).await;
    let block = |blocked| HomeRequest::Block { user: name("bob"), blocked };
    bed.ask(&alice, block(true)).await;
    assert_eq!(told(&news(&mut bed).await, 2), [(4, false)]);
    bed.ask(&alice, presence(Visibility::Invisible)).await;
    bed.ask(&alice, presence(Visibility::Visible)).await;
    assert_eq!(told(&news(&mut bed).await, 2), []);
    assert!(!bed.open(&bob, "alice", 5).await.online);
    assert_eq!(online(&mut bed, &bob, false).await, [("bob".to_owned(), true)]);
    let everybody = [("alice".to_owned(), false), ("bob".to_owned(), true)];
    assert_eq!(online(&mut bed, &bob, true).await, everybody);
    bed.ask(&alice, block(false)).await;
    assert_eq!(told(&news(&mut bed).await, 2), [(5, true)]);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_round_of_news_reaches_everybody() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    let listeners = limits::PRESENCE_PUSHES_MAX as u64 + 10;
    for sid in 0..listeners {
        let listener = Caller { sid: SessionId(1_000 + sid), ..bob.clone() };
        bed.open(&listener, "alice", 1).await;
    }
    bed.send(&alice, 0, HomeRequest::Detach).await;
    bed.settle().await;
    tokio::time::sleep(limits::PRESENCE_PAUSE + limits::PRESENCE_PAUSE / 2).await;
    let first = bed.settle().await.len();
    assert!(first <= limits::PRESENCE_PUSHES_MAX, "{first} at once");
    tokio::time::sleep(limits::PRESENCE_PAUSE * 3).await;
    // One listener more: Bob's own connection.
    assert_eq!(first + bed.settle().await.len(), listeners as usize + 1);
}

#[tokio::test(start_paused = true)]
async fn typing_reaches_a_live_session_and_nobody_else() {
    let mut bed = Bed::new();
    let (alice, bob, _) = bed.alice_and_bob().await;
    bed.send(&bob, 0, typing("alice")).await;
    let seen = bed.settle().await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].0, Target { sid: SessionId(1), open_id: 0 });
    assert_eq!(
        seen[0].1,
        Body::Typing(wire::Typing { user: "bob".to_owned(), group: String::new() })
    );
    // Not to nobody, not to strangers, not from them; and without an answer.
    bed.send(&bob, 0, typing("carol")).await;
    bed.send(&stranger(9), 0, typing("alice")).await;
    bed.ask(&alice, HomeRequest::Block { user: name("bob"), blocked: true }).await;
    bed.send(&bob, 0, typing("alice")).await;
    assert_eq!(bed.settle().await.len(), 0);
    bed.ask(&alice, HomeRequest::Block { user: name("bob"), blocked: false }).await;
    bed.send(&alice, 0, HomeRequest::Detach).await;
    bed.send(&bob, 0, typing("alice")).await;
    assert_eq!(bed.settle().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_lost_is_dropped_while_much_else_waits() {
    let bed = Bed::new();
    // Nothing is taken from the queue between two awaits of this test.
    let call = || Call { from: stranger(1), rid: 0, request: typing("alice") };
    for _ in 0..limits::WRITER_QUEUE_MAX {
        bed.home.offer(&edge("e1"), call());
    }
    let waiting = bed.home.stats().queue as usize;
    assert!(waiting <= limits::WRITER_QUEUE_MAX / 2 + 1, "{waiting}");
}
