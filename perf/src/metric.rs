//! The names of everything that is measured.

use std::collections::BTreeMap;

/// What one round measured, by metric name. A metric that could not be measured is absent, never zero.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// Whether `name` is a metric of any scenario.
pub(crate) fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Every metric name.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied()
}

const NAMES: [&str; 16] = [
    "msgs_per_s",
    "bytes_per_s",
    "rtt_us_p50",
    "rtt_us_p90",
    "rtt_us_p99",
    "rtt_us_p999",
    "rtt_us_max",
    "server_cpu_ns_per_msg",
    "client_cpu_ns_per_msg",
    "server_cpu_share",
    "server_syscalls_per_msg",
    "client_syscalls_per_msg",
    "server_spin_enters_per_s",
    "server_rss_bytes",
    "lost_messages",
    "corrupt_messages",
];
