//! Groups in a run: who writes into them, and who changes them while things break.
//!
//! Takes numbers of its own, and none from what else happens. Whether a change succeeds is nobody's
//! promise; what it leaves behind is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::SetupError;
use super::world::{Person, World, diary};
use crate::client::{Client, GroupCommand, GroupError, Standing};
use crate::placement::{PlacementMap, slot_of_group};
use crate::testkit::checkers::Tap;
use crate::types::{ChatName, GroupName, LogName, UserName};

/// Texts that one person writes into a group at once, at most.
const BURST: usize = 4;
/// People in the first group when it is made, its maker among them.
const FOUNDERS: usize = 5;
/// The step in which somebody makes the second group, whatever is broken then.
const SECOND_AT: usize = 4;
/// For joining.
const PASSWORD: &str = "open sesame, says the battery";

/// The groups of a run.
pub(super) struct Groups {
    rng: StdRng,
    /// Two, at different homes.
    pub(super) names: Vec<GroupName>,
    /// What went to whom.
    pub(super) tap: Tap,
    /// Links that somebody was given, for anybody to use.
    links: Arc<Mutex<Vec<String>>>,
    changes: Vec<JoinHandle<Option<()>>>,
}

impl Groups {
    pub(super) fn new(seed: u64, map: &PlacementMap) -> Result<Self, SetupError> {
        let home = |name: &GroupName| map.home_of_slot(slot_of_group(name)).map(|s| s.id.clone());
        let first = GroupName::parse("g0")?;
        let mut names = vec![first.clone()];
        for number in 1..100 {
            let second = GroupName::parse(&format!("g{number}"))?;
            if home(&second) != home(&first) {
                names.push(second);
                break;
            }
        }
        let rng = StdRng::seed_from_u64(seed ^ 0x96_0095);
        let (tap, links, changes) = (Tap::default(), Arc::default(), Vec::new());
        Ok(Self { rng, names, tap, links, changes })
    }

    fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count.max(1))
    }

    fn name(&mut self) -> Option<GroupName> {
        let index = self.pick(self.names.len());
        self.names.get(index).cloned()
    }

    /// Whether every change that somebody asked for was answered, or its client died.
    pub(super) fn are_quiet(&self) -> bool {
        self.changes.iter().all(JoinHandle::is_finished)
    }

    /// Changes that ended in a panic.
    pub(super) async fn panics(&mut self) -> usize {
        let mut panics = 0;
        for change in self.changes.drain(..) {
            if change.is_finished() {
                panics += usize::from(change.await.is_err());
            } else {
                change.abort();
            }
        }
        panics
    }
}

