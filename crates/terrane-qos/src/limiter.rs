//! The limits of one volume.

use crate::rate::Cost;
use crate::{Allowance, Gcra, Nanos};

/// What a volume may use: every one of these holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// I/O operations: for ever, and while there is credit. None: no limit.
    pub ops: [Option<Allowance>; 2],
    /// Bytes, alike.
    pub bytes: [Option<Allowance>; 2],
}

/// Admits requests of one volume as far as its limits allow.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    ops: [Option<Gcra>; 2],
    bytes: [Option<Gcra>; 2],
    /// When the last of them opens: all that a request with room to spare looks at.
    open_at: Nanos,
}

impl Limiter {
    /// With all credit at hand.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let new = |allowances: [Option<Allowance>; 2]| allowances.map(|allowance| allowance.map(Gcra::new));
        Self { ops: new(limits.ops), bytes: new(limits.bytes), open_at: 0 }
    }

    /// Other limits from now on; what was used counts.
    pub fn set(&mut self, now: Nanos, limits: &Limits) {
        let change = |gates: &mut [Option<Gcra>; 2], allowances: [Option<Allowance>; 2]| {
            for (gate, allowance) in gates.iter_mut().zip(allowances) {
                match (gate.as_mut(), allowance) {
                    (Some(gate), Some(allowance)) => gate.set(now, allowance),
                    (_, allowance) => *gate = allowance.map(Gcra::new),
                }
            }
        };
        change(&mut self.ops, limits.ops);
        change(&mut self.bytes, limits.bytes);
        self.look();
    }

    /// From when on the next request may pass, whatever it costs.
    #[must_use]
    pub fn open_at(&self) -> Nanos {
        self.open_at
    }

    /// Lets a request pass if it may now; otherwise it changes nothing and says when to ask again.
    ///
    /// # Errors
    /// When it may pass, unless others pass before.
    pub fn admit(&mut self, now: Nanos, cost: Cost) -> Result<(), Nanos> {
        if self.open_at > now {
            return Err(self.open_at);
        }
        self.ops.iter_mut().flatten().for_each(|gate| gate.take(now, cost.ops.into()));
        self.bytes.iter_mut().flatten().for_each(|gate| gate.take(now, cost.bytes.into()));
        self.look();
        Ok(())
    }

    fn look(&mut self) {
        let gates = self.ops.iter().chain(&self.bytes).flatten();
        self.open_at = gates.map(Gcra::open_at).max().unwrap_or(0);
    }
}
