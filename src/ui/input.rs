//! The terminal or pipe: one thread that reads lines, one that prints above the line being typed.
//!
//! Knows nothing of chats. The reading thread starts the next line only when asked, after what the
//! last one led to was printed; the printing thread may wait for the editor (a listing of
//! completions, Ctrl-S), so nobody waits for it without going on reading what was typed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};
use tokio::sync::{mpsc as queue, oneshot};

use super::commands;
use super::input_history::InputHistory;
use super::text::columns;
use super::theme::Style;

/// Prints that may wait for the terminal; further notices are dropped.
const PRINTS_MAX: usize = 256;
/// Prints nothing and ends where it began; see [`print_surely`].
const BARRIER: &str = "\x1b[A\n";

/// What came from the keyboard or pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C while something stood on the line; it is gone now.
    Cleared,
    /// Ctrl-C on an empty line.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// Whether the typed line is replaced by what it led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// It stays.
    Keep,
    /// It goes away: the reply shows it in its final form.
    Replace,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line editor on a terminal.
    Editor,
    /// A terminal without editing: plain style.
    Cooked,
    /// A pipe or file.
    Piped,
}

struct Ask {
    above: Above,
    text: String,
    prompt: String,
}

struct Print {
    text: String,
    done: Option<oneshot::Sender<()>>,
}

/// Shared by the threads.
struct Shared {
    columns: AtomicUsize,
    reading: AtomicBool,
    names: Mutex<Vec<String>>,
    prints_waiting: AtomicUsize,
    prints_begun: AtomicUsize,
    prints_done: AtomicUsize,
}

/// The writing half, and what the reading half is asked for. Cheap calls; nothing here blocks.
pub struct Terminal {
    kind: Kind,
    asks: mpsc::Sender<Ask>,
    prints: mpsc::SyncSender<Print>,
    shared: Arc<Shared>,
}

impl Terminal {
    /// Takes standard input and output. `history` is where typed commands are remembered.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn open(
        style: Style,
        history: Option<PathBuf>,
    ) -> io::Result<(Self, queue::Receiver<Typed>)> {
        let shared = Arc::new(Shared {
            columns: AtomicUsize::new(0),
            reading: AtomicBool::new(false),
            names: Mutex::new(Vec::new()),
            prints_waiting: AtomicUsize::new(0),
            prints_begun: AtomicUsize::new(0),
            prints_done: AtomicUsize::new(0),
        });
        let kind = match (style, io::stdin().is_terminal(), io::stdout().is_terminal()) {
            (Style::Rich, true, true) => Kind::Editor,
            (Style::Plain, true, _) | (Style::Rich, true, false) => Kind::Cooked,
            (_, false, _) => Kind::Piped,
        };
        let (asks, asked) = mpsc::channel();
        let (prints, printed) = mpsc::sync_channel(PRINTS_MAX);
        let (typed, lines) = queue::channel(1);
        if kind == Kind::Editor {
            let mut editor = editor(&shared).map_err(io::Error::other)?;
            let printer = editor.create_external_printer().map_err(io::Error::other)?;
            let history = InputHistory::open(history, &mut editor);
            shared.measure(&mut editor);
            let for_printing = Arc::clone(&shared);
            spawn("screen", move || print_above(&printed, printer, &for_printing))?;
            let shared = Arc::clone(&shared);
            spawn("editor", move || edit(editor, history, &asked, &typed, &shared))?;
        } else {
            let shared = Arc::clone(&shared);
            spawn("screen", move || print_plainly(&printed, &shared))?;
            spawn("lines", move || read_lines(&asked, &typed))?;
        }
        Ok((Self { kind, asks, prints, shared }, lines))
    }

    /// Who is at the other end.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Columns of the screen; `None` when there is no screen, or its lines are not broken.
    pub fn columns(&self) -> Option<usize> {
        let columns = self.shared.columns.load(Ordering::Relaxed);
        (columns > 0).then_some(columns)
    }

    /// Names that Tab offers.
    pub fn offer(&self, names: Vec<String>) {
        *self.shared.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Prints `text` (may be empty) in place of or below the typed line, then reads the next one.
    pub fn ask(&self, above: Above, text: String, prompt: String) {
        // A reading thread that is gone has said `End` before.
        let _ = self.asks.send(Ask { above, text, prompt });
    }

    /// Prints lines above what is being typed; lost when the screen does not take any.
    pub fn notice(&self, text: String) {
        // The last places are for lines that must not be lost.
        let waiting = self.shared.prints_waiting.load(Ordering::SeqCst);
        if !text.is_empty() && waiting < PRINTS_MAX - 2 {
            self.queue(Print { text, done: None });
        }
    }

    /// Prints lines that must not be lost, one call at a time: the receiver learns when they are
    /// out, or fails when the output is gone.
    pub fn print(&self, text: String) -> oneshot::Receiver<()> {
        let (done, out) = oneshot::channel();
        self.queue(Print { text, done: Some(done) });
        out
    }

    fn queue(&self, print: Print) {
        self.shared.prints_waiting.fetch_add(1, Ordering::SeqCst);
        // Full or gone: the receiver of `print` fails.
        let _ = self.prints.try_send(print);
    }

    /// Gives the terminal back when the program ends while a line is being typed.
    pub fn give_back(&self) {
        if self.kind == Kind::Editor && self.shared.reading.load(Ordering::Relaxed) {
            // The editor's thread cannot be called back from its read; `stty` does what it would.
            let _ = std::process::Command::new("stty").arg("sane").status();
            let _ = writeln!(io::stdout());
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

type LineEditor = Editor<Completion, DefaultHistory>;

fn editor(shared: &Arc<Shared>) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(super::input_history::LINES_MAX)?
        .history_ignore_dups(true)?
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completion {
        shared: Arc::clone(shared),
        empty: Arc::new(AtomicBool::new(true)),
    }));
    Ok(editor)
}

