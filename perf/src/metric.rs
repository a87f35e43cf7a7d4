//! The names of everything that is measured.

use std::collections::BTreeMap;

/// What one round measured, by metric name. A metric that could not be measured is absent, never zero.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// Whether `name` is a metric of any scenario, with or without the suffix of a part of a round.
pub(crate) fn is_known(name: &str) -> bool {
    let (base, part) = name.split_once('@').map_or((name, None), |(base, part)| (base, Some(part)));
    names().any(|known| known == base) && part.is_none_or(|part| PARTS.contains(&part))
}

/// Every metric name, without suffixes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied()
}

/// What follows an `@`: the steps of `steps`, the control run of `overload`.
pub(crate) const PARTS: [&str; 5] = ["10", "70", "95", "10b", "control"];

const NAMES: [&str; 29] = [
    "msgs_per_s",
    "bytes_per_s",
    "deliveries_per_s",
    "connections_per_s",
    "rtt_us_p50",
    "rtt_us_p90",
    "rtt_us_p99",
    "rtt_us_p999",
    "rtt_us_max",
    "raw_rtt_us_p50",
    "raw_rtt_us_p90",
    "raw_rtt_us_p99",
    "raw_rtt_us_p999",
    "raw_rtt_us_max",
    "late_starts",
    "settle_ms",
    "spread_us_p50",
    "spread_us_p99",
    "server_cpu_ns_per_msg",
    "client_cpu_ns_per_msg",
    "server_cpu_share",
    "server_syscalls_per_msg",
    "client_syscalls_per_msg",
    "server_spin_enters_per_s",
    "wakeups_per_s",
    "server_rss_bytes",
    "server_user_bytes_per_connection",
    "lost_messages",
    "corrupt_messages",
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_lists_the_same_names_and_parts() {
        let schema: Value = serde_json::from_str(include_str!("../schema.json")).unwrap();
        let forms = &schema["$defs"]["metric"]["anyOf"];
        let listed: Vec<_> = forms[0]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut sorted = (listed.clone(), names().collect::<Vec<_>>());
        sorted.0.sort_unstable();
        sorted.1.sort_unstable();
        assert_eq!(sorted.0, sorted.1);
        assert_eq!(forms[1]["pattern"].as_str().unwrap(), format!("^[a-z0-9_]+@({})$", PARTS.join("|")));
    }

    #[test]
    fn a_suffix_must_be_that_of_a_part() {
        assert!(is_known("rtt_us_p99") && is_known("rtt_us_p99@70") && is_known("settle_ms@10b"));
        assert!(!is_known("rtt_us_p99@71") && !is_known("speed@70") && !is_known("rtt_us_p99@"));
    }
}
