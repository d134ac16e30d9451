//! Accounts, access keys, bearer tokens, SigV4, Cedar policy, rate limits and the key service.
#![doc = include_str!("../README.md")]

mod auth;
mod directory;
mod error;
pub mod keys;
mod limits;
mod metrics;
mod model;
pub mod policy;
mod secret;
pub mod sigv4;

pub use auth::{Auth, AuthConfig, Authenticated};
pub use directory::{
    ACCESS_KEYS_PER_OWNER_MAX, LABEL_CHARS_MAX, PAGE_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN,
    POLICIES_MAX, TOKENS_PER_OWNER_MAX, USERS_MAX,
};
pub use error::AuthError;
pub use keys::{KeyError, KeyService};
pub use limits::{RateLimit, Throttled};
pub use metrics::AuthMetrics;
pub use model::*;
pub use secret::Secret;
