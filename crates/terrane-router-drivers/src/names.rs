//! Long names of interfaces: `Gi0/1` is `GigabitEthernet0/1` wherever one command prints the one and the next the other.

use std::collections::BTreeMap;
use std::sync::LazyLock;

static LONG: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("../knowledge/interface_names.toml")).expect("a test reads this file")
});

/// The long name; names that are not known to be short stay as they are.
pub(crate) fn long(name: &str) -> String {
    let name = name.trim();
    let end = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (letters, rest) = name.split_at(end);
    match LONG.get(&letters.trim().to_ascii_lowercase()) {
        Some(long) => format!("{long}{rest}"),
        None => name.to_owned(),
    }
}

/// A list of ports as switches print it, `Eth1/1-3, Po5`: long names, ranges written out.
pub(crate) fn ports(text: &str) -> Vec<String> {
    const RANGE_MAX: u32 = 1024;
    let mut ports = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let range = item.rsplit_once('-').and_then(|(head, last)| {
            let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let (stem, first) = head.split_at(head.len() - digits);
            Some((stem, first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
        });
        match range {
            Some((stem, first, last)) if first <= last && last - first < RANGE_MAX => {
                ports.extend((first..=last).map(|number| long(&format!("{stem}{number}"))));
            }
            _ => ports.push(long(item)),
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_long_and_others_stay() {
        assert_eq!(long("Gi0/1.100"), "GigabitEthernet0/1.100");
        assert_eq!(long("gigabitEthernet 0/1"), "GigabitEthernet0/1");
        assert_eq!(long("xe-0/0/0"), "xe-0/0/0");
        assert_eq!(long("CPU"), "CPU");
    }

    #[test]
    fn ranges_are_written_out() {
        assert_eq!(ports("Eth1/1-2, Po5"), ["Ethernet1/1", "Ethernet1/2", "Port-channel5"]);
        assert_eq!(ports("xe-0/0/1,Eth1/9-1"), ["xe-0/0/1", "Ethernet1/9-1"]);
    }
}
