//! What of a shared result a client sees. Executions are shared, answers are not: every fact is held against all
//! fields of the client's connection, and one that does not say whose it is is nobody's.

use std::net::IpAddr;

use serde_json::Value;
use terrane_router_model::{Filter, Kind, Prefix, Row, Rows};

use crate::bugs::Bugs;
use crate::question::{CommandKey, Connection, Grant, Observation};

/// A field of a connection, and where a kind's rows say it.
#[derive(Clone, Copy)]
enum Mark {
    Interface(&'static str),
    Instance,
    Peer,
    Vlan,
}

/// What a row must agree in with a connection. None: external clients do not see the kind at all.
fn marks(kind: Kind) -> Option<&'static [Mark]> {
    match kind {
        Kind::Interfaces | Kind::Counters => Some(&[Mark::Interface("name")]),
        Kind::InterfaceAddresses | Kind::Arp | Kind::Nd => {
            Some(&[Mark::Interface("interface"), Mark::Instance])
        }
        Kind::Lldp | Kind::Optics => Some(&[Mark::Interface("interface")]),
        Kind::Vlans => Some(&[Mark::Vlan]),
        Kind::MacTable => Some(&[Mark::Interface("interface"), Mark::Vlan]),
        Kind::BgpSummary | Kind::BgpNeighbors | Kind::AdjRibIn | Kind::AdjRibOut => {
            Some(&[Mark::Peer, Mark::Instance])
        }
        // An action is the client's own: its target was authorised, and nobody else joins it.
        Kind::Ping | Kind::Traceroute => Some(&[]),
        Kind::Facts | Kind::RouteTo | Kind::LocRib | Kind::NetworkInstances | Kind::Environment => None,
    }
}

/// Whether a client with this grant may ask that kind of question.
#[must_use]
pub fn allows(grant: &Grant, kind: Kind) -> bool {
    matches!(grant, Grant::All) || marks(kind).is_some()
}

/// The rows of an observation that a client may see and has asked for.
#[must_use]
pub fn view(observation: &Observation, grant: &Grant, filter: &Filter, bugs: Bugs) -> Rows {
    let Observation { key, rows, .. } = observation;
    let connection = match grant {
        Grant::All => None,
        Grant::Own(connection) => Some(connection),
    };
    let mut seen = Rows::new(key.kind);
    for row in rows.iter() {
        let is_own = connection.is_none_or(|connection| belongs(row, key, connection, bugs));
        if is_own && is_wanted(row, key, filter) {
            seen.add(redacted(row, key.kind, connection));
        }
    }
    seen
}

fn belongs(row: &Row, key: &CommandKey, connection: &Connection, bugs: Bugs) -> bool {
    let Some(marks) = marks(key.kind) else { return false };
    marks.iter().all(|mark| match mark {
        Mark::Interface(field) => text(row, field) == Some(&*connection.interface),
        Mark::Instance if bugs.view_ignores_instance => true,
        Mark::Instance => {
            // What does not say its instance is of the one that was asked for, or nobody's.
            let said = text(row, "network_instance").or(key.network_instance.as_deref());
            said == Some(&*connection.network_instance)
        }
        Mark::Peer => peer(row, key) == Some(connection.peer),
        Mark::Vlan => {
            let said = row.get("vlan_id").and_then(Value::as_u64);
            said.is_some() && said == connection.vlan.map(u64::from)
        }
    })
}

/// A VLAN's list of ports would name those of others.
fn redacted(row: &Row, kind: Kind, connection: Option<&Connection>) -> Row {
    let mut row = row.clone();
    if let Some(connection) = connection
        && kind == Kind::Vlans
        && let Some(Value::Array(interfaces)) = row.get_mut("interfaces")
    {
        interfaces.retain(|interface| interface.as_str() == Some(&connection.interface));
    }
    row
}

fn is_wanted(row: &Row, key: &CommandKey, filter: &Filter) -> bool {
    let Filter { interface, neighbor, prefix, longer, vlan } = filter;
    // A row without the field is not of that sort (the whole box's environment): a filter does not choose it.
    let is_interface = |wanted: &String| {
        let field = if matches!(key.kind, Kind::Interfaces | Kind::Counters) { "name" } else { "interface" };
        text(row, field) == Some(wanted)
    };
    interface.as_ref().is_none_or(is_interface)
        && neighbor.as_ref().is_none_or(|wanted| wanted.parse().ok() == peer(row, key))
        && vlan.is_none_or(|wanted| row.get("vlan_id").and_then(Value::as_u64) == Some(wanted.into()))
        && prefix.as_ref().is_none_or(|wanted| is_route_to(row, key.kind, wanted, *longer))
}

/// `route_to` has been asked of the router by longest match; a table is searched for the prefix itself.
fn is_route_to(row: &Row, kind: Kind, wanted: &str, longer: bool) -> bool {
    if kind == Kind::RouteTo && !longer {
        return true;
    }
    let (Ok(wanted), Some(Ok(has))) =
        (wanted.parse::<Prefix>(), text(row, "prefix").map(str::parse::<Prefix>))
    else {
        return false;
    };
    has == wanted || longer && covers(wanted, has)
}

fn covers(wide: Prefix, narrow: Prefix) -> bool {
    let top = |address: IpAddr, length: u8| match address {
        IpAddr::V4(v4) => (4, u128::from(u32::from(v4).checked_shr(32 - u32::from(length)).unwrap_or(0))),
        IpAddr::V6(v6) => (6, u128::from(v6).checked_shr(128 - u32::from(length)).unwrap_or(0)),
    };
    wide.length <= narrow.length && top(wide.address, wide.length) == top(narrow.address, wide.length)
}

fn peer(row: &Row, key: &CommandKey) -> Option<IpAddr> {
    match text(row, "neighbor_address") {
        Some(said) => said.parse().ok(),
        None => key.neighbor,
    }
}

fn text<'a>(row: &'a Row, field: &str) -> Option<&'a str> {
    row.get(field).and_then(Value::as_str)
}

#[cfg(test)]
mod tests;
