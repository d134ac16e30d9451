//! Blocks that were read or written lately, so that the primary need not read and send them again.
//!
//! What is kept of a volume is what its primary would answer, as far as requests of this machine can change it:
//! 1. A write takes out what it overlaps when it begins. Until it has ended, reads of that go to the primary.
//! 2. What a request has read or written is kept only if no other write overlapped it from its beginning to its end:
//!    otherwise nobody here knows in which order they took effect.
//! 3. A new session with a primary, or a new record, begins a new [`Life`]. Nothing of an earlier one is used, not even
//!    by a request that was begun in it: copies that have all failed may be older now.
//!
//! Whether the volume is still this machine's at all is another question: `volume/cached.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use terrane_block_core::Content;

use crate::layout::{BLOCK, Blocks};

/// Blocks of one request that are kept, at most (1 MiB): what is longer is a stream, and would push out all the rest.
const REQUEST_BLOCKS_MAX: u64 = 256;

/// As long as what is kept may be used. Each one is of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    life: Life,
    block: u64,
}

#[derive(Debug)]
struct Kept {
    key: Key,
    content: Content<Bytes>,
    /// It was asked for since the hand last passed.
    used: bool,
}

/// The blocks of all volumes of a node manager: a bounded number. What has not been asked for lately gives way (CLOCK).
#[derive(Debug)]
pub(crate) struct Store {
    most: usize,
    lives: u64,
    slots: Vec<Option<Kept>>,
    free: Vec<usize>,
    places: HashMap<Key, usize>,
    hand: usize,
    bytes: Gauge,
}

impl Store {
    /// At most so many bytes of blocks; `gauge` tells how many there are.
    pub(crate) fn new(bytes: u64, gauge: Gauge) -> Self {
        let most = usize::try_from(bytes / BLOCK).unwrap_or(usize::MAX);
        Self {
            most,
            lives: 0,
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            hand: 0,
            bytes: gauge,
        }
    }

    fn begin_life(&mut self) -> Life {
        self.lives += 1;
        Life(self.lives)
    }

    fn end_life(&mut self, life: Life) {
        self.remove_if(|key| key.life == life);
    }

    fn get(&mut self, key: Key) -> Option<Content<Bytes>> {
        let kept = self.slots.get_mut(*self.places.get(&key)?)?.as_mut()?;
        kept.used = true;
        Some(kept.content.clone())
    }

    fn put(&mut self, key: Key, content: Content<Bytes>) {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => match self.make_room() {
                Some(place) => place,
                None => return,
            },
        };
        self.places.insert(key, place);
        self.slots[place] = Some(Kept { key, content, used: false });
        self.tell();
    }

    /// An empty slot.
    fn make_room(&mut self) -> Option<usize> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        if self.slots.len() < self.most {
            self.slots.push(None);
            return Some(self.slots.len() - 1);
        }
        // Twice around at most: the first time takes all marks away.
        for _ in 0..2 * self.slots.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[place] {
                Some(kept) if kept.used => kept.used = false,
                Some(kept) => {
                    self.places.remove(&kept.key);
                    return Some(place);
                }
                None => {}
            }
        }
        None
    }

    fn remove(&mut self, life: Life, blocks: Blocks) {
        let range = blocks.start..blocks.end();
        if blocks.len > self.places.len() as u64 {
            return self.remove_if(|key| key.life == life && range.contains(&key.block));
        }
        for block in range {
            if let Some(place) = self.places.remove(&Key { life, block }) {
                self.slots[place] = None;
                self.free.push(place);
            }
        }
        self.tell();
    }

    fn remove_if(&mut self, goes: impl Fn(&Key) -> bool) {
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if let Some(kept) = slot.take_if(|kept| goes(&kept.key)) {
                self.places.remove(&kept.key);
                self.free.push(place);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        self.bytes.set((self.places.len() as u64 * BLOCK).cast_signed());
    }
}

/// What is kept of one volume, and its requests that are under way.
#[derive(Debug)]
pub(crate) struct Cached {
    store: Arc<Mutex<Store>>,
    life: Life,
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
    /// Nothing is kept any more.
    off: bool,
    /// What the primary of each stripe was asked.
    pub(crate) rounds: Vec<Rounds>,
}

#[derive(Debug)]
struct UnderWay {
    blocks: Blocks,
    life: Life,
    writes: bool,
    /// Another write overlaps it.
    spoiled: bool,
}

/// What comes of looking for blocks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// All are here: how many, and what they hold. To be used if the primary confirms the session while this life lasts.
    Hit(Vec<(u64, Content<Bytes>)>, Life),
    /// They have to be read; tell [`Cached::end_read`] what was, under this number.
    Fill(u64),
    /// They have to be read, and are not kept.
    Pass,
}

impl Cached {
    /// Nothing yet, of a volume of so many stripes.
    pub(crate) fn new(store: Arc<Mutex<Store>>, stripes: usize) -> Self {
        let life = store.lock().begin_life();
        let rounds = vec![Rounds::default(); stripes];
        Self { store, life, under_way: BTreeMap::new(), next: 0, off: false, rounds }
    }

    /// Whether this life lasts.
    pub(crate) fn lives(&self, life: Life) -> bool {
        self.life == life
    }

