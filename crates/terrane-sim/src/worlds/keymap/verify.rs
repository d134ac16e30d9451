//! What must hold: at every answer, every view, every start, and at the end.

use std::collections::BTreeSet;

use terrane_keymap::class::Class;
use terrane_keymap::completion::{Completion, OperationStatus};
use terrane_keymap::keymap::{KeymapRead, KeymapRows, Keyspace, Mutation};
use terrane_keymap::reader::RowReader;
use terrane_keymap::write::{KeymapState, WriteError, Written};
use terrane_keymap::{Input, Lsn, OpRef, RowId, View};

use super::compare;
use super::history::{Asked, Entry, History};
use super::machine::{Seen, Started};
use super::model::Outcome;
use crate::runner::Violation;

/// Delayed entries may be late by so much after trouble, in milliseconds.
const GRACE_MS: u64 = 4_000;

impl History<'_> {
    /// A new view: the model moves on to the same LSN.
    pub(super) fn publish(&mut self, view: View) -> Result<(), Violation> {
        let last = self.written.last().map_or(Lsn::ZERO, |entry| entry.lsn);
        while self.assigned.front().is_some_and(|(entry, _)| entry.lsn <= view.lsn) {
            if let Some((entry, state)) = self.assigned.pop_front() {
                self.written.push(entry);
                self.visible = state;
            }
        }
        if view.lsn < last {
            return Err(Violation(format!("the view went back from {last} to {}", view.lsn)));
        }
        let buckets = view.buckets.iter().map(|(name, state)| (name, state.incarnation, state.versioning));
        let expected = self.visible.buckets.iter().map(|(name, b)| (name, b.incarnation, b.versioning));
        if !buckets.eq(expected) {
            return Err(Violation(format!("buckets differ at {}", view.lsn)));
        }
        let runs = self.disks.runs.iter().filter(|(id, _)| view.runs.contains(id));
        let runs: super::engine::Runs = runs.map(|(id, file)| (*id, file.clone())).collect();
        if runs.len() != view.runs.len() {
            return Err(Violation("a view needs a run that was deleted".into()));
        }
        let (keymap, model) = (self.disks.keymap.current.clone(), self.visible.clone());
        self.seen = Some(Seen { view, keymap, runs, model });
        Ok(())
    }

    pub(super) fn reply(
        &mut self,
        op_ref: OpRef,
        result: Result<Box<Written>, WriteError>,
    ) -> Result<(), Violation> {
        let Some(asked) = self.asked.remove(&op_ref.0) else {
            return Err(Violation(format!("{op_ref:?} is answered twice or was never asked")));
        };
        self.note(format_args!("reply {} {result:?}", op_ref.0));
        match &result {
            Ok(written) => self.check_written(&asked, written)?,
            Err(error) => self.check_refused(&asked, error)?,
        }
        match asked.client {
            Some(client) => self.answered(client, &asked, &result),
            None => self.compactor.moved(result.is_ok()),
        }
        Ok(())
    }

    fn seen_lsn(&self) -> Lsn {
        self.seen.as_ref().map_or(Lsn::ZERO, |seen| seen.view.lsn)
    }

    fn check_written(&mut self, asked: &Asked, written: &Written) -> Result<(), Violation> {
        let (Some(operation), Outcome::Logged { sub, delete_marker, .. }) =
            (written.operation, &asked.expected)
        else {
            let nothing = asked.expected == Outcome::Nothing && written.operation.is_none();
            if nothing && self.seen_lsn() >= asked.depends {
                return Ok(());
            }
            return Err(Violation(format!("{written:?}, expected {:?}", asked.expected)));
        };
        if asked.lsns.last() != Some(&operation.lsn)
            || written.sub != *sub
            || written.delete_marker != *delete_marker
        {
            return Err(Violation(format!("{written:?}, expected {:?} at {:?}", asked.expected, asked.lsns)));
        }
        if self.seen_lsn() < operation.lsn {
            return Err(Violation(format!("{operation:?} is acknowledged before anybody sees it")));
        }
        let status = self.machine.as_ref().map(|machine| machine.shard.operation(operation));
        if written.keymap == KeymapState::Applied && status != Some(OperationStatus::Applied) {
            return Err(Violation(format!("{operation:?} is said to be applied and is {status:?}")));
        }
        self.acknowledged = self.acknowledged.max(operation.lsn);
        self.context.coverage.hit(match operation.class {
            Class::Sync => "keymap.acknowledged_sync",
            Class::High => "keymap.acknowledged_high",
            Class::Low => "keymap.acknowledged_low",
            Class::Move => "keymap.moved",
            Class::Delay(_) => "keymap.acknowledged_delay",
        });
        if let Some(ms) = operation.class.delay_ms() {
            // The write was accepted at the latest now: the true due time is this or earlier.
            self.dues.insert((self.now().plus_ms(ms), operation.lsn), operation);
        }
        Ok(())
    }

    fn check_refused(&mut self, asked: &Asked, error: &WriteError) -> Result<(), Violation> {
        let coverage = &self.context.coverage;
        let allowed = match error {
            WriteError::Unavailable(_) => true,
            WriteError::NoSpace => true,
            WriteError::SlowDown { .. } => {
                coverage.hit("keymap.slow_down");
                asked.lsns.is_empty()
            }
            WriteError::SourceMoved(_) => {
                coverage.hit("keymap.source_moved");
                asked.lsns.is_empty()
            }
            // A move of the row's bytes counts as a change as well; the model does not know of moves.
            WriteError::Conflict => {
                coverage.hit("keymap.conflict");
                asked.lsns.is_empty()
            }
            _ => {
                coverage.hit("keymap.refused");
                let durable = self.seen_lsn() >= asked.depends;
                asked.expected == Outcome::Refused(error.clone()) && durable
            }
        };
        if allowed {
            return Ok(());
        }
        Err(Violation(format!("refused with {error:?}, expected {:?}, {:?}", asked.expected, asked.lsns)))
    }

    /// After a start: everything visible before is there, the rest survived as a prefix, nothing else came up.
    pub(super) fn check_start(&mut self, started: &Started) -> Result<(), Violation> {
        let found: BTreeSet<Lsn> = started.replayed.iter().copied().collect();
        if found.len() != started.replayed.len() || !started.replayed.is_sorted() {
            return Err(Violation("the log's LSNs do not ascend".into()));
        }
        // A rebuild reads what compaction has left: there, the state after it counts.
        let recorded = started.from > Lsn::ZERO;
        let needed = self.written.iter().filter(|entry| recorded && entry.lsn >= started.from);
        if let Some(lost) = needed.map(|entry| entry.lsn).find(|lsn| !found.contains(lsn)) {
            return Err(Violation(format!("write {lost} was visible and is lost")));
        }
        if !recorded {
            // A lost keymap takes its outbox along: what compaction has removed from the log is not announced again.
            let gone = self.written.iter().map(|entry| entry.lsn).filter(|lsn| !found.contains(lsn));
            self.delivered.extend(gone);
        }
        let mut lost = false;
        for (entry, state) in std::mem::take(&mut self.assigned) {
            let survived = found.contains(&entry.lsn);
            if survived && lost {
                return Err(Violation(format!("write {} survived an earlier one that is lost", entry.lsn)));
            }
            lost |= !survived;
            self.context.coverage.hit(if survived { "keymap.unseen_survived" } else { "keymap.unseen_lost" });
            if survived {
                self.written.push(entry);
                self.visible = state;
            }
        }
        let known: BTreeSet<Lsn> = self.written.iter().map(|entry| entry.lsn).collect();
        if let Some(ghost) = found.iter().find(|lsn| !known.contains(lsn)) {
            return Err(Violation(format!("write {ghost} was given up and came back")));
        }
        Ok(())
    }

    /// Everything that the newest view shows is what the model says.
    pub(super) fn check_view(&self) -> Result<(), Violation> {
        match &self.seen {
            None => Ok(()),
            Some(seen) => seen.rows(|rows| compare::everything(rows, &seen.model)),
        }
    }

    /// Entries in delay classes are applied by their due times, if nothing was in the way.
    pub(super) fn check_dues(&mut self) -> Result<(), Violation> {
        let now = self.now();
        while let Some((&(due, lsn), &operation)) = self.dues.first_key_value() {
            if due.plus_ms(GRACE_MS) > now {
                break;
            }
            let Some(machine) = &self.machine else { break };
            let pending = matches!(machine.shard.operation(operation), OperationStatus::Pending { .. });
            let healthy = self.healthy_since.plus_ms(GRACE_MS) < due && self.paused.is_empty();
            if pending && healthy {
                return Err(Violation(format!("{operation:?} was due at {due:?} and is pending at {now:?}")));
            }
            if !pending {
                self.context.coverage.hit("keymap.due_kept");
            }
            self.dues.remove(&(due, lsn));
        }
        Ok(())
    }

    /// Somebody follows the completions by cursor and removes what it has got.
    pub(super) fn consume(&mut self) -> Result<(), Violation> {
        self.queue.within(self.think * 20, super::history::Event::Consume);
        if let (Some(_), Some(seen)) = (&self.machine, &self.seen) {
            let from = (self.cursor + 1).to_be_bytes();
            let to = (seen.view.completions_upto + 1).to_be_bytes();
            let page = self.disks.keymap.current.range(Keyspace::Outbox, &from, &to, 40);
            let page = page.map_err(Violation::new)?;
            for (_, value) in &page {
                let completion = Completion::decode(value).map_err(Violation::new)?;
                self.check_completion(&completion)?;
                self.cursor = completion.cursor;
                self.delivered.insert(completion.operation.lsn);
            }
            let gone = page.iter().map(|(key, _)| Mutation {
                keyspace: Keyspace::Outbox,
                key: key.to_vec(),
                value: None,
            });
            let count = page.len() as u64;
            self.disks.keymap.commit(gone.collect());
            self.feed(Input::OutboxTrimmed { count })?;
        }
        Ok(())
    }

    fn check_completion(&self, completion: &Completion) -> Result<(), Violation> {
        let lsn = completion.operation.lsn;
        let known = self.written.binary_search_by_key(&lsn, |entry| entry.lsn);
        if !known.is_ok_and(|index| self.written[index].announced) {
            return Err(Violation(format!("completion of a write that is none: {completion:?}")));
        }
        let row = RowId::new(completion.incarnation, &completion.key, completion.sub);
        let keymap = KeymapRows(&self.disks.keymap.current);
        let head = keymap.get(&row).map_err(Violation::new)?;
        if head.is_some_and(|head| head.guard.lsn < lsn) {
            return Err(Violation(format!("completed and not in the keymap: {completion:?}")));
        }
        Ok(())
    }

    /// Nothing is pending any more: the keymap alone says what the model says.
    pub(super) fn check_converged(&self, when: &str) -> Result<(), Violation> {
        let keymap = KeymapRows(&self.disks.keymap.current);
        compare::everything(&keymap, &self.visible).map_err(|error| Violation(format!("{when}: {error}")))
    }

    pub(super) fn check_delivered(&self) -> Result<(), Violation> {
        let announced = self.written.iter().filter(|entry: &&Entry| entry.announced);
        match announced.map(|entry| entry.lsn).find(|lsn| !self.delivered.contains(lsn)) {
            None => Ok(()),
            Some(lsn) => Err(Violation(format!("the completion of {lsn} was never delivered"))),
        }
    }
}
