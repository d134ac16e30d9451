//! Accounts, access keys, bearer tokens, SigV4, Cedar policy, rate limits and the key service.

mod limits;
mod model;
pub mod policy;
mod secret;
pub mod sigv4;

pub use limits::{RateLimit, Throttled};
pub use model::*;
pub use secret::Secret;
