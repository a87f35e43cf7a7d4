//! The bound of every round trip: two threads that spin on the bare socket, and frames of a length both know.
//!
//! Tuned: no waiting in the kernel at all, non-blocking receives in a loop on a CPU of their own; no pause between
//! them, which a hypervisor may take for a reason to step in.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{ClientRole, Part, ServerRole, System};
use crate::job::{Backend, Job};
use crate::peer::part::{drive, serve_on, start};
use crate::peer::talk::{FRAME_HEADER, answered, first, put_frame};
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct RawPingPong;

impl System for RawPingPong {
    fn name(&self) -> &'static str {
        "raw-pingpong"
    }

    fn about(&self) -> &'static str {
        "bound: two threads spin on the bare socket (pingpong only)"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        Ok(backend())
    }

    fn serve(&self, job: &Job, _role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        serve_on(1, job, tally, backend(), TUNING.or_environment()?, |listener| accept(&listener))
    }

    fn drive(&self, _role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let (job_there, tally_there) = (job.clone(), tally.clone());
        drive(job, tally, backend(), TUNING.or_environment()?, move |socket| {
            ask(&socket, &job_there, &tally_there)
        })
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        match role {
            ServerRole::Echo => Ok(()),
            _ => Err("it only sends bytes back"),
        }
    }

    fn serves_neutral(&self) -> Result<(), &'static str> {
        Err("each of its connections takes a CPU: pingpong only")
    }

    fn drives(&self, role: ClientRole) -> Result<(), &'static str> {
        match role {
            ClientRole::PingPong => Ok(()),
            _ => Err("it keeps one request in flight: pingpong only"),
        }
    }
}

fn accept(listener: &TcpListener) -> Result<()> {
    for socket in listener.incoming() {
        let socket = socket?;
        socket.set_nonblocking(true)?;
        // A connection that breaks ends alone; whoever drives it tells.
        start("connection", move || drop(answer(&socket)))?;
    }
    Ok(())
}

/// Sends back whatever comes.
fn answer(socket: &TcpStream) -> Result<()> {
    let mut buffer = vec![0; TUNING.read_bytes];
    loop {
        let len = read(socket, &mut buffer)?;
        write(socket, &buffer[..len])?;
    }
}

fn ask(socket: &TcpStream, job: &Job, tally: &Tally) -> Result<()> {
    socket.set_nonblocking(true)?;
    let mut messages = first(job);
    let (mut request, mut answer) = (Vec::new(), vec![0; FRAME_HEADER + job.load.size]);
    let mut asked = Instant::now();
    while !tally.is_stopping() {
        request.clear();
        put_frame(&mut request, messages.current());
        write(socket, &request)?;
        tally.add_sent(1);
        let mut len = 0;
        while len < answer.len() {
            len += read(socket, &mut answer[len..])?;
        }
        let now = Instant::now();
        if answer[..FRAME_HEADER] != request[..FRAME_HEADER] {
            bail!("the peer answers with another length");
        }
        answered(tally, &mut messages, &answer[FRAME_HEADER..], Some(now - asked));
        asked = now;
    }
    Ok(())
}

/// Spins until there is something.
fn read(socket: &TcpStream, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => bail!("the peer closed it"),
            Ok((len, _)) => return Ok(len),
            Err(Errno::AGAIN | Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Spins until all of it is taken.
fn write(socket: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::DONTWAIT) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::AGAIN | Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn backend() -> Backend {
    Backend { kind: String::from("spinning"), detail: String::from("non-blocking read and write") }
}

const TUNING: Tuning = Tuning::new(64 << 10, 64 << 10);
