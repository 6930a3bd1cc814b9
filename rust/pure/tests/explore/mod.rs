// SPDX-License-Identifier: GPL-2.0-only

//! Running a scenario of the model in all its interleavings, sound or with a defect.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::model::Defect;

/// Explores all runs in which loom switches away at most `preemptions` times from a thread that
/// could go on. `LOOM_MAX_PREEMPTIONS` overrides the number.
fn explore(scenario: fn(Defect), preemptions: usize, defect: Defect) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || scenario(defect));
}

pub fn holds(scenario: fn(Defect), preemptions: usize) {
    explore(scenario, preemptions, Defect::None);
}

/// Demands that the model finds `defect`, as a panic whose text has one of `signs`.
pub fn caught(scenario: fn(Defect), defect: Defect, signs: &[&str]) {
    let panic = catch_unwind(AssertUnwindSafe(|| explore(scenario, 2, defect)))
        .expect_err("the model must not accept this");
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("");
    assert!(signs.iter().any(|sign| text.contains(sign)), "{text}");
}

macro_rules! sound {
    ($($scenario:ident: $preemptions:literal;)*) => {
        mod sound {
            $(#[test] fn $scenario() {
                crate::explore::holds(super::$scenario, $preemptions);
            })*
        }
    };
}

macro_rules! broken {
    ($($name:ident: $defect:ident in $scenario:ident is $signs:ident;)*) => {
        mod broken {
            $(#[test] fn $name() {
                crate::explore::caught(super::$scenario, super::Defect::$defect, super::$signs);
            })*
        }
    };
}

pub(crate) use {broken, sound};
