//! Clusters of real processes for tests and benchmarks, and the faults that befall them.
//!
//! Everything here is black box: the built binary is started as a user starts it, and driven through its command
//! line, its API and its NBD sockets by programs that we did not write.

mod cluster;
pub mod fio;
pub mod guest;
mod installation;
mod network;
pub mod postgres;
pub mod probe;
mod process;
mod relay;
mod up;
mod volume;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

pub use cluster::{Cluster, Member, PATIENCE, Plan, aws_environment};
pub use installation::Installation;
pub use network::Network;
pub use process::{Process, output, succeed};
pub use relay::Relay;
pub use up::Up;
pub use volume::{Copy, CopyState, Role, Volume};

/// Waits until a condition holds; an error of the condition ends the waiting.
///
/// # Errors
/// It does not hold in time, or could not be asked for.
pub fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(began.elapsed())
}
