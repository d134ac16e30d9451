//! One copy of a stripe: mirror, primary, or out of sync.
//!
//! [`step`] takes one event and returns its effects. Nothing else changes a [`State`], except that a crash takes
//! its [`Volatile`] away ([`State::start`]).

mod adopt;
mod apply;
mod compare;
mod durable;
mod flush;
mod hand_over;
mod join;
mod lease;
mod mirror;
mod ops;
mod primary;
mod requests;
mod resync;

pub use apply::{Apply, Source, Stage};
pub use durable::{Durable, Update};
pub use flush::{FlushFor, Flushing};
pub use hand_over::{HandOver, HandOverStage};
pub use lease::{Grantor, Leases};
pub use mirror::{Inbound, WaitingFlush};
pub use ops::{Kind, OpStage, Operation, Origin, ReadFor};
pub use primary::{Outbound, Primary, Purpose};
pub use requests::{Session, Waiting};
pub use resync::{Phase, Resync, Sync, Tally};

use crate::bugs::Bugs;
use crate::ids::{ClientId, Content, CopyId, Digest, Extent, Generation, Incarnation, Payload};
use crate::manager::Request;
use crate::message::{Message, ToClient, ToPrimary};
use crate::record::Record;
use crate::set::BlockSet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What never changes while a copy exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Settings {
    /// Which copy this is.
    pub id: CopyId,
    /// Blocks of the stripe.
    pub blocks: u64,
    /// Blocks that one entry of the activity log covers.
    pub log_grain: u64,
    /// Log extents that a FLUSH may leave in the log of a primary, so that what is written again and again need not
    /// enter it again and again. 0: each FLUSH empties the log of what it covered.
    pub log_hot: u64,
    /// Blocks that are compared, and recopied, in one piece, at most.
    pub recopy_blocks: u64,
    /// Pieces that are compared at the same time per target ([`Event::Pace`] changes it for joining copies).
    pub recopies_max: usize,
    /// Requests that wait at a primary; more are left to the client to send again. At least as many as a client has
    /// outstanding, or sessions are opened anew for nothing.
    pub waiting_max: usize,
    /// Rules taken away by a test.
    pub bugs: Bugs,
}

/// All that a copy knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State<P> {
    /// What never changes.
    pub settings: Settings,
    /// What is on stable media.
    pub durable: Durable,
    /// What a crash takes.
    pub volatile: Volatile<P>,
}

/// What a crash takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volatile<P> {
    /// This life.
    pub incarnation: Incarnation,
    /// A whole lease period has passed since the start: what an earlier life granted has lapsed.
    pub settled: bool,
    /// The newest record heard of, if it is not adopted yet.
    pub known: Option<Record>,
    /// The manager says that the adopted generation is active.
    pub active: bool,
    /// The manager has been told that the adopted generation is adopted, because it fences.
    pub confirmed: bool,
    /// Updates of [`Durable`] on their way to the disk, oldest first.
    pub persisting: VecDeque<Update>,
    /// Bits of bitmaps that are not on the disk yet (the log makes up for them after a crash).
    pub bits: BTreeMap<CopyId, BlockSet>,
    /// Log extents that stay while this copy is out of sync: what it had before it began to catch up in this
    /// generation tells a primary, this one or the next, where the two may differ.
    pub kept_log: BlockSet,
    /// Writes that are being applied here, in the order in which they came.
    pub applies: Vec<Apply<P>>,
    /// Reads of the local disk that are under way.
    pub reads: BTreeMap<u64, ReadFor>,
    /// Flushes of the local disk that are under way.
    pub flushes: BTreeMap<u64, FlushFor>,
    /// Who may hold a lease that this copy gave.
    pub granted: BTreeSet<CopyId>,
    /// As the primary of the adopted generation it has stopped for good, so that this copy follows. (A crash takes it
    /// away, and with it the life that ruled.)
    pub relinquished: Option<CopyId>,
    /// The latest lease request.
    pub lease_round: u64,
    /// The number of the next operation.
    pub next_op: u64,
    /// Pieces that are compared at the same time per joining copy, if not as the settings say.
    pub pace: Option<usize>,
    /// The primary's stream.
    pub inbound: Inbound,
    /// What it takes to be the primary.
    pub primary: Option<Primary<P>>,
}

