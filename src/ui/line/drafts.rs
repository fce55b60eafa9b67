//! What is not finished yet: half a line, a text of several lines, a text that waits for a yes.

use crate::client::ChatChange;
use crate::limits::TEXT_BYTES_MAX;
use crate::types::{ChatName, GroupName};
use crate::ui::commands::{self, Command};
use crate::ui::input::{Above, Kind};

use super::Session;
use super::groups::Purpose;

/// What the next line is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A text to send, or a command.
    Commands,
    /// One more line of a text.
    Lines { text: String, then: Then },
    /// Yes or no.
    Question(Asked),
    /// A password is being typed, for this; `given_up`: whatever it is.
    Password { purpose: Purpose, given_up: bool },
    /// Another program has the terminal.
    Elsewhere,
}

/// What a yes leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This line is obeyed.
    Line(String),
    /// A group is closed for everybody.
    Close(GroupName),
}

/// What becomes of a text of several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is sent.
    Send,
    /// It is sent after a yes.
    Ask,
    /// Nothing: it was too long, and is read to its end, for its other lines are none for people.
    Drop,
}

impl Session {
    /// A line was typed, or several were pasted together.
    pub(super) fn line(&mut self, line: String) {
        match std::mem::replace(&mut self.input, Input::Commands) {
            Input::Commands | Input::Elsewhere if self.asks_first(&line) => self.ask_for(line),
            Input::Commands | Input::Elsewhere => self.command(&line),
            Input::Lines { text, then } => self.one_more(text, then, &line),
            // Nothing is typed into a line while a password is asked for.
            Input::Password { .. } => self.reply(Above::Keep, String::new()),
            Input::Question(asked) => match (line.trim().to_lowercase().as_str(), asked) {
                ("y" | "yes", Asked::Line(line)) => self.command(&line),
                ("y" | "yes", Asked::Close(group)) => self.close_group(group),
                (_, asked) => {
                    let note = self.screen.notice(match asked {
                        Asked::Line(_) => "not sent; it can be called back with arrow up",
                        Asked::Close(_) => "nothing was closed",
                    });
                    self.reply(Above::Keep, note);
                }
            },
        }
    }

    /// Several pasted lines that would go to somebody.
    fn asks_first(&self, line: &str) -> bool {
        let several = line.trim_end().contains('\n') && !self.is_piped();
        several
            && match commands::row_of(line) {
                None => matches!(commands::parse(line, &self.screen.names), Ok(Command::Say(_))),
                Some((row, _)) => row.holds == commands::Holds::Texts,
            }
    }

    fn ask_for(&mut self, line: String) {
        let count = line.trim_end().lines().count();
        let to = match (commands::row_of(&line), &self.chat) {
            (None, Some(chat)) => format!(" to {}", self.screen.names.chat(chat)),
            (None, None) | (Some(_), _) => String::new(),
        };
        let question = question(count, &to);
        self.input = Input::Question(Asked::Line(line));
        self.reply(Above::Keep, question);
    }

    /// `/multi`, `/paste`.
    pub(super) fn begin_lines(&mut self, then: Then) {
        if self.chat.is_none() {
            return self.mistake("Choose a chat first: /to WHO");
        }
        let hint = match self.terminal.kind() {
            Kind::Editor => "all lines up to one with only . are one message; Ctrl-C drops it",
            Kind::Cooked => "all lines up to one with only . are one message",
            Kind::Piped => "",
        };
        self.input = Input::Lines { text: String::new(), then };
        let hint = if hint.is_empty() { String::new() } else { self.screen.notice(hint) };
        self.reply(Above::Keep, hint);
    }

