//! A network of its own: a switch, and a namespace for each member, whose link can be cut.
//!
//! Nothing of it is visible to the machine's own network. Addresses are of 127.1.0.0/16, routed over the links
//! instead of looped back: to the programs they are loopback addresses, so that they need no certificates here.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use crate::process::succeed;

/// What the namespaces' names begin with; the process's number and a counter follow.
const PREFIX: &str = "terrane-test-";

/// Tells networks of one process apart.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A switch and its members. Removed when dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    members: u8,
}

impl Network {
    /// Makes one with so many members, all connected. What dead processes have left is removed first.
    ///
    /// # Errors
    /// It needs root and iproute2.
    pub fn new(members: u8) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        remove_remains()?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let network = Self { name, members };
        let switch = network.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        for member in 0..members {
            network.add(member)?;
        }
        Ok(network)
    }

    fn add(&self, member: u8) -> Result<()> {
        let (space, port, switch) = (self.namespace(member), port(member), self.switch());
        let address = format!("{}/16", self.address(member));
        ip(&["netns", "add", &space])?;
        ip(&[
            "-n", &space, "link", "add", "uplink", "type", "veth", "peer", "name", &port, "netns", &switch,
        ])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        // The kernel gives lo all of 127.0.0.0/8.
        ip(&["-n", &space, "addr", "del", "127.0.0.1/8", "dev", "lo"])?;
        ip(&["-n", &space, "addr", "add", "127.0.0.1/32", "dev", "lo"])?;
        let routed = ["all", "uplink"].map(|device| format!("net.ipv4.conf.{device}.route_localnet=1"));
        succeed(self.enter(member, "sysctl").arg("-qw").args(routed))?;
        ip(&["-n", &space, "addr", "add", &address, "dev", "uplink"])?;
        ip(&["-n", &space, "link", "set", "uplink", "up"])
    }

    /// A member's address.
    #[must_use]
    pub fn address(&self, member: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 1, 0, member + 1))
    }

    /// A command that runs `program` in a member's network (and in everything else where we are).
    #[must_use]
    pub fn enter(&self, member: u8, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(member))).arg("--").arg(program);
        command
    }

    /// Cuts a member off: nothing reaches it, nothing from it arrives, and nobody is told.
    ///
    /// # Errors
    /// The link cannot be changed.
    pub fn cut(&self, member: u8) -> Result<()> {
        ip(&["-n", &self.switch(), "link", "set", &port(member), "nomaster"])
    }

    /// Connects it again.
    ///
    /// # Errors
    /// The link cannot be changed.
    pub fn heal(&self, member: u8) -> Result<()> {
        ip(&["-n", &self.switch(), "link", "set", &port(member), "master", "switch"])
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn namespace(&self, member: u8) -> String {
        format!("{}-{member}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in (0..self.members).map(|member| self.namespace(member)).chain([self.switch()]) {
            // Some may be missing if making it failed.
            drop(ip(&["netns", "del", &name]));
        }
    }
}

fn port(member: u8) -> String {
    format!("port{member}")
}

fn ip(args: &[&str]) -> Result<()> {
    succeed(Command::new("ip").args(args)).map(drop)
}

/// Removes namespaces of test processes that are no more.
fn remove_remains() -> Result<()> {
    let Ok(names) = fs::read_dir("/run/netns") else { return Ok(()) };
    for name in names {
        let name = name?.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        let pid: i32 = pid.parse().with_context(|| format!("a namespace {name}"))?;
        if nix::sys::signal::kill(Pid::from_raw(pid), None).is_err() {
            drop(ip(&["netns", "del", &name]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether a packet from `from` reaches `to` and is answered.
    fn reaches(network: &Network, from: u8, to: u8) -> bool {
        let address = network.address(to).to_string();
        let mut ping = network.enter(from, "python3");
        ping.args(["-c", PING, &address]);
        crate::process::output(&mut ping).unwrap().status.success()
    }

    /// A connection to a port where nobody listens is refused at once if the address can be reached.
    const PING: &str = "
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=1)
except ConnectionRefusedError:
    sys.exit(0)
except OSError:
    sys.exit(1)
";

    #[test]
    fn a_cut_member_reaches_nobody_until_it_is_healed() {
        let network = Network::new(3).unwrap();
        assert!(reaches(&network, 0, 1) && reaches(&network, 1, 2));
        network.cut(1).unwrap();
        assert!(!reaches(&network, 0, 1) && !reaches(&network, 1, 2), "cut in both directions");
        assert!(reaches(&network, 0, 2), "the others go on");
        network.heal(1).unwrap();
        assert!(reaches(&network, 0, 1) && reaches(&network, 1, 2));
        let name = network.name.clone();
        drop(network);
        let left = crate::process::succeed(Command::new("ip").args(["netns", "list"])).unwrap();
        assert!(!left.contains(&name), "{left}");
    }
}
