//! The ledger: who may refer to what. Each method is one transaction of the store that keeps it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bug::Bug;
use crate::{CaptureId, ChunkHash, ChunkRef, ObjectName, ObjectRef};

/// What a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RootKind {
    /// A snapshot.
    Snapshot,
    /// A volume of which nothing is on fast media.
    Shelved,
    /// A volume of which not everything is on fast media yet.
    Hydrating,
}

/// The name of a root.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RootId {
    /// What it is.
    pub kind: RootKind,
    /// The snapshot's or volume's identifier.
    pub id: String,
}

/// Why a transaction was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// There is no such root.
    #[error("there is no {0:?}")]
    NoSuchRoot(RootId),
    /// The root is there already.
    #[error("{0:?} exists")]
    RootExists(RootId),
    /// The capture has ended: it was committed, or aborted by somebody who took it for dead.
    #[error("capture {} has ended", .0.number)]
    CaptureEnded(CaptureId),
}

/// A capture in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Capture {
    id: CaptureId,
    /// The epoch at its beginning.
    epoch: u64,
    parent: Option<ObjectRef>,
    /// Chunks that it has stored.
    stored: Vec<ChunkRef>,
}

/// What the collector sees of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The manifests of all roots, and the parents of captures in progress.
    pub roots: BTreeSet<ObjectRef>,
    /// Captures with this number or a greater one had not begun.
    pub next: u64,
    /// Numbers of the captures in progress.
    pub in_progress: BTreeSet<u64>,
    /// What is condemned, and since which epoch.
    pub condemned: BTreeMap<ObjectName, u64>,
}