impl<P> Default for Volatile<P> {
    fn default() -> Self {
        Self {
            incarnation: Incarnation::default(),
            settled: false,
            known: None,
            active: false,
            confirmed: false,
            persisting: VecDeque::new(),
            bits: BTreeMap::new(),
            kept_log: BlockSet::new(),
            applies: Vec::new(),
            reads: BTreeMap::new(),
            flushes: BTreeMap::new(),
            granted: BTreeSet::new(),
            relinquished: None,
            lease_round: 0,
            next_op: 0,
            pace: None,
            inbound: Inbound::default(),
            primary: None,
        }
    }
}

/// What happens to a copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event<P> {
    /// The manager's record, as it is or was. Handed in at every change, and when asked for.
    Record(Record),
    /// From another copy.
    Copy(CopyId, Message<P>),
    /// From a client.
    Client(ClientId, ToPrimary<P>),
    /// The oldest update under way is durable.
    Persisted,
    /// A write of the local disk is done: handed to the kernel, not yet durable.
    Written(u64),
    /// A write of the local disk found no room; some of it may be there. Only if [`State::may_refuse`] it: otherwise
    /// the copy has lost a write that others have, which is a crash.
    NoRoom(u64),
    /// A read of the local disk is done; nothing if the checksum does not fit.
    Read(u64, Option<Content<P>>),
    /// What [`Effect::Digest`] asked for, one for each block; none at all if the checksum of any does not fit, or if
    /// what is read may not be what a flush would make durable (in doubt after a flush that failed).
    Digested(u64, Vec<Digest>),
    /// A flush of the local disk is done. (One that fails is a crash: [`State::start`] with a new incarnation.)
    Flushed(u64),
    /// The lease got by this request, and all before it, may have lapsed.
    LeaseLapsed(Grantor, u64),
    /// All that was ever granted to this holder has lapsed for sure, whatever its clock does: a whole period (and the
    /// drift) has passed since the last [`Message::LeaseGrant`] to it.
    GrantLapsed(CopyId),
    /// A whole lease period has passed since the start.
    Settled,
    /// The manager gives the lease that this request asked for.
    ManagerLease(u64),
    /// Time to renew leases.
    Renew,
    /// Something may have been lost: send again what is unanswered.
    Resend,
    /// The log fills up, or has long been idle: retire log entries, though no client asks for a flush.
    FlushWanted,
    /// So many pieces may be compared and recopied at the same time per joining copy from now on; 0: none until
    /// further notice. (Suspects of in-sync copies hold up clients and are not slowed down.)
    Pace(usize),
    /// Scrubbing found damage.
    Scrubbed(Extent),
    /// The manager wants the primary of this generation to hand its role over; ends with [`Effect::HandOver`].
    HandOver {
        /// In which generation.
        generation: Generation,
        /// To whom.
        to: CopyId,
    },
    /// A hand-over takes too long: it is given up, unless the primary has relinquished already.
    Abandon,
}

/// What a copy wants done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect<P> {
    /// Make the update durable; [`Event::Persisted`] in the order of these.
    Persist(Update),
    /// Write the local disk.
    Write(u64, Extent, Content<P>),
    /// Read the local disk.
    Read(u64, Extent),
    /// Read the local disk and hash each block: [`Event::Digested`].
    Digest(u64, Extent),
    /// Make durable what is written.
    Flush(u64),
    /// To another copy.
    Send(CopyId, Message<P>),
    /// To a client.
    Tell(ClientId, ToClient<P>),
    /// To the manager.
    Ask(Request),
    /// The manager's record is newer than what is known here: hand it in.
    Fetch,
    /// An order to hand over has ended.
    HandOver {
        /// To whom.
        to: CopyId,
        /// This copy has relinquished, and will do nothing more in the generation: the record says how it goes on.
        /// Otherwise it does what it did before.
        given: bool,
    },
}

