//! The standard library's threads and sockets: a thread per connection, blocking reads and writes.
//!
//! Tuned: one large receive buffer a connection, every complete message of a read is answered by one write;
//! `TCP_NODELAY`. Reads go into uninitialised room, which the standard library does not offer yet, so they are
//! made through rustix: the same system call. Another thread sends through a bounded channel, whose reader writes all that waits at once.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Result, bail};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::{ClientRole, Part, ServerRole, System, no_publishing};
use crate::job::{Backend, Job};
use crate::peer::inbox::Inbox;
use crate::peer::part::{drive, serve_on, start};
use crate::peer::talk::{Talk, first, put_frame};
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct StdBlocking;

impl System for StdBlocking {
    fn name(&self) -> &'static str {
        "std-blocking"
    }

    fn about(&self) -> &'static str {
        "blocking sockets of the standard library, a thread per connection"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        Ok(backend())
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (job_there, tally_there) = (job.clone(), tally.clone());
        serve_on(1, job, tally, backend(), tuning, move |listener| {
            accept(&listener, tuning, || Talk::serving(role, &job_there, &tally_there))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        if role == ClientRole::SendFromThread {
            let (job_there, tally_there) = (job.clone(), tally.clone());
            return drive(job, tally, backend(), tuning, move |socket| {
                pass_on(&socket, &job_there, &tally_there, tuning)
            });
        }
        let talk = Talk::driving(role, job, tally, tuning.write_bytes)?;
        drive(job, tally, backend(), tuning, move |socket| converse(&socket, talk, tuning))
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }
}

fn accept(listener: &TcpListener, tuning: Tuning, talk: impl Fn() -> Result<Talk>) -> Result<()> {
    for socket in listener.incoming() {
        let (socket, talk) = (socket?, talk()?);
        // A connection that breaks ends alone; whoever drives it tells.
        start("connection", move || drop(converse(&socket, talk, tuning)))?;
    }
    Ok(())
}

fn converse(mut socket: &TcpStream, mut talk: Talk, tuning: Tuning) -> Result<()> {
    let (mut inbox, mut out) = (Inbox::new(tuning.read_bytes), Vec::new());
    loop {
        talk.more(&mut out);
        while !out.is_empty() {
            socket.write_all(&out)?;
            out.clear();
            if !talk.is_over() {
                talk.more(&mut out);
            }
        }
        if talk.is_over() {
            return Ok(());
        }
        match rustix::io::read(socket, spare_capacity(inbox.buffer())) {
            Ok(0) if talk.speaks_first() => bail!("the peer closed it"),
            Ok(0) => return Ok(()),
            Ok(_) => inbox.deliver(&mut talk, &mut out)?,
            Err(Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes what another thread sends.
fn pass_on(mut socket: &TcpStream, job: &Job, tally: &Arc<Tally>, tuning: Tuning) -> Result<()> {
    let (sender, messages) = sync_channel(QUEUE_LEN);
    let (mut sequence, tally) = (first(job), tally.clone());
    start("send", move || {
        while !tally.is_stopping() && sender.send(sequence.current_shared()).is_ok() {
            sequence.advance();
            tally.add_sent(1);
        }
    })?;
    let mut out = Vec::new();
    while let Ok(message) = messages.recv() {
        put_frame(&mut out, &message);
        while out.len() < tuning.write_bytes
            && let Ok(message) = messages.try_recv()
        {
            put_frame(&mut out, &message);
        }
        socket.write_all(&out)?;
        out.clear();
    }
    Ok(())
}

fn backend() -> Backend {
    Backend { kind: String::from("blocking"), detail: String::from("a thread per connection") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 256 << 10);
/// Messages that wait between two threads.
const QUEUE_LEN: usize = 1024;
