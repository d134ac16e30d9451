//! Doing the same on several drives, at once or in turn.
//!
//! At once pays where a sync waits for a device. Where it takes less than waking a thread (a controller with a
//! cache, a virtual disk), in turn is faster, above all on a busy machine; so with threads each round goes by
//! what the round before took.

use super::FanOut;
use crossbeam_channel::{Sender, bounded, unbounded};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// From this many microseconds on for the slowest drive, jobs are done at once.
const WORTH_WAKING: u64 = 250;

/// Something slow to be done on one drive.
pub(super) type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;
/// What came of it, by the drive's number.
pub(super) type Outcomes = Vec<(usize, io::Result<()>)>;

type Task = (Job, usize, Sender<Done>);
/// A drive, what came of its job, and the microseconds that it took.
type Done = (usize, io::Result<()>, u64);

/// Runs jobs. With threads, each drive has one; whoever asks does the first job itself.
pub(super) struct Fan {
    workers: Vec<Worker>,
    /// Microseconds of the slowest job of the last round.
    slowest: AtomicU64,
}

struct Worker {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Fan {
    pub(super) fn new(how: FanOut, drives: usize) -> io::Result<Self> {
        let wanted = if how == FanOut::Threads && drives > 1 { drives } else { 0 };
        let workers = (0..wanted).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { workers, slowest: AtomicU64::new(u64::MAX) })
    }

    /// Does all jobs, each for a drive of its own, and waits for them.
    pub(super) fn run(&self, jobs: Vec<(usize, Job)>) -> Outcomes {
        if self.workers.is_empty() {
            return jobs.into_iter().map(|(drive, job)| (drive, job())).collect();
        }
        let at_once = jobs.len() > 1 && self.slowest.load(Ordering::Relaxed) >= WORTH_WAKING;
        let done = if at_once { self.at_once(jobs) } else { jobs.into_iter().map(timed).collect() };
        let slowest = done.iter().map(|(_, _, micros)| *micros).max();
        self.slowest.store(slowest.unwrap_or_default(), Ordering::Relaxed);
        done.into_iter().map(|(drive, outcome, _)| (drive, outcome)).collect()
    }

    fn at_once(&self, mut jobs: Vec<(usize, Job)>) -> Vec<Done> {
        let first = jobs.remove(0);
        let drives: Vec<usize> = jobs.iter().map(|(drive, _)| *drive).collect();
        let (answer, answers) = bounded(jobs.len());
        for (drive, job) in jobs {
            // A thread that has ended answers nothing, which is seen below.
            let tasks = self.workers.get(drive).and_then(|worker| worker.tasks.as_ref());
            let _ = tasks.map(|tasks| tasks.send((job, drive, answer.clone())));
        }
        drop(answer);
        let mut all = vec![timed(first)];
        all.extend(answers);
        for drive in drives {
            if all.iter().all(|(done, _, _)| *done != drive) {
                all.push((drive, Err(io::Error::other("the drive's thread has ended")), u64::MAX));
            }
        }
        all
    }
}

fn timed((drive, job): (usize, Job)) -> Done {
    let start = Instant::now();
    let outcome = job();
    (drive, outcome, u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

impl Worker {
    fn start(drive: usize) -> io::Result<Self> {
        // Bounded by the callers, who wait for what they ask for.
        let (tasks, queue) = unbounded::<Task>();
        let thread = std::thread::Builder::new().name(format!("log-mirror-{drive}")).spawn(move || {
            for (job, drive, answer) in queue {
                // Nobody waits any more if the caller panicked.
                let _ = answer.send(timed((drive, job)));
            }
        })?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic there has been reported by the runtime.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    #[test]
    fn jobs_run_at_once_and_all_outcomes_come_back() {
        let fan = Fan::new(FanOut::Threads, 4).unwrap();
        // Each waits until all three run.
        let barrier = Arc::new(Barrier::new(3));
        let job = |drive: usize| {
            let barrier = barrier.clone();
            let job: Job = Box::new(move || {
                barrier.wait();
                if drive == 3 { Err(io::Error::other("three")) } else { Ok(()) }
            });
            (drive, job)
        };
        let mut outcomes = fan.run(vec![job(0), job(1), job(3)]);
        outcomes.sort_by_key(|(drive, _)| *drive);
        let failed: Vec<_> = outcomes.iter().map(|(drive, outcome)| (*drive, outcome.is_err())).collect();
        assert_eq!(failed, [(0, false), (1, false), (3, true)]);
    }

    #[test]
    fn quick_jobs_are_done_by_who_asks() {
        let fan = Fan::new(FanOut::Threads, 2).unwrap();
        fan.slowest.store(WORTH_WAKING - 1, Ordering::Relaxed);
        let asks = std::thread::current().id();
        let job = || -> Job {
            Box::new(move || {
                assert_eq!(std::thread::current().id(), asks);
                Ok(())
            })
        };
        assert!(fan.run(vec![(0, job()), (1, job())]).iter().all(|(_, outcome)| outcome.is_ok()));
    }

    #[test]
    fn a_job_that_panics_is_a_failed_drive() {
        let fan = Fan::new(FanOut::Threads, 2).unwrap();
        let panics: Job = Box::new(|| panic!("on purpose"));
        let outcomes = fan.run(vec![(0, Box::new(|| Ok(()))), (1, panics)]);
        assert!(outcomes[0].1.is_ok() && outcomes[1].1.is_err());
    }
}
