//! A loop over epoll written by hand, one per CPU, no runtime.
//!
//! Tuned: level-triggered, so that one read per readiness is enough and no read finds nothing; one large receive
//! buffer a connection, every complete message of a read is answered by one write; interest in writing only while
//! the kernel refuses bytes (a sender's interest is only that, for good, which spares an `epoll_ctl` per stall);
//! nobody reads from a peer that does not take its answers.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use slab::Slab;

use super::epoll_publish::Publisher;
use super::{ClientRole, Part, ServerRole, System};
use crate::job::{Backend, Job};
use crate::peer::inbox::Inbox;
use crate::peer::part::{drive, serve};
use crate::peer::publish::Crowd;
use crate::peer::talk::{Source, Talk};
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct Epoll;

impl System for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn about(&self) -> &'static str {
        "a hand-written epoll loop, no runtime"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        Ok(backend())
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (job_there, tally_there) = (job.clone(), tally.clone());
        if role == ServerRole::Publish {
            let crowd = Arc::new(Crowd::new(job.load.connections));
            return serve(job, tally, backend(), tuning, move |listener| {
                let source = Source::new(&job_there, tuning.write_bytes);
                Publisher::new(source, crowd.clone(), tally_there.clone())?.run(&listener)
            });
        }
        serve(job, tally, backend(), tuning, move |listener| {
            let talk = || Talk::serving(role, &job_there, &tally_there);
            Loop::new(tuning)?.serve(&listener, talk)
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let talk = Talk::driving(role, job, tally, tuning.write_bytes)?;
        drive(job, tally, backend(), tuning, move |socket| {
            socket.set_nonblocking(true)?;
            Loop::new(tuning)?.drive(socket, talk)
        })
    }

    fn thinks(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn drives(&self, role: ClientRole) -> Result<(), &'static str> {
        match role {
            ClientRole::SendFromThread => {
                Err("a bare loop has no queue between threads; whatever is put there would be measured")
            }
            _ => Ok(()),
        }
    }
}

/// One thread's connections.
struct Loop {
    epoll: OwnedFd,
    connections: Slab<Connection>,
    tuning: Tuning,
}

impl Loop {
    fn new(tuning: Tuning) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot use epoll")?;
        Ok(Self { epoll, connections: Slab::new(), tuning })
    }

    /// Serves for ever.
    fn serve(&mut self, listener: &TcpListener, talk: impl Fn() -> Result<Talk>) -> Result<()> {
        listener.set_nonblocking(true)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&self.epoll, listener, data, EventFlags::IN).context("cannot watch the listener")?;
        loop {
            self.turn(|this| this.accept(listener, &talk), |_| Ok(()))?;
        }
    }

    /// Drives one connection until it is over.
    fn drive(&mut self, socket: TcpStream, talk: Talk) -> Result<()> {
        self.add(socket, talk)?;
        while !self.connections.is_empty() {
            self.turn(|_| Ok(()), Err)?;
        }
        Ok(())
    }

    /// Waits, and lets every connection that can go on do so. What ends a connection goes to `ended`.
    fn turn(
        &mut self,
        accept: impl Fn(&mut Self) -> Result<()>,
        ended: impl Fn(anyhow::Error) -> Result<()>,
    ) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(error) => return Err(error).context("epoll fails"),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept(self)?;
                continue;
            }
            match self.progress(key as usize) {
                Ok(true) => (),
                Ok(false) => drop(self.connections.try_remove(key as usize)),
                Err(error) => {
                    self.connections.try_remove(key as usize);
                    ended(error)?;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener, talk: &impl Fn() -> Result<Talk>) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(true)?;
                    self.add(socket, talk()?)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => (),
                Err(error) => return Err(error).context("cannot accept"),
            }
        }
    }

    fn add(&mut self, socket: TcpStream, talk: Talk) -> Result<()> {
        let entry = self.connections.vacant_entry();
        let wants_out = talk.speaks_first();
        let data = EventData::new_u64(entry.key() as u64);
        epoll::add(&self.epoll, &socket, data, interest(wants_out)).context("cannot watch a connection")?;
        entry.insert(Connection {
            socket,
            wants_out,
            inbox: Inbox::new(self.tuning.read_bytes),
            out: Vec::new(),
            written: 0,
            talk,
        });
        Ok(())
    }

    /// Lets a connection go on as far as it can; false when it is over.
    fn progress(&mut self, key: usize) -> Result<bool> {
        // One that ended in this very turn may have had another event.
        let Some(connection) = self.connections.get_mut(key) else { return Ok(true) };
        let going_on = connection.progress()?;
        let wants_out = !connection.out.is_empty() || connection.talk.speaks_unasked();
        if going_on && wants_out != connection.wants_out {
            connection.wants_out = wants_out;
            let data = EventData::new_u64(key as u64);
            epoll::modify(&self.epoll, &connection.socket, data, interest(wants_out))
                .context("cannot watch a connection")?;
        }
        Ok(going_on)
    }
}

struct Connection {
    socket: TcpStream,
    /// Waits until it may write; else until it may read.
    wants_out: bool,
    inbox: Inbox,
    out: Vec<u8>,
    written: usize,
    talk: Talk,
}

impl Connection {
    /// Reads or writes; false when the conversation is over.
    fn progress(&mut self) -> Result<bool> {
        if !self.wants_out {
            let buffer = self.inbox.buffer();
            match rustix::io::read(&self.socket, spare_capacity(buffer)) {
                Ok(0) if self.talk.speaks_first() => bail!("the peer closed it"),
                Ok(0) => return Ok(false),
                Ok(_) => self.inbox.deliver(&mut self.talk, &mut self.out)?,
                Err(Errno::AGAIN | Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            if !self.flush()? {
                return Ok(true);
            }
            if self.talk.is_over() {
                return Ok(false);
            }
            self.talk.more(&mut self.out);
            if self.out.is_empty() {
                return Ok(!self.talk.is_over());
            }
        }
    }

    /// Writes what was said; false while the kernel does not take all of it.
    fn flush(&mut self) -> Result<bool> {
        while self.written < self.out.len() {
            match rustix::io::write(&self.socket, &self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

fn interest(wants_out: bool) -> EventFlags {
    if wants_out { EventFlags::OUT } else { EventFlags::IN }
}

fn backend() -> Backend {
    Backend { kind: String::from("epoll"), detail: String::from("level-triggered") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 512 << 10);
const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 256;
