//! Buckets as the sequencer knows them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use terrane_types::AccountId;

use crate::class::WriteMode;
use crate::ids::{Incarnation, Timestamp};

/// A bucket's versioning state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never turned on.
    #[default]
    Off,
    /// On.
    Enabled,
    /// Was on, is suspended: writes replace the `null` version.
    Suspended,
}

/// All that is known of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketState {
    /// The name.
    pub name: String,
    /// Which life of the name this is.
    pub incarnation: Incarnation,
    /// The owner.
    pub owner: AccountId,
    /// Creation time.
    pub created: Timestamp,
    /// Region constraint given at creation.
    pub region: Option<String>,
    /// Versioning state.
    pub versioning: Versioning,
    /// How writes are applied that do not say so themselves.
    pub default_mode: Option<WriteMode>,
    /// Subresources kept verbatim for the front end.
    pub settings: BTreeMap<String, Bytes>,
}

/// One change of a bucket's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketChange {
    /// Sets versioning.
    Versioning(Versioning),
    /// Sets or clears the default write mode.
    DefaultMode(Option<WriteMode>),
    /// Sets (`Some`) or removes a subresource.
    Setting(String, Option<Bytes>),
}

impl BucketState {
    /// The state after a change.
    #[must_use]
    pub fn changed(&self, change: &BucketChange) -> Self {
        let mut next = self.clone();
        match change {
            BucketChange::Versioning(versioning) => next.versioning = *versioning,
            BucketChange::DefaultMode(mode) => next.default_mode = *mode,
            BucketChange::Setting(name, Some(value)) => {
                next.settings.insert(name.clone(), value.clone());
            }
            BucketChange::Setting(name, None) => {
                next.settings.remove(name);
            }
        }
        next
    }
}
