//! Operations of a primary: each holds its blocks from start to end. (Rules 1, 11.)

use super::{Effect, Effects, Purpose, Source, State, Waiting, free};
use crate::ids::{
    AttachmentEpoch, ClientId, Content, CopyId, Digest, Extent, Generation, Payload, SessionId,
};
use crate::message::{Answer, Body, Op, Outcome};
use std::collections::BTreeSet;

/// Whose request an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Who.
    pub client: ClientId,
    /// Of which attachment.
    pub epoch: AttachmentEpoch,
    /// In which session.
    pub session: SessionId,
    /// Its number there.
    pub seq: u64,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation<P> {
    /// The blocks that it holds.
    pub extent: Extent,
    /// What it is for.
    pub kind: Kind,
    /// A read of blocks whose damage has been repaired already, as far as possible.
    pub repaired: bool,
    /// How far it is.
    pub stage: OpStage<P>,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A client's write.
    Write(Origin),
    /// A client's read.
    Read(Origin),
    /// Finding out which blocks of another copy differ; those are then copied, without being let go in between.
    Compare(CopyId),
    /// Recopying, equalising or repairing blocks of a copy.
    Copy(CopyId),
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpStage<P> {
    /// The local disk is being read.
    Reading,
    /// What this copy has and what the other has, as far as they have said.
    Comparing {
        /// Here.
        own: Option<Vec<Digest>>,
        /// There.
        theirs: Option<Vec<Digest>>,
    },
    /// It is damaged here; other copies are asked in turn.
    Fetching(BTreeSet<CopyId>),
    /// It is being written.
    Replicating {
        /// What.
        content: Content<P>,
        /// The local write is not done.
        own: bool,
        /// Copies that have not answered.
        missing: BTreeSet<CopyId>,
    },
    /// Read.
    Ready(Content<P>),
    /// No copy has it undamaged; or, of a write, there is no room for it.
    Failed,
}

/// Who waits for a read of the local disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadFor {
    /// An operation.
    Op(u64),
    /// The primary's stream.
    Link {
        /// In which generation.
        generation: Generation,
        /// Its number there.
        seq: u64,
    },
}

impl<P> Operation<P> {
    /// Whose request it is; a recopy is nobody's.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        match self.kind {
            Kind::Write(origin) | Kind::Read(origin) => Some(origin),
            Kind::Compare(_) | Kind::Copy(_) => None,
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        !matches!(self.kind, Kind::Read(_)) || matches!(self.stage, OpStage::Replicating { .. })
    }

    /// It waits for an answer that belongs to one generation.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, OpStage::Fetching(_) | OpStage::Comparing { .. })
    }
}

impl<P: Payload> State<P> {
    fn op(&mut self, id: u64) -> Option<&mut Operation<P>> {
        self.volatile.primary.as_mut()?.ops.get_mut(&id)
    }

    pub(super) fn new_op(&mut self, extent: Extent, kind: Kind, stage: OpStage<P>) -> u64 {
        let id = self.volatile.next_op;
        self.volatile.next_op += 1;
        if let Some(primary) = &mut self.volatile.primary {
            primary.ops.insert(id, Operation { extent, kind, repaired: false, stage });
        }
        id
    }

    /// Starts a client's write: here and on all members in parallel.
    pub(super) fn start_write(
        &mut self,
        extent: Extent,
        content: Content<P>,
        origin: Origin,
        out: &mut Effects<P>,
    ) {
        let members: BTreeSet<CopyId> =
            self.volatile.primary.iter().flat_map(|p| p.links.keys().copied()).collect();
        let stage = OpStage::Replicating { content: content.clone(), own: true, missing: members.clone() };
        let op = self.new_op(extent, Kind::Write(origin), stage);
        self.apply(extent, content.clone(), Source::Own { op });
        for copy in members {
            let content = content.clone();
            self.send(copy, Body::Write { extent, content, recopied: false }, Purpose::Op(op), out);
        }
    }

    /// Starts an operation that begins with reading the local disk.
    pub(super) fn start_read(&mut self, extent: Extent, kind: Kind, out: &mut Effects<P>) -> u64 {
        let op = self.new_op(extent, kind, OpStage::Reading);
        self.read(extent, ReadFor::Op(op), out);
        op
    }

    pub(super) fn read(&mut self, extent: Extent, who: ReadFor, out: &mut Effects<P>) {
        let id = self.reading(who);
        out.push(Effect::Read(id, extent));
    }

