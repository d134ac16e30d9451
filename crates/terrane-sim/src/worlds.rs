//! The worlds: real cores over simulated disks.
//!
//! To add one: a module `worlds/NAME` with a type that implements [`World`], an entry in [`all`],
//! and a test module `tests/it/NAME.rs` that calls [`crate::runner::assert_holds`],
//! [`crate::runner::assert_finds_bugs`] and [`crate::runner::assert_repeats`].

mod block;
mod engine;
mod keymap;
mod log;
mod mirror;
mod store;

pub use block::BlockWorld;
pub use engine::EngineWorld;
pub use keymap::KeymapWorld;
pub use log::LogWorld;
pub use mirror::MirrorWorld;
pub use store::StoreWorld;

use crate::runner::World;

/// All worlds.
#[must_use]
pub fn all() -> Vec<&'static dyn World> {
    vec![&BlockWorld, &EngineWorld, &KeymapWorld, &LogWorld, &MirrorWorld, &StoreWorld]
}
