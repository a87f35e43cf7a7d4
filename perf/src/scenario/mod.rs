//! What can be measured. One file each; this one lists them.

mod churn;
mod echo;
mod fanout;
mod idle;
mod overload;
mod pingpong;
mod rate;
mod send_one;
mod steps;
mod stream;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::job::{Job, Load, Side};
use crate::load;
use crate::measure::{Plan, Stage, Taken};
use crate::metric::Metrics;
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

    /// Plays the round, until it is to be ended: one window, for most.
    fn conduct(&self, stage: &mut Stage<'_>, plan: &Plan<'_>) -> Result<Taken> {
        stage.start(plan)?;
        stage.run_for("warm-up", plan.load.warmup)?;
        if stage.was_interrupted() {
            return Ok(Taken::default());
        }
        let mut window = stage.window(plan, "measuring")?;
        window.rate_name = self.rate_name();
        window.asked_per_s = (plan.load.rate > 0).then_some(plan.load.rate as f64);
        Ok(Taken { windows: vec![window], figures: Metrics::new() })
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

    /// Whether a server that runs already, perhaps elsewhere, can be measured.
    fn is_remote(&self) -> bool {
        self.server_role() == ServerRole::Echo
    }

    /// A further name for the messages per second.
    fn rate_name(&self) -> Option<&'static str> {
        None
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
    /// There are none that would matter.
    Nowhere,
}

impl CountedAt {
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Server => Side::Server,
            Self::Client | Self::Nowhere => Side::Client,
        }
    }
}

/// Every scenario, in the order of `list`.
pub(crate) const ALL: [&dyn Scenario; 10] = [
    &pingpong::PingPong,
    &echo::Echo,
    &stream::Stream,
    &send_one::SendOne,
    &rate::Rate,
    &steps::Steps,
    &fanout::Fanout,
    &idle::Idle,
    &churn::Churn,
    &overload::Overload,
];

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

/// The flags that a scenario understands, beyond those that all do.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    connections: bool,
    depth: bool,
    from_thread: bool,
    rate: bool,
    think: bool,
    mixed: bool,
    slicing: bool,
    attackers: bool,
}

impl Flags {
    /// # Errors
    ///
    /// Names a flag that the scenario does not understand, and whose it is.
    fn check(self, scenario: &dyn Scenario, load: &Load) -> Result<()> {
        let given = [
            (
                self.connections,
                load.connections != 1,
                "--connections",
                "echo, rate, steps, fanout, idle, churn, overload",
            ),
            (self.depth, load.depth != 1, "--depth", "echo, rate, overload"),
            (self.from_thread, load.from_thread, "--from-thread", "send-one"),
            (self.rate, load.rate != 0, "--rate", "rate, overload"),
            (self.think, !load.think.is_zero(), "--think", "rate"),
            (self.mixed, load.mixed, "--mixed", "steps"),
            (self.slicing, load.slicing.is_some(), "--slicing", "steps"),
            (self.attackers, load.attackers != 0, "--attackers", "overload"),
        ];
        for (understood, is_given, flag, owners) in given {
            ensure!(
                understood || !is_given,
                "{} does not know {flag}; it belongs to {owners}",
                scenario.name()
            );
        }
        Ok(())
    }
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
