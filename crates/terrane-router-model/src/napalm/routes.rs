//! Routes to a destination.

use serde_json::{Map, Value};

use super::{Default, Quirks, object, push, text};
use crate::{Row, Rows};

const ROUTE: super::Members<'_> = &[
    ("protocol", "protocol", Default::Text("")),
    ("current_active", "active", Default::Bool(false)),
    ("last_active", "last_active", Default::Bool(false)),
    ("age", "age_s", Default::Int(0)),
    ("next_hop", "next_hop", Default::Text("")),
    ("outgoing_interface", "interface", Default::Text("")),
    ("selected_next_hop", "selected", Default::Bool(false)),
    ("preference", "preference", Default::Int(0)),
    ("inactive_reason", "inactive_reason", Default::Text("")),
    ("routing_table", "routing_table", Default::Text("default")),
];

const BGP: super::Members<'_> = &[
    ("local_as", "local_as", Default::Null),
    ("remote_as", "peer_as", Default::Null),
    ("remote_address", "remote_address", Default::Null),
    ("as_path", "as_path", Default::Null),
    ("communities", "communities", Default::Null),
    ("local_preference", "local_pref", Default::Null),
    ("preference2", "preference2", Default::Null),
    ("metric", "metric", Default::Null),
    ("metric2", "metric2", Default::Null),
    ("level", "level", Default::Null),
    ("metric_type", "metric_type", Default::Null),
];

pub(super) fn route_to(rows: &Rows, quirks: &Quirks) -> Value {
    let mut answer = Map::new();
    let attributes = Quirks { sparse: true, ..quirks.clone() };
    for row in rows.iter() {
        let mut route = object(row, ROUTE, quirks);
        route.insert("protocol_attributes".into(), Value::Object(of_protocol(row, &attributes)));
        push(&mut answer, text(row, "prefix"), Value::Object(route));
    }
    Value::Object(answer)
}

/// What only the route's own protocol knows.
fn of_protocol(row: &Row, quirks: &Quirks) -> Map<String, Value> {
    let told = object(row, BGP, quirks);
    if quirks.attributes.is_empty() {
        return told;
    }
    let names = quirks.attributes.get(&text(row, "protocol").to_lowercase());
    let names = names.map(Vec::as_slice).unwrap_or_default().iter();
    names.map(|name| (name.clone(), told.get(name).cloned().unwrap_or(Value::Null))).collect()
}
