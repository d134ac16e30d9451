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
}
