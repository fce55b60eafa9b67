//! Independent judges of a run: what people did and saw, held against what was promised.
//!
//! They have a model of their own and know nothing of how the product works: a [`Diary`] is what
//! stands on paper outside the machines, a [`Books`] what can be read off a home's disk, a [`Tap`]
//! what went over the line. What they say of groups together is in [`groups`].

mod books;
mod chain;
mod diary;
pub mod files;
mod group_books;
pub mod groups;
mod tap;

pub use books::{Books, Place};
pub use chain::{Chain, Deed, Stay, Step};
pub use diary::{Diary, SentFile, digest};
pub use tap::Tap;
