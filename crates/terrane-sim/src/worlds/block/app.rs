//! The application, its node managers, and what it may be answered.

use super::cluster::{CLIENTS, Cluster, MANAGER, Packet, Turn};
use super::disk::{Value, Values, content, values};
use crate::runner::{Context, Violation};
use crate::scheduler::Time;
use std::collections::BTreeMap;
use std::time::Duration;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::client::{Client, ClientEffect, ClientEvent};
use terrane_block_core::message::{Op, Outcome, ToClient};
use terrane_block_core::promise::Register;
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, CopyId, Extent};

const FLUSH: u64 = 1 << 32;

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Where; a flush is nowhere.
    extent: Option<Extent>,
    /// Of a write, what; of a read, after how many losses of each block it began.
    about: Values,
}

/// See the module.
pub(super) struct App {
    /// All node managers that ever were; the last one has the attachment.
    pub(super) clients: Vec<Client<Values>>,
    pub(super) registers: Vec<Register<Value>>,
    /// What the last one's application waits for, by its tag.
    pub(super) waiting: BTreeMap<u64, Asked>,
    next_value: Value,
    progress: Time,
    bugs: Bugs,
}

impl App {
    pub(super) fn new(record: &Record, blocks: u64, bugs: Bugs) -> Self {
        let client = Client::new(ClientId(CLIENTS.into()), record.epoch, 4, bugs);
        Self {
            clients: vec![client],
            registers: (0..blocks).map(|_| Register::new(0)).collect(),
            waiting: BTreeMap::new(),
            next_value: 1,
            progress: Time::default(),
            bugs,
        }
    }

    /// Nothing is asked for that is not answered.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One request for a block at a time.
    fn may_ask(&self, tag: u64, extent: Extent) -> bool {
        let mut taken = self.waiting.values().filter_map(|asked| asked.extent);
        !self.waiting.contains_key(&tag) && (tag == FLUSH || !taken.any(|other| other.overlaps(&extent)))
    }

    fn registers(&mut self, extent: Extent) -> impl Iterator<Item = &mut Register<Value>> {
        let at = |block: u64| usize::try_from(block).unwrap_or(usize::MAX);
        let registers = self.registers.get_mut(at(extent.start)..at(extent.end()));
        registers.into_iter().flatten()
    }

    fn is_last(&self, client: usize) -> bool {
        client + 1 == self.clients.len()
    }
}

fn index(address: u32) -> usize {
    usize::try_from(address - CLIENTS).unwrap_or(usize::MAX)
}

impl Cluster {
    /// Applications do something, also those whose attachment is over and who do not know it yet.
    pub(super) fn app_turn(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.queue.within(Duration::from_micros(400), Turn::App);
        if self.calm {
            return Ok(());
        }
        let last = self.app.clients.len() - 1;
        let client = if last > 0 && self.rng.one_in(6) { last - 1 } else { last };
        let start = self.rng.range(0..self.blocks);
        let room = self.blocks - start;
        let len = if self.rng.one_in(3) { self.rng.range(1..room.min(3) + 1) } else { 1 };
        let kind = self.rng.weighted(&self.appetite());
        self.submit(context, client, Extent { start, len }, kind)
    }

    pub(super) fn submit(
        &mut self,
        context: &mut Context,
        client: usize,
        extent: Extent,
        kind: usize,
    ) -> Result<(), Violation> {
        let tag = if kind == 2 { FLUSH } else { extent.start };
        let last = self.app.is_last(client);
        let room = self.app.clients[client].queue.len() < 8;
        if last && !self.app.may_ask(tag, extent) || !last && !room {
            return Ok(());
        }
        let (op, about) = match kind {
            0 => {
                let about: Values = (self.app.next_value..).take(extent.blocks().count()).collect();
                self.app.next_value += Value::try_from(about.len()).unwrap_or(1);
                (Op::Write(extent, content(about.clone())), about)
            }
            1 => {
                let losses = self.app.registers(extent).map(|register| register.losses().into());
                (Op::Read(extent), losses.collect())
            }
            _ => (Op::Flush, Values::new()),
        };
        // What a fenced client writes must never be read: nobody registers it.
        if last {
            match kind {
                0 => self
                    .app
                    .registers(extent)
                    .zip(&about)
                    .for_each(|(register, value)| register.write(*value)),
                1 => {}
                _ => self.app.registers.iter_mut().for_each(Register::flush),
            }
            if self.app.waiting.is_empty() {
                self.app.progress = self.queue.now();
            }
            let extent = (kind != 2).then_some(extent);
            self.app.waiting.insert(tag, Asked { extent, about });
        }
        self.client_event(context, client, ClientEvent::Submit { tag, op })
    }