    /// Drops everything, also what requests under way will bring.
    pub(crate) fn end_life(&mut self) {
        let mut store = self.store.lock();
        store.end_life(self.life);
        self.life = store.begin_life();
    }

    /// A read begins.
    pub(crate) fn look(&mut self, blocks: Blocks) -> Looked {
        let written = |other: &UnderWay| other.writes && other.blocks.overlaps(&blocks);
        if self.off || blocks.len > REQUEST_BLOCKS_MAX || self.under_way.values().any(written) {
            return Looked::Pass;
        }
        let mut store = self.store.lock();
        let found = (blocks.start..blocks.end()).map(|block| store.get(Key { life: self.life, block }));
        match found.collect::<Option<Vec<_>>>() {
            Some(contents) => Looked::Hit(join(&contents), self.life),
            None => {
                drop(store);
                Looked::Fill(self.begin(blocks, false, false))
            }
        }
    }

    /// A read has ended: what the blocks hold, in order.
    pub(crate) fn end_read(&mut self, number: u64, contents: &[(u64, Content<Bytes>)]) {
        let Some(request) = self.under_way.remove(&number) else { return };
        let mut block = request.blocks.start;
        for (len, content) in contents {
            self.keep(&request, Blocks { start: block, len: *len }, content);
            block += len;
        }
    }

    /// A write begins; `None` if nothing is kept any more.
    pub(crate) fn begin_write(&mut self, blocks: Blocks) -> Option<u64> {
        if self.off {
            return None;
        }
        self.store.lock().remove(self.life, blocks);
        let mut spoiled = false;
        for other in self.under_way.values_mut().filter(|other| other.blocks.overlaps(&blocks)) {
            other.spoiled = true;
            spoiled |= other.writes;
        }
        Some(self.begin(blocks, true, spoiled))
    }

    /// A write has ended. `content` is what all its blocks hold now, if that is known.
    pub(crate) fn end_write(&mut self, number: u64, content: Option<&Content<Bytes>>) {
        let Some(request) = self.under_way.remove(&number) else { return };
        if let Some(content) = content.filter(|_| request.blocks.len <= REQUEST_BLOCKS_MAX) {
            self.keep(&request, request.blocks, content);
        }
    }

    /// Nobody waits for a request any more. If it was a write, nobody learns either when it takes effect: nothing can be
    /// kept from now on.
    pub(crate) fn abandon(&mut self, number: u64) {
        if self.under_way.remove(&number).is_some_and(|request| request.writes) {
            self.off = true;
            self.end_life();
        }
    }

    fn begin(&mut self, blocks: Blocks, writes: bool, spoiled: bool) -> u64 {
        self.next += 1;
        self.under_way.insert(self.next, UnderWay { blocks, life: self.life, writes, spoiled });
        self.next
    }

    fn keep(&self, request: &UnderWay, blocks: Blocks, content: &Content<Bytes>) {
        if self.off || request.spoiled || request.life != self.life {
            return;
        }
        let mut store = self.store.lock();
        for (index, block) in (blocks.start..blocks.end()).enumerate() {
            let content = match content {
                Content::Zero => Content::Zero,
                Content::Data(data) => {
                    let from = index * BLOCK as usize;
                    let Some(part) = data.get(from..from + BLOCK as usize) else { return };
                    // A slice would keep all of what it is a part of.
                    Content::Data(Bytes::copy_from_slice(part))
                }
            };
            store.put(Key { life: self.life, block }, content);
        }
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.store.lock().end_life(self.life);
    }
}

/// Blocks one by one as runs: how many, and what they hold.
fn join(blocks: &[Content<Bytes>]) -> Vec<(u64, Content<Bytes>)> {
    let is_data = |content: &Content<Bytes>| matches!(content, Content::Data(_));
    let run = |run: &[Content<Bytes>]| match run {
        [single] => (1, single.clone()),
        [Content::Zero, ..] => (run.len() as u64, Content::Zero),
        _ => {
            let mut bytes = BytesMut::with_capacity(run.len() * BLOCK as usize);
            for content in run {
                if let Content::Data(data) = content {
                    bytes.extend_from_slice(data);
                }
            }
            (run.len() as u64, Content::Data(bytes.freeze()))
        }
    };
    blocks.chunk_by(|one, next| is_data(one) == is_data(next)).map(run).collect()
}

/// Questions to a primary, one at a time, and whether it has answered in the session. Each counts for everyone who came
/// before it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rounds {
    asked: u64,
    answered: u64,
    confirmed: u64,
}

impl Rounds {
    /// The question that counts for who comes now.
    pub(crate) fn wanted(&self) -> u64 {
        self.asked + 1
    }

    /// Whether that one or a later one was confirmed; `None` if it is not answered yet.
    pub(crate) fn outcome(&self, wanted: u64) -> Option<bool> {
        (self.answered >= wanted).then_some(self.confirmed >= wanted)
    }

    /// Begins the next question, if none is under way.
    pub(crate) fn begin(&mut self) -> bool {
        let may = self.asked == self.answered;
        self.asked += u64::from(may);
        may
    }

    /// The question has ended.
    pub(crate) fn end(&mut self, confirmed: bool) {
        self.answered = self.asked;
        if confirmed {
            self.confirmed = self.asked;
        }
    }
}

#[cfg(test)]
mod tests;
