//! One direction, as fast as it goes.

use anyhow::Result;

use super::{Flags, Scenario};
use crate::job::Load;
use crate::systems::{ClientRole, ServerRole};

pub(crate) struct Stream;

impl Scenario for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn about(&self) -> &'static str {
        "one connection, one direction, as fast as it goes; the receiver checks every byte"
    }

    fn server_role(&self) -> ServerRole {
        ServerRole::Sink
    }

    fn check(&self, load: &Load) -> Result<()> {
        Flags::default().check(self, load)
    }

    fn client_role(&self, _load: &Load) -> Option<ClientRole> {
        Some(ClientRole::Stream)
    }
}
