//! The node manager's side: sessions, and sending again after a switch. (Rules 1, 10.)

use crate::bugs::Bugs;
use crate::ids::{AttachmentEpoch, ClientId, CopyId, Extent, Generation, Payload, SessionId};
use crate::message::{Op, Outcome, ToClient, ToPrimary};
use crate::record::Record;
use std::collections::{BTreeMap, VecDeque};

/// A node manager that has the volume attached. Nothing of it is durable: one that restarts is a new attachment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client<P> {
    /// Who this is.
    pub id: ClientId,
    /// The attachment that it was given.
    pub epoch: AttachmentEpoch,
    /// The attachment is over: nothing more will be done.
    pub detached: bool,
    /// The latest record: generation and primary.
    pub view: Option<(Generation, CopyId)>,
    /// The latest session and whom it is with.
    pub session: Option<(SessionId, CopyId)>,
    /// The primary welcomed it.
    pub open: bool,
    /// The copy refused it: the next record, new or not, is a reason to try again.
    pub refused: bool,
    /// The number of the latest request in it.
    pub sent: u64,
    /// Requests sent in it and not answered, by their number: tag and what to do.
    pub outstanding: BTreeMap<u64, (u64, Op<P>)>,
    /// Requests not sent in it, in order.
    pub queue: VecDeque<(u64, Op<P>)>,
    /// Requests outstanding at the same time, at most.
    pub outstanding_max: usize,
    /// Rules taken away by a test.
    pub bugs: Bugs,
}

/// What happens to a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientEvent<P> {
    /// The application wants something; `tag` names it in [`ClientEffect::Complete`].
    Submit {
        /// Any number that is not in use.
        tag: u64,
        /// What.
        op: Op<P>,
    },
    /// The manager's record.
    Record(Box<Record>),
    /// From a copy.
    Message(CopyId, ToClient<P>),
    /// The connection broke, or answers are overdue: open a new session.
    Reconnect,
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientEffect<P> {
    /// To a copy; a hello opens a connection of its own.
    Send(CopyId, ToPrimary<P>),
    /// An answer for the application.
    Complete {
        /// The request.
        tag: u64,
        /// What came of it.
        outcome: Outcome<P>,
    },
    /// Hand in the manager's record.
    Fetch,
    /// The attachment is over; what was asked and not answered may or may not have been done.
    Detached,
}

impl<P: Payload> Client<P> {
    /// A client of an attachment.
    #[must_use]
    pub fn new(id: ClientId, epoch: AttachmentEpoch, outstanding_max: usize, bugs: Bugs) -> Self {
        Self {
            id,
            epoch,
            detached: false,
            view: None,
            session: None,
            open: false,
            refused: false,
            sent: 0,
            outstanding: BTreeMap::new(),
            queue: VecDeque::new(),
            outstanding_max,
            bugs,
        }
    }

    /// One event.
    pub fn step(&mut self, event: ClientEvent<P>) -> Vec<ClientEffect<P>> {
        let mut out = Vec::new();
        if self.detached {
            return out;
        }
        match event {
            ClientEvent::Submit { tag, op } => self.queue.push_back((tag, op)),
            ClientEvent::Record(record) => self.hear(&record, &mut out),
            ClientEvent::Reconnect => self.connect(&mut out),
            ClientEvent::Message(from, message) => self.receive(from, message, &mut out),
        }
        self.drain(&mut out);
        out
    }

    fn hear(&mut self, record: &Record, out: &mut Vec<ClientEffect<P>>) {
        if record.epoch > self.epoch {
            self.detached = true;
            self.outstanding.clear();
            self.queue.clear();
            out.push(ClientEffect::Detached);
            return;
        }
        if record.epoch < self.epoch || self.view.is_some_and(|(known, _)| known > record.generation) {
            return;
        }
        let known = self.view.is_some_and(|(known, _)| known == record.generation);
        if known && !self.refused {
            return;
        }
        self.view = Some((record.generation, record.now.primary));
        if !self.open || self.session.is_none_or(|(_, with)| with != record.now.primary) {
            self.connect(out);
        }
    }

    /// A new session with the primary of the latest record. What is unanswered will be sent again in it, oldest first.
    fn connect(&mut self, out: &mut Vec<ClientEffect<P>>) {
        let Some((generation, primary)) = self.view else {
            out.push(ClientEffect::Fetch);
            return;
        };
        let session = self.session.map_or(SessionId(1), |(session, _)| session.next());
        self.session = Some((session, primary));
        self.open = false;
        self.refused = false;
        for request in std::mem::take(&mut self.outstanding).into_values().rev() {
            self.queue.push_front(request);
        }
        let epoch = self.epoch;
        out.push(ClientEffect::Send(primary, ToPrimary::Hello { epoch, session, generation }));
    }

    fn receive(&mut self, from: CopyId, message: ToClient<P>, out: &mut Vec<ClientEffect<P>>) {
        let Some((current, with)) = self.session else { return };
        match message {
            ToClient::Welcome { session } if session == current && from == with && !self.open => {
                self.open = true;
                self.sent = 0;
            }
            ToClient::Reply { session, seq, outcome } if session == current && from == with => {
                if let Some((tag, _)) = self.outstanding.remove(&seq) {
                    out.push(ClientEffect::Complete { tag, outcome });
                }
            }
            ToClient::Refused { session, .. } if session == current && from == with => {
                self.open = false;
                self.refused = true;
                out.push(ClientEffect::Fetch);
            }
            ToClient::Welcome { .. } | ToClient::Reply { .. } | ToClient::Refused { .. } => {}
        }
    }

    /// Sends what may be sent: in order, and never two overlapping writes at the same time, since after a switch nobody
    /// could tell any more which of them came first.
    fn drain(&mut self, out: &mut Vec<ClientEffect<P>>) {
        let Some((session, primary)) = self.session.filter(|_| self.open) else { return };
        let mut index = 0;
        while index < self.queue.len() && self.outstanding.len() < self.outstanding_max {
            if self.overlaps(index) && !self.bugs.client_overlaps {
                index += 1;
                continue;
            }
            let Some((tag, op)) = self.queue.remove(index) else { return };
            self.sent += 1;
            let (epoch, seq) = (self.epoch, self.sent);
            self.outstanding.insert(seq, (tag, op.clone()));
            out.push(ClientEffect::Send(primary, ToPrimary::Request { epoch, session, seq, op }));
        }
    }

    fn overlaps(&self, index: usize) -> bool {
        let written = |op: &Op<P>| -> Option<Extent> {
            match op {
                Op::Write(extent, _) => Some(*extent),
                Op::Read(_) | Op::Flush => None,
            }
        };
        let Some(extent) = self.queue.get(index).and_then(|(_, op)| written(op)) else { return false };
        let before = self.queue.iter().take(index).chain(self.outstanding.values());
        before.filter_map(|(_, op)| written(op)).any(|other| other.overlaps(&extent))
    }
}
