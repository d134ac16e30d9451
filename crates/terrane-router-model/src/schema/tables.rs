//! The tables of fields. Units are the last part of a name: `_s` seconds, `_mbps`, `_dbm`, `_ma`, `_ms`, `_w`, `_c`
//! degrees Celsius. `_at` is seconds since 1970 by the router's clock, `_age_s` seconds before the observation.

use super::{Field, Schema, Type};
use crate::Kind;

macro_rules! schema {
    ($name:ident = $kind:ident, $key:expr, { $($ty:ident: $($field:ident)+;)+ }) => {
        static $name: Schema = Schema {
            kind: Kind::$kind,
            key: $key,
            fields: &[$($(Field { name: stringify!($field), ty: Type::$ty },)+)+],
        };
    };
}

pub(super) fn of(kind: Kind) -> &'static Schema {
    match kind {
        Kind::Facts => &FACTS,
        Kind::Interfaces => &INTERFACES,
        Kind::Counters => &COUNTERS,
        Kind::InterfaceAddresses => &INTERFACE_ADDRESSES,
        Kind::Lldp => &LLDP,
        Kind::Vlans => &VLANS,
        Kind::MacTable => &MAC_TABLE,
        Kind::NetworkInstances => &NETWORK_INSTANCES,
        Kind::Environment => &ENVIRONMENT,
        Kind::Optics => &OPTICS,
        Kind::Ping => &PING,
        Kind::Traceroute => &TRACEROUTE,
        Kind::AdjRibIn => &ADJ_RIB_IN,
        Kind::AdjRibOut => &ADJ_RIB_OUT,
        Kind::LocRib => &LOC_RIB,
        Kind::Arp => &ARP,
        Kind::Nd => &ND,
        Kind::BgpSummary => &BGP_SUMMARY,
        Kind::BgpNeighbors => &BGP_NEIGHBORS,
        Kind::RouteTo => &ROUTE_TO,
    }
}

schema!(FACTS = Facts, Some(&[]), {
    Text: vendor model serial_number os_version hostname fqdn;
    Real: uptime_s;
    List: interfaces;
});

schema!(INTERFACES = Interfaces, Some(&["name"]), {
    // `mac_address_absent`: what the router prints where there is no MAC address.
    Text: name description mac_address_absent;
    Bool: enabled oper_up;
    Mac: mac_address;
    Unsigned: mtu;
    Real: speed_mbps last_change_age_s last_change_at;
});

schema!(COUNTERS = Counters, Some(&["name"]), {
    Text: name;
    Unsigned: in_octets out_octets in_unicast_pkts out_unicast_pkts in_multicast_pkts out_multicast_pkts
        in_broadcast_pkts out_broadcast_pkts in_errors out_errors in_discards out_discards;
});

schema!(INTERFACE_ADDRESSES = InterfaceAddresses, Some(&["interface", "address"]), {
    Text: interface network_instance;
    Address: address;
    Unsigned: prefix_length;
});

schema!(LLDP = Lldp, None, {
    Text: interface parent_interface system_name system_description port_id port_description chassis_id;
    List: capabilities enabled_capabilities;
});

schema!(VLANS = Vlans, Some(&["vlan_id"]), {
    Unsigned: vlan_id;
    Text: name;
    List: interfaces;
});

schema!(MAC_TABLE = MacTable, None, {
    Mac: mac_address;
    Text: interface;
    Unsigned: vlan_id moves;
    Bool: is_static active;
    Real: last_move_age_s last_move_at;
});

schema!(NETWORK_INSTANCES = NetworkInstances, Some(&["name"]), {
    Text: name instance_type route_distinguisher;
    List: interfaces;
});

schema!(ENVIRONMENT = Environment, Some(&["component", "name"]), {
    Text: component name;
    Bool: ok alert critical;
    Real: temperature_c output_w capacity_w usage_percent;
    Unsigned: used_ram available_ram;
});

schema!(OPTICS = Optics, Some(&["interface", "channel"]), {
    // `laser_bias_alarm`: the sign of an alarm or warning that the figure carries, `++` to `--`.
    Text: interface laser_bias_alarm;
    Unsigned: channel;
    Real: output_power_dbm output_power_min_dbm output_power_avg_dbm output_power_max_dbm
        input_power_dbm input_power_min_dbm input_power_avg_dbm input_power_max_dbm
        laser_bias_ma laser_bias_min_ma laser_bias_avg_ma laser_bias_max_ma;
});

schema!(PING = Ping, None, {
    Text: error;
    Unsigned: sent lost sequence;
    Address: address;
    Real: rtt_min_ms rtt_avg_ms rtt_max_ms rtt_stddev_ms rtt_ms;
});

schema!(TRACEROUTE = Traceroute, None, {
    Unsigned: hop probe;
    Text: address host error;
    Real: rtt_ms;
});

schema!(ADJ_RIB_IN = AdjRibIn, None, {
    Text: network_instance afi neighbor_address prefix next_hop as_path origin rejected_reason;
    Unsigned: local_pref med path_id;
    Bool: accepted best loop_rejected;
    List: communities large_communities extended_communities;
    Real: age_s;
});

schema!(ADJ_RIB_OUT = AdjRibOut, None, {
    Text: network_instance afi neighbor_address prefix next_hop as_path origin attributes;
    Unsigned: local_pref med path_id;
    List: communities large_communities extended_communities;
});

schema!(LOC_RIB = LocRib, None, {
    Text: network_instance afi neighbor_address prefix next_hop as_path origin protocol;
    Unsigned: local_pref med path_id;
    Bool: best;
    List: communities large_communities extended_communities;
    Real: age_s;
});

schema!(ARP = Arp, None, {
    Text: network_instance interface state;
    Address: address;
    Mac: mac_address;
    Real: age_s;
});

schema!(ND = Nd, None, {
    Text: network_instance interface state;
    Address: address;
    Mac: mac_address;
    Real: age_s;
});

schema!(BGP_SUMMARY = BgpSummary, Some(&["network_instance", "neighbor_address", "afi"]), {
    Address: neighbor_address;
    Text: network_instance afi description router_id remote_router_id;
    Unsigned: local_as peer_as prefixes_received prefixes_accepted prefixes_sent;
    Bool: established enabled;
    Real: uptime_s;
});

schema!(BGP_NEIGHBORS = BgpNeighbors, Some(&["network_instance", "neighbor_address", "afi"]), {
    Address: neighbor_address;
    Text: network_instance afi description router_id remote_router_id local_address
        routing_table import_policy export_policy session_state previous_session_state last_event;
    Unsigned: local_as peer_as local_port remote_port messages_received messages_sent updates_received
        updates_sent messages_queued_out hold_time hold_time_configured keepalive keepalive_configured
        prefixes_active prefixes_received prefixes_accepted prefixes_suppressed prefixes_sent flaps;
    Bool: established enabled local_address_configured multihop multipath remove_private_as
        suppress_4byte_as local_as_prepend;
    Real: uptime_s;
});

schema!(ROUTE_TO = RouteTo, None, {
    Text: network_instance prefix protocol next_hop interface routing_table inactive_reason as_path
        remote_address neighbor_group metric_type;
    Signed: preference2;
    Unsigned: preference metric metric2 local_as peer_as local_pref level;
    Bool: active last_active selected;
    Real: age_s;
    List: communities;
});
