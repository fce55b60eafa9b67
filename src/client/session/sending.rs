//! Chats on this connection: their logs, and what flows into them.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::types::{ChatName, LogEpoch, N, UserName};
use crate::wire::Code;
use crate::wire::client::{Append, Open, Opened, Refused as WireRefused, client_frame};

use super::super::answers::Answered;
use super::super::api::Event;
use super::super::outbox::{Ready, Sealing};
use super::super::sender::{After, Phase, Sender};
use super::answers::Waiting;
use super::{End, Session};

impl Session<'_> {
    /// Opens the logs of all chats for which something is to be sent or followed.
    pub(super) async fn look(&mut self) -> Result<(), End> {
        self.look_at_groups().await?;
        let chats = self.core.lock().chats_to_open()?;
        for chat in chats {
            if let (Some(group), false) = (chat.group(), self.senders.contains_key(&chat)) {
                self.open_group(group)?;
            } else if !self.senders.contains_key(&chat) {
                let open_id = self.next_open_id();
                self.senders.insert(chat.clone(), Sender::new(open_id));
                self.look_up_for(&chat)?;
                self.open_chat(&chat)?;
            } else if self.senders.get_mut(&chat).is_some_and(Sender::begins_to_write) {
                self.look_up_for(&chat)?;
            } else if self.paused_and_due(&chat) {
                self.open_chat(&chat)?;
            } else {
                self.pump(&chat).await?;
            }
        }
        self.read_due = self.core.lock().next_read()?;
        Ok(())
    }

    /// What had to be opened is: now the logs of those one talks to, one after the other, for they
    /// say who comes and goes.
    pub(super) fn follow_contacts(&mut self) -> Result<(), End> {
        self.to_follow = self.core.lock().chats_to_follow()?.into();
        self.follow_due = Some(Instant::now());
        Ok(())
    }

    pub(super) fn follow_next(&mut self) -> Result<(), End> {
        self.follow_due = None;
        while let Some(chat) = self.to_follow.pop_front() {
            if !self.senders.contains_key(&chat) {
                let open_id = self.next_open_id();
                self.senders.insert(chat.clone(), Sender::following(open_id));
                self.open_chat(&chat)?;
                self.follow_due = Some(Instant::now() + FOLLOW_PAUSE);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn paused_and_due(&self, chat: &ChatName) -> bool {
        let phase = self.senders.get(chat).map(|sender| sender.phase);
        matches!(phase, Some(Phase::Paused(until)) if until <= Instant::now())
    }

    pub(super) fn open_chat(&mut self, chat: &ChatName) -> Result<(), End> {
        if let Some(group) = chat.group() {
            return self.open_group(group);
        }
        let open_id = self.next_open_id();
        let epoch = self.core.lock().send_epoch(chat)?;
        let ask = match self.senders.get_mut(chat) {
            Some(sender) => {
                sender.reopened(open_id);
                sender.needs_look_up() && !sender.follows_only()
            }
            None => return Ok(()),
        };
        if ask && !self.is_asked_for(chat) {
            self.look_up_for(chat)?;
        }
        let open = Open {
            log: chat.log().to_string(),
            open_id,
            epoch: epoch.0,
            cursor: 0,
            write_only: false,
        };
        self.wire.push_unnumbered(client_frame::Body::Open(open)).map_err(|_| End::Lost)
    }

    /// Asks for the bundles of those who are written to and whose look-up came to nothing.
    pub(super) fn ask_for_recipients(&mut self) -> Result<(), End> {
        let missing: Vec<ChatName> = self
            .senders
            .iter()
            .filter(|(chat, sender)| {
                sender.looked_up.is_none() && !sender.follows_only() && !self.is_asked_for(chat)
            })
            .map(|(chat, _)| chat.clone())
            .collect();
        missing.iter().try_for_each(|chat| self.look_up_for(chat))
    }

    pub(super) fn is_asked(&self, person: &UserName) -> bool {
        self.waiting
            .values()
            .any(|waiting| matches!(waiting, Waiting::LookUp { user, .. } if user == person))
    }

    fn is_asked_for(&self, chat: &ChatName) -> bool {
        chat.person().is_some_and(|person| self.is_asked(person))
    }

    /// Asks for the bundle of the person of a chat.
    fn look_up_for(&mut self, chat: &ChatName) -> Result<(), End> {
        chat.person().map_or(Ok(()), |person| self.look_up(person.clone(), None))
    }

    /// Sends what may be sent for a chat: first what is sealed and unanswered, then what waits.
    pub(super) async fn pump(&mut self, chat: &ChatName) -> Result<(), End> {
        loop {
            let total: usize = self.senders.values().map(Sender::in_flight).sum();
            let Some(sender) = self.senders.get(chat) else { return Ok(()) };
            let free = limits::UNANSWERED_PER_SESSION_MAX.saturating_sub(total);
            let room = sender.room().min(free);
            self.starved |= sender.room() > free;
            if room == 0 || sender.looked_up.is_none() {
                return Ok(());
            }
            let (next, open_id, epoch) = (sender.next, sender.open_id, sender.epoch);
            let ready = self.core.lock().ready(chat, next, room)?;
            let sealed = match ready {
                Ready::Send(sealed) => sealed,
                Ready::Seal => {
                    match self.disk(|core| core.seal_waiting(chat, SEALED_AT_ONCE)).await? {
                        Sealing::Again => continue,
                        Sealing::Nothing
                        | Sealing::NeedsBundle
                        | Sealing::NeedsKey
                        | Sealing::KeyChanged => return Ok(()),
                    }
                }
                Ready::KeyChanged | Ready::NeedsKey => return Ok(()),
                Ready::Renew => return self.renew(chat).await,
                Ready::NeedsBundle => {
                    // The log is there, and its owner is not: one of the two will pass.
                    self.pause_unknown(chat);
                    return Ok(());
                }
            };
            if self.senders.get_mut(chat).is_some_and(Sender::needs_look_up) {
                return if self.is_asked_for(chat) { Ok(()) } else { self.look_up_for(chat) };
            }
            for outgoing in sealed {
                let append = Append {
                    log: chat.log().to_string(),
                    open_id,
                    epoch: epoch.0,
                    envelope: outgoing.envelope,
                };
                self.wire
                    .push_unnumbered(client_frame::Body::Append(append))
                    .map_err(|_| End::Lost)?;
                if let Some(sender) = self.senders.get_mut(chat) {
                    sender.sent(outgoing.n, outgoing.upto);
                }
            }
            self.flush().await?;
        }
    }

    pub(super) fn pause_unknown(&mut self, chat: &ChatName) {
        if let Some(sender) = self.senders.get_mut(chat) {
            sender.looked_up = None;
        }
        self.pause(chat, Code::BadBundle, Duration::ZERO, "");
    }

    /// There is room again: those who waited for it, in turn.
    pub(super) async fn pump_starved(&mut self, after: &ChatName) -> Result<(), End> {
        if !std::mem::take(&mut self.starved) {
            return Ok(());
        }
        let chats: Vec<ChatName> = self.senders.keys().cloned().collect();
        let (before, behind) = chats.split_at(chats.partition_point(|chat| chat <= after));
        for chat in behind.iter().chain(before) {
            self.pump(chat).await?;
        }
        Ok(())
    }

    pub(super) async fn chat_opened(
        &mut self,
        chat: &ChatName,
        opened: &Opened,
    ) -> Result<(), End> {
        let (epoch, last_n) = (LogEpoch(opened.epoch), N(opened.last_n));
        if let Some(group) = chat.group()
            && !self.group_opened(group, opened).await?
        {
            return Ok(());
        }
        if self.disk(|core| core.log_opened(chat, epoch, last_n)).await? == Answered::Foreign {
            return self.rolled_back().await;
        }
        if let Some(sender) = self.senders.get_mut(chat) {
            sender.opened(epoch);
            sender.delivered = N(opened.delivered_n);
        }
        if let Some(person) = chat.person() {
            self.core.lock().presence_heard(person, opened.online)?;
        }
        self.disk(|core| core.log_delivered(chat, N(opened.delivered_n))).await?;
        // What stands above `last_n` was taken back by a restored home: is it all still here?
        let lowest = self.core.lock().unanswered(chat, N(1), 1)?;
        let expected = N(last_n.0.saturating_add(1));
        if lowest.first().is_none_or(|lowest| lowest.n > expected) {
            self.disk(|core| core.fill_gap(chat, expected)).await?;
        }
        let unknown = self.senders.get(chat).is_some_and(|sender| sender.looked_up.is_none());
        if unknown && self.ask_again.is_none() && !self.is_asked_for(chat) {
            // The look-up came to nothing while the Open was under way: both again, later.
            self.pause_unknown(chat);
            return Ok(());
        }
        // Somebody may have left while we were away, and would still have the key.
        if let Some(group) = chat.group()
            && self.core.lock().chats_to_open()?.contains(chat)
        {
            if let Some(sender) = self.senders.get_mut(chat) {
                sender.compare();
            }
            return self.fetch_roster(group);
        }
        self.pump(chat).await
    }

    pub(super) async fn chat_refused(
        &mut self,
        chat: &ChatName,
        refused: &WireRefused,
    ) -> Result<(), End> {
        let code = Code::from_number(refused.code).unwrap_or(Code::Internal);
        let n = N(refused.n);
        let after = After::of(code, n, refused.expected, refused.retry_after_ms);
        let Some(sender) = self.senders.get_mut(chat) else { return Ok(()) };
        if n.0 == 0 {
            // The Open itself: nothing can be in flight.
            return self.after_refusal(chat, after.of_open(code), &refused.detail).await;
        }
        if sender.refused(n, after) {
            self.drained(chat, &refused.detail).await?;
        }
        Ok(())
    }

    pub(super) async fn drained(&mut self, chat: &ChatName, detail: &str) -> Result<(), End> {
        match self.senders.get_mut(chat).and_then(Sender::drained) {
            Some(after) => self.after_refusal(chat, after, detail).await,
            None => Ok(()),
        }
    }

    pub(super) async fn after_refusal(
        &mut self,
        chat: &ChatName,
        after: After,
        detail: &str,
    ) -> Result<(), End> {
        let fruitless = self.senders.get_mut(chat).is_some_and(Sender::is_going_round);
        let after = if fruitless { after.in_vain() } else { after };
        match after {
            After::Gap(expected) => self.disk(|core| core.fill_gap(chat, expected)).await?,
            After::Void(n, code) => self.disk(|core| core.refuse_message(chat, n, code)).await?,
            After::Reopen => return self.open_chat(chat),
            After::RefuseAll(code) => {
                self.disk(|core| core.refuse_log(chat, code)).await?;
                if code == Code::NoSuchUser {
                    self.senders.remove(chat);
                    return Ok(());
                }
            }
            After::Compare(code) => return self.compare_chains(chat, code),
            After::Pause { code, at_least } => {
                self.pause(chat, code, at_least, detail);
                return Ok(());
            }
        }
        self.pump(chat).await
    }

    pub(super) fn pause(&mut self, chat: &ChatName, code: Code, at_least: Duration, detail: &str) {
        let spread = self.env.jitter(Duration::from_secs(1)).as_secs_f64();
        let Some(sender) = self.senders.get_mut(chat) else { return };
        sender.pause(code, at_least, spread);
        // A log that is only followed, or whose messages are all sent, is away without harm. What
        // the database cannot say is better said once too often.
        if !sender.told && self.core.lock().has_waiting(chat).unwrap_or(true) {
            sender.told = true;
            let (chat, detail) = (chat.clone(), detail.to_owned());
            self.emit(Event::ChatWaits { chat, code, detail });
        }
    }

    pub(super) async fn chat_appended(
        &mut self,
        chat: &ChatName,
        n: N,
        hash: &[u8],
    ) -> Result<(), End> {
        if !self.senders.get_mut(chat).is_some_and(|sender| sender.appended(n)) {
            return Ok(());
        }
        match self.disk(|core| core.log_appended(chat, n, hash)).await? {
            Answered::Foreign => self.rolled_back().await,
            Answered::Stored => {
                // A repeat of what was read before this Open: nobody will say so again.
                let delivered = self.senders.get(chat).map_or(N(0), |sender| sender.delivered);
                if n <= delivered {
                    self.disk(|core| core.log_delivered(chat, delivered)).await?;
                }
                self.drained(chat, "").await?;
                self.pump_starved(chat).await?;
                self.pump(chat).await
            }
        }
    }
}

const SEALED_AT_ONCE: usize = 64;
/// Between two logs that are opened only to learn who comes and goes.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);
