//! compio, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; ring set up by measurement.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncReadExt, AsyncWriteExt};
use compio::runtime::{Runtime, RuntimeBuilder};

use super::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::job::{Backend, Job};
use crate::peer::owned::{OwnedSocket, converse};
use crate::peer::part;
use crate::peer::talk::Talk;
use crate::peer::tuning::{Ring, Tuning};
use crate::tally::Tally;

pub(crate) struct Compio;

impl System for Compio {
    fn name(&self) -> &'static str {
        "compio"
    }

    fn about(&self) -> &'static str {
        "compio on io_uring, length-prefix loop, tuned"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        runtime(TUNING).map(|_| backend()).map_err(|error| format!("{error:#}"))
    }

    fn local_address(&self) -> String {
        String::from("tcp://127.0.0.1:0")
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::serve(job, tally, backend(), tuning, move |listener| {
            let talk = || Talk::serving(role, &job_there, &tally_there);
            runtime(tuning)?.block_on(accept(listener, tuning, talk))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let talk = Talk::driving(role, job, tally, tuning.write_bytes)?;
        part::drive(job, tally, backend(), tuning, move |socket: TcpStream| {
            runtime(tuning)?.block_on(async move {
                converse(compio::net::TcpStream::from_std(socket)?, talk, tuning).await
            })
        })
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }

    fn drives(&self, role: ClientRole) -> Result<(), &'static str> {
        match role {
            ClientRole::SendFromThread => Err("it has no channel into a connection's thread"),
            _ => Ok(()),
        }
    }
}

impl OwnedSocket for compio::net::TcpStream {
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let BufResult(outcome, buffer) = AsyncReadExt::append(self, buffer).await;
        (outcome, buffer)
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let BufResult(outcome, buffer) = AsyncWriteExt::write_all(self, buffer).await;
        (outcome, buffer)
    }
}

async fn accept(listener: TcpListener, tuning: Tuning, talk: impl Fn() -> Result<Talk>) -> Result<()> {
    let listener = compio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await.context("cannot accept")?;
        let talk = talk()?;
        // A connection that breaks ends alone; whoever drives it tells.
        compio::runtime::spawn(async move { drop(converse(socket, talk, tuning).await) }).detach();
    }
}

fn runtime(tuning: Tuning) -> Result<Runtime> {
    let mut proactor = ProactorBuilder::new();
    match tuning.ring {
        Ring::Plain => &mut proactor,
        Ring::Cooperative => proactor.single_issuer(true).coop_taskrun(true),
        Ring::Deferred => proactor.single_issuer(true).defer_taskrun(true),
    };
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build();
    runtime.context("cannot start a runtime on io_uring")
}

fn backend() -> Backend {
    Backend { kind: String::from("io_uring"), detail: String::from("compio") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 128 << 10);
