// SPDX-License-Identifier: GPL-2.0-only

//! Properties of the decisions, on random and on all inputs, against naive models.
//!
//! Runs repeat exactly. `UFFD_SEED` picks another run; a failure prints the seed it had.
#![cfg(not(loom))]

#[path = "../common/mod.rs"]
mod common;

mod fault;
mod features;
mod fill;
mod message;
mod moving;
mod protect;
mod queue;
mod range;
mod register;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

/// Checks `property` on many values of `strategy` and panics with the smallest counterexample
/// found.
fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> TestCaseResult) {
    let seed = match std::env::var("UFFD_SEED") {
        Ok(text) => text.parse().expect("UFFD_SEED is a decimal number"),
        Err(_) => 7_u64,
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    if let Err(failure) = TestRunner::new_with_rng(config, rng).run(&strategy, property) {
        panic!("{failure}\nUFFD_SEED={seed}");
    }
}

/// The error of the earliest rule that applies: `rules` in order of precedence.
fn first_error<E: Copy>(rules: &[(bool, E)]) -> Option<E> {
    rules.iter().find(|rule| rule.0).map(|rule| rule.1)
}

/// All combinations of `N` truth values.
fn all_bools<const N: usize>() -> impl Iterator<Item = [bool; N]> {
    (0..1_usize << N).map(|bits| std::array::from_fn(|index| bits >> index & 1 == 1))
}
