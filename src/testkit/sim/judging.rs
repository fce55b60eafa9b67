//! The end of a run: everything is repaired, and what was promised is looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::world::{Person, World, database, diary};
use super::{SetupError, SimReport};
use crate::client::MessageState;
use crate::testkit::checkers::Books;
use crate::testkit::net::NetConfig;

/// After everything is repaired, all that was written must be shown within this.
const HEALING: Duration = Duration::from_secs(120);

impl World {
    /// Repairs everything and waits until all that was written is shown.
    pub(super) async fn heal(&mut self) -> Result<(), SetupError> {
        self.net.repair_all();
        self.net.configure(NetConfig::default());
        self.restart_something().await?;
        let until = self.net.elapsed() + HEALING;
        while self.net.elapsed() < until && !diary(&self.diary).missing().is_empty() {
            sleep(Duration::from_millis(500)).await;
            for person in &self.people {
                if let Some((_, client)) = &person.running {
                    client.retry()?;
                }
            }
        }
        // The answers to the last of them.
        sleep(Duration::from_secs(2)).await;
        self.audit()
    }

    pub(super) fn audit(&mut self) -> Result<(), SetupError> {
        let profile = |person: &Person| (person.name.clone(), person.folder.join("profile.sqlite"));
        let profiles = self.people.iter().map(profile).collect();
        for server in &self.map.servers {
            let path = database(&self.folder, &server.id);
            let found = self.books.audit(&server.id, &path, &diary(&self.diary))?;
            self.violations.extend(found);
            self.violations.extend(Books::audit_cursors(&path, &profiles)?);
        }
        Ok(())
    }

    pub(super) fn judge(mut self) -> Result<SimReport, SetupError> {
        for person in &self.people {
            let Some((_, client)) = &person.running else { continue };
            for (id, text) in &person.taken {
                match client.message(*id)?.and_then(|message| message.state) {
                    Some(MessageState::Sent | MessageState::Delivered | MessageState::Read) => {
                        diary(&self.diary).told_sent(text);
                    }
                    state => self.violations.push(format!("{text:?} ended as {state:?}")),
                }
            }
        }
        let databases: Vec<PathBuf> =
            self.map.servers.iter().map(|server| database(&self.folder, &server.id)).collect();
        let databases: Vec<&Path> = databases.iter().map(PathBuf::as_path).collect();
        self.violations.extend(Books::audit_slots(&databases)?);
        self.violations.extend(diary(&self.diary).violations());
        Ok(SimReport {
            trace_hash: self.net.trace_hash(),
            simulated: self.net.elapsed(),
            crashes: self.crashes,
            counts: diary(&self.diary).counts(),
            network: self.net.counters(),
            trace_tail: self.net.trace_tail(),
            violations: self.violations,
        })
    }
}
