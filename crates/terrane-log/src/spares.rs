//! Files that wait to become segments: made in advance, or recycled.

use crate::disk::{Disk, DiskFile, Open};
use crate::error::{LogError, is_full};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How names of spares begin.
pub(crate) const PREFIX: &str = "spare-";

/// A file of a segment's full size. Its bytes are arbitrary.
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// The spares of one log, shared with the thread that makes them.
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    segment_bytes: u32,
    reserve_bytes: u64,
    keep: usize,
    state: Mutex<State>,
    wanted: Condvar,
    /// Held while a spare is made, so that two never are at once.
    making: Mutex<()>,
}

struct State {
    ready: Vec<Spare>,
    next: u64,
    stop: bool,
}

impl Spares {
    /// Takes over the spares among `names`; those of another size are removed.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        segment_bytes: u32,
        reserve_bytes: u64,
        keep: usize,
        names: &[String],
    ) -> io::Result<Self> {
        let mut state = State { ready: Vec::new(), next: 0, stop: false };
        for name in names {
            let Some(number) = name.strip_prefix(PREFIX).and_then(|n| u64::from_str_radix(n, 16).ok()) else {
                continue;
            };
            state.next = state.next.max(number.saturating_add(1));
            let file = disk.open(name, Open::Write)?;
            if state.ready.len() < keep && file.len()? == u64::from(segment_bytes) {
                state.ready.push(Spare { name: name.clone(), file });
            } else {
                disk.remove(name)?;
            }
        }
        Ok(Self {
            disk,
            segment_bytes,
            reserve_bytes,
            keep,
            state: Mutex::new(state),
            wanted: Condvar::new(),
            making: Mutex::new(()),
        })
    }

    /// A spare, a new one if none is ready.
    pub(crate) fn take(&self, reserved: bool) -> Result<Spare, LogError> {
        if let Some(spare) = self.pop() {
            return Ok(spare);
        }
        let _making = self.making.lock();
        // The thread may have made one while we waited.
        match self.pop() {
            Some(spare) => Ok(spare),
            None => self.make(if reserved { 0 } else { self.reserve_bytes }),
        }
    }

    fn pop(&self) -> Option<Spare> {
        let spare = self.state.lock().ready.pop();
        self.wanted.notify_all();
        spare
    }

    /// Takes back a spare that was not used.
    pub(crate) fn put(&self, spare: Spare) {
        self.state.lock().ready.push(spare);
    }

    /// Makes a removed segment's file a spare. Removes it if there are enough, if it is longer than segments are now,
    /// or if there is no `file` because somebody reads it. The caller syncs the directory.
    pub(crate) fn recycle(&self, name: &str, file: Option<Arc<dyn DiskFile>>) -> io::Result<()> {
        let size = u64::from(self.segment_bytes);
        let file = file.filter(|file| {
            self.state.lock().ready.len() < self.keep && file.len().is_ok_and(|len| len <= size)
        });
        let Some(file) = file else { return self.disk.remove(name) };
        // The file was cut at its end; its length must be settled before it counts as preallocated.
        if file.allocate(size).and_then(|()| file.sync_data()).is_err() {
            return self.disk.remove(name);
        }
        let spare = self.new_name();
        self.disk.rename(name, &spare)?;
        self.put(Spare { name: spare, file });
        Ok(())
    }

    pub(crate) fn new_name(&self) -> String {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        format!("{PREFIX}{number:08x}")
    }

    fn make(&self, reserve: u64) -> Result<Spare, LogError> {
        let needed = u64::from(self.segment_bytes);
        let free = self.disk.free_space().map_err(|e| LogError::io("ask for free space", e))?;
        let full = LogError::NoSpace { needed, free, reserved: reserve };
        if free < needed.saturating_add(reserve) {
            return Err(full);
        }
        let name = self.new_name();
        let made = self.disk.open(&name, Open::Create).and_then(|file| {
            file.allocate(needed)?;
            file.sync_data()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Spare { name, file }),
            Err(error) => {
                // Whatever was made of it is removed at the next open if not now.
                let _ = self.disk.remove(&name);
                Err(if is_full(&error) { full } else { LogError::io("make a segment", error) })
            }
        }
    }

    /// Keeps one spare ready until [`Spares::stop`].
    pub(crate) fn keep_ready(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let spares = self.clone();
        std::thread::Builder::new().name("log-spares".into()).spawn(move || spares.run())
    }

    fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.stop && !state.ready.is_empty() {
                    self.wanted.wait(&mut state);
                }
                if state.stop {
                    return;
                }
            }
            let made = {
                let _making = self.making.lock();
                self.make(self.reserve_bytes)
            };
            let mut state = self.state.lock();
            match made {
                Ok(spare) => state.ready.push(spare),
                // The append that needs one will try again and report; until then there is nothing to do.
                Err(error) => {
                    tracing::debug!(%error, "no spare segment made");
                    if !state.stop {
                        self.wanted.wait(&mut state);
                    }
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wanted.notify_all();
    }
}
