// SPDX-License-Identifier: GPL-2.0-only

//! The event queue, alone and with threads that wait in it.

use kernel::{
    prelude::*,
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

use super::{
    Delivery,
    EventQueue, //
};
use crate::{
    abstractions::{
        observer::Observer,
        trace::Announcement, //
    },
    pure::abi::EventKind, //
};

/// A payload with a number, whose end is counted.
struct Payload(usize, Arc<Atomic<usize>>);

impl Drop for Payload {
    fn drop(&mut self) {
        self.1.fetch_add(1, Release);
    }
}

impl Announcement for Payload {
    fn describe(&self) -> (EventKind, [u64; 3]) {
        (EventKind::Fork, [self.0 as u64, 0, 0])
    }
}

type Queue = EventQueue<Payload>;

/// A queue, and how many payloads came to their end.
#[pin_data]
struct Bench {
    observer: Observer,
    #[pin]
    queue: Queue,
    ends: Arc<Atomic<usize>>,
    closing: Atomic<bool>,
}

impl Bench {
    fn new() -> Result<Arc<Self>> {
        let ends = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                observer: Observer::new(),
                queue <- Queue::new(),
                ends,
                closing: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    fn payload(&self, number: usize) -> Payload {
        Payload(number, self.ends.clone())
    }

    fn ends(&self) -> usize {
        self.ends.load(Acquire)
    }

    fn claim(&self) -> Option<Delivery<'_, Payload>> {
        self.queue.claim(&self.observer)
    }

    /// The number of the oldest payload, which is handed out.
    fn read(&self) -> Option<usize> {
        let mut read = None;
        self.claim()?.complete(|payload| read = Some(payload.0));
        read
    }

    /// Runs `body` while so many events wait, numbered from `first` on. They are all the current
    /// thread's, and it does not really wait.
    fn announced(&self, first: usize, count: usize, body: &mut dyn FnMut()) {
        if count == 0 {
            return body();
        }
        let unread = self.queue.announce(
            &self.observer,
            self.payload(first),
            || self.announced(first + 1, count - 1, body),
            || true,
        );
        assert!(unread.is_none_or(|payload| payload.0 == first));
    }

    /// Puts threads into the line, one after the other.
    fn fill(self: &Arc<Self>, count: usize) -> Result {
        for number in 0..count {
            let this = self.clone();
            workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                let is_over = || this.closing.load(Acquire);
                let payload = this.payload(number);
                drop(this.queue.announce(&this.observer, payload, || {}, is_over));
            })?;
            self.until(|this| this.queue.unread.load(Acquire) as usize == number + 1)?;
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

    fn is_empty(&self) -> bool {
        self.queue.lock().fifo.is_empty() && !self.queue.has_unread()
    }
}

#[kunit_tests(userfaultfd_events)]
mod cases {
    use super::*;

    #[test]
    fn an_empty_queue_has_nothing() -> Result {
        let bench = Bench::new()?;
        assert!(bench.read().is_none());
        bench.queue.wake_all();
        assert!(bench.is_empty());
        Ok(())
    }

    #[test]
    fn events_come_in_the_order_of_arrival() -> Result {
        let bench = Bench::new()?;
        bench.announced(0, 3, &mut || {
            assert!([0, 1, 2].map(Some).iter().all(|next| bench.read() == *next));
            assert!(bench.read().is_none());
        });
        assert!(bench.is_empty());
        assert_eq!(bench.ends(), 3);
        Ok(())
    }

    #[test]
    fn who_leaves_takes_the_event_along() -> Result {
        let bench = Bench::new()?;
        bench.announced(0, 2, &mut || {});
        assert!(bench.is_empty());
        assert_eq!(bench.ends(), 2);
        Ok(())
    }

    #[test]
    fn what_is_put_back_is_read_in_its_order() -> Result {
        let bench = Bench::new()?;
        bench.announced(0, 3, &mut || {
            let (first, second) = (bench.claim(), bench.claim());
            assert!(first.as_ref().is_some_and(|delivery| delivery.0 == 0));
            drop(second);
            assert_eq!(bench.read(), Some(1));
            drop(first);
            assert_eq!(bench.ends(), 1);
            assert_eq!(bench.read(), Some(0));
            assert_eq!(bench.read(), Some(2));
        });
        assert_eq!(bench.ends(), 3);
        Ok(())
    }

    /// Whose announcer has left, that event is the reader's: to dispose of, or to hand out.
    #[test]
    fn an_event_outlives_its_announcer() -> Result {
        let bench = Bench::new()?;
        let (mut first, mut second) = (None, None);
        bench.announced(0, 2, &mut || {
            first = bench.claim();
            second = bench.claim();
        });
        assert!(bench.is_empty());
        assert_eq!(bench.ends(), 0);
        // Another event of the same thread, even on the same stack, is another event.
        bench.announced(7, 1, &mut || {
            drop(first.take());
            assert_eq!(bench.ends(), 1);
            let mut read = None;
            if let Some(second) = second.take() {
                second.complete(|payload| read = Some(payload.0));
            }
            assert_eq!(read, Some(1));
            assert_eq!(bench.read(), Some(7));
        });
        assert_eq!(bench.ends(), 3);
        Ok(())
    }

    #[test]
    fn threads_wait_until_their_event_is_read() -> Result {
        let bench = Bench::new()?;
        bench.fill(3)?;
        // A failed delivery lets nobody go.
        drop(bench.claim());
        bench.queue.wake_all();
        assert_eq!(bench.ends(), 0);
        for number in 0..3 {
            assert_eq!(bench.read(), Some(number));
        }
        bench.until(|bench| bench.ends() == 3)?;
        assert!(bench.is_empty());
        Ok(())
    }

    #[test]
    fn threads_leave_when_all_is_over() -> Result {
        let bench = Bench::new()?;
        bench.fill(3)?;
        bench.closing.store(true, Release);
        bench.queue.wake_all();
        bench.until(|bench| bench.ends() == 3)?;
        assert!(bench.is_empty());
        Ok(())
    }
}
