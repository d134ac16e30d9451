//! BGP sessions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Default, Quirks, instance, member, object, push, text};
use crate::{Row, Rows};

const PEER: super::Members<'_> = &[
    ("local_as", "local_as", Default::Int(-1)),
    ("remote_as", "peer_as", Default::Int(-1)),
    ("remote_id", "remote_router_id", Default::Text("")),
    ("is_up", "established", Default::Bool(false)),
    ("is_enabled", "enabled", Default::Bool(true)),
    ("description", "description", Default::Text("")),
    ("uptime", "uptime_s", Default::Int(-1)),
];

const FAMILY: super::Members<'_> = &[
    ("received_prefixes", "prefixes_received", Default::Int(-1)),
    ("accepted_prefixes", "prefixes_accepted", Default::Int(-1)),
    ("sent_prefixes", "prefixes_sent", Default::Int(-1)),
];

const DETAIL: super::Members<'_> = &[
    ("up", "established", Default::Bool(false)),
    ("local_as", "local_as", Default::Int(0)),
    ("remote_as", "peer_as", Default::Int(0)),
    ("router_id", "remote_router_id", Default::Text("")),
    ("local_address", "local_address", Default::Text("")),
    ("local_address_configured", "local_address_configured", Default::Bool(false)),
    ("local_port", "local_port", Default::Int(0)),
    ("routing_table", "routing_table", Default::Text("")),
    ("remote_address", "neighbor_address", Default::Text("")),
    ("remote_port", "remote_port", Default::Int(0)),
    ("multihop", "multihop", Default::Bool(false)),
    ("multipath", "multipath", Default::Bool(false)),
    ("remove_private_as", "remove_private_as", Default::Bool(false)),
    ("import_policy", "import_policy", Default::Text("")),
    ("export_policy", "export_policy", Default::Text("")),
    ("input_messages", "messages_received", Default::Int(0)),
    ("output_messages", "messages_sent", Default::Int(0)),
    ("input_updates", "updates_received", Default::Int(0)),
    ("output_updates", "updates_sent", Default::Int(0)),
    ("messages_queued_out", "messages_queued_out", Default::Int(0)),
    ("connection_state", "session_state", Default::Text("")),
    ("previous_connection_state", "previous_session_state", Default::Text("")),
    ("last_event", "last_event", Default::Text("")),
    ("suppress_4byte_as", "suppress_4byte_as", Default::Bool(false)),
    ("local_as_prepend", "local_as_prepend", Default::Bool(false)),
    ("holdtime", "hold_time", Default::Int(0)),
    ("configured_holdtime", "hold_time_configured", Default::Int(0)),
    ("keepalive", "keepalive", Default::Int(0)),
    ("configured_keepalive", "keepalive_configured", Default::Int(0)),
    ("active_prefix_count", "prefixes_active", Default::Int(0)),
    ("received_prefix_count", "prefixes_received", Default::Int(0)),
    ("accepted_prefix_count", "prefixes_accepted", Default::Int(0)),
    ("suppressed_prefix_count", "prefixes_suppressed", Default::Int(0)),
    ("advertised_prefix_count", "prefixes_sent", Default::Int(0)),
    ("flap_count", "flaps", Default::Int(0)),
];

/// Rows of one session tell of it together: its own row and one per address family.
pub(super) fn summary(rows: &Rows, quirks: &Quirks) -> Value {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.contains_key("afi")) {
        last.insert(instance(row, quirks, "global"), text(row, "afi"));
    }
    let wanted = |row: &&Row| {
        !quirks.last_family
            || !row.contains_key("afi")
            || last.get(instance(row, quirks, "global")) == Some(&text(row, "afi"))
    };
    let mut answer = Map::new();
    let mut sessions: BTreeMap<(String, String), Row> = BTreeMap::new();
    for row in rows.iter().filter(wanted) {
        let name = instance(row, quirks, "global").to_owned();
        let peer = text(row, "neighbor_address").to_owned();
        if peer.is_empty() {
            continue;
        }
        let session = sessions.entry((name, peer)).or_default();
        for (field, value) in row {
            session.entry(field.clone()).or_insert_with(|| value.clone());
        }
    }
    for row in rows.iter().filter(wanted) {
        let of = member(&mut answer, instance(row, quirks, "global"));
        if let Some(id) = row.get("router_id") {
            of.entry("router_id").or_insert_with(|| id.clone());
        }
        member(of, "peers");
    }
    for ((name, peer), session) in &sessions {
        let mut members = object(session, PEER, quirks);
        truncate(&mut members, "uptime");
        members.insert("address_family".into(), Value::Object(Map::new()));
        member(member(&mut answer, name), "peers").insert(peer.clone(), Value::Object(members));
    }
    for row in rows.iter().filter(wanted) {
        let (peer, afi) = (text(row, "neighbor_address"), text(row, "afi"));
        if !peer.is_empty() && !afi.is_empty() {
            let peers = member(member(&mut answer, instance(row, quirks, "global")), "peers");
            let families = member(member(peers, peer), "address_family");
            families.insert(afi.to_owned(), Value::Object(object(row, FAMILY, quirks)));
        }
    }
    Value::Object(answer)
}

fn truncate(members: &mut Map<String, Value>, name: &str) {
    if let Some(value) = members.get_mut(name)
        && let Some(real) = value.as_f64()
    {
        *value = Value::from(real as i64);
    }
}

pub(super) fn detail(rows: &Rows, quirks: &Quirks) -> Value {
    let mut answer = Map::new();
    for row in rows.iter() {
        let peer_as = row.get("peer_as").map(ToString::to_string).unwrap_or_default();
        let by_as = member(&mut answer, instance(row, quirks, "global"));
        push(by_as, &peer_as, Value::Object(object(row, DETAIL, quirks)));
    }
    Value::Object(answer)
}
