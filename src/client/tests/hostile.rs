//! A server that contradicts itself cannot keep a client busy, and cannot make it stop.

use super::*;
use crate::client::sender::{After, Phase, Sender};
use crate::wire::Code;

#[tokio::test(start_paused = true)]
async fn refusals_that_are_put_right_in_vain_end_in_a_pause() {
    let mut sender = Sender::new(1);
    sender.opened(EPOCH);
    let mut rounds = 0;
    while !sender.is_going_round() {
        rounds += 1;
        assert!(rounds < 20, "for ever");
    }
    // A success in between begins the count anew.
    for _ in 0..3 {
        for _ in 0..rounds {
            assert!(!sender.is_going_round());
        }
        sender.sent(N(1), N(1));
        assert!(sender.appended(N(1)));
    }
    for after in [After::Gap(N(0)), After::Reopen, After::Void(N(0), Code::Malformed)] {
        assert!(matches!(after.of_open(Code::Gap), After::Pause { .. }), "{after:?}");
    }
    let all = After::RefuseAll(Code::NoSuchUser);
    assert_eq!(all.of_open(Code::NoSuchUser), all);
}

#[tokio::test(start_paused = true)]
async fn absurd_numbers_and_times_are_survived() {
    let mut sender = Sender::new(1);
    sender.opened(EPOCH);
    sender.sent(N(u64::MAX), N(u64::MAX));
    assert!(!sender.appended(N(u64::MAX - 1)));
    assert!(sender.refused(N(u64::MAX), After::of(Code::Busy, N(1), 0, u64::MAX)));
    let Some(After::Pause { code, at_least }) = sender.drained() else { panic!("no pause") };
    sender.pause(code, at_least, 0.5);
    assert!(matches!(sender.phase, Phase::Paused(_)));
}
