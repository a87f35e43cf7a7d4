//! How a server follows a load that changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{Flags, Scenario};
use crate::job::{Command, Job, Load};
use crate::load::{self, Options};
use crate::measure::{Plan, Stage, Taken};
use crate::metric::Metrics;
use crate::pace::{Flow, Pace};
use crate::saturation::Saturation;
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Steps;

impl Scenario for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn about(&self) -> &'static str {
        "open loop at 10, 70, 95 and again 10 % of the measured capacity; --mixed: 5 % of 1 MiB"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        ensure!(!load.warmup.is_zero(), "steps needs a --warmup: the time in which each step settles");
        Flags { connections: true, mixed: true, slicing: true, ..Flags::default() }.check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }

    fn drive(&self, _system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let each = IN_FLIGHT_MAX / job.load.connections.max(1) / (job.load.size + 64);
        let options = Options {
            closed_depth: CAPACITY_DEPTH.min(each.max(1)),
            open_depth: each.clamp(1, OPEN_DEPTH_MAX),
            large: if job.load.mixed { LARGE_CONNECTIONS } else { 0 },
            probe: false,
        };
        load::start_with(job, options, Pace::default(), tally)
    }

    fn conduct(&self, stage: &mut Stage<'_>, plan: &Plan<'_>) -> Result<Taken> {
        stage.start(plan)?;
        stage.run_for("warm-up", plan.load.warmup)?;
        let Some(capacity) = capacity(stage)? else { return Ok(Taken::default()) };
        let mut taken = Taken::default();
        for (label, share) in STEPS {
            let asked = (capacity * share).max(1.0);
            stage.pace(Pace { flow: Flow::Open(asked), label: Some(label.to_owned()), attack: false })?;
            stage.run_for(&format!("settling @{label}"), plan.load.warmup)?;
            if stage.was_interrupted() {
                break;
            }
            let mut window = stage.window(plan, &format!("step @{label}"))?;
            window.label = Some(label.to_owned());
            window.asked_per_s = Some(asked);
            if plan.load.mixed {
                window.wire_bytes_per_msg = None;
            }
            taken.windows.push(window);
        }
        taken.figures = Metrics::from([(String::from("msgs_per_s"), capacity)]);
        Ok(taken)
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// The highest open-loop rate that the server keeps, searched downwards from what a closed loop reaches; `None`
/// when interrupted.
fn capacity(stage: &mut Stage<'_>) -> Result<Option<f64>> {
    let (_, begin) = stage.snapshots(&Command::Look)?;
    stage.run_for("capacity", TRIAL)?;
    let (_, end) = stage.snapshots(&Command::Look)?;
    let seconds = (end.at_ns - begin.at_ns).max(1) as f64 / 1e9;
    let mut rate = (end.received - begin.received) as f64 / seconds;
    for _ in 0..TRIALS_MAX {
        if stage.was_interrupted() {
            return Ok(None);
        }
        ensure!(rate >= 10.0, "no message came through while the capacity was measured");
        stage.pace(Pace { flow: Flow::Open(rate), ..Pace::default() })?;
        stage.run_for("capacity, settling", TRIAL / 4)?;
        let (_, begin) = stage.snapshots(&Command::Look)?;
        stage.run_for("capacity, trial", TRIAL)?;
        let (_, end) = stage.snapshots(&Command::Look)?;
        if (Saturation { asked: rate, client: (begin, end) }).check().is_ok() {
            return Ok(Some(rate));
        }
        rate *= TRIAL_STEP;
    }
    bail!("no open loop was kept while the capacity was measured, down to {rate:.0} msgs/s");
}

/// What the metrics are suffixed with, and the share of the capacity.
const STEPS: [(&str, f64); 4] = [("10", 0.1), ("70", 0.7), ("95", 0.95), ("10b", 0.1)];
/// In flight on each connection while a closed loop looks for the capacity.
const CAPACITY_DEPTH: usize = 64;
/// In flight on each connection of an open loop: practically as much as comes.
const OPEN_DEPTH_MAX: usize = 4096;
/// Payload in flight over all connections for small messages.
const IN_FLIGHT_MAX: usize = 256 << 20;
/// Connections for the large messages of a mix.
const LARGE_CONNECTIONS: usize = 4;
/// How long a rate is tried.
const TRIAL: Duration = Duration::from_secs(1);
const TRIALS_MAX: u32 = 20;
/// The next rate to be tried after one that was too high.
const TRIAL_STEP: f64 = 0.93;
