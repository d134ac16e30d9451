//! What a primary remembers, across the generations in which it stays the primary. (Rules 1, 2.)

use super::flush::Flushing;
use super::hand_over::HandOver;
use super::lease::Leases;
use super::{Effect, Effects, Kind, OpStage, Operation, Origin, Phase, Session, State, Sync, Waiting};
use crate::ids::{AttachmentEpoch, CopyId, Payload};
use crate::message::{Answer, Body, Message, Stamp};
use crate::record::Record;
use crate::set::BlockSet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A primary's state. Sessions and operations end with the role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Primary<P> {
    /// The attachment whose requests are taken.
    pub epoch: AttachmentEpoch,
    /// The one session of it.
    pub session: Option<Session>,
    /// Requests that wait for overlapping ones, suspects or leases; in order.
    pub waiting: VecDeque<Waiting<P>>,
    /// What is under way.
    pub ops: BTreeMap<u64, Operation<P>>,
    /// The streams to the other members, in this generation.
    pub links: BTreeMap<CopyId, Outbound<P>>,
    /// Leases held in this generation.
    pub leases: Leases,
    /// What is not the same on the other members.
    pub syncs: BTreeMap<CopyId, Sync>,
    /// Blocks of this copy that may be damaged; reads of them wait.
    pub repairs: BlockSet,
    /// The FLUSH under way.
    pub flush: Option<Flushing>,
    /// Who waits for the next one.
    pub flush_queue: Vec<Origin>,
    /// The next one is wanted though nobody waits for it.
    pub flush_wanted: bool,
    /// The role is being handed over.
    pub hand_over: Option<HandOver>,
}

impl<P> Default for Primary<P> {
    fn default() -> Self {
        Self {
            epoch: AttachmentEpoch::default(),
            session: None,
            waiting: VecDeque::new(),
            ops: BTreeMap::new(),
            links: BTreeMap::new(),
            leases: Leases::default(),
            syncs: BTreeMap::new(),
            repairs: BlockSet::new(),
            flush: None,
            flush_queue: Vec::new(),
            flush_wanted: false,
            hand_over: None,
        }
    }
}

/// A stream to a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outbound<P> {
    /// The number sent last.
    pub sent: u64,
    /// What is not answered.
    pub unanswered: BTreeMap<u64, (Body<P>, Purpose)>,
}

/// What a message was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To know what may differ there.
    Query,
    /// An operation.
    Op(u64),
    /// Reading for an operation whose own content is damaged.
    Fetch(u64),
    /// Comparing, for an operation.
    Digest(u64),
    /// The FLUSH under way.
    Flush,
    /// The flush before a join.
    JoinFlush,
    /// Forgetting what a FLUSH covered.
    Retire,
}

impl<P: Payload> Primary<P> {
    /// The same primary in its next generation: streams and leases start anew, a FLUSH begins again, what is in flight
    /// will be sent again; requests of an older attachment that have not begun are gone.
    pub(super) fn next_generation(mut self, record: &Record, me: CopyId) -> Self {
        if record.epoch != self.epoch {
            self.epoch = record.epoch;
            self.session = None;
            self.waiting.clear();
            self.flush_queue.clear();
            self.flush = None;
            self.ops.retain(|_, op| !matches!(op.kind, Kind::Read(_)));
        }
        if let Some(flush) = self.flush.take() {
            let later = std::mem::replace(&mut self.flush_queue, flush.origins);
            self.flush_queue.extend(later);
        }
        let others: BTreeMap<_, _> = record.now.acknowledgers().filter(|(copy, _)| *copy != me).collect();
        let link = || Outbound { sent: 0, unanswered: BTreeMap::new() };
        self.links = others.keys().map(|copy| (*copy, link())).collect();
        self.leases.held.clear();
        self.syncs.retain(|copy, sync| others.get(copy) == Some(&sync.incarnation));
        for (copy, incarnation) in others {
            let sync = self.syncs.entry(copy).or_insert_with(|| Sync::unknown(incarnation));
            if sync.phase == Phase::Flushing {
                sync.phase = Phase::Copying;
            }
        }
        let asking: Vec<u64> = self.ops.iter().filter(|(_, op)| op.is_asking()).map(|(id, _)| *id).collect();
        for id in asking {
            if let Some(Operation { extent, kind: Kind::Read(origin), repaired, .. }) = self.ops.remove(&id) {
                self.waiting.push_front(Waiting::read(origin, extent, repaired));
            }
        }
        let links = &self.links;
        self.ops.retain(|_, op| !matches!(op.kind, Kind::Copy(to) if !links.contains_key(&to)));
        self
    }

    /// Nothing of an older attachment is under way.
    pub(super) fn is_drained(&self) -> bool {
        let epochs = self.ops.values().filter_map(|op| op.origin()).map(|origin| origin.epoch);
        epochs.into_iter().all(|epoch| epoch == self.epoch)
    }
}

