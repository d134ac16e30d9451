//! A binary heap of clients by a key that may change: the smallest first, then the lowest number.

use std::cmp::Ordering;

/// Where a client that is not in the heap is.
const NOWHERE: u32 = u32::MAX;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap {
    /// Key and client.
    items: Vec<(u64, u32)>,
    /// Of each client, where it is in `items`.
    places: Vec<u32>,
}

impl Heap {
    /// The first, with its key.
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.items.first().copied()
    }

    /// Puts a client in, or where its new key belongs.
    pub(crate) fn put(&mut self, client: u32, key: u64) {
        let index = client as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        match self.places[index] {
            NOWHERE => {
                self.items.push((key, client));
                self.rise(self.items.len() - 1);
            }
            place => {
                let place = place as usize;
                let before = self.items[place].0;
                self.items[place].0 = key;
                match key.cmp(&before) {
                    Ordering::Less => self.rise(place),
                    Ordering::Greater => self.sink(place),
                    Ordering::Equal => {}
                }
            }
        }
    }

    /// Takes a client out, if it is in.
    pub(crate) fn remove(&mut self, client: u32) {
        let Some(place) = self.places.get(client as usize).copied().filter(|place| *place != NOWHERE) else {
            return;
        };
        let place = place as usize;
        self.places[client as usize] = NOWHERE;
        self.items.swap_remove(place);
        if place < self.items.len() {
            self.rise(place);
            self.sink(self.places[self.items[place].1 as usize] as usize);
        }
    }

    fn rise(&mut self, mut place: usize) {
        let item = self.items[place];
        while place > 0 {
            let above = (place - 1) / 2;
            if self.items[above] <= item {
                break;
            }
            self.set(place, self.items[above]);
            place = above;
        }
        self.set(place, item);
    }

    fn sink(&mut self, mut place: usize) {
        let item = self.items[place];
        loop {
            let below = 2 * place + 1;
            let Some(mut least) = self.items.get(below).map(|_| below) else { break };
            if self.items.get(below + 1).is_some_and(|right| *right < self.items[below]) {
                least = below + 1;
            }
            if self.items[least] >= item {
                break;
            }
            self.set(place, self.items[least]);
            place = least;
        }
        self.set(place, item);
    }

    fn set(&mut self, place: usize, item: (u64, u32)) {
        self.items[place] = item;
        self.places[item.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_as_a_sorted_list(changes in prop::collection::vec((0u32..40, prop::option::of(0u64..20)), 1..300)) {
            let (mut heap, mut model) = (Heap::default(), BTreeMap::new());
            for (client, key) in changes {
                match key {
                    Some(key) => {
                        heap.put(client, key);
                        model.insert(client, key);
                    }
                    None => {
                        heap.remove(client);
                        model.remove(&client);
                    }
                }
                prop_assert_eq!(heap.first(), model.iter().map(|(client, key)| (*key, *client)).min());
            }
            while let Some((key, client)) = heap.first() {
                prop_assert_eq!(model.iter().map(|(client, key)| (*key, *client)).min(), Some((key, client)));
                heap.remove(client);
                model.remove(&client);
            }
            prop_assert!(model.is_empty());
        }
    }
}
