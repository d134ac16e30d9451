//! Pretended servers and a pretended machine around the decisions. Of the replication protocol they do as much as
//! the manager can see: adopt, ask for activation, confirm, join, lease; and they "write", so that losses show.

mod chaos;
mod rest;
mod works;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use terrane_block_core::manager::Request;
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Incarnation};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::{
    AttachmentOrder, AttachmentProgress, Command, CopyIdentity, CopyReport, FromManager, Media, PoolName,
    PoolReport, ServerId, StripeId, StripeView, ToManager,
};
use terrane_block_wire::transport::Credentials;
use terrane_ec2::service::{
    AttachVolume, Caller, DetachVolume, NewVolume, ServiceError, Settings, VolumeService as _, VolumeType,
};
use terrane_store::{Cursor, Page, Store, StoreError};
use terrane_types::{AccountId, InstanceId, Region, VolumeId, Zone};

use super::super::{Action, Event, JobFailure, JobId, Leader, SessionId, Terms};
use crate::db::{self, Notice};
use crate::jobs::{Job, JobError, Rules};
use crate::rebuild::Written;
use crate::rows::{changes, hex};
use crate::{Manager, ManagerConfig};

struct Copy {
    incarnation: Incarnation,
    kept: BTreeSet<Incarnation>,
    identity: CopyIdentity,
    pool: PoolName,
    record: Option<Record>,
    /// The number of the last write that it has.
    data: u64,
}

struct Server {
    zone: Zone,
    session: Option<SessionId>,
    process: u128,
    /// The process is there.
    up: bool,
    frozen: bool,
    muted: bool,
    /// Its drives cannot have larger files.
    small: bool,
    /// Its drives answer nothing.
    hung: bool,
    copies: BTreeMap<(StripeId, CopyId), Copy>,
    inbox: VecDeque<FromManager>,
}

pub(crate) struct Fleet {
    pub(crate) leader: Leader,
    pub(super) manager: Manager,
    pub(super) caller: Caller,
    store: Store,
    cursor: Cursor,
    now: u64,
    servers: BTreeMap<ServerId, Server>,
    node: (InstanceId, u128, Option<SessionId>),
    orders: Vec<AttachmentOrder>,
    jobs: VecDeque<(JobId, Job)>,
    fail_jobs: u32,
    random: u64,
    term: u64,
    volumes: Vec<VolumeId>,
    /// The last acknowledged write of each stripe.
    acknowledged: BTreeMap<StripeId, u64>,
    works: works::Works,
    hand_overs: usize,
}

impl Server {
    /// What it says of its copies.
    fn trouble(&self) -> Option<&'static str> {
        match (self.hung, self.small) {
            (true, _) => Some("the drive hangs"),
            (false, true) => Some("it cannot grow"),
            (false, false) => None,
        }
    }
}

fn zone(letter: &str) -> Zone {
    Zone::parse(&format!("us-east-1{letter}")).unwrap()
}

fn manager(store: &Store) -> Manager {
    let credentials = Credentials::plain(ClusterKey::random());
    Manager::without_driver(ManagerConfig::new(store.clone(), Region::us_east_1(), credentials))
}

impl Fleet {
    /// So many servers: the first half (at least three, if there are) in zone a.
    pub(crate) async fn new(servers: u32) -> Self {
        let store = Store::memory();
        let manager = manager(&store);
        let caller =
            Caller { account: AccountId::root(), principal: "root".into(), request_id: String::new() };
        let mut fleet = Self {
            leader: Self::take_office(&store, 1, 0).await,
            cursor: Cursor { incarnation: store.incarnation(), position: 0 },
            manager,
            caller,
            store,
            now: 0,
            servers: BTreeMap::new(),
            node: (InstanceId::from_bits(1), 1, None),
            orders: Vec::new(),
            jobs: VecDeque::new(),
            fail_jobs: 0,
            random: 1,
            term: 1,
            volumes: Vec::new(),
            acknowledged: BTreeMap::new(),
            works: works::Works::default(),
            hand_overs: 0,
        };
        works::publish(&fleet.store).await;
        for number in 0..servers {
            let letter = if number < 2 || servers == 3 { "a" } else { "b" };
            let server = Server {
                zone: zone(letter),
                session: None,
                process: 0,
                up: false,
                frozen: false,
                muted: false,
                small: false,
                hung: false,
                copies: BTreeMap::new(),
                inbox: VecDeque::new(),
            };
            fleet.servers.insert(ServerId(u128::from(number) + 1), server);
            fleet.start(ServerId(u128::from(number) + 1));
        }
        fleet.connect_node();
        fleet.run(100).await;
        fleet
    }

