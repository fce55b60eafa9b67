//! Coming in by an invitation, or not.

use super::*;
use crate::crypto::invite::{InviteClaim, InviteKey, InviteSecret};
use crate::crypto::operation::Invitation;

pub(super) fn invite_key(team: &Team) -> InviteKey {
    InviteSecret::from_bytes(&[5; InviteSecret::BYTES]).unwrap().invite_key(&cluster(), &team.id)
}

fn wrong_key(team: &Team) -> InviteKey {
    InviteSecret::from_bytes(&[6; InviteSecret::BYTES]).unwrap().invite_key(&cluster(), &team.id)
}

pub(super) fn invitation(team: &Team, by: &Person, uses: u32) -> SignedOperation {
    let key = invite_key(team);
    let wrapped = key.wrap.wrap(key.public(), &GroupKey::generate());
    let change = Change::Invite(Invitation { key: wrapped, password: false, uses });
    sign(by, Some(team), change)
}

async fn invite(bed: &mut Bed, team: &mut Team, by: &Person, from: &Caller, uses: u32) {
    let operation = invitation(team, by, uses);
    bed.change(from, team, &operation).await;
}

async fn nonce(bed: &mut Bed, from: &Caller, team: &Team) -> [u8; 32] {
    let group = team.name.clone();
    match bed.ask_quietly(from, HomeRequest::JoinAsk { group }).await {
        Body::JoinOffer(offer) => {
            assert_eq!(offer.group_id, team.id.0.to_vec());
            offer.nonce.as_ref().try_into().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn proof(team: &Team, from: &Caller, key: &InviteKey, nonce: &[u8; 32]) -> HomeRequest {
    let user = from.user.as_ref().unwrap();
    let cluster = cluster();
    let claim =
        InviteClaim { cluster: &cluster, group: &team.id, nonce, user, device: from.device };
    let signature = Bytes::copy_from_slice(&key.prove(&claim));
    let invite = Bytes::copy_from_slice(&key.public());
    HomeRequest::JoinProof { group: team.name.clone(), invite, signature }
}

pub(super) fn join(team: &Team, by: &Person, key: &InviteKey) -> SignedOperation {
    let change = Change::Join { identity: identity(), invite: key.public() };
    sign_with(by, Some(team), change, Some(key))
}

#[tokio::test(start_paused = true)]
async fn who_proves_an_invitation_is_shown_the_chain_for_a_minute_and_may_join() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    invite(&mut bed, &mut team, &pa, &alice, 1).await;
    let pd = Person::new("dave");
    let dave = bed.sign_up_quietly(&pd, 4).await;
    let key = invite_key(&team);
    assert_eq!(code(bed.roster_page(&dave, &team, 0).await), Code::NotAMember);
    let once = nonce(&mut bed, &dave, &team).await;
    let request = proof(&team, &dave, &key, &once);
    assert!(matches!(bed.ask_quietly(&dave, request.clone()).await, Body::Done(_)));
    // A nonce counts once, and for who got it.
    assert_eq!(code(bed.ask_quietly(&dave, request).await), Code::WrongInvite);
    assert_eq!(bed.chain(&dave, &team).await, [(1, 1), (2, 2)]);
    tokio::time::advance(limits::JOIN_GRANT_LIFE).await;
    assert_eq!(code(bed.roster_page(&dave, &team, 0).await), Code::NotAMember);
    let operation = join(&team, &pd, &key);
    bed.change(&dave, &mut team, &operation).await;
    assert_eq!(changed(bed.hand_in(&dave, &team.name, &operation).await), (3, 3));
    let d = bed.open_team(&dave, &team, 1).await;
    assert_eq!(d.opened.first_seq, 3);
    // It was for one.
    let pe = Person::new("erin");
    let erin = bed.sign_up_quietly(&pe, 5).await;
    let late = join(&team, &pe, &key);
    assert_eq!(code(bed.hand_in(&erin, &team.name, &late).await), Code::WrongInvite);
    // Not by way of somebody else, for a JOIN is the joiner's own.
    assert_eq!(code(bed.hand_in(&erin, &team.name, &operation).await), Code::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn guessing_costs_more_and_more_time_and_success_forgets_it() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    invite(&mut bed, &mut team, &pa, &alice, 0).await;
    let dave = bed.sign_up_quietly(&Person::new("dave"), 4).await;
    let (right, wrong) = (invite_key(&team), wrong_key(&team));
    for _ in 0..5 {
        let once = nonce(&mut bed, &dave, &team).await;
        let request = proof(&team, &dave, &wrong, &once);
        assert_eq!(code(bed.ask_quietly(&dave, request).await), Code::WrongInvite);
    }
    for seconds in [1, 2, 4] {
        let once = nonce(&mut bed, &dave, &team).await;
        let request = proof(&team, &dave, &right, &once);
        let Body::Error(slow) = bed.ask_quietly(&dave, request).await else { panic!("let in") };
        assert_eq!(slow.code, Code::SlowDown as u32);
        assert!((1..=seconds * 1_000 + 1).contains(&slow.retry_after_ms), "{slow:?}");
        tokio::time::advance(Duration::from_millis(slow.retry_after_ms)).await;
        let once = nonce(&mut bed, &dave, &team).await;
        let request = proof(&team, &dave, &wrong, &once);
        assert_eq!(code(bed.ask_quietly(&dave, request).await), Code::WrongInvite);
    }
    tokio::time::advance(Duration::from_secs(8)).await;
    let once = nonce(&mut bed, &dave, &team).await;
    // Another one's nonce is of no use.
    let erin = bed.sign_up_quietly(&Person::new("erin"), 5).await;
    let request = proof(&team, &erin, &right, &once);
    assert_eq!(code(bed.ask_quietly(&erin, request).await), Code::WrongInvite);
    let request = proof(&team, &dave, &right, &once);
    assert!(matches!(bed.ask_quietly(&dave, request).await, Body::Done(_)));
    let once = nonce(&mut bed, &dave, &team).await;
    let request = proof(&team, &dave, &wrong, &once);
    assert_eq!(code(bed.ask_quietly(&dave, request).await), Code::WrongInvite);
    let nowhere = GroupName::canonical("nowhere").unwrap();
    let ask = HomeRequest::JoinAsk { group: nowhere };
    assert_eq!(code(bed.ask_quietly(&dave, ask).await), Code::NoSuchGroup);
}

#[tokio::test(start_paused = true)]
async fn a_removal_ends_every_invitation_and_what_was_proven_with_one() {
    let mut bed = Bed::new();
    let (mut team, [pa, ..], [alice, ..]) = bed.team().await;
    invite(&mut bed, &mut team, &pa, &alice, 0).await;
    let pd = Person::new("dave");
    let dave = bed.sign_up_quietly(&pd, 4).await;
    let key = invite_key(&team);
    let once = nonce(&mut bed, &dave, &team).await;
    let request = proof(&team, &dave, &key, &once);
    assert!(matches!(bed.ask_quietly(&dave, request).await, Body::Done(_)));
    let remove = team.remove(&pa, "bob");
    bed.change(&alice, &mut team, &remove).await;
    let operation = join(&team, &pd, &key);
    assert_eq!(code(bed.hand_in(&dave, &team.name, &operation).await), Code::WrongInvite);
    // The connection is gone, and with it what it had proven.
    bed.send(&stranger(4), 0, HomeRequest::Detach).await;
    assert_eq!(code(bed.roster_page(&dave, &team, 0).await), Code::NotAMember);
}
