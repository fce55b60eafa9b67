//! What rings and what the window is called: bell, title, and the desktop's notifications.
//!
//! Pure: says which bytes a terminal should get, and when. The text of a message is never in them
//! unless the person wants that.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Author, ChatSettings, MessageView, Notify};
use crate::types::UserName;

use super::text::excerpt;

/// After a catch-up nothing rings for this long: what comes then is old.
const QUIET_AFTER_CATCH_UP: Duration = Duration::from_secs(30);
/// Between two rings.
const PAUSE: Duration = Duration::from_secs(3);
/// Columns of a message in a notification.
const PREVIEW_COLUMNS: usize = 60;

/// How a terminal shows a notification of the desktop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Popup {
    /// It does not, or it is not known to.
    #[default]
    None,
    /// `OSC 9`.
    Osc9,
    /// `OSC 777`.
    Osc777,
}

impl Popup {
    /// What the terminal of this environment is known to understand. Programs in between, tmux for
    /// one, do not pass it on.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        if variable("TMUX").is_some() || variable("STY").is_some() {
            return Self::None;
        }
        let program = variable("TERM_PROGRAM").unwrap_or_default();
        let term = variable("TERM").unwrap_or_default();
        match (program.as_str(), term.as_str()) {
            ("iTerm.app" | "WezTerm" | "ghostty", _) => Self::Osc9,
            (_, "xterm-kitty" | "xterm-ghostty" | "foot" | "foot-extra") => Self::Osc9,
            (_, "rxvt-unicode" | "rxvt-unicode-256color") => Self::Osc777,
            _ => Self::None,
        }
    }

    /// The bytes of a notification; `text` must hold no control characters.
    fn bytes(self, text: &str) -> String {
        match self {
            Self::None => String::new(),
            Self::Osc9 => format!("\x1b]9;{text}\x07"),
            Self::Osc777 => format!("\x1b]777;notify;FastChat;{}\x07", text.replace(';', ",")),
        }
    }
}

/// What a person and their terminal take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The bell.
    pub bell: bool,
    /// Notifications.
    pub popup: Popup,
    /// The text of messages in notifications.
    pub preview: bool,
}

/// When something last rang, and since when it may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ringer {
    /// `None`: not caught up; nothing rings.
    quiet_until: Option<Instant>,
    rang: Option<Instant>,
}

impl Ringer {
    /// The connection is gone: what comes next is what came meanwhile.
    pub fn offline(&mut self) {
        self.quiet_until = None;
    }

    /// All that waited is here.
    pub fn caught_up(&mut self, now: Instant) {
        self.quiet_until = Some(now + QUIET_AFTER_CATCH_UP);
    }

    /// The bytes for a message that came now; empty: stay quiet.
    pub fn ring(
        &mut self,
        taken: Taken,
        label: &str,
        message: &MessageView,
        now: Instant,
    ) -> String {
        let open = self.quiet_until.is_some_and(|until| until <= now);
        let again = self.rang.is_none_or(|rang| rang + PAUSE <= now);
        if !open || !again {
            return String::new();
        }
        self.rang = Some(now);
        let text = if taken.preview {
            format!("{label}: {}", excerpt(&message.text, PREVIEW_COLUMNS))
        } else {
            format!("{label} has written to you")
        };
        let bell = if taken.bell { "\x07" } else { "" };
        format!("{bell}{}", taken.popup.bytes(&text))
    }
}

/// Whether a message of somebody else is one to ring for. `account` is what holds where the chat
/// says nothing.
pub fn rings(
    message: &MessageView,
    me: &UserName,
    chat: &ChatSettings,
    account: Notify,
    now_unix_ms: u64,
) -> bool {
    let muted = chat.muted_until_unix_ms.is_some_and(|until| until > now_unix_ms);
    let wanted = match chat.notify.unwrap_or(account) {
        Notify::All => true,
        Notify::Mentions => mentions(message, me),
        Notify::None => false,
    };
    message.author != Author::Me && !message.again && !muted && wanted
}

/// Whether a message names somebody, or answers them.
fn mentions(message: &MessageView, me: &UserName) -> bool {
    let answers = message.reply_to.as_ref().is_some_and(|reply| reply.author == Author::Me);
    let of_a_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    answers
        || message
            .text
            .to_lowercase()
            .split(|c: char| !of_a_name(c))
            .any(|word| word.trim_end_matches(['.', '-', '_']) == me.as_str())
}

/// The title of the window: `(3) FastChat`.
pub fn title(unread: usize) -> String {
    match unread {
        0 => "FastChat".to_owned(),
        unread => format!("({unread}) FastChat"),
    }
}

/// The bytes that give the window this title.
pub fn title_bytes(title: &str) -> String {
    format!("\x1b]2;{title}\x07")
}

