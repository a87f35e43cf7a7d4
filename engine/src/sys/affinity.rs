//! Binding a shard to a CPU.

use std::io;
use std::mem;

/// Lets the calling thread run on `cpu` only.
///
/// # Errors
///
/// The number is beyond what the system knows, or the CPU is not one the process may use.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let bits = 8 * size_of::<libc::cpu_set_t>();
    if cpu >= bits {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `cpu` is below the number of bits of the set, checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set lives across the call and its true size is given; 0 means the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_does_not_exist_is_refused() {
        assert!(pin_to_cpu(usize::MAX).is_err());
        assert!(pin_to_cpu(1023).is_err());
    }
}
