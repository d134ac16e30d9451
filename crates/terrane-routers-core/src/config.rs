//! What a router bears, and how many may wait for it.

use std::collections::BTreeMap;
use std::time::Duration;

use terrane_router_model::Kind;

use crate::bucket::Rate;
use crate::bugs::Bugs;
use crate::question::{Class, TOKENS_MAX};

/// Settings of one router's core. [`RouterConfig::check`] refuses those under which nothing can be promised.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Tokens per time at most: the declared ceiling. A command takes [`crate::Cost::tokens`].
    pub rate_max: Rate,
    /// Tokens per time that are always granted, however slow the router seems (μ).
    pub rate_min: Rate,
    /// Tokens that may be taken at once.
    pub burst: u32,
    /// Logins per time.
    pub login_rate: Rate,
    /// Logins at once.
    pub login_burst: u32,
    /// Sessions that we may have at the router, over all holders.
    pub sessions_max: u16,
    /// Of these, how many one holder leaves to its successor.
    pub sessions_spare: u16,
    /// Rates of kinds that are worse for the router than their cost says: rate and burst.
    pub kind_rates: BTreeMap<Kind, (Rate, u32)>,
    /// Tokens per time of one client at this router.
    pub client_rate: Rate,
    /// Tokens that one client may take at once.
    pub client_burst: u32,
    /// Advantage of each class in waiting time, in the order of [`Class::ALL`].
    pub head_start: [Duration; 3],
    /// Executions that wait, altogether.
    pub runs_max: usize,
    /// Clients that wait.
    pub lines_max: usize,
    /// Executions that wait for one client.
    pub line_runs_max: usize,
    /// Requests that are open, altogether.
    pub waiters_max: usize,
    /// Requests of one client that are open.
    pub client_waiters_max: usize,
    /// Commands of one plan.
    pub steps_max: u32,
    /// A command that takes longer has failed, and its session with it.
    pub command_timeout: Duration,
    /// A login that takes longer has failed.
    pub open_timeout: Duration,
    /// An unused session is closed after this time.
    pub session_idle: Duration,
    /// After this time without a word from us the router has certainly ended a session.
    pub device_idle: Duration,
    /// Observations that are kept.
    pub cache_count: usize,
    /// Bytes of them.
    pub cache_bytes: usize,
    /// How long.
    pub cache_age_max: Duration,
    /// Failures in a row after which the router is left alone.
    pub breaker_failures: u32,
    /// For how long at first; doubled with each failing probe.
    pub breaker_pause: Duration,
    /// For how long at most.
    pub breaker_pause_max: Duration,
    /// A refused credential: whether it is still suspended is asked again after this time.
    pub suspended_pause: Duration,
    /// What clients wait by default: the bound of waiting must be below it.
    pub deadline_default: Duration,
    /// Broken rules; none outside simulations.
    pub bugs: Bugs,
}

