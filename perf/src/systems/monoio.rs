//! monoio on io_uring, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; no timer, which would cost every turn a look; ring set up by measurement.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use io_uring_0_6::IoUring;
use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use super::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::job::{Backend, Job};
use crate::peer::owned::{OwnedSocket, converse};
use crate::peer::part;
use crate::peer::talk::Talk;
use crate::peer::tuning::{Ring, Tuning};
use crate::tally::Tally;

pub(crate) struct Monoio;

impl System for Monoio {
    fn name(&self) -> &'static str {
        "monoio"
    }

    fn about(&self) -> &'static str {
        "monoio on io_uring, length-prefix loop, tuned"
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
                converse(monoio::net::TcpStream::from_std(socket)?, talk, tuning).await
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

impl OwnedSocket for monoio::net::TcpStream {
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let held = buffer.len();
        let (outcome, slice) = self.read(buffer.slice_mut(held..)).await;
        (outcome, slice.into_inner())
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (outcome, buffer) = AsyncWriteRentExt::write_all(self, buffer).await;
        (outcome.map(drop), buffer)
    }
}

async fn accept(listener: TcpListener, tuning: Tuning, talk: impl Fn() -> Result<Talk>) -> Result<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await.context("cannot accept")?;
        let talk = talk()?;
        // A connection that breaks ends alone; whoever drives it tells.
        monoio::spawn(async move { drop(converse(socket, talk, tuning).await) });
    }
}

fn runtime(tuning: Tuning) -> Result<Runtime<IoUringDriver>> {
    let mut ring = IoUring::builder();
    match tuning.ring {
        Ring::Plain => &mut ring,
        Ring::Cooperative => ring.setup_single_issuer().setup_coop_taskrun(),
        Ring::Deferred => ring.setup_single_issuer().setup_defer_taskrun(),
    };
    let runtime = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).build();
    runtime.context("cannot start a runtime on io_uring")
}

fn backend() -> Backend {
    Backend { kind: String::from("io_uring"), detail: String::from("monoio") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 128 << 10);
