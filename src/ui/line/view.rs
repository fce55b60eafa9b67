//! What is on the screen, what of it was read, and what rings.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::{Author, Contact, GroupChange, Line, LocalId, MessageView};
use crate::types::{ChatName, UserName};
use crate::ui::input::Kind;
use crate::ui::notify::{self, Ringer, Taken};
use crate::ui::theme::Role;
use crate::ui::{say, time};

use super::events::request;
use super::{Ended, RECEIPTS_PAUSE, Session, Title};

/// Lines taken from the client at once.
const LINES_AT_ONCE: usize = 32;
/// "is typing" is said of one person once in this time.
const TYPING_PAUSE: Duration = Duration::from_secs(60);
/// Comings and goings within this time are said together.
const PRESENCE_PAUSE: Duration = Duration::from_millis(300);
/// Who has pressed no key for so long may not be looking: what comes is shown, not read.
const AWAY: Duration = Duration::from_secs(300);

/// Lines on their way to the screen.
pub(super) struct Showing {
    pub(super) out: oneshot::Receiver<()>,
    ids: Vec<LocalId>,
    signal: String,
}

/// Whether it was said in this session that somebody asks to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    /// They do not ask.
    No,
}

/// What is on the screen.
pub(super) struct View {
    pub(super) showing: Option<Showing>,
    /// Messages of chats that are not in view.
    pub(super) unread: BTreeMap<ChatName, usize>,
    /// Of whom a line was shown: whether they ask. No more than there are chats.
    pub(super) requests: BTreeMap<UserName, Asked>,
    /// The title of the window.
    title: Option<String>,
    pub(super) ringer: Ringer,
    /// When "is typing" was last said of somebody.
    typing: BTreeMap<(ChatName, UserName), Instant>,
    /// Who came and went and was not mentioned yet.
    presence: BTreeMap<UserName, bool>,
    pub(super) presence_due: Option<Instant>,
    last_key: Instant,
    /// Something of the current chat was shown to nobody in particular.
    unseen: bool,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            showing: None,
            unread: BTreeMap::new(),
            requests: BTreeMap::new(),
            title: None,
            ringer: Ringer::default(),
            typing: BTreeMap::new(),
            presence: BTreeMap::new(),
            presence_due: None,
            last_key: Instant::now(),
            unseen: false,
        }
    }
}

impl Session {
    /// Takes what was never shown and sends it to the screen; one batch at a time.
    pub(super) fn show(&mut self) {
        if self.view.showing.is_some() || self.echo.is_some() || self.over.is_some() {
            return;
        }
        let lines = match self.env.in_place(|| self.client.take_unshown(LINES_AT_ONCE)) {
            Ok(lines) => lines,
            Err(error) => return self.complain(&say::request_error(&error, None)),
        };
        if lines.is_empty() {
            return;
        }
        self.screen.width = self.terminal.columns();
        let mut ids = Vec::new();
        let mut texts = Vec::new();
        let mut signal = String::new();
        for line in &lines {
            ids.push(line.id());
            if !self.is_wanted(line) {
                continue;
            }
            self.screen.previews = self.previews(line);
            let mut text = self.screen.line(line);
            if let Line::Message(message) = line {
                text.push_str(&self.arrived(message));
                signal.push_str(&self.ring(message));
            }
            texts.push(text);
            texts.extend(self.request_below(line));
        }
        if texts.is_empty() {
            return self.shown_unseen(&ids);
        }
        let out = self.terminal.print(texts.join("\n"));
        self.view.showing = Some(Showing { out, ids, signal });
    }

    /// Whether a line is to be shown. What the person did to a group here was answered when it was
    /// typed; what others did is shown as they wish, but for what concerns them.
    fn is_wanted(&self, line: &Line) -> bool {
        let Line::Membership { chat, by, change, .. } = line else { return true };
        let me = &self.options.me;
        let concerns_me = match change {
            GroupChange::Added { user }
            | GroupChange::Removed { user }
            | GroupChange::AdminGiven { user }
            | GroupChange::AdminTaken { user } => user == me,
            GroupChange::Closed => true,
            GroupChange::Created { .. }
            | GroupChange::Joined
            | GroupChange::Left
            | GroupChange::NewKey
            | GroupChange::Title { .. }
            | GroupChange::Topic { .. }
            | GroupChange::Invited { .. }
            | GroupChange::PasswordSet
            | GroupChange::InvitesWithdrawn => false,
        };
        let typed_here = by == me && !self.is_piped();
        let shown = self.options.settings.show_membership || concerns_me;
        chat.group().is_none() || (shown && !typed_here)
    }

