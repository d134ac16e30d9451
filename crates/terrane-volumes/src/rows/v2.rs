//! Rows of before modifications had rows of their own: volumes in their second form, stripes in their first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_block_core::record::Record as StripeRecord;
use terrane_block_core::{AttachmentEpoch, CopyId, LayoutEpoch};
use terrane_block_wire::control::{CopyIdentity, Media, StripeId};
use terrane_types::{AccountId, VolumeId, Zone};

use super::{AttachmentRow, Demand, LifeRow, PlaceRow, SettingsRow};

/// It is not told any more. One that was under way was a growth: the stripe may be larger than the volume, which is what a
/// growth that was taken back leaves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ModificationRow {
    pub(super) original: SettingsRow,
    pub(super) target: SettingsRow,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) failed: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VolumeRow {
    pub(super) version: u64,
    pub(super) account: AccountId,
    pub(super) id: VolumeId,
    pub(super) zone: Zone,
    pub(super) settings: SettingsRow,
    pub(super) created: Timestamp,
    pub(super) life: LifeRow,
    pub(super) layout: LayoutEpoch,
    pub(super) stripes: Vec<StripeId>,
    pub(super) stripe_bytes: u64,
    pub(super) epoch: AttachmentEpoch,
    pub(super) attachments: Vec<AttachmentRow>,
    pub(super) modification: Option<ModificationRow>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StripeRow {
    pub(super) version: u64,
    pub(super) id: StripeId,
    pub(super) identity: CopyIdentity,
    pub(super) zone: Zone,
    pub(super) layout: LayoutEpoch,
    pub(super) wanted: u32,
    pub(super) media: Media,
    pub(super) demand: Demand,
    pub(super) record: Option<StripeRecord>,
    pub(super) places: BTreeMap<CopyId, PlaceRow>,
    pub(super) next_copy: CopyId,
}

impl From<VolumeRow> for super::VolumeRow {
    fn from(row: VolumeRow) -> Self {
        Self {
            version: row.version,
            account: row.account,
            id: row.id,
            zone: row.zone,
            settings: row.settings,
            created: row.created,
            life: row.life,
            layout: row.layout,
            stripes: row.stripes,
            stripe_bytes: row.stripe_bytes,
            epoch: row.epoch,
            attachments: row.attachments,
            modifications: 0,
            tags: row.tags,
            notes: row.notes,
        }
    }
}

impl From<StripeRow> for super::StripeRow {
    fn from(row: StripeRow) -> Self {
        Self {
            version: row.version,
            id: row.id,
            identity: row.identity,
            zone: row.zone,
            layout: row.layout,
            wanted: row.wanted,
            media: row.media,
            demand: row.demand,
            record: row.record,
            places: row.places,
            next_copy: row.next_copy,
            change: None,
        }
    }
}
