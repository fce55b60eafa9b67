//! The line client: joins a [`Client`] to a [`Terminal`].
//!
//! Decides what is printed when and what a typed line leads to; how lines look is
//! [`screen`](super::screen)'s. It signs nobody in and ends no process: [`run`] says how it ended.
//!
//! Its chapters: `typed` is what a line leads to, `writing` what goes to people, `moving` what goes
//! from chat to chat, `people`, `groups`, `quiet` and `client` the other commands; `events` is
//! what the client tells, `files` what goes as a file, `view` what is on the screen and who looks
//! at it, `drafts` what is not finished.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep_until};

use crate::client::{ChatView, Client, Contact, Event, LocalId, Offline, Refusal, Trust};
use crate::net::Env;
use crate::types::{ChatName, UserName};
use crate::wire::Code;

use super::files::{Every, Steps};
use super::input::{Above, Kind, Terminal, Writer};
use super::names::Names;
use super::notify::{self, Popup};
use super::pictures::Way;
use super::receipts::Receipts;
use super::say;
use super::screen::Screen;
use super::settings::Settings;
use super::theme::Theme;

mod client;
mod drafts;
mod events;
mod files;
mod groups;
mod moving;
mod people;
mod quiet;
mod typed;
mod view;
mod writing;

use drafts::Input;
pub use files::Folders;
use view::View;

/// Changes of marks that come within this time are said together.
const RECEIPTS_PAUSE: Duration = Duration::from_millis(300);
/// A shorter interruption is not worth a line.
const OFFLINE_PATIENCE: Duration = Duration::from_millis(1_500);
/// After a catch-up, what waited here has this long to go out before "back online" is said.
const BACK_PATIENCE: Duration = Duration::from_secs(2);
/// Requests to servers whose answers are awaited at once.
const REQUESTS_MAX: usize = 8;

/// Whose keys are good enough to write to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TrustPolicy {
    /// The first key seen is kept; a change stops until the person decides.
    #[default]
    Tofu,
    /// Only keys whose numbers were compared.
    Verified,
    /// A changed key is accepted without asking.
    Always,
}

/// What the line client is started with.
pub struct Options {
    /// The owner of the profile.
    pub me: UserName,
    /// The chat to begin in.
    pub chat: Option<ChatName>,
    /// How lines look.
    pub theme: Theme,
    /// The zone in which times are shown.
    pub zone: TimeZone,
    /// How long the end of a pipe waits for what is not sent yet.
    pub timeout: Duration,
    /// Whose keys are good enough.
    pub trust: TrustPolicy,
    /// Where typed commands are remembered.
    pub input_history: Option<PathBuf>,
    /// Printed first, above the first prompt.
    pub greeting: String,
    /// What the person chose.
    pub settings: Settings,
    /// Where that is written down; `None`: nowhere.
    pub settings_file: Option<PathBuf>,
    /// The person's editor for long texts.
    pub writer: Option<Writer>,
    /// How the terminal shows notifications.
    pub popup: Popup,
    /// Whether the terminal has a title to set.
    pub title: Title,
    /// How the terminal is given pictures; `None`: not at all.
    pub pictures: Option<Way>,
    /// Where files come from and go to.
    pub folders: Folders,
}

/// Whether the terminal has a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// It counts what is unread.
    Counts,
    /// It is left alone, or there is none.
    Untouched,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// `/quit` or Ctrl-D.
    Left,
    /// Ctrl-C, or a signal.
    Interrupted,
    /// The end of a pipe: what became of its messages.
    Piped(Piped),
    /// This device may not go on; nothing further was tried.
    SignedOut(say::Told),
    /// The local database failed.
    LocalData(say::Told),
    /// Standard output is gone.
    OutputGone,
    /// The client stopped by itself: a bug.
    ClientGone,
}

/// What became of the messages of a pipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piped {
    /// How many were sent.
    pub sent: usize,
    /// Those that are kept and go first at the next contact.
    pub waiting: Vec<LocalId>,
    /// Those that will never be sent.
    pub refused: Vec<(ChatName, Refusal)>,
    /// Lines that were not understood or not taken; each was explained.
    pub mistakes: usize,
}

