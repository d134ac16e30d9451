//! Modifications, and what they change about a stripe's copies.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_block_core::CopyId;
use terrane_block_wire::control::Media;
use terrane_store::{Record, Table};
use terrane_types::{AccountId, VolumeId, Zone};

use super::{Demand, PlaceRow, SettingsRow, StripeRow};

/// Everything that can be changed about a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TraitsRow {
    pub(crate) settings: SettingsRow,
    /// Where its primary shall lie.
    pub(crate) zone: Zone,
    /// Copies of each stripe.
    pub(crate) copies: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModificationStateRow {
    /// What was before holds.
    Modifying,
    /// What was asked for holds; what is not needed any more is being freed.
    Optimizing,
    Completed,
    Failed,
    Cancelled,
}

/// What somebody wants changed about a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModificationRow {
    pub(crate) account: AccountId,
    pub(crate) volume: VolumeId,
    /// Counts the modifications of the volume, from 1.
    pub(crate) number: u64,
    pub(crate) original: TraitsRow,
    pub(crate) target: TraitsRow,
    /// Data beyond a smaller size may be lost.
    pub(crate) truncate: bool,
    pub(crate) state: ModificationStateRow,
    /// Why it came to nothing, or what is unusual.
    pub(crate) message: Option<String>,
    pub(crate) started: Timestamp,
    /// When data began to move.
    pub(crate) moving: Option<Timestamp>,
    /// `None`: it is under way.
    pub(crate) ended: Option<Timestamp>,
    /// The newest workflow engine that was heard about it; older ones are not listened to.
    pub(crate) engine: u64,
}

/// How far a change of copies is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// New copies are made and brought in sync; all that were there stay.
    Joining,
    /// They have taken over: those that are not wanted any more go.
    Over,
    /// It was given up: the new ones go.
    Back,
}

/// A change of a stripe's copies that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopiesChange {
    /// The modification that it belongs to.
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    /// Made for it.
    pub(crate) arriving: BTreeSet<CopyId>,
    /// Not wanted after it.
    pub(crate) leaving: BTreeSet<CopyId>,
    /// Which copy shall be the primary, if another one than before.
    pub(crate) primary: Option<CopyId>,
    pub(crate) zone: Zone,
    pub(crate) media: Media,
    pub(crate) wanted: u32,
    /// What each copy takes afterwards.
    pub(crate) demand: Demand,
}

/// Keys: volume, number.
pub(crate) static MODIFICATIONS: Table<(String, u64), ModificationRow> =
    Table::new("volume-modifications", &[]);

/// The key of a modification.
pub(crate) fn modification_key(volume: &VolumeId, number: u64) -> (String, u64) {
    (volume.as_str().to_owned(), number)
}

impl Record for ModificationRow {
    const VERSION: u8 = 1;
}

impl CopiesChange {
    /// Copies that are let go as soon as others can do without them.
    pub(crate) fn going(&self) -> Option<&BTreeSet<CopyId>> {
        match self.phase {
            Phase::Joining => None,
            Phase::Over => Some(&self.leaving),
            Phase::Back => Some(&self.arriving),
        }
    }
}

impl StripeRow {
    /// Whether a change that is under way lets this copy go.
    pub(crate) fn lets_go(&self, copy: CopyId) -> bool {
        let going = self.change.as_ref().and_then(CopiesChange::going);
        going.is_some_and(|going| going.contains(&copy))
    }

    /// Whether a copy was made for a change that is not over: it counts in addition to those wanted.
    pub(crate) fn is_extra(&self, copy: CopyId) -> bool {
        let joining = self.change.as_ref().filter(|change| change.phase == Phase::Joining);
        joining.is_some_and(|change| change.arriving.contains(&copy))
    }

    /// Copies that are to be kept in sync now.
    pub(crate) fn kept(&self) -> usize {
        self.wanted as usize + self.places.keys().filter(|copy| self.is_extra(**copy)).count()
    }

    /// What a copy takes. While something changes, those that stay are reserved whatever they need before or
    /// afterwards.
    pub(crate) fn demand_of(&self, copy: CopyId) -> Demand {
        match &self.change {
            None => self.demand,
            Some(change) if change.arriving.contains(&copy) => change.demand,
            Some(change) if change.leaving.contains(&copy) => self.demand,
            Some(change) => self.demand.or_more(change.demand),
        }
    }

    /// What a copy would take that is made now, because another one was lost.
    pub(crate) fn demand_of_new(&self) -> Demand {
        self.change.as_ref().map_or(self.demand, |change| self.demand.or_more(change.demand))
    }

    /// All places, each with what its copy takes there.
    pub(crate) fn demands(&self) -> impl Iterator<Item = (PlaceRow, Demand)> + '_ {
        self.places.iter().map(|(copy, place)| (*place, self.demand_of(*copy)))
    }
}
