//! The words of `bench` that say what load is meant.

use std::time::Duration;

use clap::{Args as Words, ValueEnum};

use crate::bench::load::{Gaps, Load, Pace, Pattern, Sealed, Writers};
use crate::cli::exit::{Exit, Failure};
use crate::limits::{GROUP_MEMBERS_MAX, TEXT_BYTES_MAX, UNANSWERED_PER_LOG_MAX};

/// Members of a group if nothing else is said.
const GROUP_SIZE: u16 = 16;
/// Of 100 messages, those that go to the group.
const GROUP_SHARE: u8 = 50;

#[derive(Debug, Words)]
pub(super) struct LoadArgs {
    /// People
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=10_000))]
    clients: u32,
    /// Closed loop: messages of each sender under way at any time
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=UNANSWERED_PER_LOG_MAX as i64))]
    window: u32,
    /// Open loop: messages a second of all senders together, whether answers come or not
    #[arg(long, value_name = "N", conflicts_with = "window", value_parser = parse_rate)]
    rate: Option<f64>,
    /// How messages of the open loop lie apart
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    gaps: GapsWord,
    /// Who writes to whom
    #[arg(long, value_enum, default_value = "pairs")]
    pattern: PatternWord,
    /// Members of a group, for the patterns `group` and `mix` [default: 16]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=GROUP_MEMBERS_MAX as i64))]
    group_size: Option<u16>,
    /// Of 100 messages, those that go to the group, for the pattern `mix` [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    group_share: Option<u8>,
    /// In the pattern `group`, the first member of each alone writes
    #[arg(long)]
    one_writer: bool,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=TEXT_BYTES_MAX as i64))]
    size: u32,
    /// Whether messages are encrypted, signed and opened while the clock runs, or sealed before
    #[arg(long, value_enum, default_value = "real")]
    sealed: SealedWord,
    /// How long to measure: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// How long to write before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    warmup: Duration,
    /// How long messages may take after the last one was written, before they count as lost
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    drain: Duration,
    /// Decides chance
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GapsWord {
    /// Always the same
    Even,
    /// By chance, as of many people who know nothing of each other
    Exponential,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternWord {
    /// Everybody with one partner, both ways
    Pairs,
    /// Everybody to the first
    AllToOne,
    /// The first to everybody
    OneToAll,
    /// Everybody to everybody
    AllToAll,
    /// As pairs, 16 messages at a time
    Bursts,
    /// Everybody to everybody else in their group
    Group,
    /// Everybody to one partner, and to their group
    Mix,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SealedWord {
    /// Everything, as clients do
    Real,
    /// Once per author and log, before the clock runs: more of the machine is the servers'
    Pre,
}

impl LoadArgs {
    pub(super) fn load(&self, forget: Option<u64>) -> Result<Load, Failure> {
        let gaps = match self.gaps {
            GapsWord::Even => Gaps::Even,
            GapsWord::Exponential => Gaps::Exponential,
        };
        Ok(Load {
            clients: self.clients as usize,
            pattern: self.pattern()?,
            pace: match self.rate {
                Some(per_s) => Pace::Open { per_s, gaps },
                None => Pace::Closed { window: self.window as usize },
            },
            size: self.size as usize,
            sealed: self.sealed.sealed(),
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            seed: self.seed,
            forget,
        })
    }

    fn pattern(&self) -> Result<Pattern, Failure> {
        let size = usize::from(self.group_size.unwrap_or(GROUP_SIZE));
        let alone = match self.pattern {
            PatternWord::Group => {
                let writers = if self.one_writer { Writers::One } else { Writers::All };
                not_with("--group-share", self.group_share.is_some(), "mix")?;
                return Ok(Pattern::Group { size, writers });
            }
            PatternWord::Mix => {
                let percent = self.group_share.unwrap_or(GROUP_SHARE);
                not_with("--one-writer", self.one_writer, "group")?;
                return Ok(Pattern::Mix { size, percent });
            }
            PatternWord::Pairs => Pattern::Pairs,
            PatternWord::AllToOne => Pattern::AllToOne,
            PatternWord::OneToAll => Pattern::OneToAll,
            PatternWord::AllToAll => Pattern::AllToAll,
            PatternWord::Bursts => Pattern::Bursts,
        };
        not_with("--group-size", self.group_size.is_some(), "group")?;
        not_with("--group-share", self.group_share.is_some(), "mix")?;
        not_with("--one-writer", self.one_writer, "group")?;
        Ok(alone)
    }
}

/// Refuses a word that the pattern has no use for.
fn not_with(word: &str, given: bool, pattern: &str) -> Result<(), Failure> {
    if !given {
        return Ok(());
    }
    let problem = format!("{word} has no sense in this pattern.");
    Err(Failure::new(Exit::Usage, problem, format!("Say --pattern {pattern} with it.")))
}

impl SealedWord {
    pub(super) fn sealed(self) -> Sealed {
        match self {
            Self::Real => Sealed::Real,
            Self::Pre => Sealed::Pre,
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.001..=10_000_000.0).contains(rate))
        .ok_or_else(|| "expected a number of messages a second, from 0.001".to_owned())
}

/// `500ms`, `30s`, `2m`, or seconds without a unit; at most an hour.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match text.get(digits.len()..) {
        Some("ms") => Some(1),
        Some("s" | "") => Some(1_000),
        Some("m") => Some(60_000),
        Some(_) | None => None,
    };
    let ms = digits.parse::<u64>().ok().zip(unit_ms);
    let ms = ms.and_then(|(number, unit)| number.checked_mul(unit));
    let time = ms.map(Duration::from_millis).filter(|time| *time <= TIME_MAX);
    time.ok_or_else(|| "expected a time up to an hour, as 500ms, 30s or 2m".to_owned())
}

