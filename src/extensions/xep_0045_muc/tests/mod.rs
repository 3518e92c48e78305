//! A room by itself: stanzas in, and what everybody is told; and the service around it.

mod affiliations;
mod guests;
mod hidden;
mod lists;
mod matrix;
mod owners;
mod service;
mod stage;
mod taken_back;
mod visits;
