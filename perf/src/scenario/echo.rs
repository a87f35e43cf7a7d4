//! Many requests in flight against a server: what a message costs the server under load.

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::Load;
use crate::systems::{ClientRole, ServerRole};

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
        Flags { connections: true, depth: true, ..Flags::default() }.check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }
}
