//! What peers that misbehave cost the others.

use std::sync::Arc;

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::{Job, Load};
use crate::load;
use crate::measure::{Plan, Stage, Taken};
use crate::memory::{forget_peak, peak_bytes};
use crate::metric::Metrics;
use crate::pace::{Flow, Pace};
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;
use crate::window::Window;

pub(crate) struct Overload;

impl Scenario for Overload {
    fn name(&self) -> &'static str {
        "overload"
    }

    fn about(&self) -> &'static str {
        "readers that stop and writers that flood (--attackers) beside --connections honest peers"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        let flags = Flags { connections: true, depth: true, rate: true, attackers: true, ..Flags::default() };
        flags.check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }

    fn drive(&self, _system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let attackers = if job.load.attackers == 0 { ATTACKERS } else { job.load.attackers };
        load::start_attacked(job, attackers, pace(&job.load, false), tally)
    }

    /// The control run first: the same connections from the same processes, all of them with valid traffic.
    fn conduct(&self, stage: &mut Stage<'_>, plan: &Plan<'_>) -> Result<Taken> {
        stage.start(plan)?;
        stage.run_for("warm-up", plan.load.warmup)?;
        if stage.was_interrupted() {
            return Ok(Taken::default());
        }
        let honest = |window: Window, label: Option<&str>| Window {
            label: label.map(str::to_owned),
            shared: true,
            asked_per_s: (plan.load.rate > 0).then_some(plan.load.rate as f64),
            ..window
        };
        let control = honest(stage.window(plan, "control run")?, Some(CONTROL));
        if stage.was_interrupted() {
            return Ok(Taken { windows: vec![control], figures: Metrics::new() });
        }
        let server = stage.server_id().filter(|server| forget_peak(*server));
        stage.pace(pace(plan.load, true))?;
        stage.run_for("the attack begins", plan.load.warmup)?;
        let mut attack = honest(stage.window(plan, "under attack")?, None);
        attack.server_rss_bytes = server.and_then(peak_bytes);
        Ok(Taken { windows: vec![control, attack], figures: Metrics::new() })
    }

    fn is_remote(&self) -> bool {
        false
    }
}

fn pace(load: &Load, attack: bool) -> Pace {
    Pace { flow: Flow::of(load), label: (!attack).then(|| CONTROL.to_owned()), attack }
}

/// What the metrics of the control run are suffixed with.
const CONTROL: &str = "control";
/// How many attackers there are unless said otherwise.
const ATTACKERS: usize = 16;
