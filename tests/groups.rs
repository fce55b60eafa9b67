//! Groups over a real server in the simulated network: who is in one, who may change it, and what
//! becomes of it when somebody is away, goes, or comes by a link or a password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::time::Duration;

use fastchat::client::password::PasswordError;
use fastchat::client::{
    Client, GroupCommand, GroupDone, GroupError, GroupView, JoinState, LocalId, MessageState,
    RequestError, Role, Standing,
};
use fastchat::types::{ChatName, GroupName, UserName};
use fastchat::wire::client::server_frame::Body as Answer;
use tokio::time::{sleep, timeout};
use town::{LONG, Life, Town};
use zeroize::Zeroizing;

const GROUP_PASSWORD: &str = "seven purple herons wade";

fn team() -> GroupName {
    GroupName::parse("team").unwrap()
}

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// People who are signed in, by these names.
async fn people<const N: usize>(town: &mut Town, names: [&str; N]) -> [Life; N] {
    let mut lives = Vec::new();
    for name in names {
        let name = town.name(name);
        lives.push(town.sign_up(&name).await);
    }
    lives.try_into().ok().unwrap()
}

/// A group of the first and the others, which all of them see.
async fn made(maker: &Life, others: &[&Life]) {
    let with: Vec<UserName> = others.iter().map(|life| life.name.clone()).collect();
    let done = maker.client.create_group(&team(), &with, "The team", None).await.unwrap();
    assert_eq!(done.failed, []);
    for life in others {
        stands(life, Standing::Member).await;
    }
}

fn view(life: &Life) -> Option<GroupView> {
    life.client.group(&team()).unwrap()
}

fn members(life: &Life) -> Vec<UserName> {
    let members = view(life).map(|view| view.members).unwrap_or_default();
    members.into_iter().map(|member| member.user).collect()
}

/// Waits until that is so.
#[track_caller]
fn until(what: impl Fn() -> bool) -> impl Future<Output = ()> {
    let from = std::panic::Location::caller();
    async move { until_from(what, from).await }
}

async fn until_from(what: impl Fn() -> bool, from: &std::panic::Location<'_>) {
    let wait = async {
        while !what() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(LONG, wait).await.is_ok(), "{from}: that never happened");
}

async fn stands(life: &Life, standing: Standing) {
    until(|| view(life).is_some_and(|view| view.standing == standing)).await;
}

/// Waits until all of them see the same group, and says how many changes it had.
async fn agree(lives: &[&Life]) -> u64 {
    let same = || {
        let heads: Vec<_> =
            lives.iter().map(|life| view(life).map(|v| (v.changes, v.head))).collect();
        heads.iter().all(|head| head.is_some() && *head == heads[0])
    };
    let agreed = timeout(LONG / 2, until(same)).await;
    let seen: Vec<_> = lives.iter().map(|life| view(life)).collect();
    assert!(agreed.is_ok(), "they never agree: {seen:?}");
    view(lives[0]).unwrap().changes
}

async fn change(life: &Life, command: GroupCommand) -> Result<GroupDone, GroupError> {
    life.client.change_group(&team(), command).await
}