impl Shared {
    fn measure(&self, editor: &mut LineEditor) {
        let columns = editor.dimensions().map_or(0, |(columns, _)| usize::from(columns));
        self.columns.store(columns, Ordering::Relaxed);
    }

    fn prints(&self) -> (usize, usize) {
        (self.prints_begun.load(Ordering::SeqCst), self.prints_done.load(Ordering::SeqCst))
    }
}

/// The editor's thread.
fn edit(
    mut editor: LineEditor,
    mut history: InputHistory,
    asked: &mpsc::Receiver<Ask>,
    typed: &queue::Sender<Typed>,
    shared: &Shared,
) {
    let mut last = String::new();
    let mut prints = (0, 0);
    while let Ok(ask) = asked.recv() {
        shared.measure(&mut editor);
        // Rows are only taken back when nothing was printed below them meanwhile.
        let undisturbed = prints.0 == prints.1 && shared.prints() == prints;
        let mut text = String::new();
        if ask.above == Above::Replace && undisturbed {
            text = take_back(&last, shared.columns.load(Ordering::Relaxed));
        }
        text.push_str(&ask.text);
        if !print_now(&text) {
            break;
        }
        let empty = editor.helper().map(|helper| Arc::clone(&helper.empty));
        if let Some(empty) = &empty {
            empty.store(true, Ordering::Relaxed);
        }
        shared.reading.store(true, Ordering::Relaxed);
        let read = editor.readline(&ask.prompt);
        shared.reading.store(false, Ordering::Relaxed);
        prints = shared.prints();
        let event = match read {
            Ok(line) => {
                last = format!("{}{line}", ask.prompt);
                history.add(&line, &mut editor);
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => {
                last.clear();
                if empty.is_some_and(|empty| empty.load(Ordering::Relaxed)) {
                    Typed::Interrupted
                } else {
                    Typed::Cleared
                }
            }
            Err(_) => Typed::End,
        };
        let over = event == Typed::End;
        if typed.blocking_send(event).is_err() || over {
            break;
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

fn print_now(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let newline = if text.ends_with('J') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    write!(out, "{text}{newline}").and_then(|()| out.flush()).is_ok()
}

/// The printing thread beside an editor.
fn print_above(prints: &mpsc::Receiver<Print>, mut printer: impl ExternalPrinter, shared: &Shared) {
    while let Ok(print) = prints.recv() {
        shared.prints_waiting.fetch_sub(1, Ordering::SeqCst);
        shared.prints_begun.fetch_add(1, Ordering::SeqCst);
        let text = print.text + "\n";
        let out = match &print.done {
            Some(_) => print_surely(&mut printer, text),
            None => printer.print(text),
        };
        shared.prints_done.fetch_add(1, Ordering::SeqCst);
        match (out, print.done) {
            (Ok(()), Some(done)) => {
                let _ = done.send(());
            }
            (Ok(()), None) => {}
            (Err(_), _) => return,
        }
    }
}

/// Prints, and returns when the lines are out.
///
/// The editor takes one print at a time from a place that holds one: when the second barrier was
/// put there, the first was taken, and so the text before it had been written. The barrier goes up
/// into the text just printed and down again, so nothing is seen of it.
fn print_surely(printer: &mut impl ExternalPrinter, text: String) -> rustyline::Result<()> {
    printer.print(text)?;
    printer.print(BARRIER.to_owned())?;
    printer.print(BARRIER.to_owned())
}

/// The printing thread without an editor.
fn print_plainly(prints: &mpsc::Receiver<Print>, shared: &Shared) {
    while let Ok(print) = prints.recv() {
        shared.prints_waiting.fetch_sub(1, Ordering::SeqCst);
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", print.text).and_then(|()| out.flush()).is_err() {
            return;
        }
        if let Some(done) = print.done {
            let _ = done.send(());
        }
    }
}

/// The reading thread without an editor: no prompt, a line at a time.
fn read_lines(asked: &mpsc::Receiver<Ask>, typed: &queue::Sender<Typed>) {
    let mut input = io::stdin().lock();
    while let Ok(ask) = asked.recv() {
        let mut line = Vec::new();
        let out = print_now(&ask.text);
        let event = match input.read_until(b'\n', &mut line) {
            Ok(read) if read > 0 && out => {
                let text = String::from_utf8_lossy(&line);
                Typed::Line(text.trim_end_matches(['\n', '\r']).to_owned())
            }
            Ok(_) | Err(_) => Typed::End,
        };
        let over = event == Typed::End;
        if typed.blocking_send(event).is_err() || over {
            break;
        }
    }
}

/// Completion of commands and names; also watches whether anything stands on the line.
struct Completion {
    shared: Arc<Shared>,
    empty: Arc<AtomicBool>,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}

impl Hinter for Completion {
    type Hint = String;

    /// Called at every edit; there are no hints.
    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        self.empty.store(line.is_empty(), Ordering::Relaxed);
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
        let names = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, offers) = commands::complete(line.get(..pos).unwrap_or(line), &names);
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
