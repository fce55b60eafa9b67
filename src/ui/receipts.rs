//! What became of one's own messages, said once and together: "2 delivered to bob".
//!
//! A line that stands on the screen is not rewritten; a change of its mark is one dim line, and
//! changes that come close together are one line per person. Pure.

use std::collections::BTreeMap;

use crate::client::{LocalId, MessageState};
use crate::types::ChatName;

use super::names::Names;
use super::theme::Theme;

/// Own messages whose end is awaited at most; beyond this the oldest are forgotten.
const FOLLOWED_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Waiting,
    Sent,
    Delivered,
    Read,
}

#[derive(Clone, Debug)]
struct Followed {
    chat: ChatName,
    /// What the screen says.
    said: Stage,
    /// What is so.
    now: Stage,
}

/// The own messages on the screen whose mark may still change.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    followed: BTreeMap<LocalId, Followed>,
}

fn stage(state: &MessageState) -> Option<Stage> {
    match state {
        MessageState::Uploading | MessageState::Waiting | MessageState::Pending => {
            Some(Stage::Waiting)
        }
        MessageState::Sent => Some(Stage::Sent),
        MessageState::Delivered => Some(Stage::Delivered),
        MessageState::Read => Some(Stage::Read),
        MessageState::Refused(_) | MessageState::Cancelled => None,
    }
}

impl Receipts {
    /// An own message was shown with the mark of this state. It is followed further: the event of
    /// a state that is on the screen already may still be on its way.
    pub fn shown(&mut self, id: LocalId, chat: &ChatName, state: &MessageState) {
        let Some(said) = stage(state) else {
            self.followed.remove(&id);
            return;
        };
        let now = self.followed.get(&id).map_or(said, |old| old.now.max(said));
        self.followed.insert(id, Followed { chat: chat.clone(), said, now });
        if self.followed.len() > FOLLOWED_MAX {
            self.followed.pop_first();
        }
    }

    /// An own message moved. Says whether there is something new to say.
    pub fn moved(&mut self, id: LocalId, chat: &ChatName, state: &MessageState) -> bool {
        let Some(now) = stage(state) else {
            self.followed.remove(&id);
            return false;
        };
        let followed = self.followed.entry(id).or_insert_with(|| Followed {
            chat: chat.clone(),
            said: Stage::Waiting,
            now: Stage::Waiting,
        });
        followed.now = followed.now.max(now);
        let news = followed.now > followed.said;
        if self.followed.len() > FOLLOWED_MAX {
            self.followed.pop_first();
        }
        news
    }

    /// That messages were sent was said in another way.
    pub fn sent_was_said(&mut self) {
        for followed in self.followed.values_mut().filter(|followed| followed.now >= Stage::Sent) {
            followed.said = followed.said.max(Stage::Sent);
        }
    }

