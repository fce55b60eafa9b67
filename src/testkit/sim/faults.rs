//! What happens to the cluster in a step: people write, and something breaks or is mended.

use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use super::SetupError;
use super::world::{Life, World, client_ip, diary, server_ip};
use crate::placement::slot_of_log;
use crate::testkit::net::NetConfig;
use crate::types::{ChatName, LogName};

/// After a kill: until its last answers are where they were going. What is dead repairs nothing.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// Texts that one person writes at once, at most: more than an inbox takes.
const BURST: usize = 8;

impl World {
    pub(super) async fn step(&mut self, step: usize) -> Result<(), SetupError> {
        for _ in 0..self.pick(4) {
            self.write();
        }
        if self.has_groups {
            self.step_groups(step)?;
        }
        self.step_files()?;
        // Half of the time something breaks while those texts are under way.
        let pause = if self.chance(60) { 0..80 } else { 80..1_500 };
        let pause = self.rng.random_range(pause);
        sleep(Duration::from_millis(pause)).await;
        match self.pick(13) {
            0..=2 => self.crash_server().await?,
            3 => self.crash_balancer().await,
            4 | 5 => self.crash_client().await?,
            6 => self.partition(),
            7 => self.net.repair_all(),
            8 => self.bad_weather(),
            9 => self.restart_something().await?,
            10 => self.hold(),
            _ => {}
        }
        self.audit()
    }

    fn write(&mut self) {
        let (from, to) = (self.pick(self.people.len()), self.pick(self.people.len()));
        let Some(to) = self.people.get(to).map(|person| person.name.clone()) else { return };
        let burst = 1 + self.pick(BURST);
        let Some(person) = self.people.get_mut(from) else { return };
        if person.name == to {
            return;
        }
        let Some(life) = &person.running else { return };
        self.last_reader = Some(to.clone());
        self.last_log = Some(LogName::inbox(to.clone()));
        let to = ChatName::Person(to);
        for _ in 0..burst {
            self.texts += 1;
            let text = format!("{}>{to} #{}", person.name, self.texts);
            match life.client.send_text(&to, &text) {
                Ok(id) => {
                    person.taken.push((id, text.clone(), to.clone()));
                    diary(&self.diary).wrote(&person.name, &to, &text);
                }
                Err(error) => self.violations.push(format!("{text:?} was not taken: {error}")),
            }
        }
    }

    async fn crash_server(&mut self) -> Result<(), SetupError> {
        let index = self.crash_target(|world| {
            let home = world.map.home_of_slot(slot_of_log(world.last_log.as_ref()?))?;
            world.map.servers.iter().position(|server| server.id == home.id)
        });
        let index = index.unwrap_or_else(|| self.pick(self.servers.len()));
        if let Some(killed) = self.servers.get_mut(index).and_then(Option::take) {
            self.kill(killed).await;
            // When its last answers have arrived, and before anybody can put right what the crash
            // left behind.
            sleep(LAST_ANSWERS).await;
            self.audit()?;
        }
        if self.chance(60) {
            let pause = self.rng.random_range(1..800);
            sleep(Duration::from_millis(pause)).await;
            self.start_server(index).await;
        }
        Ok(())
    }

    /// Every other crash strikes where the last text is going.
    fn crash_target(&mut self, find: impl FnOnce(&Self) -> Option<usize>) -> Option<usize> {
        if self.chance(50) { find(self) } else { None }
    }

    async fn crash_balancer(&mut self) {
        if let Some(killed) = self.balancer.take() {
            self.kill(killed).await;
        }
    }

    async fn crash_client(&mut self) -> Result<(), SetupError> {
        let index = self.crash_target(|world| {
            let reader = world.last_reader.clone()?;
            world.people.iter().position(|person| person.name == reader)
        });
        let index = index.unwrap_or_else(|| self.pick(self.people.len()));
        let running = self.people.get_mut(index).and_then(|person| person.running.take());
        if let Some(Life { killed, client, .. }) = running {
            drop(client);
            self.kill(killed).await;
            sleep(LAST_ANSWERS).await;
            self.audit()?;
        }
        if self.chance(60) {
            self.start_client(index)?;
        }
        Ok(())
    }

    pub(super) async fn restart_something(&mut self) -> Result<(), SetupError> {
        if self.balancer.is_none() {
            self.start_balancer().await;
        }
        for index in 0..self.servers.len() {
            if self.servers.get(index).is_some_and(Option::is_none) {
                self.start_server(index).await;
            }
        }
        for index in 0..self.people.len() {
            if self.people.get(index).is_some_and(|person| person.running.is_none()) {
                self.start_client(index)?;
            }
        }
        Ok(())
    }

    fn any_host(&mut self) -> IpAddr {
        let servers = self.servers.len();
        match self.pick(servers + self.people.len()) {
            index if index < servers => server_ip(u16::try_from(index + 1).unwrap_or(1)),
            index => client_ip(index - servers),
        }
    }

    fn a_server(&mut self) -> IpAddr {
        let index = self.pick(self.servers.len());
        server_ip(u16::try_from(index + 1).unwrap_or(1))
    }

    fn partition(&mut self) {
        let (a, b) = (self.a_server(), self.any_host());
        if a != b {
            self.net.partition(a, b);
        }
    }

    fn hold(&mut self) {
        let (a, b) = (self.a_server(), self.any_host());
        if a != b {
            self.net.hold(a, b);
        }
    }

    fn bad_weather(&mut self) {
        let slow = self.rng.random_range(5..80);
        self.net.configure(NetConfig {
            delay: Duration::from_millis(1)..=Duration::from_millis(slow),
            loss: self.rng.random_range(0.0..0.15),
            duplicate: self.rng.random_range(0.0..0.05),
            reorder: self.rng.random_range(0.0..0.25),
        });
    }
}
