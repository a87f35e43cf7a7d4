//! One direction, sent the way a system's documentation shows first.

use anyhow::Result;

use super::{Scenario, check_single};
use crate::job::Load;
use crate::systems::{ClientRole, ServerRole};

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

    fn client_role(&self, load: &Load) -> Option<ClientRole> {
        Some(if load.from_thread { ClientRole::SendFromThread } else { ClientRole::SendOne })
    }
}
