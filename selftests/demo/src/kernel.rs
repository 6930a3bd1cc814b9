// SPDX-License-Identifier: GPL-2.0-only

//! What the running kernel says about itself.

use std::fs::{self, File};
use std::io::Read;

use flate2::read::GzDecoder;

/// The kernel's release.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |_| "(unknown release)".to_string(),
        |text| text.trim().to_string(),
    )
}

/// Which implementation answers, by the configuration the kernel was built with.
pub fn implementation() -> &'static str {
    let mut config = String::new();
    let read = File::open("/proc/config.gz")
        .and_then(|file| GzDecoder::new(file).read_to_string(&mut config));
    match read {
        Ok(_) => name(&config),
        Err(_) => "an unknown language (no /proc/config.gz)",
    }
}

fn name(config: &str) -> &'static str {
    let has = |option| config.lines().any(|line| line == option);
    if has("CONFIG_USERFAULTFD_RUST=y") {
        "Rust"
    } else if has("CONFIG_USERFAULTFD=y") {
        "C"
    } else {
        "nothing (CONFIG_USERFAULTFD is off)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_decides() {
        assert_eq!(
            name("CONFIG_USERFAULTFD=y\nCONFIG_USERFAULTFD_RUST=y\n"),
            "Rust"
        );
        assert_eq!(
            name("CONFIG_USERFAULTFD=y\n# CONFIG_USERFAULTFD_RUST is not set\n"),
            "C"
        );
        assert!(name("# CONFIG_USERFAULTFD is not set\n").starts_with("nothing"));
    }
}
