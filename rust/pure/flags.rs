// SPDX-License-Identifier: GPL-2.0-only

//! userfaultfd(2): who may call it, and with which flags.

use super::errno::Errno;

/// Handle faults of user space only (`UFFD_USER_MODE_ONLY`).
const USER_MODE_ONLY: u32 = 1;

/// The flags that the syscall and `/dev/userfaultfd` accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateFlags(u32);

impl CreateFlags {
    /// Checks the flags of the caller (start of `new_userfaultfd`).
    ///
    /// `file_flags` is this architecture's `O_CLOEXEC | O_NONBLOCK`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: a flag that is neither of those nor `UFFD_USER_MODE_ONLY`.
    pub const fn parse(flags: u32, file_flags: u32) -> Result<Self, Errno> {
        if flags & !(file_flags | USER_MODE_ONLY) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self(flags))
    }

    /// Faults taken in kernel mode raise SIGBUS instead of a message.
    pub const fn user_mode_only(self) -> bool {
        self.0 & USER_MODE_ONLY != 0
    }

    /// The flags meant for the file, as they came.
    pub const fn file(self) -> u32 {
        self.0 & !USER_MODE_ONLY
    }
}

/// Decides who may use the syscall (`userfaultfd_syscall_allowed`).
///
/// Comes before [`CreateFlags::parse`]: a caller without permission gets `EPERM` for flags that do
/// not exist, too. `/dev/userfaultfd` has file permissions instead and does not ask.
/// `may_ptrace` asks for `CAP_SYS_PTRACE`, only when the answer depends on it; `unprivileged` is
/// the sysctl vm.unprivileged_userfaultfd.
///
/// # Errors
///
/// `EPERM`: faults of the kernel are wanted and neither the capability nor the sysctl allows it.
pub fn may_create(
    flags: u32,
    may_ptrace: impl FnOnce() -> bool,
    unprivileged: bool,
) -> Result<(), Errno> {
    if flags & USER_MODE_ONLY != 0 || may_ptrace() || unprivileged {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

#[cfg(test)]
mod tests {
    use super::super::errno::Errno;
    use super::{may_create, CreateFlags};

    const FILE: u32 = 0o2004000;

    #[test]
    fn each_bit_is_known_or_refused() {
        for bit in 0..32 {
            let flags = 1u32 << bit;
            let want = if flags == 1 {
                Ok((true, 0))
            } else if flags & FILE != 0 {
                Ok((false, flags))
            } else {
                Err(Errno::EINVAL)
            };
            let parsed = CreateFlags::parse(flags, FILE);
            let parsed = parsed.map(|flags| (flags.user_mode_only(), flags.file()));
            assert_eq!(parsed, want, "bit {bit}");
        }
        assert!(CreateFlags::parse(FILE | 1, FILE).is_ok());
        assert!(CreateFlags::parse(FILE | 3, FILE).is_err());
    }

    #[test]
    fn permission_has_three_sources() {
        let unasked = || panic!("asked for the capability");
        assert_eq!(may_create(1, unasked, false), Ok(()));
        assert_eq!(may_create(0, || true, false), Ok(()));
        assert_eq!(may_create(0, || false, true), Ok(()));
        assert_eq!(may_create(2, || false, false), Err(Errno::EPERM));
    }
}
