//! The terminal or pipe: one thread that reads lines, one that prints above the line being typed.
//!
//! Knows nothing of chats. The reading thread starts the next line only when asked, after what the
//! last one led to was printed; the printing thread may wait for the editor (a listing of
//! completions, Ctrl-S), so nobody waits for it without going on reading what was typed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;
use tokio::sync::{mpsc as queue, oneshot};

use super::commands::Known;
use super::hidden;
use super::settings::EditMode;
use super::theme::Style;

mod editor;
mod external;
mod secret;

pub use external::Writer;
pub use secret::{Secret, Times};

/// Prints that may wait for the terminal; further notices are dropped.
const PRINTS_MAX: usize = 256;
/// Longer than any print takes that does not wait for the editor.
const SCREEN_PATIENCE: Duration = Duration::from_millis(300);
/// Between two looks whether the screen is free.
const SCREEN_LOOK: Duration = Duration::from_millis(1);
/// Prints nothing and ends where it began; see [`print_surely`].
const BARRIER: &str = "\x1b[A\n";

/// What came from the keyboard or pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line; several when they were pasted together.
    Line(String),
    /// The key for the next unread chat; what stood on the line.
    Jump(String),
    /// What was written in an editor of the person's choice, or why there is nothing.
    Written(Result<String, String>),
    /// A password that was asked for.
    Secret(Secret),
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

/// What the reading thread is asked for.
enum Ask {
    /// Print and read a line.
    Line { above: Above, text: String, prompt: String, initial: String },
    /// Let the person write in a program of their choice.
    Write { writer: Writer, text: String },
    /// Ask for a password, without echo.
    Secret { text: String, question: String, times: Times },
}

/// How something is printed.
enum How {
    /// As lines.
    Notice,
    /// As lines, and the sender learns when they are out.
    Surely(oneshot::Sender<()>),
    /// As it is, beside the lines: nothing of it is seen.
    Unseen,
}

struct Print {
    text: String,
    how: How,
}

