//! What a result is about: its few main figures, and the load they belong to.

use serde_json::Value;

use crate::result::ResultFile;
use crate::table::main_metrics;

/// The figures to look at first, those that were measured.
pub(super) fn headline(result: &ResultFile) -> Vec<&str> {
    let wanted = WANTED.iter().find(|(scenario, _)| *scenario == result.scenario);
    let measured = |metric: &&str| result.summary.iter().any(|it| it.metrics.contains_key(*metric));
    let figures: Vec<_> =
        wanted.iter().flat_map(|(_, figures)| figures.iter().copied()).filter(measured).collect();
    if figures.is_empty() { main_metrics(result).into_iter().take(3).collect() } else { figures }
}

/// The scenario and the flags that make the load: the command without what says who, how long and where to.
pub(super) fn load(result: &ResultFile) -> String {
    let mut words = result.command.iter().skip(1).peekable();
    words.next_if(|word| ["compare", "run", "client"].contains(&word.as_str()));
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        if ASIDE.contains(&flag) {
            if !word.contains('=') {
                words.next();
            }
        } else if word != "--quiet" {
            kept.push(word.as_str());
        }
    }
    if kept.is_empty() { result.scenario.clone() } else { kept.join(" ") }
}

/// The command as it can be typed again.
pub(super) fn command(result: &ResultFile) -> String {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c));
    let quoted = |word: &String| {
        if plain(word) && !word.is_empty() {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let words: Vec<_> = result.command.iter().skip(1).map(quoted).collect();
    format!("cargo run --release -p qwormhole-perf -- {}", words.join(" "))
}

/// How many rounds a result has.
pub(super) fn rounds(result: &ResultFile) -> usize {
    result.rounds.iter().map(|round| round.round.saturating_add(1)).max().unwrap_or(0)
}

/// CPUs of a process in words.
pub(super) fn place(cpus: &Value) -> String {
    let Some(cpus) = cpus.as_array() else { return String::from("any CPU") };
    let numbers: Vec<_> = cpus.iter().filter_map(Value::as_u64).map(|cpu| cpu.to_string()).collect();
    format!("CPU {}", numbers.join(","))
}

const WANTED: [(&str, &[&str]); 10] = [
    ("pingpong", &["rtt_us_p50", "rtt_us_p99"]),
    ("echo", &["msgs_per_s", "server_cpu_ns_per_msg", "server_syscalls_per_msg"]),
    ("stream", &["msgs_per_s", "server_cpu_ns_per_msg", "client_cpu_ns_per_msg"]),
    ("send-one", &["msgs_per_s"]),
    ("rate", &["rtt_us_p50", "rtt_us_p99", "rtt_us_p999"]),
    ("steps", &["rtt_us_p99@10", "rtt_us_p99@70", "rtt_us_p99@95", "settle_ms@70"]),
    ("fanout", &["deliveries_per_s"]),
    ("idle", &["server_user_bytes_per_connection", "server_rss_bytes", "wakeups_per_s"]),
    ("churn", &["connections_per_s", "rtt_us_p99"]),
    ("overload", &["rtt_us_p99", "rtt_us_p99@control", "server_rss_bytes", "server_rss_bytes@control"]),
];
/// Flags with a value that do not change the load.
const ASIDE: [&str; 9] = [
    "--systems",
    "--system",
    "--rounds",
    "--duration",
    "--warmup",
    "--cooldown",
    "--json",
    "--hgrm",
    "--fail-if",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::result;

    #[test]
    fn a_load_is_the_command_without_who_how_long_and_where_to() {
        assert_eq!(load(&result()), "echo --depth 16");
        let mut other = result();
        let words = ["x", "run", "echo", "--size=64", "--rounds=3", "--tls", "--fail-if", "rtt_us_p99 > 3"];
        other.command = words.map(String::from).into();
        assert_eq!(load(&other), "echo --size=64 --tls");
        assert!(
            command(&other).ends_with("-- run echo --size=64 --rounds=3 --tls --fail-if 'rtt_us_p99 > 3'")
        );
    }

    #[test]
    fn the_headline_has_only_what_was_measured() {
        assert_eq!(headline(&result()), ["msgs_per_s"]);
        let mut other = result();
        other.scenario = String::from("unheard-of");
        assert_eq!(headline(&other), ["msgs_per_s"]);
    }
}
