//! The stored forms. Raise `VERSION` and migrate when fields change; `tests` pins the bytes.

mod changing;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_block_core::record::Record as StripeRecord;
use terrane_block_core::{AttachmentEpoch, ClientId, CopyId, LayoutEpoch};
use terrane_block_wire::control::{CopyIdentity, Media, PoolName, ServerId, StripeId};
use terrane_ec2::service::VolumeType;
use terrane_store::tuple::Pack as _;
use terrane_store::{Feed, Index, Record, Table};
use terrane_types::{AccountId, InstanceId, VolumeId, Zone};

pub(crate) use changing::{
    CopiesChange, MODIFICATIONS, ModificationRow, ModificationStateRow, Phase, TraitsRow, modification_key,
};

/// What a volume is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRow {
    pub(crate) size_gib: u32,
    pub(crate) kind: KindRow,
    pub(crate) iops: Option<u32>,
    pub(crate) throughput: Option<u32>,
    pub(crate) multi_attach: bool,
}

/// A volume's type, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct KindRow(pub(crate) VolumeType);

/// How far a volume is in its life. Whether it is in use, its attachments say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LifeRow {
    /// Copies are being made.
    Creating,
    /// It can be used.
    Ready,
    /// It could not be made.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRow {
    /// Grows with every change: tells which of two readings is the later.
    pub(crate) version: u64,
    pub(crate) account: AccountId,
    pub(crate) id: VolumeId,
    /// The zone that was asked for.
    pub(crate) zone: Zone,
    pub(crate) settings: SettingsRow,
    pub(crate) created: Timestamp,
    pub(crate) life: LifeRow,
    pub(crate) layout: LayoutEpoch,
    pub(crate) stripes: Vec<StripeId>,
    pub(crate) stripe_bytes: u64,
    /// The latest attachment's.
    pub(crate) epoch: AttachmentEpoch,
    pub(crate) attachments: Vec<AttachmentRow>,
    /// The number of the latest modification; 0: there was none.
    pub(crate) modifications: u64,
    pub(crate) tags: BTreeMap<String, String>,
    /// What is unusual, for people; the latest [`NOTES_MAX`].
    pub(crate) notes: Vec<String>,
}

/// Bytes of a block of the replication protocol.
pub(crate) const BLOCK: u64 = 4096;