/// Shared by the threads.
#[derive(Default)]
struct Shared {
    columns: AtomicUsize,
    reading: AtomicBool,
    known: Mutex<Known>,
    /// What stands on the line being typed.
    line: Mutex<String>,
    /// Held while another program has the screen.
    screen: Mutex<()>,
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

/// What is read: lines, and that a key was pressed in the middle of a text.
pub struct Keyboard {
    /// Lines.
    pub typed: queue::Receiver<Typed>,
    /// The text on the line has changed; several changes may be one word of this.
    pub keys: queue::Receiver<()>,
}

impl Terminal {
    /// Takes standard input and output. `history` is where typed commands are remembered.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn open(
        style: Style,
        mode: EditMode,
        history: Option<PathBuf>,
    ) -> io::Result<(Self, Keyboard)> {
        let shared = Arc::new(Shared {
            columns: AtomicUsize::new(0),
            reading: AtomicBool::new(false),
            known: Mutex::new(Known::default()),
            line: Mutex::new(String::new()),
            screen: Mutex::new(()),
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
        let (key, keys) = queue::channel(1);
        if kind == Kind::Editor {
            let (editor, printer) = editor::Editor::open(mode, history, &shared, key)?;
            let for_printing = Arc::clone(&shared);
            spawn("screen", move || print_above(&printed, printer, &for_printing))?;
            spawn("editor", move || editor.run(&asked, &typed))?;
        } else {
            let for_printing = Arc::clone(&shared);
            spawn("screen", move || print_plainly(&printed, &for_printing))?;
            let shared = Arc::clone(&shared);
            spawn("lines", move || read_lines(&asked, &typed, &shared))?;
        }
        let keyboard = Keyboard { typed: lines, keys };
        Ok((Self { kind, asks, prints, shared }, keyboard))
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

    /// What Tab offers.
    pub fn offer(&self, known: Known) {
        *locked(&self.shared.known) = known;
    }

    /// The group that is the current chat, with its `#`: Tab offers its people.
    pub fn offer_here(&self, here: Option<String>) {
        locked(&self.shared.known).here = here;
    }

    /// What stands on the line being typed.
    pub fn half_typed(&self) -> String {
        locked(&self.shared.line).clone()
    }

    /// Prints `text` (may be empty) in place of or below the typed line, then reads the next one,
    /// which begins as `initial`.
    pub fn ask(&self, above: Above, text: String, prompt: String, initial: String) {
        // A reading thread that is gone has said `End` before.
        let _ = self.asks.send(Ask::Line { above, text, prompt, initial });
    }

    /// Lets the person write in another program, beginning with `text`; nothing is printed
    /// meanwhile. The answer is [`Typed::Written`].
    pub fn write(&self, writer: Writer, text: String) {
        let _ = self.asks.send(Ask::Write { writer, text });
    }

    /// Prints `text`, then asks for a password without echo; nothing else is printed meanwhile. The
    /// answer is [`Typed::Secret`]. A pipe has nobody to ask.
    pub fn secret(&self, text: String, question: String, times: Times) {
        let _ = self.asks.send(Ask::Secret { text, question, times });
    }

    /// Prints lines above what is being typed; lost when the screen does not take any.
    pub fn notice(&self, text: String) {
        // The last places are for lines that must not be lost.
        let waiting = self.shared.prints_waiting.load(Ordering::SeqCst);
        if !text.is_empty() && waiting < PRINTS_MAX - 2 {
            self.queue(Print { text, how: How::Notice });
        }
    }

    /// Prints lines that must not be lost, one call at a time: the receiver learns when they are
    /// out, or fails when the output is gone.
    pub fn print(&self, text: String) -> oneshot::Receiver<()> {
        let (done, out) = oneshot::channel();
        self.queue(Print { text, how: How::Surely(done) });
        out
    }

    /// Sends the terminal bytes that take no room on the screen: the bell, a title. Nothing when
    /// there is none.
    pub fn signal(&self, bytes: String) {
        let waiting = self.shared.prints_waiting.load(Ordering::SeqCst);
        let somebody = self.kind == Kind::Editor || io::stdout().is_terminal();
        if somebody && !bytes.is_empty() && waiting < PRINTS_MAX - 2 {
            self.queue(Print { text: bytes, how: How::Unseen });
        }
    }

    fn queue(&self, print: Print) {
        self.shared.prints_waiting.fetch_add(1, Ordering::SeqCst);
        // Full or gone: the receiver of `print` fails.
        let _ = self.prints.try_send(print);
    }

    /// Gives the terminal back when the program ends while a line is being typed; `last` goes out
    /// after everything else.
    pub fn give_back(&self, last: &str) {
        let in_a_question = hidden::show_again();
        if self.kind != Kind::Editor {
            return;
        }
        let mut out = io::stdout().lock();
        let _ = write!(out, "{last}").and_then(|()| out.flush());
        if self.shared.reading.load(Ordering::Relaxed) {
            // The editor's thread cannot be called back from its read; `stty` does what it would.
            let _ = std::process::Command::new("stty").arg("sane").status();
            let _ = writeln!(out);
        } else if in_a_question {
            let _ = writeln!(out);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn prints(&self) -> (usize, usize) {
        (self.prints_begun.load(Ordering::SeqCst), self.prints_done.load(Ordering::SeqCst))
    }
}

fn print_now(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let newline = if text.ends_with('J') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    write!(out, "{text}{newline}").and_then(|()| out.flush()).is_ok()
}

fn print_unseen(bytes: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_bytes()).and_then(|()| out.flush())
}

/// The screen, for something else than lines. The printing thread may hold it while it waits for an
/// editor that takes its print with the next line at the earliest; nothing is printed until then
/// either, so whoever needs the screen before that goes on without having it.
fn take_screen(shared: &Shared) -> Option<MutexGuard<'_, ()>> {
    let until = Instant::now() + SCREEN_PATIENCE;
    loop {
        match shared.screen.try_lock() {
            Ok(screen) => return Some(screen),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(SCREEN_LOOK);
            }
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// The printing thread beside an editor.
fn print_above(prints: &mpsc::Receiver<Print>, mut printer: impl ExternalPrinter, shared: &Shared) {
    while let Ok(print) = prints.recv() {
        let screen = locked(&shared.screen);
        shared.prints_waiting.fetch_sub(1, Ordering::SeqCst);
        if let How::Unseen = print.how {
            if print_unseen(&print.text).is_err() {
                return;
            }
            continue;
        }
        shared.prints_begun.fetch_add(1, Ordering::SeqCst);
        let text = print.text + "\n";
        let out = match &print.how {
            How::Surely(_) => print_surely(&mut printer, text),
            How::Notice | How::Unseen => printer.print(text),
        };
        shared.prints_done.fetch_add(1, Ordering::SeqCst);
        drop(screen);
        match (out, print.how) {
            (Ok(()), How::Surely(done)) => {
                let _ = done.send(());
            }
            (Ok(()), How::Notice | How::Unseen) => {}
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
        let screen = locked(&shared.screen);
        shared.prints_waiting.fetch_sub(1, Ordering::SeqCst);
        let out = match &print.how {
            How::Unseen => print_unseen(&print.text),
            How::Notice | How::Surely(_) => print_unseen(&(print.text + "\n")),
        };
        drop(screen);
        if out.is_err() {
            return;
        }
        if let How::Surely(done) = print.how {
            let _ = done.send(());
        }
    }
}

/// The reading thread without an editor: no prompt, a line at a time.
fn read_lines(asked: &mpsc::Receiver<Ask>, typed: &queue::Sender<Typed>, shared: &Shared) {
    let mut input = io::stdin().lock();
    while let Ok(ask) = asked.recv() {
        let event = match ask {
            Ask::Line { text, .. } => {
                let mut line = Vec::new();
                let out = print_now(&text);
                match input.read_until(b'\n', &mut line) {
                    Ok(read) if read > 0 && out => {
                        let text = String::from_utf8_lossy(&line);
                        Typed::Line(text.trim_end_matches(['\n', '\r']).to_owned())
                    }
                    Ok(_) | Err(_) => Typed::End,
                }
            }
            Ask::Write { writer, text } => {
                let _screen = take_screen(shared);
                Typed::Written(writer.write(&text))
            }
            Ask::Secret { text, question, times } => {
                let _screen = take_screen(shared);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_the_screen_does_not_wait_for_a_print_that_waits_for_the_editor() {
        let shared = Shared::default();
        assert!(take_screen(&shared).is_some(), "free");
        let stuck = locked(&shared.screen);
        // The printing thread would let go of it with the next line, which waits for this.
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| take_screen(&shared).is_none());
            assert!(asked.join().unwrap());
        });
        drop(stuck);
        assert!(take_screen(&shared).is_some(), "free again");
    }
}
