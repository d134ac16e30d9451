//! What people are told of copies, and what volumes are made anew from.

use terrane_block_core::CopyId;
use terrane_block_wire::control::{CopyReport, ServerId};

use super::stripes::was_made;
use super::{Leader, Stripe};
use crate::liveness::Belief;

/// What people are told of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Bytes moved and left, if it catches up.
    pub(crate) resync: Option<(u64, u64)>,
    /// Why it cannot be used now.
    pub(crate) trouble: Option<String>,
}

impl Leader {
    /// What is heard of a copy.
    pub(crate) fn told(&self, stripe: &Stripe, copy: CopyId) -> Told {
        Told { resync: stripe.resync.get(&copy).copied(), trouble: self.trouble(stripe, copy) }
    }

    /// Why a copy cannot be used now.
    pub(super) fn trouble(&self, stripe: &Stripe, copy: CopyId) -> Option<String> {
        let place = stripe.row.places.get(&copy)?;
        let server = match self.live.belief(place.server) {
            Belief::Dead => Some("its server does not answer"),
            Belief::Unknown => Some("its server was not heard of since this manager's start"),
            Belief::Alive | Belief::Doubtful => None,
        };
        if let Some(reason) = server {
            return Some(reason.to_owned());
        }
        if let Some(reason) = stripe.failed.get(&copy) {
            return Some(format!("it could not be made: {reason}"));
        }
        let heard = self.servers.get(&place.server)?.copies.get(&(stripe.row.id, copy));
        let Some(heard) = heard else {
            return was_made(&stripe.row, copy).then(|| "its server does not have it any more".to_owned());
        };
        let complaint = stripe.complaints.get(&copy);
        let aside = complaint.is_some_and(|complaint| complaint.aside_until > self.reviewed);
        heard.report.trouble.clone().or_else(|| aside.then(|| "others get no answer from it".to_owned()))
    }

    /// What servers say of their copies, but those that are to be deleted.
    pub(crate) fn copies_kept(&self) -> Vec<(ServerId, CopyReport)> {
        let mut kept = Vec::new();
        for (id, server) in &self.servers {
            let copies = server.copies.iter().filter(|(copy, _)| !server.doomed.contains(copy));
            kept.extend(copies.map(|(_, heard)| (*id, heard.report.clone())));
        }
        kept
    }
}