    /// Lines that nobody wants to see are done with.
    fn shown_unseen(&mut self, ids: &[LocalId]) {
        match self.env.in_place(|| self.client.mark_shown(ids)) {
            Ok(()) => self.show(),
            Err(error) => self.complain(&say::request_error(&error, None)),
        }
    }

    /// Who asks to be accepted is asked about below their line, once in a session: their first one
    /// may have been read elsewhere.
    pub(super) fn request_below(&mut self, line: &Line) -> Option<String> {
        let Line::Message(message) = line else { return None };
        let Author::Them(user) = &message.author else { return None };
        if self.view.requests.contains_key(user) || message.chat.group().is_some() {
            return None;
        }
        let chats = self.env.in_place(|| self.client.chats()).ok()?;
        let asks = |it: &crate::client::ChatView| {
            it.chat == message.chat && it.contact == Contact::Request
        };
        let asked = if chats.iter().any(asks) { Asked::Yes } else { Asked::No };
        self.view.requests.insert(user.clone(), asked);
        (asked == Asked::Yes).then(|| self.screen.notice(&request(user)))
    }

    /// Counts a message that is about to be shown; returns what stands behind it.
    fn arrived(&mut self, message: &MessageView) -> String {
        if message.author == Author::Me {
            return String::new();
        }
        self.last_writer = Some(message.chat.clone());
        if let Some((_, received)) = &mut self.net.back {
            *received += 1;
        }
        if self.chat.as_ref() == Some(&message.chat) || self.is_piped() {
            return String::new();
        }
        let unread = self.view.unread.entry(message.chat.clone()).or_default();
        *unread += 1;
        let wide = self.screen.theme.rich() && self.screen.width.is_some_and(|w| w >= 60);
        match (wide, &self.chat, *unread) {
            (true, Some(_), unread @ 2..) => {
                self.screen.theme.paint(Role::Dim, &format!(" (unread: {unread})"))
            }
            (true | false, _, _) => String::new(),
        }
    }

    fn ring(&mut self, message: &MessageView) -> String {
        if self.is_piped() || message.author == Author::Me {
            return String::new();
        }
        let settings = self.env.in_place(|| {
            Ok::<_, crate::client::RequestError>((
                self.client.chat_settings(&message.chat)?,
                self.client.account_settings()?,
            ))
        });
        let Ok((chat, account)) = settings else { return String::new() };
        let now = self.env.unix_ms();
        if !notify::rings(message, &self.options.me, &chat, account.notify, now) {
            return String::new();
        }
        let editor = self.terminal.kind() == Kind::Editor;
        let taken = Taken {
            bell: self.options.settings.bell,
            popup: if editor { self.options.popup } else { notify::Popup::None },
            preview: self.options.settings.notify_preview,
        };
        let label = match (&message.author, message.chat.group()) {
            (Author::Them(user), Some(group)) => {
                format!("{} ({group})", self.screen.names.label(user))
            }
            (Author::Them(_), None) | (Author::Me, _) => {
                self.screen.names.chat(&message.chat).into_owned()
            }
        };
        self.view.ringer.ring(taken, &label, message, Instant::now())
    }

    /// Lines are on the screen (or never will be).
    pub(super) fn shown(&mut self, out: bool) {
        let Some(showing) = self.view.showing.take() else { return };
        if !out {
            self.ended = Some(Ended::OutputGone);
            return;
        }
        if let Err(error) = self.env.in_place(|| self.client.mark_shown(&showing.ids)) {
            self.complain(&say::request_error(&error, None));
        }
        self.terminal.signal(showing.signal);
        self.seen();
        self.show_title();
        self.show();
        self.end_when_done();
    }

    // --- who looks at it ---

