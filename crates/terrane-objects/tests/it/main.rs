//! The object store over real directories.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod basics;
mod collect;
mod crash;
mod damage;
mod drives;
mod faults;
mod model;
mod notify;
mod pending;
mod rig;
mod space;
