//! The signals by which a person or a service manager ends a program.
//!
//! Deliberately decides nothing: it says who asked, as the exit code that this means.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::exit::Exit;

/// SIGTERM, Ctrl-C, and SIGHUP: the end of the terminal, or a wish to read files again.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Option<Signal>,
    had_terminal: bool,
    reload: Arc<Notify>,
}

impl Signals {
    /// Takes the signals over from the operating system's default.
    ///
    /// # Errors
    /// As the operating system.
    pub(super) fn listen() -> io::Result<Self> {
        let hang_up = if is_hang_up_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
            had_terminal: has_terminal(),
            reload: Arc::default(),
        })
    }

    /// Told when a SIGHUP asks for files to be read again, while somebody waits in [`Self::next`].
    pub(super) fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// Waits for the next one: [`Exit::Interrupted`] for Ctrl-C, [`Exit::Done`] for the others.
    pub(super) async fn next(&mut self) -> Exit {
        loop {
            let hang_up = async {
                match &mut self.hang_up {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return Exit::Done,
                _ = self.interrupt.recv() => return Exit::Interrupted,
                _ = hang_up => {
                    // A terminal that closed is none any more.
                    if self.had_terminal && !has_terminal() {
                        return Exit::Done;
                    }
                    self.reload.notify_one();
                }
            }
        }
    }
}

fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

/// `nohup` starts programs with SIGHUP ignored, and means it.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
}
