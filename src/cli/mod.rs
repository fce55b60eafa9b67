//! The command lines of the programs: arguments in, one function called, exit code out.
//!
//! Deliberately holds no logic of the product.

pub mod bench;
mod certs;
pub mod client;
mod doctor;
pub mod exit;
mod init;
pub mod load_balancer;
pub mod logs;
mod operator;
mod refusals;
mod screen;
pub mod server;
mod signals;
mod upkeep;
