//! Where the objects of snapshots lie: in the own object store, or behind any S3 endpoint. Each account has a prefix.

mod own;
mod prefixed;
mod s3;

pub use own::{BUCKET, OwnObjects, SYSTEM_ACCOUNT};
pub use prefixed::Prefixed;
pub use s3::{S3Config, S3Objects, fuzz_decode};
