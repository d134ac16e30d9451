//! The simulated world: a ledger, an object store, captures, readers, and a collector whose every output takes
//! its time.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::gc::bug::Bug;
use crate::gc::{Collector, Contents, Input, Ledger, Output, RootId, RootKind};
use crate::{CaptureId, ChunkHash, ChunkRef, Kind, ObjectName, ObjectRef};

const STEPS: u32 = 1500;
const GRACE_MS: u64 = 250;
/// Different contents that chunks have: few, so that captures meet.
const CONTENTS: u8 = 10;
const CAPTURES_MAX: usize = 3;
const ROOTS_MAX: usize = 6;

/// What an object contains.
#[derive(Clone, Debug)]
enum Stored {
    Pack,
    Segment(BTreeSet<ObjectName>),
    Manifest(Vec<ObjectRef>),
}

/// A capture and whoever carries it out; a dead one's requests may still arrive.
#[derive(Clone, Debug)]
struct Capture {
    id: CaptureId,
    /// What is still to be stored, in order; then the commit.
    puts: Vec<(ObjectName, Stored)>,
    segments: Vec<ObjectRef>,
    packs: BTreeSet<ObjectName>,
    own: BTreeSet<ObjectName>,
    /// Chunks that lie in packs not yet stored, by pack.
    fresh: Vec<ChunkRef>,
    chunks_left: u32,
    manifest: Option<ObjectRef>,
    counts: [u32; 2],
    dead: bool,
    /// Steps until somebody notices that it is dead.
    noticed_in: u32,
    /// What is dead may go on long after.
    asleep_until_ms: u64,
}

/// Somebody who has read a root's manifests and now reads its packs.
struct Reader {
    root: RootId,
    packs: BTreeSet<ObjectName>,
    /// Packs may be gone so long after the root was dropped.
    dropped_at_ms: Option<u64>,
}

pub(super) struct World {
    rng: ChaCha8Rng,
    bug: Option<Bug>,
    now_ms: u64,
    ledger: Ledger,
    objects: BTreeMap<ObjectName, Stored>,
    captures: Vec<Capture>,
    readers: Vec<Reader>,
    collector: Collector,
    /// What the collector has asked for and was not yet done.
    asked: Vec<Output>,
    /// Deletions that a collector which crashed had asked for.
    late: Vec<ObjectName>,
    roots_made: u32,
    /// Dropped roots of which somebody wants a copy.
    remembered: Vec<(RootId, ObjectRef)>,
    calm: bool,
    pub(super) counters: BTreeMap<&'static str, u64>,
    pub(super) trace: u64,
}

