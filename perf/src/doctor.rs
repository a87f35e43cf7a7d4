//! The command `doctor`.

use std::fmt::Write as _;

use crate::environment::Environment;
use crate::{syscalls, systems};

/// What the kernel grants, what is refused, and why; in words.
pub(crate) fn doctor() -> String {
    let mut text = String::new();
    let environment = Environment::read();
    let mut put = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<20}{value}");
    };
    put("kernel", &environment.kernel);
    put("cpu", &format!("{}, {} usable", environment.cpu, environment.cores));
    put("memory", &mebibytes(Some(environment.memory_bytes)));
    put("lockable memory", &mebibytes(environment.limits.memlock_bytes));
    let files = environment.limits.open_files;
    put("open files", &files.map_or_else(|| String::from("without limit"), |files| files.to_string()));
    for system in systems::ALL {
        let verdict = match system.diagnose() {
            Ok(backend) => format!("runs on {backend}"),
            Err(reason) => format!("refused: {reason}"),
        };
        put(system.name(), &verdict);
    }
    match qwormhole::probe::probe() {
        Ok(granted) => {
            put("io_uring", &granted.to_string());
            for feature in &granted.features {
                let state = if feature.on { "on " } else { "off" };
                put("", &format!("{state} {:<20}{}", feature.name, feature.detail));
            }
        }
        Err(refusal) => put("io_uring", &format!("refused: {refusal}")),
    }
    match syscalls::refusal() {
        None => put("syscall counting", "by tracepoint, every kind"),
        Some(reason) => put("syscall counting", &format!("by the ring only, because {reason}")),
    }
    let build = &environment.versions;
    put("this binary", &format!("qwormhole {}, {}, {} build", build.qwormhole, build.rustc, build.build));
    text
}

fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| String::from("without limit"), |bytes| format!("{} MiB", bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_gets_a_verdict() {
        let text = doctor();
        for system in systems::ALL {
            let line =
                text.lines().find(|line| line.split_whitespace().next() == Some(system.name())).unwrap();
            assert!(line.contains("runs on") || line.contains("refused: "), "{line}");
        }
        assert!(text.contains("syscall counting"), "{text}");
        let io_uring = text.lines().find(|line| line.starts_with("io_uring ")).unwrap();
        let granted = io_uring.contains("tier T") && text.contains(" defer_taskrun ");
        assert!(granted || io_uring.contains("refused: "), "{text}");
    }
}
