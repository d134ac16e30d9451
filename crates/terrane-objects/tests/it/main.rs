//! The object store over real directories.

mod basics;
mod collect;
mod crash;
mod damage;
mod model;
mod pending;
mod rig;
mod space;
