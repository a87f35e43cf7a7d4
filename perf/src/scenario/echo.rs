//! Many requests in flight against a server: what a message costs the server under load.

use std::sync::Arc;

use anyhow::Result;

use super::{Scenario, check_no_thread};
use crate::job::{Job, Load};
use crate::load;
use crate::systems::{Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Echo;

impl Scenario for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn about(&self) -> &'static str {
        "--connections x --depth requests in flight (closed loop) from one neutral client; the server echoes"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        check_no_thread(load)
    }

    fn drive(&self, _system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        load::start(job, tally)
    }
}
