// SPDX-License-Identifier: GPL-2.0-only

//! Mounts and settings of the whole guest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{mount, MsFlags};
use nix::sys::reboot::{reboot, RebootMode};
use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};
use nix::unistd::{chdir, chroot, setsid, sync};

const HOST_ROOT: &str = "/host";
const OUTPUT_FOLDER: &str = "/mnt/out";

/// Type, mount point, options, and whether a guest without it makes no sense.
const BASICS: &[(&str, &str, &str, bool)] = &[
    ("proc", "/proc", "", true),
    ("sysfs", "/sys", "", true),
    ("devtmpfs", "/dev", "mode=0755", true),
    ("tmpfs", "/tmp", "mode=1777", true),
    ("tmpfs", "/run", "mode=0755", true),
    ("tmpfs", "/dev/shm", "mode=1777", true),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666", false),
    ("cgroup2", "/sys/fs/cgroup", "", false),
    ("debugfs", "/sys/kernel/debug", "", false),
    ("tracefs", "/sys/kernel/tracing", "", false),
    ("hugetlbfs", "/dev/hugepages", "", false),
    ("mqueue", "/dev/mqueue", "", false),
];

/// Mount what programs expect below `root`. A file system this kernel does not have is left out.
pub fn mount_basics(root: &str) -> Result<(), String> {
    for &(kind, point, options, required) in BASICS {
        let result = mount_one(
            kind,
            kind,
            &format!("{root}{point}"),
            MsFlags::empty(),
            options,
        );
        if required {
            result?;
        }
    }
    for (link, target) in [
        ("fd", ""),
        ("stdin", "/0"),
        ("stdout", "/1"),
        ("stderr", "/2"),
    ] {
        match symlink(
            format!("/proc/self/fd{target}"),
            format!("{root}/dev/{link}"),
        ) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("cannot make /dev/{link}: {e}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn mount_one(
    source: &str,
    kind: &str,
    point: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), String> {
    if !Path::new(point).is_dir() {
        fs::create_dir_all(point).map_err(|e| format!("cannot make {point}: {e}"))?;
    }
    match mount(Some(source), point, Some(kind), flags, Some(options)) {
        // CONFIG_DEVTMPFS_MOUNT may have been there first.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(e) => Err(format!("cannot mount {kind} on {point}: {e}")),
    }
}

fn mount_9p(tag: &str, point: &str, flags: MsFlags, options: &str) -> Result<(), String> {
    let options = format!("trans=virtio,version=9p2000.L,msize=262144{options}");
    mount_one(tag, "9p", point, flags, &options)
}

/// Make the host's root, read-only, the root of this and of all later processes.
pub fn switch_to_host_root() -> Result<(), String> {
    // The host's files may change under us only by hand: caching them makes programs start fast.
    mount_9p("host-root", HOST_ROOT, MsFlags::MS_RDONLY, ",cache=loose")?;
    mount_basics(HOST_ROOT)?;
    for (point, required) in [("/mnt", true), ("/var/tmp", false)] {
        let point = format!("{HOST_ROOT}{point}");
        let result = mount_one("tmpfs", "tmpfs", &point, MsFlags::empty(), "mode=1777");
        if required {
            result?;
        }
    }
    // The initramfs cannot be unmounted: the new root is moved over it.
    let switch = || -> nix::Result<()> {
        chdir(HOST_ROOT)?;
        mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
        chroot(".")?;
        chdir("/")
    };
    switch().map_err(|e| format!("cannot switch to the host's root: {e}"))
}

/// Mount the folder whose contents go back to the host.
pub fn mount_output_folder() -> Result<(), String> {
    mount_9p("host-out", OUTPUT_FOLDER, MsFlags::empty(), "")
}

/// Reserve huge pages of the default size; fewer than asked for is an error.
pub fn reserve_hugepages(count: u64) -> Result<(), String> {
    let setting = "/proc/sys/vm/nr_hugepages";
    let failed = |e: io::Error| format!("cannot reserve huge pages (CONFIG_HUGETLBFS?): {e}");
    fs::write(setting, count.to_string()).map_err(failed)?;
    let got = fs::read_to_string(setting).map_err(failed)?;
    if got.trim() != count.to_string() {
        return Err(format!(
            "only {} of {count} huge pages: more --mem is needed",
            got.trim()
        ));
    }
    Ok(())
}

/// For prompts and logs; nothing depends on it.
pub fn set_host_name() {
    let _ = fs::write("/proc/sys/kernel/hostname", "guest");
}

/// Give programs a network of their own. A kernel without one is fine.
pub fn loopback_up() {
    let Ok(socket) = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    ) else {
        return;
    };
    // SAFETY: all-zero bytes are a valid `ifreq`: integers, and a union of such.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `socket` is open, and SIOCSIFFLAGS only reads the `ifreq` it is given.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } != 0 {
        eprintln!("uffd-init: no loopback: {}", io::Error::last_os_error());
    }
}

/// Open the console as the terminal of this session, which the commands stay in.
pub fn controlling_console() -> Result<File, String> {
    setsid().map_err(|e| format!("cannot start a session: {e}"))?;
    // A session's leader gets the first terminal it opens as controlling terminal.
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/ttyS0")
        .map_err(|e| format!("cannot open the console: {e}"))
}

/// End the guest. QEMU leaves on a restart, and unlike powering off it needs no ACPI.
pub fn restart() -> ! {
    sync();
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    panic!("cannot restart: {error}");
}
