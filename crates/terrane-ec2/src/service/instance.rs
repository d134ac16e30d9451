//! Instances, as far as attachments need them, and zones.

use jiff::Timestamp;
use terrane_types::{InstanceId, VolumeId, Zone};

use super::Tags;
use super::volume::AttachmentState;

/// Whether an instance can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// On its way.
    Pending,
    /// At work.
    Running,
    /// On its way down.
    Stopping,
    /// Down, and can come back.
    Stopped,
    /// Going for good.
    ShuttingDown,
    /// Gone.
    Terminated,
}

/// The type of a registered machine.
pub const HOST: &str = "terrane.host";

/// A machine that volumes attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its identifier.
    pub id: InstanceId,
    /// Where it is.
    pub zone: Zone,
    /// What it is: [`HOST`] for a registered machine.
    pub kind: String,
    /// Whether it runs.
    pub state: InstanceState,
    /// Since when.
    pub launched: Timestamp,
    /// Its address, if it is known.
    pub private_ip: Option<std::net::IpAddr>,
    /// Its name in the network, if it is known.
    pub host_name: Option<String>,
    /// The volumes attached to it, in the order of their device names.
    pub volumes: Vec<InstanceVolume>,
    /// Its tags.
    pub tags: Tags,
}

/// A volume as its instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceVolume {
    /// Which.
    pub volume: VolumeId,
    /// The name under which it was attached.
    pub device: String,
    /// How far the attachment is.
    pub state: AttachmentState,
    /// When it was asked for.
    pub attached: Timestamp,
}

/// Whether a zone takes new volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// It does.
    Available,
    /// Nothing in it answers.
    Unavailable,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRecord {
    /// Its name: `us-east-1a`.
    pub name: Zone,
    /// Its identifier, the same for all accounts: `use1-az1`.
    pub id: String,
    /// Whether it takes new volumes.
    pub state: ZoneState,
}

/// The identifier of a region's zone in Amazon's short form: `use1-az1` for the first one of `us-east-1`.
pub fn zone_id(region: &terrane_types::Region, number: u8) -> String {
    fn short(part: &str) -> &str {
        match part {
            "central" => "c",
            "east" => "e",
            "gov" => "g",
            "north" => "n",
            "northeast" => "ne",
            "northwest" => "nw",
            "south" => "s",
            "southeast" => "se",
            "southwest" => "sw",
            "west" => "w",
            other => other,
        }
    }
    format!("{}-az{number}", region.as_str().split('-').map(short).collect::<String>())
}

#[cfg(test)]
mod tests {
    use terrane_types::Region;

    use super::*;

    #[test]
    fn zones_have_short_identifiers() {
        for (region, expected) in [
            ("us-east-1", "use1-az2"),
            ("eu-central-1", "euc1-az2"),
            ("ap-southeast-5", "apse5-az2"),
            ("us-gov-west-1", "usgw1-az2"),
            ("cn-northwest-1", "cnnw1-az2"),
            ("home", "home-az2"),
        ] {
            assert_eq!(zone_id(&Region::parse(region).unwrap(), 2), expected);
        }
    }
}