async fn add(life: &Life, who: &Life) {
    let done = change(life, GroupCommand::Add(vec![who.name.clone()])).await.unwrap();
    assert_eq!((done.already, done.failed), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_made_and_everybody_named_is_in_it() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    let nobody = town.name("nobody");
    let with = [bob.name.clone(), nobody.clone(), alice.name.clone(), bob.name.clone()];
    let done = alice.client.create_group(&team(), &with, "The team", None).await.unwrap();
    assert_eq!(done.failed, [(nobody.clone(), GroupError::NoSuchUser(nobody))]);
    assert_eq!(done.group.standing, Standing::Member);
    assert_eq!(done.group.role, Some(Role::Admin));
    stands(&bob, Standing::Member).await;
    assert_eq!(agree(&[&alice, &bob]).await, 1);
    let seen = view(&bob).unwrap();
    assert_eq!((seen.title.as_str(), seen.role), ("The team", Some(Role::Member)));
    assert_eq!(members(&bob), members(&alice));
    assert_eq!(view(&carol), None);
    let taken = carol.client.create_group(&team(), &[], "", None).await;
    assert_eq!(taken, Err(GroupError::NameTaken(team())));
    assert_eq!(view(&carol), None, "nothing is left of it");
    assert_eq!(carol.client.may_join(&team()).await, Ok(JoinState::Open));
    assert_eq!(bob.client.may_join(&team()).await, Ok(JoinState::AlreadyIn));
}

#[tokio::test(start_paused = true)]
async fn one_who_is_added_while_away_learns_of_it_on_return() {
    let mut town = Town::new().await;
    let [alice, bob] = people(&mut town, ["alice", "bob"]).await;
    made(&alice, &[]).await;
    bob.client.stop().await;
    add(&alice, &bob).await;
    change(&alice, GroupCommand::Topic("what we do".to_owned())).await.unwrap();
    let bob = town.restarted(bob).await;
    stands(&bob, Standing::Member).await;
    agree(&[&alice, &bob]).await;
    assert_eq!(view(&bob).unwrap().topic, "what we do");
    let told = bob.reads_until(&format!("* {} Added", alice.name)).await;
    assert!(told.iter().any(|line| line.contains("Added")), "{told:?}");
    let again = change(&alice, GroupCommand::Add(vec![bob.name.clone()])).await.unwrap();
    assert_eq!(again.already, std::slice::from_ref(&bob.name));
}

#[tokio::test(start_paused = true)]
async fn who_is_put_out_changes_and_reads_nothing_more_and_no_old_invitation_helps() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob, &carol]).await;
    change(&alice, GroupCommand::Password(Some(secret(GROUP_PASSWORD)))).await.unwrap();
    let done = change(&alice, GroupCommand::Invite { uses: 0 }).await.unwrap();
    let link = done.link.unwrap();
    change(&alice, GroupCommand::Kick(bob.name.clone())).await.unwrap();
    stands(&bob, Standing::Removed).await;
    let upto = agree(&[&alice, &carol]).await;
    assert_eq!(view(&carol).unwrap().key_epoch, 2);
    assert_eq!(view(&carol).unwrap().invites, []);
    let refused = change(&bob, GroupCommand::Title("mine".to_owned())).await;
    assert_eq!(refused, Err(GroupError::NotAMember(team())));
    let wrong = GroupError::WrongInvite(team());
    assert_eq!(bob.client.join_by_link(&link).await, Err(wrong.clone()));
    let by_password = bob.client.join_by_password(&team(), secret(GROUP_PASSWORD)).await;
    assert_eq!(by_password, Err(wrong));
    assert_eq!(view(&bob).unwrap().standing, Standing::Removed);
    change(&alice, GroupCommand::Title("Without bob".to_owned())).await.unwrap();
    until(|| view(&carol).unwrap().changes == upto + 1).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(view(&bob).unwrap().changes, upto, "he sees up to his end");
    add(&alice, &bob).await;
    stands(&bob, Standing::Member).await;
    agree(&[&alice, &bob, &carol]).await;
    assert_eq!(view(&bob).unwrap().title, "Without bob");
}

#[tokio::test(start_paused = true)]
async fn two_admins_at_once_both_get_what_they_want() {
    let mut town = Town::new().await;
    let [alice, bob, carol, dora] = people(&mut town, ["alice", "bob", "carol", "dora"]).await;
    made(&alice, &[&bob]).await;
    change(&alice, GroupCommand::Grant(vec![bob.name.clone()])).await.unwrap();
    agree(&[&alice, &bob]).await;
    let (hers, his) = tokio::join!(
        change(&alice, GroupCommand::Add(vec![carol.name.clone(), dora.name.clone()])),
        async {
            for text in ["one", "two", "three", "four"] {
                change(&bob, GroupCommand::Topic(text.to_owned())).await.unwrap();
            }
        },
    );
    assert_eq!(hers.unwrap().failed, []);
    let () = his;
    stands(&carol, Standing::Member).await;
    stands(&dora, Standing::Member).await;
    agree(&[&alice, &bob, &carol, &dora]).await;
    assert_eq!(view(&dora).unwrap().topic, "four");
    // The same twice at once: one of them hears that it is so already.
    let grant = || GroupCommand::Grant(vec![carol.name.clone()]);
    let (a, b) = tokio::join!(change(&alice, grant()), change(&bob, grant()));
    let failed = [a.unwrap().failed, b.unwrap().failed].concat();
    assert_eq!(failed, [(carol.name.clone(), GroupError::Nothing)]);
}

