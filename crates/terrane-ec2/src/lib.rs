//! The EC2 query protocol over a trait of volumes and instances.
#![doc = include_str!("../README.md")]

pub mod dto;
pub mod ebs;
mod error;
mod filter;
pub mod form;
mod front;
pub mod model;
pub mod operation;
mod page;
pub mod service;
pub mod xml;

pub use error::Ec2Error;
pub use front::{Call, Ec2, Ec2Config};
