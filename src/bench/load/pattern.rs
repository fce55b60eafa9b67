//! Who writes to whom, and when: values made from numbers, so that a seed fixes a run.
//!
//! Deliberately knows neither clock nor connection; times are offsets from the start of a run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Messages of one burst.
pub(super) const BURST: u64 = 16;

/// Who writes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Everybody has one partner, and both write. Of an odd number the last writes to the first.
    Pairs,
    /// Everybody writes to the first.
    AllToOne,
    /// The first writes to everybody in turn.
    OneToAll,
    /// Everybody writes to everybody in turn.
    AllToAll,
    /// As pairs, 16 messages at a time.
    Bursts,
}

impl Pattern {
    /// Those to whom `sender` of `clients` writes, in turn.
    pub(super) fn targets(self, sender: usize, clients: usize) -> Vec<usize> {
        match self {
            Self::Pairs | Self::Bursts => {
                let partner = sender ^ 1;
                let partner = if partner < clients { partner } else { 0 };
                if partner == sender { Vec::new() } else { vec![partner] }
            }
            Self::AllToOne if sender == 0 => Vec::new(),
            Self::AllToOne => vec![0],
            Self::OneToAll if sender > 0 => Vec::new(),
            // Everybody begins with their neighbour, so that not all write to the same one.
            Self::OneToAll | Self::AllToAll => {
                (1..clients).map(|step| (sender + step) % clients).collect()
            }
        }
    }

    /// How many write.
    pub(super) fn senders(self, clients: usize) -> usize {
        (0..clients).filter(|&sender| !self.targets(sender, clients).is_empty()).count()
    }

    /// Messages that go out together.
    fn together(self) -> u64 {
        match self {
            Self::Bursts => BURST,
            Self::Pairs | Self::AllToOne | Self::OneToAll | Self::AllToAll => 1,
        }
    }
}

/// How the messages of one sender lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Always the same, and the senders one after the other.
    Even,
    /// By chance, as if many people wrote independently.
    Exponential,
}

/// What decides when the next message goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages of each sender are under way at any time: the next one waits for an
    /// answer.
    Closed {
        /// Messages under way per sender.
        window: usize,
    },
    /// So many messages a second of all senders together, whether answers come or not.
    Open {
        /// Messages a second.
        per_s: f64,
        /// How they lie apart.
        gaps: Gaps,
    },
}

/// When one sender's messages are meant to go, without end.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Between two departures of this sender, on average.
    apart: Duration,
    next: Duration,
    together: u64,
    left: u64,
    chance: Option<StdRng>,
}

impl Schedule {
    /// The `index`th of `senders` who together write `per_s` messages a second.
    pub(super) fn new(
        (per_s, gaps): (f64, Gaps),
        pattern: Pattern,
        (index, senders): (usize, usize),
        seed: u64,
    ) -> Self {
        let together = pattern.together();
        let apart = Duration::from_secs_f64(senders as f64 * together as f64 / per_s);
        let mut schedule =
            Self { apart, next: Duration::ZERO, together, left: together, chance: None };
        match gaps {
            Gaps::Even => schedule.next = apart.mul_f64(index as f64 / senders as f64),
            Gaps::Exponential => {
                // One sender's chance has nothing to do with another's.
                let own = seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                schedule.chance = Some(StdRng::seed_from_u64(own));
                schedule.next = schedule.gap();
            }
        }
        schedule
    }

    fn gap(&mut self) -> Duration {
        match &mut self.chance {
            None => self.apart,
            Some(chance) => {
                let uniform: f64 = chance.random_range(0.0..1.0);
                self.apart.mul_f64(-(1.0 - uniform).ln())
            }
        }
    }

    /// When the next message is meant to go.
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// That one is on its way.
    pub(super) fn advance(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.left = self.together;
            let gap = self.gap();
            self.next += gap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: Pattern, clients: usize) -> Vec<Vec<usize>> {
        (0..clients).map(|sender| pattern.targets(sender, clients)).collect()
    }

    #[test]
    fn everybody_writes_to_whom_the_pattern_says() {
        assert_eq!(all(Pattern::Pairs, 5), [vec![1], vec![0], vec![3], vec![2], vec![0]]);
        assert_eq!(all(Pattern::Bursts, 2), [vec![1], vec![0]]);
        assert_eq!(all(Pattern::AllToOne, 3), [vec![], vec![0], vec![0]]);
        assert_eq!(all(Pattern::OneToAll, 3), [vec![1, 2], vec![], vec![]]);
        assert_eq!(all(Pattern::AllToAll, 3), [vec![1, 2], vec![2, 0], vec![0, 1]]);
        assert_eq!(Pattern::AllToOne.senders(7), 6);
        assert_eq!(Pattern::OneToAll.senders(7), 1);
    }

    fn times(mut schedule: Schedule, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let due = schedule.due().as_secs_f64();
                schedule.advance();
                due
            })
            .collect()
    }

    #[test]
    fn even_messages_of_all_senders_make_one_even_row() {
        let of = |index| Schedule::new((1_000.0, Gaps::Even), Pattern::Pairs, (index, 4), 0);
        let mut row: Vec<f64> = (0..4).flat_map(|index| times(of(index), 50)).collect();
        row.sort_by(f64::total_cmp);
        for (number, due) in row.iter().enumerate() {
            assert!((due - number as f64 / 1_000.0).abs() < 1e-6, "{number}: {due}");
        }
    }

    #[test]
    fn gaps_by_chance_keep_the_rate_and_depend_on_seed_and_sender_alone() {
        let of = |index, seed| {
            let pace = (100.0, Gaps::Exponential);
            times(Schedule::new(pace, Pattern::Pairs, (index, 2), seed), 5_000)
        };
        let row = of(0, 7);
        assert_eq!(row, of(0, 7));
        assert_ne!(row, of(1, 7));
        assert_ne!(row, of(0, 8));
        // 5,000 messages at 50 a second: 100 s, give or take five standard deviations.
        assert!((row.last().unwrap() - 100.0).abs() < 7.1, "{:?}", row.last());
    }

    #[test]
    fn a_burst_goes_together_and_keeps_the_rate() {
        let pace = (160.0, Gaps::Even);
        let row = times(Schedule::new(pace, Pattern::Bursts, (0, 1), 0), 48);
        let expected: Vec<f64> = (0..48).map(|number| f64::from(number / 16) / 10.0).collect();
        assert_eq!(row, expected);
    }
}
