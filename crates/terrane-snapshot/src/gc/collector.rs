//! The collector: a state machine. Each output is answered by the input of its name; answers may come in any
//! order.

use std::collections::{BTreeSet, VecDeque};

use super::View;
use super::bug::Bug;
use crate::{ObjectName, ObjectRef};

/// Manifests that are read at the same time.
const READS_MAX: usize = 16;
/// Objects that are deleted at the same time.
const DELETES_MAX: usize = 16;
/// Objects that one cycle condemns; others wait for the next.
const CONDEMNED_MAX: usize = 100_000;

/// What a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A snapshot's: segment manifests.
    Manifest(Vec<ObjectRef>),
    /// A segment's: packs.
    Segment(BTreeSet<ObjectName>),
}

/// What the collector is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A cycle is to begin. Ignored while one is under way.
    Start,
    /// [`Ledger::view`](super::Ledger::view).
    View(View),
    /// A manifest was read.
    Read(ObjectName, Contents),
    /// A manifest could not be read: the cycle ends.
    Unreadable(ObjectName),
    /// The objects could not be listed: the cycle ends.
    Unlistable,
    /// Names of stored objects, and where to go on if there are more.
    Listed {
        /// The names.
        names: Vec<ObjectName>,
        /// For the next [`Output::List`].
        next: Option<String>,
    },
    /// [`Ledger::condemn`](super::Ledger::condemn) was committed and gave this epoch.
    Condemned(u64),
    /// [`Ledger::is_settled`](super::Ledger::is_settled).
    Settled,
    /// [`Ledger::rescue`](super::Ledger::rescue) was committed.
    Rescued,
    /// The time has come.
    Tick,
    /// An object is deleted, or was not.
    Deleted {
        /// The object.
        object: ObjectName,
        /// Whether it is.
        done: bool,
    },
    /// [`Ledger::forget`](super::Ledger::forget) was committed.
    Forgotten,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer with [`Input::View`].
    View,
    /// Read a manifest: [`Input::Read`] or [`Input::Unreadable`].
    Read(ObjectRef),
    /// List objects, from where the last list ended: [`Input::Listed`] or [`Input::Unlistable`].
    List(Option<String>),
    /// Commit [`Ledger::condemn`](super::Ledger::condemn): [`Input::Condemned`].
    Condemn {
        /// These are condemned.
        objects: Vec<ObjectName>,
        /// These are not any more.
        rescued: Vec<ObjectName>,
    },
    /// Wait until [`Ledger::is_settled`](super::Ledger::is_settled): [`Input::Settled`].
    Settle(u64),
    /// Commit [`Ledger::rescue`](super::Ledger::rescue): [`Input::Rescued`].
    Rescue(Vec<ObjectName>),
    /// [`Input::Tick`] at this time.
    WakeAt(u64),
    /// Delete an object: [`Input::Deleted`].
    Delete(ObjectName),
    /// Commit [`Ledger::forget`](super::Ledger::forget): [`Input::Forgotten`].
    Forget(Vec<ObjectName>),
    /// The cycle has ended.
    Done(Report),
}

/// What a cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it came to its end; otherwise something could not be read and nothing was deleted.
    pub complete: bool,
    /// Objects that are referred to.
    pub live: usize,
    /// Objects that were condemned.
    pub condemned: usize,
    /// Condemned objects that were found to be referred to.
    pub rescued: usize,
    /// Objects that were deleted.
    pub deleted: usize,
    /// Objects that the store did not delete; the next cycle tries again.
    pub failed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    FirstView,
    FirstMark,
    Condemning,
    Settling,
    SecondView,
    SecondMark,
    Rescuing,
    Grace { until_ms: u64 },
    Deleting,
    Forgetting,
}

/// The collector of one account.
#[derive(Clone, Debug)]
pub struct Collector {
    grace_ms: u64,
    phase: Phase,
    view: View,
    /// What is referred to, as far as it was read.
    live: BTreeSet<ObjectName>,
    unread: VecDeque<ObjectRef>,
    reading: BTreeSet<ObjectName>,
    listed: bool,
    candidates: Vec<ObjectName>,
    doomed: VecDeque<ObjectName>,
    deleting: usize,
    deleted: Vec<ObjectName>,
    report: Report,
    bug: Option<Bug>,
}

