//! Who gets which part: the streams between people and into groups, and what each session opens.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::super::BenchError;
use super::Load;
use super::dial::Line;
use super::group::Group;
use super::log::{Incoming, Log, Reading, Sending, Stream};
use super::pace::Writing;
use super::people::Person;
use super::session::Part;
use super::talk::Talk;
use crate::net::Env;

/// Everybody who came, with their connection and how long they had to wait for it.
pub(super) type Joined = Vec<(Arc<Person>, Line, Duration)>;

/// Groups and the places of their members in the row.
pub(super) type Groups = Vec<(Range<usize>, Arc<Group>)>;

/// Gives everybody their part; all streams are in the first half.
pub(super) fn cast(
    env: &Env,
    load: &Load,
    joined: Joined,
    groups: &Groups,
) -> Result<(Vec<Arc<Stream>>, Vec<Part>), BenchError> {
    let people: Vec<Arc<Person>> = joined.iter().map(|(person, ..)| Arc::clone(person)).collect();
    let mut made = Streams::new(&people, load);
    made.direct()?;
    for (members, group) in groups {
        made.group(members, group)?;
    }
    let senders = load.pattern.senders(people.len());
    let (mut parts, mut index) = (Vec::new(), 0);
    let follows_readers = load.follows_readers();
    for (place, ((me, line, _), logs)) in joined.into_iter().zip(made.logs()).enumerate() {
        let writing = Writing::new(load.pace, load.pattern, (index, senders), load.seed);
        index += usize::from(logs.iter().any(Log::is_written));
        let founded = groups.iter().find(|(members, _)| members.start == place);
        let close = founded.map(|(_, group)| group.close(env, &me)).transpose()?;
        let (user, turns) = (me.user.to_string(), load.pattern.turns());
        let (me, forget) = (user, load.forget);
        parts.push(Part { line, me, logs, writing, follows_readers, turns, close, forget });
    }
    Ok((made.streams, parts))
}

/// Streams that are being made.
struct Streams<'a> {
    people: &'a [Arc<Person>],
    load: &'a Load,
    streams: Vec<Arc<Stream>>,
    /// What comes into everybody's inbox, by author.
    inboxes: Vec<HashMap<String, Incoming>>,
    /// What everybody opens beside it.
    others: Vec<Vec<Log>>,
}

impl<'a> Streams<'a> {
    fn new(people: &'a [Arc<Person>], load: &'a Load) -> Self {
        let inboxes = people.iter().map(|_| HashMap::new()).collect();
        let others = people.iter().map(|_| Vec::new()).collect();
        Self { people, load, streams: Vec::new(), inboxes, others }
    }

