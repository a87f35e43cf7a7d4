//! The schedules of the normal test run, and the proof that they find faults.

use std::env;

use crate::schedule::{Coverage, Defect, seeded_schedule};

/// Runs `QWORMHOLE_SCHEDULES` schedules (default 2,000) from seed `QWORMHOLE_SCHEDULE_BASE` (default 1), or
/// shows the one of `QWORMHOLE_SCHEDULE_SEED`.
#[test]
fn random_schedules_lose_duplicate_and_misdeliver_nothing() {
    if let Some(seed) = number("QWORMHOLE_SCHEDULE_SEED") {
        seeded_schedule(seed, None, true).result.unwrap();
        return;
    }
    let schedules = number("QWORMHOLE_SCHEDULES").unwrap_or(2000);
    let base = number("QWORMHOLE_SCHEDULE_BASE").unwrap_or(1);
    let mut coverage = Coverage::default();
    let mut turns = 0;
    println!("{schedules} schedules from seed {base}");
    for seed in base..base + schedules {
        let run = seeded_schedule(seed, None, false);
        coverage.merge(&run.coverage);
        match run.result {
            Ok(taken) => turns += taken,
            Err(broken) => panic!(
                "{broken}\nreplay: QWORMHOLE_SCHEDULE_SEED={seed} cargo test -p qwormhole-engine schedules -- --nocapture"
            ),
        }
    }
    println!("{turns} turns; outcomes by operation:\n{coverage}");
    assert_eq!(coverage.missing(), [""; 0], "outcomes that no schedule met");
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
