//! `server`: see [`fastchat::cli::server`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fastchat::cli::server::main()
}
