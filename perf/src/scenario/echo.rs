//! Many requests in flight against a server: what a message costs the server under load.

use anyhow::Result;

use super::{Scenario, check_no_thread};
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
        check_no_thread(load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        None
    }
}
