//! Busy polling: not to sleep while the next message is due.
//!
//! A thread that sleeps is woken by way of the scheduler, of another processor often, which costs more than all else
//! that is done for a small request; and a request to two copies passes six threads, one after the other. So a thread
//! that has heard something asks the host for more for a moment before it sleeps. It offers its processor to all others
//! between questions, and sleeps when nothing has come for as long as the owner allows: an idle process costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Keeps the thread of a single-threaded runtime awake; shared by all that hear something there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BusyPoll(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    patience: Duration,
    /// How often something was heard.
    heard: AtomicU64,
    asleep: AtomicBool,
    wake: Notify,
}

impl BusyPoll {
    /// What `patience` usually is.
    pub const PATIENCE: Duration = Duration::from_micros(100);

    /// Sleeps after so long without a message; zero: always at once.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        // With one processor nothing can come while this thread runs.
        let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
        let patience = if alone { Duration::ZERO } else { patience };
        let (heard, asleep) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { patience, heard, asleep, wake: Notify::new() }))
    }

    /// Something was heard: more may come soon.
    pub fn heard(&self) {
        self.0.heard.fetch_add(1, Ordering::Relaxed);
        if self.0.asleep.load(Ordering::Relaxed) && self.0.asleep.swap(false, Ordering::AcqRel) {
            self.0.wake.notify_one();
        }
    }

    /// For ever, as a task of the runtime whose thread is to be kept awake.
    pub async fn run(self) {
        let shared = &self.0;
        while !shared.patience.is_zero() {
            shared.asleep.store(true, Ordering::Release);
            shared.wake.notified().await;
            let (mut heard, mut since) = (shared.heard.load(Ordering::Relaxed), Instant::now());
            loop {
                // Comes back once all that is ready has run and the host was asked for more.
                tokio::task::yield_now().await;
                let now = shared.heard.load(Ordering::Relaxed);
                if now != heard {
                    (heard, since) = (now, Instant::now());
                } else if since.elapsed() >= shared.patience {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self::new(Self::PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Tasks and timers of the runtime go on while its thread is kept awake, and it sleeps in the end.
    #[tokio::test]
    async fn others_run_meanwhile() {
        let busy = BusyPoll(Arc::new(Shared {
            patience: Duration::from_millis(20),
            heard: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            wake: Notify::new(),
        }));
        let task = tokio::spawn(busy.clone().run());
        while !busy.0.asleep.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        busy.heard();
        assert!(!busy.0.asleep.load(Ordering::Acquire), "it was woken");
        let began = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            busy.heard();
        }
        while !busy.0.asleep.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(26), "not before its patience ended");
        task.abort();
    }

    /// Without patience there is no task.
    #[tokio::test]
    async fn none_without_patience() {
        let busy = BusyPoll::new(Duration::ZERO);
        busy.heard();
        busy.run().await;
    }
}
