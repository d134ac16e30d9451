//! Which copies of a stripe stay and where others come, when its volume is changed.
//!
//! Servers that hold the volume are preferred: copies that can stay do, and where another kind of drive is wanted, the
//! same servers are asked first. Copies that leave and those that take their places may share a server meanwhile.

use std::collections::BTreeSet;

use terrane_block_core::CopyId;
use terrane_block_wire::control::{Media, ServerId};
use terrane_types::Zone;

use super::{Map, Want};
use crate::rows::{Demand, PlaceRow, StripeRow};

/// What a stripe shall be like.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    pub(crate) zone: Zone,
    pub(crate) media: Media,
    pub(crate) demand: Demand,
    pub(crate) copies: usize,
}

/// How it comes to be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replan {
    /// Copies that stay.
    pub(crate) keep: BTreeSet<CopyId>,
    /// Where new ones come.
    pub(crate) places: Vec<PlaceRow>,
    /// Why not all are in the zone asked for.
    pub(crate) note: Option<String>,
}

impl Map {
    /// Finds out which copies of a stripe stay, and places for the others, or says why there are none.
    pub(crate) fn replan(&self, row: &StripeRow, aim: &Aim, overcommit: u32) -> Result<Replan, String> {
        let mut plan = Replan::default();
        let stays: Vec<CopyId> = self.fitting(row, aim, overcommit);
        // Unless another zone is asked for, a copy that lies elsewhere does so for a reason.
        let moves = aim.zone != row.zone;
        let here = |copy: &CopyId| !moves || self.zone_of(row, *copy) == Some(&aim.zone);
        plan.keep = stays.iter().copied().filter(here).take(aim.copies).collect();
        let mut elsewhere = stays.iter().copied().filter(|copy| !here(copy));
        while plan.keep.len() + plan.places.len() < aim.copies {
            match self.next_place(row, aim, &plan, overcommit) {
                Ok(place) => plan.places.push(place),
                Err(reason) if moves && plan.keep.is_empty() && plan.places.is_empty() => return Err(reason),
                Err(reason) => {
                    plan.note = Some(format!("a copy is not in {}, because there: {reason}", aim.zone));
                    match elsewhere.next() {
                        Some(copy) => {
                            plan.keep.insert(copy);
                        }
                        None => plan.places.push(self.place_anywhere(row, aim, &plan, overcommit, &reason)?),
                    }
                }
            }
        }
        Ok(plan)
    }

    /// The zone that a copy lies in.
    pub(crate) fn zone_of(&self, row: &StripeRow, copy: CopyId) -> Option<&Zone> {
        let place = row.places.get(&copy)?;
        self.servers.get(&place.server).map(|(server, _)| &server.zone)
    }

    /// Copies that can be what is wanted where they are; the primary first, then those in sync.
    fn fitting(&self, row: &StripeRow, aim: &Aim, overcommit: u32) -> Vec<CopyId> {
        let more = aim.demand.beyond(row.demand);
        let fits = |place: &PlaceRow| {
            let Some((server, pools)) = self.servers.get(&place.server) else { return false };
            let of_media = pools.get(&place.pool).is_some_and(|pool| pool.media == aim.media);
            of_media && !server.draining && self.can_grow(*place, more, overcommit).is_ok()
        };
        let mut copies: Vec<CopyId> =
            row.places.iter().filter(|(_, place)| fits(place)).map(|(copy, _)| *copy).collect();
        let now = row.record.as_ref().map(|record| &record.now);
        let rank = |copy: &CopyId| {
            let rules = now.is_some_and(|now| now.primary == *copy);
            (!rules, !now.is_some_and(|now| now.in_sync.contains_key(copy)), *copy)
        };
        copies.sort_by_key(rank);
        copies
    }

    /// The best place in the zone: at a server that holds the stripe already, else at any.
    fn next_place(
        &self,
        row: &StripeRow,
        aim: &Aim,
        plan: &Replan,
        overcommit: u32,
    ) -> Result<PlaceRow, String> {
        let (want, holds) = self.wanted(row, aim, plan);
        let near = self.best(&want, overcommit, &want.without, |id, server| {
            server.zone == aim.zone && holds.contains(&id)
        });
        near.or_else(|_| self.best(&want, overcommit, &want.without, |_, server| server.zone == aim.zone))
    }

    fn place_anywhere(
        &self,
        row: &StripeRow,
        aim: &Aim,
        plan: &Replan,
        overcommit: u32,
        reason: &str,
    ) -> Result<PlaceRow, String> {
        let (want, _) = self.wanted(row, aim, plan);
        self.best(&want, overcommit, &want.without, |_, server| server.zone != aim.zone).map_err(
            |elsewhere| {
                let found = plan.keep.len() + plan.places.len();
                format!("{found} of {} copies: in {}: {reason}; elsewhere: {elsewhere}", aim.copies, aim.zone)
            },
        )
    }

    /// What is looked for, and which servers hold the stripe. Where a copy lies on drives of the wanted kind and cannot
    /// stay, another one cannot come.
    fn wanted(&self, row: &StripeRow, aim: &Aim, plan: &Replan) -> (Want, BTreeSet<ServerId>) {
        let mut without: BTreeSet<ServerId> = plan.places.iter().map(|place| place.server).collect();
        let mut holds = BTreeSet::new();
        for (copy, place) in &row.places {
            let pool = self.servers.get(&place.server).and_then(|(_, pools)| pools.get(&place.pool));
            let same = pool.is_none_or(|pool| pool.media == aim.media);
            if same || plan.keep.contains(copy) {
                without.insert(place.server);
            } else {
                holds.insert(place.server);
            }
        }
        let want = Want {
            zone: aim.zone.clone(),
            media: aim.media,
            demand: aim.demand,
            copies: 1,
            without,
            strict: true,
        };
        (want, holds)
    }
}

#[cfg(test)]
mod tests;
