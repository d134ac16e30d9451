use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{CredentialId, Time};

fn key(kind: Kind, instance: Option<&str>, neighbor: Option<&str>) -> CommandKey {
    CommandKey {
        kind,
        credential: CredentialId(1),
        network_instance: instance.map(Arc::from),
        neighbor: neighbor.map(|text| text.parse().unwrap()),
        address_family: None,
        command: "show".into(),
        knowledge: 1,
    }
}

fn seen(key: CommandKey, rows: &[Value], grant: &Grant, filter: &Filter) -> Vec<Value> {
    let mut held = Rows::new(key.kind);
    for row in rows {
        assert!(held.add(row.as_object().unwrap().clone()));
    }
    let observation = Observation { key, rows: held, observed_at: Time(0), bytes: 0, is_complete: true };
    view(&observation, grant, filter, Bugs::NONE).iter().cloned().map(Value::Object).collect()
}

fn own() -> Grant {
    Grant::Own(Connection {
        network_instance: "red".into(),
        interface: "Ethernet1.100".into(),
        vlan: Some(100),
        peer: "10.0.0.2".parse().unwrap(),
    })
}

#[test]
fn two_instances_with_the_same_peer_are_two_sessions() {
    let red = json!({"network_instance": "red", "neighbor_address": "10.0.0.2", "peer_as": 65001});
    let blue = json!({"network_instance": "blue", "neighbor_address": "10.0.0.2", "peer_as": 65002});
    let nobody = json!({"neighbor_address": "10.0.0.2", "peer_as": 65003});
    let rows = [red.clone(), blue, nobody.clone()];
    let all = key(Kind::BgpNeighbors, None, None);
    assert_eq!(seen(all.clone(), &rows, &own(), &Filter::default()), [red]);
    assert_eq!(seen(all, &rows, &Grant::All, &Filter::default()).len(), 3);
    // Asked of one instance, what does not say its own is of that one.
    let of_blue = key(Kind::BgpNeighbors, Some("blue"), None);
    assert_eq!(seen(of_blue, &[nobody], &own(), &Filter::default()), [Value::Null; 0]);
}

#[test]
fn routes_are_of_the_neighbour_that_was_asked_for() {
    let route = json!({"network_instance": "red", "prefix": "192.0.2.0/24"});
    let rows = [route.clone()];
    let mine = key(Kind::AdjRibIn, Some("red"), Some("10.0.0.2"));
    assert_eq!(seen(mine, &rows, &own(), &Filter::default()), [route]);
    let other = key(Kind::AdjRibIn, Some("red"), Some("10.0.0.3"));
    assert_eq!(seen(other, &rows, &own(), &Filter::default()).len(), 0);
}

#[test]
fn a_vlan_does_not_name_the_ports_of_others() {
    let rows = [
        json!({"vlan_id": 100, "interfaces": ["Ethernet1.100", "Ethernet2.100"]}),
        json!({"vlan_id": 200, "interfaces": ["Ethernet1.100"]}),
    ];
    let mine = seen(key(Kind::Vlans, None, None), &rows, &own(), &Filter::default());
    assert_eq!(mine, [json!({"vlan_id": 100, "interfaces": ["Ethernet1.100"]})]);
}

#[test]
fn filters_choose_among_ones_own() {
    let rows = ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/16", "2001:db8::/32"]
        .map(|prefix| json!({"network_instance": "red", "neighbor_address": "10.0.0.2", "prefix": prefix}));
    let count = |grant: &Grant, prefix: &str, longer| {
        let filter = Filter { prefix: Some(prefix.into()), longer, ..Filter::default() };
        seen(key(Kind::AdjRibOut, None, None), &rows, grant, &filter).len()
    };
    assert_eq!((count(&own(), "10.0.0.0/8", false), count(&own(), "10.0.0.0/8", true)), (1, 3));
    assert_eq!((count(&own(), "0.0.0.0/0", true), count(&own(), "::/0", true)), (3, 1));
    assert_eq!(count(&own(), "10.0.0.0/33", true), 0);
}

#[test]
fn what_tells_of_others_is_not_for_customers() {
    for kind in [Kind::Facts, Kind::LocRib, Kind::RouteTo, Kind::NetworkInstances, Kind::Environment] {
        assert!(!allows(&own(), kind) && allows(&Grant::All, kind));
        assert!(
            seen(
                key(kind, Some("red"), None),
                &[json!({"name": "x", "component": "x", "prefix": "::/0"})],
                &own(),
                &Filter::default()
            )
            .is_empty()
        );
    }
}

proptest! {
    /// Whatever a client filters for, it sees a part of what it sees without a filter.
    #[test]
    fn no_filter_shows_more(
        rows in proptest::collection::vec((0usize..3, 0usize..3, 0usize..3, 0usize..3), 0..20),
        filter in (0usize..4, 0usize..4, 0usize..4, any::<bool>(), 0u16..4),
    ) {
        let instances = ["red", "blue", "red2"];
        let peers = ["10.0.0.2", "10.0.0.3", "10.0.0.20"];
        let prefixes = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16"];
        let interfaces = ["Ethernet1.100", "Ethernet1.10", "Ethernet1"];
        let pick = |of: [&str; 3], at: usize| of.get(at).map(|text| (*text).to_owned());
        for kind in Kind::ALL {
            let rows: Vec<Value> = rows.iter().map(|(instance, peer, prefix, interface)| json!({
                "network_instance": instances[*instance], "neighbor_address": peers[*peer], "address": peers[*peer],
                "prefix": prefixes[*prefix], "interface": interfaces[*interface], "name": interfaces[*interface],
                "vlan_id": 100 + prefix, "mac_address": "00:00:00:00:00:01", "component": "x", "channel": 0,
            })).collect();
            let all = seen(key(kind, None, None), &rows, &own(), &Filter::default());
            let chosen = Filter {
                interface: pick(interfaces, filter.0),
                neighbor: pick(peers, filter.1),
                prefix: pick(prefixes, filter.2),
                longer: filter.3,
                vlan: (filter.4 > 0).then_some(99 + filter.4),
            };
            for row in seen(key(kind, None, None), &rows, &own(), &chosen) {
                prop_assert!(all.contains(&row), "{kind}: {row}");
            }
            for row in &all {
                for (field, value) in [("network_instance", "red"), ("interface", "Ethernet1.100"), ("neighbor_address", "10.0.0.2")] {
                    prop_assert!(kind.is_action() || row.get(field).is_none_or(|said| said == value), "{kind}: {row}");
                }
            }
        }
    }
}
