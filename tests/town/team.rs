//! A group under a server that will be hostile: Alice made it, Bob is in it, and so is Eve, whose
//! client does whatever the server likes.

use std::time::Duration;

use bytes::Bytes;
use fastchat::client::{GroupCommand, GroupDone, GroupView, Line, LocalId, MessageState, Standing};
use fastchat::crypto::testkeys;
use fastchat::crypto::testpeople::Person;
use fastchat::types::{ChatName, GroupId, GroupName, UserName};
use fastchat::ui::say;
use fastchat::wire::client::Entry;
use tokio::time::{sleep, timeout};

use super::eve::{EVES, Eve};
use super::{LONG, Life, Town};

/// Everybody in `#team`, and each has read Alice's first message.
pub struct Team {
    pub town: Town,
    pub alice: Life,
    pub bob: Life,
    pub eve: Eve,
    pub name: GroupName,
}

pub async fn team() -> Team {
    let mut town = Town::new().await;
    let (alice, bob) = (town.name("alice"), town.name("bob"));
    let alice = town.sign_up(&alice).await;
    let bob = town.sign_up(&bob).await;
    let eve = Eve::comes(&town).await;
    let name = GroupName::canonical("team").unwrap();
    let mut team = Team { town, alice, bob, eve, name };
    team.made(&[&team.bob.name, &team.eve.person.user]).await;
    team.eve.reads_her_welcome(&team.alice).await;
    team
}

impl Team {
    async fn made(&self, with: &[&UserName]) {
        let with: Vec<UserName> = with.iter().copied().cloned().collect();
        let made = self.alice.client.create_group(&self.name, &with, "", None).await.unwrap();
        assert_eq!(made.failed, []);
        self.says("hello team").await;
        self.reads_until(&self.bob, "hello team").await;
    }

    /// Somebody with keys that nobody here has: the clients draw theirs from the same small pot.
    pub fn stranger(&self, name: &str, nth: usize) -> Person {
        let number = self.free_key(nth);
        Person::new(&self.town.servers.authority.cluster_id(), name, number)
    }

    /// Another one of Eve's kind, with such keys.
    pub async fn another_eve(&self, salt: &str) -> Eve {
        Eve::as_user(&self.town, salt, self.free_key(2)).await
    }

    fn free_key(&self, nth: usize) -> usize {
        let taken = [&self.alice, &self.bob].map(|life| life.client.status().unwrap().fingerprint);
        let is_free = |number: &usize| {
            let fingerprint = testkeys::identity(*number).key_id().to_string();
            *number != EVES && taken.iter().all(|taken| taken.replace(' ', "") != fingerprint)
        };
        (0..testkeys::COUNT).filter(is_free).nth(nth).unwrap()
    }

    pub fn chat(&self) -> ChatName {
        ChatName::Group(self.name.clone())
    }

    pub fn log(&self) -> String {
        self.chat().to_string()
    }

    pub fn id(&self) -> GroupId {
        GroupId::parse(&self.seen_by(&self.alice).id).unwrap()
    }

    /// The group as somebody's client has it.
    pub fn seen_by(&self, life: &Life) -> GroupView {
        life.client.group(&self.name).unwrap().unwrap()
    }

    pub fn stands(&self, life: &Life, standing: Standing) {
        assert_eq!(self.seen_by(life).standing, standing);
    }

    /// Alice does something to the group.
    pub async fn does(&self, command: GroupCommand) -> GroupDone {
        let done = self.alice.client.change_group(&self.name, command).await.unwrap();
        assert_eq!(done.failed, []);
        done
    }

    /// Alice writes, and the home has it.
    pub async fn says(&self, text: &str) -> LocalId {
        let id = self.alice.client.send_text(&self.chat(), text).unwrap();
        is_out(&self.alice, id).await;
        id
    }

    /// Alice writes `text` while the server does this to what Bob gets of the group; then it is
    /// honest, and she writes "honest". What Bob reads of the group in all.
    pub async fn under(
        &self,
        text: &str,
        attack: impl FnMut(Entry) -> Vec<Entry> + Send + 'static,
    ) -> Vec<String> {
        self.attacked(text, attack).await;
        self.says("honest").await;
        let seen = self.reads_until(&self.bob, "honest").await;
        assert_eq!(seen.last().map(String::as_str), Some("honest"), "{seen:?}");
        seen
    }

    /// The same without what follows.
    pub async fn attacked(
        &self,
        text: &str,
        attack: impl FnMut(Entry) -> Vec<Entry> + Send + 'static,
    ) {
        self.town.hostile.rewrite_log(&self.bob.name, &self.log(), attack);
        self.says(text).await;
        sleep(Duration::from_secs(2)).await;
        self.town.hostile.relent(&self.bob.name);
    }

    /// What somebody reads of the group, until the line that begins so.
    pub async fn reads_until(&self, life: &Life, last: &str) -> Vec<String> {
        lines_until(life, &self.chat(), last).await
    }

    /// What somebody has not read of the group yet, once nothing moves.
    pub async fn rest_of(&self, life: &Life) -> Vec<String> {
        sleep(Duration::from_secs(5)).await;
        unread(life, &self.chat())
    }

    /// The envelopes of the group that the server had for Bob, in order.
    pub fn envelopes(&self) -> Vec<Bytes> {
        let had = self.town.hostile.had_in(&self.bob.name, &self.log());
        had.into_iter().map(|entry| entry.envelope).filter(|bytes| !bytes.is_empty()).collect()
    }
}

/// Waits until a message is stored at its home.
pub async fn is_out(life: &Life, id: LocalId) {
    let out = async {
        while !matches!(
            life.state(id),
            MessageState::Sent | MessageState::Delivered | MessageState::Read
        ) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let out = timeout(LONG, out).await;
    assert!(out.is_ok(), "{id} is {:?}", life.state(id));
}

pub async fn lines_until(life: &Life, chat: &ChatName, last: &str) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let wait = async {
        loop {
            seen.extend(unread(life, chat));
            if seen.iter().any(|line| line.starts_with(last)) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let found = timeout(LONG, wait).await;
    let view = chat.group().map(|group| life.client.group(group));
    assert!(found.is_ok(), "{last:?} never came: {seen:?} {view:?}");
    seen
}

/// What somebody has not read of a chat yet: texts, troubles as "! word: sentence". What the
/// group's changes are called is told elsewhere: "* who".
pub fn unread(life: &Life, chat: &ChatName) -> Vec<String> {
    let lines = life.client.take_unshown_of(chat, 100).unwrap();
    let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
    life.client.mark_shown(&ids).unwrap();
    lines
        .iter()
        .map(|line| match line {
            Line::Message(message) => message.text.clone(),
            Line::Trouble { chat, trouble, .. } => {
                format!("! {}: {}", say::trouble_word(trouble), say::trouble(trouble, chat).what)
            }
            Line::Membership { by, change, .. } => format!("* {by} {change:?}"),
        })
        .collect()
}

/// An entry with another message in it.
pub fn with_envelope(entry: &Entry, envelope: Bytes) -> Entry {
    Entry { envelope, operation: Bytes::new(), number: 0, ..entry.clone() }
}

/// An entry with an operation in it.
pub fn with_operation(entry: &Entry, operation: &Bytes, number: u64) -> Entry {
    Entry { envelope: Bytes::new(), operation: operation.clone(), number, ..entry.clone() }
}