    pub(super) fn read_digests(&mut self, extent: Extent, who: ReadFor, out: &mut Effects<P>) {
        let id = self.reading(who);
        out.push(Effect::Digest(id, extent));
    }

    fn reading(&mut self, who: ReadFor) -> u64 {
        let id = free(&self.volatile.reads);
        self.volatile.reads.insert(id, who);
        id
    }

    pub(super) fn read_done(&mut self, id: u64, content: Option<Content<P>>, out: &mut Effects<P>) {
        match self.volatile.reads.remove(&id) {
            Some(ReadFor::Op(op)) => self.op_read(op, content, out),
            Some(ReadFor::Link { generation, seq }) => self.answer_fetch(generation, seq, content, out),
            None => {}
        }
    }

    pub(super) fn set_repaired(&mut self, id: u64, repaired: bool) {
        if let Some(op) = self.op(id) {
            op.repaired = repaired;
        }
    }

    /// A read of more than one block: what is damaged of them is repaired block by block, then it is read again.
    fn repair_first(&mut self, id: u64, origin: Origin, extent: Extent) {
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(op) = primary.ops.remove(&id) else { return };
        if op.repaired {
            primary.ops.insert(id, Operation { stage: OpStage::Failed, ..op });
        } else {
            primary.repairs.insert_range(extent.range());
            primary.waiting.push_front(Waiting::read(origin, extent, true));
        }
    }

    fn answer_fetch(
        &mut self,
        generation: Generation,
        seq: u64,
        content: Option<Content<P>>,
        out: &mut Effects<P>,
    ) {
        if self.link_done(generation, seq) {
            self.answer(seq, Answer::Content(content), out);
        }
    }

    fn op_read(&mut self, id: u64, content: Option<Content<P>>, out: &mut Effects<P>) {
        let Some(op) = self.op(id) else { return };
        let (kind, extent) = (op.kind, op.extent);
        match (content, kind) {
            (Some(content), Kind::Copy(to)) => self.copy_to(id, to, extent, content, false, out),
            (Some(content), _) => op.stage = OpStage::Ready(content),
            // Some block of it is damaged; the others are none the worse.
            (None, Kind::Copy(to)) if extent.len > 1 => self.copy_one_by_one(id, to, extent, out),
            (None, Kind::Read(origin)) if extent.len > 1 => self.repair_first(id, origin, extent),
            (None, _) => {
                op.stage = OpStage::Fetching(BTreeSet::new());
                self.fetch_elsewhere(id, out);
            }
        }
    }

    /// Sends a block to the copy that needs it; the primary's own may be under repair at the same time.
    fn copy_to(
        &mut self,
        id: u64,
        to: CopyId,
        extent: Extent,
        content: Content<P>,
        own: bool,
        out: &mut Effects<P>,
    ) {
        let missing = if to == self.settings.id { BTreeSet::new() } else { BTreeSet::from([to]) };
        if let Some(op) = self.op(id) {
            op.stage = OpStage::Replicating { content: content.clone(), own, missing };
        }
        if to != self.settings.id {
            self.send(to, Body::Write { extent, content, recopied: true }, Purpose::Op(id), out);
        }
    }

    /// Asks the next copy that may have what is damaged here: in-sync ones that are known to be equal, and the
    /// in-sync one that is to be made equal, whose content is as good as any if nobody else has one.
    fn fetch_elsewhere(&mut self, id: u64, out: &mut Effects<P>) {
        let Some(record) = &self.durable.record else { return };
        let me = self.settings.id;
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(op) = primary.ops.get_mut(&id) else { return };
        let (kind, extent) = (op.kind, op.extent);
        let OpStage::Fetching(tried) = &mut op.stage else { return };
        let equal = |copy: &CopyId| {
            primary.syncs.get(copy).is_some_and(|s| s.known && !s.left.overlaps(extent.range()))
        };
        let in_sync = record.now.in_sync.keys().filter(|copy| **copy != me && equal(copy)).copied();
        let target = match kind {
            Kind::Copy(to) if to != me && record.now.in_sync.contains_key(&to) => Some(to),
            _ => None,
        };
        let next = in_sync.chain(target).find(|copy| !tried.contains(copy));
        match next {
            Some(copy) => {
                tried.insert(copy);
                self.send(copy, Body::Fetch { extent }, Purpose::Fetch(id), out);
            }
            None => op.stage = OpStage::Failed,
        }
    }

