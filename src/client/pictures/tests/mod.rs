//! What is done to pictures, tried on pictures made here.

mod cleaning;
mod hostile;
mod preparing;
mod samples;
mod thumbnails;
