//! The application, its node managers, and what it may be answered.

use super::cluster::{CLIENTS, Cluster, MANAGER, Packet, Turn};
use super::disk::{Value, content, value};
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

/// See the module.
pub(super) struct App {
    /// All node managers that ever were; the last one has the attachment.
    pub(super) clients: Vec<Client<Value>>,
    pub(super) registers: Vec<Register<Value>>,
    /// What the last one's application waits for: a block or a flush, and what it writes (a read: after how many losses
    /// it began).
    pub(super) waiting: BTreeMap<u64, Value>,
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
        let block = self.rng.range(0..self.blocks);
        let kind = self.rng.weighted(&[5, 4, 1]);
        self.submit(context, client, block, kind)
    }

    pub(super) fn submit(
        &mut self,
        context: &mut Context,
        client: usize,
        block: u64,
        kind: usize,
    ) -> Result<(), Violation> {
        let tag = if kind == 2 { FLUSH } else { block };
        let last = self.app.is_last(client);
        let room = self.app.clients[client].queue.len() < 8;
        if last && self.app.waiting.contains_key(&tag) || !last && !room {
            return Ok(());
        }
        let at = usize::try_from(block).unwrap_or(0);
        let mut written = 0;
        let op = match kind {
            0 => {
                written = self.app.next_value;
                self.app.next_value += 1;
                // What a fenced client writes must never be read: nobody registers it.
                if last {
                    self.app.registers[at].write(written);
                }
                Op::Write(Extent::block(block), content(written))
            }
            1 => {
                written = self.app.registers[at].losses().into();
                Op::Read(Extent::block(block))
            }
            _ => {
                if last {
                    self.app.registers.iter_mut().for_each(Register::flush);
                }
                Op::Flush
            }
        };
        if last {
            if self.app.waiting.is_empty() {
                self.app.progress = self.queue.now();
            }
            self.app.waiting.insert(tag, written);
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
        message: ToClient<Value>,
    ) -> Result<(), Violation> {
        self.client_event(context, index(to), ClientEvent::Message(CopyId(from.into()), message))
    }

    fn client_event(
        &mut self,
        context: &mut Context,
        client: usize,
        event: ClientEvent<Value>,
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
        outcome: &Outcome<Value>,
    ) -> Result<(), Violation> {
        let Some(written) = self.app.waiting.remove(&tag) else { return Ok(()) };
        self.app.progress = self.queue.now();
        let at = usize::try_from(tag).unwrap_or(0);
        match outcome {
            Outcome::Done if tag == FLUSH => {
                context.coverage.hit("block.flushed");
                self.app.registers.iter_mut().for_each(Register::flushed);
                return self.judge_flush();
            }
            Outcome::Done => {
                context.coverage.hit("block.acknowledged");
                self.app.registers[at].acknowledged(&written);
            }
            Outcome::Content(found) => {
                context.coverage.hit("block.read");
                let read = self.app.registers[at].read(&value(found), u8::try_from(written).unwrap_or(0));
                read.map_err(|broken| Violation::new(format!("block {tag}: {broken}")))?;
            }
            Outcome::Damaged if self.has_rot() => {}
            Outcome::Damaged => return Err(Violation::new(format!("block {tag} is said to be damaged"))),
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
