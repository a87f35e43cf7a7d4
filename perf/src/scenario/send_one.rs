//! One direction, sent the way a system's documentation shows first.

use std::sync::Arc;

use anyhow::Result;

use super::{Scenario, check_single};
use crate::job::{Job, Load};
use crate::systems::{Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct SendOne;

impl Scenario for SendOne {
    fn name(&self) -> &'static str {
        "send-one"
    }

    fn about(&self) -> &'static str {
        "as stream, but each message is awaited; with --from-thread a thread sends through a Sender"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Sink
    }

    fn check(&self, load: &Load) -> Result<()> {
        check_single(self.name(), load)
    }

    fn drive(&self, system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        if job.load.from_thread { system.send_from_thread(job, tally) } else { system.send_one(job, tally) }
    }
}
