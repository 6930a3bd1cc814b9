// SPDX-License-Identifier: GPL-2.0-only

//! Counts of queues without contexts: begun, shown, and gone with their queue.

use kernel::prelude::*;

use super::{
    are_on,
    for_each,
    switch, //
};
use crate::{
    abstractions::{
        observer::Observer,
        sleepers::SleeperQueue,
        task, //
    },
    pure::{
        fault::{
            BlockingState,
            SecondLook, //
        },
        wait::Scope, //
    },
};

type Queue = SleeperQueue<usize>;

fn queue() -> Result<Pin<KBox<Queue>>> {
    KBox::pin_init(Queue::new(Observer::new()), GFP_KERNEL)
}

/// What is shown of a queue, if it is counted: sleepers now and at most, messages read and unread
/// again, wake-ups, and how many times were taken.
fn shown(queue: &Queue) -> Option<([u64; 5], [u64; 2])> {
    let mut found = None;
    for_each(|record| {
        if record.ctx == queue.observer().id() {
            let ((now, most), (read, unread)) = (record.sleepers(), record.read());
            let counts = [now.into(), most.into(), read, unread, record.wakes()];
            let times = [&record.to_read, &record.to_wake];
            let times = times.map(|histogram| histogram.buckets().map(|(_, count)| count).sum());
            found = Some((counts, times));
        }
    });
    found
}

/// The switch is as it was when this is dropped.
struct Switched(bool);

impl Switched {
    fn to(on: bool) -> Self {
        let before = Self(are_on());
        switch(on);
        before
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        switch(self.0);
    }
}

#[kunit_tests(userfaultfd_statistics)]
mod cases {
    use super::*;

    #[test]
    fn counts_live_as_long_as_their_queue() -> Result {
        let _off = Switched::to(false);
        let queue = queue()?;
        queue.begin_counts();
        assert!(shown(&queue).is_none());
        let _on = Switched::to(true);
        assert!(shown(&queue).is_none());
        queue.begin_counts();
        queue.begin_counts();
        assert!(shown(&queue) == Some(([0; 5], [0; 2])));
        let id = queue.observer().id();
        drop(queue);
        for_each(|record| assert!(record.ctx != id));
        Ok(())
    }

    #[test]
    fn times_need_the_switch_all_the_while() -> Result {
        let _on = Switched::to(true);
        let queue = queue()?;
        queue.begin_counts();
        let sleep = |body: &dyn Fn()| {
            queue.sleep(0, 0, BlockingState::Uninterruptible, || {
                // It will not sleep in the queue, but may in the switch.
                task::set_running();
                body();
                (SecondLook::Present, ())
            });
        };
        sleep(&|| {
            assert!(queue.claim().is_some_and(|claim| queue.put_back(claim)));
            assert!(queue.claim().is_some());
            queue.wake(Scope::All);
        });
        assert!(shown(&queue) == Some(([0, 1, 2, 1, 1], [2, 1])));
        sleep(&|| {
            switch(false);
            assert!(queue.claim().is_some());
            switch(true);
            queue.wake(Scope::All);
        });
        sleep(&|| {
            switch(false);
            switch(true);
            assert!(queue.claim().is_some());
            switch(false);
            switch(true);
            queue.wake(Scope::All);
        });
        assert!(shown(&queue) == Some(([0, 1, 3, 1, 3], [2, 1])));
        Ok(())
    }
}