    async fn take_office(store: &Store, term: u64, now: u64) -> Leader {
        let state = store.read(|tx| async move { db::everything(&tx).await }).await.unwrap();
        let timing = crate::Timing::default();
        let terms = Terms { timing, host_account: AccountId::root(), epoch: term, running: Vec::new() };
        Leader::new(terms, state, now)
    }

    fn random(&mut self) -> u64 {
        self.random += 1;
        self.random
    }

    fn handle(&mut self, event: Event) {
        for action in self.leader.handle(event, self.now) {
            match action {
                Action::Run(id, job) => self.jobs.push_back((id, job)),
                Action::Close(session) => self.closed(session),
                Action::Send(session, message) => self.deliver(session, message),
            }
        }
    }

    fn deliver(&mut self, session: SessionId, message: FromManager) {
        if self.node.2 == Some(session) {
            if let FromManager::Attachments(orders) = message {
                self.orders = orders;
            }
        } else if let Some(server) = self.servers.values_mut().find(|server| server.session == Some(session))
        {
            server.inbox.push_back(message);
        }
    }

    fn closed(&mut self, session: SessionId) {
        for server in self.servers.values_mut().filter(|server| server.session == Some(session)) {
            server.session = None;
        }
    }

    /// Lets time pass, in steps of 5 ms.
    pub(crate) async fn run(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(5) {
            self.now += 5;
            self.work().await;
            if self.now.is_multiple_of(100) {
                self.beat();
            }
            if self.now.is_multiple_of(20) {
                self.handle(Event::Tick);
                self.carry_on().await;
            }
        }
    }

    /// The manager does not run, everyone else does.
    pub(super) async fn stall(&mut self, millis: u64) {
        self.now += millis;
        self.handle(Event::Tick);
        self.work().await;
    }

    fn beat(&mut self) {
        let ids: Vec<ServerId> = self.servers.keys().copied().collect();
        for id in ids {
            let server = &self.servers[&id];
            if !server.up || server.frozen {
                continue;
            }
            match server.session {
                Some(session) => {
                    self.handle(Event::Message(session, ToManager::Heartbeat { seq: 1, pools: Vec::new() }));
                    self.remind(id);
                }
                None if self.term > 0 => self.connect(id),
                None => {}
            }
        }
        if let Some(session) = self.node.2 {
            self.handle(Event::Message(session, ToManager::Heartbeat { seq: 1, pools: Vec::new() }));
        }
        self.serve_orders();
    }

    /// The machine says how far it is with its orders.
    fn serve_orders(&mut self) {
        let Some(session) = self.node.2 else { return };
        for order in self.orders.clone() {
            let progress = if order.detaching {
                AttachmentProgress::Ended
            } else {
                AttachmentProgress::Serving { nbd_url: format!("nbd+unix:///{}", order.secret) }
            };
            let (volume, epoch) = (order.volume, order.epoch);
            self.handle(Event::Message(session, ToManager::Attachment { volume, epoch, progress }));
        }
    }

