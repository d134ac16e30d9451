//! NAPALM's getters: which kind answers each, and the exact shape of the answer
//! (napalm-automation/napalm, `napalm/base/base.py` and `models.py`).

mod bgp;
mod device;
mod links;
mod probes;
mod routes;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Kind, Row, Rows};

/// Where a platform's NAPALM driver departs from the shape that the others share. Data of the knowledge base.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// What stands for a member that the router did not tell.
    pub defaults: BTreeMap<String, Value>,
    /// Members that this driver never has.
    pub omit: Vec<String>,
    /// The name of the default network instance in this driver's answers.
    pub default_instance: Option<String>,
    /// Members are left out, not defaulted, where the router did not tell them.
    pub sparse: bool,
    /// A sign of alarm behind the laser's current makes the driver read the optical levels one column off.
    pub alarm_shifts_columns: bool,
    /// Numbers of which the driver keeps the last digit, because of how it searches for them.
    pub last_digit: Vec<String>,
    /// Of the address families of an instance's BGP sessions, only the one that was told last is in the answer.
    pub last_family: bool,
    /// The attributes that routes of a protocol (in lower case) always have, null where the router did not tell them.
    /// Empty: routes have the attributes that were told.
    pub attributes: BTreeMap<String, Vec<String>>,
}

/// A NAPALM getter that some kind answers.
#[derive(Clone, Copy, Debug)]
pub struct Getter {
    /// Its name.
    pub name: &'static str,
    /// What is asked for it.
    pub kind: Kind,
    /// Which of a platform's plans for the kind: some getters want less than the kind can tell.
    pub view: Option<&'static str>,
    project: fn(&Rows, &Quirks) -> Value,
}

/// Every getter that is offered, by name.
const GETTERS: &[Getter] = &[
    getter("get_arp_table", Kind::Arp, None, links::arp),
    getter("get_arp_table_with_vrf", Kind::Arp, None, links::arp),
    getter("get_bgp_neighbors", Kind::BgpSummary, None, bgp::summary),
    getter("get_bgp_neighbors_detail", Kind::BgpNeighbors, None, bgp::detail),
    getter("get_environment", Kind::Environment, None, device::environment),
    getter("get_facts", Kind::Facts, None, device::facts),
    getter("get_interfaces", Kind::Interfaces, None, links::interfaces),
    getter("get_interfaces_counters", Kind::Counters, None, links::counters),
    getter("get_interfaces_ip", Kind::InterfaceAddresses, None, links::addresses),
    getter("get_ipv6_neighbors_table", Kind::Nd, None, links::neighbors),
    getter("get_lldp_neighbors", Kind::Lldp, Some("summary"), links::lldp),
    getter("get_lldp_neighbors_detail", Kind::Lldp, None, links::lldp_detail),
    getter("get_mac_address_table", Kind::MacTable, None, links::mac_table),
    getter("get_network_instances", Kind::NetworkInstances, None, device::network_instances),
    getter("get_optics", Kind::Optics, None, device::optics),
    getter("get_route_to", Kind::RouteTo, None, routes::route_to),
    getter("get_route_to_longer", Kind::RouteTo, None, routes::route_to),
    getter("get_vlans", Kind::Vlans, None, links::vlans),
    getter("ping", Kind::Ping, None, probes::ping),
    getter("traceroute", Kind::Traceroute, None, probes::traceroute),
];

const fn getter(
    name: &'static str,
    kind: Kind,
    view: Option<&'static str>,
    project: fn(&Rows, &Quirks) -> Value,
) -> Getter {
    Getter { name, kind, view, project }
}

impl Getter {
    /// The getter of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        GETTERS.iter().find(|getter| getter.name == name)
    }

    /// Every getter's name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        GETTERS.iter().map(|getter| getter.name)
    }

    /// The answer in NAPALM's shape.
    pub fn project(&self, rows: &Rows, quirks: &Quirks) -> Value {
        (self.project)(rows, quirks)
    }
}

/// NAPALM's member, our field, and what stands for it where the router did not tell.
type Members<'a> = &'a [(&'a str, &'a str, Default)];

/// What NAPALM puts for what is not known.
#[derive(Clone, Copy)]
enum Default {
    Text(&'static str),
    Bool(bool),
    Int(i64),
    Real(f64),
    Null,
    List,
}

impl Default {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Bool(truth) => truth.into(),
            Self::Int(number) => number.into(),
            Self::Real(number) => number.into(),
            Self::Null => Value::Null,
            Self::List => Value::Array(Vec::new()),
        }
    }
}

fn object(row: &Row, members: Members<'_>, quirks: &Quirks) -> Map<String, Value> {
    let told = |field: &str| row.get(field).cloned();
    let members = members.iter().filter(|(name, _, _)| !quirks.omit.iter().any(|omitted| omitted == name));
    members
        .filter_map(|(name, field, default)| {
            let default = || quirks.defaults.get(*name).cloned().unwrap_or_else(|| default.value());
            let value = if quirks.sparse { told(field)? } else { told(field).unwrap_or_else(default) };
            let cut = quirks.last_digit.iter().any(|cut| cut == name);
            let value = value.as_u64().filter(|_| cut).map_or(value, |number| Value::from(number % 10));
            Some(((*name).to_owned(), value))
        })
        .collect()
}

fn text<'a>(row: &'a Row, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn instance<'a>(row: &'a Row, quirks: &'a Quirks, default: &'a str) -> &'a str {
    match (text(row, "network_instance"), &quirks.default_instance) {
        ("" | "default" | "global" | "master", Some(name)) => name,
        ("" | "default" | "global" | "master", None) => default,
        (name, _) => name,
    }
}

/// The member of that name, made if there is none.
fn member<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("was just made one")
}

/// Adds to the list of that name, made if there is none.
fn push(map: &mut Map<String, Value>, name: &str, item: Value) {
    if let Value::Array(items) = map.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new())) {
        items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getters_are_sorted_and_answer_without_rows() {
        assert!(GETTERS.is_sorted_by(|a, b| a.name < b.name));
        for getter in GETTERS {
            let empty = getter.project(&Rows::new(getter.kind), &Quirks::default());
            assert!(empty.is_array() || empty.is_object(), "{}", getter.name);
        }
    }

    #[test]
    fn the_default_instance_has_the_name_that_the_driver_gives_it() {
        let row: Row = serde_json::from_str(r#"{"network_instance": "default"}"#).unwrap();
        assert_eq!(instance(&row, &Quirks::default(), "global"), "global");
        let quirks = Quirks { default_instance: Some("default".into()), ..Quirks::default() };
        assert_eq!(instance(&row, &quirks, "global"), "default");
    }
}
