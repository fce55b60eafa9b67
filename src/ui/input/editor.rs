//! The line editor: its keys, its memory, completion, and the thread that runs it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Event, EventContext,
    EventHandler, ExternalPrinter, Helper, KeyEvent, RepeatCount,
};
use tokio::sync::mpsc as queue;

use crate::ui::input_history::{self, InputHistory};
use crate::ui::settings::EditMode;
use crate::ui::text::columns;
use crate::ui::{commands, files, settings};

use super::{Above, Ask, Shared, Typed, locked, print_now, secret, take_screen};

type LineEditor = rustyline::Editor<Completion, DefaultHistory>;

/// What the editor's thread owns.
pub(super) struct Editor {
    editor: LineEditor,
    history: InputHistory,
    shared: Arc<Shared>,
    /// The key for the next chat was pressed.
    jump: Arc<AtomicBool>,
    /// The last line with its prompt, as it stands on the screen.
    last: String,
    prints: (usize, usize),
}

impl Editor {
    /// The editor, and what prints above its line.
    pub(super) fn open(
        mode: EditMode,
        history: Option<PathBuf>,
        shared: &Arc<Shared>,
        key: queue::Sender<()>,
    ) -> io::Result<(Self, impl ExternalPrinter + Send + 'static)> {
        Self::made(mode, history, shared, key).map_err(io::Error::other)
    }

    fn made(
        mode: EditMode,
        history: Option<PathBuf>,
        shared: &Arc<Shared>,
        key: queue::Sender<()>,
    ) -> rustyline::Result<(Self, impl ExternalPrinter + Send + 'static)> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(input_history::LINES_MAX)?
            .history_ignore_dups(true)?
            .edit_mode(match mode {
                EditMode::Emacs => rustyline::EditMode::Emacs,
                EditMode::Vi => rustyline::EditMode::Vi,
            })
            .build();
        let mut editor = LineEditor::with_config(config)?;
        editor.set_helper(Some(Completion { shared: Arc::clone(shared), key }));
        let jump = Arc::new(AtomicBool::new(false));
        // In vi's mode, Alt with a letter is Escape and a command.
        if mode == EditMode::Emacs {
            for letter in ['a', 'A'] {
                let handler = EventHandler::Conditional(Box::new(Jump(Arc::clone(&jump))));
                editor.bind_sequence(KeyEvent::alt(letter), handler);
            }
        }
        let printer = editor.create_external_printer()?;
        let history = InputHistory::open(history, &mut editor);
        let shared = Arc::clone(shared);
        let mut made = Self { editor, history, shared, jump, last: String::new(), prints: (0, 0) };
        made.measure();
        Ok((made, printer))
    }

    fn measure(&mut self) {
        let columns = self.editor.dimensions().map_or(0, |(columns, _)| usize::from(columns));
        self.shared.columns.store(columns, Ordering::Relaxed);
    }

    /// The editor's thread.
    pub(super) fn run(mut self, asked: &mpsc::Receiver<Ask>, typed: &queue::Sender<Typed>) {
        while let Ok(ask) = asked.recv() {
            let event = match ask {
                Ask::Line { above, text, prompt, initial } => {
                    if !self.print(above, &text) {
                        break;
                    }
                    self.read(&prompt, &initial)
                }
                Ask::Write { writer, text } => {
                    self.last.clear();
                    let _screen = take_screen(&self.shared);
                    Typed::Written(writer.write(&text))
                }
                Ask::Secret { text, question, times } => {
                    self.last.clear();
                    let _screen = take_screen(&self.shared);
                    print_now(&text);
                    Typed::Secret(secret::ask(&question, times))
                }
            };
            let over = event == Typed::End;
            if typed.blocking_send(event).is_err() || over {
                break;
            }
        }
    }

    fn print(&mut self, above: Above, text: &str) -> bool {
        self.measure();
        // Rows are only taken back when nothing was printed below them meanwhile.
        let prints = self.prints;
        let undisturbed = prints.0 == prints.1 && self.shared.prints() == prints;
        let mut out = String::new();
        if above == Above::Replace && undisturbed {
            out = take_back(&self.last, self.shared.columns.load(Ordering::Relaxed));
        }
        out.push_str(text);
        print_now(&out)
    }

    fn read(&mut self, prompt: &str, initial: &str) -> Typed {
        initial.clone_into(&mut locked(&self.shared.line));
        self.jump.store(false, Ordering::Relaxed);
        self.shared.reading.store(true, Ordering::Relaxed);
        let read = self.editor.readline_with_initial(prompt, (initial, ""));
        self.shared.reading.store(false, Ordering::Relaxed);
        self.prints = self.shared.prints();
        let half = match &read {
            // The end of the terminal: what stood on the line is a draft.
            Err(_) => locked(&self.shared.line).clone(),
            Ok(_) => std::mem::take(&mut *locked(&self.shared.line)),
        };
        match read {
            Ok(line) => {
                self.last = format!("{prompt}{line}");
                if self.jump.load(Ordering::Relaxed) {
                    return Typed::Jump(line);
                }
                self.history.add(&line, &mut self.editor);
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => {
                self.last.clear();
                locked(&self.shared.line).clear();
                if half.is_empty() { Typed::Interrupted } else { Typed::Cleared }
            }
            Err(_) => Typed::End,
        }
    }
}

/// Moves up over the rows of a typed line and clears them; nothing for a line that took several.
fn take_back(typed: &str, width: usize) -> String {
    if typed.is_empty() || typed.contains('\n') || width == 0 {
        return String::new();
    }
    format!("\x1b[{}A\r\x1b[J", columns(typed) / width + 1)
}

/// The key that ends the line and goes to the next chat.
struct Jump(Arc<AtomicBool>);

impl ConditionalEventHandler for Jump {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(true, Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// Completion of commands and names; also watches what stands on the line.
struct Completion {
    shared: Arc<Shared>,
    key: queue::Sender<()>,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}

impl Hinter for Completion {
    type Hint = String;

    /// Called at every edit and every print; there are no hints.
    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        let mut known = locked(&self.shared.line);
        if *known != line {
            line.clone_into(&mut known);
            // Full: the last key was not looked at yet, and this one says the same.
            let _ = self.key.try_send(());
        }
        None
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _ctx: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = line.get(..pos).unwrap_or(line);
        if commands::wants_file(line) {
            let (start, found) = files::offers(line);
            let pair = |(display, replacement)| Pair { display, replacement };
            return Ok((start, found.into_iter().map(pair).collect()));
        }
        let known = locked(&self.shared.known);
        let keys: Vec<&str> = settings::keys().map(|help| help.key).collect();
        let (start, offers) = commands::complete(line, &known, &keys);
        let pairs = offers
            .into_iter()
            .map(|offer| Pair { display: offer.trim_end().to_owned(), replacement: offer })
            .collect();
        Ok((start, pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_taken_back_as_the_line_took() {
        assert_eq!(take_back("bob> hi", 80), "\x1b[1A\r\x1b[J");
        assert_eq!(take_back(&format!("bob> {}", "x".repeat(80)), 80), "\x1b[2A\r\x1b[J");
        // A full row: the editor has moved to the next one.
        assert_eq!(take_back(&"x".repeat(80), 80), "\x1b[2A\r\x1b[J");
        assert_eq!(take_back("你好", 3), "\x1b[2A\r\x1b[J");
        assert_eq!(take_back("a\nb", 80), "");
        assert_eq!(take_back("", 80), "");
    }
}