/// The ledger of one account's objects.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    epoch: u64,
    next: u64,
    captures: BTreeMap<u64, Capture>,
    roots: BTreeMap<RootId, ObjectRef>,
    known: BTreeMap<ChunkHash, ChunkRef>,
    condemned: BTreeMap<ObjectName, u64>,
    bug: Option<Bug>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    pub(crate) fn with_bug(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Begins a capture, if wanted upon what a root consists of now. `nonce` is random.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchRoot`].
    pub fn begin(&mut self, parent: Option<&RootId>, nonce: u64) -> Result<CaptureId, LedgerError> {
        let parent = parent.map(|parent| self.root(parent)).transpose()?;
        let id = CaptureId { number: self.next, nonce };
        self.next += 1;
        self.captures.insert(id.number, Capture { id, epoch: self.epoch, parent, stored: Vec::new() });
        Ok(id)
    }

    /// What a capture builds upon.
    ///
    /// # Errors
    /// [`LedgerError::CaptureEnded`].
    pub fn parent(&self, capture: CaptureId) -> Result<Option<ObjectRef>, LedgerError> {
        Ok(self.capture(capture)?.parent)
    }

    /// Where a chunk of this content lies, if the capture may refer to it.
    ///
    /// # Errors
    /// [`LedgerError::CaptureEnded`].
    pub fn find(&self, capture: CaptureId, hash: &ChunkHash) -> Result<Option<ChunkRef>, LedgerError> {
        let epoch = self.capture(capture)?.epoch;
        let found = self.known.get(hash).copied();
        // The collector waits for this capture before it deletes what was condemned since its beginning.
        let gone = |pack: &ObjectName| self.condemned.get(pack).is_some_and(|since| *since <= epoch);
        Ok(found.filter(|chunk| self.has(Bug::FindCondemned) || !gone(&chunk.pack)))
    }

    /// A capture has stored chunks.
    ///
    /// # Errors
    /// [`LedgerError::CaptureEnded`].
    pub fn stored(&mut self, capture: CaptureId, chunks: &[ChunkRef]) -> Result<(), LedgerError> {
        self.capture(capture)?;
        if let Some(row) = self.captures.get_mut(&capture.number) {
            row.stored.extend_from_slice(chunks);
        }
        Ok(())
    }

    /// Ends a capture: what it has built is a root now, and its chunks are known.
    ///
    /// # Errors
    /// [`LedgerError::CaptureEnded`], [`LedgerError::RootExists`].
    pub fn commit(
        &mut self,
        capture: CaptureId,
        root: RootId,
        manifest: ObjectRef,
    ) -> Result<(), LedgerError> {
        let in_progress = self.capture(capture);
        if !self.has(Bug::CommitAborted) {
            in_progress?;
        }
        if self.roots.contains_key(&root) {
            return Err(LedgerError::RootExists(root));
        }
        let stored = self.captures.remove(&capture.number).map(|row| row.stored).unwrap_or_default();
        for chunk in stored {
            let old = self.known.get(&chunk.hash);
            if old.is_none_or(|old| self.condemned.contains_key(&old.pack)) {
                self.known.insert(chunk.hash, chunk);
            }
        }
        self.roots.insert(root, manifest);
        Ok(())
    }

    /// Ends a capture without result. Whoever still works for it can store objects and commit nothing.
    pub fn abort(&mut self, capture: CaptureId) {
        if self.capture(capture).is_ok() {
            self.captures.remove(&capture.number);
        }
    }

    /// Makes a root of what another root consists of: a copy, a hydrating volume, a shelved one.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchRoot`], [`LedgerError::RootExists`].
    pub fn copy(&mut self, from: &RootId, to: RootId) -> Result<(), LedgerError> {
        let manifest = self.root(from)?;
        self.adopt(to, manifest)
    }

    /// As [`Ledger::copy`] with a manifest that somebody remembers: only with a bug.
    #[cfg(test)]
    pub(crate) fn copy_remembered(
        &mut self,
        from: &RootId,
        remembered: ObjectRef,
        to: RootId,
    ) -> Result<(), LedgerError> {
        if self.has(Bug::CopyFromNothing) { self.adopt(to, remembered) } else { self.copy(from, to) }
    }

    /// Whether a chunk of this content is known and condemned.
    #[cfg(test)]
    pub(crate) fn knows_condemned(&self, hash: &ChunkHash) -> bool {
        self.known.get(hash).is_some_and(|chunk| self.condemned.contains_key(&chunk.pack))
    }

    fn adopt(&mut self, root: RootId, manifest: ObjectRef) -> Result<(), LedgerError> {
        if self.roots.contains_key(&root) {
            return Err(LedgerError::RootExists(root));
        }
        self.roots.insert(root, manifest);
        Ok(())
    }

    /// Removes a root; what only it referred to is garbage.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchRoot`].
    pub fn drop_root(&mut self, root: &RootId) -> Result<ObjectRef, LedgerError> {
        self.roots.remove(root).ok_or_else(|| LedgerError::NoSuchRoot(root.clone()))
    }

    /// The manifest of a root.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchRoot`].
    pub fn root(&self, root: &RootId) -> Result<ObjectRef, LedgerError> {
        self.roots.get(root).copied().ok_or_else(|| LedgerError::NoSuchRoot(root.clone()))
    }

    /// All roots.
    pub fn roots(&self) -> &BTreeMap<RootId, ObjectRef> {
        &self.roots
    }

    /// What the collector begins with.
    pub fn view(&self) -> View {
        let mut roots: BTreeSet<ObjectRef> = self.roots.values().copied().collect();
        if !self.has(Bug::ParentIsNoRoot) {
            roots.extend(self.captures.values().filter_map(|capture| capture.parent));
        }
        View {
            roots,
            next: self.next,
            in_progress: self.captures.keys().copied().collect(),
            condemned: self.condemned.clone(),
        }
    }

    /// Condemns objects and takes others off the list; returns the new epoch.
    pub fn condemn(&mut self, objects: &[ObjectName], rescued: &[ObjectName]) -> u64 {
        self.epoch += 1;
        self.rescue(rescued);
        for object in objects {
            self.condemned.entry(*object).or_insert(self.epoch);
        }
        self.epoch
    }

    /// Takes objects off the list: a root refers to them.
    pub fn rescue(&mut self, objects: &[ObjectName]) {
        for object in objects {
            self.condemned.remove(object);
        }
    }

    /// Whether all captures that began before this epoch have ended.
    pub fn is_settled(&self, epoch: u64) -> bool {
        self.captures.values().all(|capture| capture.epoch >= epoch)
    }

    /// Objects were deleted: nothing is known of them any more.
    pub fn forget(&mut self, objects: &[ObjectName]) {
        let gone: BTreeSet<&ObjectName> = objects.iter().collect();
        if !self.has(Bug::KnownForEver) {
            self.known.retain(|_, chunk| !gone.contains(&chunk.pack));
        }
        self.condemned.retain(|object, _| !gone.contains(object));
    }

    fn capture(&self, id: CaptureId) -> Result<&Capture, LedgerError> {
        let found = self.captures.get(&id.number).filter(|capture| capture.id == id);
        found.ok_or(LedgerError::CaptureEnded(id))
    }
}
