//! One direction, as fast as it goes.

use std::sync::Arc;

use anyhow::Result;

use super::{Scenario, check_no_thread, check_single};
use crate::job::{Job, Load};
use crate::systems::{Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Stream;

impl Scenario for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn about(&self) -> &'static str {
        "one connection, one direction, as fast as it goes; the receiver checks every byte"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Sink
    }

    fn check(&self, load: &Load) -> Result<()> {
        check_single(self.name(), load)?;
        check_no_thread(load)
    }

    fn drive(&self, system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        system.stream(job, tally)
    }
}