#[tokio::test(start_paused = true)]
async fn a_password_and_a_link_let_people_in_while_nobody_is_there() {
    let mut town = Town::new().await;
    let [alice, bob, carol, dora] = people(&mut town, ["alice", "bob", "carol", "dora"]).await;
    let weak = alice.client.create_group(&team(), &[], "", Some(secret("password1"))).await;
    assert!(matches!(weak, Err(GroupError::WeakPassword(_))), "{weak:?}");
    assert_eq!(view(&alice), None);
    let password = || secret(GROUP_PASSWORD);
    alice.client.create_group(&team(), &[], "", Some(password())).await.unwrap();
    let done = change(&alice, GroupCommand::Invite { uses: 1 }).await.unwrap();
    let link = done.link.unwrap();
    assert_eq!(done.group.invites.len(), 2);
    alice.client.stop().await;
    let wrong = bob.client.join_by_password(&team(), secret("seven purple herons walk")).await;
    assert_eq!(wrong, Err(GroupError::WrongInvite(team())));
    assert_eq!(view(&bob), None);
    let joined = bob.client.join_by_password(&team(), password()).await.unwrap();
    assert_eq!((joined.standing, joined.role), (Standing::Member, Some(Role::Member)));
    let again = bob.client.join_by_password(&team(), password()).await;
    assert_eq!(again, Err(GroupError::AlreadyAMember(bob.name.clone())));
    assert_eq!(carol.client.read_link(&link), Ok(team()));
    carol.client.join_by_link(&link).await.unwrap();
    agree(&[&bob, &carol]).await;
    let used = dora.client.join_by_link(&link).await;
    assert_eq!(used, Err(GroupError::WrongInvite(team())));
    assert_eq!(view(&dora), None);
    let alice = town.restarted(alice).await;
    agree(&[&alice, &bob, &carol]).await;
    assert_eq!(members(&alice).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_admin_hands_over_before_going_and_the_last_member_closes_the_group() {
    let mut town = Town::new().await;
    let [alice, bob] = people(&mut town, ["alice", "bob"]).await;
    made(&alice, &[&bob]).await;
    let leave = |successor| GroupCommand::Leave { successor };
    assert_eq!(change(&alice, leave(None)).await, Err(GroupError::LastAdmin(team())));
    let stranger = town.name("eve");
    let nobody = change(&alice, leave(Some(stranger.clone()))).await;
    assert_eq!(nobody, Err(GroupError::NoSuchMember(stranger)));
    let left = change(&alice, leave(Some(bob.name.clone()))).await.unwrap();
    assert_eq!((left.group.standing, left.group.role), (Standing::Left, None));
    until(|| view(&bob).unwrap().role == Some(Role::Admin) && members(&bob).len() == 1).await;
    let closed = change(&bob, leave(None)).await.unwrap();
    assert_eq!(closed.group.standing, Standing::Closed);
    let refused = change(&bob, GroupCommand::Title("still".to_owned())).await;
    assert_eq!(refused, Err(GroupError::Closed(team())));
    alice.client.forget_group(&team()).unwrap();
    assert_eq!(view(&alice), None);
}

#[tokio::test(start_paused = true)]
async fn what_only_an_admin_may_do_is_refused_to_others() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob]).await;
    for command in [
        GroupCommand::Kick(alice.name.clone()),
        GroupCommand::Revoke(alice.name.clone()),
        GroupCommand::Title("mine".to_owned()),
        GroupCommand::Password(Some(secret(GROUP_PASSWORD))),
        GroupCommand::Invite { uses: 1 },
        GroupCommand::Close,
    ] {
        assert_eq!(change(&bob, command).await, Err(GroupError::NotAnAdmin(team())));
    }
    let add = change(&bob, GroupCommand::Add(vec![carol.name.clone()])).await;
    assert_eq!(add, Err(GroupError::NotAnAdmin(team())));
    assert_eq!(
        change(&alice, GroupCommand::Kick(carol.name.clone())).await,
        Err(GroupError::NoSuchMember(carol.name.clone()))
    );
    assert_eq!(
        change(&alice, GroupCommand::Revoke(alice.name.clone())).await,
        Err(GroupError::LastAdmin(team()))
    );
    assert_eq!(change(&carol, GroupCommand::Close).await, Err(GroupError::NoSuchGroup(team())));
    alice.client.stop().await;
    let offline = change(&alice, GroupCommand::Title("away".to_owned())).await;
    assert_eq!(offline, Err(GroupError::Request(RequestError::Offline)));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_a_group_needs_is_not_deleted() {
    let mut town = Town::new().await;
    let [alice, bob] = people(&mut town, ["alice", "bob"]).await;
    made(&alice, &[&bob]).await;
    let refused = alice.client.delete_account(town::PASSWORD).await;
    assert!(
        matches!(&refused, Err(PasswordError::LastAdmin(groups)) if *groups == [team()]),
        "{refused:?}"
    );
    change(&alice, GroupCommand::Grant(vec![bob.name.clone()])).await.unwrap();
    alice.client.delete_account(town::PASSWORD).await.unwrap();
}

