//! Seeded simulator: scheduler, disks, crashes, oracles; runs the real cores.
//!
//! A [`runner::World`] builds one history from a seed: it draws every decision from
//! one [`rng::SimRng`], orders everything by one [`scheduler::Scheduler`], keeps its
//! bytes on [`disk::SimDisk`]s and compares what it sees with an oracle. The same
//! seed gives the same trace. [`runner`] runs many seeds, shrinks what fails, and
//! proves with [`switches`] that a world would notice the bugs it is there for.

pub mod coverage;
pub mod disk;
pub mod oracle;
pub mod packets;
pub mod rng;
pub mod runner;
pub mod scheduler;
pub mod switches;
pub mod trace;
pub mod worlds;
