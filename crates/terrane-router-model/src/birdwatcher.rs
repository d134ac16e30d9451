//! birdwatcher's JSON (alice-lg/birdwatcher), so that Alice-LG can sit on top of any router.

use serde_json::{Map, Value, json};

use crate::{Row, Rows};

/// `/protocols/bgp`: sessions by a name that is stable for them.
pub fn protocols(sessions: &Rows) -> Value {
    let mut protocols: Map<String, Value> = Map::new();
    for row in sessions.iter().filter(|row| row.contains_key("neighbor_address")) {
        let peer = row.get("neighbor_address").and_then(Value::as_str).unwrap_or_default();
        let up = row.get("established").and_then(Value::as_bool).unwrap_or_default();
        let count = |field: &str| row.get(field).and_then(Value::as_u64).unwrap_or_default();
        let received = count("prefixes_received");
        let protocol = json!({
            "protocol": peer,
            "bird_protocol": "BGP",
            "state": if up { "up" } else { "down" },
            "bgp_state": if up { "Established" } else { "Down" },
            "neighbor_address": peer,
            "neighbor_as": row.get("peer_as"),
            "description": row.get("description").cloned().unwrap_or_else(|| "".into()),
            "routes": {
                "imported": count("prefixes_accepted"),
                "filtered": received.saturating_sub(count("prefixes_accepted")),
                "exported": count("prefixes_sent"),
            },
        });
        protocols.insert(peer.to_owned(), protocol);
    }
    json!({"protocols": protocols})
}

/// `/routes/…`: routes with their BGP attributes.
pub fn routes(routes: &Rows) -> Value {
    json!({"routes": routes.iter().map(route).collect::<Vec<_>>()})
}

fn route(row: &Row) -> Value {
    let told = |field: &str| row.get(field).cloned().unwrap_or(Value::Null);
    let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
    let communities: Vec<Value> = row
        .get("communities")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|community| community.split(':').filter_map(|part| part.parse::<u32>().ok()).collect())
        .collect();
    json!({
        "network": told("prefix"),
        "gateway": told("next_hop"),
        "from_protocol": told("neighbor_address"),
        "primary": row.get("best").and_then(Value::as_bool).unwrap_or_default(),
        "bgp": {
            "origin": told("origin"),
            "as_path": text("as_path").split_whitespace().collect::<Vec<_>>(),
            "next_hop": told("next_hop"),
            "local_pref": told("local_pref"),
            "med": told("med"),
            "communities": communities,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn sessions_and_routes_have_the_members_that_alice_reads() {
        let mut rows = Rows::new(Kind::BgpSummary);
        let raw = json!({"neighbor_address": "192.0.2.1", "established": true, "prefixes_received": 3, "prefixes_accepted": 2});
        rows.add(raw.as_object().unwrap().clone());
        assert_eq!(protocols(&rows)["protocols"]["192.0.2.1"]["routes"]["filtered"], 1);
        let mut rows = Rows::new(Kind::LocRib);
        let raw = json!({"prefix": "192.0.2.0/24", "as_path": "1 2", "communities": ["1:2"]});
        rows.add(raw.as_object().unwrap().clone());
        let answer = routes(&rows);
        assert_eq!(answer["routes"][0]["bgp"]["communities"], json!([[1, 2]]));
        assert_eq!(answer["routes"][0]["bgp"]["as_path"], json!(["1", "2"]));
    }
}
