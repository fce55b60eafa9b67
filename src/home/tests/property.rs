//! Random requests, kills and two authors against a small model of what a log is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// An append of `span` numbers, `ahead` of what the model expects next (negative: a repeat).
    Append {
        author: usize,
        ahead: i64,
        span: u64,
    },
    Cursor {
        back: u64,
    },
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..2usize, -3..3i64, 1..4u64)
            .prop_map(|(author, ahead, span)| Op::Append { author, ahead, span }),
        3 => (0..5u64).prop_map(|back| Op::Cursor { back }),
        1 => Just(Op::Kill),
    ]
}

#[derive(Default)]
struct Model {
    /// Of each author: the number covered -> `seq`.
    stored: [BTreeMap<u64, u64>; 2],
    head: u64,
    cursor: u64,
}

impl Model {
    fn last(&self, author: usize) -> u64 {
        self.stored[author].keys().next_back().copied().unwrap_or(0)
    }

    fn delivered(&self, author: usize) -> u64 {
        let beyond = self.stored[author].iter().find(|(_, seq)| **seq > self.cursor);
        beyond.map_or(self.last(author), |(n, _)| n - 1)
    }
}

async fn run(ops: Vec<Op>) {
    let mut bed = Bed::new();
    let mut model = Model::default();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    let carol = bed.sign_up(&Person::new("carol"), 3).await;
    let authors = [bob, carol];
    let mut own = Opening::of(&bed.open(&alice, "alice", 1).await);
    for op in ops {
        match op {
            Op::Append { author, ahead, span } => {
                let last = model.last(author);
                let n = (last + 1).saturating_add_signed(ahead).max(1);
                let upto = n + span - 1;
                let from = &authors[author];
                let sealed = match span {
                    1 => message("alice", from, n),
                    _ => void("alice", from, n, upto),
                };
                bed.send(from, 0, to_alice.append(sealed)).await;
                let seen = bed.settle().await;
                let answer = seen.iter().find(|(to, _)| to.sid == from.sid).unwrap().1.clone();
                if upto <= last {
                    let (answered, seq, _) = appended(answer);
                    assert_eq!((answered.0, Some(&seq.0)), (upto, model.stored[author].get(&upto)));
                } else if n == last + 1 {
                    model.head += 1;
                    assert_eq!(appended(answer).1.0, model.head);
                    model.stored[author].extend((n..=upto).map(|n| (n, model.head)));
                } else {
                    let refusal = refused(answer);
                    assert_eq!((refusal.code, refusal.expected), (Code::Gap as u32, last + 1));
                }
            }
            Op::Cursor { back } => {
                let upto = model.head.saturating_sub(back);
                bed.cursor(&alice, &own, upto).await;
                bed.settle().await;
                model.cursor = model.cursor.max(upto);
            }
            Op::Kill => {
                bed.kill().await;
                own.open_id += 1;
                bed.open_at(&alice, "alice", own.open_id, own.epoch, Seq(model.cursor)).await;
                bed.settle().await;
            }
        }
    }
    for (author, from) in authors.iter().enumerate() {
        let opened = bed.open(from, "alice", 9).await;
        assert_eq!(opened.head_seq, model.head);
        assert_eq!(opened.last_n, model.last(author));
        assert_eq!(opened.delivered_n, model.delivered(author));
    }
    check_rows(&bed, &model);
}

/// What stands in the file: no `seq` left out, numbers of each producer rising without repeats.
fn check_rows(bed: &Bed, model: &Model) {
    let conn = rusqlite::Connection::open(bed.folder.path().join("s1.db")).unwrap();
    let mut select = conn.prepare("SELECT seq, producer, n FROM entries ORDER BY seq").unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let rows: Vec<(u64, i64, i64)> = select
        .query_map([], row)
        .unwrap()
        .map(|row: rusqlite::Result<(i64, i64, i64)>| row.unwrap())
        .map(|(seq, producer, n)| (seq.cast_unsigned(), producer, n))
        .collect();
    let seqs: Vec<u64> = rows.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(seqs, (model.head + 1 - rows.len() as u64..=model.head).collect::<Vec<u64>>());
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for (_, producer, n) in rows {
        let before = last.insert(producer, n).unwrap_or(0);
        assert!(n > before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_log_has_no_gaps_and_no_repeats_whatever_is_sent(
        ops in prop::collection::vec(op(), 1..40),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(run(ops));
    }
}