const TIME_MAX: Duration = Duration::from_secs(3600);

pub(super) fn parse_place(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|_| !host.is_empty());
    port.map(|port| (host.to_owned(), port)).ok_or_else(|| "expected HOST:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn pattern(words: &str) -> Option<Pattern> {
        let line = Line::try_parse_from(words.split(' ')).ok()?;
        line.load.load(None).ok().map(|load| load.pattern)
    }

    #[test]
    fn times_and_places_are_read_as_people_write_them() {
        let ms = |text| parse_time(text).ok().map(|time| time.as_millis());
        assert_eq!(
            [ms("500ms"), ms("30s"), ms("7"), ms("2m")].map(Option::unwrap),
            [500, 30_000, 7_000, 120_000]
        );
        assert_eq!([ms(""), ms("s"), ms("3h"), ms("-1s"), ms("61m")], [None; 5]);
        assert_eq!(parse_place("localhost:9000"), Ok(("localhost".to_owned(), 9000)));
        assert_eq!(parse_place("[::1]:9000"), Ok(("::1".to_owned(), 9000)));
        assert!(parse_place("localhost").is_err() && parse_place(":9000").is_err());
    }

    #[test]
    fn groups_have_sixteen_members_and_half_of_a_mix_unless_something_else_is_said() {
        let group = |size, writers| Some(Pattern::Group { size, writers });
        assert_eq!(pattern("bench --pattern group"), group(16, Writers::All));
        let words = "bench --pattern group --group-size 256 --one-writer";
        assert_eq!(pattern(words), group(256, Writers::One));
        assert_eq!(pattern("bench --pattern mix"), Some(Pattern::Mix { size: 16, percent: 50 }));
        let words = "bench --pattern mix --group-size 3 --group-share 10";
        assert_eq!(pattern(words), Some(Pattern::Mix { size: 3, percent: 10 }));
        for wrong in [
            "bench --pattern group --group-size 1",
            "bench --pattern group --group-size 257",
            "bench --pattern group --group-share 10",
            "bench --pattern mix --group-share 101",
            "bench --pattern mix --one-writer",
            "bench --group-size 4",
            "bench --one-writer",
        ] {
            assert_eq!(pattern(wrong), None, "{wrong}");
        }
    }
}
