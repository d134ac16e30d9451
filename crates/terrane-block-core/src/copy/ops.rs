//! Operations of a primary: each holds its blocks from start to end. (Rules 1, 11.)

use super::{Effect, Effects, Purpose, Source, State, Waiting, free};
use crate::ids::{AttachmentEpoch, ClientId, Content, CopyId, Extent, Generation, Payload, SessionId};
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
    /// Recopying, equalising or repairing a block of another copy.
    Copy(CopyId),
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpStage<P> {
    /// The local disk is being read.
    Reading,
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
    /// No copy has it undamaged.
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
            Kind::Copy(_) => None,
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        !matches!(self.kind, Kind::Read(_)) || matches!(self.stage, OpStage::Replicating { .. })
    }

    pub(super) fn is_fetching(&self) -> bool {
        matches!(self.stage, OpStage::Fetching(_))
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
            primary.ops.insert(id, Operation { extent, kind, stage });
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
    pub(super) fn start_read(&mut self, extent: Extent, kind: Kind, out: &mut Effects<P>) {
        let op = self.new_op(extent, kind, OpStage::Reading);
        self.read(extent, ReadFor::Op(op), out);
    }

    pub(super) fn read(&mut self, extent: Extent, who: ReadFor, out: &mut Effects<P>) {
        let id = free(&self.volatile.reads);
        self.volatile.reads.insert(id, who);
        out.push(Effect::Read(id, extent));
    }

    pub(super) fn read_done(&mut self, id: u64, content: Option<Content<P>>, out: &mut Effects<P>) {
        match self.volatile.reads.remove(&id) {
            Some(ReadFor::Op(op)) => self.op_read(op, content, out),
            Some(ReadFor::Link { generation, seq }) => self.answer_fetch(generation, seq, content, out),
            None => {}
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
            (Some(content), Kind::Read(_) | Kind::Write(_)) => op.stage = OpStage::Ready(content),
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
        let Some(record) = self.ruling().cloned() else { return };
        let me = self.settings.id;
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(op) = primary.ops.get_mut(&id) else { return };
        let (kind, extent) = (op.kind, op.extent);
        let OpStage::Fetching(tried) = &mut op.stage else { return };
        let equal = |copy: &CopyId| {
            primary.syncs.get(copy).is_some_and(|s| s.known && !extent.blocks().any(|b| s.left.contains(&b)))
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
            Kind::Read(_) | Kind::Write(_) => {
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

    pub(super) fn op_done_at(&mut self, id: u64, copy: CopyId) {
        if let Some(Operation { stage: OpStage::Replicating { missing, .. }, .. }) = self.op(id) {
            missing.remove(&copy);
        }
    }

    /// Ends what is done everywhere; acknowledgements pass the gate.
    pub(super) fn finish_ops(&mut self, out: &mut Effects<P>) {
        let may_act = self.may_act();
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
                    primary.waiting.push_front(Waiting::read(origin, op.extent));
                }
            }
            (Kind::Read(origin), _) => self.reply(origin, Outcome::Damaged, out),
            (Kind::Write(origin), _) => self.reply(origin, Outcome::Done, out),
            (Kind::Copy(to), OpStage::Failed) => self.cannot_copy(to, op.extent),
            (Kind::Copy(to), _) => self.copied(to, op.extent),
        }
    }
}

impl<P> Waiting<P> {
    /// A read that waits.
    pub(super) fn read(origin: Origin, extent: Extent) -> Self {
        Self { origin, op: Op::Read(extent) }
    }
}