/// The server takes what comes, and its answer never arrives.
fn answer_is_lost(town: &Town, who: &Life) {
    town.hostile.rewrite_frames(&who.name, |frame| match frame.body {
        Some(Answer::Changed(_)) => vec![],
        _ => vec![frame],
    });
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_is_lost_is_found_again() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    answer_is_lost(&town, &alice);
    let lost = Err(GroupError::Request(RequestError::Timeout));
    let with = [bob.name.clone()];
    let made = alice.client.create_group(&team(), &with, "", None).await;
    assert_eq!(made.map(drop), lost.clone());
    assert_eq!(view(&alice).unwrap().standing, Standing::Making);
    assert_eq!(view(&bob), None, "nobody is told before it is known");
    town.hostile.relent(&alice.name);
    // Another try goes on with the same group.
    let with = [bob.name.clone(), carol.name.clone()];
    let done = alice.client.create_group(&team(), &with, "", None).await.unwrap();
    assert_eq!((done.failed, done.group.members.len()), (vec![], 3));
    stands(&bob, Standing::Member).await;
    stands(&carol, Standing::Member).await;
    agree(&[&alice, &bob, &carol]).await;

    // A REMOVE: its key is here although its answer never was.
    answer_is_lost(&town, &alice);
    let kicked = change(&alice, GroupCommand::Kick(bob.name.clone())).await;
    assert_eq!(kicked.map(drop), lost);
    town.hostile.relent(&alice.name);
    let alice = town.restarted(alice).await;
    stands(&bob, Standing::Removed).await;
    agree(&[&alice, &carol]).await;
    let done = change(&alice, GroupCommand::Invite { uses: 0 }).await;
    assert!(done.unwrap().link.is_some(), "an invitation needs the present key");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_making_was_interrupted_is_made_by_the_next_session() {
    let mut town = Town::new().await;
    let [alice, bob] = people(&mut town, ["alice", "bob"]).await;
    answer_is_lost(&town, &alice);
    let with = [bob.name.clone()];
    alice.client.create_group(&team(), &with, "", None).await.unwrap_err();
    town.hostile.relent(&alice.name);
    let alice = town.restarted(alice).await;
    stands(&alice, Standing::Member).await;
    stands(&bob, Standing::Member).await;
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_answer_is_lost_is_found_again() {
    let mut town = Town::new().await;
    let [alice, bob] = people(&mut town, ["alice", "bob"]).await;
    made(&alice, &[]).await;
    let link = change(&alice, GroupCommand::Invite { uses: 1 }).await.unwrap().link.unwrap();
    answer_is_lost(&town, &bob);
    let joined = bob.client.join_by_link(&link).await;
    assert_eq!(joined, Err(GroupError::Request(RequestError::Timeout)));
    town.hostile.relent(&bob.name);
    let bob = town.restarted(bob).await;
    stands(&bob, Standing::Member).await;
    agree(&[&alice, &bob]).await;
}

fn team_chat() -> ChatName {
    ChatName::Group(team())
}

fn says(life: &Life, text: &str) -> LocalId {
    life.client.send_text(&team_chat(), text).unwrap()
}

async fn is_sent(life: &Life, id: LocalId) {
    until(|| matches!(life.state(id), MessageState::Sent | MessageState::Delivered)).await;
}

#[tokio::test(start_paused = true)]
async fn after_somebody_left_the_next_one_who_writes_renews_the_key() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob, &carol]).await;
    let link = change(&alice, GroupCommand::Invite { uses: 0 }).await.unwrap().link.unwrap();
    change(&bob, GroupCommand::Leave { successor: None }).await.unwrap();
    agree(&[&alice, &carol]).await;
    assert_eq!(view(&alice).unwrap().key_epoch, 1, "nobody has written");
    is_sent(&carol, says(&carol, "now we are two")).await;
    alice.reads_until("now we").await;
    agree(&[&alice, &carol]).await;
    assert_eq!(view(&alice).unwrap().key_epoch, 2);
    // The invitation was carried on: by it the new key is found.
    bob.client.join_by_link(&link).await.unwrap();
    agree(&[&alice, &bob, &carol]).await;
    is_sent(&alice, says(&alice, "three again")).await;
    bob.reads_until("three again").await;
}