    /// All that changed since the last time, one line per person and change.
    pub fn take(&mut self, theme: Theme, names: &Names) -> Vec<String> {
        let mut counts: BTreeMap<(ChatName, Stage), usize> = BTreeMap::new();
        for followed in self.followed.values_mut().filter(|followed| followed.now > followed.said) {
            *counts.entry((followed.chat.clone(), followed.now)).or_default() += 1;
            followed.said = followed.now;
        }
        self.followed.retain(|_, followed| followed.said != Stage::Read);
        counts
            .into_iter()
            .map(|((chat, stage), count)| {
                let (sign, word) = match stage {
                    Stage::Waiting => ("…", "waiting for"),
                    Stage::Sent => ("·", "sent to"),
                    Stage::Delivered => ("✓", "delivered to"),
                    Stage::Read => ("✓✓", "read by"),
                };
                let all = match (&chat, stage) {
                    (ChatName::Group(_), Stage::Delivered | Stage::Read) => "all of ",
                    (ChatName::Group(_), Stage::Waiting | Stage::Sent)
                    | (ChatName::Person(_), _) => "",
                };
                let sign = if theme.rich() { format!("{sign} ") } else { String::new() };
                let count = if count == 1 { String::new() } else { format!("{count} ") };
                format!("{sign}{count}{word} {all}{}", names.chat(&chat))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::theme::{Colour, Style};

    const RICH: Theme = Theme { style: Style::Rich, colour: Colour::Off };
    const PLAIN: Theme = Theme { style: Style::Plain, colour: Colour::Off };

    fn bob() -> ChatName {
        ChatName::parse("bob").unwrap()
    }

    #[test]
    fn only_changes_are_said_and_each_once() {
        let mut receipts = Receipts::default();
        receipts.shown(LocalId(1), &bob(), &MessageState::Sent);
        assert!(!receipts.moved(LocalId(1), &bob(), &MessageState::Sent));
        assert_eq!(receipts.take(RICH, &Names::default()), Vec::<String>::new());
        assert!(receipts.moved(LocalId(1), &bob(), &MessageState::Delivered));
        assert_eq!(receipts.take(RICH, &Names::default()), ["✓ delivered to bob"]);
        assert_eq!(receipts.take(RICH, &Names::default()), Vec::<String>::new());
    }

    #[test]
    fn several_changes_are_one_line_per_person() {
        let mut receipts = Receipts::default();
        for id in 1..=3 {
            receipts.shown(LocalId(id), &bob(), &MessageState::Waiting);
            receipts.moved(LocalId(id), &bob(), &MessageState::Sent);
        }
        receipts.moved(LocalId(1), &bob(), &MessageState::Delivered);
        assert_eq!(receipts.take(PLAIN, &Names::default()), ["2 sent to bob", "delivered to bob"]);
    }

    #[test]
    fn in_a_group_it_says_that_all_of_them_have_it() {
        let team = ChatName::parse("#team").unwrap();
        let mut receipts = Receipts::default();
        receipts.shown(LocalId(1), &team, &MessageState::Waiting);
        let mut said = |state| {
            receipts.moved(LocalId(1), &team, &state);
            receipts.take(PLAIN, &Names::default())
        };
        assert_eq!(said(MessageState::Sent), ["sent to #team"]);
        assert_eq!(said(MessageState::Delivered), ["delivered to all of #team"]);
        assert_eq!(said(MessageState::Read), ["read by all of #team"]);
    }

    #[test]
    fn what_the_line_itself_says_is_not_said_again() {
        let mut receipts = Receipts::default();
        receipts.shown(LocalId(1), &bob(), &MessageState::Delivered);
        assert!(!receipts.moved(LocalId(1), &bob(), &MessageState::Delivered));
        assert_eq!(receipts.take(RICH, &Names::default()), Vec::<String>::new());
        assert!(receipts.moved(LocalId(1), &bob(), &MessageState::Read));
        assert_eq!(receipts.take(RICH, &Names::default()), ["✓✓ read by bob"]);
        assert_eq!(receipts.followed.len(), 0);
    }

    #[test]
    fn what_was_sent_after_an_interruption_is_said_once() {
        let mut receipts = Receipts::default();
        receipts.shown(LocalId(1), &bob(), &MessageState::Waiting);
        receipts.moved(LocalId(1), &bob(), &MessageState::Sent);
        receipts.sent_was_said();
        assert_eq!(receipts.take(RICH, &Names::default()), Vec::<String>::new());
        receipts.moved(LocalId(1), &bob(), &MessageState::Delivered);
        receipts.sent_was_said();
        assert_eq!(receipts.take(RICH, &Names::default()), ["✓ delivered to bob"]);
    }

    #[test]
    fn a_change_that_came_before_the_line_is_not_lost() {
        let mut receipts = Receipts::default();
        receipts.moved(LocalId(1), &bob(), &MessageState::Delivered);
        receipts.shown(LocalId(1), &bob(), &MessageState::Sent);
        assert_eq!(receipts.take(RICH, &Names::default()), ["✓ delivered to bob"]);
    }

    #[test]
    fn messages_that_never_arrive_do_not_pile_up() {
        let mut receipts = Receipts::default();
        for id in 0..=i64::try_from(FOLLOWED_MAX).unwrap() {
            receipts.shown(LocalId(id), &bob(), &MessageState::Waiting);
        }
        assert_eq!(receipts.followed.len(), FOLLOWED_MAX);
    }
}
