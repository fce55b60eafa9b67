//! What is said of a transfer while it goes on: enough to know, and no flood.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use crate::client::{Direction, LocalId, TransferState, TransferView};
use crate::ui::{say, text};
use crate::wire::Code;

use super::{percent, size};

/// What ends sooner is not worth a line.
const QUICK: Duration = Duration::from_secs(1);
/// Who waits longer than this wants to know how far it is.
const LONG: Duration = Duration::from_secs(5);
/// Transfers that are remembered; beyond this the oldest are forgotten.
const FOLLOWED_MAX: usize = 1_000;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// For people who look: that something long began, three lines on its way, that it ended.
    Quarter,
    /// For people who listen, and for programs: one line per 10 %.
    Tenth,
}

/// Something to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line one may overlook.
    Notice(String),
    /// It will not go on; what to do.
    Trouble(say::Told),
}

/// One transfer, as far as it was spoken of.
#[derive(Clone, Copy, Debug)]
struct Followed {
    since: Instant,
    /// Whether its beginning was said.
    begun: bool,
    /// The last step that was said or passed, in percent.
    percent: u64,
    state: TransferState,
}

/// What was said of every transfer.
#[derive(Clone, Debug)]
pub struct Steps {
    every: Every,
    followed: BTreeMap<LocalId, Followed>,
}

impl Steps {
    /// Nothing was said yet.
    pub fn new(every: Every) -> Self {
        Self { every, followed: BTreeMap::new() }
    }

    /// A transfer came further, or not. Returns what is to be said now.
    pub fn heard(&mut self, view: &TransferView, now: Instant) -> Option<Said> {
        let now_percent = percent(view);
        let mut one = self.followed.get(&view.id).copied().unwrap_or(Followed {
            since: now,
            begun: false,
            percent: if view.state == TransferState::Running { 0 } else { now_percent },
            state: TransferState::NotFetched,
        });
        let was = std::mem::replace(&mut one.state, view.state);
        let said = match view.state {
            TransferState::Running => self.runs(view, was, now, &mut one),
            TransferState::Waiting(code) if was != view.state => {
                waits(view, code, one.begun).map(Said::Notice)
            }
            TransferState::Paused if was != view.state => {
                Some(Said::Notice(format!("{} is paused at {now_percent} %", name(view))))
            }
            TransferState::Failed(failure) if was != view.state => {
                Some(Said::Trouble(say::transfer_failure(failure, view)))
            }
            TransferState::Done if was != view.state => self.ends(view, &one).map(Said::Notice),
            TransferState::NotFetched
            | TransferState::Waiting(_)
            | TransferState::Paused
            | TransferState::Failed(_)
            | TransferState::Done => None,
        };
        self.followed.insert(view.id, one);
        if self.followed.len() > FOLLOWED_MAX {
            self.followed.pop_first();
        }
        said
    }

    fn runs(
        &self,
        view: &TransferView,
        was: TransferState,
        now: Instant,
        one: &mut Followed,
    ) -> Option<Said> {
        let percent = percent(view);
        let interrupted = matches!(was, TransferState::Waiting(Some(_)) | TransferState::Paused);
        if was != TransferState::Running {
            one.since = now;
        }
        // Begun in an earlier session, or stopped on the way.
        if percent > 0 && (interrupted || (!one.begun && was == TransferState::NotFetched)) {
            one.begun = true;
            one.percent = percent;
            return Some(Said::Notice(format!("resuming {} at {percent} %", name(view))));
        }
        let step = match self.every {
            Every::Quarter => 25,
            Every::Tenth => 10,
        };
        let reached = percent / step * step;
        let long = now.saturating_duration_since(one.since);
        if self.every == Every::Tenth {
            let news = reached > one.percent && reached < 100;
            one.begun = true;
            one.percent = one.percent.max(reached);
            return news.then(|| Said::Notice(format!("{}: {reached} %", doing(view))));
        }
        if !one.begun && long >= QUICK {
            one.begun = true;
            one.percent = reached;
            return Some(Said::Notice(format!("{}, {}", doing(view), size(view.total_bytes))));
        }
        if reached <= one.percent || reached >= 100 || !one.begun || long < LONG {
            return None;
        }
        one.percent = reached;
        let pace = match view.bytes_per_s {
            0 => String::new(),
            _ => format!(", {}/s, {} left", size(view.bytes_per_s), super::left(view)),
        };
        Some(Said::Notice(format!("{}: {reached} %{pace}", doing(view))))
    }

    /// Quick ones say nothing: the line of the message says it all.
    fn ends(&self, view: &TransferView, one: &Followed) -> Option<String> {
        if self.every == Every::Quarter && !one.begun {
            return None;
        }
        Some(match view.direction {
            Direction::Up => format!("{} is uploaded", name(view)),
            Direction::Down => {
                format!("{} is here:  /open {id}  /save {id}", name(view), id = view.id)
            }
        })
    }
}

fn name(view: &TransferView) -> String {
    text::clean_line(&view.name)
}