    fn one_more(&mut self, mut text: String, then: Then, line: &str) {
        // A pasted text may hold the end with it.
        let (more, over) =
            match line.strip_suffix("\n.").or(line.strip_prefix('.').filter(|r| r.is_empty())) {
                Some(rest) => (rest, true),
                None => (line, false),
            };
        if !(over && more.is_empty()) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(more);
        }
        if text.len() > TEXT_BYTES_MAX && then != Then::Drop {
            if !over {
                self.input = Input::Lines { text: String::new(), then: Then::Drop };
            }
            let why = format!(
                "That is longer than a message may be ({TEXT_BYTES_MAX} bytes); nothing of it is sent."
            );
            return self.mistake(&why);
        }
        match (over, then) {
            (false, Then::Drop) => {
                self.input = Input::Lines { text: String::new(), then };
                self.reply(Above::Keep, String::new());
            }
            (true, Then::Drop) => self.reply(Above::Keep, String::new()),
            (false, _) => {
                self.input = Input::Lines { text, then };
                self.reply(Above::Keep, String::new());
            }
            (true, _) if text.trim().is_empty() => {
                let note = self.screen.notice("nothing was written, nothing is sent");
                self.reply(Above::Keep, note);
            }
            (true, Then::Send) => self.say(&text),
            (true, Then::Ask) if self.is_piped() => self.say(&text),
            (true, Then::Ask) => self.ask_for(literally(&text)),
        }
    }

    /// Ctrl-C on an empty line drops what was begun. Says whether there was anything.
    pub(super) fn drop_begun(&mut self) -> bool {
        match std::mem::replace(&mut self.input, Input::Commands) {
            Input::Commands | Input::Elsewhere => false,
            Input::Lines { .. } | Input::Question(_) | Input::Password { .. } => {
                let note = self.screen.notice("dropped; nothing was sent");
                self.reply(Above::Keep, note);
                true
            }
        }
    }

    /// The pipe ended in the middle of a text: it is not whole, so it is not sent.
    pub(super) fn give_up_lines(&mut self) {
        if let Input::Lines { .. } = std::mem::replace(&mut self.input, Input::Commands) {
            self.piped.mistakes += 1;
            let why = "The text did not end with a line that is only a dot; it was not sent.";
            self.terminal.notice(self.screen.warning(why));
        }
    }

    /// Ctrl-C without an editor: the terminal has cleared the line, a text begun before is dropped.
    pub(super) fn interrupted_while_reading(&mut self) {
        let note = match std::mem::replace(&mut self.input, Input::Commands) {
            Input::Commands | Input::Elsewhere => "Ctrl-C once more leaves, as /quit does.",
            Input::Lines { .. } | Input::Question(_) | Input::Password { .. } => {
                "dropped; nothing was sent"
            }
        };
        self.notice(note);
    }

    // --- the person's own editor ---

    pub(super) fn begin_writing(&mut self, text: String) {
        match (&self.chat, self.is_piped(), self.options.writer.clone()) {
            (None, ..) => self.mistake("Choose a chat first: /to WHO"),
            (Some(_), true, _) => self.mistake("An editor needs a terminal."),
            (Some(_), false, None) => {
                self.mistake("There is no private folder for what you write. Use /multi instead.");
            }
            (Some(_), false, Some(writer)) => {
                self.input = Input::Elsewhere;
                self.terminal.write(writer, text);
            }
        }
    }

    pub(super) fn written(&mut self, text: Result<String, String>) {
        self.input = Input::Commands;
        match text {
            Ok(text) if text.trim().is_empty() => {
                let note = self.screen.notice("nothing was written, nothing is sent");
                self.reply(Above::Keep, note);
            }
            Ok(text) => self.say(&text),
            Err(why) => self.mistake(&why),
        }
    }

    // --- half lines ---

    /// Keeps half a line for the current chat.
    pub(super) fn keep_draft(&mut self, half: &str) {
        let unfinished = match &self.input {
            Input::Commands => half.to_owned(),
            Input::Lines { text, .. } => format!("{text}\n{half}"),
            Input::Question(_) | Input::Password { .. } | Input::Elsewhere => String::new(),
        };
        let is_text =
            matches!(commands::parse(&unfinished, &self.screen.names), Ok(Command::Say(_)));
        if is_text && let Some(chat) = &self.chat {
            self.change_draft(chat, Some(unfinished.trim_end().to_owned()));
        }
    }

    /// The line of the current chat was sent or cleared: there is no half of it any more.
    pub(super) fn forget_draft(&mut self) {
        if let Some(chat) = &self.chat
            && self.client.chat_settings(chat).is_ok_and(|settings| settings.draft.is_some())
        {
            self.change_draft(chat, None);
        }
    }

    /// The next line begins with what was left in this chat.
    pub(super) fn take_draft_of(&mut self, chat: &ChatName) {
        let kept = self.client.chat_settings(chat).ok().and_then(|settings| settings.draft);
        if let Some(text) = kept.or_else(|| self.homeless.take()) {
            self.initial = text;
        }
    }

    fn change_draft(&self, chat: &ChatName, draft: Option<String>) {
        // A draft that cannot be kept is no reason to disturb anybody.
        let _ = self.env.in_place(|| self.client.change_chat(chat, &ChatChange::Draft(draft)));
    }
}

/// Asks whether so many lines may go.
fn question(count: usize, to: &str) -> String {
    match count {
        1 => format!("Send this line{to}? (y or n)"),
        more => format!("Send these {more} lines{to} as one message? (y or n)"),
    }
}

/// The line that says exactly this, whatever it begins with.
fn literally(text: &str) -> String {
    match text.chars().next() {
        Some('/' | '\\') => {
            let first = text.get(..1).unwrap_or_default();
            format!("{first}{text}")
        }
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::names::Names;

    #[test]
    fn one_pasted_line_is_called_a_line() {
        assert_eq!(question(1, " to bob"), "Send this line to bob? (y or n)");
        assert!(question(2, "").starts_with("Send these 2 lines as one message?"));
    }

    #[test]
    fn a_pasted_text_is_said_as_it_is() {
        for text in ["/quit\nnow", "\\quit\nnow", "//x\ny", "hi\n/quit", "\\o/\nx"] {
            let said = commands::parse(&literally(text), &Names::default());
            assert_eq!(said, Ok(Command::Say(text.to_owned())));
        }
    }
}
