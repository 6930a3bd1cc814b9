// SPDX-License-Identifier: GPL-2.0-only

//! The queue's bookkeeping, one step after the other, against a plain list.

use proptest::prelude::*;
use uffd_pure::range::Range;
use uffd_pure::wait::{Key, Scope};

use crate::check;
use crate::common::Queue;

#[derive(Clone, Debug)]
enum Step {
    Enqueue(usize),
    Take,
    /// Put back the n-th of the messages that readers hold.
    PutBack(usize),
    Wake(Scope),
    /// The n-th of the sleepers leaves by itself.
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let address = 0_usize..16;
    let scope = prop_oneof![
        1 => Just(Scope::All),
        9 => (address.clone(), 1_usize..4).prop_map(|(start, size)| {
            Scope::Range(Range::new(start, start + size).unwrap())
        }),
    ];
    prop_oneof![
        5 => address.prop_map(Step::Enqueue),
        3 => Just(Step::Take),
        2 => (0_usize..8).prop_map(Step::PutBack),
        1 => scope.prop_map(Step::Wake),
        1 => (0_usize..8).prop_map(Step::Leave),
    ]
}

/// A sleeper in the plain list, which is in order of arrival.
struct Sleeper {
    key: Key,
    address: usize,
    unread: bool,
}

fn covers(scope: &Scope, address: usize) -> bool {
    match scope {
        Scope::All => true,
        Scope::Range(range) => (range.start()..range.end()).contains(&address),
    }
}

#[test]
fn behaves_like_a_list() {
    check(prop::collection::vec(step(), 0..40), |steps| {
        let mut queue = Queue::new();
        let mut list: Vec<Sleeper> = Vec::new();
        let mut held: Vec<Key> = Vec::new();
        for step in steps {
            match step {
                Step::Enqueue(address) => {
                    let key = queue.enqueue(address, address);
                    prop_assert_eq!(key.address(), address);
                    prop_assert!(list.iter().all(|sleeper| sleeper.key.seq() < key.seq()));
                    list.push(Sleeper {
                        key,
                        address,
                        unread: true,
                    });
                }
                Step::Take => {
                    let first = list.iter_mut().find(|sleeper| sleeper.unread);
                    prop_assert_eq!(queue.take(), first.as_ref().map(|sleeper| sleeper.key));
                    if let Some(first) = first {
                        first.unread = false;
                        held.push(first.key);
                    }
                }
                Step::PutBack(index) if !held.is_empty() => {
                    let key = held.swap_remove(index % held.len());
                    let sleeper = list.iter_mut().find(|sleeper| sleeper.key == key);
                    prop_assert_eq!(queue.put_back(key), sleeper.is_some());
                    if let Some(sleeper) = sleeper {
                        sleeper.unread = true;
                    }
                }
                Step::Wake(scope) => {
                    let mut woken = Vec::new();
                    while let Some((key, address)) = queue.first_in(&scope) {
                        prop_assert_eq!(queue.remove(key), Some(address));
                        woken.push(key.seq());
                    }
                    woken.sort_unstable();
                    let (gone, stay) = list
                        .into_iter()
                        .partition::<Vec<_>, _>(|sleeper| covers(&scope, sleeper.address));
                    let gone: Vec<_> = gone.iter().map(|sleeper| sleeper.key.seq()).collect();
                    prop_assert_eq!(woken, gone);
                    list = stay;
                }
                Step::Leave(index) if !list.is_empty() => {
                    let sleeper = list.remove(index % list.len());
                    prop_assert_eq!(queue.remove(sleeper.key), Some(sleeper.address));
                    prop_assert_eq!(queue.remove(sleeper.key), None);
                }
                Step::PutBack(_) | Step::Leave(_) => {}
            }
            prop_assert_eq!(queue.tally().sleepers() as usize, list.len());
            prop_assert_eq!(queue.nodes().count(), list.len());
            let unread = list.iter().filter(|sleeper| sleeper.unread).count();
            prop_assert_eq!(queue.tally().unread() as usize, unread);
            for sleeper in &list {
                prop_assert!(queue.contains(sleeper.key));
                prop_assert_eq!(queue.is_unread(sleeper.key), sleeper.unread);
            }
        }
        Ok(())
    });
}
