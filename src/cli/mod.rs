//! The command lines of the programs: arguments in, one function called, exit code out.
//!
//! Deliberately holds no logic of the product.

pub mod client;
pub mod exit;
mod signals;
