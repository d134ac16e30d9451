//! One history: the queue of events, and what each does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use terrane_keymap::class::ClassName;
use terrane_keymap::completion::OperationKey;
use terrane_keymap::config::ShardConfig;
use terrane_keymap::keymap::Mutation;
use terrane_keymap::run::RunEntry;
use terrane_keymap::write::Op;
use terrane_keymap::{Batch, Input, Lsn, Output, RowId, RunId, Timestamp, WorkerId};
use terrane_log::LogConfig;

use super::clients::Client;
use super::compactor::Compactor;
use super::engine::Engine;
use super::machine::{Disks, Machine, Seen};
use super::model::{Outcome, State};
use crate::disk::SimDisk;
use crate::runner::{Context, Plan, Violation};
use crate::scheduler::Scheduler;

/// What happens next. Those with a boot number die with that process.
pub(super) enum Event {
    Client(usize),
    Flush(u64),
    Commit { boot: u64, batch: Box<Batch> },
    SyncDone { boot: u64, token: u64, upto: u64 },
    SpillDone { boot: u64, run: RunId },
    LoadDone { boot: u64, run: RunId, after: Option<RowId>, max: usize },
    WorkerUp(u64),
    Tick(u64),
    Consume,
    Compact,
    Fault,
    Mend,
    Start,
}

/// A request that is not answered yet.
pub(super) struct Asked {
    pub(super) client: Option<usize>,
    pub(super) expected: Outcome,
    pub(super) lsns: Vec<Lsn>,
    /// Everything that the outcome follows from has LSNs up to here.
    pub(super) depends: Lsn,
    /// Where the payload lies: pinned until the answer.
    pub(super) pins: Vec<u64>,
}

/// What is broken for a while.
#[derive(Default)]
pub(super) struct Broken {
    pub(super) commits: bool,
    pub(super) runs: bool,
    pub(super) syncs: bool,
}

/// A write in the order of LSNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) lsn: Lsn,
    pub(super) announced: bool,
}

pub(super) struct History<'a> {
    pub(super) plan: &'a Plan,
    pub(super) context: &'a mut Context,
    pub(super) queue: Scheduler<Event>,
    pub(super) disks: Disks,
    pub(super) machine: Option<Machine>,
    pub(super) boot: u64,
    pub(super) jumped_ms: u64,
    pub(super) config: ShardConfig,
    pub(super) log_config: LogConfig,
    /// Visible writes.
    pub(super) written: Vec<Entry>,
    /// Writes sequenced and not yet visible, each with the state after it.
    pub(super) assigned: VecDeque<(Entry, State)>,
    pub(super) visible: State,
    pub(super) seen: Option<Seen>,
    pub(super) held: Vec<Seen>,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) requests: u64,
    pub(super) acknowledged: Lsn,
    pub(super) clients: Vec<Client>,
    /// What the next start is to write over the torn tail of the log, see [`History::tear`].
    pub(super) torn: Option<Op>,
    pub(super) think: Duration,
    /// A keymap sync takes at most so long.
    sync_takes: Duration,
    pub(super) spills: BTreeMap<RunId, (Vec<RunEntry>, Vec<Mutation>)>,
    pub(super) compactor: Compactor,
    pub(super) broken: Broken,
    pub(super) paused: BTreeSet<ClassName>,
    pub(super) dues: BTreeMap<(Timestamp, Lsn), OperationKey>,
    /// Since when nothing has kept delayed entries from being applied in time.
    pub(super) healthy_since: Timestamp,
    pub(super) delivered: BTreeSet<Lsn>,
    pub(super) cursor: u64,
    pub(super) tags: u64,
    pub(super) healing: bool,
}

/// The clock starts here.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// Free room of the log's disk in good times, in bytes.
pub(super) const ROOM: u64 = 64 << 20;

