//! The front door over real sockets, with objects and accounts in memory.

mod bounds;
mod door;
mod fixture;
mod https;
mod native;
mod openapi;
mod stream;
mod sts;
