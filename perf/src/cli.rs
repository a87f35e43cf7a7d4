//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::cpus::Cpus;
use crate::duration::parse_duration;
use crate::job::Load;
use crate::slicing::Slicing;
use crate::threshold::Threshold;

mod compare;
mod report;

pub(crate) use self::compare::CompareFlags;
pub(crate) use self::report::ReportFlags;

/// Measures qwormhole over real sockets between real processes.
#[derive(Debug, Parser)]
#[command(name = "qwormhole-perf", version, about, long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure one system (this is what happens without a command)
    #[command(after_help = RUN_HELP)]
    Run(Box<RunFlags>),
    /// Measure systems side by side, in rounds that take turns
    #[command(after_help = compare::HELP)]
    Compare(Box<CompareFlags>),
    /// Make pictures and tables of saved results
    #[command(after_help = report::HELP)]
    Report(ReportFlags),
    /// Be a plain echo server for length-prefixed frames, until Ctrl-C
    Server(ServerFlags),
    /// Measure a server that runs already, here or on another machine
    #[command(after_help = CLIENT_HELP)]
    Client(Box<ClientFlags>),
    /// List scenarios and systems, and why a system is not available here
    List,
    /// Say what the kernel grants: ring features, memory to lock, tier, refusals in words
    Doctor,
    /// Be one of the two processes of a run
    #[command(name = CHILD_COMMAND, hide = true)]
    Child,
}

/// Name of the command by which a run starts its processes.
pub(crate) const CHILD_COMMAND: &str = "child";

