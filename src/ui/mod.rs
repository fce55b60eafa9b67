//! The line client: what a person sees and types.
//!
//! [`screen`] and [`say`] turn what happened into text, [`commands`] turns text into what is to be
//! done; both are pure and tested without a terminal. [`line`](mod@line) joins them to a client,
//! [`input`] to a terminal or a pipe. Nothing here touches a connection, a key or a database.

pub mod commands;
pub mod doctor;
pub mod files;
pub mod hidden;
pub mod input;
mod input_history;
pub mod line;
pub mod lists;
pub mod names;
pub mod notify;
pub mod pictures;
pub mod receipts;
pub mod say;
pub mod screen;
pub mod settings;
pub mod text;
pub mod theme;
pub mod time;
