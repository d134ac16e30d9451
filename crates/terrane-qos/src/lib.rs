//! Committed performance: what a volume may use at most, and what it gets of a drive at least.
//!
//! * [`Limiter`]: limits of one volume at admission, by GCRA: I/O operations and bytes, each with an optional credit.
//! * [`Scheduler`]: who may use a drive next, by mClock: everybody's reservation first, then shares by weight, nobody
//!   beyond a ceiling; what nobody wants goes to whoever does.
//! * [`Ledger`]: who used the drive, second by second.
//!
//! Nothing here does I/O, waits or looks at a clock: times are arguments, in nanoseconds since some moment of the
//! caller's choice, and never go back. The same calls give the same answers.

pub mod bugs;

mod gcra;
mod heap;
mod ledger;
mod limiter;
mod rate;
mod scheduler;

pub use gcra::{Allowance, Gcra};
pub use ledger::{Ledger, Second, Use};
pub use limiter::{Limiter, Limits};
pub use rate::{Cost, Rate, Share};
pub use scheduler::{ClientId, Device, Next, Offer, Scheduler};

/// Nanoseconds since a moment of the caller's choice.
pub type Nanos = u64;

/// Nanoseconds of a second.
pub const SECOND: Nanos = 1_000_000_000;
