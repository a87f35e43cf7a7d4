//! The command `server`: a plain echo server for frames.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::child::allow_open_files;
use crate::cli::ServerFlags;
use crate::interrupt::{Event, Interrupt};
use crate::job::{Job, Load, Side};
use crate::systems::{self, ServerRole};
use crate::tally::Tally;

/// Serves until Ctrl-C.
pub(crate) fn serve(flags: &ServerFlags) -> Result<ExitCode> {
    let system = systems::find(&flags.system)?;
    if let Err(reason) = system.diagnose() {
        bail!("system `{}` cannot run here: {reason}", flags.system);
    }
    ensure!(flags.token.as_deref() != Some(""), "--token must not be empty");
    if let Some(cpus) = &flags.server_cpus {
        cpus.pin()?;
    }
    allow_open_files(0)?;
    let events = Interrupt::install()?.events();
    let job = Job {
        side: Side::Server,
        system: flags.system.clone(),
        scenario: String::from("echo"),
        load: Load::default(),
        address: flags.listen.clone(),
        cpus: flags.server_cpus.clone(),
        token: flags.token.clone(),
        tls: None,
    };
    let part = system.serve(&job, ServerRole::Echo, &Arc::new(Tally::new()))?;
    let backend = part.backend().map_or_else(String::new, |backend| format!(" ({})", backend.kind));
    println!("listening on {}{backend}; Ctrl-C ends it", part.address());
    while !matches!(events.next_until(Instant::now() + FOREVER), Some(Event::Interrupted)) {}
    part.stop(PATIENCE)?;
    Ok(ExitCode::SUCCESS)
}

/// A wait that is simply repeated.
const FOREVER: Duration = Duration::from_secs(3600);
/// How long connections may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
