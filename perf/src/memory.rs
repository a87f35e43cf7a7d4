//! Memory of another process.

use std::fs;

/// What it holds in memory now; `None` when the process is gone.
pub(crate) fn resident_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmRSS:")
}

/// The most it held in memory since [`forget_peak`].
pub(crate) fn peak_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

/// Lets the peak begin anew; false where the kernel refuses.
pub(crate) fn forget_peak(process: u32) -> bool {
    fs::write(format!("/proc/{process}/clear_refs"), "5").is_ok()
}

fn status_bytes(process: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_until_it_is_forgotten() {
        let process = std::process::id();
        let before = resident_bytes(process).unwrap();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        assert!(peak_bytes(process).unwrap() >= before + (60 << 20));
        assert!(resident_bytes(u32::MAX).is_none());
        if forget_peak(process) {
            assert!(peak_bytes(process).unwrap() >= resident_bytes(process).unwrap());
        }
    }
}
