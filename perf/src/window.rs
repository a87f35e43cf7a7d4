//! From counters at the two ends of a window to figures.

use anyhow::{Result, anyhow, ensure};

use crate::job::Snapshot;
use crate::metric::Metrics;
use crate::record::Recorder;
use crate::saturation::Saturation;
use crate::scenario::CountedAt;

/// The counters at the beginning and at the end of the measured window.
#[derive(Debug)]
pub(crate) struct Window {
    /// What its metrics are suffixed with; the main window of a round has none.
    pub(crate) label: Option<String>,
    /// Where messages are counted.
    pub(crate) counted_at: CountedAt,
    /// Messages per second that an open loop was to send.
    pub(crate) asked_per_s: Option<f64>,
    /// Some of the traffic is not counted, so that costs per message say nothing.
    pub(crate) shared: bool,
    /// A further name for the messages per second.
    pub(crate) rate_name: Option<&'static str>,
    /// `None` when messages differ.
    pub(crate) wire_bytes_per_msg: Option<u64>,
    /// `None` when the server is not ours to ask.
    pub(crate) server: Option<(Snapshot, Snapshot)>,
    pub(crate) client: (Snapshot, Snapshot),
    pub(crate) syscalls: Option<Syscalls>,
    /// How often the server's threads were woken.
    pub(crate) wakeups: Option<u64>,
    pub(crate) server_rss_bytes: Option<u64>,
}

/// System calls of both processes, counted from outside in a window of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syscalls {
    /// All kinds, all threads of the server.
    pub(crate) server_total: u64,
    /// All kinds, all threads of the client.
    pub(crate) client_total: u64,
    pub(crate) server: (Snapshot, Snapshot),
    pub(crate) client: (Snapshot, Snapshot),
}

/// Who counted system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyscallSource {
    /// The kernel: every kind.
    Tracepoint,
    /// The ring itself: its enters only.
    Ring,
}

impl SyscallSource {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Ring => "ring counters",
        }
    }
}

impl Window {
    /// Every figure that can be had, under the window's label.
    ///
    /// # Errors
    ///
    /// When not a single message came through, or when an open loop did not keep its rate.
    pub(crate) fn metrics(&self, round_trips: &Recorder) -> Result<Metrics> {
        let messages = self.messages(self.server.as_ref(), &self.client);
        ensure!(
            messages > 0.0 || self.counted_at == CountedAt::Nowhere,
            "no message came through while measuring"
        );
        if let Some(asked) = self.asked_per_s {
            let part = self.label.as_ref().map_or_else(String::new, |label| format!("part @{label}: "));
            let kept = Saturation { asked, client: self.client }.check();
            kept.map_err(|error| anyhow!("{part}{error}"))?;
        }
        let mut metrics = Metrics::new();
        if self.counted_at != CountedAt::Nowhere {
            self.put_rates(messages, &mut metrics);
        }
        if let Some(server) = &self.server {
            let mut put = |name: &str, value: f64| metrics.insert(name.to_owned(), value);
            put("server_cpu_share", cpu_ns(server) / 1e9 / seconds(server));
            if let Some(spins) = spin_enters(server) {
                put("server_spin_enters_per_s", spins / seconds(server));
            }
            if let Some(wakeups) = self.wakeups {
                put("wakeups_per_s", wakeups as f64 / seconds(server));
            }
        }
        if let Some(bytes) = self.server_rss_bytes {
            metrics.insert(String::from("server_rss_bytes"), bytes as f64);
        }
        round_trips.put(&mut metrics, "rtt_us", "");
        Ok(match &self.label {
            Some(label) => {
                metrics.into_iter().map(|(name, value)| (format!("{name}@{label}"), value)).collect()
            }
            None => metrics,
        })
    }

    /// Throughput, and what a message costs.
    fn put_rates(&self, messages: f64, metrics: &mut Metrics) {
        let counted = match (self.counted_at, &self.server) {
            (CountedAt::Server, Some(server)) => server,
            _ => &self.client,
        };
        let per_s = messages / seconds(counted);
        let mut put = |name: &str, value: f64| metrics.insert(name.to_owned(), value);
        put("msgs_per_s", per_s);
        if let Some(bytes) = self.wire_bytes_per_msg {
            put("bytes_per_s", per_s * bytes as f64);
        }
        if let Some(name) = self.rate_name {
            put(name, per_s);
        }
        if self.shared {
            return;
        }
        put("client_cpu_ns_per_msg", cpu_ns(&self.client) / messages);
        if let Some(server) = &self.server {
            put("server_cpu_ns_per_msg", cpu_ns(server) / messages);
        }
        if let Some(calls) = self.syscalls_per_msg() {
            put("server_syscalls_per_msg", calls);
        }
        if let Some(calls) = self.client_syscalls_per_msg() {
            put("client_syscalls_per_msg", calls);
        }
    }

    /// Who can tell about system calls here.
    pub(crate) fn syscalls_from(&self) -> Option<SyscallSource> {
        match (&self.syscalls, &self.server) {
            (Some(_), _) => Some(SyscallSource::Tracepoint),
            (None, Some((_, end))) if end.enters.is_some() => Some(SyscallSource::Ring),
            _ => None,
        }
    }

