//! The end of a run: everything is repaired, and what was promised is looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::world::{Life, Person, World, database, diary};
use super::{SetupError, SimReport};
use crate::client::{MessageState, Refusal};
use crate::testkit::checkers::{Books, files, groups};
use crate::testkit::net::NetConfig;
use crate::types::{ChatName, UserName};
use crate::wire::Code;

/// After everything is repaired, all that was written must be shown within this.
const HEALING: Duration = Duration::from_secs(120);

impl World {
    /// Repairs everything and waits until all that was written is shown.
    pub(super) async fn heal(&mut self) -> Result<(), SetupError> {
        self.net.repair_all();
        self.net.configure(NetConfig::default());
        self.restart_something().await?;
        self.wait_until_well().await?;
        if self.has_groups {
            self.write_last_texts()?;
            self.wait_until_well().await?;
        }
        // The answers to the last of them.
        sleep(Duration::from_secs(2)).await;
        self.audit()?;
        let unwell = self.unwell()?;
        self.violations.extend(unwell);
        Ok(())
    }

    async fn wait_until_well(&mut self) -> Result<(), SetupError> {
        let until = self.net.elapsed() + HEALING;
        while self.net.elapsed() < until {
            if diary(&self.diary).missing().is_empty() && self.unwell()?.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(500)).await;
            self.make_again()?;
            for person in &self.people {
                if let Some(life) = &person.running {
                    life.client.retry()?;
                }
            }
        }
        Ok(())
    }

    /// What is not at an end yet: texts, changes of groups, and what people know of groups.
    fn unwell(&mut self) -> Result<Vec<String>, SetupError> {
        self.note_taken_files();
        let mut unwell = self.note_outcomes()?;
        unwell.extend(self.files_missing()?);
        if !self.has_groups {
            return Ok(unwell);
        }
        if !self.groups.are_quiet() {
            unwell.push("somebody waits for the answer to a change of a group".to_owned());
        }
        if unwell.is_empty() {
            self.audit()?;
            unwell.extend(groups::missing(&diary(&self.diary), &self.books));
        }
        for person in &self.people {
            if let Some(life) = &person.running {
                unwell.extend(self.books.audit_rosters(&person.name, &life.client.groups()?));
            }
        }
        Ok(unwell)
    }

    /// Asks every client what became of its texts. What is not at an end, one line each.
    fn note_outcomes(&self) -> Result<Vec<String>, SetupError> {
        let mut open = Vec::new();
        let mut diary = diary(&self.diary);
        for person in &self.people {
            let Some(Life { client, .. }) = &person.running else { continue };
            for (id, text, chat) in &person.taken {
                let Some(message) = client.message(*id)? else {
                    open.push(format!("{text:?} is gone"));
                    continue;
                };
                match message.state {
                    Some(MessageState::Sent | MessageState::Delivered | MessageState::Read) => {
                        diary.told_sent(text);
                        if let Some(id) = &message.wire_id {
                            diary.told_stored(&person.name, chat, id, text);
                        }
                    }
                    Some(MessageState::Refused(Refusal::Server(Code::NotAMember)))
                        if self.was_out_of(chat, person) =>
                    {
                        diary.told_refused(text);
                    }
                    state => open.push(format!("{text:?} ended as {state:?}")),
                }
            }
        }
        Ok(open)
    }

    /// Whether there was a time in which they could not write into this group.
    fn was_out_of(&self, chat: &ChatName, person: &Person) -> bool {
        match chat {
            ChatName::Group(group) => self.books.was_out_of(group, &person.name),
            ChatName::Person(_) => false,
        }
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
        let home = |user: &UserName| self.blobs_of(user);
        self.violations.extend(files::audit_sent(&profiles, home)?);
        Ok(())
    }

    pub(super) async fn judge(mut self) -> Result<SimReport, SetupError> {
        let saved = self.judge_files().await?;
        if self.has_groups {
            for person in &self.people {
                let profile = person.folder.join("profile.sqlite");
                self.violations.extend(self.books.audit_member(&person.name, &profile)?);
            }
            let panics = self.groups.panics().await;
            if panics > 0 {
                self.violations.push(format!("{panics} changes of groups ended in a panic"));
            }
            let (diary, tap) = (diary(&self.diary), &self.groups.tap);
            self.violations.extend(groups::violations(&diary, &self.books, tap));
        }
        let databases: Vec<PathBuf> =
            self.map.servers.iter().map(|server| database(&self.folder, &server.id)).collect();
        let databases: Vec<&Path> = databases.iter().map(PathBuf::as_path).collect();
        self.violations.extend(Books::audit_slots(&databases)?);
        self.violations.extend(diary(&self.diary).violations());
        // The end of healing has said some of it before.
        let mut said = BTreeSet::new();
        self.violations.retain(|what| said.insert(what.clone()));
        let (counts, files) = {
            let diary = diary(&self.diary);
            (diary.counts(), diary.files_sent())
        };
        Ok(SimReport {
            trace_hash: self.net.trace_hash(),
            simulated: self.net.elapsed(),
            crashes: self.crashes,
            counts,
            files: (files, saved),
            network: self.net.counters(),
            trace_tail: self.net.trace_tail(),
            violations: self.violations,
        })
    }
}
