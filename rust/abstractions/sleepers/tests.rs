// SPDX-License-Identifier: GPL-2.0-only

//! The fault queue, alone and with threads that sleep on it.

use kernel::prelude::*;

use super::{
    Claim,
    SleeperQueue, //
};
use crate::{
    abstractions::{
        observer::Observer,
        trace::FaultMessage, //
    },
    pure::{
        abi::{
            FaultFlags,
            Reason, //
        },
        fault::{
            BlockingState,
            SecondLook, //
        },
        range::{
            Limits,
            Range, //
        },
        wait::Scope, //
    },
};

/// A message is the number of arrival.
type Queue = SleeperQueue<usize>;

impl FaultMessage for usize {
    fn flags(&self) -> FaultFlags {
        FaultFlags::NONE
    }

    fn reason(&self) -> Reason {
        Reason::Missing
    }
}

const PAGE: usize = 0x1000;

/// So many pages from a page on.
fn pages(first: usize, count: usize) -> Scope {
    let limits = Limits {
        page_size: PAGE,
        task_size: 1 << 40,
    };
    match Range::aligned((first * PAGE) as u64, (count * PAGE) as u64, &limits) {
        Ok(range) => Scope::Range(range),
        Err(_) => Scope::All,
    }
}

/// Runs `body` while faults of these pages are queued, in this order. They are all the current
/// thread's, one within the look of the other, and none really sleeps.
fn queued(queue: &Queue, pages: &[usize], first: usize, body: &mut dyn FnMut()) {
    let Some((page, rest)) = pages.split_first() else {
        return body();
    };
    queue.sleep(page * PAGE, first, BlockingState::Uninterruptible, || {
        queued(queue, rest, first + 1, body);
        (SecondLook::Present, ())
    });
}

/// Takes all messages; those that are left have numbers below the length.
fn claim_all(queue: &Queue) -> [Option<usize>; 8] {
    let mut seen = [None; 8];
    for slot in &mut seen {
        *slot = queue.claim().map(|claim| claim.message);
    }
    seen
}

fn messages<const N: usize>(numbers: [usize; N]) -> [Option<usize>; 8] {
    let mut wanted = [None; 8];
    for (slot, number) in wanted.iter_mut().zip(numbers) {
        *slot = Some(number);
    }
    wanted
}

fn number(claim: &Option<Claim<usize>>) -> Option<usize> {
    claim.as_ref().map(|claim| claim.message)
}

#[kunit_tests(userfaultfd_sleepers)]
mod cases {
    use super::*;
    use kernel::{
        sync::{
            atomic::{
                Acquire,
                Atomic,
                Release, //
            },
            Arc, //
        },
        time::{
            delay::fsleep,
            Delta, //
        },
        workqueue, //
    };

    fn queue() -> Result<Pin<KBox<Queue>>> {
        KBox::pin_init(Queue::new(Observer::new()), GFP_KERNEL)
    }

    #[test]
    fn an_empty_queue_has_nothing() -> Result {
        let queue = queue()?;
        assert!(queue.claim().is_none());
        assert!(!queue.has_unread());
        queue.wake(Scope::All);
        assert_eq!(queue.counts(), (0, 0));
        Ok(())
    }

    #[test]
    fn messages_come_in_the_order_of_arrival() -> Result {
        let queue = queue()?;
        queued(&queue, &[3, 1, 2, 1], 0, &mut || {
            assert_eq!(queue.counts(), (4, 4));
            assert_eq!(claim_all(&queue), messages([0, 1, 2, 3]));
            assert_eq!(queue.counts(), (0, 4));
            assert!(!queue.has_unread());
        });
        assert_eq!(queue.counts(), (0, 0));
        Ok(())
    }

    #[test]
    fn who_leaves_takes_the_message_along() -> Result {
        let queue = queue()?;
        queued(&queue, &[1, 2], 0, &mut || {});
        assert!(queue.claim().is_none());
        queued(&queue, &[1], 0, &mut || {
            queued(&queue, &[2, 3], 1, &mut || {
                assert_eq!(queue.counts(), (3, 3))
            });
            assert_eq!(claim_all(&queue), messages([0]));
        });
        assert_eq!(queue.counts(), (0, 0));
        Ok(())
    }

    #[test]
    fn what_is_put_back_is_read_in_its_order() -> Result {
        let queue = queue()?;
        queued(&queue, &[5, 4, 6], 0, &mut || {
            let (first, second) = (queue.claim(), queue.claim());
            assert_eq!((number(&first), number(&second)), (Some(0), Some(1)));
            assert_eq!(queue.counts(), (1, 3));
            assert!(first.is_some_and(|claim| queue.put_back(claim)));
            assert!(second.is_some_and(|claim| queue.put_back(claim)));
            assert_eq!(queue.counts(), (3, 3));
            assert_eq!(claim_all(&queue), messages([0, 1, 2]));
        });
        Ok(())
    }