/// Keeps the title that the window had, for [`TITLE_BACK`].
pub const TITLE_KEPT: &str = "\x1b[22;2t";
/// Gives the window back the title that it had.
pub const TITLE_BACK: &str = "\x1b[23;2t";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::screen::samples;

    fn alice() -> UserName {
        UserName::parse("alice").unwrap()
    }

    const TAKEN: Taken = Taken { bell: true, popup: Popup::Osc9, preview: false };

    #[tokio::test(start_paused = true)]
    async fn nothing_rings_before_and_for_thirty_seconds_after_a_catch_up() {
        let mut ringer = Ringer::default();
        let message = samples::from_bob("secret");
        let ring = |ringer: &mut Ringer| ringer.ring(TAKEN, "bob", &message, Instant::now());
        assert_eq!(ring(&mut ringer), "");
        ringer.caught_up(Instant::now());
        tokio::time::advance(QUIET_AFTER_CATCH_UP - Duration::from_millis(1)).await;
        assert_eq!(ring(&mut ringer), "");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ring(&mut ringer), "\x07\x1b]9;bob has written to you\x07");
        assert_eq!(ring(&mut ringer), "", "not twice in three seconds");
        tokio::time::advance(PAUSE).await;
        assert_ne!(ring(&mut ringer), "");
        ringer.offline();
        tokio::time::advance(PAUSE).await;
        assert_eq!(ring(&mut ringer), "", "what comes now has waited");
    }

    #[tokio::test(start_paused = true)]
    async fn the_text_of_a_message_is_in_a_notification_only_when_that_is_wanted() {
        let hostile = samples::from_bob("secret\x1b]0;x\x07 ;news");
        for (popup, preview) in [(Popup::Osc9, false), (Popup::Osc777, false), (Popup::None, true)]
        {
            let mut ringer = Ringer { quiet_until: Some(Instant::now()), rang: None };
            let taken = Taken { bell: true, popup, preview };
            let bytes = ringer.ring(taken, "bob", &hostile, Instant::now());
            assert!(!bytes.contains("secret") && bytes.starts_with('\x07'), "{bytes:?}");
        }
        let mut ringer = Ringer { quiet_until: Some(Instant::now()), rang: None };
        let taken = Taken { bell: false, popup: Popup::Osc777, preview: true };
        let bytes = ringer.ring(taken, "bob", &hostile, Instant::now());
        assert_eq!(bytes, "\x1b]777;notify;FastChat;bob: secret ,news\x07");
    }

    #[test]
    fn a_chat_decides_for_itself_what_rings() {
        let plain = samples::from_bob("are you there?");
        let named = samples::from_bob("hey Alice!");
        let none = ChatSettings::default();
        let with = |notify| ChatSettings { notify: Some(notify), ..ChatSettings::default() };
        let rings = |message: &MessageView, chat: &ChatSettings, account| {
            super::rings(message, &alice(), chat, account, 1_000)
        };
        assert!(rings(&plain, &none, Notify::All));
        assert!(!rings(&plain, &none, Notify::Mentions) && rings(&named, &none, Notify::Mentions));
        assert!(!rings(&named, &none, Notify::None));
        assert!(rings(&plain, &with(Notify::All), Notify::None));
        assert!(!rings(&named, &with(Notify::None), Notify::All));
        let muted = |until| ChatSettings { muted_until_unix_ms: Some(until), ..none.clone() };
        assert!(!rings(&plain, &muted(1_001), Notify::All));
        assert!(rings(&plain, &muted(1_000), Notify::All));
        let own = samples::to_bob("hi", crate::client::MessageState::Sent);
        assert!(!rings(&own, &none, Notify::All));
    }

    #[test]
    fn a_mention_is_a_whole_word_or_an_answer() {
        for (text, is) in [
            ("alice", true),
            ("@alice: yes", true),
            ("ask ALICE.", true),
            ("malice", false),
            ("alice.b said so", false),
        ] {
            assert_eq!(mentions(&samples::from_bob(text), &alice()), is, "{text}");
        }
        assert!(mentions(&samples::answer_from_bob("yes"), &alice()));
    }

    #[test]
    fn only_terminals_known_to_understand_notifications_get_them() {
        let of = |pairs: &[(&str, &str)]| {
            Popup::of(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM", "xterm-256color")]), Popup::None);
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm"), ("TERM", "xterm-256color")]), Popup::Osc9);
        assert_eq!(of(&[("TERM", "foot")]), Popup::Osc9);
        assert_eq!(of(&[("TERM", "rxvt-unicode")]), Popup::Osc777);
        assert_eq!(of(&[("TERM", "foot"), ("TMUX", "/tmp/x")]), Popup::None);
    }

    #[test]
    fn the_title_counts_what_is_unread() {
        assert_eq!((title(0).as_str(), title(3).as_str()), ("FastChat", "(3) FastChat"));
    }
}