    /// System calls of any kind for each message, without those made only to spin.
    fn syscalls_per_msg(&self) -> Option<f64> {
        let (calls, messages) = match (&self.syscalls, &self.server) {
            (Some(counted), _) => {
                let spins = spin_enters(&counted.server).unwrap_or(0.0);
                let messages = self.messages(Some(&counted.server), &counted.client);
                ((counted.server_total as f64 - spins).max(0.0), messages)
            }
            (None, Some(server)) => {
                let enters = server.1.enters?.work - server.0.enters?.work;
                (enters as f64, self.messages(Some(server), &self.client))
            }
            (None, None) => return None,
        };
        (messages > 0.0).then(|| calls / messages)
    }

    /// The same for the client, where the kernel counts.
    fn client_syscalls_per_msg(&self) -> Option<f64> {
        let counted = self.syscalls.as_ref()?;
        let spins = spin_enters(&counted.client).unwrap_or(0.0);
        let messages = self.messages(Some(&counted.server), &counted.client);
        (messages > 0.0).then(|| (counted.client_total as f64 - spins).max(0.0) / messages)
    }

    /// Messages that came through between two pairs of snapshots.
    fn messages(&self, server: Option<&(Snapshot, Snapshot)>, client: &(Snapshot, Snapshot)) -> f64 {
        let (begin, end) = match (self.counted_at, server) {
            (CountedAt::Server, Some(server)) => server,
            _ => client,
        };
        (end.received - begin.received) as f64
    }
}

fn seconds((begin, end): &(Snapshot, Snapshot)) -> f64 {
    (end.at_ns - begin.at_ns).max(1) as f64 / 1e9
}

fn cpu_ns((begin, end): &(Snapshot, Snapshot)) -> f64 {
    (end.cpu_ns - begin.cpu_ns) as f64
}

fn spin_enters((begin, end): &(Snapshot, Snapshot)) -> Option<f64> {
    Some((end.enters?.spin - begin.enters?.spin) as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::Enters;

    fn snapshot(at_ms: u64, cpu_ms: u64, received: u64, work: u64, spin: u64) -> Snapshot {
        Snapshot {
            at_ns: at_ms * 1_000_000,
            cpu_ns: cpu_ms * 1_000_000,
            sent: 0,
            received,
            due: 0,
            enters: Some(Enters { work, spin }),
            rtt_p99_ns: None,
        }
    }

    fn window(counted_at: CountedAt) -> Window {
        Window {
            counted_at,
            label: None,
            asked_per_s: None,
            shared: false,
            rate_name: None,
            wire_bytes_per_msg: Some(68),
            server: Some((snapshot(0, 10, 500, 0, 0), snapshot(2000, 1010, 200_500, 4000, 60_000))),
            client: (snapshot(0, 0, 0, 0, 0), snapshot(1000, 500, 100_000, 0, 0)),
            syscalls: None,
            wakeups: Some(500),
            server_rss_bytes: None,
        }
    }

    fn metrics(window: &Window) -> Metrics {
        window.metrics(&Recorder::new()).unwrap()
    }

    #[test]
    fn one_way_messages_are_counted_where_they_arrive() {
        let metrics = metrics(&window(CountedAt::Server));
        assert_eq!(metrics["msgs_per_s"], 100_000.0);
        assert_eq!(metrics["bytes_per_s"], 6_800_000.0);
        assert_eq!(metrics["server_cpu_ns_per_msg"], 5000.0);
        assert_eq!(metrics["client_cpu_ns_per_msg"], 2500.0);
        assert_eq!(metrics["server_cpu_share"], 0.5);
        assert_eq!(metrics["wakeups_per_s"], 250.0);
        assert_eq!(metrics["server_spin_enters_per_s"], 30_000.0);
        assert_eq!(metrics["server_syscalls_per_msg"], 0.02);
    }

    #[test]
    fn answered_messages_are_counted_at_the_client() {
        let metrics = metrics(&window(CountedAt::Client));
        assert_eq!(metrics["msgs_per_s"], 100_000.0);
        assert_eq!(metrics["server_cpu_ns_per_msg"], 10_000.0);
    }

    #[test]
    fn the_kernels_count_wins_and_leaves_spinning_out() {
        let mut window = window(CountedAt::Client);
        assert_eq!(window.syscalls_from(), Some(SyscallSource::Ring));
        window.syscalls = Some(Syscalls {
            server_total: 5000,
            client_total: 7000,
            server: (snapshot(0, 0, 0, 0, 0), snapshot(1, 0, 0, 0, 3000)),
            client: (snapshot(0, 0, 0, 0, 0), snapshot(1, 0, 1000, 0, 0)),
        });
        assert_eq!(window.syscalls_from(), Some(SyscallSource::Tracepoint));
        assert_eq!(metrics(&window)["server_syscalls_per_msg"], 2.0);
        assert_eq!(metrics(&window)["client_syscalls_per_msg"], 7.0);
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let mut window = window(CountedAt::Client);
        window.server = None;
        let metrics = metrics(&window);
        for absent in ["server_cpu_ns_per_msg", "server_syscalls_per_msg", "server_rss_bytes", "rtt_us_p50"] {
            assert!(!metrics.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn round_trips_give_percentiles() {
        let mut round_trips = Recorder::new();
        round_trips.record(Duration::from_micros(20));
        let metrics = window(CountedAt::Client).metrics(&round_trips).unwrap();
        assert!((metrics["rtt_us_p999"] / 20.0 - 1.0).abs() < 2e-3);
    }

    #[test]
    fn silence_is_an_error() {
        let mut window = window(CountedAt::Client);
        window.client.1.received = 0;
        assert!(window.metrics(&Recorder::new()).is_err());
    }
}