    /// Transactions, notices and messages, until there are none.
    async fn work(&mut self) {
        loop {
            let mut idle = true;
            if let Some((id, job)) = self.jobs.pop_front() {
                idle = false;
                let result = self.transact(&job).await;
                self.handle(Event::Done(id, result));
            }
            let notices = if self.now.is_multiple_of(20) { self.notices().await } else { Vec::new() };
            for notice in notices {
                idle = false;
                match notice {
                    Notice::Volume(key) => self.handle(Event::Changed(key)),
                    Notice::Server(server) => self.handle(Event::ServerChanged(server)),
                }
            }
            let ids: Vec<ServerId> = self.servers.keys().copied().collect();
            for id in ids {
                let server = self.servers.get_mut(&id).unwrap();
                if !server.frozen
                    && server.up
                    && let Some(message) = server.inbox.pop_front()
                {
                    idle = false;
                    self.serve(id, message);
                }
            }
            if idle {
                return;
            }
        }
    }

    async fn transact(&mut self, job: &Job) -> Result<crate::db::Changes, JobFailure> {
        if self.fail_jobs > 0 {
            self.fail_jobs -= 1;
            return Err(JobFailure::Other("the store does not answer".to_owned()));
        }
        let rules = Rules { overcommit: 20 };
        let done = self
            .store
            .transact(|tx| async move { job.run(&tx, rules, jiff::Timestamp::UNIX_EPOCH).await })
            .await;
        done.map_err(|error| match error {
            JobError::NoRoom(reason) => JobFailure::NoRoom(reason),
            JobError::Store(error) => JobFailure::Other(error.to_string()),
        })
    }

    async fn notices(&mut self) -> Vec<Notice> {
        match changes().read(&self.store, self.cursor, 100).await.unwrap() {
            Page::Events(events, cursor) => {
                self.cursor = cursor;
                events.iter().filter_map(|event| Notice::decode(&event.payload)).collect()
            }
            Page::Resync => panic!("nothing is trimmed here"),
        }
    }

    // What servers do.

    fn say(&mut self, id: ServerId, message: ToManager) {
        if let Some(session) = self.servers[&id].session {
            self.handle(Event::Message(session, message));
        }
    }

    fn serve(&mut self, id: ServerId, message: FromManager) {
        match message {
            FromManager::Command { id: number, command } => {
                if let Command::HandOver { stripe, copy, generation, to } = command {
                    let here = &self.servers[&id].copies[&(stripe, copy)];
                    let adopted = here.record.as_ref().is_some_and(|record| record.generation == generation);
                    let incarnation = here.incarnation;
                    if adopted && !self.servers[&id].hung {
                        self.hand_overs += 1;
                        let request = Request::Relinquish { copy, incarnation, generation, to };
                        self.say(id, ToManager::Request { stripe, request });
                    }
                }
                self.obey(id, command);
                self.say(id, ToManager::Done { id: number, result: Ok(()) });
                let copies = self.reports(id);
                self.say(id, ToManager::Copies(copies));
            }
            FromManager::Stripe(view) => self.follow(id, &view),
            FromManager::Rejected(_) => self.servers.get_mut(&id).unwrap().session = None,
            _ => {}
        }
    }

    fn obey(&mut self, id: ServerId, command: Command) {
        let incarnation = Incarnation(self.random());
        let copies = &mut self.servers.get_mut(&id).unwrap().copies;
        match command {
            Command::CreateCopy { stripe, copy, pool, identity } => {
                let kept = BTreeSet::new();
                let fresh = Copy { incarnation, kept, identity, pool, record: None, data: 0 };
                copies.entry((stripe, copy)).or_insert(fresh);
            }
            Command::DeleteCopy { stripe, copy } => {
                copies.remove(&(stripe, copy));
            }
            _ => {}
        }
    }

