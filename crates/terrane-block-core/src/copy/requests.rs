//! Sessions and requests of clients. (Rules 1, 10.)

use super::{Effect, Effects, Kind, Origin, State};
use crate::ids::{ClientId, Extent, Payload, SessionId};
use crate::message::{Op, Outcome, ToClient, ToPrimary};

/// The session of the attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// Whose.
    pub client: ClientId,
    /// Which.
    pub id: SessionId,
    /// The number of the request taken last.
    pub taken: u64,
    /// All earlier sessions are drained, and the client knows.
    pub open: bool,
}

/// A request that has not begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiting<P> {
    /// Whose.
    pub origin: Origin,
    /// A read or a write.
    pub op: Op<P>,
    /// A read that found damage, which has been repaired since, as far as possible.
    pub repaired: bool,
}

impl<P: Payload> State<P> {
    pub(super) fn request(&mut self, from: ClientId, message: ToPrimary<P>, out: &mut Effects<P>) {
        let generation = self.adopted_generation();
        let (epoch, session) = match &message {
            ToPrimary::Hello { epoch, session, .. } | ToPrimary::Request { epoch, session, .. } => {
                (*epoch, *session)
            }
        };
        let rules = self.ruling().is_some_and(|record| record.epoch == epoch);
        let current = match &message {
            ToPrimary::Hello { generation: theirs, .. } => *theirs == generation,
            ToPrimary::Request { .. } => true,
        };
        let taken = rules
            && current
            && match message {
                ToPrimary::Hello { .. } => self.hello(from, session, out),
                ToPrimary::Request { seq, op, .. } => {
                    self.take_request(Origin { client: from, epoch, session, seq }, op, out)
                }
            };
        if !taken {
            out.push(Effect::Tell(from, ToClient::Refused { session, generation }));
        }
    }

    /// A later session replaces the earlier: what waits of that is dropped, what runs is drained.
    fn hello(&mut self, client: ClientId, id: SessionId, out: &mut Effects<P>) -> bool {
        let keeps = self.settings.bugs.accept_old_session;
        let Some(primary) = &mut self.volatile.primary else { return false };
        match primary.session {
            Some(session) if session.id > id => return false,
            Some(session) if session.id == id => {
                if session.open {
                    out.push(Effect::Tell(client, ToClient::Welcome { session: id }));
                }
                return session.client == client;
            }
            _ => {}
        }
        primary.session = Some(Session { client, id, taken: 0, open: false });
        if !keeps {
            primary.waiting.clear();
            primary.flush_queue.clear();
        }
        true
    }

    fn take_request(&mut self, origin: Origin, op: Op<P>, out: &mut Effects<P>) -> bool {
        let (bugs, most, blocks) = (self.settings.bugs, self.settings.waiting_max, self.settings.blocks);
        let Some(primary) = &mut self.volatile.primary else { return false };
        let Some(session) = &mut primary.session else { return false };
        let fits = session.id == origin.session && session.client == origin.client && session.open;
        if !fits && !bugs.accept_old_session {
            return false;
        }
        if fits {
            // A duplicate, or one whose predecessor was lost: the client opens a new session if it misses answers.
            if origin.seq != session.taken + 1 || primary.waiting.len() >= most {
                return true;
            }
            session.taken = origin.seq;
        }
        if op.extent().is_some_and(|extent| extent.len == 0 || extent.end() > blocks) {
            self.reply(origin, Outcome::OutOfRange, out);
            return true;
        }
        match op {
            Op::Flush => primary.flush_queue.push(origin),
            Op::Read(_) | Op::Write(..) => {
                primary.waiting.push_back(Waiting { origin, op, repaired: false });
            }
        }
        true
    }

    /// Welcomes a session once nothing of earlier ones runs any more.
    pub(super) fn open_session(&mut self, out: &mut Effects<P>) {
        let keeps = self.settings.bugs.accept_old_session;
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(session) = &mut primary.session else { return };
        if session.open {
            return;
        }
        let mut origins = primary.ops.values().filter_map(super::Operation::origin);
        if keeps || origins.all(|origin| origin.session == session.id) {
            session.open = true;
            out.push(Effect::Tell(session.client, ToClient::Welcome { session: session.id }));
        }
    }

    /// Starts, in order, the requests whose blocks are free.
    pub(super) fn start_waiting(&mut self, out: &mut Effects<P>) {
        if self.is_frozen() {
            return;
        }
        let mut index = 0;
        while let Some(waiting) = self.volatile.primary.as_ref().and_then(|p| p.waiting.get(index)) {
            let reads = matches!(waiting.op, Op::Read(_));
            let free = waiting.op.extent().is_some_and(|extent| self.is_free(&extent, reads, index));
            if !free {
                index += 1;
                continue;
            }
            let Some(waiting) = self.volatile.primary.as_mut().and_then(|p| p.waiting.remove(index)) else {
                return;
            };
            match waiting.op {
                Op::Read(extent) => {
                    let id = self.start_read(extent, Kind::Read(waiting.origin), out);
                    self.set_repaired(id, waiting.repaired);
                }
                Op::Write(extent, content) => self.start_write(extent, content, waiting.origin, out),
                Op::Flush => {}
            }
        }
    }

    /// Whether a read of this extent would be started if it came now.
    #[must_use]
    pub fn would_read(&self, extent: &Extent) -> bool {
        self.may_act() && !self.is_frozen() && self.is_free(extent, true, usize::MAX)
    }

    /// Nothing that overlaps is under way, came earlier, or is suspect.
    fn is_free(&self, extent: &Extent, reads: bool, index: usize) -> bool {
        let Some(primary) = &self.volatile.primary else { return false };
        if self.is_suspect(extent) || reads && primary.repairs.overlaps(extent.range()) {
            return false;
        }
        if self.settings.bugs.primary_overlaps {
            return true;
        }
        let clashes = |other: Extent, other_writes: bool| extent.overlaps(&other) && (other_writes || !reads);
        let under_way = primary.ops.values().any(|op| clashes(op.extent, op.is_writing()));
        let earlier = primary.waiting.iter().take(index).any(|waiting| {
            let writes = matches!(waiting.op, Op::Write(..));
            waiting.op.extent().is_some_and(|other| clashes(other, writes))
        });
        !under_way && !earlier && !self.is_being_written(extent)
    }

    /// Answers a client, if it is still the session that asked.
    pub(super) fn reply(&self, origin: Origin, outcome: Outcome<P>, out: &mut Effects<P>) {
        let session = self.volatile.primary.as_ref().and_then(|primary| primary.session);
        let current = session.is_some_and(|session| session.id == origin.session);
        let epoch = self.durable.epoch() == origin.epoch;
        if epoch && (current || self.settings.bugs.accept_old_session) {
            let (session, seq) = (origin.session, origin.seq);
            out.push(Effect::Tell(origin.client, ToClient::Reply { session, seq, outcome }));
        }
    }
}