/// Runs the line client until the person leaves or the pipe ends. The caller stops the client.
///
/// # Errors
/// When the terminal refuses.
pub async fn run(
    env: &Env,
    client: &Client,
    mut events: Receiver<Event>,
    options: Options,
) -> io::Result<Ended> {
    let (terminal, mut keyboard) = Terminal::open(
        options.theme.style,
        options.settings.edit_mode,
        options.input_history.clone(),
    )?;
    let (answers, mut answered) = mpsc::channel(REQUESTS_MAX);
    let mut signals = Signals::listen()?;
    let mut session = Session::new(env, client, terminal, answers, options);
    session.begin();
    let ended = loop {
        if let Some(ended) = session.ended.take() {
            break ended;
        }
        let due = session.next_due();
        tokio::select! {
            biased;
            signal = signals.any() => session.signalled(signal),
            out = printed(&mut session.view.showing) => session.shown(out),
            event = events.recv() => match event {
                Some(event) => session.event(event),
                None => session.client_gone(),
            },
            Some(answer) = answered.recv() => session.answered(answer),
            Some(()) = keyboard.keys.recv() => session.key(),
            Some(input) = keyboard.typed.recv(), if session.takes_input() => session.typed(input),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => session.due(),
        }
    };
    session.end();
    Ok(ended)
}

/// Ctrl-C outside the editor, and the wish of the system that we end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

/// What a signal asks for.
enum Told {
    Interrupt,
    End,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::End,
            _ = self.hang_up.recv() => Told::End,
        }
    }
}

async fn printed(showing: &mut Option<view::Showing>) -> bool {
    match showing {
        Some(showing) => (&mut showing.out).await.is_ok(),
        None => pending().await,
    }
}

/// An own line that waits for its mark.
struct Echo {
    id: LocalId,
    due: Instant,
}

/// An answer of a server to something typed.
struct Answer {
    text: String,
    effect: Effect,
}

/// What an answer changes besides the screen.
enum Effect {
    Nothing,
    /// There is no such person: a chat with them is left again.
    Nobody(UserName),
    /// This safety number is on the screen now.
    Number(UserName, String),
    /// This person's key was compared.
    Verified(UserName),
    /// It is about a group, and the next line waited for it.
    Group(groups::Then),
    /// Files are on this disk and go out; so many others were not taken.
    Files {
        taken: Vec<LocalId>,
        refused: usize,
    },
    /// A file that was awaited is stored, or cannot be had.
    Saved {
        failed: bool,
    },
}

/// Whether there is a connection, and what was said about it.
struct Net {
    offline_since: Option<u64>,
    reason: Offline,
    /// When the offline line is due.
    due: Option<Instant>,
    /// The offline line stands on the screen.
    said: bool,
    /// After an interruption: how many waited when it ended, and what came since.
    back: Option<(usize, usize)>,
    /// When the line about it is due.
    back_due: Option<Instant>,
}

struct Session {
    env: Env,
    client: Client,
    terminal: Terminal,
    answers: mpsc::Sender<Answer>,
    asked: usize,
    /// Files that are awaited, to be stored.
    saving: usize,
    /// What was said of files on their way.
    steps: Steps,
    screen: Screen,
    options: Options,
    chat: Option<ChatName>,
    last_writer: Option<ChatName>,
    receipts: Receipts,
    receipts_due: Option<Instant>,
    view: View,
    input: Input,
    /// What the next line begins with.
    initial: String,
    /// The next line is read when an answer about a group is here.
    held: bool,
    /// A group has changed since Tab was told of the groups.
    groups_changed: bool,
    /// Typed while no chat was open.
    homeless: Option<String>,
    echo: Option<Echo>,
    net: Net,
    /// Why messages to somebody wait: said once.
    waits: BTreeMap<ChatName, Code>,
    /// Safety numbers that were on the screen.
    numbers: BTreeMap<UserName, String>,
    /// Own messages of a pipe that are neither sent nor refused.
    unsent: BTreeSet<LocalId>,
    piped: Piped,
    /// The pipe has ended: wait until this moment at most.
    leaving: Option<Instant>,
    /// Piped: the first line is read once there is news of the network, or at this moment.
    first_line: Option<Instant>,
    interrupted_once: bool,
    /// The client has stopped: the next key leaves.
    over: Option<Ended>,
    ended: Option<Ended>,
}

impl Session {
    fn new(
        env: &Env,
        client: &Client,
        terminal: Terminal,
        answers: mpsc::Sender<Answer>,
        options: Options,
    ) -> Self {
        let mut screen = Screen::new(
            options.theme,
            terminal.columns(),
            options.zone.clone(),
            options.me.clone(),
        )
        .on_day_of(env.unix_ms());
        screen.time = options.settings.time;
        Self {
            env: env.clone(),
            client: client.clone(),
            terminal,
            answers,
            asked: 0,
            saving: 0,
            steps: Steps::new(if screen.theme.rich() { Every::Quarter } else { Every::Tenth }),
            screen,
            chat: options.chat.clone(),
            options,
            last_writer: None,
            receipts: Receipts::default(),
            receipts_due: None,
            view: View::new(),
            input: Input::Commands,
            initial: String::new(),
            held: false,
            groups_changed: false,
            homeless: None,
            echo: None,
            net: Net {
                offline_since: None,
                reason: Offline::Unreachable,
                due: None,
                said: false,
                back: None,
                back_due: None,
            },
            waits: BTreeMap::new(),
            numbers: BTreeMap::new(),
            unsent: BTreeSet::new(),
            piped: Piped::default(),
            leaving: None,
            first_line: None,
            interrupted_once: false,
            over: None,
            ended: None,
        }
    }

