//! Volumes that grow in use.
//!
//! The larger size is in the stripes' rows, and so in every view, before anybody is told that the volume has it. A copy
//! grows before it adopts a record that came with more blocks than it has. So once all copies that take part (in sync
//! or joining) have reported the size, whoever takes part later has it as well: only then clients may use it.

use terrane_block_wire::control::CopyReport;

use super::{Leader, Stripe};
use crate::db::VolumeKey;
use crate::jobs::Job;
use crate::rows::{StripeRow, VolumeRow};

/// How far a copy is.
enum Size {
    Wanted,
    Smaller,
    /// It is used as it is, and says why it cannot have more.
    Stays(String),
}

impl Leader {
    /// The end of a volume's growth, if it has come to one.
    pub(super) fn grown(&self, key: &VolumeKey, volume: &VolumeRow) -> Option<Job> {
        let size_gib = volume.grows_to()?;
        let end = |result| Some(Job::Grown { volume: key.clone(), size_gib, result });
        let mut all = true;
        for id in &volume.stripes {
            let stripe = self.stripes.get(id)?;
            // A row of before is not what the copies are measured by.
            let blocks = stripe.row.identity.blocks;
            if blocks < volume.blocks_of_stripe(size_gib) {
                return None;
            }
            for size in self.sizes(stripe, blocks)? {
                match size {
                    Size::Wanted => {}
                    Size::Smaller => all = false,
                    Size::Stays(reason) => return end(Err(reason)),
                }
            }
        }
        if all { end(Ok(())) } else { None }
    }

    /// A stripe shall be larger: what its copies said of an earlier size does not count any more.
    pub(super) fn ask_for_growth(&mut self, before: &StripeRow, after: &StripeRow) {
        if after.identity.blocks <= before.identity.blocks {
            return;
        }
        for (copy, place) in &after.places {
            let server = self.servers.get_mut(&place.server);
            let heard = server.and_then(|server| server.copies.get_mut(&(after.id, *copy)));
            if let Some(heard) = heard.filter(|heard| heard.report.incarnation.is_some()) {
                heard.report.trouble = None;
            }
        }
    }

    /// Of the copies that take part. `None`: the stripe is not made yet.
    fn sizes(&self, stripe: &Stripe, blocks: u64) -> Option<Vec<Size>> {
        let record = stripe.row.record.as_ref()?;
        let size = |report: Option<&CopyReport>| match report {
            Some(report) if report.identity.blocks >= blocks => Size::Wanted,
            Some(CopyReport { incarnation: Some(_), trouble: Some(reason), .. }) => {
                Size::Stays(reason.clone())
            }
            _ => Size::Smaller,
        };
        let sizes = record.now.acknowledgers().map(|(copy, _)| {
            let place = stripe.row.places.get(&copy);
            let server = place.and_then(|place| self.servers.get(&place.server));
            let heard = server.and_then(|server| server.copies.get(&(stripe.row.id, copy)));
            size(heard.map(|heard| &heard.report))
        });
        Some(sizes.collect())
    }
}