    fn follow(&mut self, id: ServerId, view: &StripeView) {
        if self.servers[&id].hung {
            return;
        }
        let muted = self.servers[&id].muted;
        let stripe = view.stripe;
        if self.grow(id, view) {
            let copies = self.reports(id);
            self.say(id, ToManager::Copies(copies));
        }
        let mut asks = Vec::new();
        let copies = &mut self.servers.get_mut(&id).unwrap().copies;
        for ((_, number), copy) in copies.iter_mut().filter(|((of, _), _)| *of == stripe) {
            let record = &view.record;
            let adopted = copy.record.as_ref().map_or(0, |record| record.generation.0);
            if record.generation.0 < adopted {
                continue;
            }
            copy.record = Some(record.clone());
            let (incarnation, generation) = (copy.incarnation, record.generation);
            let in_sync = record.now.is_in_sync(*number, incarnation);
            if in_sync && record.now.primary == *number && !record.active {
                asks.push(Request::Activate { copy: *number, incarnation, generation });
            }
            let confirmed = record.confirmed.contains(number);
            if in_sync && record.fencing && !muted && record.active && !confirmed {
                asks.push(Request::Confirm { copy: *number, incarnation, generation });
            }
            if in_sync && record.now.primary == *number && record.active {
                let joining = record.now.joining.iter();
                asks.extend(joining.map(|(copy, incarnation)| Request::CommitJoin {
                    generation,
                    copy: *copy,
                    incarnation: *incarnation,
                }));
                if record.now.in_sync.len() == 1 {
                    asks.push(Request::Lease { copy: *number, generation, round: 1 });
                }
            }
        }
        for request in asks {
            if let Request::CommitJoin { copy, .. } = &request
                && !self.catch_up(id, stripe, *copy, &view.record)
            {
                continue;
            }
            if matches!(request, Request::Activate { .. }) {
                self.check_primary(id, stripe, &view.record);
            }
            self.say(id, ToManager::Request { stripe, request });
        }
    }

    /// Copies get the size that the manager wants. Whether there is something to report.
    fn grow(&mut self, id: ServerId, view: &StripeView) -> bool {
        let server = self.servers.get_mut(&id).unwrap();
        let mut smaller = false;
        for ((stripe, _), copy) in &mut server.copies {
            if *stripe == view.stripe && copy.identity.blocks < view.blocks {
                smaller = true;
                copy.identity.blocks = if server.small { copy.identity.blocks } else { view.blocks };
            }
        }
        smaller
    }

    /// Copies ask again for what was not answered.
    fn remind(&mut self, id: ServerId) {
        let stripes: BTreeSet<StripeId> =
            self.servers[&id].copies.keys().map(|(stripe, _)| *stripe).collect();
        for stripe in stripes {
            self.say(id, ToManager::Fetch { stripe });
        }
    }

    fn copy_mut(&mut self, stripe: StripeId, copy: CopyId) -> Option<&mut Copy> {
        let servers = self.servers.values_mut().filter(|server| server.up && !server.frozen && !server.hung);
        servers.filter_map(|server| server.copies.get_mut(&(stripe, copy))).next()
    }

    /// The joining copy gets the primary's content, if it is there.
    fn catch_up(&mut self, id: ServerId, stripe: StripeId, to: CopyId, record: &Record) -> bool {
        let data = self.servers[&id].copies[&(stripe, record.now.primary)].data;
        let wanted = record.now.joining.get(&to).copied();
        match self.copy_mut(stripe, to) {
            Some(copy) if Some(copy.incarnation) == wanted => {
                copy.data = data;
                true
            }
            _ => false,
        }
    }

    /// Nobody becomes primary who lacks an acknowledged write.
    fn check_primary(&self, id: ServerId, stripe: StripeId, record: &Record) {
        let copy = &self.servers[&id].copies[&(stripe, record.now.primary)];
        let acknowledged = self.acknowledged.get(&stripe).copied().unwrap_or(0);
        assert!(
            copy.data >= acknowledged,
            "{stripe:?} lost writes: {} of {acknowledged}, {record:?}",
            copy.data
        );
    }

