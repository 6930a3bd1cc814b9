// SPDX-License-Identifier: GPL-2.0-only

//! The tests, a module per area.

use crate::harness::{inject, Test};

mod accounting;
mod api;
mod argument;
mod async_read;
mod bugs;
mod cache;
mod changing;
mod crowd;
mod eligible;
mod errno;
mod events;
mod fd;
mod features;
mod fill;
mod fill_bad_input;
mod fill_races;
mod gup;
mod hugetlb;
mod hwpoison;
mod injection;
mod injection_fill;
mod injection_move;
mod khugepaged;
mod lab;
mod layout;
mod managed;
mod memory;
mod migration;
mod minor;
mod missing;
mod moving;
mod observe;
mod perf;
mod permissions;
mod poison;
mod poll;
mod process;
mod protect_bugs;
mod protect_cleanup;
mod protect_lasting;
mod race;
mod read;
mod register;
mod retry;
mod rwp;
mod set_mode;
mod shmem;
mod statistics;
mod thp;
mod wake;
mod wp_async;
mod write_protect;

/// All tests that belong to the running kernel, by module in alphabetical order.
pub fn all() -> Vec<Test> {
    let mut all = MODULES.concat();
    // For these a kernel is built that can fail: in any other they are not part of the suite.
    if inject::possible() {
        all.extend_from_slice(injection::TESTS);
        all.extend_from_slice(injection_fill::TESTS);
        all.extend_from_slice(injection_move::TESTS);
    }
    all
}

const MODULES: &[&[Test]] = &[
    accounting::TESTS,
    api::TESTS,
    argument::TESTS,
    async_read::TESTS,
    bugs::TESTS,
    cache::TESTS,
    changing::TESTS,
    crowd::TESTS,
    eligible::TESTS,
    errno::fill::TESTS,
    errno::range::TESTS,
    events::end::TESTS,
    events::fork::TESTS,
    events::fork_fails::TESTS,
    events::layout::TESTS,
    events::order::TESTS,
    events::storm::TESTS,
    fd::TESTS,
    features::TESTS,
    fill::TESTS,
    fill_bad_input::TESTS,
    fill_races::TESTS,
    gup::TESTS,
    hugetlb::TESTS,
    hwpoison::TESTS,
    khugepaged::TESTS,
    lab::TESTS,
    layout::TESTS,
    managed::TESTS,
    memory::TESTS,
    migration::TESTS,
    minor::TESTS,
    missing::TESTS,
    moving::huge::TESTS,
    moving::invalid::TESTS,
    moving::pages::TESTS,
    moving::races::TESTS,
    moving::swap::TESTS,
    observe::TESTS,
    perf::TESTS,
    permissions::TESTS,
    poison::TESTS,
    poll::TESTS,
    process::TESTS,
    protect_bugs::TESTS,
    protect_cleanup::TESTS,
    protect_lasting::TESTS,
    race::TESTS,
    read::TESTS,
    register::TESTS,
    retry::TESTS,
    rwp::TESTS,
    set_mode::TESTS,
    shmem::TESTS,
    statistics::TESTS,
    thp::TESTS,
    wake::TESTS,
    wp_async::TESTS,
    write_protect::TESTS,
];
