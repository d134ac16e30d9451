//! The object store over real directories.

mod basics;
mod model;
mod rig;
