//! Where one chat's appends stand on the present connection: a small state machine without IO.
//!
//! `session` feeds it the home's answers and does what it says. What must survive is in the
//! database (`outbox`); all of this is forgotten with the connection.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::types::{LogEpoch, N};
use crate::wire::Code;

/// What a refusal means for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Go on from this number.
    Gap(N),
    /// Open again at once.
    Reopen,
    /// Wait, then open again.
    Pause {
        /// Why.
        code: Code,
        /// At least this long.
        at_least: Duration,
    },
    /// This one will never be taken.
    Void(N, Code),
    /// Nothing will be taken for this person.
    RefuseAll(Code),
    /// The chain of the group is another one there: compare, then go on.
    Compare(Code),
}

impl After {
    /// Sorts a refusal into the kinds of docs/DELIVERY.md, section 3.
    pub(crate) fn of(code: Code, n: N, expected: u64, retry_after_ms: u64) -> Self {
        match code {
            Code::Gap => Self::Gap(N(expected)),
            Code::Reopen => Self::Reopen,
            Code::Malformed | Code::FrameTooLarge | Code::Unsupported => Self::Void(n, code),
            Code::Blocked | Code::NoSuchUser | Code::Forbidden => Self::RefuseAll(code),
            Code::StaleEpoch | Code::RosterBehind | Code::NotAMember | Code::NoSuchGroup => {
                Self::Compare(code)
            }
            // Everything else passes; what is not known to be final is never given up.
            _ => Self::Pause { code, at_least: longest_of(retry_after_ms) },
        }
    }

    /// What is left to do when putting it right has helped too often to be true: to wait, and to
    /// say so. Who is no member by the home's word, whatever the chain says, is told what was not
    /// taken.
    pub(crate) fn in_vain(self) -> Self {
        match self {
            Self::Compare(Code::NotAMember) => Self::RefuseAll(Code::NotAMember),
            Self::Compare(code) => Self::Pause { code, at_least: Duration::ZERO },
            _ => self.of_open(Code::Busy),
        }
    }

    /// The same about an Open: no number is concerned, so what is not said of the whole log can
    /// only be waited out.
    pub(crate) fn of_open(self, code: Code) -> Self {
        match self {
            Self::RefuseAll(_) | Self::Compare(_) | Self::Pause { .. } => self,
            Self::Gap(_) | Self::Reopen | Self::Void(..) => {
                Self::Pause { code, at_least: Duration::ZERO }
            }
        }
    }
}

/// A server's word on when to come back; not for ever.
fn longest_of(retry_after_ms: u64) -> Duration {
    Duration::from_millis(retry_after_ms).min(RETRY_AFTER_MAX)
}

/// What the log is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Open was sent.
    Opening,
    /// Appends flow.
    Flowing,
    /// A refusal came: awaiting all answers, then this.
    Draining(After),
    /// Opened again at this time.
    Paused(Instant),
}

/// What a log is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Writing,
    Following,
    /// A group: there is nobody whose bundle is needed.
    Group,
}

/// One chat's appends on this connection.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Answers to an older Open are not ours.
    pub(crate) open_id: u32,
    pub(crate) epoch: LogEpoch,
    pub(crate) phase: Phase,
    /// When the person's bundle was last had on this connection.
    pub(crate) looked_up: Option<Instant>,
    /// Where to go on sending.
    pub(crate) next: N,
    /// What the home said at this Open of how far its reader has come.
    pub(crate) delivered: N,
    in_flight: VecDeque<(N, N)>,
    pause: Duration,
    /// The person knows that messages wait.
    pub(crate) told: bool,
    /// Refusals put right since the last success.
    rounds: u32,
    purpose: Purpose,
    /// Paused until the chains are compared, if that comes first.
    compares: bool,
}

