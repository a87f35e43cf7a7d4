//! The schedules of the normal test run, and the proof that they find faults.

use std::num::NonZero;
use std::{env, thread};

use crate::schedule::{Coverage, Defect, seeded_schedule};

/// Runs `QWORMHOLE_SCHEDULES` schedules (default 2,000) from seed `QWORMHOLE_SCHEDULE_BASE` (default 1) on all
/// CPUs, or shows the one of `QWORMHOLE_SCHEDULE_SEED`.
#[test]
fn random_schedules_lose_duplicate_and_misdeliver_nothing() {
    if let Some(seed) = number("QWORMHOLE_SCHEDULE_SEED") {
        seeded_schedule(seed, None, true).result.unwrap();
        return;
    }
    let schedules = number("QWORMHOLE_SCHEDULES").unwrap_or(2000);
    let base = number("QWORMHOLE_SCHEDULE_BASE").unwrap_or(1);
    println!("{schedules} schedules from seed {base}");
    let step = thread::available_parallelism().map_or(1, NonZero::get);
    let workers: Vec<_> = (0..step)
        .map(|first| {
            let seeds = (base..base + schedules).skip(first).step_by(step);
            thread::spawn(|| run_all(seeds))
        })
        .collect();
    let mut all = Tally::default();
    for worker in workers {
        let tally = worker.join().unwrap();
        all.coverage.merge(&tally.coverage);
        all.turns += tally.turns;
        all.broken.extend(tally.broken);
    }
    if let Some((seed, broken)) = all.broken.iter().min() {
        let replay = "cargo test -p qwormhole-engine schedules -- --nocapture";
        panic!("{broken}\nreplay: QWORMHOLE_SCHEDULE_SEED={seed} {replay}");
    }
    println!("{} turns; outcomes by operation:\n{}", all.turns, all.coverage);
    assert_eq!(all.coverage.missing(), [""; 0], "outcomes that no schedule met");
}

/// What became of some schedules.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    turns: u64,
    /// The first seed that broke a rule, and the rule.
    broken: Vec<(u64, String)>,
}

fn run_all(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let run = seeded_schedule(seed, None, false);
        tally.coverage.merge(&run.coverage);
        match run.result {
            Ok(turns) => tally.turns += turns,
            Err(broken) => {
                tally.broken.push((seed, broken));
                break;
            }
        }
    }
    tally
}

#[test]
fn every_seeded_defect_is_found() {
    let mut missed = Vec::new();
    for defect in Defect::ALL {
        let broken = (1..=10_000).find_map(|seed| {
            let run = seeded_schedule(seed, Some(defect), false);
            run.result.err().map(|broken| (seed, broken))
        });
        match broken {
            Some((schedules, broken)) => println!("{defect:?} found by schedule {schedules}: {broken}"),
            None => missed.push(defect),
        }
    }
    assert_eq!(missed, [], "defects that 10,000 schedules did not find");
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {value:?}")))
}
