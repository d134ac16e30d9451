//! The manager in office: what it has heard, and what it does about it. Pure: events and the time go in, actions come
//! out; sockets and the store are the driver's ([`crate::run`]).
//!
//! Rows here are copies of the store's; each carries a version, so that a reading that arrives late changes nothing.
//! Every decision is made again on the stored row in its transaction ([`crate::jobs`]).

mod commands;
mod growth;
mod nodes;
mod servers;
mod sight;
mod stripes;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use terrane_block_core::CopyId;
use terrane_block_core::manager::{Alive, Request};
use terrane_block_wire::control::{Command, CopyReport, FromManager, ServerId, StripeId, ToManager};
use terrane_types::{AccountId, InstanceId, VolumeId};

use crate::Timing;
use crate::db::{Changes, VolumeKey};
use crate::jobs::Job;
use crate::liveness::{Liveness, Millis, millis};
use crate::metrics::Counts;
use crate::performance::performance;
use crate::rows::{LifeRow, ServerRow, StripeRow, VolumeRow};

pub(crate) use growth::Size;
pub(crate) use sight::Sight;
pub(crate) use told::Told;

/// A connection.
pub(crate) type SessionId = u64;
/// A transaction under way.
pub(crate) type JobId = u64;

/// How often what waits for something is looked at again.
const REVIEW: Millis = 100;
/// A connection says hello within this time.
const HELLO: Millis = 3000;
/// Requests that wait for one stripe, at most; copies ask again.
const QUEUE_MAX: usize = 32;

/// What happens to the manager in office.
#[derive(Debug)]
pub(crate) enum Event {
    /// Someone connected.
    Opened(SessionId),
    /// And says something.
    Message(SessionId, ToManager),
    /// The connection is over.
    Closed(SessionId),
    /// A transaction is over.
    Done(JobId, Result<Changes, JobFailure>),
    /// A call changed a volume.
    Changed(VolumeKey),
    /// A call changed a server.
    ServerChanged(ServerId),
    /// Time passes; every few milliseconds.
    Tick,
}

/// Why a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobFailure {
    /// No server has room.
    NoRoom(String),
    /// Perhaps next time.
    Other(String),
}

/// What the manager in office wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Say something.
    Send(SessionId, FromManager),
    /// End a connection, once what was said is sent.
    Close(SessionId),
    /// Run a transaction.
    Run(JobId, Job),
}

#[derive(Debug)]
enum Role {
    Unknown,
    Server(ServerId),
    Node(InstanceId),
}

#[derive(Debug)]
struct Session {
    role: Role,
    heard: Millis,
}

/// What a server says of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) report: CopyReport,
    /// Since when it cannot be used.
    pub(crate) troubled: Option<Millis>,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) row: Option<ServerRow>,
    session: Option<SessionId>,
    process: u128,
    /// Processes that a later one replaced; the latest few.
    replaced: VecDeque<u128>,
    pub(crate) copies: BTreeMap<(StripeId, CopyId), Heard>,
    /// Sent, not answered.
    commands: BTreeMap<u64, (Command, Millis)>,
    doomed: BTreeSet<(StripeId, CopyId)>,
    /// Stripes with a place here.
    stripes: BTreeSet<StripeId>,
    /// What the store was told.
    told_up: Option<bool>,
}

#[derive(Debug, Default)]
struct Node {
    session: Option<SessionId>,
    process: u128,
    replaced: VecDeque<u128>,
    /// Its attachments have their epochs: orders may be sent.
    ready: bool,
    left: Millis,
    told_up: Option<bool>,
}

/// Complaints about a copy whose server seems to be well.
#[derive(Clone, Copy, Debug)]
struct Complaint {
    first: Millis,
    last: Millis,
    aside_until: Millis,
}

