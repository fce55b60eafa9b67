//! Where one device's appends to one log stand: its last number, and its latest appends.

use std::collections::VecDeque;

use super::sql::ProducerId;
use crate::limits::PRODUCER_HASHES_KEPT;
use crate::types::{N, Seq};

/// One append that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) n: N,
    pub(super) upto: N,
    pub(super) seq: Seq,
    /// First 8 bytes of SHA-256 of the envelope.
    pub(super) hash: [u8; 8],
}

/// What makes a repeated append known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) id: ProducerId,
    /// Highest number stored; 0: none yet.
    pub(super) last: N,
    /// The latest appends, oldest first, at most [`PRODUCER_HASHES_KEPT`].
    recent: VecDeque<Appended>,
}

/// What the latest appends say about a cursor.
pub(super) enum Beyond {
    /// Nothing of this producer stands beyond it.
    Nothing,
    /// This is the lowest number beyond it.
    Lowest(N),
    /// All kept appends do, and perhaps some that are kept no more.
    Unknown,
}

const RECORD_BYTES: usize = 32;

impl Producer {
    pub(super) fn new(id: ProducerId) -> Self {
        Self { id, last: N(0), recent: VecDeque::new() }
    }

    /// Reads back what [`Self::encode`] wrote. `None`: damaged.
    pub(super) fn decode(id: ProducerId, last: N, recent: &[u8]) -> Option<Self> {
        let (records, rest) = recent.as_chunks::<RECORD_BYTES>();
        if !rest.is_empty() {
            return None;
        }
        let recent = records.iter().map(|record| {
            let (fields, _) = record.as_chunks::<8>();
            let [n, upto, seq, hash] = *fields else { return None };
            Some(Appended {
                n: N(u64::from_le_bytes(n)),
                upto: N(u64::from_le_bytes(upto)),
                seq: Seq(u64::from_le_bytes(seq)),
                hash,
            })
        });
        Some(Self { id, last, recent: recent.collect::<Option<_>>()? })
    }

    /// n, upto, seq (little-endian) and hash of each append kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.recent.len() * RECORD_BYTES);
        for append in &self.recent {
            for number in [append.n.0, append.upto.0, append.seq.0] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&append.hash);
        }
        out
    }

    pub(super) fn add(&mut self, append: Appended) {
        if self.recent.len() == PRODUCER_HASHES_KEPT {
            self.recent.pop_front();
        }
        self.last = append.upto;
        self.recent.push_back(append);
    }

    /// What is stored under a number, if it is among the latest.
    pub(super) fn stored(&self, n: N) -> Option<Appended> {
        self.recent.iter().rev().find(|append| append.n <= n && n <= append.upto).copied()
    }

    pub(super) fn beyond(&self, cursor: Seq) -> Beyond {
        let first = self.recent.partition_point(|append| append.seq <= cursor);
        match self.recent.get(first) {
            None => Beyond::Nothing,
            Some(_) if first == 0 && self.recent.len() == PRODUCER_HASHES_KEPT => Beyond::Unknown,
            Some(append) => Beyond::Lowest(append.n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(n: u64) -> Appended {
        Appended { n: N(n), upto: N(n), seq: Seq(10 * n), hash: [n as u8; 8] }
    }

    #[test]
    fn the_latest_appends_are_read_back_as_written_and_older_ones_are_forgotten() {
        let mut producer = Producer::new(ProducerId(1));
        for n in 1..=PRODUCER_HASHES_KEPT as u64 + 6 {
            producer.add(append(n));
        }
        let read = Producer::decode(ProducerId(1), N(70), &producer.encode());
        assert_eq!(read, Some(producer.clone()));
        assert_eq!(producer.stored(N(6)), None);
        assert_eq!(producer.stored(N(7)), Some(append(7)));
        assert_eq!(producer.stored(N(70)), Some(append(70)));
        assert_eq!(Producer::decode(ProducerId(1), N(1), &[0; 33]), None);
    }

    #[test]
    fn the_lowest_number_beyond_a_cursor_is_known_unless_it_may_be_forgotten() {
        let mut producer = Producer::new(ProducerId(1));
        for n in 1..=4 {
            producer.add(append(n));
        }
        assert!(matches!(producer.beyond(Seq(0)), Beyond::Lowest(N(1))));
        assert!(matches!(producer.beyond(Seq(25)), Beyond::Lowest(N(3))));
        assert!(matches!(producer.beyond(Seq(40)), Beyond::Nothing));
        for n in 5..=PRODUCER_HASHES_KEPT as u64 {
            producer.add(append(n));
        }
        assert!(matches!(producer.beyond(Seq(0)), Beyond::Unknown));
    }
}