#[derive(Clone, Debug, Args)]
pub(crate) struct RunFlags {
    /// What to measure (see `list`); without it: pingpong, then stream
    pub(crate) scenario: Option<String>,
    /// What plays both ends (see `list`)
    #[arg(long, default_value = "engine")]
    pub(crate) system: String,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) placement: PlacementFlags,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PlacementFlags {
    /// CPUs of the server process, such as 0 or 0,2 or 4-7 [default: the first one allowed, if there are two]
    #[arg(long, value_name = "LIST")]
    pub(crate) server_cpus: Option<Cpus>,
    /// CPUs of the client process [default: the second one allowed, if there are two]
    #[arg(long, value_name = "LIST")]
    pub(crate) client_cpus: Option<Cpus>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerFlags {
    /// What serves (see `list`)
    #[arg(long, default_value = "engine")]
    pub(crate) system: String,
    /// Where: tcp://host:port, unix:/path or unix:@name
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: String,
    /// Serve only clients that show this token and are of the same version
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// CPUs of the server, each with a shard of its own [default: one shard, anywhere]
    #[arg(long, value_name = "LIST")]
    pub(crate) server_cpus: Option<Cpus>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ClientFlags {
    /// What to measure: pingpong, echo, rate or churn
    #[arg(default_value = "pingpong")]
    pub(crate) scenario: String,
    /// What the client's end is in pingpong
    #[arg(long, default_value = "engine")]
    pub(crate) system: String,
    /// Where the server is: tcp://host:port, unix:/path or unix:@name
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: String,
    /// What to show to a server that was started with a token; also checks that versions agree
    #[arg(long)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    /// CPUs of the client process [default: anywhere]
    #[arg(long, value_name = "LIST")]
    pub(crate) client_cpus: Option<Cpus>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LoadFlags {
    /// How long to measure: 2, 2s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// How long the load runs before; not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// How long the load runs after; not measured
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    cooldown: Duration,
    /// Payload of each message in bytes, up to 4 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Connections; in fanout the subscribers, in overload the honest peers
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Requests in flight on each connection (echo, rate, overload); 1 waits for each reply
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// Messages per second over all connections, as an open loop (rate, overload) [default: closed loop]
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u64,
    /// How long the server's handler works on each message (rate)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    think: Duration,
    /// 95 % messages of 256 B and 5 % of 1 MiB, these on connections of their own (steps)
    #[arg(long)]
    mixed: bool,
    /// How qwormhole slices large frames: off, auto or a number of bytes (steps)
    #[arg(long, value_name = "HOW")]
    slicing: Option<Slicing>,
    /// Connections that misuse the server (overload) [default: 16]
    #[arg(long, value_name = "N", default_value_t = 0)]
    attackers: usize,
    /// Send from a thread of its own, not from the connection's (send-one)
    #[arg(long)]
    from_thread: bool,
    /// Over TLS 1.3, with a certificate made for the run (pingpong, stream, send-one)
    #[arg(long)]
    tls: bool,
}

impl LoadFlags {
    /// The load, checked for what no scenario can do.
    pub(crate) fn load(&self) -> Result<Load> {
        ensure!(self.size <= SIZE_MAX, "--size {}: a message has at most {SIZE_MAX} bytes", self.size);
        ensure!(!self.duration.is_zero(), "--duration must be above zero");
        let in_flight = self.connections.checked_mul(self.depth);
        ensure!(in_flight.is_some_and(|all| all > 0), "--connections and --depth must be at least 1");
        let bytes = in_flight.and_then(|all| all.checked_mul(self.size + 64));
        let fits = bytes.is_some_and(|bytes| bytes <= IN_FLIGHT_MAX);
        ensure!(fits, "--connections x --depth x --size is above {} GiB in flight", IN_FLIGHT_MAX >> 30);
        ensure!(
            self.rate <= RATE_MAX,
            "--rate {}: nothing here sends above {RATE_MAX} per second",
            self.rate
        );
        ensure!(self.attackers <= ATTACKERS_MAX, "--attackers: at most {ATTACKERS_MAX}");
        let size = if self.mixed { MIXED_SIZE } else { self.size };
        Ok(Load {
            size,
            connections: self.connections,
            depth: self.depth,
            from_thread: self.from_thread,
            tls: self.tls,
            rate: self.rate,
            think: self.think,
            mixed: self.mixed,
            attackers: self.attackers,
            slicing: self.slicing,
            duration: self.duration,
            warmup: self.warmup,
            cooldown: self.cooldown,
        })
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OutputFlags {
    /// Write the result as JSON (schema: perf/schema.json); needs a scenario
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the percentile distribution of round trips for HdrHistogram plotters; needs a scenario. With
    /// compare one file per system: out.hgrm becomes out.engine.hgrm, out.engine-2.hgrm and so on
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Exit with code 99 when this holds, such as 'rtt_us_p99 > 200', or with compare 'engine/fallback
    /// msgs_per_s < 0.9' (the median of the rounds' ratios); may be repeated
    #[arg(long, value_name = "[A/B] METRIC OP VALUE")]
    pub(crate) fail_if: Vec<Threshold>,
    /// No progress on standard error
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// Longest payload that both ends accept with their defaults.
const SIZE_MAX: usize = 4 << 20;
/// What the load generator may hold in memory.
const IN_FLIGHT_MAX: usize = 4 << 30;
/// Messages per second.
const RATE_MAX: u64 = 100_000_000;
const ATTACKERS_MAX: usize = 10_000;
/// Payload of the small messages of a mix.
const MIXED_SIZE: usize = 256;

const ABOUT: &str = "\
Measures qwormhole over real sockets between real processes.

A server and a client process are started, each pinned to a CPU of its own, and exchange messages over
loopback. Every byte that arrives is checked. Progress goes to standard error, results to standard output.

Without a command: round trips (pingpong), then throughput (stream), on io_uring.";

const EXAMPLES: &str = "\
Examples:
  qwormhole-perf                                        a first look, about 15 seconds
  qwormhole-perf run pingpong --system fallback         the same round trips on tokio
  qwormhole-perf run echo --connections 64 --depth 16   a busy server: CPU and system calls per message
  qwormhole-perf run stream --size 1024 --json out.json
  qwormhole-perf compare echo --systems engine,fallback --rounds 10 --json out.json
  qwormhole-perf report out.json --html out.html
  qwormhole-perf doctor                                 why io_uring is, or is not, used here";

const RUN_HELP: &str = "\
Examples:
  qwormhole-perf run echo --connections 64 --depth 16 --duration 10s
  qwormhole-perf run send-one --from-thread
  qwormhole-perf run pingpong --system engine-unix --hgrm round-trips.hgrm
  qwormhole-perf run pingpong --fail-if 'rtt_us_p99 > 200' --fail-if 'lost_messages > 0'

Exit codes: 0 measured; 1 something went wrong; 2 flags; 99 a --fail-if holds; 130 interrupted (what was
measured until then is printed and marked partial).";

const CLIENT_HELP: &str = "\
Example, on two machines:
  server$ qwormhole-perf server --listen tcp://0.0.0.0:7000 --token secret
  client$ qwormhole-perf client echo --connect tcp://server:7000 --token secret --connections 64

Any echo server for frames (four bytes of big-endian length, then the payload) can be measured without a
token. Figures about the server's process need `run`.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> Result<RunFlags, clap::Error> {
        let all = ["qwormhole-perf", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Some(Command::Run(flags)) => Ok(*flags),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_arguments_are_a_run() {
        assert!(Cli::try_parse_from(["qwormhole-perf"]).unwrap().command.is_none());
    }

    #[test]
    fn every_flag_of_a_load_arrives() {
        let flags = run(&[
            "echo",
            "--system",
            "fallback",
            "--duration",
            "500ms",
            "--warmup",
            "2",
            "--cooldown",
            "1s",
            "--size",
            "256",
            "--connections",
            "64",
            "--depth",
            "16",
            "--server-cpus",
            "0",
            "--client-cpus",
            "1,3",
            "--fail-if",
            "rtt_us_p99 > 9",
            "--fail-if",
            "msgs_per_s < 5",
        ])
        .unwrap();
        let load = flags.load.load().unwrap();
        assert_eq!((load.size, load.connections, load.depth), (256, 64, 16));
        assert_eq!(load.duration, Duration::from_millis(500));
        assert_eq!((load.warmup, load.cooldown), (Duration::from_secs(2), Duration::from_secs(1)));
        assert_eq!(flags.placement.client_cpus.unwrap().as_slice(), [1, 3]);
        assert_eq!(flags.output.fail_if.len(), 2);
    }

    #[test]
    fn bad_values_are_refused_by_the_parser() {
        for bad in [["--duration", "soon"], ["--fail-if", "p99"], ["--server-cpus", "x"], ["--size", "-1"]] {
            assert!(run(&bad).is_err(), "{bad:?}");
        }
        assert!(run(&["--speed"]).is_err());
    }

    #[test]
    fn loads_that_nothing_can_do_are_refused() {
        let bad: [&[&str]; 5] = [
            &["--size", "4194305"],
            &["--duration", "0"],
            &["--connections", "0"],
            &["--depth", "0"],
            &["--connections", "100000", "--depth", "100000"],
        ];
        for flags in bad {
            assert!(run(flags).unwrap().load.load().is_err(), "{flags:?}");
        }
        assert!(run(&["--size", "4194304"]).unwrap().load.load().is_ok());
    }
}
