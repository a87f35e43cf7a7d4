//! Runtimes on io_uring, whose reads and writes own their buffers while they are under way.

use std::io;
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::framed::queue;
use super::inbox::Inbox;
use super::part;
use super::talk::Talk;
use super::tuning::Tuning;
use crate::job::{Backend, Job};
use crate::systems::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::tally::Tally;

/// The system that a runtime makes: on each thread one of it, with a listener of its own.
pub(crate) struct Owned<R>(PhantomData<fn() -> R>);

/// A runtime that lives on one thread.
pub(crate) trait OwnedRuntime: Sized + 'static {
    /// As on the command line.
    const NAME: &'static str;
    /// What it is, in one line.
    const ABOUT: &'static str;
    /// Its best sizes.
    const TUNING: Tuning;

    fn new(tuning: Tuning) -> Result<Self>;

    /// Accepts for ever, each connection with a conversation of its own.
    fn serve(&mut self, listener: TcpListener, tuning: Tuning, talk: impl Fn() -> Result<Talk>)
    -> Result<()>;

    /// Has one conversation.
    fn drive(&mut self, socket: TcpStream, tuning: Tuning, talk: Talk) -> Result<()>;

    /// Whether another thread can hand it messages.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn takes_messages() -> Result<(), &'static str> {
        Err("it has no channel into a connection's thread")
    }

    /// Writes what another thread hands over.
    fn pass_on(
        &mut self,
        _socket: TcpStream,
        _tuning: Tuning,
        _messages: mpsc::Receiver<Bytes>,
    ) -> Result<()> {
        bail!(Self::takes_messages().err().unwrap_or_default())
    }
}

/// A socket of such a runtime.
pub(crate) trait OwnedSocket {
    /// Reads once into the room behind what `buffer` holds.
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>);

    /// Writes all of `buffer`.
    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>);
}

impl<R> Owned<R> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: OwnedRuntime> System for Owned<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn about(&self) -> &'static str {
        R::ABOUT
    }

    fn diagnose(&self) -> Result<Backend, String> {
        R::new(R::TUNING).map(|_| backend::<R>()).map_err(|error| format!("{error:#}"))
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = R::TUNING.or_environment()?;
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::serve(job, tally, backend::<R>(), tuning, move |listener| {
            R::new(tuning)?.serve(listener, tuning, || Talk::serving(role, &job_there, &tally_there))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = R::TUNING.or_environment()?;
        if role == ClientRole::SendFromThread {
            let (job_there, tally_there) = (job.clone(), tally.clone());
            return part::drive(job, tally, backend::<R>(), tuning, move |socket| {
                R::new(tuning)?.pass_on(socket, tuning, queue(&job_there, &tally_there)?)
            });
        }
        let talk = Talk::driving(role, job, tally, tuning.write_bytes)?;
        part::drive(job, tally, backend::<R>(), tuning, move |socket| {
            R::new(tuning)?.drive(socket, tuning, talk)
        })
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }

    fn drives(&self, role: ClientRole) -> Result<(), &'static str> {
        match role {
            ClientRole::SendFromThread => R::takes_messages(),
            ClientRole::PingPong | ClientRole::Stream | ClientRole::SendOne => Ok(()),
        }
    }
}

/// Lets `talk` have its conversation. Both buffers are reused: many messages come with a read, and all that they
/// are answered with leaves with one write.
///
/// # Errors
///
/// Why it ended before it was over.
pub(crate) async fn converse(mut socket: impl OwnedSocket, mut talk: Talk, tuning: Tuning) -> Result<()> {
    let (mut inbox, mut out) = (Inbox::new(tuning.read_bytes), Vec::new());
    loop {
        talk.more(&mut out);
        while !out.is_empty() {
            let (outcome, buffer) = socket.write_all(out).await;
            outcome?;
            out = buffer;
            out.clear();
            if !talk.is_over() {
                talk.more(&mut out);
            }
        }
        if talk.is_over() {
            return Ok(());
        }
        let (outcome, buffer) = socket.append(inbox.lend()).await;
        inbox.restore(buffer);
        match outcome {
            Ok(0) if talk.speaks_first() => bail!("the peer closed it"),
            Ok(0) => return Ok(()),
            Ok(_) => inbox.deliver(&mut talk, &mut out)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error.into()),
        }
    }
}

fn backend<R: OwnedRuntime>() -> Backend {
    Backend { kind: String::from("io_uring"), detail: R::NAME.to_owned() }
}
