//! libzmq, where it is installed.
//!
//! It is listed so that nobody misses it without a word. Its bindings are built against the system's library, which
//! this binary must not need, and loading the library at run time takes unsafe code, which this crate forbids.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{ClientRole, Part, ServerRole, System};
use crate::job::{Backend, Job};
use crate::tally::Tally;

pub(crate) struct ZeroMq;

impl System for ZeroMq {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn about(&self) -> &'static str {
        "libzmq, where it is installed"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        Err(String::from(ABSENT))
    }

    fn serve(&self, _job: &Job, _role: ServerRole, _tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        bail!(ABSENT)
    }

    fn drive(&self, _role: ClientRole, _job: &Job, _tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        bail!(ABSENT)
    }
}

const ABSENT: &str = "this binary is built without libzmq, so that building it needs no system library";
