//! What a metric is called in words, its unit, and which way is better.

/// A metric as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) kind: Kind,
}

/// How two values of a metric compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// More is faster.
    Speed,
    /// Less is faster.
    Time,
    /// Less is cheaper.
    Cost,
}

impl Figure {
    /// The figure of a metric's name, with or without a step (`rtt_us_p99@70`).
    pub(crate) fn of(metric: &str) -> Self {
        let base = base(metric);
        let known = FIGURES.iter().find(|(name, ..)| *name == base);
        let (title, unit, kind) =
            known.map_or(("", "", Kind::Cost), |&(_, title, unit, kind)| (title, unit, kind));
        Self { title, unit, kind }
    }
}

/// A metric's name without its step.
pub(crate) fn base(metric: &str) -> &str {
    metric.split_once('@').map_or(metric, |(base, _)| base)
}

/// The step of a metric's name.
pub(crate) fn step(metric: &str) -> Option<&str> {
    metric.split_once('@').map(|(_, step)| step)
}

/// Where a metric stands in tables: throughput first, then latency, then cost; steps in their order.
pub(crate) fn rank(metric: &str) -> (usize, &str) {
    let place = FIGURES.iter().position(|(name, ..)| *name == base(metric));
    (place.unwrap_or(FIGURES.len()), step(metric).unwrap_or_default())
}

/// A value with as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => String::from("0"),
        1000.0.. => grouped(value),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.01.. => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// A value in a few characters, such as 2.47 M.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        1e9.. => format!("{} G", number(value / 1e9)),
        1e6.. => format!("{} M", number(value / 1e6)),
        1e5.. => format!("{} k", number(value / 1e3)),
        _ => number(value),
    }
}

/// A whole number with its digits in groups of three.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const FIGURES: [(&str, &str, &str, Kind); 29] = [
    ("msgs_per_s", "Throughput", "messages/s", Kind::Speed),
    ("connections_per_s", "Connections", "connections/s", Kind::Speed),
    ("deliveries_per_s", "Deliveries", "deliveries/s", Kind::Speed),
    ("bytes_per_s", "Bytes on the wire", "bytes/s", Kind::Speed),
    ("rtt_us_p50", "Round trip p50", "µs", Kind::Time),
    ("rtt_us_p90", "Round trip p90", "µs", Kind::Time),
    ("rtt_us_p99", "Round trip p99", "µs", Kind::Time),
    ("rtt_us_p999", "Round trip p99.9", "µs", Kind::Time),
    ("rtt_us_max", "Longest round trip", "µs", Kind::Time),
    ("raw_rtt_us_p50", "Round trip p50, uncorrected", "µs", Kind::Time),
    ("raw_rtt_us_p90", "Round trip p90, uncorrected", "µs", Kind::Time),
    ("raw_rtt_us_p99", "Round trip p99, uncorrected", "µs", Kind::Time),
    ("raw_rtt_us_p999", "Round trip p99.9, uncorrected", "µs", Kind::Time),
    ("raw_rtt_us_max", "Longest round trip, uncorrected", "µs", Kind::Time),
    ("settle_ms", "Time to settle", "ms", Kind::Time),
    ("server_cpu_ns_per_msg", "Server CPU", "ns/message", Kind::Cost),
    ("client_cpu_ns_per_msg", "Client CPU", "ns/message", Kind::Cost),
    ("server_cpu_share", "Server CPU in use", "CPUs", Kind::Cost),
    ("server_syscalls_per_msg", "Server system calls", "calls/message", Kind::Cost),
    ("client_syscalls_per_msg", "Client system calls", "calls/message", Kind::Cost),
    ("server_spin_enters_per_s", "Server enters only to spin", "calls/s", Kind::Cost),
    ("server_rss_bytes", "Server memory, resident", "bytes", Kind::Cost),
    ("server_user_bytes_per_connection", "Server memory per connection", "bytes", Kind::Cost),
    ("wakeups_per_s", "Wake-ups", "wake-ups/s", Kind::Cost),
    ("late_starts", "Late starts", "messages", Kind::Cost),
    ("lost_messages", "Lost", "messages", Kind::Cost),
    ("corrupt_messages", "Corrupt", "messages", Kind::Cost),
    ("spread_us_p50", "First to last arrival p50", "µs", Kind::Time),
    ("spread_us_p99", "First to last arrival p99", "µs", Kind::Time),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric;

    #[test]
    fn every_metric_has_a_title_and_a_unit() {
        for name in metric::names() {
            let figure = Figure::of(name);
            assert!(!figure.title.is_empty() && !figure.unit.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_step_changes_neither_title_nor_direction() {
        assert_eq!(Figure::of("rtt_us_p99@10b"), Figure::of("rtt_us_p99"));
        assert_eq!((base("rtt_us_p99@10b"), step("rtt_us_p99@10b")), ("rtt_us_p99", Some("10b")));
        assert!(rank("msgs_per_s@70") < rank("rtt_us_p99@10"));
        assert!(rank("rtt_us_p99@10") < rank("rtt_us_p99@70"));
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        let texts = [0.0, 0.0018, 0.128, 1.5, 34.84, 512.3, 1000.0, 12_345_678.9].map(number);
        assert_eq!(texts, ["0", "0.00180", "0.128", "1.50", "34.8", "512", "1,000", "12,345,679"]);
        assert_eq!([999.0, 25_000.0, 2_470_000.0, 1.7e9].map(short), ["999", "25,000", "2.47 M", "1.70 G"]);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0.4, 999.0, 1000.0, 12_345_678.9].map(grouped), ["0", "999", "1,000", "12,345,679"]);
    }
}
