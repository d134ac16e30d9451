//! A limit on unknown names. They have at least 128 bits, so this is not what keeps them secret; it keeps
//! the tries out of the log of whoever is paged for them, and cheap.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::PeerAddress;

/// Addresses that are told apart. Beyond, all share one allowance.
const KEYS_MAX: usize = 4096;
/// Tries beyond the burst that are remembered. Who has to wait for so long is gone before its answer.
const DEBT_MAX: u32 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(u32),
    Network(IpAddr),
    Others,
}

impl Key {
    fn of(address: &PeerAddress) -> Self {
        match address {
            PeerAddress::Unix { uid } => Self::User(*uid),
            PeerAddress::Tcp(address) => Self::Network(match address.ip().to_canonical() {
                // One machine has a whole network of these.
                IpAddr::V6(ip) if !ip.is_loopback() => {
                    IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))
                }
                ip => ip,
            }),
        }
    }
}

/// Counts unknown names: as many are answered at once as the burst, then one per pause. Who knows a name is not held up.
#[derive(Debug)]
pub(super) struct Guesses {
    burst: u32,
    pause: Duration,
    /// When the allowance of an address will be whole again.
    whole_at: Mutex<HashMap<Key, Instant>>,
}

impl Guesses {
    pub(super) fn new(burst: u32, pause: Duration) -> Self {
        Self { burst: burst.max(1), pause, whole_at: Mutex::default() }
    }

    /// An unknown name was tried: returns when that may be said.
    pub(super) async fn wait(&self, address: &PeerAddress) {
        let (_, at) = self.take(Key::of(address), Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// Takes one try and says when it may be answered, and on whose account it goes.
    fn take(&self, key: Key, now: Instant) -> (Key, Instant) {
        let mut whole_at = self.whole_at.lock();
        if whole_at.len() >= KEYS_MAX {
            whole_at.retain(|_, whole| *whole > now);
        }
        let known = whole_at.len() < KEYS_MAX || whole_at.contains_key(&key);
        let key = if known { key } else { Key::Others };
        let whole = whole_at.entry(key).or_insert(now);
        let most = now + self.pause * self.burst.saturating_add(DEBT_MAX);
        *whole = ((*whole).max(now) + self.pause).min(most);
        let at = whole.checked_sub(self.pause * self.burst).unwrap_or(now);
        (key, at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_pause() {
        let guesses = Guesses::new(3, Duration::from_secs(1));
        let now = Instant::now();
        let key = Key::User(7);
        let waits: Vec<_> = (0..5).map(|_| (guesses.take(key, now).1 - now).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(guesses.take(Key::User(8), now).1, now, "another user is not held up");
        for _ in 0..10_000 {
            guesses.take(key, now);
        }
        let later = now + Duration::from_secs(200);
        assert_eq!(guesses.take(key, later).1, later, "forgotten some day");
    }

    #[test]
    fn addresses_beyond_the_bound_share_one_allowance() {
        let guesses = Guesses::new(1, Duration::from_secs(1));
        let now = Instant::now();
        for user in 0..KEYS_MAX as u32 {
            guesses.take(Key::User(user), now);
        }
        assert_eq!(guesses.take(Key::User(u32::MAX), now), (Key::Others, now));
        assert!(guesses.take(Key::User(u32::MAX - 1), now).1 > now);
        assert!(guesses.whole_at.lock().len() <= KEYS_MAX + 1);
        let later = now + Duration::from_secs(9);
        assert_eq!(guesses.take(Key::User(u32::MAX), later).0, Key::User(u32::MAX));
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let key = |text: &str| Key::of(&PeerAddress::Tcp(text.parse().unwrap()));
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::2]:2"));
        assert_ne!(key("[2001:db8:1::1]:1"), key("[2001:db8:2::1]:1"));
        assert_eq!(key("[::ffff:192.0.2.1]:1"), key("192.0.2.1:9"));
        assert_ne!(key("192.0.2.1:1"), key("192.0.2.2:1"));
    }
}
