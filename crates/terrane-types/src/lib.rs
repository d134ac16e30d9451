//! Typed names and units that every crate shares; no logic beyond parsing and printing.
//!
//! Everything here is a newtype with a checked constructor: a value of one of these types has been
//! validated once, where it entered, and is trusted from there on.

mod account;
mod id;
mod resource;
mod units;

pub use account::{AccessKeyId, AccountId, ParseAccountError, Region};
pub use id::{ParseIdError, RandomId};
pub use resource::{InstanceId, ParseResourceError, SnapshotId, VolumeId, Zone};
pub use units::{ByteSize, ParseSizeError};
