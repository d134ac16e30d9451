//! The tables of fields. Units are the last part of a name: `_s` seconds, `_mbps`, `_dbm`, `_ma`, `_ms`, `_w`, `_c`
//! degrees Celsius. `_at` is seconds since 1970 by the router's clock, `_age_s` seconds before the observation.

use super::{Field, Schema, Type};
use crate::Kind;

macro_rules! schema {
    ($kind:ident, $key:expr, { $($ty:ident: $($name:ident)+;)+ }) => {{
        static SCHEMA: Schema = Schema {
            kind: Kind::$kind,
            key: $key,
            fields: &[$($(Field { name: stringify!($name), ty: Type::$ty },)+)+],
        };
        &SCHEMA
    }};
}

pub(super) fn of(kind: Kind) -> &'static Schema {
    match kind {
        Kind::Facts => schema!(Facts, Some(&[]), {
            Text: vendor model serial_number os_version hostname fqdn;
            Real: uptime_s;
            List: interfaces;
        }),
        Kind::Interfaces => schema!(Interfaces, Some(&["name"]), {
            // `mac_address_absent`: what the router prints where there is no MAC address.
            Text: name description mac_address_absent;
            Bool: enabled oper_up;
            Mac: mac_address;
            Unsigned: mtu;
            Real: speed_mbps last_change_age_s last_change_at;
        }),
        Kind::Counters => schema!(Counters, Some(&["name"]), {
            Text: name;
            Unsigned: in_octets out_octets in_unicast_pkts out_unicast_pkts in_multicast_pkts out_multicast_pkts
                in_broadcast_pkts out_broadcast_pkts in_errors out_errors in_discards out_discards;
        }),
        Kind::InterfaceAddresses => schema!(InterfaceAddresses, Some(&["interface", "address"]), {
            Text: interface network_instance;
            Address: address;
            Unsigned: prefix_length;
        }),
        Kind::Arp => neighbors_v4(),
        Kind::Nd => neighbors_v6(),
        Kind::Lldp => schema!(Lldp, None, {
            Text: interface parent_interface system_name system_description port_id port_description chassis_id;
            List: capabilities enabled_capabilities;
        }),
        Kind::Vlans => schema!(Vlans, Some(&["vlan_id"]), {
            Unsigned: vlan_id;
            Text: name;
            List: interfaces;
        }),
        Kind::MacTable => schema!(MacTable, None, {
            Mac: mac_address;
            Text: interface;
            Unsigned: vlan_id moves;
            Bool: is_static active;
            Real: last_move_age_s last_move_at;
        }),
        Kind::NetworkInstances => schema!(NetworkInstances, Some(&["name"]), {
            Text: name instance_type route_distinguisher;
            List: interfaces;
        }),
        Kind::Environment => schema!(Environment, Some(&["component", "name"]), {
            Text: component name;
            Bool: ok alert critical;
            Real: temperature_c output_w capacity_w usage_percent;
            Unsigned: used_ram available_ram;
        }),
        Kind::Optics => schema!(Optics, Some(&["interface", "channel"]), {
            Text: interface;
            Unsigned: channel;
            Real: output_power_dbm output_power_min_dbm output_power_avg_dbm output_power_max_dbm
                input_power_dbm input_power_min_dbm input_power_avg_dbm input_power_max_dbm
                laser_bias_ma laser_bias_min_ma laser_bias_avg_ma laser_bias_max_ma;
        }),
        Kind::Ping => schema!(Ping, None, {
            Text: error;
            Unsigned: sent lost sequence;
            Address: address;
            Real: rtt_min_ms rtt_avg_ms rtt_max_ms rtt_stddev_ms rtt_ms;
        }),
        Kind::Traceroute => schema!(Traceroute, None, {
            Unsigned: hop probe;
            Text: address host error;
            Real: rtt_ms;
        }),
        Kind::BgpSummary => bgp_summary(),
        Kind::BgpNeighbors => bgp_neighbors(),
        Kind::RouteTo => route_to(),
        Kind::AdjRibIn => schema!(AdjRibIn, None, {
            Text: network_instance afi neighbor_address prefix next_hop as_path origin rejected_reason;
            Unsigned: local_pref med path_id;
            Bool: accepted best loop_rejected;
            List: communities large_communities extended_communities;
            Real: age_s;
        }),
        Kind::AdjRibOut => schema!(AdjRibOut, None, {
            Text: network_instance afi neighbor_address prefix next_hop as_path origin attributes;
            Unsigned: local_pref med path_id;
            List: communities large_communities extended_communities;
        }),
        Kind::LocRib => schema!(LocRib, None, {
            Text: network_instance afi neighbor_address prefix next_hop as_path origin protocol;
            Unsigned: local_pref med path_id;
            Bool: best;
            List: communities large_communities extended_communities;
            Real: age_s;
        }),
    }
}

fn neighbors_v4() -> &'static Schema {
    schema!(Arp, None, {
        Text: network_instance interface state;
        Address: address;
        Mac: mac_address;
        Real: age_s;
    })
}

fn neighbors_v6() -> &'static Schema {
    schema!(Nd, None, {
        Text: network_instance interface state;
        Address: address;
        Mac: mac_address;
        Real: age_s;
    })
}

fn bgp_summary() -> &'static Schema {
    schema!(BgpSummary, Some(&["network_instance", "neighbor_address", "afi"]), {
        Text: network_instance neighbor_address afi description router_id remote_router_id;
        Unsigned: local_as peer_as prefixes_received prefixes_accepted prefixes_sent;
        Bool: established enabled;
        Real: uptime_s;
    })
}

fn bgp_neighbors() -> &'static Schema {
    schema!(BgpNeighbors, Some(&["network_instance", "neighbor_address", "afi"]), {
        Text: network_instance neighbor_address afi description router_id remote_router_id local_address
            routing_table import_policy export_policy session_state previous_session_state last_event;
        Unsigned: local_as peer_as local_port remote_port messages_received messages_sent updates_received
            updates_sent messages_queued_out hold_time hold_time_configured keepalive keepalive_configured
            prefixes_active prefixes_received prefixes_accepted prefixes_suppressed prefixes_sent flaps;
        Bool: established enabled local_address_configured multihop multipath remove_private_as
            suppress_4byte_as local_as_prepend;
        Real: uptime_s;
    })
}

fn route_to() -> &'static Schema {
    schema!(RouteTo, None, {
        Text: network_instance prefix protocol next_hop interface routing_table inactive_reason as_path
            remote_address neighbor_group metric_type;
        Signed: preference2;
        Unsigned: preference metric metric2 local_as peer_as local_pref level;
        Bool: active last_active selected;
        Real: age_s;
        List: communities;
    })
}