#[derive(Debug)]
pub(crate) struct Stripe {
    pub(crate) row: StripeRow,
    volume: VolumeKey,
    busy: Option<JobId>,
    queue: VecDeque<Request>,
    watchers: BTreeSet<SessionId>,
    /// When the manager last granted a lease.
    granted: Option<Millis>,
    /// Bytes moved and left, of copies that catch up.
    pub(crate) resync: BTreeMap<CopyId, (u64, u64)>,
    complaints: BTreeMap<CopyId, Complaint>,
    /// Copies that could not be made.
    failed: BTreeMap<CopyId, String>,
    /// Servers that could not make one.
    avoid: BTreeSet<ServerId>,
    place_after: Millis,
    /// Its primary was lost then, and no other one is active yet.
    primary_lost: Option<Millis>,
    /// Since when its primary shall hand over to another copy.
    handing: Option<Millis>,
    /// An operator declared what is in sync lost: nobody gets the manager's lease meanwhile.
    declaring: Option<String>,
}

/// What a job was for.
#[derive(Clone, Debug)]
enum Purpose {
    Stripe(StripeId),
    Place(StripeId),
    Load(VolumeKey),
    Settle(VolumeKey),
    Node(InstanceId, SessionId),
    Other,
}

/// On which terms a manager takes office.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) timing: Timing,
    pub(crate) host_account: AccountId,
    /// Names this manager; later ones have higher numbers.
    pub(crate) epoch: u64,
    /// Machines that the store says run.
    pub(crate) running: Vec<InstanceId>,
}