    /// One write to each stripe, acknowledged if all who must have it do.
    pub(crate) fn write(&mut self, id: &VolumeId) {
        let Some(volume) = self.leader.volume(id) else { return };
        for stripe in volume.stripes.clone() {
            let Some(record) = self.leader.stripes[&stripe].row.record.clone().filter(|r| r.active) else {
                continue;
            };
            let number = self.random();
            let mut everyone = true;
            for (copy, incarnation) in record.now.acknowledgers() {
                match self.copy_mut(stripe, copy) {
                    Some(at) if at.incarnation == incarnation => at.data = number,
                    _ => everyone = false,
                }
            }
            if everyone {
                self.acknowledged.insert(stripe, number);
            }
        }
    }

    pub(super) fn forget_writes(&mut self, id: &VolumeId) {
        for stripe in &self.leader.volume(id).unwrap().stripes {
            self.acknowledged.remove(stripe);
        }
    }

    fn reports(&self, id: ServerId) -> Vec<CopyReport> {
        let copies = self.servers[&id].copies.iter();
        let report = |((stripe, number), copy): (&(StripeId, CopyId), &Copy)| CopyReport {
            stripe: *stripe,
            copy: *number,
            pool: copy.pool,
            incarnation: (!self.servers[&id].hung).then_some(copy.incarnation),
            kept: copy.kept.clone(),
            identity: copy.identity.clone(),
            record: copy.record.clone(),
            trouble: self.servers[&id].trouble().map(str::to_owned),
        };
        copies.map(report).collect()
    }

    pub(super) fn connect(&mut self, id: ServerId) {
        let session = self.random();
        let copies = self.reports(id);
        let server = self.servers.get_mut(&id).unwrap();
        (server.session, server.inbox) = (Some(session), VecDeque::new());
        let hello = ToManager::ServerHello {
            server: id,
            zone: server.zone.clone(),
            name: format!("s{}", id.0),
            address: format!("127.0.0.1:{}", id.0),
            process: server.process,
            pools: vec![pool(1, Media::Ssd), pool(2, Media::Hdd)],
            copies,
        };
        self.handle(Event::Opened(session));
        self.handle(Event::Message(session, hello));
    }

    pub(super) fn disconnect(&mut self, id: ServerId) {
        if let Some(session) = self.servers.get_mut(&id).unwrap().session.take() {
            self.handle(Event::Closed(session));
        }
    }

    /// The process dies; what its copies hold stays.
    pub(super) fn kill(&mut self, id: ServerId) {
        self.disconnect(id);
        let server = self.servers.get_mut(&id).unwrap();
        (server.up, server.frozen) = (false, false);
    }

    /// A new process, and new lives of its copies, of which nothing is lost.
    pub(super) fn start(&mut self, id: ServerId) {
        let process = u128::from(self.random());
        let first = self.random();
        let server = self.servers.get_mut(&id).unwrap();
        if server.up {
            return;
        }
        (server.up, server.process) = (true, process);
        for (number, copy) in (0..).zip(server.copies.values_mut()) {
            copy.kept.insert(copy.incarnation);
            copy.incarnation = Incarnation(first << 20 | number);
        }
        self.connect(id);
    }

    pub(super) fn freeze(&mut self, id: ServerId) {
        self.servers.get_mut(&id).unwrap().frozen = true;
    }

    pub(super) fn thaw(&mut self, id: ServerId) {
        self.servers.get_mut(&id).unwrap().frozen = false;
    }

    pub(super) fn lose_drive(&mut self, id: ServerId) {
        self.servers.get_mut(&id).unwrap().copies.clear();
    }

    pub(super) fn mute_confirmations(&mut self, id: ServerId, muted: bool) {
        self.servers.get_mut(&id).unwrap().muted = muted;
    }

    pub(super) fn have_small_drives(&mut self, id: ServerId, small: bool) {
        self.servers.get_mut(&id).unwrap().small = small;
    }

    /// Its drives hang: it says so itself. When they answer again, its copies begin another life and lack nothing else.
    pub(super) fn hang(&mut self, id: ServerId, hung: bool) {
        let lives = self.random();
        let server = self.servers.get_mut(&id).unwrap();
        server.hung = hung;
        for copy in server.copies.values_mut().filter(|_| !hung) {
            copy.kept.insert(copy.incarnation);
            copy.incarnation = Incarnation(lives);
        }
        let copies = self.reports(id);
        self.say(id, ToManager::Copies(copies));
    }

