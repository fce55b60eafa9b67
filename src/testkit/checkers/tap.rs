//! What the servers say to clients of groups, listened to where it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::env::WayOut;
use crate::types::{GroupName, LogName, UserName};
use crate::wire::client::{ServerFrame, server_frame::Body};

type Heard = BTreeMap<(UserName, GroupName), BTreeSet<u64>>;

/// Which entries of which group went to whom. Changes nothing of what is said.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    heard: Arc<Mutex<Heard>>,
}

impl Tap {
    /// The entry at this place of a group's log went to somebody.
    pub fn hears(&self, to: &UserName, group: &GroupName, seq: u64) {
        self.heard().entry((to.clone(), group.clone())).or_default().insert(seq);
    }

    /// Everything so far: who, of which group, which places.
    pub fn all(&self) -> Vec<(UserName, GroupName, BTreeSet<u64>)> {
        let heard = self.heard();
        let all = heard.iter().map(|((to, group), seqs)| (to.clone(), group.clone(), seqs.clone()));
        all.collect()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WayOut for Tap {
    fn rewrite(&self, to: Option<&UserName>, frame: ServerFrame) -> Vec<ServerFrame> {
        if let (Some(to), Some(Body::Entry(entry))) = (to, &frame.body)
            && let Ok(LogName::Group(group)) = LogName::canonical(&entry.log)
        {
            self.hears(to, &group, entry.seq);
        }
        vec![frame]
    }
}