/// A list of effects, in order.
pub type Effects<P> = Vec<Effect<P>>;

/// The smallest number that names nothing in the map.
fn free<V>(map: &BTreeMap<u64, V>) -> u64 {
    (0..).zip(map.keys()).find(|(free, used)| free != *used).map_or(map.len() as u64, |(free, _)| free)
}

/// One event.
pub fn step<P: Payload>(state: &mut State<P>, event: Event<P>) -> Effects<P> {
    let mut out = Vec::new();
    match event {
        Event::Record(record) => state.hear(record, &mut out),
        Event::Copy(from, message) => state.receive(from, message, &mut out),
        Event::Client(from, message) => state.request(from, message, &mut out),
        Event::Persisted => state.persisted(&mut out),
        Event::Written(id) => state.written(id, &mut out),
        Event::NoRoom(id) => state.refused(id),
        Event::Read(id, content) => state.read_done(id, content, &mut out),
        Event::Digested(id, digests) => state.digested(id, digests, &mut out),
        Event::Flushed(id) => state.flushed(id, &mut out),
        Event::LeaseLapsed(grantor, round) => state.lease_lapsed(grantor, round),
        Event::GrantLapsed(holder) => {
            state.volatile.granted.remove(&holder);
        }
        Event::Settled => state.volatile.settled = true,
        Event::ManagerLease(round) => state.lease_granted(Grantor::Manager, round),
        Event::Renew => state.renew(&mut out),
        Event::Resend => state.resend(&mut out),
        Event::FlushWanted => state.want_flush(&mut out),
        Event::Pace(most) => state.volatile.pace = Some(most),
        Event::Scrubbed(extent) => state.scrubbed(extent, &mut out),
        Event::HandOver { generation, to } => state.hand_over(generation, to, &mut out),
        Event::Abandon => state.abandon(&mut out),
    }
    state.drain(&mut out);
    out
}

impl<P: Payload> State<P> {
    /// A copy that starts, for the first time or after a crash: with what was durable and a life of its own.
    #[must_use]
    pub fn start(settings: Settings, durable: Durable, incarnation: Incarnation) -> Self {
        // What the last life had marked since its last update is within the log.
        let touched = durable.touched_blocks(&settings);
        let bits = durable.bitmaps.keys().map(|copy| (*copy, touched.clone())).collect();
        let settled = settings.bugs.skip_settling;
        let kept_log = durable.log.clone();
        let volatile = Volatile { incarnation, bits, settled, kept_log, ..Volatile::default() };
        Self { settings, durable, volatile }
    }

    /// What is possible now that was not before this event.
    fn drain(&mut self, out: &mut Effects<P>) {
        self.try_adopt(out);
        if self.volatile.primary.is_some() {
            self.drain_primary(out);
        }
        self.start_applies(out);
        self.start_flushes(out);
        self.try_confirm(out);
    }

    fn receive(&mut self, from: CopyId, message: Message<P>, out: &mut Effects<P>) {
        match message {
            Message::Link { stamp, seq, body } => self.on_link(from, stamp, seq, body, out),
            Message::Ack { stamp, seq, answer } => self.on_ack(from, stamp, seq, answer, out),
            Message::LeaseRequest { stamp, round } => self.on_lease_request(from, stamp, round, out),
            Message::LeaseGrant { stamp, round } => {
                if self.is_from_member(from, stamp) {
                    self.lease_granted(Grantor::Copy(from), round);
                }
            }
            Message::Release { stamp } => self.on_release(from, stamp, out),
            Message::Damaged { stamp, extent } => {
                if self.is_from_member(from, stamp) {
                    self.damaged_at(from, extent);
                }
            }
            Message::FlushWanted { stamp } => {
                if self.is_from_member(from, stamp) {
                    self.want_flush(out);
                }
            }
            Message::Refused { generation } => {
                if self.adopted_generation() < generation {
                    out.push(Effect::Fetch);
                }
            }
        }
    }
}