impl Sender {
    pub(crate) fn new(open_id: u32) -> Self {
        Self {
            open_id,
            epoch: LogEpoch(0),
            phase: Phase::Opening,
            looked_up: None,
            next: N(1),
            delivered: N(0),
            in_flight: VecDeque::new(),
            pause: Duration::ZERO,
            told: false,
            rounds: 0,
            purpose: Purpose::Writing,
            compares: false,
        }
    }

    /// A log that is open only to learn whether its owner comes or goes.
    pub(crate) fn following(open_id: u32) -> Self {
        Self { purpose: Purpose::Following, ..Self::new(open_id) }
    }

    /// The log of a group.
    pub(crate) fn of_group(open_id: u32) -> Self {
        Self { purpose: Purpose::Group, looked_up: Some(Instant::now()), ..Self::new(open_id) }
    }

    /// Nothing was written to this person on this connection yet.
    pub(crate) fn follows_only(&self) -> bool {
        self.purpose == Purpose::Following
    }

    /// Something is to be written now. True when that was not so: the bundle is needed from now on.
    pub(crate) fn begins_to_write(&mut self) -> bool {
        let follows = self.purpose == Purpose::Following;
        if follows {
            self.purpose = Purpose::Writing;
        }
        follows
    }

    /// Forgets a bundle that was had long ago: since then the person may have another device, which
    /// could not read what is sealed for the one before. True when it has to be looked up.
    pub(crate) fn needs_look_up(&mut self) -> bool {
        if self.purpose == Purpose::Group {
            return false;
        }
        self.looked_up = self.looked_up.filter(|at| at.elapsed() < BUNDLE_AGE_MAX);
        self.looked_up.is_none()
    }

    /// A new Open was sent: what was in flight under the old one is answered by the new one.
    pub(crate) fn reopened(&mut self, open_id: u32) {
        self.open_id = open_id;
        self.phase = Phase::Opening;
        self.compares = false;
        self.in_flight.clear();
    }

    /// Waits until the chain of the group was compared with the home's.
    pub(crate) fn compare(&mut self) {
        self.phase = Phase::Paused(Instant::now() + COMPARE_PATIENCE);
        self.in_flight.clear();
        self.compares = true;
    }

    /// It was. True when this log waited for that: it goes on from its lowest unanswered number.
    pub(crate) fn compared(&mut self) -> bool {
        let waited = std::mem::take(&mut self.compares);
        if waited {
            self.phase = Phase::Flowing;
            self.next = N(1);
        }
        waited
    }

    /// The log is open: appends go from the lowest unanswered number.
    pub(crate) fn opened(&mut self, epoch: LogEpoch) {
        self.epoch = epoch;
        self.delivered = N(0);
        self.phase = Phase::Flowing;
        self.next = N(1);
        self.in_flight.clear();
    }

    /// How many more appends may be sent now.
    pub(crate) fn room(&self) -> usize {
        match self.phase {
            Phase::Flowing => limits::UNANSWERED_PER_LOG_MAX.saturating_sub(self.in_flight.len()),
            Phase::Opening | Phase::Draining(_) | Phase::Paused(_) => 0,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// An append was sent.
    pub(crate) fn sent(&mut self, n: N, upto: N) {
        self.in_flight.push_back((n, upto));
        self.next = N(upto.0.saturating_add(1));
    }

    /// An append was answered as stored. False when we did not ask.
    pub(crate) fn appended(&mut self, upto: N) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|&(_, u)| u != upto);
        let ours = self.in_flight.len() < before;
        if ours {
            self.pause = Duration::ZERO;
            self.told = false;
            self.rounds = 0;
        }
        ours
    }

