//! Connections in their handshake: a bounded number, of which the oldest gives way. A crowd of connections
//! that say nothing therefore cannot keep out one that knows what it wants.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Lobby {
    max: usize,
    /// Oldest first.
    places: Mutex<VecDeque<(u64, CancellationToken)>>,
    next: std::sync::atomic::AtomicU64,
}

impl Lobby {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), places: Mutex::default(), next: 0.into() }
    }

    /// Takes a place, if need be the oldest one's.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let token = CancellationToken::new();
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut places = self.places.lock();
        while places.len() >= self.max
            && let Some((_, oldest)) = places.pop_front()
        {
            oldest.cancel();
        }
        places.push_back((number, token.clone()));
        Place { lobby: self.clone(), number, token }
    }
}

/// A connection's place; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    lobby: Arc<Lobby>,
    number: u64,
    token: CancellationToken,
}

impl Place {
    /// Returns when the place was given to another.
    pub(super) async fn evicted(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.places.lock().retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let lobby = Arc::new(Lobby::new(2));
        let first = lobby.enter();
        let second = lobby.enter();
        assert!(!first.token.is_cancelled());
        let third = lobby.enter();
        assert!(first.token.is_cancelled());
        drop(second);
        let fourth = lobby.enter();
        assert!(!third.token.is_cancelled() && !fourth.token.is_cancelled());
        drop((first, third, fourth));
        assert!(lobby.places.lock().is_empty());
    }
}
