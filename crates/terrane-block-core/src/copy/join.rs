//! The last steps of a joining copy: flush, then commit. (Rule 8.)

use super::{Effect, Effects, Phase, Purpose, State};
use crate::ids::{CopyId, Payload};
use crate::manager::Request;
use crate::message::Body;
use crate::set::BlockSet;

impl<P: Payload> State<P> {
    /// A joining copy that has all blocks flushes data and metadata. It is part of every write already.
    pub(super) fn start_join_flushes(&mut self, out: &mut Effects<P>) {
        if self.is_frozen() {
            return;
        }
        let Some(record) = &self.durable.record else { return };
        let joining: Vec<CopyId> = record.now.joining.keys().copied().collect();
        for copy in &joining {
            let early = self.settings.bugs.join_before_flush;
            let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(copy));
            let Some(sync) = sync.filter(|s| s.is_equal() && s.phase == Phase::Copying) else { continue };
            sync.phase = if early { Phase::Ready } else { Phase::Flushing };
            if early {
                self.ask_commits(out);
            } else {
                let body = Body::Flush { exclude: BlockSet::from(0..self.settings.blocks) };
                self.send(*copy, body, Purpose::JoinFlush, out);
            }
        }
    }

    /// Asks the manager to commit the copies that are ready. Until it says so they stay part of everything.
    pub(super) fn ask_commits(&self, out: &mut Effects<P>) {
        let Some(record) = self.ruling() else { return };
        let Some(primary) = &self.volatile.primary else { return };
        if !self.volatile.active {
            return;
        }
        for (copy, incarnation) in &record.now.joining {
            if primary.syncs.get(copy).is_some_and(|sync| sync.phase == Phase::Ready) {
                let (generation, copy, incarnation) = (record.generation, *copy, *incarnation);
                out.push(Effect::Ask(Request::CommitJoin { generation, copy, incarnation }));
            }
        }
    }
}