type Outcome = Result<(), String>;

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            bug,
            now_ms: 0,
            ledger: Ledger::with_bug(bug),
            objects: BTreeMap::new(),
            captures: Vec::new(),
            readers: Vec::new(),
            collector: Collector::with_bug(GRACE_MS, bug),
            asked: Vec::new(),
            late: Vec::new(),
            roots_made: 0,
            remembered: Vec::new(),
            calm: false,
            counters: BTreeMap::new(),
            trace: 0,
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
        let hash = ChunkHash::of(name.as_bytes()).0;
        let bytes = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.trace = self.trace.rotate_left(7) ^ bytes ^ self.now_ms;
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn pick(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.random_range(0..len))
    }

    pub(super) fn run(&mut self) -> Outcome {
        for _ in 0..STEPS {
            self.now_ms += self.rng.random_range(0..4);
            self.step()?;
            self.check()?;
        }
        self.come_to_rest()
    }

    fn step(&mut self) -> Outcome {
        match self.rng.random_range(0..20) {
            0 => self.begin(),
            1..=6 => self.go_on()?,
            7 => self.crash_capture(),
            8 => self.janitor(),
            9 => self.copy_or_drop(),
            10 => self.start_reader(),
            11 => self.end_reader()?,
            12 => self.late_delete(),
            13 if self.chance(40) => self.crash_collector(),
            _ => (0..4).for_each(|_| self.collect()),
        }
        Ok(())
    }

    // --- captures

    fn begin(&mut self) {
        if self.captures.len() >= CAPTURES_MAX {
            return;
        }
        let parent = if self.chance(2) { self.any_root() } else { None };
        let Ok(id) = self.ledger.begin(parent.as_ref(), 0) else { return };
        self.count(if parent.is_some() { "begin-with-parent" } else { "begin" });
        // Its parent may be deleted as soon as it has begun.
        let dropped = if self.chance(3) { parent } else { None };
        let inherited =
            self.ledger.parent(id).ok().flatten().and_then(|parent| match self.objects.get(&parent.name) {
                Some(Stored::Manifest(segments)) => Some(segments.clone()),
                _ => None,
            });
        // An increment keeps some of its parent's segments.
        let mut segments = inherited.unwrap_or_default();
        if segments.len() > 1 && self.chance(2) {
            segments.pop();
        }
        if let Some(parent) = dropped {
            self.drop_root(&parent);
        }
        let chunks_left = self.rng.random_range(1..6);
        self.captures.push(Capture {
            id,
            puts: Vec::new(),
            segments,
            packs: BTreeSet::new(),
            own: BTreeSet::new(),
            fresh: Vec::new(),
            chunks_left,
            manifest: None,
            counts: [0; 2],
            dead: false,
            noticed_in: 0,
            asleep_until_ms: 0,
        });
    }

    /// One step of one capture, dead or not.
    fn go_on(&mut self) -> Outcome {
        let Some(at) = self.pick(self.captures.len()) else { return Ok(()) };
        if self.captures[at].asleep_until_ms > self.now_ms && !self.calm {
            return Ok(());
        }
        let mut capture = self.captures.swap_remove(at);
        let keep = self.advance(&mut capture)?;
        if keep {
            self.captures.push(capture);
        }
        Ok(())
    }

    fn advance(&mut self, capture: &mut Capture) -> Result<bool, String> {
        if !capture.puts.is_empty() {
            let (name, stored) = capture.puts.remove(0);
            if capture.dead {
                self.count("zombie-put");
            }
            if name.kind == Kind::Pack {
                let stored: Vec<ChunkRef> =
                    capture.fresh.iter().copied().filter(|c| c.pack == name).collect();
                let _ = self.ledger.stored(capture.id, &stored);
            }
            self.objects.insert(name, stored);
            return Ok(true);
        }
        if capture.chunks_left > 0 {
            capture.chunks_left -= 1;
            return Ok(self.capture_chunk(capture));
        }
        if let Some(manifest) = capture.manifest {
            return self.commit(capture, manifest);
        }
        if !capture.packs.is_empty() {
            let name = ObjectName { kind: Kind::Segment, capture: capture.id, n: capture.counts[1] };
            capture.counts[1] += 1;
            capture.segments.push(reference(name));
            capture.puts.push((name, Stored::Segment(std::mem::take(&mut capture.packs))));
            return Ok(true);
        }
        let name = ObjectName { kind: Kind::Manifest, capture: capture.id, n: 0 };
        capture.manifest = Some(reference(name));
        capture.puts.push((name, Stored::Manifest(capture.segments.clone())));
        Ok(true)
    }

    /// A chunk is found, or goes to a pack of its own.
    fn capture_chunk(&mut self, capture: &mut Capture) -> bool {
        let hash = ChunkHash([self.rng.random_range(0..CONTENTS); 32]);
        match self.ledger.find(capture.id, &hash) {
            Ok(Some(found)) => {
                self.count("dedup-hit");
                capture.packs.insert(found.pack);
            }
            Ok(None) => {
                if self.ledger.knows_condemned(&hash) {
                    self.count("dedup-of-condemned-refused");
                }
                let pack = ObjectName { kind: Kind::Pack, capture: capture.id, n: capture.counts[0] };
                capture.counts[0] += 1;
                capture.packs.insert(pack);
                capture.own.insert(pack);
                capture.fresh.push(ChunkRef { pack, offset: 8, len: 100, hash });
                capture.puts.push((pack, Stored::Pack));
            }
            // Somebody took it for dead.
            Err(_) => return false,
        }
        true
    }

    fn commit(&mut self, capture: &Capture, manifest: ObjectRef) -> Result<bool, String> {
        let root = self.new_root();
        match self.ledger.commit(capture.id, root, manifest) {
            Ok(()) => self.count("commit"),
            Err(_) => self.count("commit-refused"),
        }
        Ok(false)
    }

    fn crash_capture(&mut self) {
        let Some(at) = self.pick(self.captures.len()) else { return };
        if self.calm || self.captures[at].dead || !self.chance(3) {
            return;
        }
        self.count("capture-crash");
        self.captures[at].dead = true;
        self.captures[at].noticed_in = self.rng.random_range(1..30);
        self.captures[at].asleep_until_ms = self.now_ms + self.rng.random_range(0..1200);
    }

    /// Aborts captures that are taken for dead; they may not know.
    fn janitor(&mut self) {
        let mut aborted = Vec::new();
        for capture in self.captures.iter_mut().filter(|capture| capture.dead) {
            capture.noticed_in = capture.noticed_in.saturating_sub(5);
            if capture.noticed_in == 0 {
                aborted.push(capture.id);
            }
        }
        for id in aborted {
            self.ledger.abort(id);
            self.count("abort");
        }
    }

    // --- roots and readers

    fn new_root(&mut self) -> RootId {
        self.roots_made += 1;
        let kinds = [RootKind::Snapshot, RootKind::Shelved, RootKind::Hydrating];
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        RootId { kind, id: self.roots_made.to_string() }
    }

    fn any_root(&mut self) -> Option<RootId> {
        let at = self.pick(self.ledger.roots().len())?;
        self.ledger.roots().keys().nth(at).cloned()
    }

    fn copy_or_drop(&mut self) {
        self.copy_what_is_gone();
        let Some(root) = self.any_root() else { return };
        if self.ledger.roots().len() > ROOTS_MAX || self.chance(2) {
            self.drop_root(&root);
        } else {
            let copy = self.new_root();
            if self.ledger.copy(&root, copy).is_ok() {
                self.count("copy");
            }
        }
    }

    fn drop_root(&mut self, root: &RootId) {
        let Ok(manifest) = self.ledger.drop_root(root) else { return };
        self.count("drop");
        let now_ms = self.now_ms;
        for reader in self.readers.iter_mut().filter(|reader| reader.root == *root) {
            reader.dropped_at_ms = Some(now_ms);
        }
        if self.chance(3) {
            self.remembered.push((root.clone(), manifest));
        }
    }

    /// Somebody read a root some time ago, and wants a copy of it now.
    fn copy_what_is_gone(&mut self) {
        if !self.chance(6) {
            return;
        }
        let Some((root, manifest)) = self.remembered.pop() else { return };
        let copy = self.new_root();
        let refused = self.ledger.copy_remembered(&root, manifest, copy);
        assert!(refused.is_err() || self.bug == Some(Bug::CopyFromNothing));
        self.count("copy-refused");
    }

    fn start_reader(&mut self) {
        let Some(root) = self.any_root() else { return };
        let Ok(manifest) = self.ledger.root(&root) else { return };
        let Ok(reached) = self.reach([manifest]) else { return };
        let packs = reached.into_iter().filter(|object| object.kind == Kind::Pack).collect();
        self.readers.push(Reader { root, packs, dropped_at_ms: None });
    }

    fn end_reader(&mut self) -> Outcome {
        let Some(at) = self.pick(self.readers.len()) else { return Ok(()) };
        let reader = self.readers.swap_remove(at);
        let in_time = reader.dropped_at_ms.is_none_or(|at| self.now_ms < at + GRACE_MS);
        if !in_time {
            return Ok(());
        }
        self.count(if reader.dropped_at_ms.is_some() { "read-after-drop" } else { "read" });
        match reader.packs.iter().find(|pack| !self.objects.contains_key(pack)) {
            Some(pack) => Err(format!("a reader of {:?} misses {pack}", reader.root)),
            None => Ok(()),
        }
    }

    // --- the collector

    fn collect(&mut self) {
        if self.asked.is_empty() {
            let outputs = self.collector.handle(self.now_ms, Input::Start);
            self.asked.extend(outputs);
            return;
        }
        let Some(at) = self.pick(self.asked.len()) else { return };
        let output = self.asked.swap_remove(at);
        let Some(input) = self.answer(output) else { return };
        let outputs = self.collector.handle(self.now_ms, input);
        self.asked.extend(outputs);
    }

    /// Does what the collector asked for; `None` if it is too early, or the end.
    fn answer(&mut self, output: Output) -> Option<Input> {
        Some(match output {
            Output::View => Input::View(self.ledger.view()),
            Output::Read(object) => self.read(object),
            Output::List(after) => self.list(after),
            Output::Condemn { objects, rescued } => {
                for (name, objects) in [("condemn", &objects), ("rescue", &rescued)] {
                    objects.iter().for_each(|_| self.count(name));
                }
                Input::Condemned(self.ledger.condemn(&objects, &rescued))
            }
            Output::Settle(epoch) if self.ledger.is_settled(epoch) => Input::Settled,
            Output::Settle(epoch) => {
                self.count("waited-for-capture");
                self.asked.push(Output::Settle(epoch));
                return None;
            }
            Output::Rescue(objects) => {
                objects.iter().for_each(|_| self.count("rescue"));
                self.ledger.rescue(&objects);
                Input::Rescued
            }
            Output::WakeAt(at_ms) if at_ms <= self.now_ms => Input::Tick,
            Output::WakeAt(at_ms) => {
                self.asked.push(Output::WakeAt(at_ms));
                return None;
            }
            Output::Delete(object) => {
                let done = self.calm || !self.chance(6);
                self.count(if done { "delete" } else { "delete-failed" });
                // What failed may have happened.
                if done || self.chance(2) {
                    self.objects.remove(&object);
                }
                Input::Deleted { object, done }
            }
            Output::Forget(objects) => {
                self.ledger.forget(&objects);
                Input::Forgotten
            }
            Output::Done(report) => {
                if report.complete {
                    self.count("cycle");
                }
                return None;
            }
        })
    }

    fn read(&mut self, object: ObjectRef) -> Input {
        if !self.calm && self.chance(150) {
            self.count("unreadable");
            return Input::Unreadable(object.name);
        }
        match self.objects.get(&object.name) {
            Some(Stored::Manifest(segments)) => {
                Input::Read(object.name, Contents::Manifest(segments.clone()))
            }
            Some(Stored::Segment(packs)) => Input::Read(object.name, Contents::Segment(packs.clone())),
            // Dropped and deleted meanwhile, by a deletion that came late.
            Some(Stored::Pack) | None => Input::Unreadable(object.name),
        }
    }

    fn list(&mut self, after: Option<String>) -> Input {
        let mut names: Vec<(String, ObjectName)> =
            self.objects.keys().map(|name| (name.to_string(), *name)).collect();
        names.sort();
        names.retain(|(text, _)| after.as_ref().is_none_or(|after| text > after));
        let more = names.len() > 20;
        names.truncate(20);
        let next = more.then(|| names.last().map(|(text, _)| text.clone())).flatten();
        Input::Listed { names: names.into_iter().map(|(_, name)| name).collect(), next }
    }

    /// A new collector begins; what the old one had sent may still arrive.
    fn crash_collector(&mut self) {
        self.count("collector-crash");
        for output in std::mem::take(&mut self.asked) {
            if let Output::Delete(object) = output {
                self.late.push(object);
            }
        }
        self.collector = Collector::with_bug(GRACE_MS, self.bug);
    }

    fn late_delete(&mut self) {
        if let Some(object) = self.late.pop() {
            self.count("late-delete");
            self.objects.remove(&object);
        }
    }

    // --- what must hold

    /// All that can be reached from these manifests; an error if something is not there.
    fn reach(&self, roots: impl IntoIterator<Item = ObjectRef>) -> Result<BTreeSet<ObjectName>, String> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<ObjectName> = roots.into_iter().map(|root| root.name).collect();
        while let Some(name) = open.pop() {
            if !reached.insert(name) {
                continue;
            }
            match self.objects.get(&name) {
                Some(Stored::Manifest(segments)) => open.extend(segments.iter().map(|segment| segment.name)),
                Some(Stored::Segment(packs)) => open.extend(packs),
                Some(Stored::Pack) => {}
                None => return Err(format!("{name} is referred to and is not there")),
            }
        }
        Ok(reached)
    }

    fn check(&self) -> Outcome {
        self.reach(self.ledger.roots().values().copied())?;
        for capture in self.captures.iter().filter(|capture| self.ledger.parent(capture.id).is_ok()) {
            let parent = self.ledger.parent(capture.id).ok().flatten();
            self.reach(parent)?;
            let unsent: BTreeSet<ObjectName> = capture.puts.iter().map(|(name, _)| *name).collect();
            let relied_on = capture.packs.iter().chain(capture.segments.iter().map(|segment| &segment.name));
            for object in relied_on.chain(&capture.own) {
                if !self.objects.contains_key(object) && !unsent.contains(object) {
                    return Err(format!("capture {} relies on {object}, which is gone", capture.id.number));
                }
            }
        }
        Ok(())
    }

    /// Everybody ends; two quiet cycles later only what is referred to is left.
    fn come_to_rest(&mut self) -> Outcome {
        self.calm = true;
        while !self.captures.is_empty() {
            self.captures.iter_mut().for_each(|capture| capture.noticed_in = 0);
            self.janitor();
            self.go_on()?;
            self.check()?;
        }
        while !self.late.is_empty() {
            self.late_delete();
        }
        // A crash, so that the cycles below are whole ones.
        self.asked.clear();
        self.collector = Collector::with_bug(GRACE_MS, self.bug);
        let wanted = self.counters.get("cycle").copied().unwrap_or_default() + 2;
        for _ in 0..10_000 {
            if self.counters.get("cycle").copied().unwrap_or_default() >= wanted {
                break;
            }
            self.now_ms += 10;
            self.collect();
            self.check()?;
        }
        let reached = self.reach(self.ledger.roots().values().copied())?;
        match self.objects.keys().find(|object| !reached.contains(object)) {
            Some(object) => Err(format!("{object} is referred to by nothing and still there")),
            None if self.ledger.view().condemned.is_empty() => Ok(()),
            None => Err("something is condemned and does not exist".into()),
        }
    }
}

fn reference(name: ObjectName) -> ObjectRef {
    ObjectRef { name, len: 1, hash: ChunkHash([0; 32]) }
}
