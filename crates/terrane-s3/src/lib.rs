//! The S3 front end: Amazon S3's REST API over [`terrane_objects::service::ObjectService`].
//!
//! s3s parses, routes, verifies signatures and writes answers; this crate decides. What s3s leaves
//! unchecked is checked in front of it (see `README.md`). [`S3Front`] is the hyper service; who asks and
//! what they may is behind [`Gate`].

mod access;
mod acl;
mod api;
mod assemble;
mod attrs;
mod body;
mod buckets;
mod checksums;
mod chunked;
mod conditions;
mod config;
mod copy;
mod errors;
mod forms;
mod front;
mod gate;
mod grants;
mod guard;
mod hosts;
mod intercept;
mod listing;
mod metrics;
mod modes;
mod multipart;
mod objects_read;
mod objects_write;
mod settings;
mod signing;
mod tagging;
mod tags;

pub use chunked::rechunk;
pub use config::{Limits, S3Config};
pub use front::{RequestId, S3Call, S3Front};
pub use gate::{Gate, GateError, Origin, Question};
pub use hosts::BadDomain;
pub use modes::parse_delay;
