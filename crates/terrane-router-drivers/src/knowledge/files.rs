//! Every file of the knowledge base: platform, name without `.toml`, text. A test compares the list with the directory.

macro_rules! files {
    ($($platform:literal: $($file:literal)+;)+) => {
        &[$($(($platform, $file, include_str!(concat!("../../knowledge/", $platform, "/", $file, ".toml"))),)+)+]
    };
}

pub(super) static FILES: &[(&str, &str, &str)] = files! {
    "eos": "arp" "bgp_neighbors" "bgp_summary" "counters" "environment" "facts" "interface_addresses"
        "interfaces" "lldp" "lldp.summary" "mac_table" "network_instances" "optics" "ping" "platform"
        "route_to" "vlans";
    "ios": "arp" "bgp_neighbors" "bgp_summary" "counters" "environment" "facts" "interface_addresses"
        "interfaces" "lldp" "lldp.summary" "mac_table" "nd" "network_instances" "optics" "ping" "platform"
        "route_to" "traceroute" "vlans";
    "iosxr_netconf": "arp" "bgp_summary" "environment" "facts" "interface_addresses" "interfaces" "lldp"
        "route_to";
    "junos": "arp" "bgp_neighbors" "bgp_summary" "counters" "environment" "facts" "interface_addresses"
        "interfaces" "lldp" "lldp.summary" "mac_table" "nd" "network_instances" "optics" "ping" "platform"
        "route_to" "traceroute" "vlans";
    "nxos": "arp" "bgp_summary" "environment" "facts" "interface_addresses" "interfaces" "lldp"
        "lldp.summary" "mac_table" "network_instances" "ping" "platform" "vlans";
    "nxos_ssh": "arp" "bgp_summary" "counters" "environment" "facts" "interface_addresses" "interfaces"
        "lldp" "lldp.summary" "mac_table" "network_instances" "platform" "route_to" "traceroute" "vlans";
};
