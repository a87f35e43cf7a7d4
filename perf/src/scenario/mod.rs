//! What can be measured. One file each; this one lists them.

mod echo;
mod pingpong;
mod send_one;
mod stream;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::job::{Job, Load, Side};
use crate::load;
use crate::systems::{ClientRole, Part, ServerRole, System};
use crate::tally::Tally;

/// One kind of load and the figures that it is about.
pub(crate) trait Scenario: Sync {
    /// As on the command line.
    fn name(&self) -> &'static str;

    /// What happens, in one line.
    fn about(&self) -> &'static str;

    /// What the server does with messages.
    fn server_role(&self) -> ServerRole;

    /// Whether the scenario makes sense of these flags.
    ///
    /// # Errors
    ///
    /// Says which flag does not fit, and what would.
    fn check(&self, load: &Load) -> Result<()>;

    /// What the client does; `None` where the neutral load generator drives the server.
    fn client_role(&self, load: &Load) -> Option<ClientRole>;

    /// Starts the client's side; messages flow when this returns.
    fn drive(&self, system: &dyn System, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        match self.client_role(&job.load) {
            Some(role) => system.drive(role, job, tally),
            None => load::start(job, tally),
        }
    }

    /// Whether a system can play its parts.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn admits(&self, system: &dyn System, load: &Load) -> Result<(), &'static str> {
        system.serves(self.server_role())?;
        if load.tls {
            system.tls().check()?;
        }
        match self.client_role(load) {
            Some(role) => system.drives(role),
            None if load.tls => {
                Err("the neutral load generator speaks no TLS; pingpong, stream and send-one do")
            }
            None => system.serves_neutral(),
        }
    }

    /// Where messages are counted.
    fn counted_at(&self) -> CountedAt {
        match self.server_role() {
            ServerRole::Echo => CountedAt::Client,
            ServerRole::Sink => CountedAt::Server,
            ServerRole::Publish => CountedAt::Client,
        }
    }

    /// Bytes on the wire for each message, in one direction.
    fn wire_bytes(&self, size: usize) -> u64 {
        size as u64 + FRAME_HEADER
    }
}

/// The process whose received messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountedAt {
    /// One-way messages, where they arrive.
    Server,
    /// Answered messages, when the answer is back.
    Client,
}

impl CountedAt {
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Server => Side::Server,
            Self::Client => Side::Client,
        }
    }
}

/// Every scenario, in the order of `list`.
pub(crate) const ALL: [&dyn Scenario; 4] =
    [&pingpong::PingPong, &echo::Echo, &stream::Stream, &send_one::SendOne];

/// The scenarios of a run that names none.
pub(crate) const DEFAULT: [&dyn Scenario; 2] = [&pingpong::PingPong, &stream::Stream];

/// The scenario of that name.
///
/// # Errors
///
/// Lists those that exist.
pub(crate) fn find(name: &str) -> Result<&'static dyn Scenario> {
    ALL.into_iter().find(|scenario| scenario.name() == name).with_context(|| {
        let names = ALL.map(|scenario| scenario.name()).join(", ");
        format!("unknown scenario `{name}`; there are: {names}")
    })
}

/// For scenarios of one connection.
fn check_single(name: &str, load: &Load) -> Result<()> {
    let single = load.connections == 1 && load.depth == 1;
    ensure!(single, "{name} uses one connection; --connections and --depth belong to echo");
    Ok(())
}

/// For scenarios that do not know `--from-thread`.
fn check_no_thread(load: &Load) -> Result<()> {
    ensure!(!load.from_thread, "--from-thread belongs to send-one");
    Ok(())
}

const FRAME_HEADER: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_mistakes_list_them() {
        for scenario in ALL {
            assert_eq!(find(scenario.name()).unwrap().name(), scenario.name());
        }
        let error = find("pingpnog").err().unwrap().to_string();
        assert!(error.contains("pingpnog") && error.contains("send-one"), "{error}");
    }
}