    #[test]
    fn nothing_is_put_back_for_who_has_left() -> Result {
        let queue = queue()?;
        let mut claim = None;
        queued(&queue, &[1], 0, &mut || claim = queue.claim());
        assert_eq!(number(&claim), Some(0));
        // Another fault of the same page is another sleeper, even on the same stack.
        queued(&queue, &[1], 7, &mut || {
            assert!(claim.take().is_some_and(|claim| !queue.put_back(claim)));
            assert_eq!(queue.counts(), (1, 1));
            assert_eq!(claim_all(&queue), messages([7]));
        });
        Ok(())
    }

    #[test]
    fn a_claim_of_another_queue_is_refused() -> Result {
        let (queue, other) = (self::queue()?, self::queue()?);
        // The first sleeper of each has the same key.
        queued(&other, &[1, 2], 0, &mut || {
            queued(&queue, &[1], 0, &mut || {
                assert!(queue.claim().is_some_and(|claim| !other.put_back(claim)));
            });
            assert_eq!(other.counts(), (2, 2));
            assert_eq!(claim_all(&other), messages([0, 1]));
        });
        Ok(())
    }

    #[test]
    fn nothing_is_put_back_for_who_was_woken() -> Result {
        let queue = queue()?;
        queued(&queue, &[1, 2], 0, &mut || {
            let claim = queue.claim();
            queue.wake(pages(1, 1));
            assert!(claim.is_some_and(|claim| !queue.put_back(claim)));
            assert_eq!(claim_all(&queue), messages([1]));
        });
        Ok(())
    }

    #[test]
    fn a_wake_reaches_its_range_and_no_more() -> Result {
        let queue = queue()?;
        queued(&queue, &[6, 2, 4, 3, 5, 4, 1], 0, &mut || {
            queue.wake(pages(7, 9));
            assert_eq!(queue.counts(), (7, 7));
            queue.wake(pages(3, 2));
            assert_eq!(queue.counts(), (4, 4));
            queue.wake(pages(3, 2));
            assert_eq!(queue.counts(), (4, 4));
            assert_eq!(claim_all(&queue), messages([0, 1, 4, 6]));
            queue.wake(pages(1, 1));
            queue.wake(pages(6, 1));
            assert_eq!(queue.counts(), (0, 2));
            queue.wake(Scope::All);
            assert_eq!(queue.counts(), (0, 0));
        });
        assert_eq!(queue.counts(), (0, 0));
        Ok(())
    }

    /// A queue, and how many of its sleepers are up again.
    #[pin_data]
    struct Dormitory {
        #[pin]
        queue: Queue,
        risen: Atomic<usize>,
    }

    impl Dormitory {
        fn new() -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    queue <- Queue::new(Observer::new()),
                    risen: Atomic::new(0),
                }),
                GFP_KERNEL,
            )
        }

        /// Puts threads to sleep, one after the other.
        fn fill(self: &Arc<Self>, pages: &[usize]) -> Result {
            for (number, &page) in pages.iter().enumerate() {
                let this = self.clone();
                workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                    let state = BlockingState::Uninterruptible;
                    let look = || (SecondLook::Wait, ());
                    this.queue.sleep(page * PAGE, number, state, look);
                    this.risen.fetch_add(1, Release);
                })?;
                self.until(|this| this.queue.counts().1 as usize == number + 1)?;
            }
            Ok(())
        }

        /// Waits for other threads, ten seconds at most.
        fn until(&self, condition: impl Fn(&Self) -> bool) -> Result {
            for _ in 0..10_000 {
                if condition(self) {
                    return Ok(());
                }
                fsleep(Delta::from_millis(1));
            }
            Err(ETIMEDOUT)
        }
    }

    #[test]
    fn threads_sleep_until_their_page_is_there() -> Result {
        let all = Dormitory::new()?;
        all.fill(&[1, 2, 3, 4, 3, 2, 1])?;
        assert_eq!(all.queue.counts(), (7, 7));
        all.queue.wake(pages(3, 1));
        all.until(|all| all.risen.load(Acquire) == 2)?;
        assert_eq!(all.queue.counts(), (5, 5));
        // Whether their messages were read makes no difference.
        assert_eq!(number(&all.queue.claim()), Some(0));
        all.queue.wake(pages(1, 2));
        all.until(|all| all.risen.load(Acquire) == 6)?;
        assert_eq!(all.queue.counts(), (1, 1));
        all.queue.wake(Scope::All);
        all.until(|all| all.risen.load(Acquire) == 7)?;
        assert_eq!(all.queue.counts(), (0, 0));
        Ok(())
    }
}
