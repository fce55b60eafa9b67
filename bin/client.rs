//! `client`: see [`fastchat::cli::client`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fastchat::cli::client::main()
}
