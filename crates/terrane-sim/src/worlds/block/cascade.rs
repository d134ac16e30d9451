//! One failure on top of the other, too unlikely to be met by faults that know nothing of each other: a write reaches some
//! copies only, its primary is lost, its application too, and while the copies left are compared the next primary is
//! lost as well. Nobody writes over what differs meanwhile.

use super::cluster::{Cluster, Turn};
use super::machine::address;
use crate::runner::Context;
use std::time::Duration;
use terrane_block_core::CopyId;

/// A step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// Whoever is the primary dies, and comes back.
    Primary,
    /// The attachment is fenced.
    Detach,
}

/// For so long applications write nothing.
const QUIET: Duration = Duration::from_millis(150);

impl Cluster {
    /// The first step; the others follow.
    pub(super) fn cascade(&mut self, context: &mut Context) {
        let now = &self.record.now;
        let mirrors = || now.in_sync.keys().filter(|copy| **copy != now.primary);
        let (Some(last), true) = (mirrors().next_back(), mirrors().count() > 1 && self.record.active) else {
            return;
        };
        let node = |copy: CopyId| u32::try_from(copy.0).unwrap_or(u32::MAX);
        let (primary, last) = (node(now.primary), node(*last));
        context.coverage.hit("block.cascade");
        // The next primary is the first mirror: the last one misses what it gets.
        self.net.cut(primary, last);
        let blows =
            [(Blow::Primary, 300..3_000), (Blow::Detach, 300..25_000), (Blow::Primary, 25_000..60_000)];
        for (blow, range) in blows {
            let pause = Duration::from_micros(self.rng.range(range));
            self.queue.after(pause, Turn::Blow(blow));
        }
        self.heal_later();
    }

    pub(super) fn blow(&mut self, context: &mut Context, blow: Blow) {
        if self.calm || self.has_rot() {
            return;
        }
        match blow {
            Blow::Primary => {
                self.quiet_until = self.queue.now().after(QUIET);
                let primary = self.record.now.primary;
                let at = (0..self.copies.len()).find(|copy| u64::from(address(*copy)) == primary.0);
                if let Some(copy) = at {
                    self.down(context, copy, false);
                }
            }
            Blow::Detach => self.force_detach(context),
        }
    }

    /// What applications do now: writes, reads and flushes, by weight.
    pub(super) fn appetite(&self) -> [u32; 3] {
        if self.queue.now() < self.quiet_until { [0, 1, 1] } else { [5, 4, 1] }
    }
}
