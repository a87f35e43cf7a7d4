//! What the system says about itself and about this process's limits.

use std::fs;
use std::io;
use std::mem::MaybeUninit;

/// How much memory this process's user may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memlock {
    /// No limit, or the process may exceed it (`CAP_IPC_LOCK`).
    Unlimited,
    /// At most so many bytes over all processes of the user.
    Bytes(u64),
}

/// The memlock limit of the calling process.
pub(crate) fn memlock() -> io::Result<Memlock> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel writes one `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the structure is filled.
    let limit = unsafe { limit.assume_init() };
    let unlimited = limit.rlim_cur == libc::RLIM_INFINITY || may_exceed_memlock();
    Ok(if unlimited { Memlock::Unlimited } else { Memlock::Bytes(limit.rlim_cur) })
}

/// The kernel's release, such as `6.12.1`; `unknown` if the system does not show it.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| String::from("unknown"), |release| release.trim().to_owned())
}

fn may_exceed_memlock() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}

const CAP_IPC_LOCK: u64 = 1 << 14;
