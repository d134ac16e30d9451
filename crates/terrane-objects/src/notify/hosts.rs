//! Whom webhooks may reach.
//!
//! Whoever owns a bucket chooses a URL, and the server posts to it from within the operator's network: without a rule
//! that is a way to talk to what only the server can reach. Only public addresses are reached unless the operator lists
//! others, and it is the address that is connected to that counts, not what a name meant when the webhook was set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Hosts and networks that webhooks may reach although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookHosts {
    /// Lower case; one that begins with a dot stands for all names that end so.
    names: Vec<String>,
    networks: Vec<(IpAddr, u32)>,
}

/// An entry that is neither a name, `*.` and a name, an address, nor a network `ADDRESS/BITS`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host name, address or network")]
pub struct BadHost(String);

impl WebhookHosts {
    /// Reads a list of entries: `hooks.internal`, `*.internal`, `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`.
    ///
    /// # Errors
    /// The first entry that is none.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, BadHost> {
        let mut hosts = Self::default();
        for entry in entries {
            let entry = entry.as_ref();
            let bad = || BadHost(entry.into());
            let (address, bits) = entry.split_once('/').map_or((entry, None), |(a, bits)| (a, Some(bits)));
            if let Ok(address) = address.parse::<IpAddr>() {
                let most = if address.is_ipv4() { 32 } else { 128 };
                let bits = bits.map_or(Ok(most), |bits| bits.parse::<u32>().map_err(|_| bad()))?;
                if bits > most {
                    return Err(bad());
                }
                hosts.networks.push((address, bits));
                continue;
            }
            let name = entry.strip_prefix('*').unwrap_or(entry).to_ascii_lowercase();
            let labels = name.strip_prefix('.').unwrap_or(&name);
            let legal = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            };
            let suffix = entry.starts_with('*');
            if bits.is_some() || suffix != name.starts_with('.') || !labels.split('.').all(legal) {
                return Err(bad());
            }
            hosts.names.push(name);
        }
        Ok(hosts)
    }

    fn lists(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.names.iter().any(|own| name == *own || own.starts_with('.') && name.ends_with(own.as_str()))
    }

    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.networks.iter().any(|(network, bits)| contains(*network, *bits, address))
    }

    /// Whether a URL's host may be reached, as far as that shows without asking for its addresses.
    pub(super) fn admits_url(&self, url: &reqwest::Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        literal.map_or(true, |address| self.admits(address))
    }
}

/// Looks names up and leaves out what may not be reached.
pub(super) struct Resolver(pub(super) Arc<WebhookHosts>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = self.0.clone();
        Box::pin(async move {
            let listed = hosts.lists(name.as_str());
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> =
                found.filter(|address| listed || hosts.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err("the host has no address that webhooks may reach".into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// Networks that are not (or not surely) the internet's: IANA's registries of special-purpose addresses.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The only block of IPv6 that is routed, and what in it is special: protocol assignments (Teredo and ORCHID with
/// them), documentation, 6to4.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(net, bits)| contains((*net).into(), *bits, address)),
        IpAddr::V6(_) => {
            contains(GLOBAL_V6.0.into(), GLOBAL_V6.1, address)
                && !SPECIAL_V6.iter().any(|(net, bits)| contains((*net).into(), *bits, address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_reached_unless_told_otherwise() {
        let url = |host: &str| reqwest::Url::parse(&format!("http://{host}/hook")).unwrap();
        let none = WebhookHosts::default();
        for host in ["1.1.1.1", "[2606:4700::1111]", "example.com", "172.32.0.1", "100.128.0.1"] {
            assert!(none.admits_url(&url(host)), "{host}");
        }
        let inside = [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[ff02::1]",
        ];
        for host in inside {
            assert!(!none.admits_url(&url(host)), "{host}");
        }
        let some = WebhookHosts::parse(["10.1.0.0/16", "127.0.0.1", "fd00::/8"]).unwrap();
        for (host, admitted) in [
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("127.0.0.1", true),
            ("[fd01::1]", true),
            ("[::1]", false),
        ] {
            assert_eq!(some.admits_url(&url(host)), admitted, "{host}");
        }
        assert!(WebhookHosts::parse(["0.0.0.0/0", "::/0"]).unwrap().admits_url(&url("[::1]")), "everything");
    }

    #[test]
    fn names_are_listed_whole_or_by_their_ends() {
        let hosts = WebhookHosts::parse(["Hooks.internal", "*.corp.example"]).unwrap();
        for (name, listed) in [
            ("hooks.internal", true),
            ("HOOKS.INTERNAL.", true),
            ("other.internal", false),
            ("a.b.corp.example", true),
            ("corp.example", false),
            ("evilcorp.example", false),
        ] {
            assert_eq!(hosts.lists(name), listed, "{name}");
        }
        for bad in ["", "*", ".a", "a..b", "http://a", "a/8", "10.0.0.0/33", "*a.b", "10.0.0.0/x"] {
            assert!(WebhookHosts::parse([bad]).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn names_that_lead_inside_are_not_followed() {
        let resolve = |hosts: &[&str], name: &str| {
            Resolver(Arc::new(WebhookHosts::parse(hosts).unwrap())).resolve(name.parse().unwrap())
        };
        assert!(resolve(&[], "localhost").await.is_err());
        assert!(resolve(&["localhost"], "localhost").await.unwrap().next().is_some());
        assert!(resolve(&["127.0.0.0/8", "::1"], "localhost").await.unwrap().next().is_some());
    }
}