    /// What is shown of the current chat was read, if anybody is there.
    pub(super) fn seen(&mut self) {
        let Some(chat) = &self.chat else { return };
        if self.is_piped() {
            return;
        }
        self.view.unseen = self.view.last_key.elapsed() > AWAY;
        if !self.view.unseen {
            // A receipt that does not go is no reason to disturb anybody.
            let _ = self.env.in_place(|| self.client.mark_read(chat));
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self) {
        self.awake();
        let half = self.terminal.half_typed();
        if let Some(chat) = &self.chat
            && !half.is_empty()
            && !half.starts_with(['/', '\\'])
        {
            self.client.typing(chat);
        }
    }

    /// Somebody is there.
    pub(super) fn awake(&mut self) {
        self.view.last_key = Instant::now();
        if std::mem::take(&mut self.view.unseen) {
            self.seen();
        }
    }

    /// The chat comes into view.
    pub(super) fn open(&mut self, chat: &ChatName) {
        self.chat = Some(chat.clone());
        self.view.unread.remove(chat);
        self.seen();
        self.show_title();
    }

    // --- the title ---

    pub(super) fn titled(&self) -> bool {
        self.options.title == Title::Counts && self.terminal.kind() == Kind::Editor
    }

    pub(super) fn begin_title(&mut self) {
        if self.titled() {
            self.terminal.signal(notify::TITLE_KEPT.to_owned());
            self.show_title();
        }
    }

    pub(super) fn show_title(&mut self) {
        let title = notify::title(self.view.unread.values().sum());
        if self.titled() && self.view.title.as_ref() != Some(&title) {
            self.terminal.signal(notify::title_bytes(&title));
            self.view.title = Some(title);
        }
    }

    // --- who comes, goes and types ---

    /// Once per burst, and only of whom the person is talking to.
    pub(super) fn is_typing(&mut self, chat: &ChatName, user: &UserName) {
        let who = (chat.clone(), user.clone());
        let said = self.view.typing.get(&who).is_some_and(|at| at.elapsed() < TYPING_PAUSE);
        let here = self.chat.as_ref().is_none_or(|here| here == chat);
        if self.options.settings.show_typing && here && !said && !self.is_piped() {
            self.view.typing.retain(|_, at| at.elapsed() < TYPING_PAUSE);
            self.view.typing.insert(who, Instant::now());
            self.terminal.notice(self.screen.typing(chat, user));
        }
    }

    pub(super) fn came_or_went(&mut self, user: UserName, online: bool) {
        if self.options.settings.show_presence && !self.is_piped() {
            self.view.presence.insert(user, online);
            self.view.presence_due.get_or_insert_with(|| Instant::now() + PRESENCE_PAUSE);
        }
    }

    pub(super) fn say_presence(&mut self) {
        self.view.presence_due = None;
        let moved = std::mem::take(&mut self.view.presence);
        for wanted in [true, false] {
            let people: Vec<&UserName> =
                moved.iter().filter(|(_, online)| **online == wanted).map(|(who, _)| who).collect();
            if !people.is_empty() {
                self.terminal.notice(self.screen.presence(&people, wanted));
            }
        }
    }

    // --- lines about the client itself ---

    pub(super) fn say_receipts(&mut self) {
        self.receipts_due = None;
        if self.net.back_due.is_some() {
            // "back online" counts what was sent; the rest is said after it.
            self.receipts_due = self.net.back_due.map(|due| due + RECEIPTS_PAUSE);
            return;
        }
        for line in self.receipts.take(self.screen.theme, &self.screen.names) {
            self.notice(&line);
        }
    }

    pub(super) fn say_offline(&mut self) {
        self.net.due = None;
        let Some(since) = self.net.offline_since else { return };
        self.net.said = true;
        let waiting = self.client.status().map_or(0, |status| status.waiting);
        let waits = match waiting {
            0 => String::new(),
            1 => ", 1 message waits".to_owned(),
            more => format!(", {more} messages wait"),
        };
        self.notice(&format!(
            "offline since {} ({}){waits}; trying again by itself",
            time::clock(since, self.screen.zone()),
            say::offline(&self.net.reason),
        ));
    }
}
