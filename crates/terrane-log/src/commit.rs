//! Group commit: many writers, one thread that appends and syncs.

use crate::error::LogError;
use crate::log::Log;
use crate::position::RecordLocator;
use crate::reader::LogReader;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bounds of the queue in front of the committing thread.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    /// Records that may wait; further submitters block.
    pub queue_records: usize,
    /// Bytes that one sync may cover (at least one record).
    pub batch_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { queue_records: 4096, batch_bytes: 8 << 20 }
    }
}

type Outcome = Result<RecordLocator, LogError>;

/// A writer's callback. Called exactly once, also when the log is closed before its turn.
struct Ticket(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Ticket {
    fn answer(mut self, outcome: Outcome) {
        if let Some(done) = self.0.take() {
            done(outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(LogError::Closed));
        }
    }
}

enum Message {
    Record { parts: Vec<Bytes>, ticket: Ticket },
    Work(Box<dyn FnOnce(&mut Log) + Send>),
    Close,
}

/// A log with a thread of its own. While one batch syncs, the next one gathers.
/// Dropping the last handle commits what is queued and ends the thread.
#[derive(Clone)]
pub struct GroupCommit {
    queue: Sender<Message>,
    reader: LogReader,
    thread: Arc<Mutex<Option<JoinHandle<Log>>>>,
}

impl GroupCommit {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`LogError::Io`] when there can be no thread.
    pub fn start(log: Log, config: GroupConfig) -> Result<Self, LogError> {
        let (queue, messages) = bounded(config.queue_records.max(1));
        let reader = log.reader();
        let thread = std::thread::Builder::new()
            .name("log-commit".into())
            .spawn(move || run(log, &messages, config.batch_bytes))
            .map_err(|e| LogError::io("start a thread", e))?;
        Ok(Self { queue, reader, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Queues a record, the concatenation of `parts`; `done` is called on the committing thread once the record is
    /// durable or failed, in the order of submission. Blocks while the queue is full.
    pub fn submit(
        &self,
        parts: Vec<Bytes>,
        done: impl FnOnce(Result<RecordLocator, LogError>) + Send + 'static,
    ) {
        let ticket = Ticket(Some(Box::new(done)));
        // A message that nobody takes is dropped, and so its ticket answered.
        let _ = self.queue.send(Message::Record { parts, ticket });
    }

    /// Queues a record and waits until it is durable.
    ///
    /// # Errors
    /// As [`Log::append`] and [`Log::sync`]; [`LogError::Closed`].
    pub fn append(&self, record: Bytes) -> Result<RecordLocator, LogError> {
        let (answer, wait) = bounded(1);
        self.submit(vec![record], move |result| {
            // Nobody waits any more if the caller panicked.
            let _ = answer.send(result);
        });
        wait.recv().unwrap_or(Err(LogError::Closed))
    }

    /// Runs something on the log between two batches (removing segments, sealing) and waits for its result.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let (answer, wait) = bounded(1);
        let work = Box::new(move |log: &mut Log| {
            let _ = answer.send(work(log));
        });
        self.queue.send(Message::Work(work)).map_err(|_| LogError::Closed)?;
        wait.recv().map_err(|_| LogError::Closed)
    }

    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Commits what is queued, ends the thread and gives the log back; `None` if it was closed before.
    #[must_use]
    pub fn close(&self) -> Option<Log> {
        let thread = self.thread.lock().take()?;
        // The thread has ended already if nobody receives.
        let _ = self.queue.send(Message::Close);
        thread.join().ok()
    }
}

fn run(mut log: Log, messages: &Receiver<Message>, batch_bytes: usize) -> Log {
    let mut batch = Vec::new();
    while let Ok(first) = messages.recv() {
        let mut bytes = 0;
        let mut next = Some(first);
        let mut other = None;
        while let Some(message) = next.take() {
            match message {
                Message::Record { parts, ticket } => {
                    bytes += parts.iter().map(Bytes::len).sum::<usize>();
                    add(&mut log, &mut batch, &parts, ticket);
                }
                message => {
                    other = Some(message);
                    break;
                }
            }
            if bytes < batch_bytes {
                next = messages.try_recv().ok();
            }
        }
        commit(&mut log, &mut batch);
        match other {
            Some(Message::Work(work)) => work(&mut log),
            Some(Message::Close) => break,
            Some(Message::Record { .. }) | None => {}
        }
    }
    log
}

/// Appends one record. A full batch is committed first.
fn add(log: &mut Log, batch: &mut Vec<(Outcome, Ticket)>, parts: &[Bytes], ticket: Ticket) {
    let slices: Vec<&[u8]> = parts.iter().map(Bytes::as_ref).collect();
    let mut appended = log.append(&slices);
    if matches!(appended, Err(LogError::BatchFull { .. })) {
        commit(log, batch);
        appended = log.append(&slices);
    }
    batch.push((appended, ticket));
}

fn commit(log: &mut Log, batch: &mut Vec<(Outcome, Ticket)>) {
    if batch.is_empty() {
        return;
    }
    let synced = log.sync();
    for (appended, ticket) in batch.drain(..) {
        ticket.answer(match &synced {
            Ok(_) => appended,
            Err(error) => appended.and_then(|_| Err(error.clone())),
        });
    }
}
