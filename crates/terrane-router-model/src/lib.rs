//! The vocabulary of router queries: kinds, the schema of each kind's rows, what a query may ask, and the shapes in
//! which other tools expect the answers. Names and semantics follow OpenConfig, in snake_case; counters are unsigned
//! 64-bit integers. Nothing here knows a platform, a transport or a clock.
//!
//! - [`Kind`] and [`Schema`]: what can be asked and what a row of the answer holds.
//! - [`Row`], [`Rows`]: rows checked against their schema; rows of equal key are one row.
//! - [`Query`]: a validated question.
//! - [`napalm`], [`looking_glass`], [`birdwatcher`]: projections of rows.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod birdwatcher;
mod kind;
pub mod looking_glass;
pub mod napalm;
mod query;
mod row;
mod schema;

pub use kind::Kind;
pub use query::{Filter, Prefix, Query, QueryError};
pub use row::{Row, Rows};
pub use schema::{Field, Schema, Type};