    /// Looks whether answers are overdue, and what the record is.
    pub(super) fn client_turn(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.queue.after(Duration::from_millis(4), Turn::Client);
        let now = self.queue.now();
        for client in self.app.clients.len().saturating_sub(2)..self.app.clients.len() {
            if self.app.clients[client].detached {
                continue;
            }
            let address = CLIENTS + u32::try_from(client).unwrap_or(0);
            self.send(address, MANAGER, Packet::Fetch);
            let waits = self.app.is_last(client) && !self.app.is_idle();
            let overdue = waits && self.app.progress.after(Duration::from_millis(16)) < now;
            if overdue {
                context.coverage.hit("block.session_reopened");
                self.app.progress = now;
                self.client_event(context, client, ClientEvent::Reconnect)?;
            }
        }
        Ok(())
    }

    pub(super) fn client_hears(
        &mut self,
        context: &mut Context,
        to: u32,
        record: Record,
    ) -> Result<(), Violation> {
        self.client_event(context, index(to), ClientEvent::Record(Box::new(record)))
    }

    pub(super) fn answer(
        &mut self,
        context: &mut Context,
        from: u32,
        to: u32,
        message: ToClient<Values>,
    ) -> Result<(), Violation> {
        self.client_event(context, index(to), ClientEvent::Message(CopyId(from.into()), message))
    }

    fn client_event(
        &mut self,
        context: &mut Context,
        client: usize,
        event: ClientEvent<Values>,
    ) -> Result<(), Violation> {
        let address = CLIENTS + u32::try_from(client).unwrap_or(0);
        let Some(state) = self.app.clients.get_mut(client) else { return Ok(()) };
        for effect in state.step(event) {
            match effect {
                ClientEffect::Send(to, message) => {
                    let to = u32::try_from(to.0).unwrap_or(u32::MAX);
                    self.send(address, to, Packet::Up(message));
                }
                ClientEffect::Complete { tag, outcome } if self.app.is_last(client) => {
                    self.complete(context, tag, &outcome)?;
                }
                ClientEffect::Fetch => self.send(address, MANAGER, Packet::Fetch),
                // Late answers of an attachment that is over were given before it was.
                ClientEffect::Complete { .. } | ClientEffect::Detached => {}
            }
        }
        Ok(())
    }

    fn complete(
        &mut self,
        context: &mut Context,
        tag: u64,
        outcome: &Outcome<Values>,
    ) -> Result<(), Violation> {
        let Some(Asked { extent, about }) = self.app.waiting.remove(&tag) else { return Ok(()) };
        self.app.progress = self.queue.now();
        let Some(extent) = extent else {
            context.coverage.hit("block.flushed");
            self.app.registers.iter_mut().for_each(Register::flushed);
            return self.judge_flush();
        };
        match outcome {
            Outcome::Done => {
                context.coverage.hit("block.acknowledged");
                let written = self.app.registers(extent).zip(&about);
                written.for_each(|(register, value)| register.acknowledged(value));
            }
            Outcome::Content(found) => {
                context.coverage.hit("block.read");
                let found = values(found, extent);
                for ((register, found), losses) in self.app.registers(extent).zip(found).zip(about) {
                    let read = register.read(&found, u8::try_from(losses).unwrap_or(0));
                    read.map_err(|broken| Violation::new(format!("{extent:?}: {broken}")))?;
                }
            }
            Outcome::Damaged if self.has_rot() => {}
            Outcome::Damaged | Outcome::OutOfRange | Outcome::NoSpace => {
                return Err(Violation::new(format!("{extent:?} is answered {outcome:?}")));
            }
        }
        Ok(())
    }

    /// The old attachment is fenced: the application goes on with another node manager.
    pub(super) fn new_client(&mut self) {
        self.app.registers.iter_mut().for_each(Register::fenced);
        self.app.waiting.clear();
        let number = CLIENTS + u32::try_from(self.app.clients.len()).unwrap_or(0);
        let client = Client::new(ClientId(number.into()), self.record.epoch, 4, self.app.bugs);
        self.app.clients.push(client);
    }
}