impl Node {
    fn away(now: Millis) -> Self {
        Self { left: now, ..Self::default() }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Leader {
    timing: Timing,
    host_account: AccountId,
    epoch: u64,
    since: Millis,
    /// Until when nobody else can be in office.
    pub(crate) office_until: Millis,
    pub(crate) live: Liveness,
    sessions: BTreeMap<SessionId, Session>,
    pub(crate) servers: BTreeMap<ServerId, Server>,
    nodes: BTreeMap<InstanceId, Node>,
    volumes: BTreeMap<VolumeKey, VolumeRow>,
    pub(crate) ids: BTreeMap<VolumeId, VolumeKey>,
    pub(crate) stripes: BTreeMap<StripeId, Stripe>,
    dirty: BTreeSet<StripeId>,
    /// Stripes whose primary may not change before a lease of ours has lapsed: looked at again at every tick.
    leased: BTreeSet<StripeId>,
    unsettled: BTreeSet<VolumeKey>,
    /// Volumes that are being read; true: they changed again meanwhile.
    loading: BTreeMap<VolumeKey, bool>,
    jobs: BTreeMap<JobId, Purpose>,
    next_job: JobId,
    next_command: u64,
    reviewed: Millis,
    pub(crate) counts: Counts,
    out: Vec<Action>,
}

impl Leader {
    /// Takes office with everything that the store has.
    pub(crate) fn new(terms: Terms, state: Changes, now: Millis) -> Self {
        let mut leader = Self {
            live: Liveness::new(&terms.timing),
            timing: terms.timing,
            host_account: terms.host_account,
            epoch: terms.epoch,
            since: now,
            office_until: Millis::MAX,
            sessions: BTreeMap::new(),
            servers: BTreeMap::new(),
            nodes: terms.running.into_iter().map(|instance| (instance, Node::away(now))).collect(),
            volumes: BTreeMap::new(),
            ids: BTreeMap::new(),
            stripes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            leased: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            loading: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 1,
            next_command: 1,
            reviewed: now,
            counts: Counts::default(),
            out: Vec::new(),
        };
        for server in state.servers.keys() {
            leader.live.expect(*server, now);
        }
        leader.apply(state, true, now);
        leader
    }

    /// One event, and all that follows from it.
    pub(crate) fn handle(&mut self, event: Event, now: Millis) -> Vec<Action> {
        match event {
            Event::Opened(session) => {
                self.sessions.insert(session, Session { role: Role::Unknown, heard: now });
            }
            Event::Message(session, message) => self.message(session, message, now),
            Event::Closed(session) => self.closed(session, now),
            Event::Done(job, result) => self.done(job, result, now),
            Event::Changed(volume) => self.load(volume),
            Event::ServerChanged(server) => {
                self.run(Job::LoadServer { server }, Purpose::Other);
            }
            Event::Tick => self.tick(now),
        }
        self.settle_dirty(now);
        std::mem::take(&mut self.out)
    }

    fn send(&mut self, session: SessionId, message: FromManager) {
        self.out.push(Action::Send(session, message));
    }

    fn run(&mut self, job: Job, purpose: Purpose) -> JobId {
        let id = self.next_job;
        self.next_job += 1;
        self.jobs.insert(id, purpose);
        self.out.push(Action::Run(id, job));
        id
    }

    /// Reads a volume; what changed it while it is read, makes it be read again.
    fn load(&mut self, volume: VolumeKey) {
        if let Some(again) = self.loading.get_mut(&volume) {
            *again = true;
            return;
        }
        self.loading.insert(volume.clone(), false);
        self.run(Job::Load { volume: volume.clone() }, Purpose::Load(volume));
    }

    fn done(&mut self, job: JobId, result: Result<Changes, JobFailure>, now: Millis) {
        let Some(purpose) = self.jobs.remove(&job) else { return };
        if let Purpose::Stripe(id) | Purpose::Place(id) = &purpose
            && let Some(stripe) = self.stripes.get_mut(id)
            && stripe.busy == Some(job)
        {
            stripe.busy = None;
        }
        let failure = match result {
            Ok(changes) => {
                self.apply(changes, matches!(purpose, Purpose::Load(_)), now);
                None
            }
            Err(failure) => Some(failure),
        };
        match (purpose, failure) {
            (Purpose::Load(volume), failure) => {
                if self.loading.remove(&volume) == Some(true) || failure.is_some() {
                    self.load(volume);
                }
            }
            (Purpose::Stripe(id), None) => {
                self.dirty.insert(id);
            }
            (Purpose::Place(id), Some(JobFailure::NoRoom(reason))) => self.no_room(id, reason, now),
            (Purpose::Place(id), _) => {
                self.dirty.insert(id);
            }
            (Purpose::Node(instance, session), None) => self.node_ready(&instance, session),
            (Purpose::Node(_, session), Some(_)) => self.out.push(Action::Close(session)),
            (Purpose::Settle(volume), _) => {
                self.unsettled.insert(volume);
            }
            // What failed is looked at again in the next review.
            (Purpose::Stripe(_) | Purpose::Other, _) => {}
        }
    }

    /// Takes over rows that are newer. Only a reading of a whole volume may bring one that was not known: anything else
    /// could be about one that was deleted.
    fn apply(&mut self, changes: Changes, whole: bool, now: Millis) {
        for (_, row) in changes.servers {
            self.server_changed(row);
        }
        for (server, stripe, copy) in changes.deleted {
            if let Some(server) = self.servers.get_mut(&server) {
                server.doomed.remove(&(stripe, copy));
                server.copies.remove(&(stripe, copy));
            }
        }
        for (server, stripe, copy) in changes.doomed {
            self.doom(server, stripe, copy, now);
        }
        for (key, row) in changes.volumes {
            self.apply_volume(key, row, whole, now);
        }
        for (id, row) in changes.stripes {
            match row {
                Some(row) => self.apply_stripe(row, whole, now),
                None => self.forget_stripe(id, now),
            }
        }
    }

    fn apply_volume(&mut self, key: VolumeKey, row: Option<VolumeRow>, whole: bool, now: Millis) {
        let known = self.volumes.get(&key);
        let Some(row) = row else {
            if let Some(row) = self.volumes.remove(&key) {
                self.ids.remove(&row.id);
                self.unsettled.remove(&key);
                for stripe in &row.stripes {
                    self.forget_stripe(*stripe, now);
                }
                self.push_orders(row.attachments.iter().map(|attachment| &attachment.instance));
            }
            return;
        };
        let is_newer = known.map_or(whole, |known| known.version < row.version);
        if !is_newer {
            return;
        }
        self.ids.insert(row.id.clone(), key.clone());
        self.unsettled.insert(key.clone());
        let before = self.volumes.insert(key, row.clone());
        let attachments = before.iter().flat_map(|row| &row.attachments).chain(&row.attachments);
        let instances: BTreeSet<&InstanceId> = attachments.map(|attachment| &attachment.instance).collect();
        self.push_orders(instances.into_iter());
        if before.is_some_and(|before| performance(&before.settings) != performance(&row.settings)) {
            row.stripes.iter().for_each(|stripe| self.push_view(*stripe));
        }
    }

    fn tick(&mut self, now: Millis) {
        for server in self.live.tick(now) {
            self.server_believed(server, now);
        }
        self.watch_sessions(now);
        self.dirty.append(&mut self.leased);
        if now.saturating_sub(self.reviewed) >= REVIEW {
            let passed = now.saturating_sub(self.reviewed);
            self.reviewed = now;
            self.review(passed, now);
        }
    }

    /// Looks at everything that waits for something.
    fn review(&mut self, passed: Millis, now: Millis) {
        let mut degraded = 0;
        for (id, stripe) in &self.stripes {
            degraded += u64::from(stripe.row.is_degraded());
            if !stripe.is_at_rest() {
                self.dirty.insert(*id);
            }
        }
        self.counts.volumes = self.volumes.len() as u64;
        self.counts.degraded = degraded;
        self.counts.degraded_ms += degraded * passed;
        self.counts.stranded = self.stripes.values().filter(|stripe| self.is_stranded(stripe)).count() as u64;
        self.counts.stalls = self.live.stalls;
        for key in std::mem::take(&mut self.unsettled) {
            self.settle_volume(key);
        }
        self.resend_commands(now);
        self.watch_nodes(now);
    }

    /// A primary that nobody could follow: no in-sync copy lives.
    fn is_stranded(&self, stripe: &Stripe) -> bool {
        let Some(record) = &stripe.row.record else { return false };
        let lives = |copy: &CopyId| self.alive(stripe, *copy).is_some();
        !record.now.in_sync.keys().any(lives)
    }

    /// Notes what is complete of a volume, if anything is.
    fn settle_volume(&mut self, key: VolumeKey) {
        let Some(volume) = self.volumes.get(&key) else { return };
        let waits = volume.life == LifeRow::Creating
            || volume
                .attachments
                .iter()
                .any(|attachment| attachment.state == crate::rows::AttachmentStateRow::Cutting);
        if !waits {
            return;
        }
        let rows: Option<Vec<StripeRow>> =
            volume.stripes.iter().map(|id| Some(self.stripes.get(id)?.row.clone())).collect();
        let ready = rows.is_some_and(|rows| crate::jobs::settled(volume, &rows).is_some());
        if ready {
            self.run(Job::Settle { volume: key.clone() }, Purpose::Settle(key));
        } else {
            self.unsettled.insert(key);
        }
    }

    fn settle_dirty(&mut self, now: Millis) {
        while let Some(id) = self.dirty.pop_first() {
            self.evaluate(id, now);
        }
    }

    /// What a copy last said of itself, if its server is believed to live, or nothing else is known.
    pub(crate) fn alive(&self, stripe: &Stripe, copy: CopyId) -> Option<Alive> {
        use crate::liveness::Belief;
        let place = stripe.row.places.get(&copy)?;
        if matches!(self.live.belief(place.server), Belief::Dead | Belief::Unknown) {
            return None;
        }
        let heard = self.servers.get(&place.server)?.copies.get(&(stripe.row.id, copy))?;
        let incarnation = heard.report.incarnation?;
        Some(Alive { incarnation, kept: heard.report.kept.clone() })
    }

    /// The volumes' rows, for whoever reports.
    pub(crate) fn volume(&self, id: &VolumeId) -> Option<&VolumeRow> {
        self.volumes.get(self.ids.get(id)?)
    }

    fn grant_ms(&self) -> Millis {
        millis(self.timing.grant())
    }
}

#[cfg(test)]
pub(crate) mod tests;
