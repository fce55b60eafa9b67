//! The command line of commands that have commands of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::types::UserName;

use super::args::name;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Config {
    /// Print where the file is
    Path,
    /// Print one setting, or all of them with their meaning
    Get {
        /// Its name, such as notify.preview
        key: Option<String>,
    },
    /// Change one setting; the file keeps its comments
    Set {
        /// Its name
        key: String,
        /// Its value
        value: String,
    },
    /// Open the file in $VISUAL or $EDITOR
    Edit,
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub(super) enum Transfer {
    /// List files that are on their way, wait, are paused or have failed; works offline
    List,
    /// Go on with one, or with all that wait or are paused; returns when they are through
    Resume {
        /// Number of its message, as `transfer list` shows it
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: Option<i64>,
    },
    /// Stop one: an own file is not sent, of another one what has come is dropped
    Cancel {
        /// Number of its message
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
    },
    /// Store the file of a message; fetches it if it is not here. Nothing is overwritten
    Save {
        /// Number of its message, as `recv` and `history --json` show it
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
        /// A folder, or a new name [default: the folder for downloads]
        path: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub(super) enum Contact {
    /// List everybody you accepted or blocked
    List,
    /// Make somebody a contact
    Add {
        /// Who
        #[arg(value_parser = name)]
        who: UserName,
        /// What you call them
        alias: Option<String>,
    },
    /// Give somebody a name of your own
    Alias {
        /// Who
        #[arg(value_parser = name)]
        who: UserName,
        /// The name; without it, they have none any more
        alias: Option<String>,
    },
    /// Make a contact a stranger again; key and history stay
    Remove {
        /// Who
        #[arg(value_parser = name)]
        who: UserName,
    },
    /// Take no messages from somebody any more
    Block {
        /// Who
        #[arg(value_parser = name)]
        who: UserName,
    },
    /// Take messages from somebody again
    Unblock {
        /// Who
        #[arg(value_parser = name)]
        who: UserName,
    },
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub(super) enum Key {
    /// Show your own keys
    Show,
    /// Show the safety number with somebody; with --matches, note that it was compared
    Verify(Verify),
    /// Accept somebody's key that has changed
    Accept(Accept),
    /// Replace your encryption key by a new one, at the next contact
    Rotate,
    /// Write your identity and encryption key to a new file, encrypted under a passphrase
    Export {
        /// The file
        file: PathBuf,
        /// File whose first line is the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Sign in with keys that `key export` wrote, so that nobody sees a new key
    #[serde(skip)]
    Import(Import),
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(super) struct Verify {
    /// Who
    #[arg(value_parser = name)]
    pub(super) who: UserName,
    /// The number that they read to you: 60 digits
    #[arg(long, value_name = "NUMBER")]
    pub(super) matches: Option<String>,
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(super) struct Accept {
    /// Who
    #[arg(value_parser = name)]
    pub(super) who: UserName,
    /// Only if it is this key: 64 hexadecimal digits, as they were shown
    #[arg(long, value_name = "FINGERPRINT")]
    pub(super) fingerprint: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Import {
    /// The file
    pub(super) file: PathBuf,
    /// Whose keys they are
    #[arg(value_parser = name)]
    pub(super) user: UserName,
    /// File whose first line is the passphrase
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Replace the device that is signed in
    #[arg(long)]
    pub(super) takeover: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Account {
    /// Delete the account at the server, after some days in which signing in again keeps it
    Delete {
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
}
