//! Flags of `compare`.

use clap::Args;

use super::{LoadFlags, OutputFlags, PlacementFlags};

#[derive(Clone, Debug, Args)]
pub(crate) struct CompareFlags {
    /// What to measure (see `list`)
    pub(crate) scenario: String,
    /// Systems (see `list`), the one that the others are set against first; one named twice is compared with
    /// itself and appears as engine and engine#2
    #[arg(long, value_name = "A,B,...")]
    pub(crate) systems: String,
    /// How often each system is measured, in fresh processes each time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) placement: PlacementFlags,
}

pub(super) const HELP: &str = "\
Rounds go there and back (A B C, C B A, A B C, ...), so that no system always comes after the same other one.
Ratios are taken within each round. A ratio has a verdict only when its 95 % interval lies on one side of 1
and its median is more than 3 % away from it; docs/benchmarking.md has the rule.

Examples:
  qwormhole-perf compare echo --systems engine,fallback --rounds 10 --connections 64 --depth 16 --json out.json
  qwormhole-perf compare stream --systems engine,engine --rounds 10 --duration 1s
  qwormhole-perf compare pingpong --systems engine,fallback --fail-if 'engine/fallback rtt_us_p50 > 1.1'

--fail-if 'METRIC OP VALUE' is about every system's median, 'A/B METRIC OP VALUE' about the ratio of two.

Exit codes: 0 measured; 1 something went wrong; 2 flags; 98 the rounds differ too much to tell whether a
--fail-if about a ratio holds (more or longer rounds help); 99 a --fail-if holds; 130 interrupted (what was
measured until then is printed, saved and marked partial).";
