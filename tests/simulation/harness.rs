//! Runs a scenario on many seeds and says how to replay the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use qwormhole_proto::{Config, Endpoint, Handler, RateLimit};
use qwormhole_sim::{HostId, ListenerId, Outcome, Simulation};

/// Runs `scenario` on every seed. `test` is the test's path, for the command that replays a failure.
pub(crate) fn for_each_seed(test: &str, scenario: impl Fn(&mut Simulation)) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
    };
    let one = number("QWORMHOLE_SIM_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("QWORMHOLE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut sim = Simulation::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(&mut sim))) {
            let shown = if one.is_some() { usize::MAX } else { LOG_LINES };
            let entries: Vec<String> = sim.log().recent().map(ToString::to_string).collect();
            for line in &entries[entries.len().saturating_sub(shown)..] {
                eprintln!("{line}");
            }
            eprintln!(
                "seed {seed} failed; replay: QWORMHOLE_SIM_SEED={seed} cargo test --test simulation {test}"
            );
            resume_unwind(panic);
        }
    }
}

/// Runs until nothing can happen any more and checks that every connection is gone and every handler sound.
pub(crate) fn run_to_the_end(sim: &mut Simulation) {
    run_to_the_end_with_panics(sim, 0);
}

/// As [`run_to_the_end`], in a scenario whose handlers panic `panics` times.
pub(crate) fn run_to_the_end_with_panics(sim: &mut Simulation, panics: u64) {
    let outcome = sim.run(Duration::from_secs(100_000));
    let stats = sim.stats_total();
    assert_eq!(stats.panics, panics, "handlers that panicked");
    assert_eq!(outcome, Outcome::Idle, "something never ends");
    assert_eq!(
        (stats.connections, stats.opened),
        (0, stats.closed),
        "every connection that opened is closed once"
    );
}

/// A server host with one listener, and a client host.
pub(crate) fn server_and_clients<H: Handler>(
    sim: &mut Simulation,
    config: &Arc<Config>,
    mut handler: impl FnMut() -> H + 'static,
) -> (ListenerId, HostId) {
    let server = sim.add_host();
    let clients = sim.add_host();
    let service = move |_: &qwormhole_proto::PeerInfo| handler();
    (sim.listen(server, Endpoint::new(1000), config.clone(), service), clients)
}

/// No deadline cuts a connection short, whatever the network does.
pub(crate) fn patient() -> Config {
    let mut config = Config::default();
    config.limits.stall_timeout = Duration::ZERO;
    config.limits.frame_timeout = Duration::ZERO;
    config.limits.close_flush_timeout = Duration::from_secs(20_000);
    config.limits.linger_timeout = Duration::from_secs(20_000);
    config
}

/// [`patient`], with queues so small that they fill, and now and then a rate limit.
pub(crate) fn tight(rng: &mut Rng) -> Config {
    let mut config = patient();
    let limits = &mut config.limits;
    limits.max_backpressure_bytes = 1 << rng.u32(10..19);
    limits.high_watermark_bytes = rng.usize(1..=limits.max_backpressure_bytes);
    limits.low_watermark_bytes = rng.usize(0..limits.high_watermark_bytes);
    limits.remote_bytes_max = 1 << rng.u32(0..16);
    limits.transmit_bytes_max = 1 << rng.u32(12..18);
    if rng.u8(0..3) == 0 {
        let rate = 1 << rng.u32(16..24);
        config.rate_limit =
            Some(RateLimit::new(rate).with_burst((1 << rng.u32(9..24)).max(rate.div_ceil(50))));
    }
    config.validate().expect("random limits fit together");
    config
}

const SEEDS: u64 = 200;
const LOG_LINES: usize = 30;
