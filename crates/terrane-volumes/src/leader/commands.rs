//! Commands to block servers: sent again until they are answered, made anew from the state after a reconnection.

use terrane_block_core::CopyId;
use terrane_block_core::manager;
use terrane_block_wire::control::{Command, FromManager, ServerId, StripeId};

use super::stripes::was_made;
use super::{Leader, Purpose};
use crate::jobs::Job;
use crate::liveness::Millis;

/// Unanswered for so long, a command is sent again.
const AGAIN: Millis = 10_000;

impl Leader {
    /// A copy shall go.
    pub(super) fn doom(&mut self, server: ServerId, stripe: StripeId, copy: CopyId, now: Millis) {
        self.servers.entry(server).or_default().doomed.insert((stripe, copy));
        self.command_server(server, now);
    }

    /// Sends a server what it shall do and was not told on this connection.
    pub(super) fn command_server(&mut self, id: ServerId, now: Millis) {
        let Some(server) = self.servers.get(&id) else { return };
        let Some(session) = server.session else { return };
        let mut wanted: Vec<Command> = server
            .doomed
            .iter()
            .map(|(stripe, copy)| Command::DeleteCopy { stripe: *stripe, copy: *copy })
            .collect();
        for stripe in server.stripes.iter().filter_map(|stripe| self.stripes.get(stripe)) {
            let row = &stripe.row;
            for (copy, place) in row.places.iter().filter(|(_, place)| place.server == id) {
                let there = server.copies.contains_key(&(row.id, *copy));
                if !there && !was_made(row, *copy) && !stripe.failed.contains_key(copy) {
                    let (stripe, identity) = (row.id, row.identity.clone());
                    wanted.push(Command::CreateCopy { stripe, copy: *copy, pool: place.pool, identity });
                }
            }
        }
        let Some(server) = self.servers.get_mut(&id) else { return };
        for command in wanted {
            if server.commands.values().any(|(sent, _)| *sent == command) {
                continue;
            }
            let number = self.next_command;
            self.next_command += 1;
            server.commands.insert(number, (command.clone(), now));
            self.out.push(super::Action::Send(session, FromManager::Command { id: number, command }));
        }
    }

    /// Tells a stripe's primary to hand over, if another copy shall rule, until it has.
    pub(super) fn hand_over(&mut self, id: StripeId, to: Option<CopyId>, now: Millis) {
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        let Some(to) = to else {
            stripe.handing = None;
            return;
        };
        stripe.handing.get_or_insert(now);
        let Some(record) = &stripe.row.record else { return };
        let (copy, place) = (record.now.primary, stripe.row.places.get(&record.now.primary));
        let (Some(generation), Some(place)) = (manager::hand_over(record, to), place) else { return };
        let Some(server) = self.servers.get_mut(&place.server) else { return };
        let command = Command::HandOver { stripe: id, copy, generation, to };
        let told = server.commands.values().any(|(sent, _)| *sent == command);
        let Some(session) = server.session.filter(|_| !told) else { return };
        let number = self.next_command;
        self.next_command += 1;
        server.commands.insert(number, (command.clone(), now));
        self.out.push(super::Action::Send(session, FromManager::Command { id: number, command }));
    }

    pub(super) fn command_done(
        &mut self,
        id: ServerId,
        number: u64,
        result: Result<(), String>,
        now: Millis,
    ) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some((command, _)) = server.commands.remove(&number) else { return };
        match (command, result) {
            (Command::DeleteCopy { stripe, copy }, Ok(())) => {
                self.run(Job::Deleted { server: id, stripe, copy }, Purpose::Other);
            }
            (Command::CreateCopy { stripe, copy, .. }, Err(reason)) => {
                tracing::warn!(?stripe, ?copy, reason, "a copy could not be made");
                if let Some(stripe) = self.stripes.get_mut(&stripe) {
                    stripe.failed.insert(copy, reason);
                    stripe.avoid.insert(id);
                }
                self.dirty.insert(stripe);
            }
            // The report tells that it is there. A deletion that failed is tried again with the next connection or
            // review.
            (Command::CreateCopy { .. } | Command::Scrub { .. } | Command::HandOver { .. }, Ok(())) => {}
            (Command::DeleteCopy { stripe, copy }, Err(reason)) => {
                tracing::warn!(?stripe, ?copy, reason, "a copy could not be deleted");
                let command = Command::DeleteCopy { stripe, copy };
                self.servers.entry(id).or_default().commands.insert(number, (command, now));
            }
            (Command::Scrub { .. }, Err(reason)) => tracing::warn!(reason, "a copy could not be scrubbed"),
            // It is told again with the next review.
            (Command::HandOver { stripe, .. }, Err(reason)) => {
                tracing::debug!(?stripe, reason, "a primary did not hand over");
            }
        }
    }

    pub(super) fn resend_commands(&mut self, now: Millis) {
        for server in self.servers.values_mut() {
            let Some(session) = server.session else { continue };
            for (number, (command, sent)) in &mut server.commands {
                if now.saturating_sub(*sent) >= AGAIN {
                    *sent = now;
                    let message = FromManager::Command { id: *number, command: command.clone() };
                    self.out.push(super::Action::Send(session, message));
                }
            }
        }
        // Deleted, but the store did not take it: a copy that is not there is deleted once more.
        let doomed = self.servers.iter().filter(|(_, server)| !server.doomed.is_empty());
        let servers: Vec<ServerId> = doomed.map(|(id, _)| *id).collect();
        for server in servers {
            self.command_server(server, now);
        }
    }
}
