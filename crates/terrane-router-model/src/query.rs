//! A question, checked before anything about a router is looked at.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Kind;

/// Names of instances, interfaces and VRFs are no longer than this on any platform.
const NAME_MAX: usize = 64;

/// An address prefix, host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The network's address.
    pub address: IpAddr,
    /// 0 to 32 or 128.
    pub length: u8,
}

/// A question that no router can be asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    /// A field holds what it cannot hold.
    #[error("InvalidParameter: `{field}`: {what}")]
    InvalidParameter {
        /// The field of the query.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// What narrows the rows of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// One interface.
    pub interface: Option<String>,
    /// One BGP neighbour.
    pub neighbor: Option<String>,
    /// One destination.
    pub prefix: Option<String>,
    /// Also more specific routes; needs `prefix`.
    pub longer: bool,
    /// One VLAN, 1 to 4094.
    pub vlan: Option<u16>,
}

/// A question to one router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// What is asked.
    pub kind: Kind,
    /// In which VRF; absent: in all, or where the kind has none, in the default one.
    #[serde(default)]
    pub network_instance: Option<String>,
    /// What of it.
    #[serde(default)]
    pub filter: Filter,
}

impl Query {
    /// Refuses what no router can be asked, and what could be more than a value once it stands in a command.
    pub fn validate(&self) -> Result<(), QueryError> {
        let Filter { interface, neighbor, prefix, longer, vlan } = &self.filter;
        for (field, value) in [("network_instance", &self.network_instance), ("interface", interface)] {
            if let Some(value) = value {
                name(value).map_err(|what| QueryError::InvalidParameter { field, what })?;
            }
        }
        if let Some(neighbor) = neighbor
            && neighbor.parse::<IpAddr>().is_err()
        {
            return Err(invalid("neighbor", format!("`{neighbor}` is not an address")));
        }
        if let Some(prefix) = prefix {
            prefix.parse::<Prefix>()?;
        }
        if vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err(invalid("vlan", "VLANs are 1 to 4094".into()));
        }
        self.applies("prefix", prefix.is_some(), &PREFIX_KINDS)?;
        self.applies("longer", *longer, &PREFIX_KINDS)?;
        self.applies("neighbor", neighbor.is_some(), &NEIGHBOR_KINDS)?;
        self.applies("vlan", vlan.is_some(), &[Kind::Vlans, Kind::MacTable])?;
        if *longer && prefix.is_none() {
            return Err(invalid("longer", "needs `prefix`".into()));
        }
        if self.kind == Kind::RouteTo && prefix.is_none() {
            return Err(invalid("prefix", "route_to needs a destination".into()));
        }
        let one_neighbor = matches!(self.kind, Kind::AdjRibIn | Kind::AdjRibOut);
        if one_neighbor && neighbor.is_none() {
            return Err(invalid("neighbor", format!("{} is the table of one neighbour", self.kind)));
        }
        Ok(())
    }

    fn applies(&self, field: &'static str, given: bool, kinds: &[Kind]) -> Result<(), QueryError> {
        if given && !kinds.contains(&self.kind) {
            return Err(invalid(field, format!("does not apply to {}", self.kind)));
        }
        Ok(())
    }
}

const PREFIX_KINDS: [Kind; 4] = [Kind::RouteTo, Kind::AdjRibIn, Kind::AdjRibOut, Kind::LocRib];
const NEIGHBOR_KINDS: [Kind; 5] =
    [Kind::BgpSummary, Kind::BgpNeighbors, Kind::AdjRibIn, Kind::AdjRibOut, Kind::LocRib];

fn invalid(field: &'static str, what: String) -> QueryError {
    QueryError::InvalidParameter { field, what }
}

/// Names are letters, digits and the few signs that platforms use; nothing that a command line could take for more.
fn name(value: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if value.is_empty() || value.len() > NAME_MAX {
        return Err(format!("1 to {NAME_MAX} characters"));
    }
    match value.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("{c:?} is in no name")),
        None if value.starts_with('-') => Err("begins with `-`".into()),
        None => Ok(()),
    }
}

impl FromStr for Prefix {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let fail = || invalid("prefix", format!("`{text}` is not a prefix"));
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| fail())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        if length > bits {
            return Err(fail());
        }
        let masked = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
                IpAddr::from((u32::from(v4) & mask).to_be_bytes())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0);
                IpAddr::from((u128::from(v6) & mask).to_be_bytes())
            }
        };
        if masked != address {
            return Err(invalid("prefix", format!("`{text}` has host bits: {masked}/{length}?")));
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(kind: Kind, filter: Filter) -> Query {
        Query { kind, network_instance: None, filter }
    }

    fn refused(query: &Query) -> &'static str {
        match query.validate() {
            Err(QueryError::InvalidParameter { field, .. }) => field,
            Ok(()) => "",
        }
    }

    #[test]
    fn contradictions_name_their_field() {
        let prefix = |text: &str| Filter { prefix: Some(text.into()), ..Filter::default() };
        assert_eq!(refused(&query(Kind::RouteTo, prefix("10.0.0.0/8"))), "");
        assert_eq!(refused(&query(Kind::RouteTo, prefix("10.0.0.1/8"))), "prefix");
        assert_eq!(refused(&query(Kind::RouteTo, prefix("10.0.0.0/33"))), "prefix");
        assert_eq!(refused(&query(Kind::RouteTo, Filter::default())), "prefix");
        assert_eq!(refused(&query(Kind::Arp, prefix("10.0.0.0/8"))), "prefix");
        assert_eq!(refused(&query(Kind::AdjRibIn, Filter::default())), "neighbor");
        assert_eq!(refused(&query(Kind::Vlans, Filter { vlan: Some(4095), ..Filter::default() })), "vlan");
        let longer = Filter { longer: true, ..Filter::default() };
        assert_eq!(refused(&query(Kind::LocRib, longer)), "longer");
    }

    #[test]
    fn commands_do_not_hide_in_names() {
        for name in ["a;b", "a|b", "a\nb", "a b", "", "-x", "a>b", "$(x)", &"x".repeat(65)] {
            let mut query = query(Kind::Arp, Filter::default());
            query.network_instance = Some(name.into());
            assert_eq!(refused(&query), "network_instance", "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn prefixes_survive_printing(bits: u32, length in 0u8..=32) {
            let mask = u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
            let address = IpAddr::from((bits & mask).to_be_bytes());
            let prefix = Prefix { address, length };
            prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
        }
    }
}