impl Collector {
    /// A collector that leaves readers so much time, in milliseconds.
    pub fn new(grace_ms: u64) -> Self {
        Self {
            grace_ms,
            phase: Phase::Idle,
            view: View::default(),
            live: BTreeSet::new(),
            unread: VecDeque::new(),
            reading: BTreeSet::new(),
            listed: false,
            candidates: Vec::new(),
            doomed: VecDeque::new(),
            deleting: 0,
            deleted: Vec::new(),
            report: Report::default(),
            bug: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_bug(grace_ms: u64, bug: Option<Bug>) -> Self {
        Self { bug, ..Self::new(grace_ms) }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Takes an input at a time (milliseconds on any monotonic clock). Inputs that answer nothing that was
    /// asked for are ignored.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        match (self.phase, input) {
            (Phase::Idle, Input::Start) => {
                self.phase = Phase::FirstView;
                vec![Output::View]
            }
            (Phase::FirstView, Input::View(view)) => self.first_view(view),
            (Phase::SecondView, Input::View(view)) => self.second_view(view),
            (Phase::FirstMark | Phase::SecondMark, Input::Read(object, contents)) => {
                if !self.reading.remove(&object) {
                    return Vec::new();
                }
                self.note(contents);
                self.mark()
            }
            (Phase::FirstMark | Phase::SecondMark, Input::Unreadable(object)) => {
                match (self.reading.remove(&object), self.has(Bug::UnreadableIsEmpty)) {
                    (true, false) => self.end(),
                    (true, true) => self.mark(),
                    (false, _) => Vec::new(),
                }
            }
            (Phase::FirstMark, Input::Unlistable) => self.end(),
            (Phase::FirstMark, Input::Listed { names, next }) => self.list(names, next),
            (Phase::Condemning, Input::Condemned(epoch)) if self.has(Bug::NoWait) => {
                let _ = epoch;
                self.phase = Phase::SecondView;
                vec![Output::View]
            }
            (Phase::Condemning, Input::Condemned(epoch)) => {
                self.phase = Phase::Settling;
                vec![Output::Settle(epoch)]
            }
            (Phase::Settling, Input::Settled) => {
                self.phase = Phase::SecondView;
                vec![Output::View]
            }
            (Phase::Rescuing, Input::Rescued) => {
                let grace_ms = if self.has(Bug::NoGrace) { 0 } else { self.grace_ms };
                let until_ms = now_ms.saturating_add(grace_ms);
                self.phase = Phase::Grace { until_ms };
                vec![Output::WakeAt(until_ms)]
            }
            (Phase::Grace { until_ms }, Input::Tick) if now_ms >= until_ms => {
                self.phase = Phase::Deleting;
                self.delete()
            }
            (Phase::Deleting, Input::Deleted { object, done }) => {
                self.deleting = self.deleting.saturating_sub(1);
                if done {
                    self.deleted.push(object);
                }
                self.report.failed += usize::from(!done);
                self.delete()
            }
            (Phase::Forgetting, Input::Forgotten) => {
                self.report.complete = true;
                self.end()
            }
            _ => Vec::new(),
        }
    }

    fn first_view(&mut self, view: View) -> Vec<Output> {
        self.phase = Phase::FirstMark;
        self.live.clear();
        self.listed = false;
        self.reading.clear();
        self.report = Report::default();
        self.unread = view.roots.iter().copied().collect();
        self.live.extend(view.roots.iter().map(|root| root.name));
        self.view = view;
        self.candidates.clear();
        let mut outputs = vec![Output::List(None)];
        outputs.extend(self.read());
        outputs
    }

    fn second_view(&mut self, view: View) -> Vec<Output> {
        self.phase = Phase::SecondMark;
        let new: Vec<ObjectRef> = view.roots.difference(&self.view.roots).copied().collect();
        self.view = view;
        if !self.has(Bug::NoRescue) {
            self.live.extend(new.iter().map(|root| root.name));
            self.unread.extend(new);
        }
        self.mark()
    }

    /// Takes in what a manifest refers to.
    fn note(&mut self, contents: Contents) {
        match contents {
            Contents::Manifest(segments) => {
                for segment in segments {
                    if self.live.insert(segment.name) {
                        self.unread.push_back(segment);
                    }
                }
            }
            Contents::Segment(packs) => self.live.extend(packs),
        }
    }

    fn read(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while self.reading.len() < READS_MAX {
            let Some(next) = self.unread.pop_front() else { break };
            self.reading.insert(next.name);
            outputs.push(Output::Read(next));
        }
        outputs
    }

    fn list(&mut self, names: Vec<ObjectName>, next: Option<String>) -> Vec<Output> {
        let young = |object: &ObjectName| {
            let number = object.capture.number;
            number >= self.view.next || self.view.in_progress.contains(&number)
        };
        let room = CONDEMNED_MAX - self.candidates.len().min(CONDEMNED_MAX);
        let old: Vec<ObjectName> = names.into_iter().filter(|object| !young(object)).take(room).collect();
        self.candidates.extend(old);
        if next.is_some() {
            return vec![Output::List(next)];
        }
        self.listed = true;
        self.mark()
    }

    /// Goes on when everything is read.
    fn mark(&mut self) -> Vec<Output> {
        let outputs = self.read();
        let is_read = self.reading.is_empty() && self.unread.is_empty();
        match self.phase {
            Phase::FirstMark if is_read && self.listed => self.condemn(),
            Phase::SecondMark if is_read => self.rescue(),
            _ => outputs,
        }
    }

    fn condemn(&mut self) -> Vec<Output> {
        self.phase = Phase::Condemning;
        let mut objects = std::mem::take(&mut self.candidates);
        objects.retain(|object| !self.live.contains(object) && !self.view.condemned.contains_key(object));
        let rescued = self.alive_but_condemned();
        self.report.condemned = objects.len();
        self.report.rescued = rescued.len();
        vec![Output::Condemn { objects, rescued }]
    }

    fn alive_but_condemned(&self) -> Vec<ObjectName> {
        let alive = |object: &&ObjectName| self.live.contains(object);
        self.view.condemned.keys().filter(alive).copied().collect()
    }

    fn rescue(&mut self) -> Vec<Output> {
        self.phase = Phase::Rescuing;
        let rescued = self.alive_but_condemned();
        let doomed = self.view.condemned.keys().filter(|object| !self.live.contains(object));
        self.doomed = doomed.copied().collect();
        self.report.rescued += rescued.len();
        self.report.live = self.live.len();
        vec![Output::Rescue(rescued)]
    }

    fn delete(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while self.deleting < DELETES_MAX {
            let Some(next) = self.doomed.pop_front() else { break };
            self.deleting += 1;
            outputs.push(Output::Delete(next));
        }
        if self.deleting == 0 {
            self.phase = Phase::Forgetting;
            self.report.deleted = self.deleted.len();
            outputs.push(Output::Forget(std::mem::take(&mut self.deleted)));
        }
        outputs
    }

    fn end(&mut self) -> Vec<Output> {
        let mut fresh = Self::new(self.grace_ms);
        fresh.bug = self.bug;
        let report = self.report;
        *self = fresh;
        vec![Output::Done(report)]
    }
}