#[tokio::test(start_paused = true)]
async fn who_was_away_while_somebody_left_renews_the_key_before_they_write() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob, &carol]).await;
    carol.client.stop().await;
    change(&bob, GroupCommand::Leave { successor: None }).await.unwrap();
    let written = says(&carol, "written without knowing");
    let carol = town.restarted(carol).await;
    is_sent(&carol, written).await;
    alice.reads_until("written without").await;
    agree(&[&alice, &carol]).await;
    assert_eq!(view(&alice).unwrap().key_epoch, 2, "bob's key opens nothing of it");
}

#[tokio::test(start_paused = true)]
async fn two_who_write_at_once_after_somebody_left_renew_the_key_once() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob, &carol]).await;
    change(&bob, GroupCommand::Leave { successor: None }).await.unwrap();
    agree(&[&alice, &carol]).await;
    let (hers, theirs) = (says(&alice, "from alice"), says(&carol, "from carol"));
    is_sent(&alice, hers).await;
    is_sent(&carol, theirs).await;
    alice.reads_until("from carol").await;
    carol.reads_until("from alice").await;
    agree(&[&alice, &carol]).await;
    assert_eq!(view(&alice).unwrap().key_epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn who_was_put_out_while_away_posts_nothing_and_reads_up_to_that() {
    let mut town = Town::new().await;
    let [alice, bob, carol] = people(&mut town, ["alice", "bob", "carol"]).await;
    made(&alice, &[&bob, &carol]).await;
    is_sent(&bob, says(&bob, "bob was here")).await;
    carol.reads_until("bob was").await;
    bob.client.stop().await;
    let late = says(&bob, "too late");
    is_sent(&alice, says(&alice, "before the end")).await;
    change(&alice, GroupCommand::Kick(bob.name.clone())).await.unwrap();
    is_sent(&alice, says(&alice, "behind his back")).await;
    let bob = town.restarted(bob).await;
    stands(&bob, Standing::Removed).await;
    until(|| matches!(bob.state(late), MessageState::Refused(_))).await;
    let read = bob.reads_until("before the end").await;
    sleep(Duration::from_secs(10)).await;
    let after = bob.client.take_unshown(100).unwrap();
    let seen = format!("{read:?} {after:?}");
    assert!(!seen.contains("behind his back"), "{seen}");
    let carols = carol.reads_until("behind his back").await;
    assert!(!carols.iter().any(|line| line.contains("too late")), "{carols:?}");
}

#[test]
fn what_is_asked_of_groups_can_be_asked_from_any_task() {
    fn can<T: Send>(_: impl FnOnce(&'static Client) -> T) {}
    can(|client| client.join_by_link("fastchat://join/team/"));
    can(|client| client.join_by_password(Box::leak(Box::new(team())), secret("x")));
    can(|client| client.create_group(Box::leak(Box::new(team())), &[], "", None));
    can(|client| client.change_group(Box::leak(Box::new(team())), GroupCommand::Close));
}
