//! Volumes, attachments, modifications.

use jiff::Timestamp;
use terrane_types::{InstanceId, SnapshotId, VolumeId, Zone};

use super::Tags;

/// What a volume is made for: media and which settings it has (see [`super::limits`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeType {
    /// SSD; IOPS follow the size.
    Gp2,
    /// SSD; IOPS and throughput can be chosen.
    Gp3,
    /// SSD with committed IOPS.
    Io1,
    /// SSD with committed IOPS.
    Io2,
    /// HDD for streams.
    St1,
    /// HDD for what is rarely read.
    Sc1,
}

/// What can be changed of a volume, resolved: every type has exactly the settings that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    pub kind: VolumeType,
    /// IOPS that it is limited (and, where committed, entitled) to; `None` for HDD types.
    pub iops: Option<u32>,
    /// MiB/s that it is limited to; `None` where the type has no such setting.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    pub multi_attach: bool,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// Where its primary shall lie.
    pub zone: Zone,
    /// Size, type and so on, within the limits of the type.
    pub settings: Settings,
    /// First tags.
    pub tags: Tags,
}

/// What shall be other about a volume; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeChange {
    /// Size in GiB.
    pub size_gib: Option<u32>,
    /// Type.
    pub kind: Option<VolumeType>,
    /// IOPS.
    pub iops: Option<u32>,
    /// MiB/s.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    pub multi_attach: Option<bool>,
}

/// Life of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Being placed.
    Creating,
    /// Attached to nothing.
    Available,
    /// Attached.
    InUse,
    /// On its way out.
    Deleting,
    /// Could not be made, or lost every copy.
    Error,
}

/// Whether a volume's data can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeHealth {
    /// All is well.
    Ok,
    /// No copy that could serve it is there.
    Impaired,
    /// Not known yet.
    InsufficientData,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its identifier.
    pub id: VolumeId,
    /// Where its primary lies.
    pub zone: Zone,
    /// Size, type and so on, as they hold now.
    pub settings: Settings,
    /// Whether it is encrypted at rest by a key of the account.
    pub encrypted: bool,
    /// What it was made from.
    pub snapshot: Option<SnapshotId>,
    /// When.
    pub created: Timestamp,
    /// Where in its life it is.
    pub state: VolumeState,
    /// Whether it can be relied on.
    pub health: VolumeHealth,
    /// What it is attached to.
    pub attachments: Vec<Attachment>,
    /// The latest modification that was asked for.
    pub modification: Option<VolumeModification>,
    /// Tags.
    pub tags: Tags,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// On its way.
    Attaching,
    /// There.
    Attached,
    /// Waiting for its clients to go.
    Detaching,
    /// Gone.
    Detached,
}

/// A volume at an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which volume.
    pub volume: VolumeId,
    /// At which instance.
    pub instance: InstanceId,
    /// Under which name.
    pub device: String,
    /// How far it is.
    pub state: AttachmentState,
    /// When it was asked for.
    pub attached: Timestamp,
}

/// A wish to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachVolume {
    /// Which volume.
    pub volume: VolumeId,
    /// At which instance.
    pub instance: InstanceId,
    /// Under which name.
    pub device: String,
}

/// A wish to detach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachVolume {
    /// Which volume.
    pub volume: VolumeId,
    /// From which instance; may be left out if there is only one.
    pub instance: Option<InstanceId>,
    /// The name that it must have there, if given.
    pub device: Option<String>,
    /// Cut it off instead of waiting for its clients.
    pub force: bool,
}

/// How far a modification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationState {
    /// Being prepared; the old settings hold.
    Modifying,
    /// The new settings hold; data is still moving.
    Optimizing,
    /// Done.
    Completed,
    /// Given up; the old settings hold.
    Failed,
}

/// A modification that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeModification {
    /// Of which volume.
    pub volume: VolumeId,
    /// How far it is.
    pub state: ModificationState,
    /// Why it failed, if it did.
    pub message: Option<String>,
    /// Before.
    pub original: Settings,
    /// After.
    pub target: Settings,
    /// 0 to 100.
    pub progress: u8,
    /// When it was asked for.
    pub started: Timestamp,
    /// When it came to its end.
    pub ended: Option<Timestamp>,
}

/// Whether this names a device: `/dev/sdf`, `/dev/xvdba`, `sdh`, with a number behind or not.
pub fn is_device_name(text: &str) -> bool {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let Some(rest) = ["xvd", "sd", "hd"].iter().find_map(|prefix| name.strip_prefix(prefix)) else {
        return false;
    };
    let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let digits = rest.bytes().skip(letters).filter(u8::is_ascii_digit).count();
    (1..=3).contains(&letters) && digits <= 2 && letters + digits == rest.len()
}

impl VolumeType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Gp2, Self::Gp3, Self::Io1, Self::Io2, Self::St1, Self::Sc1];

    /// The name that everybody knows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
        }
    }

    /// The type of a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl std::fmt::Display for VolumeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
