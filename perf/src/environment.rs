//! The machine that a result comes from.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;

/// What a reader of a result must know about the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Kernel name and release.
    pub(crate) kernel: String,
    /// The CPU's name, as far as the system tells.
    pub(crate) cpu: String,
    /// CPUs that this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) limits: Limits,
    /// By vulnerability.
    pub(crate) mitigations: BTreeMap<String, String>,
    pub(crate) versions: Versions,
}

/// Soft limits of this process; `None` is without limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memlock_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
}

/// Versions of what was measured and of what built it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) qwormhole: String,
    pub(crate) rustc: String,
    /// `release` or `debug`: figures of a debug build say nothing.
    pub(crate) build: String,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            kernel: format!("{} {}", text(system.sysname()), text(system.release())),
            cpu: cpu_model().unwrap_or_else(|| text(system.machine())),
            cores: Cpus::allowed().map_or(1, |cpus| cpus.as_slice().len()),
            memory_bytes: memory_bytes().unwrap_or(0),
            limits: Limits {
                memlock_bytes: getrlimit(Resource::Memlock).current,
                open_files: getrlimit(Resource::Nofile).current,
            },
            mitigations: mitigations(),
            versions: Versions {
                qwormhole: env!("CARGO_PKG_VERSION").to_owned(),
                rustc: env!("QWORMHOLE_RUSTC_VERSION").to_owned(),
                build: String::from(if cfg!(debug_assertions) { "debug" } else { "release" }),
            },
        }
    }
}

/// The revision this binary was built from.
pub(crate) const GIT_REVISION: &str = env!("QWORMHOLE_GIT_REVISION");

fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn mitigations() -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return BTreeMap::new() };
    let read = |entry: fs::DirEntry| {
        let state = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), state.trim().to_owned()))
    };
    entries.flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let environment = Environment::read();
        assert!(environment.kernel.starts_with("Linux "), "{}", environment.kernel);
        assert!(environment.cores >= 1 && environment.memory_bytes > 0);
        assert!(environment.versions.rustc.starts_with("rustc "), "{}", environment.versions.rustc);
    }
}
