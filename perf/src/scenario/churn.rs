//! Connections that come and go.

use std::sync::Arc;

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::{Job, Load};
use crate::load;
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Churn;

impl Scenario for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn about(&self) -> &'static str {
        "connect, one message and its echo, close; --connections at a time from one neutral client"
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
        load::churn(job, tally)
    }

    fn rate_name(&self) -> Option<&'static str> {
        Some("connections_per_s")
    }
}
