// SPDX-License-Identifier: GPL-2.0-only

//! Write protection.

use crate::stage::{expect_fault, step};
use std::sync::{mpsc, Arc};
use uffd::abi::{UFFDIO_REGISTER_MODE_WP, UFFDIO_WRITEPROTECT_MODE_WP};
use uffd_harness::mem::{Mapping, PAGE};
use uffd_harness::task::Faulter;
use uffd_harness::uffd_with;

pub fn wp_loop() {
    const ROUNDS: u8 = 4;
    let (uffd, target) = (uffd_with(0), Arc::new(Mapping::anon(1)));
    target.write(0, 0);
    let start = target.start();
    uffd.register(start, PAGE, UFFDIO_REGISTER_MODE_WP).unwrap();
    let ((go, come), (say, hear)) = (mpsc::channel::<u8>(), mpsc::channel());
    let memory = Arc::clone(&target);
    let writer = Faulter::named("writer", move || {
        for value in come {
            memory.write(0, value);
            say.send(()).unwrap();
        }
    });
    for round in 1..=ROUNDS {
        step(&format!(
            "round {round}: the page is protected, and written to"
        ));
        let protect = UFFDIO_WRITEPROTECT_MODE_WP;
        uffd.writeprotect(start, PAGE, protect).unwrap();
        go.send(round).unwrap();
        expect_fault(&uffd, start);
        assert_eq!(target.read(0), round - 1);
        uffd.writeprotect(start, PAGE, 0).unwrap();
        hear.recv().unwrap();
        assert_eq!(target.read(0), round);
    }
    drop(go);
    writer.join();
}
