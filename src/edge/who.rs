//! `Who` is the one request asked of every home: the answers are merged, and a home that cannot
//! say in time is named as missing.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::answer;
use super::router::Generation;
use super::state::{Pending, State};
use crate::limits;
use crate::types::ServerId;
use crate::wire::client::{ServerFrame, WhoList, server_frame::Body};

/// The answers to `Who` so far.
#[derive(Debug)]
pub(super) struct WhoMerge {
    pub(super) waiting: BTreeMap<ServerId, Generation>,
    pub(super) list: WhoList,
    pub(super) until: Instant,
}

impl State {
    /// When the oldest `Who` stops waiting.
    pub(super) fn who_due(&self) -> Option<Instant> {
        self.pending
            .values()
            .filter_map(|pending| match pending {
                Pending::Who(merge) => Some(merge.until),
                Pending::Plain(_) | Pending::Large(_) | Pending::Proof(_) | Pending::Logout(_) => {
                    None
                }
            })
            .min()
    }

    /// Answers every `Who` that waited long enough with what is there.
    pub(super) fn who_overdue(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .pending
            .iter()
            .filter_map(|(rid, pending)| match pending {
                Pending::Who(merge) => (merge.until <= now).then_some(*rid),
                Pending::Plain(_) | Pending::Large(_) | Pending::Proof(_) | Pending::Logout(_) => {
                    None
                }
            })
            .collect();
        for rid in due {
            if let Some(Pending::Who(merge)) = self.pending.get_mut(&rid) {
                let late = std::mem::take(&mut merge.waiting);
                merge.list.missing.extend(late.keys().map(ToString::to_string));
            }
            self.finish_who(rid);
        }
    }

    pub(super) fn merge_who(&mut self, home: &ServerId, frame: ServerFrame) {
        let Some(Body::WhoList(list)) = frame.body else { return };
        let Some(Pending::Who(merge)) = self.pending.get_mut(&frame.rid) else { return };
        if merge.waiting.remove(home).is_none() {
            return;
        }
        merge.list.users.extend(list.users.into_iter().take(limits::WHO_USERS_MAX));
        merge.list.truncated |= list.truncated;
        shorten(&mut merge.list);
        self.finish_who(frame.rid);
    }

    pub(super) fn who_refused(&mut self, home: &ServerId, rid: u64) {
        if let Some(Pending::Who(merge)) = self.pending.get_mut(&rid)
            && merge.waiting.remove(home).is_some()
        {
            merge.list.missing.push(home.to_string());
            self.finish_who(rid);
        }
    }

    /// Answers a `Who` for which nothing is waited any more.
    pub(super) fn finish_who(&mut self, rid: u64) {
        if let Some(Pending::Who(merge)) = self.pending.get_mut(&rid)
            && merge.waiting.is_empty()
        {
            let mut list = std::mem::take(&mut merge.list);
            list.missing.sort();
            self.pending.remove(&rid);
            self.outbox.answer(answer::frame(rid, Body::WhoList(list)));
        }
    }
}

/// Sorts a merged list by name and cuts it to what one answer holds.
fn shorten(list: &mut WhoList) {
    list.users.sort_by(|a, b| a.user.cmp(&b.user));
    if list.users.len() > limits::WHO_USERS_MAX {
        list.users.truncate(limits::WHO_USERS_MAX);
        list.truncated = true;
    }
}
