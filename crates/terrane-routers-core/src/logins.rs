//! Logins with one credential at one realm, as counted in the store: an authentication server locks the account after
//! a few wrong tries, at whichever routers they were made. So every login is begun and ended here, in a transaction, and
//! what was begun and never ended counts as wrong. At most [`LoginLimits::wrong_max`] tries are ever made with a
//! credential that is wrong; the first refusal suspends it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::bugs::Bugs;
use crate::{Epoch, RouterId, SessionId};

/// A login that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoginTicket {
    /// At which router.
    pub router: RouterId,
    /// By which holder of its shard.
    pub epoch: Epoch,
    /// For which session.
    pub session: SessionId,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Login {
    /// The credential was not shown to anybody.
    Untried,
    /// It was taken.
    Taken,
    /// It was refused.
    Refused,
    /// It was shown, and what came of it is not known.
    Unknown,
}

/// Limits of a realm.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// Wrong tries that may be made: fewer than lock an account.
    pub wrong_max: u32,
    /// Broken rules; none outside simulations.
    pub bugs: Bugs,
}

/// The record of a (credential, realm).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// Taken at least once since it was last in doubt.
    is_proven: bool,
    /// Refused once: no login until an operator says so, or another credential takes its place.
    is_suspended: bool,
    /// Tries that may have been wrong, since the last that was certainly taken while no other was under way.
    wrong: u32,
    under_way: BTreeSet<LoginTicket>,
}

/// Why a login may not be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// See [`LoginRecord::resume`].
    #[error("the credential was refused and is suspended")]
    Suspended,
    /// As many are under way as may all turn out to be wrong.
    #[error("other logins with this credential are not decided yet")]
    Undecided,
}

impl LoginRecord {
    /// Begins a login.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub fn begin(&mut self, ticket: LoginTicket, limits: LoginLimits) -> Result<(), LoginError> {
        let LoginLimits { wrong_max, bugs } = limits;
        if self.is_suspended && !bugs.retry_refused {
            return Err(LoginError::Suspended);
        }
        if self.wrong >= wrong_max && !bugs.retry_refused {
            return Err(LoginError::Suspended);
        }
        let under_way = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        // Until one has been taken only one may be tried: the canary.
        let room = if self.is_proven { wrong_max.saturating_sub(self.wrong) } else { 1 };
        if under_way >= room && !bugs.many_canaries {
            return Err(LoginError::Undecided);
        }
        self.under_way.insert(ticket);
        Ok(())
    }

    /// Ends a login; one that is not under way changes nothing.
    pub fn end(&mut self, ticket: LoginTicket, login: Login) {
        if !self.under_way.remove(&ticket) {
            return;
        }
        match login {
            Login::Untried => {}
            Login::Taken if self.is_suspended => {}
            Login::Taken => {
                self.is_proven = true;
                // Those under way may have been tried after this one: what they cost is not known yet.
                if self.under_way.is_empty() {
                    self.wrong = 0;
                }
            }
            Login::Unknown => {
                self.is_proven = false;
                self.wrong = self.wrong.saturating_add(1);
            }
            Login::Refused => {
                self.is_proven = false;
                self.is_suspended = true;
                self.wrong = self.wrong.saturating_add(1);
            }
        }
    }

    /// Ends what earlier holders of a router's shard left under way.
    pub fn reap(&mut self, router: RouterId, epoch: Epoch) {
        let left = self.under_way.iter().filter(|ticket| ticket.router == router && ticket.epoch < epoch);
        for ticket in left.copied().collect::<Vec<_>>() {
            self.end(ticket, Login::Unknown);
        }
    }

    /// An operator has seen to it that the realm counts from zero again (or waited until it does): one canary may try.
    pub fn resume(&mut self) {
        self.is_suspended = false;
        self.is_proven = false;
        self.wrong = 0;
    }

    /// Whether no login is tried any more.
    #[must_use]
    pub fn is_suspended(&self, limits: LoginLimits) -> bool {
        self.is_suspended || self.wrong >= limits.wrong_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: LoginLimits = LoginLimits { wrong_max: 2, bugs: Bugs::NONE };

    fn ticket(session: u64) -> LoginTicket {
        LoginTicket { router: RouterId(session % 5), epoch: Epoch(1), session: SessionId(session) }
    }

    #[test]
    fn one_canary_until_one_was_taken() {
        let mut record = LoginRecord::default();
        assert_eq!(record.begin(ticket(1), LIMITS), Ok(()));
        assert_eq!(record.begin(ticket(2), LIMITS), Err(LoginError::Undecided));
        record.end(ticket(1), Login::Taken);
        assert_eq!((record.begin(ticket(2), LIMITS), record.begin(ticket(3), LIMITS)), (Ok(()), Ok(())));
        assert_eq!(record.begin(ticket(4), LIMITS), Err(LoginError::Undecided));
        record.end(ticket(2), Login::Refused);
        record.end(ticket(3), Login::Taken);
        assert_eq!(record.begin(ticket(5), LIMITS), Err(LoginError::Suspended));
        record.resume();
        assert_eq!(record.begin(ticket(5), LIMITS), Ok(()));
    }

    proptest! {
        /// The password is changed behind our back at some moment: an account that locks after more than `wrong_max`
        /// wrong tries in a row is never locked.
        #[test]
        fn never_locked(steps in proptest::collection::vec((0u8..4, any::<proptest::sample::Index>()), 1..200), change in 0usize..200) {
            let mut record = LoginRecord::default();
            let (mut tried, mut begun, mut next, mut in_a_row) = (Vec::new(), Vec::new(), 0, 0);
            for (step, (what, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        next += 1;
                        if record.begin(ticket(next), LIMITS).is_ok() {
                            begun.push(next);
                        }
                    }
                    1 if !begun.is_empty() => {
                        // The server decides here; we hear of it later.
                        let session = begun.swap_remove(which.index(begun.len()));
                        let taken = step < change;
                        in_a_row = if taken { 0 } else { in_a_row + 1 };
                        tried.push((session, if taken { Login::Taken } else { Login::Refused }));
                    }
                    2 if !tried.is_empty() => {
                        let (session, login) = tried.swap_remove(which.index(tried.len()));
                        record.end(ticket(session), login);
                    }
                    3 if !tried.is_empty() => {
                        let (session, _) = tried.swap_remove(which.index(tried.len()));
                        record.end(ticket(session), Login::Unknown);
                    }
                    _ => {}
                }
                prop_assert!(in_a_row <= LIMITS.wrong_max);
            }
        }
    }
}
