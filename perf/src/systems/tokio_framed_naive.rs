//! tokio with tokio-util's `LengthDelimitedCodec`, the way their documentation shows first: the default runtime,
//! default buffers, Nagle's delay left on, and `send().await` for each message, which flushes each.
//!
//! Not tuned on purpose: this is what a first version of a service does.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::codec::Framed;

use super::tokio_framed::accept;
use super::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::job::{Backend, Job};
use crate::peer::framed::{self, Frames, admit, codec, queue};
use crate::peer::part;
use crate::peer::talk::first;
use crate::peer::tuning::Tuning;
use crate::tally::Tally;
use crate::think::think;

pub(crate) struct TokioFramedNaive;

impl System for TokioFramedNaive {
    fn name(&self) -> &'static str {
        "tokio-framed-naive"
    }

    fn about(&self) -> &'static str {
        "tokio and tokio-util's LengthDelimitedCodec as their documentation starts: send().await for each message"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        runtime().map(|_| backend()).map_err(|error| format!("{error:#}"))
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let (job_there, tally_there) = (Arc::new(job.clone()), tally.clone());
        part::serve_on(1, job, tally, backend(), TUNING, move |listener| {
            let each = |socket: TcpStream| {
                let (job, tally) = (job_there.clone(), tally_there.clone());
                async move {
                    // A connection that breaks ends alone; whoever drives it tells.
                    let _ = serve(socket, role, &job, &tally).await;
                }
            };
            runtime()?.block_on(accept(listener, each))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::drive(job, tally, backend(), TUNING, move |socket| {
            socket.set_nodelay(false)?;
            socket.set_nonblocking(true)?;
            runtime()?.block_on(async move {
                let mut frames = Framed::new(TcpStream::from_std(socket)?, codec());
                match role {
                    ClientRole::PingPong => framed::ping_pong(&mut frames, &job_there, &tally_there).await,
                    ClientRole::Stream | ClientRole::SendOne => {
                        framed::send_one(&mut frames, &job_there, &tally_there).await
                    }
                    ClientRole::SendFromThread => pass_on(&mut frames, &job_there, &tally_there).await,
                }
            })
        })
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }
}

async fn serve(socket: TcpStream, role: ServerRole, job: &Job, tally: &Tally) -> io::Result<()> {
    socket.set_nodelay(false)?;
    let mut frames = Framed::new(socket, codec());
    let mut expected = first(job);
    if let Some(token) = job.token.as_deref()
        && !admit(&mut frames, token).await?
    {
        return Ok(());
    }
    while let Some(message) = frames.next().await {
        let message = message?.freeze();
        match role {
            ServerRole::Echo => {
                think(job.load.think);
                frames.send(message).await?;
            }
            ServerRole::Sink => {
                tally.add_corrupt(u64::from(!expected.accept(&message)));
                tally.add_received(1);
            }
            ServerRole::Publish => break,
        }
    }
    Ok(())
}

async fn pass_on(frames: &mut Frames<TcpStream>, job: &Job, tally: &Arc<Tally>) -> Result<()> {
    let mut messages = queue(job, tally)?;
    while let Some(message) = messages.recv().await {
        frames.send(message).await?;
    }
    Ok(())
}

/// What `#[tokio::main]` makes.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")
}

fn backend() -> Backend {
    Backend { kind: String::from("tokio"), detail: String::from("multi-thread runtime") }
}

/// Not used: everything is as tokio-util has it.
const TUNING: Tuning = Tuning::new(8 << 10, 8 << 10);
