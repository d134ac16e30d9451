//! The log's thread: appends what waits, syncs once, tells the owner. While one sync runs, the next batch gathers
//! in the channel.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use terrane_keymap::{Input, Locator, Lsn};
use terrane_log::{Log, LogError, RecordLocator};

use super::Event;
use crate::metrics::Metrics;
use crate::space::SpaceGuard;

/// Bytes after which a batch is synced although more waits.
const BATCH_BYTES: usize = 8 << 20;

/// A record on its way into the log.
pub(super) struct Entry {
    pub(super) lsn: Lsn,
    pub(super) header: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) reserved: bool,
}

/// What the log's thread is asked to do.
pub(super) enum Message {
    /// Append these and make them durable.
    Append(Vec<Entry>),
    /// The owner has forgotten the records that [`Input::AppendFailed`] was about; what follows is new.
    Resume,
    /// Something between two batches (removing segments).
    Work(Box<dyn FnOnce(&mut Log) + Send>),
    /// End.
    Close,
}

/// The log's place of a record, in the core's words.
pub(crate) fn locator(place: RecordLocator) -> Locator {
    Locator { segment: place.segment, offset: place.offset, len: place.len }
}

/// The inverse of [`locator`].
pub(crate) fn place(locator: Locator) -> RecordLocator {
    RecordLocator { segment: locator.segment, offset: locator.offset, len: locator.len }
}

pub(super) struct LogThread {
    log: Log,
    messages: Receiver<Message>,
    events: Sender<Event>,
    metrics: Arc<Metrics>,
    space: Arc<SpaceGuard>,
    /// Appended and not yet synced.
    batch: Vec<(Lsn, Locator)>,
    batch_bytes: usize,
    /// Records are dropped until [`Message::Resume`]: the owner has given them up with the failed batch.
    skipping: bool,
}

impl LogThread {
    pub(super) fn new(
        log: Log,
        messages: Receiver<Message>,
        events: Sender<Event>,
        metrics: Arc<Metrics>,
        space: Arc<SpaceGuard>,
    ) -> Self {
        Self { log, messages, events, metrics, space, batch: Vec::new(), batch_bytes: 0, skipping: false }
    }

    pub(super) fn run(mut self) {
        while let Ok(first) = self.messages.recv() {
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Append(entries) => self.append(entries),
                    Message::Resume => self.skipping = false,
                    Message::Work(work) => {
                        self.commit();
                        work(&mut self.log);
                    }
                    Message::Close => {
                        self.commit();
                        return;
                    }
                }
                if self.batch_bytes < BATCH_BYTES {
                    next = self.messages.try_recv().ok();
                }
            }
            self.commit();
        }
    }

    fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.skipping {
                continue;
            }
            let parts = [&entry.header[..], &entry.payload[..]];
            let mut appended = self.push(&parts, entry.reserved);
            if matches!(appended, Err(LogError::BatchFull { .. })) {
                self.commit();
                appended = self.push(&parts, entry.reserved);
            }
            match appended {
                Ok(place) => {
                    self.batch_bytes += parts[0].len() + parts[1].len();
                    self.batch.push((entry.lsn, locator(place)));
                }
                // What came before it is sound: that is synced and told first.
                Err(error) => {
                    self.commit();
                    self.failed(&error);
                }
            }
        }
    }

    fn push(&mut self, parts: &[&[u8]], reserved: bool) -> Result<RecordLocator, LogError> {
        if reserved { self.log.append_reserved(parts) } else { self.log.append(parts) }
    }

    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        let Some((last, _)) = batch.last() else { return };
        let (upto, began) = (*last, Instant::now());
        match self.log.sync() {
            Ok(_) => {
                self.metrics.log_synced(began.elapsed(), batch.len(), bytes);
                self.tell(Event::Logged { batch, upto });
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &LogError) {
        if self.skipping {
            return;
        }
        self.skipping = true;
        if error.is_no_space() {
            self.space.mark_full();
            self.tell(Event::Core(Input::AppendFailed));
        } else {
            tracing::error!(%error, "the log has failed; nothing is acknowledged until a restart");
            self.tell(Event::Core(Input::LogFailed { why: error.to_string().into() }));
        }
    }

    fn tell(&self, event: Event) {
        // The owner is gone only when the store is being closed.
        let _ = self.events.send(event);
    }
}
