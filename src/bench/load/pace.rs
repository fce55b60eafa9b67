//! When somebody writes: values made from numbers, so that a seed fixes a run.
//!
//! Deliberately knows neither clock nor connection; times are offsets from the start of a run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::pattern::{BURST, Pattern};
use crate::limits::UNANSWERED_PER_SESSION_MAX;

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

/// What decides when one session writes.
#[derive(Debug)]
pub(super) enum Writing {
    /// So many at a time.
    Window(usize),
    /// [`BURST`] at a time, as soon as all of the last burst are answered.
    Bursts {
        /// Of the burst that is being written.
        left: u64,
    },
    /// By the clock.
    Clock(Box<Schedule>),
}

/// What a session may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write a message that was meant to go at that time.
    Write {
        /// Never later than now.
        meant_at: Duration,
    },
    /// Nothing until that time.
    At(Duration),
    /// Nothing until something is answered, or nothing any more.
    Later,
}

impl Writing {
    /// The way of the `index`th of `senders`.
    pub(super) fn new(
        pace: Pace,
        pattern: Pattern,
        (index, senders): (usize, usize),
        seed: u64,
    ) -> Self {
        match pace {
            Pace::Closed { .. } if pattern == Pattern::Bursts => Self::Bursts { left: 0 },
            Pace::Closed { window } => Self::Window(window),
            Pace::Open { per_s, gaps } => {
                let schedule = Schedule::new((per_s, gaps), pattern, (index, senders), seed);
                Self::Clock(Box::new(schedule))
            }
        }
    }

    /// What to do at `now`, with so many messages unanswered. What it says to write counts as
    /// written.
    pub(super) fn next(&mut self, now: Duration, end: Duration, in_flight: usize) -> Next {
        match self {
            Self::Window(window) if now < end && in_flight < *window => {
                Next::Write { meant_at: now }
            }
            Self::Bursts { left } if now < end && (*left > 0 || in_flight == 0) => {
                *left = left.checked_sub(1).unwrap_or(BURST - 1);
                Next::Write { meant_at: now }
            }
            Self::Clock(schedule)
                if schedule.due() < end && in_flight < UNANSWERED_PER_SESSION_MAX =>
            {
                // However late it is: its time counts from when it was meant to go.
                let meant_at = schedule.due();
                if meant_at > now {
                    return Next::At(meant_at);
                }
                schedule.advance();
                Next::Write { meant_at }
            }
            Self::Window(_) | Self::Bursts { .. } | Self::Clock(_) => Next::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    const END: Duration = Duration::from_secs(2);

    #[test]
    fn a_closed_loop_waits_for_answers_and_stops_at_the_end() {
        let pace = Pace::Closed { window: 2 };
        let mut window = Writing::new(pace, Pattern::Pairs, (0, 1), 0);
        let now = Duration::from_secs(1);
        assert_eq!(window.next(now, END, 1), Next::Write { meant_at: now });
        assert_eq!(window.next(now, END, 2), Next::Later);
        assert_eq!(window.next(END, END, 0), Next::Later);
        let mut bursts = Writing::new(pace, Pattern::Bursts, (0, 1), 0);
        for in_flight in 0..16 {
            assert_eq!(bursts.next(now, END, in_flight), Next::Write { meant_at: now });
        }
        assert_eq!(bursts.next(now, END, 16), Next::Later);
        assert_eq!(bursts.next(now, END, 1), Next::Later);
        assert_eq!(bursts.next(now, END, 0), Next::Write { meant_at: now });
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_that_was_held_up_charges_the_time_from_when_each_was_meant_to_go() {
        let pace = Pace::Open { per_s: 100.0, gaps: Gaps::Even };
        let mut clock = Writing::new(pace, Pattern::Pairs, (0, 1), 0);
        let started = tokio::time::Instant::now();
        let due = |number: u64| Duration::from_millis(10 * number);
        // On time, one after the other.
        for number in 0..10 {
            let meant_at = due(number);
            assert_eq!(clock.next(started.elapsed(), END, 0), Next::Write { meant_at });
            let next = clock.next(started.elapsed(), END, 0);
            assert_eq!(next, Next::At(due(number + 1)));
            tokio::time::sleep_until(started + due(number + 1)).await;
        }
        // The server takes nothing for a second.
        assert_eq!(clock.next(started.elapsed(), END, UNANSWERED_PER_SESSION_MAX), Next::Later);
        tokio::time::advance(Duration::from_secs(1)).await;
        for number in 10..=110 {
            let meant_at = due(number);
            assert_eq!(clock.next(started.elapsed(), END, 0), Next::Write { meant_at });
        }
        assert_eq!(clock.next(started.elapsed(), END, 0), Next::At(due(111)));
        // Nothing is meant to go at the end or later, however late the last ones are.
        let late = END * 2;
        let rest = std::iter::from_fn(|| match clock.next(late, END, 0) {
            Next::Write { meant_at } => Some(meant_at),
            Next::At(_) | Next::Later => None,
        });
        assert_eq!(rest.last(), Some(due(199)));
    }
}
