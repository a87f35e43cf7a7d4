//! One request in flight: what a message costs when nothing else happens.

use std::sync::Arc;

use anyhow::Result;

use super::{Scenario, check_no_thread, check_single};
use crate::job::{Job, Load};
use crate::systems::{Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct PingPong;

impl Scenario for PingPong {
    fn name(&self) -> &'static str {
        "pingpong"
    }

    fn about(&self) -> &'static str {
        "one request in flight on one connection; both ends are the system; round-trip times"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        check_single(self.name(), load)?;
        check_no_thread(load)
    }

    fn drive(&self, system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        system.ping_pong(job, tally)
    }
}
