//! Passwords typed at the terminal: nothing of them is seen, from before the question shows.
//!
//! Whoever types right at the prompt types into a terminal that has hidden it already: echo goes
//! off first and the question comes second, and it comes back when the last question is answered or
//! given up. A program that ends in the middle of a question calls [`show_again`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// What Ctrl-C is while the terminal makes no signal of it.
const CTRL_C: u8 = 3;

/// The terminal of this process while it is hidden, as it was before.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// What is typed is not shown while this lives.
#[derive(Debug)]
pub struct Hidden {
    tty: File,
    /// Another one was there before, and ends later.
    inner: bool,
}

impl Hidden {
    /// Hides what is typed at the terminal of this process.
    ///
    /// # Errors
    /// There is no terminal, or it refuses.
    pub fn begin() -> io::Result<Self> {
        Self::on(OpenOptions::new().read(true).write(true).open("/dev/tty")?)
    }

    fn on(tty: File) -> io::Result<Self> {
        let mut before = before();
        let now = tcgetattr(&tty)?;
        hide(&tty, &now)?;
        let inner = before.is_some();
        if !inner {
            *before = Some((tty.try_clone()?, now));
        }
        Ok(Self { tty, inner })
    }

    /// Asks, and reads what is typed until Enter.
    ///
    /// # Errors
    /// Ctrl-C, Ctrl-D, or the terminal is gone.
    pub fn ask(&self, question: &str) -> io::Result<Zeroizing<String>> {
        self.ask_by(&self.tty, question)
    }

    fn ask_by(&self, mut out: impl Write, question: &str) -> io::Result<Zeroizing<String>> {
        out.write_all(question.as_bytes())?;
        let keys = Keys(self.tty.try_clone()?);
        let config = rpassword::ConfigBuilder::new().input_reader(keys).output_discard().build();
        let typed = rpassword::read_password_with_config(config);
        // Enter was not seen either.
        out.write_all(b"\n")?;
        typed.map(Zeroizing::new)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if !self.inner {
            show_again();
        }
    }
}

/// Gives back a terminal that is hidden, if one is, and says whether. For the end of a program
/// while a thread waits for a password.
pub fn show_again() -> bool {
    let Some((tty, was)) = before().take() else { return false };
    // Gone: nobody types there.
    let _ = tcsetattr(&tty, OptionalActions::Now, &was);
    true
}

fn before() -> MutexGuard<'static, Option<(File, Termios)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No echo, and single keys: what was typed ahead stays. Ctrl-C comes as a key, for a signal would
/// end the program before the terminal is as it was.
fn hide(tty: &File, now: &Termios) -> io::Result<()> {
    let mut hidden = now.clone();
    let seen = LocalModes::ECHO | LocalModes::ECHONL;
    hidden.local_modes.remove(seen | LocalModes::ICANON | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    Ok(tcsetattr(tty, OptionalActions::Now, &hidden)?)
}

/// The keys of a terminal; Ctrl-C is the end of them.
struct Keys(File);

impl Read for Keys {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // A signal that somebody else looks at, such as a changed size.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // `rpassword` would take it for Enter, and be asked the same again and again.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // `rpassword` would make a signal of it, and the terminal stay hidden.
                Ok(read) if buffer.iter().take(read).any(|key| *key == CTRL_C) => {
                    return Err(io::Error::other("Ctrl-C"));
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::MutexGuard;

    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    /// A terminal to type at. Only one at a time may be hidden.
    struct Pty {
        keyboard: File,
        tty: File,
        _alone: MutexGuard<'static, ()>,
    }

    impl Pty {
        fn new() -> Self {
            static ONE: Mutex<()> = Mutex::new(());
            let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let keyboard = openpt(flags).unwrap();
            unlockpt(&keyboard).unwrap();
            let tty = ioctl_tiocgptpeer(&keyboard, flags).unwrap();
            Self { keyboard: keyboard.into(), tty: tty.into(), _alone: alone }
        }

        fn hide(&self) -> Hidden {
            Hidden::on(self.tty.try_clone().unwrap()).unwrap()
        }

        fn press(&mut self, keys: &str) {
            self.keyboard.write_all(keys.as_bytes()).unwrap();
        }

        fn modes(&self) -> LocalModes {
            tcgetattr(&self.tty).unwrap().local_modes
        }

        fn echoes(&self) -> bool {
            self.modes().contains(LocalModes::ECHO)
        }
    }

    /// A screen that looks whether the terminal echoes when something is shown on it.
    struct Screen<'a> {
        pty: &'a Pty,
        shown: String,
    }

    impl Write for Screen<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(!self.pty.echoes(), "hidden before anything is asked");
            self.shown.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_typed_is_hidden_before_the_question_shows_and_until_the_last_one_is_answered() {
        let mut pty = Pty::new();
        let was = pty.modes();
        assert!(pty.echoes());
        let hidden = pty.hide();
        // Typed ahead, with a slip of the keyboard.
        pty.press("hunter3\u{7f}2\rhunter2\r");
        let mut screen = Screen { pty: &pty, shown: String::new() };
        assert_eq!(*hidden.ask_by(&mut screen, "Password: ").unwrap(), "hunter2");
        assert!(!pty.echoes(), "between two questions");
        assert_eq!(*hidden.ask_by(&mut screen, "Once more: ").unwrap(), "hunter2");
        assert_eq!(screen.shown, "Password: \nOnce more: \n");
        drop(hidden);
        assert_eq!(pty.modes(), was);
    }

    #[test]
    fn a_question_that_is_given_up_leaves_a_terminal_that_echoes() {
        for key in ["\u{3}", "\u{4}"] {
            let mut pty = Pty::new();
            let was = pty.modes();
            let hidden = pty.hide();
            pty.press(key);
            assert!(hidden.ask_by(io::sink(), "Password: ").is_err());
            drop(hidden);
            assert_eq!(pty.modes(), was);
        }
    }

    #[test]
    fn a_terminal_that_is_hidden_twice_is_given_back_once() {
        let pty = Pty::new();
        let was = pty.modes();
        let first = pty.hide();
        drop(pty.hide());
        assert!(!pty.echoes(), "the first one still hides it");
        drop(first);
        assert_eq!((pty.modes(), show_again()), (was, false));
    }

    #[test]
    fn the_end_of_the_program_gives_back_a_terminal_that_is_hidden() {
        let pty = Pty::new();
        let was = pty.modes();
        let hidden = pty.hide();
        assert!(show_again());
        assert_eq!(pty.modes(), was);
        drop(hidden);
        assert_eq!(pty.modes(), was);
    }
}
