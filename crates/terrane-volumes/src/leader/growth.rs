//! Volumes that grow in use.
//!
//! The larger size is in the stripes' rows, and so in every view, before anybody is told that the volume has it. A copy
//! grows before it adopts a record that came with more blocks than it has. So once all copies that take part (in sync
//! or joining) have reported the size, whoever takes part later has it as well: only then clients may use it.

use terrane_block_wire::control::CopyReport;

use super::{Leader, Stripe};
use crate::rows::StripeRow;

/// How far the copies of a stripe are with growing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// All that take part have the size of the stripe's row.
    Reached,
    /// Some do not have it yet.
    Smaller,
    /// One is used as it is, and says why it cannot have more.
    Stays(String),
}

impl Leader {
    /// Of the copies that take part.
    pub(super) fn size_of(&self, stripe: &Stripe) -> Size {
        let Some(record) = stripe.row.record.as_ref() else { return Size::Smaller };
        let blocks = stripe.row.identity.blocks;
        let size = |report: Option<&CopyReport>| match report {
            Some(report) if report.identity.blocks >= blocks => Size::Reached,
            Some(CopyReport { incarnation: Some(_), trouble: Some(reason), .. }) => {
                Size::Stays(reason.clone())
            }
            _ => Size::Smaller,
        };
        let mut all = Size::Reached;
        for (copy, _) in record.now.acknowledgers() {
            let place = stripe.row.places.get(&copy);
            let server = place.and_then(|place| self.servers.get(&place.server));
            let heard = server.and_then(|server| server.copies.get(&(stripe.row.id, copy)));
            match size(heard.map(|heard| &heard.report)) {
                Size::Reached => {}
                Size::Smaller => all = Size::Smaller,
                stays @ Size::Stays(_) => return stays,
            }
        }
        all
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
}
