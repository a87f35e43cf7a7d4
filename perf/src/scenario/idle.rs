//! What connections cost that say nothing.

use std::sync::Arc;

use anyhow::Result;

use super::{CountedAt, Flags, Scenario};
use crate::job::{Job, Load};
use crate::load::{self, Options};
use crate::measure::{Plan, Stage, Taken};
use crate::memory::resident_bytes;
use crate::metric::Metrics;
use crate::pace::{Flow, Pace};
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Idle;

impl Scenario for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn about(&self) -> &'static str {
        "--connections open and silent: memory of each, wake-ups and CPU; all are tried at the end"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        Flags { connections: true, ..Flags::default() }.check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }

    fn drive(&self, _system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let options = Options { probe: true, ..Options::of_depth(1) };
        load::start_with(job, options, Pace { flow: Flow::Silent, ..Pace::default() }, tally)
    }

    fn conduct(&self, stage: &mut Stage<'_>, plan: &Plan<'_>) -> Result<Taken> {
        let address = stage.start_server(plan)?;
        let fixed = stage.server_id().and_then(resident_bytes);
        stage.start_client(plan, address)?;
        stage.run_for("warm-up", plan.load.warmup)?;
        if stage.was_interrupted() {
            return Ok(Taken::default());
        }
        let window = stage.window(plan, "silent")?;
        let mut figures = Metrics::new();
        if let Some((before, after)) = fixed.zip(window.server_rss_bytes) {
            let each = after.saturating_sub(before) as f64 / plan.load.connections as f64;
            figures.insert(String::from("server_user_bytes_per_connection"), each);
            figures.insert(String::from("server_rss_bytes"), before as f64);
        }
        Ok(Taken { windows: vec![window], figures })
    }

    fn counted_at(&self) -> CountedAt {
        CountedAt::Nowhere
    }

    fn is_remote(&self) -> bool {
        false
    }
}
