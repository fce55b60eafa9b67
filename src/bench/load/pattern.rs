//! Who writes to whom: values made from numbers.
//!
//! Deliberately knows neither clock nor connection.

use std::ops::Range;

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
    /// Everybody is in one group.
    Group {
        /// Members of a group, from 2; the last group may differ.
        size: usize,
        /// Who of them writes.
        writers: Writers,
    },
    /// Everybody is in one group and has one partner, and writes to both.
    Mix {
        /// Members of a group, as in [`Pattern::Group`].
        size: usize,
        /// Of 100 messages, those that go to the group.
        percent: u8,
    },
}

/// Who writes to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Every member.
    All,
    /// The first member alone.
    One,
}

/// Whose turn it is among those that one session writes to.
#[derive(Debug)]
pub(super) enum Turns {
    /// One after the other.
    Round(usize),
    /// So many of 100 messages to the last of them, the others to the first.
    Share {
        /// Of 100.
        percent: u8,
        /// Messages so far.
        number: u64,
    },
}

impl Turns {
    /// The one of `count` that the next message goes to, from 0.
    pub(super) fn next_of(&self, count: usize) -> usize {
        match self {
            Self::Round(turn) => turn % count.max(1),
            Self::Share { percent, number } => {
                // The share holds at any time, not only in the end.
                let upto = |number: u64| number * u64::from(*percent) / 100;
                if upto(number + 1) > upto(*number) { count.saturating_sub(1) } else { 0 }
            }
        }
    }

    /// That message is on its way.
    pub(super) fn advance(&mut self) {
        match self {
            Self::Round(turn) => *turn += 1,
            Self::Share { number, .. } => *number += 1,
        }
    }
}

impl Pattern {
    /// The groups among `clients` people who stand in a row: first member, and one past the last.
    pub(super) fn groups(self, clients: usize) -> Vec<Range<usize>> {
        let (Self::Group { size, .. } | Self::Mix { size, .. }) = self else { return Vec::new() };
        let size = size.max(2);
        let mut starts: Vec<usize> = (0..clients).step_by(size).collect();
        if starts.len() > 1 && clients % size == 1 {
            // Nobody is a group alone: another one keeps them company, if one can be spared.
            if let Some(last) = starts.pop().filter(|_| size > 2) {
                starts.push(last - 1);
            }
        }
        let ends = starts.iter().copied().skip(1).chain([clients]);
        starts.iter().copied().zip(ends).map(|(from, to)| from..to).collect()
    }

    /// Whether the `place`th member of a group, from 0, writes to it.
    pub(super) fn writes_to_group(self, place: usize) -> bool {
        match self {
            Self::Group { writers: Writers::One, .. } => place == 0,
            Self::Group { writers: Writers::All, .. } | Self::Mix { .. } => true,
            Self::Pairs | Self::AllToOne | Self::OneToAll | Self::AllToAll | Self::Bursts => false,
        }
    }

    /// Who of those that a session writes to is next.
    pub(super) fn turns(self) -> Turns {
        match self {
            Self::Mix { percent, .. } => Turns::Share { percent, number: 0 },
            Self::Pairs
            | Self::AllToOne
            | Self::OneToAll
            | Self::AllToAll
            | Self::Bursts
            | Self::Group { .. } => Turns::Round(0),
        }
    }

    /// Those to whose inboxes `sender` of `clients` writes, in turn.
    pub(super) fn targets(self, sender: usize, clients: usize) -> Vec<usize> {
        match self {
            Self::Group { .. } => Vec::new(),
            Self::Pairs | Self::Bursts | Self::Mix { .. } => {
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
        let groups = self.groups(clients);
        if groups.is_empty() {
            return (0..clients).filter(|&from| !self.targets(from, clients).is_empty()).count();
        }
        let writers = |group: Range<usize>| {
            (0..group.len()).filter(|&place| self.writes_to_group(place)).count()
        };
        groups.into_iter().map(writers).sum()
    }

    /// Messages that go out together.
    pub(super) fn together(self) -> u64 {
        match self {
            Self::Bursts => BURST,
            Self::Pairs
            | Self::AllToOne
            | Self::OneToAll
            | Self::AllToAll
            | Self::Group { .. }
            | Self::Mix { .. } => 1,
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

    const fn group(size: usize) -> Pattern {
        Pattern::Group { size, writers: Writers::All }
    }

    #[test]
    fn everybody_is_dealt_into_one_group_and_nobody_is_alone() {
        let sizes = |size, clients| -> Vec<usize> {
            let groups = group(size).groups(clients);
            let mut next = 0;
            for range in &groups {
                assert_eq!(range.start, next, "{groups:?}");
                next = range.end;
            }
            assert_eq!(next, clients, "{groups:?}");
            groups.iter().map(|range| range.len()).collect()
        };
        assert_eq!(sizes(16, 100), [16, 16, 16, 16, 16, 16, 4]);
        assert_eq!(sizes(16, 17), [15, 2], "one comes over");
        assert_eq!(sizes(2, 5), [2, 3], "nobody can be spared");
        assert_eq!((sizes(256, 257), sizes(16, 4), sizes(2, 2)), (vec![255, 2], vec![4], vec![2]));
        assert!(Pattern::Pairs.groups(4).is_empty());
    }

    #[test]
    fn all_members_write_or_one_of_each_group() {
        assert_eq!(group(4).senders(10), 10);
        let one = Pattern::Group { size: 4, writers: Writers::One };
        assert_eq!(one.senders(10), 3);
        assert_eq!([0, 1].map(|place| one.writes_to_group(place)), [true, false]);
        let mix = Pattern::Mix { size: 4, percent: 50 };
        assert_eq!((mix.senders(10), mix.targets(3, 10)), (10, vec![2]));
    }

    #[test]
    fn a_share_of_the_messages_goes_to_the_group_at_any_time() {
        let row = |percent, messages| -> Vec<usize> {
            let mut turns = Pattern::Mix { size: 4, percent }.turns();
            (0..messages)
                .map(|_| {
                    let next = turns.next_of(2);
                    turns.advance();
                    next
                })
                .collect()
        };
        assert_eq!(row(50, 6), [0, 1, 0, 1, 0, 1]);
        assert_eq!((row(0, 3), row(100, 3)), (vec![0; 3], vec![1; 3]));
        assert_eq!(row(30, 200).iter().sum::<usize>(), 60);
        let mut round = Pattern::AllToAll.turns();
        let of_three = [(); 4].map(|()| {
            let next = round.next_of(3);
            round.advance();
            next
        });
        assert_eq!(of_three, [0, 1, 2, 0]);
    }
}