    pub(super) fn complain_about_primary(&mut self, id: &VolumeId) {
        let stripe = self.leader.volume(id).unwrap().stripes[0];
        let record = self.leader.stripes[&stripe].row.record.clone().unwrap();
        let (copy, generation) = (record.now.primary, record.generation);
        let session = self.node.2.unwrap();
        let reason = "no answer".to_owned();
        self.handle(Event::Message(session, ToManager::Suspect { stripe, copy, generation, reason }));
    }

    // The machine.

    fn connect_node(&mut self) {
        let session = self.random();
        self.node.2 = Some(session);
        let (instance, process, _) = self.node.clone();
        let hello = ToManager::NodeHello {
            instance,
            zone: zone("a"),
            host_name: "host".into(),
            process,
            serving: Vec::new(),
        };
        self.handle(Event::Opened(session));
        self.handle(Event::Message(session, hello));
    }

    pub(super) async fn reconnect_node(&mut self, new_process: bool) {
        if let Some(session) = self.node.2.take() {
            self.handle(Event::Closed(session));
        }
        if new_process {
            self.node.1 += 1;
        }
        self.connect_node();
        self.run(200).await;
    }

    pub(super) fn orders(&self) -> Vec<(VolumeId, bool)> {
        self.orders.iter().map(|order| (order.volume.clone(), order.detaching)).collect()
    }

    pub(super) fn order(&self, id: &VolumeId) -> AttachmentOrder {
        self.orders.iter().find(|order| order.volume == *id).unwrap().clone()
    }

    // Calls.

    pub(crate) async fn create(&mut self, letter: &str) -> Result<VolumeId, ServiceError> {
        self.create_as(VolumeId::from_bits(rand::random()), letter).await
    }

    /// Makes a volume of a given name.
    pub(crate) async fn create_as(&mut self, id: VolumeId, letter: &str) -> Result<VolumeId, ServiceError> {
        let settings = Settings {
            size_gib: 1,
            kind: VolumeType::Gp3,
            iops: Some(4000),
            throughput: Some(125),
            multi_attach: false,
        };
        let new = NewVolume { zone: zone(letter), settings, tags: BTreeMap::new() };
        let (manager, caller, new) = (&self.manager, &self.caller, &new);
        let drawn = (id, StripeId(rand::random()), jiff::Timestamp::UNIX_EPOCH);
        let begin = |tx| crate::service::create::begin(manager, tx, caller, None, new, drawn.clone());
        let made = self.manager.call(begin).await?;
        self.volumes.push(made.id.clone());
        Ok(made.id)
    }

    pub(super) async fn attach(&mut self, id: &VolumeId) -> Result<(), ServiceError> {
        let device = format!("/dev/sd{}", self.random());
        let what = AttachVolume { volume: id.clone(), instance: self.node.0.clone(), device };
        self.manager.attach_volume(&self.caller, what).await.map(|_| ())
    }

    pub(super) async fn detach(&mut self, id: &VolumeId, force: bool) -> Result<(), ServiceError> {
        let what = DetachVolume { volume: id.clone(), instance: None, device: None, force };
        self.manager.detach_volume(&self.caller, what).await.map(|_| ())
    }

    pub(super) async fn drain(&mut self, id: ServerId, draining: bool) {
        let name = hex(id.0);
        let done = if draining { self.manager.drain(&name).await } else { self.manager.undrain(&name).await };
        assert_eq!(done.unwrap().id, name);
    }

    // Managers.

