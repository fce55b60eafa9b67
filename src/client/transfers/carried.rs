//! Which transfers this process carries, and how each of them stands now. In memory only: what
//! must survive is in the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::blob::sealed_bytes;
use crate::wire::Code;

use super::super::api::{Direction, LocalId, TransferFailure, TransferState, TransferView};
use super::super::core::Core;
use super::super::files::{FileRow, FileState, safe_name};
use super::progress::Progress;

/// What a process carries.
pub(crate) struct Carried {
    /// Lines up to this one were there before: their files go on only when somebody says so.
    pub(super) since: LocalId,
    /// Those of which somebody said so.
    pub(super) adopted: BTreeSet<LocalId>,
    pub(super) legs: BTreeMap<LocalId, Leg>,
    /// Own files that are fetched back from the own home.
    pub(super) backs: BTreeMap<LocalId, Back>,
    /// Touched whenever one of them stands elsewhere.
    changed: watch::Sender<()>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            since: LocalId(0),
            adopted: BTreeSet::new(),
            legs: BTreeMap::new(),
            backs: BTreeMap::new(),
            changed: watch::Sender::new(()),
        }
    }
}

/// A transfer from its first try to its end.
pub(super) struct Leg {
    /// Tells this run from an earlier one of the same file.
    pub(super) number: u64,
    pub(super) direction: Direction,
    pub(super) progress: Arc<Progress>,
    pub(super) stage: Stage,
    /// Tries in a row that moved nothing.
    pub(super) in_vain: u32,
    /// What had travelled when this run began.
    pub(super) travelled_before: u64,
    /// What the front end was told last, and when.
    pub(super) told_bytes: u64,
    pub(super) told_at: Instant,
}

pub(super) enum Stage {
    /// Dropped, it stops.
    Running(#[expect(dead_code, reason = "held for its drop")] DropGuard),
    Waiting {
        code: Option<Code>,
        until: Instant,
    },
}

/// How an own file stands that is fetched back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    Wanted,
    Here,
    Failed(TransferFailure),
}

impl Carried {
    /// Whether the file of this line goes on by itself in this process.
    pub(super) fn is_ours(&self, id: LocalId, resumes: bool) -> bool {
        resumes || id > self.since || self.adopted.contains(&id)
    }

    /// Woken when a transfer stands elsewhere than before.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn touch(&self) {
        self.changed.send_replace(());
    }

    /// How many run in that direction.
    pub(super) fn running(&self, direction: Direction) -> usize {
        let legs = self.legs.values();
        legs.filter(|leg| leg.direction == direction && leg.is_running()).count()
    }
}

impl Leg {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running(_))
    }

    /// Whether it may be tried now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Waiting { until, .. } if until <= now)
    }

    fn state(&self) -> TransferState {
        match self.stage {
            Stage::Running(_) => TransferState::Running,
            Stage::Waiting { code, .. } => TransferState::Waiting(code),
        }
    }

    /// Notes that a try ended. Returns when the next one may begin.
    pub(super) fn wait(&mut self, code: Option<Code>, pause: Duration) -> Instant {
        let until = Instant::now() + pause;
        self.stage = Stage::Waiting { code, until };
        until
    }
}

impl Core {
    /// How the file of a row stands, in this process.
    pub(crate) fn transfer_state(&self, row: &FileRow) -> TransferState {
        let carried = &self.files.carried;
        match row.state {
            FileState::GoesOn => match carried.legs.get(&row.id) {
                Some(leg) => leg.state(),
                None if carried.is_ours(row.id, self.files.policy.resumes) => {
                    TransferState::Waiting(None)
                }
                None => TransferState::Paused,
            },
            other => other.shown(),
        }
    }

    /// The transfer of a row, with what is known of its progress.
    pub(crate) fn transfer_view(&self, row: &FileRow) -> TransferView {
        let carried = &self.files.carried;
        let leg = carried.legs.get(&row.id);
        let back = carried.backs.get(&row.id);
        let (direction, state) = match (back, leg) {
            (None | Some(Back::Here), _) => (row.direction, self.transfer_state(row)),
            (Some(Back::Wanted), Some(leg)) => (Direction::Down, leg.state()),
            (Some(Back::Wanted), None) => (Direction::Down, TransferState::Waiting(None)),
            (Some(Back::Failed(failure)), _) => (Direction::Down, TransferState::Failed(*failure)),
        };
        let total_bytes = sealed_bytes(row.body.bytes);
        let done_bytes = match state {
            TransferState::Done => total_bytes,
            _ => leg.map_or(0, |leg| leg.progress.done().min(total_bytes)),
        };
        TransferView {
            id: row.id,
            chat: row.chat.clone(),
            direction,
            name: safe_name(&row.body.name),
            done_bytes,
            total_bytes,
            bytes_per_s: match state {
                TransferState::Running => leg.map_or(0, |leg| leg.progress.rate()),
                _ => 0,
            },
            state,
        }
    }
}
