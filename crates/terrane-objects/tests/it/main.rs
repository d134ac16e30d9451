//! The object store over real directories.

mod basics;
mod collect;
mod crash;
mod model;
mod rig;
