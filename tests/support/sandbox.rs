//! A process that may not use io_uring, as in the default sandbox of container engines.

use std::collections::BTreeMap;
use std::sync::Once;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// In a child that lacks io_uring: forbids it for the whole process, once.
pub(crate) fn deny_io_uring_if_asked() {
    static ONCE: Once = Once::new();
    if std::env::var_os("QWORMHOLE_TEST_DENY_IO_URING").is_some() {
        ONCE.call_once(|| {
            let rules = BTreeMap::from([(IO_URING_SETUP, vec![])]);
            let deny = SeccompAction::Errno(EPERM);
            let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).expect("a filter");
            let program: BpfProgram = filter.try_into().expect("a program");
            seccompiler::apply_filter_all_threads(&program).expect("the filter is in force");
        });
    }
}

/// The same number on every architecture.
const IO_URING_SETUP: i64 = 425;
const EPERM: u32 = 1;
