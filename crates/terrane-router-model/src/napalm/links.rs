//! Interfaces, neighbours, VLANs.

use serde_json::{Map, Value};

use super::{Default, Quirks, member, object, push, text};
use crate::{Row, Rows};

const ARP: super::Members<'_> = &[
    ("interface", "interface", Default::Text("")),
    ("mac", "mac_address", Default::Text("")),
    ("ip", "address", Default::Text("")),
    ("age", "age_s", Default::Real(0.0)),
];

const ND: super::Members<'_> = &[
    ("interface", "interface", Default::Text("")),
    ("mac", "mac_address", Default::Text("")),
    ("ip", "address", Default::Text("")),
    ("age", "age_s", Default::Real(0.0)),
    ("state", "state", Default::Text("")),
];

const COUNTERS: super::Members<'_> = &[
    ("tx_octets", "out_octets", Default::Int(-1)),
    ("rx_octets", "in_octets", Default::Int(-1)),
    ("tx_unicast_packets", "out_unicast_pkts", Default::Int(-1)),
    ("rx_unicast_packets", "in_unicast_pkts", Default::Int(-1)),
    ("tx_multicast_packets", "out_multicast_pkts", Default::Int(-1)),
    ("rx_multicast_packets", "in_multicast_pkts", Default::Int(-1)),
    ("tx_broadcast_packets", "out_broadcast_pkts", Default::Int(-1)),
    ("rx_broadcast_packets", "in_broadcast_pkts", Default::Int(-1)),
    ("tx_errors", "out_errors", Default::Int(-1)),
    ("rx_errors", "in_errors", Default::Int(-1)),
    ("tx_discards", "out_discards", Default::Int(-1)),
    ("rx_discards", "in_discards", Default::Int(-1)),
];

const LLDP: super::Members<'_> = &[
    ("parent_interface", "parent_interface", Default::Text("")),
    ("remote_port", "port_id", Default::Text("")),
    ("remote_port_description", "port_description", Default::Text("")),
    ("remote_chassis_id", "chassis_id", Default::Text("")),
    ("remote_system_name", "system_name", Default::Text("")),
    ("remote_system_description", "system_description", Default::Text("")),
    ("remote_system_capab", "capabilities", Default::List),
    ("remote_system_enable_capab", "enabled_capabilities", Default::List),
];

const MAC_TABLE: super::Members<'_> = &[
    ("mac", "mac_address", Default::Text("")),
    ("interface", "interface", Default::Text("")),
    ("vlan", "vlan_id", Default::Int(0)),
    ("static", "is_static", Default::Bool(false)),
    ("active", "active", Default::Bool(true)),
    ("moves", "moves", Default::Int(-1)),
];

pub(super) fn arp(rows: &Rows, quirks: &Quirks) -> Value {
    rows.iter().map(|row| Value::Object(object(row, ARP, quirks))).collect()
}

pub(super) fn neighbors(rows: &Rows, quirks: &Quirks) -> Value {
    rows.iter().map(|row| Value::Object(object(row, ND, quirks))).collect()
}

pub(super) fn interfaces(rows: &Rows, quirks: &Quirks) -> Value {
    const MEMBERS: super::Members<'_> = &[
        ("is_up", "oper_up", Default::Bool(false)),
        ("is_enabled", "enabled", Default::Bool(false)),
        ("description", "description", Default::Text("")),
        ("speed", "speed_mbps", Default::Real(-1.0)),
        ("mtu", "mtu", Default::Int(0)),
        ("mac_address", "mac_address", Default::Text("")),
    ];
    by_name(rows, |row| {
        let mut members = object(row, MEMBERS, quirks);
        if let (None, Some(absent)) = (row.get("mac_address"), row.get("mac_address_absent")) {
            members.insert("mac_address".into(), absent.clone());
        }
        members.insert(
            "last_flapped".into(),
            either(row, ["last_change_age_s", "last_change_at"], "last_flapped", quirks),
        );
        members
    })
}

pub(super) fn counters(rows: &Rows, quirks: &Quirks) -> Value {
    by_name(rows, |row| object(row, COUNTERS, quirks))
}

fn by_name(rows: &Rows, members: impl Fn(&Row) -> Map<String, Value>) -> Value {
    let named = rows.iter().map(|row| (text(row, "name").to_owned(), Value::Object(members(row))));
    Value::Object(named.collect())
}

/// The first of two fields that was told; NAPALM's -1.0 for neither.
fn either(row: &Row, fields: [&str; 2], name: &str, quirks: &Quirks) -> Value {
    let told = fields.iter().find_map(|field| row.get(*field)).or_else(|| quirks.defaults.get(name));
    told.cloned().unwrap_or_else(|| Value::from(-1.0))
}

pub(super) fn addresses(rows: &Rows, quirks: &Quirks) -> Value {
    let mut interfaces = Map::new();
    for row in rows.iter() {
        let address = text(row, "address");
        let family = if address.contains(':') { "ipv6" } else { "ipv4" };
        let length = object(row, &[("prefix_length", "prefix_length", Default::Text("N/A"))], quirks);
        let families = member(&mut interfaces, text(row, "interface"));
        member(families, family).insert(address.to_owned(), Value::Object(length));
    }
    Value::Object(interfaces)
}

pub(super) fn lldp(rows: &Rows, quirks: &Quirks) -> Value {
    const MEMBERS: super::Members<'_> =
        &[("hostname", "system_name", Default::Text("")), ("port", "port_id", Default::Text(""))];
    by_interface(rows, |row| object(row, MEMBERS, quirks))
}

pub(super) fn lldp_detail(rows: &Rows, quirks: &Quirks) -> Value {
    by_interface(rows, |row| object(row, LLDP, quirks))
}

fn by_interface(rows: &Rows, members: impl Fn(&Row) -> Map<String, Value>) -> Value {
    let mut interfaces = Map::new();
    for row in rows.iter() {
        push(&mut interfaces, text(row, "interface"), Value::Object(members(row)));
    }
    Value::Object(interfaces)
}

pub(super) fn mac_table(rows: &Rows, quirks: &Quirks) -> Value {
    let entry = |row: &Row| {
        let mut members = object(row, MAC_TABLE, quirks);
        members.insert(
            "last_move".into(),
            either(row, ["last_move_age_s", "last_move_at"], "last_move", quirks),
        );
        Value::Object(members)
    };
    rows.iter().map(entry).collect()
}

pub(super) fn vlans(rows: &Rows, quirks: &Quirks) -> Value {
    const MEMBERS: super::Members<'_> =
        &[("name", "name", Default::Text("")), ("interfaces", "interfaces", Default::List)];
    let vlan = |row: &Row| {
        let id = row.get("vlan_id").map(ToString::to_string).unwrap_or_default();
        (id, Value::Object(object(row, MEMBERS, quirks)))
    };
    Value::Object(rows.iter().map(vlan).collect())
}
