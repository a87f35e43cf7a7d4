//! What a person reads after a round.

use std::fmt::Write as _;

use crate::cpus::Cpus;
use crate::figure::grouped;
use crate::measure::{Plan, Round};
use crate::metric;

/// The round in a few aligned lines.
pub(crate) fn summary(plan: &Plan<'_>, round: &Round) -> String {
    let mut lines = Lines(String::new());
    let partial = if round.partial { "  (partial: interrupted)" } else { "" };
    let _ = writeln!(lines.0, "{} on {}{partial}", plan.scenario.name(), round.system);
    if let Some(backend) = &round.backend {
        lines.put("backend", &backend.to_string());
    }
    lines.put("load", &load(plan));
    lines.put("placement", &placement(plan));
    let get = |name: &str| round.metrics.get(name).copied();
    for (label, name) in [("round trip", "rtt_us"), ("from sending", "raw_rtt_us")] {
        if let Some(text) = percentiles(round, name, "") {
            lines.put(label, &text);
        }
    }
    if let Some(late) = get("late_starts") {
        lines.put("late starts", &format!("{} messages left more than 1 ms after their time", grouped(late)));
    }
    if let (Some(p50), Some(p99)) = (get("spread_us_p50"), get("spread_us_p99")) {
        lines.put("spread", &format!("p50 {p50:.1}   p99 {p99:.1}  (us from the first to the last arrival)"));
    }
    if let (Some(messages), Some(bytes)) = (get("msgs_per_s"), get("bytes_per_s")) {
        lines.put(
            "throughput",
            &format!("{} msgs/s   {} bytes/s on the wire", grouped(messages), grouped(bytes)),
        );
    }
    for (label, name) in [("deliveries", "deliveries_per_s"), ("connections", "connections_per_s")] {
        if let Some(per_s) = get(name) {
            lines.put(label, &format!("{}/s", grouped(per_s)));
        }
    }
    put_parts(&mut lines, round);
    for side in ["server", "client"] {
        if let Some(cost) = get(&format!("{side}_cpu_ns_per_msg")) {
            let share = get(&format!("{side}_cpu_share"));
            let share =
                share.map_or_else(String::new, |share| format!("   ({:.0} % of one CPU)", share * 100.0));
            lines.put(&format!("{side} CPU"), &format!("{cost:.1} ns/msg{share}"));
        }
    }
    if let Some(text) = syscalls(round) {
        lines.put("server syscalls", &text);
    }
    if let (Some(share), Some(wakeups)) = (get("server_cpu_share"), get("wakeups_per_s")) {
        let text = format!("{:.2} % of one CPU busy, woken {}/s", share * 100.0, grouped(wakeups));
        lines.put("server activity", &text);
    }
    if let Some(bytes) = get("server_rss_bytes") {
        let each = get("server_user_bytes_per_connection");
        let each = each.map_or_else(String::new, |each| format!("   and {} B per connection", grouped(each)));
        lines.put("server memory", &format!("{:.1} MiB resident{each}", bytes / f64::from(1 << 20)));
    }
    let (lost, corrupt) = (get("lost_messages").unwrap_or(0.0), get("corrupt_messages").unwrap_or(0.0));
    let checked = grouped(round.checked as f64);
    lines.put("checked", &format!("{checked} messages, every byte: {lost:.0} lost, {corrupt:.0} corrupt"));
    lines.0
}

/// A line for each part of a round that has figures of its own.
fn put_parts(lines: &mut Lines, round: &Round) {
    for part in metric::PARTS {
        let Some(mut text) = percentiles(round, "rtt_us", &format!("@{part}")) else { continue };
        let get = |name: &str| round.metrics.get(&format!("{name}@{part}")).copied();
        if let Some(per_s) = get("msgs_per_s") {
            let _ = write!(text, "   {} msgs/s", grouped(per_s));
        }
        if let Some(cost) = get("server_cpu_ns_per_msg") {
            let _ = write!(text, "   server {cost:.0} ns/msg");
        }
        if let Some(settled) = get("settle_ms") {
            let _ = write!(text, "   settled in {settled:.0} ms");
        }
        if let Some(bytes) = get("server_rss_bytes") {
            let _ = write!(text, "   {:.1} MiB", bytes / f64::from(1 << 20));
        }
        lines.put(&format!("@{part}"), &text);
    }
}

fn percentiles(round: &Round, name: &str, suffix: &str) -> Option<String> {
    let get = |percentile| round.metrics.get(&format!("{name}_{percentile}{suffix}"));
    let (p50, p90, p99, p999, max) = (get("p50")?, get("p90")?, get("p99")?, get("p999")?, get("max")?);
    Some(format!("p50 {p50:.1}   p90 {p90:.1}   p99 {p99:.1}   p99.9 {p999:.1}   max {max:.1}  (us)"))
}

/// The load in words.
pub(crate) fn load(plan: &Plan<'_>) -> String {
    let load = plan.load;
    let mut text = format!("{} B messages", load.size);
    let plural = if load.connections == 1 { "" } else { "s" };
    let _ = write!(text, ", {} connection{plural}", load.connections);
    if load.depth > 1 {
        let _ = write!(text, " x {} in flight", load.depth);
    }
    if load.rate > 0 {
        let _ = write!(text, ", {} msgs/s whatever the answers do", grouped(load.rate as f64));
    }
    if load.mixed {
        text.push_str(" and 5 % of 1 MiB");
    }
    if !load.think.is_zero() {
        let _ = write!(text, ", the handler thinks {:?} each", load.think);
    }
    if load.from_thread {
        text.push_str(", sent from another thread");
    }
    let (warmup, duration) = (load.warmup.as_secs_f64(), load.duration.as_secs_f64());
    let _ = write!(text, ", {duration} s after {warmup} s of warm-up");
    text
}

/// Where the processes run, in words.
pub(crate) fn placement(plan: &Plan<'_>) -> String {
    let place = |cpus: &Option<Cpus>| match cpus {
        Some(cpus) => format!("CPU {cpus}"),
        None => String::from("any CPU"),
    };
    let server = match &plan.peer {
        Some(peer) => format!("at {}", peer.address),
        None => format!("on {}", place(&plan.server_cpus)),
    };
    format!("server {server}, client on {}", place(&plan.client_cpus))
}

fn syscalls(round: &Round) -> Option<String> {
    let calls = round.metrics.get("server_syscalls_per_msg")?;
    let source = round.syscalls_from?.name();
    let spins = round
        .metrics
        .get("server_spin_enters_per_s")
        .map_or_else(String::new, |spins| format!("   and {}/s only to spin", grouped(*spins)));
    let client = round
        .metrics
        .get("client_syscalls_per_msg")
        .map_or_else(String::new, |calls| format!("   client {calls:.4}"));
    Some(format!("{calls:.4} per msg{client} ({source}){spins}"))
}

struct Lines(String);

impl Lines {
    fn put(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.0, "  {label:<16}{text}");
    }
}
