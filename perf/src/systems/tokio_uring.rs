//! tokio-uring, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; ring set up by measurement.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_uring::Runtime;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::TcpStream;

use super::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::job::{Backend, Job};
use crate::peer::framed::queue;
use crate::peer::owned::{OwnedSocket, converse};
use crate::peer::part;
use crate::peer::talk::{Talk, put_frame};
use crate::peer::tuning::{Ring, Tuning};
use crate::tally::Tally;

pub(crate) struct TokioUring;

impl System for TokioUring {
    fn name(&self) -> &'static str {
        "tokio-uring"
    }

    fn about(&self) -> &'static str {
        "tokio-uring, length-prefix loop, tuned"
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
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::drive(job, tally, backend(), tuning, move |socket| {
            runtime(tuning)?.block_on(async move {
                let socket = TcpStream::from_std(socket);
                if role == ClientRole::SendFromThread {
                    return pass_on(&socket, queue(&job_there, &tally_there)?, tuning).await;
                }
                let talk = Talk::driving(role, &job_there, &tally_there, tuning.write_bytes)?;
                converse(socket, talk, tuning).await
            })
        })
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }
}

impl OwnedSocket for TcpStream {
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let held = buffer.len();
        let (outcome, slice) = self.read(buffer.slice(held..)).await;
        (outcome, slice.into_inner())
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        Self::write_all(self, buffer).await
    }
}

async fn accept(listener: TcpListener, tuning: Tuning, talk: impl Fn() -> Result<Talk>) -> Result<()> {
    let listener = tokio_uring::net::TcpListener::from_std(listener);
    loop {
        let (socket, _) = listener.accept().await.context("cannot accept")?;
        let talk = talk()?;
        // A connection that breaks ends alone; whoever drives it tells.
        tokio_uring::spawn(async move { drop(converse(socket, talk, tuning).await) });
    }
}

/// Writes what another thread sends: all that waits with one write.
async fn pass_on(socket: &TcpStream, mut messages: mpsc::Receiver<Bytes>, tuning: Tuning) -> Result<()> {
    let mut out = Vec::new();
    while let Some(message) = messages.recv().await {
        put_frame(&mut out, &message);
        while out.len() < tuning.write_bytes
            && let Ok(message) = messages.try_recv()
        {
            put_frame(&mut out, &message);
        }
        let (outcome, buffer) = socket.write_all(out).await;
        outcome?;
        out = buffer;
        out.clear();
    }
    Ok(())
}

fn runtime(tuning: Tuning) -> Result<Runtime> {
    let mut ring = tokio_uring::uring_builder();
    match tuning.ring {
        Ring::Plain => &mut ring,
        Ring::Cooperative => ring.setup_single_issuer().setup_coop_taskrun(),
        Ring::Deferred => ring.setup_single_issuer().setup_defer_taskrun(),
    };
    Runtime::new(tokio_uring::builder().uring_builder(&ring)).context("cannot start a runtime on io_uring")
}

fn backend() -> Backend {
    Backend { kind: String::from("io_uring"), detail: String::from("tokio-uring") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 128 << 10);
