//! Starts servers, watches them, and answers "which one?".
pub mod children;
pub mod fleet;
pub mod process;
pub mod strategy;