impl World {
    /// The first group, while all is well.
    pub(super) async fn found_group(&mut self) -> Result<(), SetupError> {
        let others: Vec<UserName> =
            self.people.iter().take(FOUNDERS).skip(1).map(|person| person.name.clone()).collect();
        let Some(name) = self.groups.names.first().cloned() else { return Ok(()) };
        let Some(life) = self.people.first().and_then(|person| person.running.as_ref()) else {
            return Ok(());
        };
        let password = Some(Zeroizing::new(PASSWORD.to_owned()));
        let done = life.client.create_group(&name, &others, "first", password).await?;
        if let Some((user, why)) = done.failed.first() {
            return Err(format!("{user} is not in {name}: {why}").into());
        }
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// What happens in groups in one step.
    pub(super) fn step_groups(&mut self, step: usize) -> Result<(), SetupError> {
        if step == SECOND_AT {
            self.make_second();
        }
        for _ in 0..self.groups.pick(3) {
            self.write_to_group()?;
        }
        // Two at once, so that one of them comes too late.
        for _ in 0..[0, 1, 1, 2].get(self.groups.pick(4)).copied().unwrap_or(0) {
            self.change_group(step)?;
        }
        Ok(())
    }

    fn make_second(&mut self) {
        let maker = self.groups.pick(self.people.len());
        let Some(name) = self.groups.names.last().cloned() else { return };
        let mut others = Vec::new();
        for (index, person) in self.people.iter().enumerate() {
            if index != maker && self.groups.rng.random_bool(0.5) {
                others.push(person.name.clone());
            }
        }
        let password = self.groups.rng.random_bool(0.5);
        let password = password.then(|| Zeroizing::new(PASSWORD.to_owned()));
        let group = name.clone();
        self.ask(maker, &name, "makes", async move |client| {
            client.create_group(&group, &others, "second", password).await.map(drop)
        });
    }

    /// Whoever was stopped while they made a group asks again: nobody else does it for them.
    pub(super) fn make_again(&mut self) -> Result<(), SetupError> {
        if !self.groups.are_quiet() {
            return Ok(());
        }
        for index in 0..self.people.len() {
            let life = self.people.get(index).and_then(|person| person.running.as_ref());
            let Some(life) = life else { continue };
            let views = life.client.groups()?.into_iter();
            for name in views.filter(|v| v.standing == Standing::Making).map(|v| v.name) {
                let group = name.clone();
                self.ask(index, &name, "makes again", async move |client| {
                    client.create_group(&group, &[], "second", None).await.map(drop)
                });
            }
        }
        Ok(())
    }

    fn write_to_group(&mut self) -> Result<(), SetupError> {
        let (from, burst) = (self.groups.pick(self.people.len()), 1 + self.groups.pick(BURST));
        let Some(group) = self.groups.name() else { return Ok(()) };
        self.last_log = Some(LogName::Group(group.clone()));
        for _ in 0..burst {
            self.write_one_to_group(from, &group)?;
        }
        Ok(())
    }

    fn write_one_to_group(&mut self, from: usize, group: &GroupName) -> Result<(), SetupError> {
        let Some(person) = self.people.get_mut(from) else { return Ok(()) };
        let Some(life) = &person.running else { return Ok(()) };
        let standing = life.client.group(group)?.map(|view| view.standing);
        self.texts += 1;
        let text = format!("{}>{group} #{}", person.name, self.texts);
        let chat = ChatName::Group(group.clone());
        match life.client.send_text(&chat, &text) {
            Ok(id) => {
                person.taken.push((id, text.clone(), chat.clone()));
                diary(&self.diary).wrote(&person.name, &chat, &text);
            }
            Err(error) if standing == Some(Standing::Member) => {
                self.violations.push(format!("{text:?} was not taken: {error}"));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Everybody who is in a group writes into it once more: what was withheld shows by that, and
    /// so does a group in which nobody can write any more.
    pub(super) fn write_last_texts(&mut self) -> Result<(), SetupError> {
        for group in self.groups.names.clone() {
            for index in 0..self.people.len() {
                let life = self.people.get(index).and_then(|person| person.running.as_ref());
                let Some(life) = life else { continue };
                let view = life.client.group(&group)?;
                if view.is_some_and(|view| view.standing == Standing::Member) {
                    self.write_one_to_group(index, &group)?;
                }
            }
        }
        Ok(())
    }

    fn change_group(&mut self, step: usize) -> Result<(), SetupError> {
        let count = self.people.len();
        let (who, whom) = (self.groups.pick(count), self.groups.pick(count));
        let (roll, other) = (self.groups.pick(24), self.groups.pick(count));
        let (Some(group), Some(person)) = (self.groups.name(), self.people.get(who)) else {
            return Ok(());
        };
        let Some(life) = &person.running else { return Ok(()) };
        let view = life.client.group(&group)?;
        let is_in = view.is_some_and(|view| view.standing == Standing::Member);
        let name = |index: usize| self.people.get(index).map(|person| person.name.clone());
        let (Some(whom), Some(other)) = (name(whom), name(other)) else { return Ok(()) };
        self.last_log = Some(LogName::Group(group.clone()));
        if !is_in {
            self.come_back(who, &group, roll);
            return Ok(());
        }
        let (what, command) = match roll {
            0..=5 => ("kicks", GroupCommand::Kick(whom)),
            6..=11 => ("adds", GroupCommand::Add(vec![whom, other])),
            12..=14 => ("grants", GroupCommand::Grant(vec![whom])),
            15 => ("revokes", GroupCommand::Revoke(whom)),
            16..=18 => ("leaves", GroupCommand::Leave { successor: Some(whom) }),
            19 | 20 => {
                let password = Zeroizing::new(PASSWORD.to_owned());
                ("sets a password", GroupCommand::Password(Some(password)))
            }
            21 => ("invites", GroupCommand::Invite { uses: 2 }),
            22 => ("names", GroupCommand::Title(format!("title {}", self.texts))),
            // A closed group is a quiet one: rarely, and not the first.
            _ if step > 2 * SECOND_AT && group.as_str() != "g0" => ("closes", GroupCommand::Close),
            _ => ("withdraws", GroupCommand::Withdraw),
        };
        let (name, links) = (group.clone(), Arc::clone(&self.groups.links));
        self.ask(who, &group, what, async move |client| {
            let done = client.change_group(&name, command).await?;
            links.lock().unwrap_or_else(PoisonError::into_inner).extend(done.link);
            Ok(())
        });
        Ok(())
    }

    /// By the newest link, or by the password.
    fn come_back(&mut self, who: usize, group: &GroupName, roll: usize) {
        let link = self.groups.links.lock().unwrap_or_else(PoisonError::into_inner).last().cloned();
        let link = link.filter(|_| roll.is_multiple_of(2));
        let name = group.clone();
        self.ask(who, group, "joins", async move |client| match link {
            Some(link) => client.join_by_link(&link).await.map(drop),
            None => {
                let password = Zeroizing::new(PASSWORD.to_owned());
                client.join_by_password(&name, password).await.map(drop)
            }
        });
    }

    /// Asks and does not wait: the client may die meanwhile.
    fn ask<F>(
        &mut self,
        who: usize,
        group: &GroupName,
        what: &str,
        asked: impl FnOnce(Client) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), GroupError>> + Send + 'static,
    {
        let Some(Person { name, running: Some(life), .. }) = self.people.get(who) else { return };
        let (net, client) = (self.net.clone(), life.client.clone());
        let asking = format!("{name} {what} {group}");
        self.groups.changes.push(life.env.spawn(async move {
            net.note(&asking);
            match asked(client).await {
                Ok(()) => net.note(&format!("{asking}: done")),
                Err(error) => net.note(&format!("{asking}: {error}")),
            }
        }));
    }
}
