//! Many people looked up together, and the new key of a group that waits for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::types::{GroupName, UserName};

use super::super::api::RequestError;
use super::groups::Reply;
use super::{End, Session};

/// People who are looked up together.
pub(super) struct Gathering {
    todo: VecDeque<UserName>,
    open: BTreeSet<UserName>,
    /// All of them.
    asked: BTreeSet<UserName>,
    /// Some could not be asked.
    error: Option<RequestError>,
    then: Then,
}

enum Then {
    Reply(Reply<()>),
    Renew(GroupName),
}

impl Gathering {
    fn new(users: Vec<UserName>, then: Then) -> Self {
        let asked = users.iter().cloned().collect();
        Self { todo: users.into(), open: BTreeSet::new(), asked, error: None, then }
    }
}

impl Session<'_> {
    /// Looks people up. The answer comes when each is answered, if only with "nobody".
    pub(super) async fn look_up_all(
        &mut self,
        users: Vec<UserName>,
        reply: Reply<()>,
    ) -> Result<(), End> {
        self.gather(users, Then::Reply(reply)).await
    }

    /// Somebody left: the key is renewed before anything is sealed. What waits goes on after it.
    pub(super) async fn renew_key(&mut self, name: &GroupName) -> Result<(), End> {
        if !self.renewing.insert(name.clone()) {
            return Ok(());
        }
        let members = self.core.lock().others_in(name)?;
        self.gather(members, Then::Renew(name.clone())).await
    }

    async fn gather(&mut self, users: Vec<UserName>, then: Then) -> Result<(), End> {
        self.gatherings.push(Gathering::new(users, then));
        self.gather_on().await
    }

    /// Somebody was looked up, and answered or not.
    pub(super) async fn gathered(
        &mut self,
        user: &UserName,
        error: Option<RequestError>,
    ) -> Result<(), End> {
        for gathering in &mut self.gatherings {
            if gathering.open.remove(user) && error.is_some() {
                gathering.error.clone_from(&error);
            }
        }
        self.gather_on().await
    }

    /// Asks for the next ones of each gathering, and ends those that are whole. An end can begin
    /// another one.
    async fn gather_on(&mut self) -> Result<(), End> {
        while self.gather_once().await? {}
        Ok(())
    }

    /// True when some ended.
    async fn gather_once(&mut self) -> Result<bool, End> {
        let mut ended = Vec::new();
        let mut ask = Vec::new();
        for mut gathering in std::mem::take(&mut self.gatherings) {
            while gathering.open.len() < LOOKED_UP_AT_ONCE
                && let Some(user) = gathering.todo.pop_front()
            {
                gathering.open.insert(user.clone());
                ask.push(user);
            }
            if gathering.open.is_empty() {
                ended.push(gathering);
            } else {
                self.gatherings.push(gathering);
            }
        }
        for user in ask {
            self.look_up(user, None)?;
        }
        let some = !ended.is_empty();
        for Gathering { error, then, asked, .. } in ended {
            match then {
                Then::Reply(reply) => drop(reply.send(error.map_or(Ok(()), Err))),
                Then::Renew(group) => self.renew_now(group, &asked, error).await?,
            }
        }
        Ok(some)
    }

    async fn renew_now(
        &mut self,
        group: GroupName,
        asked: &BTreeSet<UserName>,
        error: Option<RequestError>,
    ) -> Result<(), End> {
        if error.is_none() {
            let others = self.core.lock().others_in(&group)?;
            // Whoever came in meanwhile gets the key like everybody else.
            if !others.iter().all(|user| asked.contains(user)) {
                self.gatherings.push(Gathering::new(others, Then::Renew(group)));
                return Ok(());
            }
        }
        let operation = match error {
            Some(_) => None,
            None => self.disk(|core| core.renewal(&group, asked)).await?,
        };
        match operation {
            Some(operation) => self.change(group, operation, None),
            None => {
                self.renewing.remove(&group);
                if self.core.lock().rekey_due(&group)? {
                    self.pause_group(&group, None, Duration::ZERO);
                }
                Ok(())
            }
        }
    }
}

/// Look-ups of one gathering that are under way at the same time.
const LOOKED_UP_AT_ONCE: usize = 32;
