//! What an owner may want, and which wishes make no sense together.

use crate::Seconds;
use serde::{Deserialize, Serialize};
use terrane_types::Zone;

/// Between the fill after a shrink and the one at which a volume grows, and the other way round, percent.
const APART: u32 = 10;
/// Minutes of a day.
pub(crate) const DAY: u32 = 24 * 60;
/// GiB of the largest volume.
const SIZE_MAX: u32 = 64 << 10;

/// What shall be adjusted; what is none is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// When it fills up.
    pub grow: Option<Grow>,
    /// When it stays empty.
    pub shrink: Option<Shrink>,
    /// By demand.
    pub iops: Option<Iops>,
    /// Follow the sun: the first window that a moment lies in says the zone.
    pub zones: Vec<Window>,
    /// Leave a zone that has been failing for so long, seconds.
    pub leave_failing_zone: Option<Seconds>,
    /// Leave servers.
    pub leave_server: Option<Leave>,
    /// Between two decisions of the same kind, seconds.
    pub pause: Seconds,
}

/// Grow by a part when so much is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grow {
    /// Percent of the size.
    pub at_percent: u32,
    /// Percent of the size; at least one GiB is added.
    pub by_percent: u32,
    /// Never larger, GiB.
    pub max_gib: u32,
}

/// Shrink when less than a part has been used for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrink {
    /// Percent of the size.
    pub under_percent: u32,
    /// For so long without a break, seconds.
    pub period: Seconds,
    /// To the size of which so many percent are used then.
    pub to_percent: u32,
    /// Never smaller, GiB.
    pub min_gib: u32,
}

/// Raise IOPS at once when they are nearly used up, lower them when they have not been for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iops {
    /// Bounds.
    pub min: u32,
    /// Bounds.
    pub max: u32,
    /// Raise when a second needed so many percent of them.
    pub raise_at_percent: u32,
    /// Lower when no second needed more than so many percent ...
    pub lower_under_percent: u32,
    /// ... for so long, seconds.
    pub period: Seconds,
    /// To what was needed and so many percent more.
    pub headroom_percent: u32,
}

/// A part of every day (UTC) in which the primary shall be in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first minute of the day.
    pub from: u32,
    /// The minute after the last one; before `from` if midnight lies within.
    pub to: u32,
    /// Where.
    pub zone: Zone,
}

/// When to leave a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// When it is being drained.
    pub draining: bool,
    /// When it has been busier than this, percent ...
    pub over_percent: Option<u32>,
    /// ... for so long, seconds.
    pub period: Seconds,
}

/// A policy that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Out of range.
    #[error("{what} is {value}; {least} to {most} are possible")]
    Range {
        /// What.
        what: &'static str,
        /// As given.
        value: u32,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// It would grow and shrink for ever.
    #[error(
        "{after} percent used after {what} is too near to {percent}, where it would be undone; leave {APART} between"
    )]
    Undone {
        /// Which of both.
        what: &'static str,
        /// What is used then, percent.
        after: u32,
        /// The other threshold, percent.
        percent: u32,
    },
}

impl Policy {
    /// Whether it makes sense: nothing that it does is a reason to undo it.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), PolicyError> {
        if let Some(grow) = &self.grow {
            range("grow.at_percent", grow.at_percent, 50, 99)?;
            range("grow.by_percent", grow.by_percent, 1, 1000)?;
            range("grow.max_gib", grow.max_gib, 1, SIZE_MAX)?;
        }
        if let Some(shrink) = &self.shrink {
            range("shrink.under_percent", shrink.under_percent, 1, 60)?;
            range("shrink.to_percent", shrink.to_percent, shrink.under_percent + APART, 90)?;
            range("shrink.min_gib", shrink.min_gib, 1, SIZE_MAX)?;
        }
        if let (Some(grow), Some(shrink)) = (&self.grow, &self.shrink) {
            if shrink.to_percent + APART > grow.at_percent {
                let (after, percent) = (shrink.to_percent, grow.at_percent);
                return Err(PolicyError::Undone { what: "shrinking", after, percent });
            }
            let after = grow.at_percent * 100 / (100 + grow.by_percent);
            if after < shrink.under_percent + APART {
                return Err(PolicyError::Undone { what: "growing", after, percent: shrink.under_percent });
            }
            range("shrink.min_gib", shrink.min_gib, 1, grow.max_gib)?;
        }
        if let Some(iops) = &self.iops {
            range("iops.min", iops.min, 100, iops.max)?;
            range("iops.raise_at_percent", iops.raise_at_percent, 50, 100)?;
            range("iops.headroom_percent", iops.headroom_percent, 10, 300)?;
            let after = 10_000 / (100 + iops.headroom_percent);
            range(
                "iops.lower_under_percent",
                iops.lower_under_percent,
                1,
                after.saturating_sub(APART).max(1),
            )?;
            if after + 1 > iops.raise_at_percent {
                let percent = iops.raise_at_percent;
                return Err(PolicyError::Undone { what: "lowering IOPS", after, percent });
            }
        }
        for window in &self.zones {
            range("zones.from", window.from, 0, DAY - 1)?;
            range("zones.to", window.to, 0, DAY)?;
        }
        if let Some(percent) = self.leave_server.and_then(|leave| leave.over_percent) {
            range("leave_server.over_percent", percent, 50, 1000)?;
        }
        Ok(())
    }

    /// The zone of a moment.
    pub(crate) fn zone_at(&self, at: Seconds) -> Option<&Window> {
        let minute = u32::try_from(at / 60 % u64::from(DAY)).unwrap_or(0);
        let within = |window: &&Window| {
            let begun = minute >= window.from;
            if window.from <= window.to { begun && minute < window.to } else { begun || minute < window.to }
        };
        self.zones.iter().find(within)
    }
}

fn range(what: &'static str, value: u32, least: u32, most: u32) -> Result<(), PolicyError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(PolicyError::Range { what, value, least, most })
}
