//! `load_balancer`: see [`fastchat::cli::load_balancer`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fastchat::cli::load_balancer::main()
}
