//! A seed is a whole run.

use std::sync::Arc;

use qwormhole_sim::{Conditions, Simulation};

use crate::harness::{run_to_the_end, server_and_clients, tight};
use crate::streamer::{Plan, Streamer};

fn run(seed: u64) -> (u64, u64, Vec<String>) {
    let mut sim = Simulation::new(seed);
    let config = Arc::new(tight(sim.rng()));
    let mut rng = sim.rng().fork();
    let plan = Plan { messages: 20, close_after: None, pause_percent: 0 };
    let (listener, host) =
        server_and_clients(&mut sim, &config, move || Streamer::new(&mut rng, plan.clone()).0);
    for _ in 0..3 {
        let plan = Plan { messages: 20, close_after: Some(20), pause_percent: 0 };
        let (client, _) = Streamer::new(sim.rng(), plan);
        let conditions = Conditions::random(sim.rng());
        let peer = sim.connect(listener, host, config.clone(), client, conditions);
        if sim.rng().bool() {
            let after = std::time::Duration::from_millis(sim.rng().u64(0..1000));
            sim.at(after, move |sim| sim.cut(peer));
        }
    }
    run_to_the_end(&mut sim);
    let log = sim.log();
    (log.digest(), log.entries(), log.recent().map(ToString::to_string).collect())
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
        assert_ne!(run(seed).0, run(seed + 1).0, "seeds {seed} and {}", seed + 1);
    }
}
