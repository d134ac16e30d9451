//! Block servers: their hellos, their copies, whether they live.

use terrane_block_core::CopyId;
use terrane_block_wire::control::{CopyReport, FromManager, PoolReport, ServerId, ToManager};
use terrane_types::Zone;

use super::{Heard, Leader, Purpose, Role, Server, SessionId};
use crate::jobs::Job;
use crate::liveness::{Belief, Millis, millis};
use crate::rows::ServerRow;

/// Processes remembered as replaced.
const REPLACED_MAX: usize = 16;

/// What a block server says first.
pub(super) struct Hello {
    pub(super) server: ServerId,
    pub(super) zone: Zone,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) process: u128,
    pub(super) pools: Vec<PoolReport>,
    pub(super) copies: Vec<CopyReport>,
}

impl Server {
    /// It has said hello and is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }
}

impl Leader {
    pub(super) fn message(&mut self, session: SessionId, message: ToManager, now: Millis) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        known.heard = now;
        let server = match &known.role {
            Role::Server(server) => Some(*server),
            Role::Unknown | Role::Node(_) => None,
        };
        let is_new = matches!(known.role, Role::Unknown);
        if let Some(server) = server {
            self.live.heard(server, now);
        }
        match (message, server) {
            (ToManager::ServerHello { server, zone, name, address, process, pools, copies }, _) if is_new => {
                let hello = Hello { server, zone, name, address, process, pools, copies };
                self.server_hello(session, hello, now);
            }
            (ToManager::NodeHello { instance, zone, host_name, process, serving: _ }, _) if is_new => {
                self.node_hello(session, instance, zone, host_name, process);
            }
            (ToManager::ServerHello { .. } | ToManager::NodeHello { .. }, _) => {
                self.reject(session, "a second hello")
            }
            _ if is_new => self.reject(session, "no hello"),
            (ToManager::Heartbeat { seq, pools }, server) => {
                self.send(session, FromManager::HeartbeatAck { seq });
                if let Some(server) = server.filter(|_| !pools.is_empty()) {
                    self.run(Job::Pools { server, pools }, Purpose::Other);
                }
            }
            (ToManager::Copies(copies), Some(server)) => self.copies(server, copies, now),
            (ToManager::Request { stripe, request }, Some(server)) => {
                self.request(session, server, stripe, request, now);
            }
            (ToManager::Done { id, result }, Some(server)) => self.command_done(server, id, result, now),
            (ToManager::Resync { stripe, copy, moved, left }, Some(_)) => {
                self.resync(stripe, copy, moved, left);
            }
            (ToManager::Fetch { stripe }, _) => self.fetch(session, stripe),
            (ToManager::Suspect { stripe, copy, generation, reason }, _) => {
                self.suspect(stripe, copy, generation, &reason, now);
            }
            (ToManager::Attachment { volume, epoch, progress }, None) => {
                self.attachment(&volume, epoch, progress);
            }
            // Of the wrong kind of peer: a program of another version, perhaps.
            _ => tracing::debug!(session, "a message that is not this peer's to send"),
        }
    }

    pub(super) fn reject(&mut self, session: SessionId, reason: &str) {
        self.send(session, FromManager::Rejected(reason.to_owned()));
        self.out.push(super::Action::Close(session));
    }

    /// Ends a connection that a later one replaces. The same process is not told that it is not wanted: it is.
    pub(super) fn replace(&mut self, former: SessionId, same_process: bool) {
        if same_process {
            self.out.push(super::Action::Close(former));
        } else {
            self.reject(former, "a later process speaks in its place");
        }
    }

    fn server_hello(&mut self, session: SessionId, hello: Hello, now: Millis) {
        let id = hello.server;
        let server = self.servers.entry(id).or_default();
        if server.process != hello.process {
            if server.replaced.contains(&hello.process) {
                return self.reject(session, "another process speaks for this server");
            }
            let before = server.process;
            server.replaced.push_back(before);
            server.replaced.keep_latest(REPLACED_MAX);
        }
        let same = server.process == hello.process;
        server.process = hello.process;
        server.commands.clear();
        server.copies.clear();
        let former = server.session.replace(session);
        if let Some(former) = former.filter(|former| *former != session) {
            if let Some(former) = self.sessions.get_mut(&former) {
                former.role = Role::Unknown;
            }
            self.replace(former, same);
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.role = Role::Server(id);
        }
        self.live.connected(id, now);
        self.welcome(session);
        let row = ServerRow {
            id,
            name: hello.name.clone(),
            zone: hello.zone.clone(),
            address: hello.address.clone(),
            draining: self.servers.get(&id).and_then(|s| s.row.as_ref()).is_some_and(|row| row.draining),
            up: true,
        };
        self.server_changed(row);
        self.servers.entry(id).or_default().told_up = Some(true);
        let (name, zone, address) = (hello.name, hello.zone, hello.address);
        self.run(Job::Server { id, name, zone, address, pools: hello.pools }, Purpose::Other);
        self.copies(id, hello.copies, now);
        let stripes: Vec<_> =
            self.servers.get(&id).map(|s| s.stripes.iter().copied().collect()).unwrap_or_default();
        for stripe in stripes {
            self.send_view(session, stripe);
            self.dirty.insert(stripe);
        }
        self.command_server(id, now);
    }

    pub(super) fn welcome(&mut self, session: SessionId) {
        let welcome = FromManager::Welcome {
            epoch: self.epoch,
            heartbeat_ms: millis(self.timing.heartbeat),
            silence_ms: millis(self.timing.silence),
            lease_ms: millis(self.timing.lease),
        };
        self.send(session, welcome);
    }

    /// Copies have changed.
    fn copies(&mut self, id: ServerId, copies: Vec<CopyReport>, now: Millis) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let session = server.session;
        let mut unknown = Vec::new();
        for report in copies {
            let key = (report.stripe, report.copy);
            let since = server.copies.get(&key).and_then(|heard| heard.troubled);
            let troubled = report.incarnation.is_none().then_some(since.unwrap_or(now));
            if let Some(stripe) = self.stripes.get_mut(&report.stripe) {
                stripe.failed.remove(&report.copy);
                self.dirty.insert(report.stripe);
            } else {
                unknown.push(report.stripe);
            }
            server.copies.insert(key, Heard { report, troubled });
        }
        for stripe in unknown {
            if let Some(session) = session {
                self.send(session, FromManager::NoStripe { stripe });
            }
        }
    }

    /// A row of the store, or what a server has just said of itself.
    pub(super) fn server_changed(&mut self, row: ServerRow) {
        let id = row.id;
        let server = self.servers.entry(id).or_default();
        let before = server.row.replace(row.clone());
        let moved = before.as_ref().is_none_or(|before| before.address != row.address);
        let differs = before.as_ref() != Some(&row);
        if differs {
            let stripes: Vec<_> = server.stripes.iter().copied().collect();
            for stripe in stripes {
                if moved {
                    self.push_view(stripe);
                }
                self.dirty.insert(stripe);
            }
        }
    }

    /// What is believed of a server may have changed.
    pub(super) fn server_believed(&mut self, id: ServerId, now: Millis) {
        let belief = self.live.belief(id);
        let Some(server) = self.servers.get_mut(&id) else { return };
        let up = !matches!(belief, Belief::Dead);
        if server.told_up != Some(up) && belief != Belief::Unknown {
            let name = server.row.as_ref().map_or("?", |row| row.name.as_str());
            if up {
                tracing::info!(server = name, "the server answers again");
            } else {
                self.counts.deaths += 1;
                tracing::warn!(server = name, "the server does not answer");
            }
            server.told_up = Some(up);
            self.run(Job::ServerUp { server: id, up }, Purpose::Other);
        }
        let Some(server) = self.servers.get(&id) else { return };
        for stripe in server.stripes.clone() {
            if let Some(stripe) = self.stripes.get_mut(&stripe) {
                let primary = stripe.row.record.as_ref().map(|record| record.now.primary);
                let here =
                    |copy: CopyId| stripe.row.places.get(&copy).is_some_and(|place| place.server == id);
                if !up && primary.is_some_and(here) {
                    stripe.primary_lost.get_or_insert(now);
                }
            }
            self.dirty.insert(stripe);
        }
    }

    pub(super) fn closed(&mut self, session: SessionId, now: Millis) {
        let Some(gone) = self.sessions.remove(&session) else { return };
        match gone.role {
            Role::Server(id) => {
                if let Some(server) = self.servers.get_mut(&id).filter(|s| s.session == Some(session)) {
                    server.session = None;
                    server.commands.clear();
                    self.live.disconnected(id, now);
                }
            }
            Role::Node(instance) => {
                if let Some(node) = self.nodes.get_mut(&instance).filter(|n| n.session == Some(session)) {
                    (node.session, node.ready, node.left) = (None, false, now);
                }
            }
            Role::Unknown => {}
        }
        for stripe in self.stripes.values_mut() {
            stripe.watchers.remove(&session);
        }
    }
}

/// Keeps the latest.
pub(super) trait KeepLatest {
    fn keep_latest(&mut self, most: usize);
}

impl<T> KeepLatest for std::collections::VecDeque<T> {
    fn keep_latest(&mut self, most: usize) {
        while self.len() > most {
            self.pop_front();
        }
    }
}