/// Notes kept of a volume.
pub(crate) const NOTES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AttachmentStateRow {
    Attaching,
    Attached,
    /// Waiting for its clients to go.
    Detaching,
    /// Cut off: waiting until nothing older can land any more.
    Cutting,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachmentRow {
    pub(crate) instance: InstanceId,
    pub(crate) device: String,
    pub(crate) state: AttachmentStateRow,
    pub(crate) attached: Timestamp,
    pub(crate) epoch: AttachmentEpoch,
    pub(crate) client: ClientId,
    pub(crate) secret: Hidden,
    pub(crate) nbd_url: Option<Hidden>,
    pub(crate) trouble: Option<String>,
}

/// A text that is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What a copy takes of the pool that it lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// Bytes, of which few may be used.
    pub(crate) bytes: u64,
    /// IOPS reserved.
    pub(crate) iops: u64,
    /// Bytes per second reserved.
    pub(crate) throughput: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StripeRow {
    /// As [`VolumeRow::version`].
    pub(crate) version: u64,
    pub(crate) id: StripeId,
    pub(crate) identity: CopyIdentity,
    pub(crate) zone: Zone,
    pub(crate) layout: LayoutEpoch,
    /// Copies wanted in sync.
    pub(crate) wanted: u32,
    pub(crate) media: Media,
    pub(crate) demand: Demand,
    /// `None` until all first copies are made.
    pub(crate) record: Option<StripeRecord>,
    pub(crate) places: BTreeMap<CopyId, PlaceRow>,
    /// The number of the next copy; numbers are never used again.
    pub(crate) next_copy: CopyId,
    /// What is being changed about its copies, if anything is.
    pub(crate) change: Option<CopiesChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PlaceRow {
    pub(crate) server: ServerId,
    pub(crate) pool: PoolName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRow {
    pub(crate) id: ServerId,
    pub(crate) name: String,
    pub(crate) zone: Zone,
    pub(crate) address: String,
    /// An operator wants it empty.
    pub(crate) draining: bool,
    /// It answers. Only for placement: what is decided for a stripe is decided from what is heard.
    pub(crate) up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolRow {
    pub(crate) media: Media,
    pub(crate) capacity: u64,
    pub(crate) used: u64,
    pub(crate) host_free: u64,
    pub(crate) iops: u32,
    pub(crate) throughput: u64,
    pub(crate) device: u64,
    pub(crate) trouble: Option<String>,
    /// The sum over all copies that lie here or shall.
    pub(crate) promised: Demand,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceRow {
    pub(crate) id: InstanceId,
    pub(crate) zone: Zone,
    pub(crate) host_name: String,
    /// The process that spoke for it last.
    pub(crate) process: u128,
    pub(crate) running: bool,
    pub(crate) launched: Timestamp,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A client token, and the call that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRow {
    pub(crate) zone: Zone,
    pub(crate) settings: SettingsRow,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) volume: VolumeId,
    pub(crate) created: Timestamp,
}

/// A copy that shall go; kept until its server says that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletionRow;

/// Grows with every manager that takes office over a store of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfficeRow {
    pub(crate) epoch: u64,
}

macro_rules! first_version {
    ($($row:ty),*) => {$(impl Record for $row { const VERSION: u8 = 1; })*};
}
first_version!(ServerRow, PoolRow, InstanceRow, TokenRow, DeletionRow, OfficeRow);

impl Record for VolumeRow {
    const VERSION: u8 = 3;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, String> {
        let second = match version {
            1 => postcard::from_bytes::<v1::VolumeRow>(bytes).map(v2::VolumeRow::from),
            2 => postcard::from_bytes::<v2::VolumeRow>(bytes),
            _ => return Err(format!("version {version} is unknown")),
        };
        second.map(Self::from).map_err(|error| error.to_string())
    }
}

impl Record for StripeRow {
    const VERSION: u8 = 2;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, String> {
        match version {
            1 => {
                let row = postcard::from_bytes::<v2::StripeRow>(bytes);
                row.map(Self::from).map_err(|error| error.to_string())
            }
            _ => Err(format!("version {version} is unknown")),
        }
    }
}

/// By identifier alone, whosever it is.
pub(crate) static BY_ID: Index<VolumeRow> = Index { name: "id", keys: |row| vec![row.id.as_str().pack()] };
/// By the instances that have it attached.
pub(crate) static BY_INSTANCE: Index<VolumeRow> = Index {
    name: "instance",
    keys: |row| row.attachments.iter().map(|attachment| attachment.instance.as_str().pack()).collect(),
};

/// Keys: account, identifier.
pub(crate) static VOLUMES: Table<(AccountId, String), VolumeRow> =
    Table::new("volumes", &[&BY_ID, &BY_INSTANCE]);
/// Keys: the stripe, in hex digits.
pub(crate) static STRIPES: Table<String, StripeRow> = Table::new("stripes", &[]);
/// Keys: the server, in hex digits.
pub(crate) static SERVERS: Table<String, ServerRow> = Table::new("block-servers", &[]);
/// Keys: server, pool.
pub(crate) static POOLS: Table<(String, String), PoolRow> = Table::new("block-pools", &[]);
/// Keys: account, identifier.
pub(crate) static INSTANCES: Table<(AccountId, String), InstanceRow> = Table::new("instances", &[]);
/// Keys: account, token.
pub(crate) static TOKENS: Table<(AccountId, String), TokenRow> = Table::new("volume-tokens", &[]);
/// Keys: server, stripe, copy.
pub(crate) static DELETIONS: Table<(String, String, u64), DeletionRow> = Table::new("copy-deletions", &[]);
/// One row, of key [`TERM`].
pub(crate) static OFFICE: Table<String, OfficeRow> = Table::new("volumes-office", &[]);

/// The key of the only row of [`OFFICE`].
pub(crate) const TERM: &str = "term";

/// What calls changed; the manager in office follows it. Payloads: [`crate::db::Notice`].
pub(crate) fn changes() -> Feed {
    Feed::new("volumes")
}

/// The key of a volume.
pub(crate) fn volume_key(account: &AccountId, id: &VolumeId) -> (AccountId, String) {
    (account.clone(), id.as_str().to_owned())
}

/// 32 hex digits.
pub(crate) fn hex(number: u128) -> String {
    format!("{number:032x}")
}

pub(crate) fn unhex(text: &str) -> Option<u128> {
    let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 32 && text.bytes().all(legal)).then(|| u128::from_str_radix(text, 16).ok())?
}

impl TryFrom<String> for KindRow {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        VolumeType::parse(&text).map(Self).ok_or_else(|| format!("no volume type {text}"))
    }
}

impl From<KindRow> for String {
    fn from(kind: KindRow) -> Self {
        kind.0.as_str().to_owned()
    }
}

impl From<terrane_ec2::service::Settings> for SettingsRow {
    fn from(settings: terrane_ec2::service::Settings) -> Self {
        let terrane_ec2::service::Settings { size_gib, kind, iops, throughput, multi_attach } = settings;
        Self { size_gib, kind: KindRow(kind), iops, throughput, multi_attach }
    }
}

impl From<SettingsRow> for terrane_ec2::service::Settings {
    fn from(row: SettingsRow) -> Self {
        let SettingsRow { size_gib, kind, iops, throughput, multi_attach } = row;
        Self { size_gib, kind: kind.0, iops, throughput, multi_attach }
    }
}

impl SettingsRow {
    /// The drives that this type lies on.
    pub(crate) fn media(&self) -> Media {
        match self.kind.0 {
            VolumeType::St1 | VolumeType::Sc1 => Media::Hdd,
            VolumeType::Gp2 | VolumeType::Gp3 | VolumeType::Io1 | VolumeType::Io2 => Media::Ssd,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.size_gib) << 30
    }

    /// What every copy takes: io1 and io2 reserve their IOPS, gp3 those of more than 3,000 and its throughput if
    /// that is more than 125 MiB/s; everything else has limits, not reservations.
    pub(crate) fn demand(&self) -> Demand {
        let iops = u64::from(self.iops.unwrap_or(0));
        let throughput = self.throughput.map_or(0, |mib| u64::from(mib) << 20);
        let (iops, throughput) = match self.kind.0 {
            VolumeType::Io1 | VolumeType::Io2 => (iops, 0),
            VolumeType::Gp3 => {
                (if iops > 3000 { iops } else { 0 }, if throughput > 125 << 20 { throughput } else { 0 })
            }
            VolumeType::Gp2 | VolumeType::St1 | VolumeType::Sc1 => (0, 0),
        };
        Demand { bytes: self.bytes(), iops, throughput }
    }
}

impl VolumeRow {
    /// Blocks of each of its stripes at a size. (All volumes have one stripe yet.)
    pub(crate) fn blocks_of_stripe(&self, size_gib: u32) -> u64 {
        (u64::from(size_gib) << 30) / BLOCK
    }

    /// Adds a note for people; the oldest makes room.
    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() >= NOTES_MAX {
            self.notes.remove(0);
        }
        self.notes.push(text);
    }
}

#[cfg(test)]
mod tests;
