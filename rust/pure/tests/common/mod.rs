// SPDX-License-Identifier: GPL-2.0-only

//! A fault queue made of ordinary collections around the shared bookkeeping of `uffd_pure::wait`.

use std::collections::{BTreeMap, VecDeque};

use uffd_pure::wait::{Delivery, Key, Scope, Tally};

/// What the queue's lock protects. `N` stands for the node.
pub struct Queue<N> {
    tree: BTreeMap<Key, (N, Delivery)>,
    fifo: VecDeque<Key>,
    tally: Tally,
}

impl<N: Clone> Queue<N> {
    pub fn new() -> Self {
        Self {
            tree: BTreeMap::new(),
            fifo: VecDeque::new(),
            tally: Tally::new(),
        }
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn nodes(&self) -> impl Iterator<Item = &N> {
        self.tree.values().map(|(node, _)| node)
    }

    pub fn contains(&self, key: Key) -> bool {
        self.tree.contains_key(&key)
    }

    pub fn is_unread(&self, key: Key) -> bool {
        matches!(self.tree.get(&key), Some((_, Delivery::Unread)))
    }

    pub fn enqueue(&mut self, address: usize, node: N) -> Key {
        let key = self.tally.enqueue(address);
        self.tree.insert(key, (node, Delivery::Unread));
        self.fifo.push_back(key);
        key
    }

    pub fn take(&mut self) -> Option<Key> {
        let key = self.fifo.pop_front()?;
        let (_, delivery) = self.tree.get_mut(&key).expect("unread, so in the tree");
        *delivery = Delivery::Read;
        self.tally.take();
        Some(key)
    }

    /// Whether the message is unread again.
    pub fn put_back(&mut self, key: Key) -> bool {
        let Some((_, delivery)) = self.tree.get_mut(&key) else {
            return false;
        };
        assert_eq!(*delivery, Delivery::Read, "put back twice");
        *delivery = Delivery::Unread;
        let place = self.fifo.partition_point(|other| other.seq() < key.seq());
        self.fifo.insert(place, key);
        self.tally.put_back();
        true
    }

    pub fn remove(&mut self, key: Key) -> Option<N> {
        let (node, delivery) = self.tree.remove(&key)?;
        if delivery == Delivery::Unread {
            self.fifo.retain(|other| *other != key);
        }
        self.tally.remove(delivery);
        Some(node)
    }

    /// The first sleeper in the scope, by key.
    pub fn first_in(&self, scope: &Scope) -> Option<(Key, N)> {
        let (first, last) = scope.bounds();
        let (key, (node, _)) = self.tree.iter().find(|(key, _)| first <= key.address())?;
        (key.address() <= last).then(|| (*key, node.clone()))
    }
}