impl<P: Payload> State<P> {
    /// The manager confirmed the generation: streams begin, and all that was in flight is sent again.
    pub(super) fn begin_acting(&mut self, out: &mut Effects<P>) {
        let Some(primary) = &mut self.volatile.primary else { return };
        let members: Vec<CopyId> = primary.links.keys().copied().collect();
        let unknown: Vec<_> = primary.syncs.iter().filter(|(_, s)| !s.known).map(|(c, _)| *c).collect();
        let mut again = Vec::new();
        for (id, op) in &mut primary.ops {
            let copy = match op.kind {
                Kind::Copy(to) => Some(to),
                Kind::Write(_) => None,
                Kind::Read(_) | Kind::Compare(_) => continue,
            };
            let extent = op.extent;
            if let OpStage::Replicating { content, missing, .. } = &mut op.stage {
                *missing = copy.map_or_else(|| members.iter().copied().collect(), |to| BTreeSet::from([to]));
                again.push((*id, extent, content.clone(), missing.clone(), copy.is_some()));
            }
        }
        for copy in unknown {
            self.send(copy, Body::Query, Purpose::Query, out);
        }
        for (id, extent, content, missing, recopied) in again {
            for copy in missing {
                let content = content.clone();
                self.send(copy, Body::Write { extent, content, recopied }, Purpose::Op(id), out);
            }
        }
        self.renew(out);
        self.ask_commits(out);
    }

    /// Sends on a member's stream; answers the number.
    pub(super) fn send(&mut self, to: CopyId, body: Body<P>, purpose: Purpose, out: &mut Effects<P>) -> u64 {
        let stamp = self.stamp_to(to);
        let link = self.volatile.primary.as_mut().and_then(|primary| primary.links.get_mut(&to));
        let (Some(stamp), Some(link)) = (stamp, link) else { return 0 };
        link.sent += 1;
        let seq = link.sent;
        link.unanswered.insert(seq, (body.clone(), purpose));
        out.push(Effect::Send(to, Message::Link { stamp, seq, body }));
        seq
    }

    pub(super) fn on_ack(
        &mut self,
        from: CopyId,
        stamp: Stamp,
        seq: u64,
        answer: Answer<P>,
        out: &mut Effects<P>,
    ) {
        if !self.is_from_member(from, stamp) {
            return;
        }
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(link) = primary.links.get_mut(&from) else { return };
        let Some((_, purpose)) = link.unanswered.remove(&seq) else { return };
        match (purpose, answer) {
            (Purpose::Query, Answer::Touched { log, blocks }) => self.touched_at(from, &log, blocks),
            (Purpose::Op(op), _) => self.op_done_at(op, from),
            (Purpose::Fetch(op), Answer::Content(content)) => self.fetched(op, content, out),
            (Purpose::Digest(op), Answer::Digests(theirs)) => self.op_digests(op, None, Some(theirs)),
            (Purpose::Flush, _) => {
                if let Some(flush) = &mut primary.flush {
                    flush.missing.remove(&from);
                }
            }
            (Purpose::JoinFlush, _) => {
                if let Some(sync) = primary.syncs.get_mut(&from) {
                    sync.phase = Phase::Ready;
                }
                self.ask_commits(out);
            }
            (Purpose::Retire | Purpose::Query | Purpose::Fetch(_) | Purpose::Digest(_), _) => {}
        }
    }

    /// Sends again what is unanswered, and asks the manager again.
    pub(super) fn resend(&mut self, out: &mut Effects<P>) {
        out.push(Effect::Fetch);
        self.volatile.confirmed = false;
        self.ask_activation(out);
        self.say_relinquished(out);
        for sync in self.volatile.primary.iter_mut().flat_map(|primary| primary.syncs.values_mut()) {
            sync.stuck.clear();
        }
        if let Some(primary) = &self.volatile.primary {
            for (copy, link) in &primary.links {
                let Some(stamp) = self.stamp_to(*copy) else { continue };
                for (seq, (body, _)) in &link.unanswered {
                    let message = Message::Link { stamp, seq: *seq, body: body.clone() };
                    out.push(Effect::Send(*copy, message));
                }
            }
        }
        self.ask_commits(out);
    }

    /// All that a primary may do now, each behind the gate.
    pub(super) fn drain_primary(&mut self, out: &mut Effects<P>) {
        let may_act = self.may_act();
        self.finish_ops(may_act, out);
        self.open_session(out);
        if may_act {
            self.start_waiting(out);
            self.start_copies(out);
            self.finish_flush(out);
            self.go_on_handing_over(out);
            self.start_flush(out);
            self.start_join_flushes(out);
        }
    }
}