    /// Beside an editor, Ctrl-C becomes a signal only in the moment between two lines.
    fn signalled(&mut self, told: Told) {
        match told {
            // It was meant for the program that has the terminal.
            Told::Interrupt if self.input == Input::Elsewhere => {}
            Told::Interrupt if self.give_up_password() || self.give_up_waiting() => {}
            Told::Interrupt if !self.is_piped() && !self.interrupted_once => {
                self.interrupted_once = true;
                if self.terminal.kind() == Kind::Cooked {
                    self.interrupted_while_reading();
                }
            }
            Told::Interrupt | Told::End => self.ended = Some(Ended::Interrupted),
        }
    }

    fn is_piped(&self) -> bool {
        self.terminal.kind() == Kind::Piped
    }

    fn begin(&mut self) {
        self.learn_names();
        self.begin_title();
        if let Some(chat) = self.chat.clone() {
            self.take_draft_of(&chat);
            self.look_up_person(&chat);
        }
        let greeting = std::mem::take(&mut self.options.greeting);
        if self.is_piped() {
            // What is typed may need the network: a pipe cannot look and wait.
            self.first_line = Some(Instant::now() + self.options.timeout);
        } else {
            let greeting = self.screen.wrapped(&greeting, "  ");
            self.reply(Above::Keep, greeting);
        }
        self.show();
    }

    /// The program ends: what is half typed is kept, the terminal is as it was.
    fn end(&mut self) {
        self.keep_draft(&self.terminal.half_typed());
        let last = match self.titled() {
            true => notify::TITLE_BACK,
            false => "",
        };
        self.terminal.give_back(last);
    }

    /// Learns what people are called: for the screen, for Tab, and for what is typed.
    fn learn_names(&mut self) {
        let chats = self.client.chats().unwrap_or_default();
        let contacts = self.client.contacts().unwrap_or_default();
        // Who is no contact may have an alias all the same.
        let alias = |chat: &ChatView| match chat.contact {
            Contact::Request => self.client.chat_settings(&chat.chat).ok()?.alias,
            Contact::Accepted | Contact::Blocked => None,
        };
        let chats =
            chats.iter().filter_map(|chat| Some((chat.chat.person()?.clone(), alias(chat))));
        // A slip of the keyboard must not come before the alias that was meant.
        let contacts = contacts
            .into_iter()
            .filter(|person| person.trust != Trust::Unknown || person.alias.is_some());
        // Contacts come later: they know the alias.
        let people = chats.chain(contacts.map(|person| (person.user, person.alias)));
        self.screen.names = Names::of(people);
        self.learn_groups();
    }

    /// Prints and reads the next line.
    fn reply(&mut self, above: Above, text: String) {
        if self.groups_changed {
            self.learn_groups();
        }
        self.terminal.offer_here(self.here());
        self.screen.width = self.terminal.columns();
        let prompt = match self.input {
            Input::Commands | Input::Elsewhere | Input::Password { .. } => {
                self.screen.prompt(self.chat.as_ref())
            }
            Input::Lines { .. } => "... ".to_owned(),
            Input::Question(_) => "y/n> ".to_owned(),
        };
        self.terminal.ask(above, text, prompt, std::mem::take(&mut self.initial));
    }

    /// A pipe's next line waits for the answer to this one.
    fn takes_input(&self) -> bool {
        self.echo.is_none() && (!self.is_piped() || self.asked + self.saving == 0)
    }

    fn next_due(&self) -> Option<Instant> {
        [
            self.receipts_due,
            self.net.due,
            self.net.back_due,
            self.leaving,
            self.first_line,
            self.view.presence_due,
            self.echo.as_ref().map(|echo| echo.due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn due(&mut self) {
        let now = Instant::now();
        let past = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if past(self.echo.as_ref().map(|echo| echo.due)) {
            self.finish_echo("");
        }
        if past(self.net.back_due) {
            self.say_back();
        }
        if past(self.receipts_due) {
            self.say_receipts();
        }
        if past(self.view.presence_due) {
            self.say_presence();
        }
        if past(self.net.due) {
            self.say_offline();
        }
        if past(self.first_line) {
            self.news_of_the_network();
        }
        if past(self.leaving) {
            self.end_of_pipe();
        }
    }

    fn notice(&self, text: &str) {
        self.terminal.notice(self.screen.notice(text));
    }

    fn complain(&self, told: &say::Told) {
        self.terminal.notice(self.screen.told(told));
    }
}