/// Settings that cannot hold together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing could ever be sent, or admitted.
    #[error("`{0}` must not be zero")]
    Zero(&'static str),
    /// A burst smaller than what one command takes.
    #[error("`{0}` must be at least {TOKENS_MAX}")]
    Burst(&'static str),
    /// The floor is above the ceiling.
    #[error("`rate_min` is above `rate_max`")]
    Floor,
    /// No session is left for the holder itself.
    #[error("`sessions_spare` leaves none of `sessions_max`")]
    Spare,
    /// Clients would give up before it is their turn.
    #[error("a request may wait {bound:?}, longer than the default deadline of {deadline:?}")]
    Wait {
        /// See [`RouterConfig::wait_bound`].
        bound: Duration,
        /// The default deadline.
        deadline: Duration,
    },
}

impl RouterConfig {
    /// Refuses settings that cannot hold together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zeros = [
            ("rate_min", self.rate_min == Rate::ZERO),
            ("login_rate", self.login_rate == Rate::ZERO || self.login_burst == 0),
            ("sessions_max", self.sessions_max == 0),
            ("client_rate", self.client_rate == Rate::ZERO),
            ("runs_max", self.runs_max.min(self.lines_max).min(self.line_runs_max) == 0),
            ("waiters_max", self.waiters_max.min(self.client_waiters_max) == 0),
            ("steps_max", self.steps_max == 0),
        ];
        if let Some((name, _)) = zeros.iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero(name));
        }
        let kind_bursts = self.kind_rates.values().map(|(_, burst)| ("kind_rates", *burst));
        let bursts = [("burst", self.burst), ("client_burst", self.client_burst)];
        if let Some((name, _)) = bursts.into_iter().chain(kind_bursts).find(|(_, burst)| *burst < TOKENS_MAX)
        {
            return Err(ConfigError::Burst(name));
        }
        if self.rate_min > self.rate_max {
            return Err(ConfigError::Floor);
        }
        if self.sessions_spare >= self.sessions_max {
            return Err(ConfigError::Spare);
        }
        let (bound, deadline) = (self.wait_bound(), self.deadline_default);
        if bound > deadline {
            return Err(ConfigError::Wait { bound, deadline });
        }
        Ok(())
    }

    /// How long the first in a client's line waits at most, from when the client has tokens, at a router that serves
    /// `rate_min`: once it is older than any newcomer's head start, only those go before it that were first in
    /// their lines by then, each once and each with its lead at most; and what had begun must end.
    #[must_use]
    pub fn wait_bound(&self) -> Duration {
        let lines = u64::try_from(self.lines_max).unwrap_or(u64::MAX).saturating_add(1);
        let served = self.rate_min.time_for(lines.saturating_mul(TOKENS_MAX.into()));
        self.head_start_max() + served + self.command_timeout
    }

    /// The advantage of the most urgent class.
    #[must_use]
    pub fn head_start_max(&self) -> Duration {
        self.head_start.into_iter().max().unwrap_or_default()
    }

    pub(crate) fn handicap(&self, class: Class) -> Duration {
        let own = self.head_start.get(class.index()).copied().unwrap_or_default();
        self.head_start_max().saturating_sub(own)
    }

    /// Sessions that this holder may have.
    #[must_use]
    pub fn sessions_own(&self) -> usize {
        usize::from(self.sessions_max.saturating_sub(self.sessions_spare))
    }
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            rate_max: Rate::per_second(20),
            rate_min: Rate::per_second(8),
            burst: 8,
            login_rate: Rate::per_minute(30),
            login_burst: 2,
            sessions_max: 3,
            sessions_spare: 1,
            kind_rates: BTreeMap::new(),
            client_rate: Rate::per_second(10),
            client_burst: 8,
            head_start: [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)],
            runs_max: 1_024,
            lines_max: 64,
            line_runs_max: 64,
            waiters_max: 32_768,
            client_waiters_max: 16_384,
            steps_max: 256,
            command_timeout: Duration::from_secs(20),
            open_timeout: Duration::from_secs(20),
            session_idle: Duration::from_secs(120),
            device_idle: Duration::from_secs(600),
            cache_count: 1_024,
            cache_bytes: 32 << 20,
            cache_age_max: Duration::from_secs(600),
            breaker_failures: 3,
            breaker_pause: Duration::from_secs(2),
            breaker_pause_max: Duration::from_secs(60),
            suspended_pause: Duration::from_secs(10),
            deadline_default: Duration::from_secs(60),
            bugs: Bugs::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_promised_is_refused() {
        let ok = RouterConfig::default();
        assert_eq!(ok.check(), Ok(()));
        let refused = |change: fn(&mut RouterConfig)| {
            let mut config = RouterConfig::default();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert_eq!(refused(|c| c.rate_min = Rate::ZERO), ConfigError::Zero("rate_min"));
        assert_eq!(refused(|c| c.client_burst = 3), ConfigError::Burst("client_burst"));
        assert_eq!(refused(|c| c.rate_max = Rate::per_second(1)), ConfigError::Floor);
        assert_eq!(refused(|c| c.sessions_spare = 3), ConfigError::Spare);
        assert!(matches!(refused(|c| c.lines_max = 1_000), ConfigError::Wait { .. }));
    }
}
