// SPDX-License-Identifier: GPL-2.0-only

//! The hooks of the laboratory, `rust/lab`.
//!
//! `defect!(Name)` says whether that defect is armed. `defect!(Name, statements)` runs the statements if
//! it is; in them `lab` is the laboratory. Without `CONFIG_USERFAULTFD_RUST_LAB` the first is `false`
//! and the second is nothing at all, so the statements may name what is not there then.

#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
macro_rules! defect {
    ($name:ident) => {
        $crate::lab::is_armed($crate::lab::Defect::$name)
    };
    ($name:ident, $($statements:tt)+) => {
        if defect!($name) {
            #[allow(unused_imports, reason = "not all statements need it")]
            use $crate::lab;
            $($statements)+
        }
    };
}

#[cfg(not(CONFIG_USERFAULTFD_RUST_LAB))]
macro_rules! defect {
    ($name:ident) => {
        false
    };
    ($name:ident, $($statements:tt)+) => {};
}
