//! Who is next. Every client has a line; only the head of a line ages, and only while its client has tokens, so that
//! asking much does not get one served sooner. The head that has waited longest goes first, counting each class's
//! head start; what a line was served counts against its next head (deficit round robin, told in time).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::question::Class;
use crate::{ClientId, RunId, Time};

/// A line: of a client, in a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineKey {
    pub(crate) class: Class,
    pub(crate) client: ClientId,
}

#[derive(Debug)]
struct Line {
    runs: VecDeque<RunId>,
    /// The head ages from then on.
    since: Time,
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<LineKey, Line>,
}

/// Whether a head can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Now,
    /// Its client has no tokens before then.
    Tokens(Time),
    /// Something that is not its client's fault stands against it, perhaps until then.
    Blocked(Time),
}

/// What [`Queue::next`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Run(LineKey, RunId),
    /// Nobody can be served before then.
    Later(Time),
    Nothing,
}

impl Queue {
    /// Adds a run to the end of a line, unless it is there.
    pub(crate) fn push(&mut self, now: Time, key: LineKey, run: RunId) {
        let line = self.lines.entry(key).or_insert_with(|| Line { runs: VecDeque::new(), since: now });
        if !line.runs.contains(&run) {
            line.runs.push_back(run);
        }
    }

    /// Puts a run that failed through no fault of its own before all others of the line, as old as it was.
    pub(crate) fn push_front(&mut self, since: Time, key: LineKey, run: RunId) {
        let line = self.lines.entry(key).or_insert_with(|| Line { runs: VecDeque::new(), since });
        line.since = line.since.min(since);
        line.runs.push_front(run);
    }

    /// Takes a run out of a line; if it was the head, the next one ages from now, less what it owes.
    pub(crate) fn remove(&mut self, now: Time, key: LineKey, run: RunId, owes: Duration) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if line.runs.front() == Some(&run) {
            line.since = now.after(owes);
        }
        line.runs.retain(|other| *other != run);
        if line.runs.is_empty() {
            self.lines.remove(&key);
        }
    }

    /// The head to be served next. `ready` says whether one can be, `handicap` what its class waits longer.
    pub(crate) fn next(
        &mut self,
        now: Time,
        mut ready: impl FnMut(LineKey, RunId) -> Ready,
        handicap: impl Fn(Class) -> Duration,
    ) -> Next {
        let mut best: Option<((Time, RunId), LineKey)> = None;
        let mut later = Time::NEVER;
        for (key, line) in &mut self.lines {
            let Some(head) = line.runs.front().copied() else { continue };
            let at = match ready(*key, head) {
                Ready::Now => now,
                Ready::Blocked(at) => at,
                Ready::Tokens(at) => {
                    line.since = line.since.max(at);
                    at
                }
            };
            if at > now {
                later = later.min(at);
                continue;
            }
            // Runs are numbered as they come: of those that have waited equally long, the oldest.
            let rank = (line.since.after(handicap(key.class)), head);
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, *key));
            }
        }
        match best {
            Some(((_, run), key)) => Next::Run(key, run),
            None if later < Time::NEVER => Next::Later(later),
            None => Next::Nothing,
        }
    }

    /// Lines.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Runs in a line.
    pub(crate) fn line_len(&self, key: LineKey) -> usize {
        self.lines.get(&key).map_or(0, |line| line.runs.len())
    }

    /// The last run of the longest line below a class: what makes room.
    pub(crate) fn least_below(&self, class: Class) -> Option<(LineKey, RunId)> {
        let below = self.lines.iter().filter(|(key, _)| key.class < class);
        let (key, line) = below.min_by_key(|(key, line)| (key.class, usize::MAX - line.runs.len()))?;
        Some((*key, *line.runs.back()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(class: Class, client: u64) -> LineKey {
        LineKey { class, client: ClientId(client) }
    }

    fn serve(queue: &mut Queue, now: Time) -> Option<RunId> {
        match queue.next(now, |_, _| Ready::Now, |_| Duration::ZERO) {
            Next::Run(key, run) => {
                queue.remove(now, key, run, Duration::ZERO);
                Some(run)
            }
            _ => None,
        }
    }

    #[test]
    fn a_long_line_gets_no_more_turns_than_a_short_one() {
        let mut queue = Queue::default();
        for run in 0..100 {
            queue.push(Time(0), line(Class::External, 1), RunId(run));
        }
        queue.push(Time(5), line(Class::External, 2), RunId(100));
        queue.push(Time(5), line(Class::External, 2), RunId(101));
        let order: Vec<_> = (10..15).filter_map(|now| serve(&mut queue, Time(now))).collect();
        assert_eq!(order, [0, 100, 1, 101, 2].map(RunId));
    }

    #[test]
    fn a_head_without_tokens_does_not_age() {
        let mut queue = Queue::default();
        let (poor, rich) = (line(Class::External, 1), line(Class::External, 2));
        queue.push(Time(0), poor, RunId(0));
        assert_eq!(
            queue.next(Time(1), |_, _| Ready::Tokens(Time(50)), |_| Duration::ZERO),
            Next::Later(Time(50))
        );
        queue.push(Time(20), rich, RunId(1));
        assert_eq!(queue.next(Time(60), |_, _| Ready::Now, |_| Duration::ZERO), Next::Run(rich, RunId(1)));
    }

    #[test]
    fn the_longest_line_of_the_least_class_makes_room() {
        let mut queue = Queue::default();
        for (class, client, run) in [
            (Class::Background, 1, 0),
            (Class::Background, 2, 1),
            (Class::Background, 2, 2),
            (Class::External, 3, 3),
        ] {
            queue.push(Time(0), line(class, client), RunId(run));
        }
        assert_eq!(queue.least_below(Class::Internal), Some((line(Class::Background, 2), RunId(2))));
        assert_eq!(queue.least_below(Class::Background), None);
    }
}
