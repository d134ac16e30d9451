//! Queue classes and how a write comes into one.

use serde::{Deserialize, Serialize};

/// What a write asks for and gets: applied before the answer, or queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteMode {
    /// Applied before the answer.
    Sync,
    /// Queued, drained first.
    High,
    /// Queued, drained at a lower rate.
    Low,
    /// Applied no later than so many milliseconds after the write.
    Delay {
        /// One second to four weeks.
        ms: u64,
    },
}

/// A write's wish: an explicit mode (header), else the bucket's default and the load decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeRequest {
    /// From `x-terrane-async`.
    pub explicit: Option<ExplicitMode>,
    /// From `x-terrane-priority`; used where the mode is asynchronous and not a delay.
    pub priority: Option<Priority>,
}

/// Values of `x-terrane-async`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplicitMode {
    /// `true` or `async`.
    Async,
    /// `false`.
    Sync,
    /// `time=D`, in milliseconds; clamped to one second to four weeks.
    Delay(u64),
}

/// Values of `x-terrane-priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// `high`.
    High,
    /// `low`.
    Low,
}

/// Shortest delay.
pub const DELAY_MS_MIN: u64 = 1_000;
/// Longest delay: four weeks.
pub const DELAY_MS_MAX: u64 = 28 * 24 * 3_600 * 1_000;

/// A queue. Entries of one queue and slot are applied in the order of their LSNs, which makes progress a watermark.
///
/// Delays are rounded down to a grid of eight steps per power of two seconds, so that within one queue the order of
/// LSNs is the order of due times too, and no entry is applied later than asked or more than an eighth earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Somebody waits for the application.
    Sync,
    /// Drained first.
    High,
    /// Drained at a lower rate.
    Low,
    /// Moves of records and bytes by compaction.
    Move,
    /// Held until shortly before its due time; the step of the grid.
    Delay(u8),
}

/// Classes as an operator names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClassName {
    /// `sync`
    Sync,
    /// `high`
    High,
    /// `low`
    Low,
    /// `delay`: all delays together.
    Delay,
    /// `move`: compaction.
    Move,
}

impl ClassName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sync, Self::High, Self::Low, Self::Delay, Self::Move];

    /// The operator's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::High => "high",
            Self::Low => "low",
            Self::Delay => "delay",
            Self::Move => "move",
        }
    }

    /// From the operator's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// As an index into per-class tables.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Class {
    /// The queue of a delay of `ms` milliseconds.
    pub fn delay(ms: u64) -> Self {
        let seconds = ms.clamp(DELAY_MS_MIN, DELAY_MS_MAX) / 1_000;
        let octave = seconds.ilog2();
        // Below eight seconds the grid is whole seconds: fewer than eight steps per octave.
        let eighth = ((seconds << 3) >> octave) & 7;
        Self::Delay((octave << 3) as u8 | eighth as u8)
    }

    /// How long entries may wait, in milliseconds; `None` if not held back on purpose.
    pub fn delay_ms(self) -> Option<u64> {
        match self {
            Self::Delay(step) => {
                let (octave, eighth) = (u32::from(step >> 3).min(32), u64::from(step & 7));
                Some((((8 + eighth) << octave) >> 3) * 1_000)
            }
            _ => None,
        }
    }

    /// The operator's name.
    pub fn name(self) -> ClassName {
        match self {
            Self::Sync => ClassName::Sync,
            Self::High => ClassName::High,
            Self::Low => ClassName::Low,
            Self::Move => ClassName::Move,
            Self::Delay(_) => ClassName::Delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_down_by_at_most_an_eighth() {
        for seconds in (1..5_000).chain([86_400, 604_800, 2_419_200]) {
            let ms = seconds * 1_000;
            let got = Class::delay(ms).delay_ms().unwrap();
            assert!(got <= ms && (ms - got) * 8 <= ms, "{ms} → {got}");
            assert_eq!(Class::delay(got), Class::delay(ms), "the grid is a fixed point");
        }
        assert_eq!(Class::delay(0), Class::delay(DELAY_MS_MIN));
        assert_eq!(Class::delay(u64::MAX), Class::delay(DELAY_MS_MAX));
        assert!(Class::Delay(255).delay_ms().is_some());
    }
}
