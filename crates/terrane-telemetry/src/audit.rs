//! The audit log: who did what, and how it ended. One JSON line per mutating call.
//!
//! Events pass through a bounded queue to one writing thread, so that no request waits for this log. When the
//! queue is full, or the disk does not take them, events are counted, and the next line that is written says how
//! many are missing before it: a gap is visible where it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};

use crate::Registry;

/// One mutating call. No field ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When it ended, RFC 3339.
    pub time: String,
    /// Request ID, as answered to the caller.
    pub request_id: String,
    /// Account number; `None` for anonymous callers.
    pub account: Option<String>,
    /// Access key ID, user name or token name.
    pub principal: Option<String>,
    /// Address of the caller.
    pub source: Option<String>,
    /// What was asked: `s3:PutObject`, `terrane:CreateAccount`, …
    pub action: String,
    /// What it was asked of: a bucket and key, an account, …
    pub resource: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Error code of the answer, if one was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Bounds of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// A file that has grown to this many bytes is closed.
    pub file_bytes_max: u64,
    /// The oldest files beyond this many are deleted.
    pub files_max: usize,
    /// Events that may wait to be written.
    pub queue_max: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20, files_max: 16, queue_max: 8192 }
    }
}

/// Counters of the audit log.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    written: Counter,
    lost: Counter,
}

impl AuditMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("terrane_audit");
        registry.register("events", "Audit events written", metrics.written.clone());
        registry.register(
            "events_lost",
            "Audit events left out because the queue was full or the disk did not take them",
            metrics.lost.clone(),
        );
        metrics
    }
}

/// A line of the log as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    /// Version of this format.
    v: u8,
    /// Events that are missing just before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    lost_before: u64,
    #[serde(flatten)]
    event: std::borrow::Cow<'a, AuditEvent>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The audit log of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Option<SyncSender<AuditEvent>>>,
    lost: Arc<AtomicU64>,
    metrics: AuditMetrics,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens the log in a directory, which is made if it does not exist. Existing files are kept and a new one is begun.
    pub fn open(dir: &Path, config: AuditConfig, metrics: AuditMetrics) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (sender, receiver) = sync_channel(config.queue_max);
        let lost = Arc::new(AtomicU64::new(0));
        let files = Files::open(dir.into(), config)?;
        let writer = Writer { files, buffered: 0, lost: lost.clone(), metrics: metrics.clone() };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self {
            inner: Arc::new(Inner {
                queue: Mutex::new(Some(sender)),
                lost,
                metrics,
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Queues an event. Never waits.
    pub fn record(&self, event: AuditEvent) {
        let queued = self.inner.queue.lock().as_ref().is_some_and(|queue| queue.try_send(event).is_ok());
        if !queued {
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
            self.inner.metrics.lost.inc();
        }
    }

    /// Writes and syncs what is queued and stops. Later events are counted as lost.
    pub fn close(&self) {
        self.inner.queue.lock().take();
        if let Some(thread) = self.inner.writer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the audit log's writer panicked");
        }
    }
}

/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(10);

struct Writer {
    files: Files,
    /// Events appended since the last flush.
    buffered: u64,
    lost: Arc<AtomicU64>,
    metrics: AuditMetrics,
}

impl Writer {
    fn run(mut self, queue: &Receiver<AuditEvent>) {
        let mut idle = true;
        loop {
            match queue.recv_timeout(Duration::from_secs(if idle { 3600 } else { 1 })) {
                Ok(event) => {
                    self.write(&event);
                    // What comes within a moment goes out in one write; meanwhile no caller has to wake anybody.
                    std::thread::sleep(GATHER);
                    for event in queue.try_iter().take(self.files.config.queue_max) {
                        self.write(&event);
                    }
                    self.flush();
                    idle = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.files.sync();
                    idle = true;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush();
        self.files.sync();
    }

    fn write(&mut self, event: &AuditEvent) {
        let lost_before = self.lost.swap(0, Ordering::Relaxed);
        let line = Line { v: 1, lost_before, event: std::borrow::Cow::Borrowed(event) };
        match self.files.append(&line) {
            Ok(()) => self.buffered += 1,
            Err(error) => self.missed(lost_before, 1, &error),
        }
    }

    fn flush(&mut self) {
        match self.files.flush() {
            Ok(()) => {
                self.metrics.written.inc_by(std::mem::take(&mut self.buffered));
            }
            Err(error) => self.missed(0, 0, &error),
        }
    }

    /// Gives up what is buffered and `more` events. `known` were counted as lost before and are still unsaid.
    fn missed(&mut self, known: u64, more: u64, error: &io::Error) {
        let fresh = std::mem::take(&mut self.buffered) + more;
        if self.lost.fetch_add(known + fresh, Ordering::Relaxed) == 0 {
            tracing::error!(%error, "the audit log cannot be written");
        }
        self.metrics.lost.inc_by(fresh);
        self.files.reopen();
    }
}

/// The files: `audit-<UTC time>.log`, the newest being written.
struct Files {
    dir: PathBuf,
    config: AuditConfig,
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl Files {
    fn open(dir: PathBuf, config: AuditConfig) -> io::Result<Self> {
        let mut files = Self { dir, config, file: None, bytes: 0 };
        files.begin()?;
        Ok(files)
    }

    /// Begins a new file and deletes the oldest ones beyond the bound.
    fn begin(&mut self) -> io::Result<&mut BufWriter<File>> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%6fZ");
        let path = self.dir.join(format!("audit-{now}.log"));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.bytes = file.metadata()?.len();
        let kept = self.names()?;
        for name in kept.iter().take(kept.len().saturating_sub(self.config.files_max)) {
            fs::remove_file(self.dir.join(name))?;
        }
        Ok(self.file.insert(BufWriter::new(file)))
    }

    /// Our files by age.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.starts_with("audit-")
                && name.ends_with(".log")
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn append(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if self.bytes >= self.config.file_bytes_max {
            self.flush()?;
            self.sync();
            self.file = None;
        }
        let file = match self.file.as_mut() {
            Some(file) => file,
            None => self.begin()?,
        };
        file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }

    fn sync(&mut self) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.get_ref().sync_data()) {
            tracing::error!(%error, "the audit log cannot be synced");
            self.reopen();
        }
    }

    /// After an error the next event begins a new file; what the old one's buffer held is given up, not written
    /// in half.
    fn reopen(&mut self) {
        if let Some(file) = self.file.take() {
            let _discarded = file.into_parts();
        }
    }
}

#[cfg(test)]
mod tests;
