//! One request in flight: what a message costs when nothing else happens.

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::Load;
use crate::systems::{ClientRole, ServerRole};

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
        Flags::default().check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        Some(ClientRole::PingPong)
    }
}
