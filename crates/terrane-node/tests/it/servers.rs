//! Block servers in memory: the real core of each copy, with disks that never fail and networks without delay.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::copy::{Durable, Effect, Event, Settings, State, step};
use terrane_block_core::manager::{self, Alive, Request};
use terrane_block_core::message::ToPrimary;
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, Content, CopyId, Extent, Incarnation, LayoutEpoch};
use terrane_block_wire::control::StripeId;
use terrane_block_wire::data::{BLOCK, DataMessage};
use terrane_block_wire::transport::Sender;

/// A copy: its core and its disk.
struct Copy {
    state: State<Bytes>,
    disk: BTreeMap<u64, Bytes>,
    /// Whom to answer.
    client: Option<Sender<DataMessage>>,
    alive: bool,
    /// Requests wait here while the server is frozen.
    frozen: Option<Vec<Event<Bytes>>>,
}

/// One stripe with all its copies, and the manager's record of it.
pub(crate) struct Stripe {
    pub(crate) id: StripeId,
    pub(crate) record: Record,
    /// The record has changed since this was last taken.
    pub(crate) changed: bool,
    /// Requests of clients that the copies took.
    pub(crate) requests: u64,
    copies: BTreeMap<CopyId, Copy>,
    events: VecDeque<(CopyId, Event<Bytes>)>,
}

fn settings(id: CopyId, blocks: u64) -> Settings {
    Settings {
        id,
        blocks,
        log_grain: 1024,
        log_hot: 0,
        recopy_blocks: 256,
        recopies_max: 4,
        waiting_max: 256,
        bugs: Bugs::default(),
    }
}

impl Stripe {
    pub(crate) fn new(id: StripeId, copies: usize, blocks: u64) -> Self {
        let lives: BTreeMap<_, _> =
            (0..copies as u64).map(|copy| (CopyId(copy), Incarnation(copy + 1))).collect();
        let record = Record::create(&lives, CopyId(0), LayoutEpoch(1));
        let copy = |(id, life): (&CopyId, &Incarnation)| {
            let state = State::start(settings(*id, blocks), Durable::default(), *life);
            (*id, Copy { state, disk: BTreeMap::new(), client: None, alive: true, frozen: None })
        };
        let copies = lives.iter().map(copy).collect();
        let mut stripe = Self { id, record, changed: true, requests: 0, copies, events: VecDeque::new() };
        for copy in lives.keys() {
            stripe.events.push_back((*copy, Event::Settled));
        }
        stripe.publish();
        stripe.run();
        stripe
    }

    /// A message of a client, and where its answers go.
    pub(crate) fn request(
        &mut self,
        copy: CopyId,
        client: ClientId,
        message: ToPrimary<Bytes>,
        back: &Sender<DataMessage>,
    ) {
        let Some(at) = self.copies.get_mut(&copy) else { return };
        if matches!(message, ToPrimary::Hello { .. }) {
            at.client = Some(back.clone());
        } else {
            self.requests += 1;
        }
        let event = Event::Client(client, message);
        match &mut at.frozen {
            Some(waiting) => waiting.push(event),
            None => self.events.push_back((copy, event)),
        }
        self.run();
    }

    /// Which blocks hold data; nothing from one who does not rule.
    pub(crate) fn status(&self, copy: CopyId, start: u64, len: u64) -> Option<Vec<(u64, bool)>> {
        let at = self.copies.get(&copy).filter(|at| at.frozen.is_none())?;
        if !at.state.may_act() {
            return Some(Vec::new());
        }
        let mut runs: Vec<(u64, bool)> = Vec::new();
        for block in start..start + len {
            let data = at.disk.contains_key(&block);
            match runs.last_mut() {
                Some((len, kind)) if *kind == data => *len += 1,
                _ => runs.push((1, data)),
            }
        }
        Some(runs)
    }

    /// The manager's record reaches everybody.
    fn publish(&mut self) {
        self.changed = true;
        for (copy, at) in &self.copies {
            if at.alive && at.frozen.is_none() {
                self.events.push_back((*copy, Event::Record(self.record.clone())));
                self.events.push_back((*copy, Event::Renew));
            }
        }
    }

    /// A forced detach, or a new attachment.
    pub(crate) fn raise_epoch(&mut self) {
        self.record = manager::force_detach(&self.record, Bugs::default());
        self.publish();
        self.run();
    }

    /// The server of a copy dies.
    pub(crate) fn kill(&mut self, copy: CopyId) {
        let at = self.copies.get_mut(&copy).unwrap();
        (at.alive, at.client) = (false, None);
    }

