//! `bench`: see [`fastchat::cli::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fastchat::cli::bench::main()
}