    /// An append was refused. False when we did not ask.
    pub(crate) fn refused(&mut self, n: N, after: After) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|&(first, _)| first != n);
        if self.in_flight.len() == before {
            return false;
        }
        // The first refusal decides: those behind it only say that one is missing.
        if self.phase == Phase::Flowing {
            self.phase = Phase::Draining(after);
        }
        true
    }

    /// Counts a refusal that is about to be put right. True when that has helped too often to be
    /// true: a server that contradicts itself must not keep us busy.
    pub(crate) fn is_going_round(&mut self) -> bool {
        self.rounds += 1;
        if self.rounds <= ROUNDS_MAX {
            return false;
        }
        self.rounds = 0;
        true
    }

    /// What to do now that all answers are here.
    pub(crate) fn drained(&mut self) -> Option<After> {
        match self.phase {
            Phase::Draining(after) if self.in_flight.is_empty() => {
                self.phase = Phase::Flowing;
                self.next = N(1);
                Some(after)
            }
            Phase::Opening | Phase::Flowing | Phase::Draining(_) | Phase::Paused(_) => None,
        }
    }

    /// Waits before the next Open: doubling, with jitter by `spread` (0 to 1), at least `at_least`.
    /// True when this is the first pause of a row, which is worth telling the person.
    pub(crate) fn pause(&mut self, code: Code, at_least: Duration, spread: f64) {
        // A server that is away comes back by itself; a full mailbox takes a person.
        let longest = match code {
            Code::HomeDown | Code::WrongHome | Code::RetryLater | Code::Busy => HOME_PAUSE_MAX,
            _ => limits::LOG_PAUSE_MAX,
        };
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, longest);
        let wait = self.pause.mul_f64(0.5 + spread / 2.0).max(at_least);
        self.phase = Phase::Paused(Instant::now() + wait);
        self.in_flight.clear();
    }

    /// The person wants it tried now.
    pub(crate) fn hurry(&mut self) {
        self.pause = Duration::ZERO;
        self.told = false;
        if let Phase::Paused(_) = self.phase {
            self.phase = Phase::Paused(Instant::now());
        }
    }
}

/// Refusals in a row that are put right at once.
const ROUNDS_MAX: u32 = 8;
/// Longest word of a server on when to come back that is heeded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// A bundle had before that is looked up again before anything is sent.
const BUNDLE_AGE_MAX: Duration = Duration::from_secs(10);
/// For the answers about a chain; a log that has none by then is opened again.
const COMPARE_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const HOME_PAUSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn flowing(count: u64) -> Sender {
        let mut sender = Sender::new(1);
        sender.opened(LogEpoch(7));
        for n in 1..=count {
            sender.sent(N(n), N(n));
        }
        sender
    }

    #[test]
    fn the_first_refusal_decides_and_all_answers_are_awaited() {
        let mut sender = flowing(3);
        let full = After::of(Code::MailboxFull, N(1), 0, 0);
        assert!(sender.refused(N(1), full));
        assert_eq!(sender.room(), 0);
        assert!(sender.refused(N(2), After::of(Code::Gap, N(2), 1, 0)));
        assert_eq!(sender.drained(), None);
        assert!(sender.refused(N(3), After::of(Code::Gap, N(3), 1, 0)));
        assert_eq!(sender.drained(), Some(full));
        assert_eq!(sender.next, N(1));
    }

    #[test]
    fn the_window_is_full_at_its_limit() {
        let full = u64::try_from(limits::UNANSWERED_PER_LOG_MAX).unwrap();
        assert_eq!(flowing(full - 1).room(), 1);
        assert_eq!(flowing(full).room(), 0);
    }

    #[test]
    fn an_answer_nobody_asked_for_is_not_taken() {
        let mut sender = flowing(1);
        assert!(!sender.appended(N(2)));
        assert!(!sender.refused(N(2), After::Reopen));
        assert!(sender.appended(N(1)));
    }

    #[test]
    fn pauses_double_up_to_their_limit_and_a_success_resets_them() {
        let mut sender = flowing(1);
        for _ in 0..20 {
            sender.pause(Code::HomeDown, Duration::ZERO, 1.0);
        }
        assert_eq!(sender.pause, HOME_PAUSE_MAX);
        sender.opened(LogEpoch(7));
        sender.sent(N(1), N(1));
        sender.appended(N(1));
        sender.pause(Code::HomeDown, Duration::ZERO, 1.0);
        assert_eq!(sender.pause, PAUSE_MIN);
    }
}
