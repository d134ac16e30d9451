//! Clients that run one transaction after the other.

use bytes::Bytes;
use imbl::OrdMap;
use terrane_store::KeyRange;
use terrane_store::committer::{CommitId, CommitRequest, Version};

use super::model::{Model, Read};
use crate::rng::SimRng;
use crate::runner::Violation;

/// Concurrent clients.
pub(super) const COUNT: usize = 6;
/// Keys move on with time, so that there are always some that were never written.
const KEYS: u64 = 6;
/// Transactions that use the same keys.
const WINDOW: u64 = 60;

/// What a client is at.
pub(super) enum Client {
    Idle,
    Running(Running),
    /// Its commit waits in the committer's queue, or its outcome is unknown.
    Waiting,
}

/// A transaction in the middle of its reads.
pub(super) struct Running {
    pub(super) snapshot: Version,
    rows: OrdMap<Bytes, Bytes>,
    reads: Vec<Read>,
    steps: u64,
    window: u64,
    pub(super) slow: bool,
}

/// A transaction that asks to be committed.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) client: usize,
    pub(super) reads: Vec<Read>,
    pub(super) request: CommitRequest,
    /// The oracle knows that an earlier attempt has happened; the client does not.
    pub(super) happened: Option<Version>,
}

fn key(window: u64, rng: &mut SimRng) -> Bytes {
    // Names that begin with each other, and order that is not that of the numbers.
    Bytes::from(format!("k{:03}/{}", window, "abc".repeat(rng.below(KEYS as usize))))
}

impl Running {
    pub(super) fn begin(
        rng: &mut SimRng,
        snapshot: Version,
        rows: OrdMap<Bytes, Bytes>,
        serial: u64,
    ) -> Self {
        let (steps, slow) = (rng.range(0..4), rng.one_in(8));
        Self { snapshot, rows, reads: Vec::new(), steps, window: serial / WINDOW, slow }
    }

    /// One read; `false` after the last one.
    pub(super) fn step(&mut self, rng: &mut SimRng, model: &Model) -> Result<bool, Violation> {
        if self.steps == 0 {
            return Ok(false);
        }
        self.steps -= 1;
        let read =
            if rng.one_in(3) { self.scan(rng) } else { self.read(KeyRange::key(&key(self.window, rng))) };
        model.check_read(self.snapshot, &read)?;
        self.reads.push(read);
        Ok(true)
    }

    fn read(&self, range: KeyRange) -> Read {
        let found = self.rows.range(range.start.clone()..range.end.clone());
        let rows = found.map(|(key, value)| (key.clone(), value.clone())).collect();
        Read { range, rows }
    }

    /// Some rows of a range: what counts as read ends with the last of them.
    fn scan(&self, rng: &mut SimRng) -> Read {
        let (a, b) = (key(self.window, rng), key(self.window, rng));
        let mut read = self.read(KeyRange::new(a.clone().min(b.clone()), a.max(b)));
        let limit = 1 + rng.below(4);
        if read.rows.len() >= limit {
            read.rows.truncate(limit);
            if let Some((last, _)) = read.rows.last() {
                read.range.end = KeyRange::key(last).end;
            }
        }
        read
    }

    /// Ends the reads: the writes carry the transaction's own number, so that no two values are alike.
    pub(super) fn finish(self, rng: &mut SimRng, client: usize, serial: u64) -> Asked {
        let count = 1 + rng.below(3);
        let deletes = rng.one_in(5);
        let mut writes: Vec<(Bytes, Option<Bytes>)> = (0..count)
            .map(|_| {
                let size = if rng.one_in(8) { rng.below(900) } else { rng.below(40) };
                let value = Bytes::from(format!("{serial}{}", ".".repeat(size)));
                (key(self.window, rng), (!deletes).then_some(value))
            })
            .collect();
        writes.sort();
        writes.dedup_by(|a, b| a.0 == b.0);
        let id = rng.one_in(2).then(|| CommitId(u128::from(serial)));
        let reads = self.reads.iter().map(|read| read.range.clone()).collect();
        let request = CommitRequest { snapshot: self.snapshot, reads, writes, id, retry: false };
        Asked { client, reads: self.reads, request, happened: None }
    }
}
