//! Comparing with another copy by hashes, and copying what differs. (Rules 6, 7, 9.)
//!
//! The blocks are held from the first question to the last answer, so that nothing changes in between. What one copy
//! does not keep (a TRIM) is told apart from zeros that it keeps, and stays so on the other.

use super::{Effects, Kind, OpStage, Operation, Purpose, ReadFor, State};
use crate::ids::{Content, CopyId, Digest, Extent, Generation, Payload};
use crate::message::{Answer, Body};
use std::collections::BTreeSet;

impl<P: Payload> State<P> {
    /// Asks both copies for their hashes.
    pub(super) fn start_compare(&mut self, extent: Extent, to: CopyId, out: &mut Effects<P>) {
        let stage = OpStage::Comparing { own: None, theirs: None };
        let op = self.new_op(extent, Kind::Compare(to), stage);
        self.read_digests(extent, ReadFor::Op(op), out);
        self.send(to, Body::Digest { extent }, Purpose::Digest(op), out);
    }

    /// The local disk has told its hashes.
    pub(super) fn digested(&mut self, id: u64, digests: Vec<Digest>, out: &mut Effects<P>) {
        match self.volatile.reads.remove(&id) {
            Some(ReadFor::Op(op)) => self.op_digests(op, Some(digests), None),
            Some(ReadFor::Link { generation, seq }) => self.answer_digests(generation, seq, digests, out),
            None => {}
        }
    }

    fn answer_digests(
        &mut self,
        generation: Generation,
        seq: u64,
        digests: Vec<Digest>,
        out: &mut Effects<P>,
    ) {
        if self.link_done(generation, seq) {
            self.answer(seq, Answer::Digests(digests), out);
        }
    }

    /// One side has told.
    pub(super) fn op_digests(&mut self, id: u64, ours: Option<Vec<Digest>>, others: Option<Vec<Digest>>) {
        let op = self.volatile.primary.as_mut().and_then(|primary| primary.ops.get_mut(&id));
        if let Some(Operation { stage: OpStage::Comparing { own, theirs }, .. }) = op {
            *own = ours.or(own.take());
            *theirs = others.or(theirs.take());
        }
    }

    /// Both have told: equal blocks are done, the others are copied, in runs that are either all data or all nothing.
    pub(super) fn compared(
        &mut self,
        to: CopyId,
        extent: Extent,
        own: &[Digest],
        theirs: &[Digest],
        out: &mut Effects<P>,
    ) {
        let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&to));
        let Some(sync) = sync else { return };
        sync.compared.0 += extent.len;
        if own.len() as u64 != extent.len {
            return self.copy_each(to, extent, out);
        }
        let need = |at: usize| match own[at] {
            digest if theirs.get(at) == Some(&digest) => Need::Nothing,
            Digest::ZERO => Need::Zero,
            _ => Need::Data,
        };
        let mut start = 0;
        while start < own.len() {
            let wanted = need(start);
            let end = (start..own.len()).find(|at| need(*at) != wanted).unwrap_or(own.len());
            let run = Extent { start: extent.start + start as u64, len: (end - start) as u64 };
            match wanted {
                Need::Nothing => self.copied(to, run, false),
                Need::Zero => self.copy_zero(to, run, out),
                Need::Data => {
                    self.start_read(run, Kind::Copy(to), out);
                }
            }
            start = end;
        }
    }

    fn copy_zero(&mut self, to: CopyId, extent: Extent, out: &mut Effects<P>) {
        let content = Content::Zero;
        let missing = BTreeSet::from([to]);
        let stage = OpStage::Replicating { content: content.clone(), own: false, missing };
        let op = self.new_op(extent, Kind::Copy(to), stage);
        self.send(to, Body::Write { extent, content, recopied: true }, Purpose::Op(op), out);
    }

    /// Instead of an operation over blocks of which one is damaged.
    pub(super) fn copy_one_by_one(&mut self, id: u64, to: CopyId, extent: Extent, out: &mut Effects<P>) {
        if let Some(primary) = &mut self.volatile.primary {
            primary.ops.remove(&id);
        }
        self.copy_each(to, extent, out);
    }

    fn copy_each(&mut self, to: CopyId, extent: Extent, out: &mut Effects<P>) {
        for block in extent.blocks() {
            self.start_read(Extent::block(block), Kind::Copy(to), out);
        }
    }
}

/// What a block of another copy needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Zero,
    Data,
}
