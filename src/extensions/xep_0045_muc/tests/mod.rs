//! A room by itself: stanzas in, and what everybody is told.

mod affiliations;
mod guests;
mod lists;
mod matrix;
mod owners;
mod stage;
mod taken_back;
