//! What modifications are told of stripes.

use std::collections::BTreeMap;

use terrane_block_core::CopyId;
use terrane_block_wire::control::StripeId;
use terrane_types::VolumeId;

use super::growth::Size;
use super::{Leader, Stripe};
use crate::liveness::Millis;

/// A copy that is being made for a modification and whose server does not answer for so long comes to nothing.
const GIVE_UP: Millis = 10_000;

/// A stripe as the manager in office sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripeSight {
    /// Of the row that this was seen with.
    pub(crate) version: u64,
    pub(crate) size: Size,
    /// Bytes moved and left, of copies that catch up.
    pub(crate) resync: BTreeMap<CopyId, (u64, u64)>,
    /// Copies that will not come to anything, and why.
    pub(crate) lost: BTreeMap<CopyId, String>,
}

/// All stripes of a volume.
pub(crate) type Sight = BTreeMap<StripeId, StripeSight>;

impl Leader {
    /// A volume's stripes, as they are seen now.
    pub(crate) fn sight(&self, volume: &VolumeId, now: Millis) -> Sight {
        let ids = self.volume(volume).map(|row| row.stripes.clone()).unwrap_or_default();
        let stripes = ids.into_iter().filter_map(|id| Some((id, self.stripes.get(&id)?)));
        stripes.map(|(id, stripe)| (id, self.sight_of(stripe, now))).collect()
    }

    fn sight_of(&self, stripe: &Stripe, now: Millis) -> StripeSight {
        let lost = |copy: &CopyId| {
            let place = stripe.row.places.get(copy)?;
            if let Some(reason) = stripe.failed.get(copy) {
                return Some(reason.clone());
            }
            let dead = self.live.dead_for(place.server, now).is_some_and(|dead| dead >= GIVE_UP);
            let heard = self.servers.get(&place.server)?.copies.get(&(stripe.row.id, *copy));
            let silent =
                heard.and_then(|heard| heard.troubled).is_some_and(|since| now - since.min(now) >= GIVE_UP);
            let reason = || self.trouble(stripe, *copy).unwrap_or_else(|| "it does not answer".to_owned());
            (dead || silent).then(reason)
        };
        StripeSight {
            version: stripe.row.version,
            size: self.size_of(stripe),
            resync: stripe.resync.clone(),
            lost: stripe.row.places.keys().filter_map(|copy| Some((*copy, lost(copy)?))).collect(),
        }
    }
}
