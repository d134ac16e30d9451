//! Garbage collection, concurrent with everything, without I/O.
//!
//! What may be referred to changes only by transactions of the [`Ledger`]; the [`Collector`] is a state
//! machine that reads manifests, compares with what is stored, and deletes. The rules:
//!
//! 1. **Roots** are the manifests of snapshots, shelved volumes and hydrating volumes, and the parents of
//!    captures in progress. A root is made from a root that exists in the same transaction, or by the commit
//!    of a capture that is still in progress.
//! 2. Captures are numbered; every object's name has its capture's number. An object is a **candidate** only
//!    if its capture had ended when the collector took its view of the roots. (This saves work: by the rules
//!    below it would be rescued.)
//! 3. Candidates that no root of the view reaches are **condemned** at the next *epoch*. A capture that began
//!    at that epoch or later does not find condemned chunks; one that began before may already refer to them.
//! 4. So the collector waits until all captures that began before have ended, takes a second view, and
//!    **rescues** what the roots that are new in it reach. Nobody can refer to what is left any more.
//! 5. After a **grace** period, for readers that still hold a dropped root's references, it is deleted, and
//!    only then forgotten. Names are never used again, so a deletion that comes late does no harm.
//! 6. A manifest that cannot be read ends the cycle: where there is doubt nothing is deleted.
//!
//! All that outlives a crash is in the ledger: a new collector begins with a new view, rescues what is
//! condemned and alive, and goes on.

mod bug;
mod collector;
mod drive;
mod ledger;

pub use collector::{Collector, Contents, Input, Output, Report};
pub use drive::{GcError, LedgerAccess, MemoryLedger, collect};
pub use ledger::{Ledger, LedgerError, RootId, RootKind, View};

#[cfg(test)]
mod simulation;