fn doing(view: &TransferView) -> String {
    match view.direction {
        Direction::Up => format!("sending {}", name(view)),
        Direction::Down => format!("fetching {}", name(view)),
    }
}

/// Why it waits, when there is more to say than that there is no connection.
fn waits(view: &TransferView, code: Option<Code>, begun: bool) -> Option<String> {
    let name = name(view);
    let at = percent(view);
    match (view.direction, code) {
        (_, None) if begun => Some(format!("{name} waits at {at} %; it goes on by itself")),
        (_, None) => None,
        (Direction::Up, Some(code)) => {
            let why = say::code(code, None, "", 0).what;
            Some(format!("{name} waits at {at} %: {why} It goes on by itself."))
        }
        (Direction::Down, Some(code)) => {
            let why = match (code, view.chat.person()) {
                (Code::HomeDown, Some(user)) => format!("{user}'s server is away"),
                (Code::HomeDown, None) => "the server that keeps it is away".to_owned(),
                (code, _) => say::code(code, Some(&view.chat), "", 0).what,
            };
            let why = why.trim_end_matches('.');
            Some(format!("{name} is not available now ({why}); it will come by itself"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TransferFailure;
    use crate::ui::files::tests::photo;

    const TOTAL: u64 = 1_000;

    fn lines(every: Every, events: &[(u64, u64, TransferState)]) -> Vec<String> {
        let mut steps = Steps::new(every);
        let start = Instant::now();
        let said = events.iter().filter_map(|(ms, done, state)| {
            let view = photo(*done, TOTAL, *state);
            steps.heard(&view, start + Duration::from_millis(*ms))
        });
        said.map(|said| match said {
            Said::Notice(text) => text,
            Said::Trouble(told) => told.line(),
        })
        .collect()
    }

    #[test]
    fn what_is_quick_says_nothing_to_people_who_look() {
        let events = [
            (0, 0, TransferState::Running),
            (200, 500, TransferState::Running),
            (400, TOTAL, TransferState::Running),
            (450, TOTAL, TransferState::Done),
        ];
        assert_eq!(lines(Every::Quarter, &events), Vec::<String>::new());
    }

    #[test]
    fn what_is_long_says_that_it_begins_three_lines_and_its_end() {
        let events: Vec<_> = (0..=200)
            .map(|tick| (tick * 100, tick * 5, TransferState::Running))
            .chain([(20_100, TOTAL, TransferState::Done), (20_200, TOTAL, TransferState::Done)])
            .collect();
        let said = lines(Every::Quarter, &events);
        assert_eq!(said.len(), 5, "{said:#?}");
        assert!(said[0].starts_with("sending photo.jpg, ") && said[1].contains(": 25 %"));
        assert!(said[3].contains(": 75 %") && said[4] == "photo.jpg is uploaded", "{said:#?}");
    }

    #[test]
    fn who_listens_hears_every_tenth_once() {
        let events: Vec<_> = (0..=100)
            .map(|tick| (tick, tick * 10, TransferState::Running))
            .chain([(101, TOTAL, TransferState::Done)])
            .collect();
        let said = lines(Every::Tenth, &events);
        assert_eq!(said.len(), 10, "{said:#?}");
        assert_eq!(said[0], "sending photo.jpg: 10 %");
        assert_eq!(said[8], "sending photo.jpg: 90 %");
        assert_eq!(said[9], "photo.jpg is uploaded");
    }

    #[test]
    fn an_interruption_is_said_once_and_so_is_its_end() {
        let away = TransferState::Waiting(Some(Code::HomeDown));
        let events = [
            (0, 0, TransferState::Running),
            (1_200, 400, TransferState::Running),
            (1_300, 710, away),
            (2_300, 710, away),
            (3_300, 710, TransferState::Running),
        ];
        let said = lines(Every::Quarter, &events);
        assert_eq!(said.len(), 3, "{said:#?}");
        assert!(said[1].starts_with("photo.jpg waits at 71 %: "), "{said:#?}");
        assert_eq!(said[2], "resuming photo.jpg at 71 %");
    }

    #[test]
    fn a_picture_that_cannot_be_had_now_says_that_it_comes_by_itself() {
        let mut steps = Steps::new(Every::Quarter);
        let view = TransferView {
            direction: Direction::Down,
            ..photo(0, TOTAL, TransferState::Waiting(Some(Code::HomeDown)))
        };
        let Some(Said::Notice(said)) = steps.heard(&view, Instant::now()) else { panic!() };
        assert!(
            said.starts_with("photo.jpg is not available now (bob's server is away)"),
            "{said}"
        );
        assert!(said.ends_with("; it will come by itself"), "{said}");
    }

    #[test]
    fn a_failure_is_said_with_what_to_do() {
        let failed = TransferState::Failed(TransferFailure::CopyLost);
        let said = lines(Every::Quarter, &[(0, 0, failed), (100, 0, failed)]);
        assert_eq!(said.len(), 1, "{said:#?}");
    }
}
