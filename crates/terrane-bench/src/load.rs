//! Many clients at once: pacing, counting, latencies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long and how hard.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Concurrent clients, each a thread with a connection.
    pub clients: usize,
    /// Stop after this time, if given.
    pub time: Option<Duration>,
    /// Stop after this many operations in total, if given.
    pub count: Option<u64>,
    /// Start at most this many operations per second in total; as fast as answers come if `None`.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Successful operations.
    pub done: u64,
    /// Units that they handled (keys of a listing, bytes of a body); `done` where there is no other unit.
    pub units: u64,
    /// Failures by what was said.
    pub errors: BTreeMap<String, u64>,
    /// From the first start to the last end.
    pub seconds: f64,
    /// Successful operations per second.
    pub per_second: f64,
    /// Units per second.
    pub units_per_second: f64,
    /// Median latency in microseconds.
    pub p50_us: u64,
    /// 99th percentile in microseconds.
    pub p99_us: u64,
    /// The slowest, in microseconds.
    pub max_us: u64,
}

impl Report {
    /// All failures.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Runs `operation` in `shape.clients` threads. `start` makes each thread's state (its connection); the
/// operation gets the state and the running number of the operation, and says how many units it handled or
/// what went wrong.
pub fn drive<S>(
    shape: &Shape,
    start: impl Fn(usize) -> S + Sync,
    operation: impl Fn(&mut S, u64) -> Result<u64, String> + Sync,
) -> Report {
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let worker = |id: usize| {
        let mut state = start(id);
        let mut own = Worker::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if shape.count.is_some_and(|count| number >= count)
                || shape.time.is_some_and(|t| began.elapsed() >= t)
            {
                return own;
            }
            if let Some(rate) = shape.rate {
                let due = Duration::from_secs_f64(number as f64 / rate);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            let at = Instant::now();
            match operation(&mut state, number) {
                Ok(units) => {
                    own.units += units;
                    own.latencies_us.push(u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                Err(what) => *own.errors.entry(what).or_default() += 1,
            }
        }
    };
    let workers: Vec<Worker> = thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.clients).map(|id| scope.spawn(move || worker(id))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client thread panicked")).collect()
    });
    summarise(workers, began.elapsed())
}

#[derive(Default)]
struct Worker {
    units: u64,
    latencies_us: Vec<u32>,
    errors: BTreeMap<String, u64>,
}

fn summarise(workers: Vec<Worker>, elapsed: Duration) -> Report {
    let mut report = Report { seconds: elapsed.as_secs_f64(), ..Report::default() };
    let mut latencies = Vec::new();
    for worker in workers {
        report.units += worker.units;
        latencies.extend(worker.latencies_us);
        for (what, count) in worker.errors {
            *report.errors.entry(what).or_default() += count;
        }
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().map_or(0, u64::from)
    };
    report.done = latencies.len() as u64;
    report.per_second = report.done as f64 / report.seconds;
    report.units_per_second = report.units as f64 / report.seconds;
    (report.p50_us, report.p99_us, report.max_us) = (at(0.5), at(0.99), at(1.0));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_used_once_and_failures_are_counted() {
        let seen = std::sync::Mutex::new(Vec::new());
        let shape = Shape { clients: 4, time: None, count: Some(1000), rate: None };
        let report = drive(
            &shape,
            |_| (),
            |(), number| {
                seen.lock().unwrap().push(number);
                if number % 10 == 0 { Err("tenth".into()) } else { Ok(2) }
            },
        );
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert_eq!((report.done, report.units, report.failures()), (900, 1800, 100));
        assert!(report.p50_us <= report.p99_us && report.p99_us <= report.max_us);
    }

    #[test]
    fn pacing_starts_no_operation_early() {
        let shape = Shape { clients: 2, time: None, count: Some(20), rate: Some(200.0) };
        let began = Instant::now();
        drive(
            &shape,
            |_| (),
            |(), number| {
                let due = Duration::from_secs_f64(number as f64 / 200.0);
                assert!(began.elapsed() >= due, "operation {number} started early");
                Ok(1)
            },
        );
    }
}