    /// Another copy's content: written here, in the place of an ordered write, since the blocks are held.
    pub(super) fn fetched(&mut self, id: u64, content: Option<Content<P>>, out: &mut Effects<P>) {
        let Some(content) = content else { return self.fetch_elsewhere(id, out) };
        let Some(op) = self.op(id) else { return };
        let (extent, kind) = (op.extent, op.kind);
        match kind {
            Kind::Copy(to) => self.copy_to(id, to, extent, content.clone(), true, out),
            Kind::Read(_) | Kind::Write(_) | Kind::Compare(_) => {
                op.stage =
                    OpStage::Replicating { content: content.clone(), own: true, missing: BTreeSet::new() };
            }
        }
        self.apply(extent, content, Source::Own { op: id });
    }

    pub(super) fn own_written(&mut self, id: u64) {
        if let Some(Operation { stage: OpStage::Replicating { own, .. }, .. }) = self.op(id) {
            *own = false;
        }
    }

    /// Whether an operation is a client's write that goes to no other copy.
    pub(super) fn is_mine_alone(&self, id: u64) -> bool {
        let Some(primary) = &self.volatile.primary else { return false };
        primary.links.is_empty() && primary.ops.get(&id).is_some_and(|op| matches!(op.kind, Kind::Write(_)))
    }

    pub(super) fn own_refused(&mut self, id: u64) {
        if let Some(op) = self.op(id) {
            op.stage = OpStage::Failed;
        }
    }

    pub(super) fn op_done_at(&mut self, id: u64, copy: CopyId) {
        if let Some(Operation { stage: OpStage::Replicating { missing, .. }, .. }) = self.op(id) {
            missing.remove(&copy);
        }
    }

    /// Ends what is done everywhere; acknowledgements pass the gate.
    pub(super) fn finish_ops(&mut self, may_act: bool, out: &mut Effects<P>) {
        let Some(primary) = &self.volatile.primary else { return };
        let ended: Vec<u64> =
            primary.ops.iter().filter(|(_, op)| self.has_ended(op, may_act)).map(|(id, _)| *id).collect();
        for id in ended {
            let Some(op) = self.volatile.primary.as_mut().and_then(|p| p.ops.remove(&id)) else { continue };
            self.end(op, may_act, out);
        }
    }

    fn has_ended(&self, op: &Operation<P>, may_act: bool) -> bool {
        let bugs = &self.settings.bugs;
        match &op.stage {
            OpStage::Reading | OpStage::Fetching(_) => false,
            OpStage::Comparing { own, theirs } => may_act && own.is_some() && theirs.is_some(),
            OpStage::Ready(_) | OpStage::Failed => true,
            OpStage::Replicating { own, missing, .. } => {
                let lost = |copy: &CopyId| {
                    let leases = self.volatile.primary.as_ref().map(|primary| &primary.leases);
                    bugs.shrink_alone && leases.is_some_and(|l| !l.holds(super::Grantor::Copy(*copy)))
                };
                let early = bugs.ack_before_mirror && matches!(op.kind, Kind::Write(_));
                !own && may_act && (early || missing.iter().all(lost))
            }
        }
    }

    fn end(&mut self, op: Operation<P>, may_act: bool, out: &mut Effects<P>) {
        match (op.kind, op.stage) {
            (Kind::Read(origin), OpStage::Ready(content) | OpStage::Replicating { content, .. }) => {
                if may_act {
                    self.reply(origin, Outcome::Content(content), out);
                } else if let Some(primary) = &mut self.volatile.primary {
                    // Read without a lease, so perhaps too old by now.
                    primary.waiting.push_front(Waiting::read(origin, op.extent, false));
                }
            }
            (Kind::Read(origin), _) => self.reply(origin, Outcome::Damaged, out),
            (Kind::Write(origin), OpStage::Failed) => self.reply(origin, Outcome::NoSpace, out),
            (Kind::Write(origin), _) => self.reply(origin, Outcome::Done, out),
            (Kind::Copy(to), OpStage::Failed) => self.cannot_copy(to, op.extent),
            (Kind::Compare(to), OpStage::Comparing { own, theirs }) => {
                self.compared(to, op.extent, &own.unwrap_or_default(), &theirs.unwrap_or_default(), out);
            }
            (Kind::Compare(_), _) => {}
            (Kind::Copy(to), stage) => {
                let moved = matches!(stage, OpStage::Replicating { content: Content::Data(_), .. });
                self.copied(to, op.extent, moved);
            }
        }
    }
}

impl<P> Waiting<P> {
    /// A read that waits.
    pub(super) fn read(origin: Origin, extent: Extent, repaired: bool) -> Self {
        Self { origin, op: Op::Read(extent), repaired }
    }
}