impl<'a> History<'a> {
    pub(super) fn new(plan: &'a Plan, context: &'a mut Context) -> Self {
        let queue = Scheduler::new(&mut context.rng);
        let log = SimDisk::new(&mut context.rng, ROOM, context.coverage.clone());
        let disks =
            Disks { log, keymap: Engine::default(), runs: BTreeMap::new(), data: BTreeMap::new(), starts: 0 };
        let config = super::settings::shard(&mut context.rng, plan);
        let log_config = super::settings::log(&mut context.rng, plan);
        let think = Duration::from_millis(context.rng.range(2..120));
        let sync_takes = Duration::from_millis(*context.rng.pick(&[60, 500, 5_000]));
        let clients = (0..4).map(|_| Client::default()).collect();
        Self {
            plan,
            context,
            queue,
            disks,
            machine: None,
            boot: 0,
            jumped_ms: 0,
            config,
            log_config,
            written: Vec::new(),
            assigned: VecDeque::new(),
            visible: State::default(),
            seen: None,
            held: Vec::new(),
            asked: BTreeMap::new(),
            requests: 0,
            acknowledged: Lsn::ZERO,
            clients,
            torn: None,
            think,
            sync_takes,
            spills: BTreeMap::new(),
            compactor: Compactor::default(),
            broken: Broken::default(),
            paused: BTreeSet::new(),
            dues: BTreeMap::new(),
            healthy_since: Timestamp(0),
            delivered: BTreeSet::new(),
            cursor: 0,
            tags: 0,
            healing: false,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(EPOCH_MS + self.jumped_ms + self.queue.now().as_millis())
    }

    pub(super) fn run(mut self) -> Result<(), Violation> {
        self.queue.at(Default::default(), Event::Start);
        for client in 0..self.clients.len() {
            self.queue.within(self.think, Event::Client(client));
        }
        self.queue.within(self.think * 10, Event::Fault);
        self.queue.within(self.think * 20, Event::Consume);
        self.queue.within(self.think * 10, Event::Compact);
        while self.context.events < self.plan.events {
            self.step()?;
        }
        self.heal()?;
        self.final_checks()
    }

    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let Some(event) = self.queue.pop() else { return Ok(()) };
        self.context.events += 1;
        let boot = self.boot;
        match event {
            Event::Client(client) => self.client_step(client)?,
            Event::Flush(of) if of == boot => self.flush()?,
            Event::Commit { boot: of, batch } if of == boot => self.commit(batch)?,
            Event::SyncDone { boot: of, token, upto } if of == boot => self.sync_done(token, upto)?,
            Event::SpillDone { boot: of, run } if of == boot => self.spill_done(run)?,
            Event::LoadDone { boot: of, run, after, max } if of == boot => self.load_done(run, after, max)?,
            Event::WorkerUp(of) if of == boot => self.worker_up()?,
            Event::Tick(of) if of == boot => self.tick()?,
            Event::Consume => self.consume()?,
            Event::Compact => self.compact()?,
            Event::Fault => self.fault()?,
            Event::Mend => self.mend()?,
            Event::Start => self.start()?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let at = self.queue.now().as_millis();
        self.context.trace.note(format_args!("{at:>8} {what}"));
    }

    /// Gives the shard an input and does what follows.
    pub(super) fn feed(&mut self, input: Input) -> Result<(), Violation> {
        let now = self.now();
        let Some(machine) = &mut self.machine else { return Ok(()) };
        machine.feed(&self.disks, now, input);
        self.drain()
    }

    pub(super) fn drain(&mut self) -> Result<(), Violation> {
        loop {
            while let Some(output) = self.machine.as_mut().and_then(Machine::poll) {
                self.act(output)?;
            }
            match &mut self.machine {
                Some(machine) if machine.failing => {
                    machine.failing = false;
                    self.refuse_appends();
                }
                _ => break,
            }
        }
        let scheduled =
            self.machine.as_ref().is_none_or(|m| m.sync_scheduled || m.appended <= m.shard.visible());
        if !scheduled && let Some(machine) = &mut self.machine {
            machine.sync_scheduled = true;
            self.queue.within(Duration::from_millis(4), Event::Flush(self.boot));
        }
        Ok(())
    }

    /// The log had no room for a record: what it took before is made durable, the rest is given up.
    fn refuse_appends(&mut self) {
        self.context.coverage.hit("keymap.no_space_at_append");
        let now = self.now();
        let Some(machine) = &mut self.machine else { return };
        if machine.appended > machine.shard.visible() {
            let upto = machine.appended;
            match machine.log.sync() {
                Ok(_) => machine.feed(&self.disks, now, Input::Durable { upto }),
                Err(error) if error.is_no_space() => {}
                // What was taken before may or may not be durable.
                Err(error) => {
                    let why = error.to_string().into();
                    return machine.feed(&self.disks, now, Input::LogFailed { why });
                }
            }
        }
        let durable = machine.shard.visible();
        machine.appended = durable;
        machine.feed(&self.disks, now, Input::AppendFailed);
        self.assigned.retain(|(entry, _)| entry.lsn <= durable);
    }

    pub(super) fn append(&mut self, lsn: Lsn, header: &[u8], payload: &[u8], reserved: bool) {
        let now = self.now();
        let Some(machine) = &mut self.machine else { return };
        match machine.append(header, payload, reserved) {
            Ok(Some(locator)) => {
                machine.appended = lsn;
                machine.feed(&self.disks, now, Input::Appended { lsn, locator });
            }
            Ok(None) => {}
            Err(error) => machine.feed(&self.disks, now, Input::LogFailed { why: error.to_string().into() }),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Violation> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        machine.sync_scheduled = false;
        let upto = machine.appended;
        if upto <= machine.shard.visible() {
            return Ok(());
        }
        let input = match machine.log.sync() {
            Ok(_) => Input::Durable { upto },
            Err(error) if error.is_no_space() => {
                self.context.coverage.hit("keymap.no_space_at_sync");
                let durable = machine.shard.visible();
                machine.appended = durable;
                self.assigned.retain(|(entry, _)| entry.lsn <= durable);
                Input::AppendFailed
            }
            Err(error) => {
                self.context.coverage.hit("keymap.log_poisoned");
                Input::LogFailed { why: error.to_string().into() }
            }
        };
        self.feed(input)
    }

    pub(super) fn act(&mut self, output: Output) -> Result<(), Violation> {
        let boot = self.boot;
        match output {
            Output::Append { lsn, header, payload, reserved } => {
                self.append(lsn, &header, &payload, reserved)
            }
            Output::Reply { op_ref, result } => self.reply(op_ref, result)?,
            Output::Publish(view) => self.publish(view)?,
            Output::Apply(batch) => {
                let slow = self.context.rng.one_in(20);
                let delay = Duration::from_millis(if slow { 300 } else { 6 });
                self.queue.within(delay, Event::Commit { boot, batch: Box::new(batch) });
            }
            Output::SyncKeymap { token, mutations, .. } => {
                self.disks.keymap.commit(mutations);
                let upto = self.disks.keymap.begin_sync();
                self.queue.within(self.sync_takes, Event::SyncDone { boot, token, upto });
            }
            Output::ReleaseLog { replay } => {
                if let Some(machine) = &mut self.machine {
                    machine.released = replay;
                }
            }
            Output::Spill { run, entries, mutations } => {
                self.spills.insert(run, (entries, mutations));
                self.queue.within(Duration::from_millis(80), Event::SpillDone { boot, run });
            }
            Output::LoadRun { run, after, max } => {
                self.queue.within(Duration::from_millis(10), Event::LoadDone { boot, run, after, max });
            }
            Output::DropRun { run } => {
                self.context.coverage.hit("keymap.run_dropped");
                self.disks.runs.remove(&run);
            }
            Output::Workers { target } => {
                if let Some(machine) = &mut self.machine {
                    machine.workers_wanted = target;
                }
                self.queue.within(Duration::from_millis(50), Event::WorkerUp(boot));
            }
            Output::Retire { worker } => self.forget_worker(worker),
            Output::Drained { .. } => self.context.coverage.hit("keymap.drained"),
            Output::Synced { op_ref } => self.compactor.synced(op_ref),
            Output::Stopped { .. } => self.queue.within(Duration::from_millis(20), Event::Start),
        }
        Ok(())
    }

    pub(super) fn forget_worker(&mut self, worker: WorkerId) {
        if let Some(machine) = &mut self.machine {
            machine.workers.retain(|own| *own != worker);
        }
        self.queue.within(Duration::from_millis(100), Event::WorkerUp(self.boot));
    }

    fn worker_up(&mut self) -> Result<(), Violation> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let ready = machine.ready(&mut self.context.rng);
        if machine.workers.len() < machine.workers_wanted {
            self.queue.within(Duration::from_millis(100), Event::WorkerUp(self.boot));
        }
        match ready {
            Some(worker) => self.feed(Input::WorkerReady { worker }),
            None => Ok(()),
        }
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.queue.after(Duration::from_millis(100), Event::Tick(self.boot));
        self.feed(Input::Tick)?;
        self.check_dues()
    }
}
