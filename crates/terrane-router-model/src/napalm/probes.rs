//! Ping and traceroute.

use serde_json::{Map, Value, json};

use super::{Default, Quirks, member, object, text};
use crate::Rows;

/// The row without a `sequence` is the summary, the others are the replies.
pub(super) fn ping(rows: &Rows, quirks: &Quirks) -> Value {
    const SUMMARY: super::Members<'_> = &[
        ("probes_sent", "sent", Default::Int(0)),
        ("packet_loss", "lost", Default::Int(0)),
        ("rtt_min", "rtt_min_ms", Default::Real(0.0)),
        ("rtt_max", "rtt_max_ms", Default::Real(0.0)),
        ("rtt_avg", "rtt_avg_ms", Default::Real(0.0)),
        ("rtt_stddev", "rtt_stddev_ms", Default::Real(0.0)),
    ];
    const REPLY: super::Members<'_> =
        &[("ip_address", "address", Default::Text("")), ("rtt", "rtt_ms", Default::Real(0.0))];
    if let Some(error) = rows.iter().find_map(|row| row.get("error")) {
        return json!({"error": error});
    }
    let mut success = Map::new();
    for row in rows.iter().filter(|row| !row.contains_key("sequence")) {
        success.extend(object(row, SUMMARY, quirks));
    }
    let replies = rows.iter().filter(|row| row.contains_key("sequence"));
    let replies: Vec<Value> = replies.map(|row| Value::Object(object(row, REPLY, quirks))).collect();
    success.insert("results".into(), Value::Array(replies));
    json!({"success": success})
}

pub(super) fn traceroute(rows: &Rows, quirks: &Quirks) -> Value {
    const PROBE: super::Members<'_> = &[
        ("rtt", "rtt_ms", Default::Real(0.0)),
        ("ip_address", "address", Default::Text("*")),
        ("host_name", "host", Default::Text("*")),
    ];
    if let Some(error) = rows.iter().find(|row| row.contains_key("error")) {
        return json!({"error": text(error, "error")});
    }
    let mut hops = Map::new();
    for row in rows.iter() {
        let number = |field: &str| row.get(field).map(ToString::to_string).unwrap_or_default();
        let probes = member(member(&mut hops, &number("hop")), "probes");
        let index = if number("probe").is_empty() { probes.len() + 1 } else { 0 };
        let name = if index > 0 { index.to_string() } else { number("probe") };
        probes.insert(name, Value::Object(object(row, PROBE, quirks)));
    }
    json!({"success": hops})
}
