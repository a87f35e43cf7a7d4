//! tokio with tokio-util's `LengthDelimitedCodec`, tuned.
//!
//! Tuned: one current-thread runtime per CPU, each with a listener of its own, instead of work stealing; receive
//! buffer and write boundary by measurement instead of 8 KiB; every message that is ready is fed before one flush;
//! counters touched once per batch; `TCP_NODELAY`, because flushes are explicit. The codec copies payloads into
//! its write buffer, so vectored writes have nothing to gather.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use super::{ClientRole, Part, ServerRole, System};
use crate::job::{Backend, Job};
use crate::peer::framed::{self, frames};
use crate::peer::part;
use crate::peer::publish::Channel;
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct TokioFramed;

impl System for TokioFramed {
    fn name(&self) -> &'static str {
        "tokio-framed"
    }

    fn about(&self) -> &'static str {
        "tokio and tokio-util's LengthDelimitedCodec, tuned: feeds while input is ready, then flushes"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        runtime().map(|_| backend()).map_err(|error| format!("{error:#}"))
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (job_there, tally_there) = (Arc::new(job.clone()), tally.clone());
        if role == ServerRole::Publish {
            return publish(job, tally, tuning);
        }
        part::serve(job, tally, backend(), tuning, move |listener| {
            let each = |socket: tokio::net::TcpStream| {
                let (job, tally) = (job_there.clone(), tally_there.clone());
                async move {
                    // A connection that breaks ends alone; whoever drives it tells.
                    let _ = framed::serve(frames(socket, tuning), role, &job, &tally).await;
                }
            };
            runtime()?.block_on(accept(listener, each))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::drive(job, tally, backend(), tuning, move |socket| {
            socket.set_nonblocking(true)?;
            runtime()?.block_on(async move {
                let socket = tokio::net::TcpStream::from_std(socket)?;
                framed::drive(frames(socket, tuning), role, &job_there, &tally_there).await
            })
        })
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Publishes through one channel for all threads; the first of them publishes.
fn publish(job: &Job, tally: &Arc<Tally>, tuning: Tuning) -> Result<Box<dyn Part>> {
    let (job_there, tally_there, channel) = (Arc::new(job.clone()), tally.clone(), Channel::new(job));
    let is_first = Arc::new(AtomicBool::new(true));
    part::serve(job, tally, backend(), tuning, move |listener| {
        let each = |socket: tokio::net::TcpStream| {
            let channel = channel.clone();
            // A connection that breaks ends alone; whoever drives it tells.
            async move { drop(channel.subscribe(frames(socket, tuning)).await) }
        };
        let (channel, job, tally) = (channel.clone(), job_there.clone(), tally_there.clone());
        let publishes = is_first.swap(false, Ordering::AcqRel);
        runtime()?.block_on(async move {
            if publishes {
                tokio::spawn(async move { channel.publish(&job, &tally).await });
            }
            accept(listener, each).await
        })
    })
}

/// A runtime on this thread alone.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot start a runtime")
}

/// Accepts for ever, each connection in a task of its own.
pub(super) async fn accept<F>(listener: TcpListener, each: impl Fn(tokio::net::TcpStream) -> F) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await.context("cannot accept")?;
        tokio::spawn(each(socket));
    }
}

pub(super) fn backend() -> Backend {
    Backend { kind: String::from("tokio"), detail: String::from("current-thread runtime") }
}

const TUNING: Tuning = Tuning::new(64 << 10, 64 << 10);
