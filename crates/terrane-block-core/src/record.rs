//! The manager's record of a stripe: the only truth about who is in sync and which way data flows.

use crate::ids::{AttachmentEpoch, CopyId, Generation, Incarnation, LayoutEpoch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A copy in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InSync {
    /// The life of the copy that is in sync; any other is not.
    pub incarnation: Incarnation,
    /// The generation that it was committed in. Its bitmaps are unbroken from here on.
    pub since: Generation,
}

/// Who holds the stripe, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Orders all I/O. In sync.
    pub primary: CopyId,
    /// Copies that have every acknowledged write.
    pub in_sync: BTreeMap<CopyId, InSync>,
    /// Copies that catch up; each is in `absent` as well.
    pub joining: BTreeMap<CopyId, Incarnation>,
    /// Copies not in sync, with the last active generation in which they were (0: never).
    pub absent: BTreeMap<CopyId, Generation>,
}

impl Membership {
    /// Those that must have a write before it is acknowledged: in-sync and joining copies with their incarnations.
    pub fn acknowledgers(&self) -> impl Iterator<Item = (CopyId, Incarnation)> + '_ {
        let in_sync = self.in_sync.iter().map(|(copy, member)| (*copy, member.incarnation));
        in_sync.chain(self.joining.iter().map(|(copy, incarnation)| (*copy, *incarnation)))
    }

    /// The incarnation that a member is known by.
    #[must_use]
    pub fn incarnation(&self, copy: CopyId) -> Option<Incarnation> {
        let in_sync = self.in_sync.get(&copy).map(|member| member.incarnation);
        in_sync.or_else(|| self.joining.get(&copy).copied())
    }

    /// Whether this life of the copy is in sync.
    #[must_use]
    pub fn is_in_sync(&self, copy: CopyId, incarnation: Incarnation) -> bool {
        self.in_sync.get(&copy).is_some_and(|member| member.incarnation == incarnation)
    }
}

/// The record. Every change but activation and confirmation makes a new generation; all are compare-and-set on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Which record this is.
    pub generation: Generation,
    /// The layout that the stripe belongs to.
    pub layout: LayoutEpoch,
    /// The attachment whose requests are taken.
    pub epoch: AttachmentEpoch,
    /// Its primary has durably adopted it, and the manager knows. Before that nobody acts in it.
    pub active: bool,
    /// The copies.
    pub now: Membership,
    /// If not active: the last generation that was, and its copies.
    pub last_active: Option<(Generation, Membership)>,
    /// A forced detach waits until every in-sync copy is in `confirmed`.
    pub fencing: bool,
    /// In-sync copies known to have adopted this generation, and the primary to have drained what is older.
    pub confirmed: BTreeSet<CopyId>,
}

impl Record {
    /// A new stripe: generation 1, all copies in sync because all are empty, not yet active.
    ///
    /// # Panics
    /// If there are no copies or `primary` is none of them.
    #[must_use]
    pub fn create(copies: &BTreeMap<CopyId, Incarnation>, primary: CopyId, layout: LayoutEpoch) -> Self {
        assert!(copies.contains_key(&primary), "the primary is one of the copies");
        let since = Generation(1);
        let in_sync =
            copies.iter().map(|(copy, incarnation)| (*copy, InSync { incarnation: *incarnation, since }));
        Self {
            generation: since,
            layout,
            epoch: AttachmentEpoch(1),
            active: false,
            now: Membership {
                primary,
                in_sync: in_sync.collect(),
                joining: BTreeMap::new(),
                absent: BTreeMap::new(),
            },
            last_active: None,
            fencing: false,
            confirmed: BTreeSet::new(),
        }
    }

    /// The last membership in which anything was done, with its generation. A record that never was active in any
    /// generation has only its own.
    #[must_use]
    pub fn active_membership(&self) -> (Generation, &Membership) {
        match &self.last_active {
            Some((generation, membership)) if !self.active => (*generation, membership),
            _ => (self.generation, &self.now),
        }
    }

    /// Whether a copy is or was part of it, as far as that still matters.
    #[must_use]
    pub fn knows(&self, copy: CopyId) -> bool {
        let (_, active) = self.active_membership();
        [&self.now, active].iter().any(|m| m.in_sync.contains_key(&copy) || m.absent.contains_key(&copy))
    }

    /// Whether the forced detach that raised the attachment epoch is complete.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.active && self.now.in_sync.keys().all(|copy| self.confirmed.contains(copy))
    }
}
