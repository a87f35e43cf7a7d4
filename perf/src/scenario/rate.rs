//! A rate that does not wait for the server: latency as users of a service see it.

use anyhow::{Result, ensure};

use super::{Flags, Scenario};
use crate::job::Load;
use crate::systems::{ClientRole, ServerRole, System};

pub(crate) struct Rate;

impl Scenario for Rate {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn about(&self) -> &'static str {
        "--rate msgs/s (open loop) from one neutral client, latency from the intended time of sending"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Echo
    }

    fn check(&self, load: &Load) -> Result<()> {
        ensure!(load.rate > 0, "rate needs to know it: --rate MSGS_PER_SECOND");
        Flags { connections: true, depth: true, rate: true, think: true, ..Flags::default() }
            .check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }

    fn admits(&self, system: &dyn System, load: &Load) -> Result<(), &'static str> {
        system.serves(self.server_role())?;
        if load.think.is_zero() { Ok(()) } else { system.thinks() }
    }
}
