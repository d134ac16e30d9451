//! Who used a drive, second by second.

use crate::{ClientId, Cost, Nanos, SECOND};

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// I/O operations.
    pub ops: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// How long the drive had them, summed over requests: more than the time that passed, if it had several.
    pub busy: Nanos,
    /// How long requests waited for the drive, summed.
    pub waited: Nanos,
    /// How long the one that waited longest did, and then was with the drive.
    pub worst: Nanos,
}

/// A second of a drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second<K> {
    /// Which: seconds since the moment from which times count.
    pub second: u64,
    /// Who, by what the drive was busy with them; the most first, of [`Ledger`]'s bound at most.
    pub users: Vec<(K, Use)>,
    /// All others together.
    pub others: Use,
}

/// Adds up who uses a drive in the second that goes on. What is added is O(1); nothing is allocated but once per second.
#[derive(Debug)]
pub struct Ledger<K> {
    most_users: usize,
    second: u64,
    /// By client.
    now: Vec<Option<(K, Use)>>,
    touched: Vec<u32>,
}

impl Use {
    /// Adds a request that waited and was busy so long.
    pub fn add(&mut self, cost: Cost, waited: Nanos, busy: Nanos) {
        self.merge(&Self {
            ops: cost.ops.into(),
            bytes: cost.bytes.into(),
            busy,
            waited,
            worst: waited.saturating_add(busy),
        });
    }

    fn merge(&mut self, other: &Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.busy = self.busy.saturating_add(other.busy);
        self.waited = self.waited.saturating_add(other.waited);
        self.worst = self.worst.max(other.worst);
    }
}

impl<K> Ledger<K> {
    /// That tells so many users of each second apart.
    #[must_use]
    pub fn new(most_users: usize) -> Self {
        Self { most_users, second: 0, now: Vec::new(), touched: Vec::new() }
    }

    /// A request of a client ended; `key` is who that is to people. Returns the last second, if this one is another.
    #[must_use]
    pub fn add(
        &mut self,
        now: Nanos,
        client: ClientId,
        key: impl FnOnce() -> K,
        cost: Cost,
        (waited, busy): (Nanos, Nanos),
    ) -> Option<Second<K>> {
        let ended = self.turn(now);
        let index = client.0 as usize;
        if self.now.len() <= index {
            self.now.resize_with(index + 1, || None);
        }
        let touched = &mut self.touched;
        let entry = self.now[index].get_or_insert_with(|| {
            touched.push(client.0);
            (key(), Use::default())
        });
        entry.1.add(cost, waited, busy);
        ended
    }

    /// Returns the last second in which something was added, if it is over by now.
    #[must_use]
    pub fn turn(&mut self, now: Nanos) -> Option<Second<K>> {
        let second = now / SECOND;
        if second == self.second {
            return None;
        }
        let ended = std::mem::replace(&mut self.second, second);
        if self.touched.is_empty() {
            return None;
        }
        let entries = &mut self.now;
        let taken = self.touched.drain(..).filter_map(|client| entries[client as usize].take());
        let mut users: Vec<(K, Use)> = taken.collect();
        users.sort_by_key(|(_, used)| std::cmp::Reverse((used.busy, used.ops)));
        let mut others = Use::default();
        users.drain(self.most_users.min(users.len())..).for_each(|(_, used)| others.merge(&used));
        Some(Second { second: ended, users, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_tells_who_used_the_drive_most() {
        let mut ledger = Ledger::new(2);
        let cost = Cost { ops: 1, bytes: 4096 };
        let mut add = |now, client, busy| ledger.add(now, ClientId(client), || client, cost, (1, busy));
        for n in 0..10 {
            assert_eq!(add(SECOND + n, 7, 10), None);
        }
        assert_eq!(add(SECOND + 20, 3, 500), None);
        assert_eq!(add(SECOND + 30, 5, 1), None);
        let ended = add(2 * SECOND, 7, 10).expect("the second is over");
        assert_eq!((ended.second, ended.users.len()), (1, 2));
        assert_eq!((ended.users[0].0, ended.users[0].1.busy, ended.users[0].1.worst), (3, 500, 501));
        let seven = Use { ops: 10, bytes: 40_960, busy: 100, waited: 10, worst: 11 };
        assert_eq!((ended.users[1].0, ended.users[1].1), (7, seven));
        assert_eq!((ended.others.ops, ended.others.busy), (1, 1));
        assert_eq!(ledger.turn(3 * SECOND).map(|second| second.users.len()), Some(1));
        assert_eq!(ledger.turn(9 * SECOND), None, "nobody used it");
    }
}
