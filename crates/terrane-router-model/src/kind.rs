//! What can be asked of a router.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of question. The names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the device is: model, serial number, version, names.
    Facts,
    /// Interfaces and their state.
    Interfaces,
    /// Counters of interfaces.
    Counters,
    /// Addresses of interfaces.
    InterfaceAddresses,
    /// IPv4 neighbours.
    Arp,
    /// IPv6 neighbours.
    Nd,
    /// Neighbours by LLDP.
    Lldp,
    /// VLANs and their ports.
    Vlans,
    /// Learnt and configured MAC addresses.
    MacTable,
    /// Sessions and prefix counts, one row per neighbour and address family.
    BgpSummary,
    /// Everything known of BGP sessions.
    BgpNeighbors,
    /// Routes to one destination.
    RouteTo,
    /// Routes received from a neighbour.
    AdjRibIn,
    /// Routes advertised to a neighbour.
    AdjRibOut,
    /// The router's own choice of routes.
    LocRib,
    /// VRFs and other routing instances.
    NetworkInstances,
    /// Fans, temperatures, power, CPUs, memory.
    Environment,
    /// Optical levels.
    Optics,
    /// Echo requests sent by the router.
    Ping,
    /// The path that the router's packets take.
    Traceroute,
}

/// A name that no kind has.
#[derive(Debug, thiserror::Error)]
#[error("unknown kind of query `{0}`")]
pub struct UnknownKind(pub String);

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::Facts,
        Self::Interfaces,
        Self::Counters,
        Self::InterfaceAddresses,
        Self::Arp,
        Self::Nd,
        Self::Lldp,
        Self::Vlans,
        Self::MacTable,
        Self::BgpSummary,
        Self::BgpNeighbors,
        Self::RouteTo,
        Self::AdjRibIn,
        Self::AdjRibOut,
        Self::LocRib,
        Self::NetworkInstances,
        Self::Environment,
        Self::Optics,
        Self::Ping,
        Self::Traceroute,
    ];

    /// The name in the API and in the knowledge base.
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Interfaces => "interfaces",
            Self::Counters => "counters",
            Self::InterfaceAddresses => "interface_addresses",
            Self::Arp => "arp",
            Self::Nd => "nd",
            Self::Lldp => "lldp",
            Self::Vlans => "vlans",
            Self::MacTable => "mac_table",
            Self::BgpSummary => "bgp_summary",
            Self::BgpNeighbors => "bgp_neighbors",
            Self::RouteTo => "route_to",
            Self::AdjRibIn => "adj_rib_in",
            Self::AdjRibOut => "adj_rib_out",
            Self::LocRib => "loc_rib",
            Self::NetworkInstances => "network_instances",
            Self::Environment => "environment",
            Self::Optics => "optics",
            Self::Ping => "ping",
            Self::Traceroute => "traceroute",
        }
    }

    /// An action makes the router send something: never cached, never joined.
    pub fn is_action(self) -> bool {
        matches!(self, Self::Ping | Self::Traceroute)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!("loopback".parse::<Kind>().is_err());
    }
}
