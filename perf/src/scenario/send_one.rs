//! One direction, sent the way a system's documentation shows first.

use anyhow::Result;

use super::{Flags, Scenario};
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
        Flags { from_thread: true, ..Flags::default() }.check(self, load)
    }

    fn client_role(&self, load: &Load) -> Option<ClientRole> {
        Some(if load.from_thread { ClientRole::SendFromThread } else { ClientRole::SendOne })
    }
}