    /// Another manager takes office. Everyone finds it by themselves, or has to be told.
    pub(super) async fn new_manager(&mut self, found: bool) {
        self.term += 1;
        self.jobs.clear();
        self.leader = Self::take_office(&self.store, self.term, self.now).await;
        for server in self.servers.values_mut() {
            (server.session, server.inbox) = (None, VecDeque::new());
        }
        self.node.2 = None;
        if found {
            let up: Vec<ServerId> =
                self.servers.iter().filter(|(_, s)| s.up && !s.frozen).map(|(id, _)| *id).collect();
            up.into_iter().for_each(|id| self.connect(id));
            self.connect_node();
        } else {
            self.now += 5 - self.now % 5;
        }
    }

    /// The store is lost: an empty one, and a manager that knows nothing.
    pub(super) async fn new_store(&mut self) {
        self.store = Store::memory();
        self.manager = manager(&self.store);
        self.cursor = Cursor { incarnation: self.store.incarnation(), position: 0 };
        works::publish(&self.store).await;
        self.orders.clear();
        self.new_manager(true).await;
    }

    /// How many volumes were made, and could not be made.
    pub(super) async fn rebuild(&mut self) -> (usize, usize) {
        let (plans, mut failed) = crate::rebuild::plan(&self.leader.copies_kept());
        let mut made = 0;
        for plan in &plans {
            let write = |tx| async move {
                let written = plan.write(&tx, 2, jiff::Timestamp::UNIX_EPOCH).await?;
                if let Written::Made(changed) = &written {
                    changed.publish(&tx).await?;
                }
                Ok::<_, StoreError>(written)
            };
            match self.store.transact(write).await.unwrap() {
                Written::Made(_) => made += 1,
                Written::Known => {}
                Written::Failed(reason) => failed.push(reason),
            }
        }
        (made, failed.len())
    }

    // What is so.

    fn record(&self, id: &VolumeId) -> Record {
        let stripe = self.leader.volume(id).unwrap().stripes[0];
        self.leader.stripes[&stripe].row.record.clone().unwrap()
    }

    pub(super) fn primary(&self, id: &VolumeId) -> (ServerId, u64) {
        let stripe = self.leader.volume(id).unwrap().stripes[0];
        let record = self.record(id);
        (self.leader.stripes[&stripe].row.places[&record.now.primary].server, record.generation.0)
    }

    pub(super) fn is_active(&self, id: &VolumeId) -> bool {
        self.record(id).active
    }

    pub(super) fn in_sync(&self, id: &VolumeId) -> usize {
        self.record(id).now.in_sync.len()
    }

    pub(super) fn servers_of(&self, id: &VolumeId) -> Vec<ServerId> {
        let stripe = self.leader.volume(id).unwrap().stripes[0];
        self.leader.stripes[&stripe].row.places.values().map(|place| place.server).collect()
    }

    pub(super) fn told(&self, id: &VolumeId, server: ServerId) -> crate::leader::Told {
        let stripe = &self.leader.stripes[&self.leader.volume(id).unwrap().stripes[0]];
        let (copy, _) = stripe.row.places.iter().find(|(_, place)| place.server == server).unwrap();
        self.leader.told(stripe, *copy)
    }

    pub(crate) fn zones_of(&self, id: &VolumeId) -> Vec<String> {
        self.servers_of(id).iter().map(|server| self.servers[server].zone.to_string()).collect()
    }

    /// How often a primary has handed over.
    pub(super) fn hand_overs(&self) -> usize {
        self.hand_overs
    }

    pub(super) async fn delete(&mut self, id: &VolumeId) {
        use terrane_ec2::service::VolumeService as _;
        self.manager.delete_volume(&self.caller, id).await.unwrap();
        self.volumes.retain(|other| other != id);
    }

    pub(super) fn copies_at(&self, id: ServerId) -> usize {
        self.servers[&id].copies.len()
    }
}

fn pool(number: u128, media: Media) -> PoolReport {
    PoolReport {
        pool: PoolName(number),
        media,
        capacity: 10 << 30,
        used: 0,
        host_free: 10 << 30,
        iops: 100_000,
        throughput: 2000 << 20,
        device: 1,
        trouble: None,
    }
}