    /// The server of a copy neither answers nor dies.
    pub(crate) fn freeze(&mut self, copy: CopyId) {
        self.copies.get_mut(&copy).unwrap().frozen = Some(Vec::new());
    }

    /// It goes on where it stopped: what was sent to it meanwhile arrives.
    pub(crate) fn thaw(&mut self, copy: CopyId) {
        let waiting = self.copies.get_mut(&copy).unwrap().frozen.take().unwrap();
        self.events.extend(waiting.into_iter().map(|event| (copy, event)));
        self.events.push_back((copy, Event::Record(self.record.clone())));
        self.run();
    }

    /// The manager finds out who lives; all leases of the others have lapsed.
    pub(crate) fn repair(&mut self) {
        let well = |at: &Copy| at.alive && at.frozen.is_none();
        let lives = self.copies.iter().filter(|(_, at)| well(at));
        let alive: BTreeMap<_, _> = lives
            .map(|(copy, at)| {
                let incarnation = at.state.volatile.incarnation;
                (*copy, Alive { incarnation, kept: BTreeSet::new() })
            })
            .collect();
        let gone: Vec<CopyId> =
            self.copies.keys().filter(|copy| !alive.contains_key(copy)).copied().collect();
        let Some(next) = manager::repair(&self.record, &alive, Bugs::default()) else { return };
        self.record = next;
        self.publish();
        for copy in alive.keys() {
            self.events.extend(gone.iter().map(|gone| (*copy, Event::GrantLapsed(*gone))));
        }
        self.run();
    }

    /// Whether this copy may act.
    pub(crate) fn acts(&self, copy: CopyId) -> bool {
        self.copies[&copy].state.may_act()
    }

    fn run(&mut self) {
        while let Some((copy, event)) = self.events.pop_front() {
            let at = self.copies.get_mut(&copy).unwrap();
            if !at.alive {
                continue;
            }
            if let Some(waiting) = &mut at.frozen {
                waiting.push(event);
                continue;
            }
            for effect in step(&mut at.state, event) {
                self.perform(copy, effect);
            }
        }
    }

    fn perform(&mut self, copy: CopyId, effect: Effect<Bytes>) {
        let at = self.copies.get_mut(&copy).unwrap();
        let event = match effect {
            Effect::Persist(_) => Event::Persisted,
            Effect::Write(id, extent, content) => {
                write(&mut at.disk, extent, &content);
                Event::Written(id)
            }
            Effect::Read(id, extent) => Event::Read(id, Some(read(&at.disk, extent))),
            Effect::Flush(id) => Event::Flushed(id),
            Effect::Send(to, message) => {
                return self.events.push_back((to, Event::Copy(copy, message)));
            }
            Effect::Tell(_, message) => {
                if let Some(client) = &at.client {
                    let message = DataMessage::ToClient { stripe: self.id, from: copy, message };
                    // A connection that has gone.
                    let _ = client.send(&message);
                }
                return;
            }
            Effect::Ask(Request::Lease { round, .. }) => Event::ManagerLease(round),
            Effect::Ask(request) => {
                if let Some(next) = manager::transact(&self.record, &request, Bugs::default()) {
                    self.record = next;
                }
                if let Some(next) = manager::finish_fence(&self.record, Bugs::default()) {
                    self.record = next;
                }
                return self.publish();
            }
            Effect::Fetch => Event::Record(self.record.clone()),
            other => panic!("no copy joins here: {other:?}"),
        };
        self.events.push_back((copy, event));
    }
}

fn write(disk: &mut BTreeMap<u64, Bytes>, extent: Extent, content: &Content<Bytes>) {
    for (index, block) in extent.blocks().enumerate() {
        match content {
            Content::Zero => {
                disk.remove(&block);
            }
            Content::Data(data) => {
                disk.insert(block, data.slice(index * BLOCK..(index + 1) * BLOCK));
            }
        }
    }
}

fn read(disk: &BTreeMap<u64, Bytes>, extent: Extent) -> Content<Bytes> {
    if extent.blocks().all(|block| !disk.contains_key(&block)) {
        return Content::Zero;
    }
    if let (1, Some(data)) = (extent.len, disk.get(&extent.start)) {
        return Content::Data(data.clone());
    }
    let mut bytes = Vec::with_capacity(extent.len as usize * BLOCK);
    for block in extent.blocks() {
        match disk.get(&block) {
            Some(data) => bytes.extend_from_slice(data),
            None => bytes.resize(bytes.len() + BLOCK, 0),
        }
    }
    Content::Data(bytes.into())
}
