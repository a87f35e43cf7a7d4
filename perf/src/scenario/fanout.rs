//! One server, many subscribers, the same messages to all.

use std::sync::Arc;

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::{Job, Load};
use crate::load;
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;

pub(crate) struct Fanout;

impl Scenario for Fanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn about(&self) -> &'static str {
        "one server sends each message to --connections subscribers, which check every byte"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Publish
    }

    fn check(&self, load: &Load) -> Result<()> {
        Flags { connections: true, ..Flags::default() }.check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }

    fn drive(&self, _system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        load::subscribe(job, tally)
    }

    fn rate_name(&self) -> Option<&'static str> {
        Some("deliveries_per_s")
    }
}
