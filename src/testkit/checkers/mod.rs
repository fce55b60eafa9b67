//! Independent judges of a run: what people did and saw, held against what was promised.
//!
//! They have a model of their own and know nothing of how the product works: a [`Diary`] is what
//! stands on paper outside the machines, a [`Books`] what can be read off a home's disk.

mod books;
mod diary;

pub use books::Books;
pub use diary::Diary;
