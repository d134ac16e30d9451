//! The core against itself: breadth-first search, and schedules that once broke it.

mod actions;
mod checks;
mod configs;
mod disk;
mod hunt;
mod rules;
mod search;
mod traces;
mod visited;
mod world;
