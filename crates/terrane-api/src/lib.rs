//! The front door: one listener that tells S3, STS, EC2, EBS and our own API apart, and the native API itself.

mod body;
mod dispatch;
mod ebs;
mod ec2;
mod extract;
mod front;
mod gate;
mod metrics;
mod native;
mod problem;
mod server;
mod sts;
mod tls;
mod volumes;
mod xml;

pub use body::{Body, BodyError};
pub use ebs::EbsDoor;
pub use ec2::Ec2Door;
pub use front::FrontDoor;
pub use gate::AuthGate;
/// The body of a request that arrives.
pub use hyper::body::Incoming as IncomingBody;
pub use metrics::FrontMetrics;
pub use native::{App, Installation, Native, openapi_document, types};
pub use problem::Problem;
pub use server::{Handler, Peer, Server, ServerConfig};
pub use sts::Sts;
pub use tls::{Tls, TlsError, TlsFiles};
pub use volumes::{VolumeAdmin, Volumes};