    fn stream(&mut self, talk: Talk, readers: usize) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(talk, readers));
        self.streams.push(Arc::clone(&stream));
        stream
    }

    /// From person to person, as the pattern has it.
    fn direct(&mut self) -> Result<(), BenchError> {
        for (from, author) in self.people.iter().enumerate() {
            for to in self.load.pattern.targets(from, self.people.len()) {
                let Some(recipient) = self.people.get(to) else { continue };
                let talk = Talk::to_person(author, recipient, self.load.size, self.load.sealed)?;
                let stream = self.stream(talk, 1);
                if let Some(inbox) = self.inboxes.get_mut(to) {
                    let incoming = Incoming { stream: Arc::clone(&stream), reader: 0 };
                    inbox.insert(author.user.to_string(), incoming);
                }
                if let Some(others) = self.others.get_mut(from) {
                    others.push(Log::new(stream.talk.log(), None, Some(Sending::new(stream))));
                }
            }
        }
        Ok(())
    }

    /// Into one group, from those who write to all the others.
    fn group(&mut self, members: &Range<usize>, group: &Arc<Group>) -> Result<(), BenchError> {
        let people = self.people.get(members.clone()).unwrap_or_default();
        let mut own: Vec<Option<Arc<Stream>>> = Vec::new();
        for (place, author) in people.iter().enumerate() {
            let writes = self.load.pattern.writes_to_group(place);
            own.push(if writes {
                let talk = Talk::to_group(author, group, self.load.size, self.load.sealed)?;
                Some(self.stream(talk, people.len() - 1))
            } else {
                None
            });
        }
        for (me, others) in
            self.others.iter_mut().skip(members.start).take(people.len()).enumerate()
        {
            let mut authors = HashMap::new();
            for (place, (author, stream)) in people.iter().zip(&own).enumerate() {
                let Some(stream) = stream.as_ref().filter(|_| place != me) else { continue };
                // Readers are all but the author, in order.
                let reader = if me < place { me } else { me - 1 };
                let incoming = Incoming { stream: Arc::clone(stream), reader };
                authors.insert(author.user.to_string(), incoming);
            }
            let reading = Reading::new(group.seq, authors);
            let sending = own.get(me).cloned().flatten().map(Sending::new);
            others.push(Log::new(group.log.clone(), Some(reading), sending));
        }
        Ok(())
    }

    /// What everybody opens: the own inbox first.
    fn logs(&mut self) -> Vec<Vec<Log>> {
        let inboxes = std::mem::take(&mut self.inboxes).into_iter();
        let others = std::mem::take(&mut self.others);
        let rows = self.people.iter().zip(inboxes).zip(others);
        rows.map(|((me, inbox), others)| {
            let inbox = Log::new(me.log.to_string(), Some(Reading::new(0, inbox)), None);
            std::iter::once(inbox).chain(others).collect()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::super::pattern::{Pattern, Writers};
    use super::super::people::RsaKeys;
    use super::super::talk::Sealed;
    use super::super::tally::lock;
    use super::*;
    use crate::crypto::GroupKey;
    use crate::types::{ClusterId, GroupId, GroupName, OpHash, UserName};

    fn load(pattern: Pattern) -> Load {
        Load {
            clients: 4,
            pattern,
            pace: Pace::Closed { window: 1 },
            size: 16,
            sealed: Sealed::Pre,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            drain: Duration::ZERO,
            seed: 1,
            forget: None,
        }
    }

    async fn people() -> Vec<Arc<Person>> {
        let env = Env::system_for_tests();
        let rsa = RsaKeys::generate(&env).await.unwrap();
        let person = |number: usize| {
            let user = UserName::parse(&format!("person{number}")).unwrap();
            Arc::new(Person::new(&env, &rsa, ClusterId([7; 32]), &user, number).unwrap())
        };
        (0..4).map(person).collect()
    }

    fn group() -> Arc<Group> {
        let name = GroupName::parse("team").unwrap();
        let (id, head) = (GroupId([3; 32]), OpHash([3; 32]));
        Arc::new(Group { log: name.to_string(), name, id, key: GroupKey::generate(), head, seq: 1 })
    }

    #[tokio::test]
    async fn every_member_reads_every_other_one_under_a_number_of_their_own() {
        let (people, load) =
            (people().await, load(Pattern::Group { size: 3, writers: Writers::All }));
        let mut made = Streams::new(&people, &load);
        made.group(&(1..4), &group()).unwrap();
        let logs = made.logs();
        assert_eq!(logs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 2, 2]);
        for (author, stream) in people.iter().skip(1).zip(&made.streams) {
            let name = author.user.as_str();
            let readers: Vec<usize> = logs
                .iter()
                .flatten()
                .filter_map(|log| log.author(name).map(|incoming| incoming.reader))
                .collect();
            assert_eq!(readers, [0, 1], "{name}");
            assert_eq!(lock(&stream.book).readers(), 2);
        }
        let own = |place: usize| logs[place][1].author(people[place].user.as_str()).is_some();
        assert!((1..4).all(|place| !own(place)), "nobody waits for what they wrote");
    }

    #[tokio::test]
    async fn of_a_mix_everybody_has_a_partner_first_and_the_group_last() {
        let (people, load) = (people().await, load(Pattern::Mix { size: 4, percent: 50 }));
        let mut made = Streams::new(&people, &load);
        made.direct().unwrap();
        made.group(&(0..4), &group()).unwrap();
        let row = made.logs().swap_remove(2);
        let names: Vec<&str> = row.iter().map(Log::name).collect();
        assert_eq!(names, ["@person2", "@person3", "#team"]);
        let written: Vec<bool> = row.iter().map(Log::is_written).collect();
        assert_eq!(written, [false, true, true]);
    }
}
