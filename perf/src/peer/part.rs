//! The running sides of systems that have threads of their own.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::sockopt;

use super::listen::{listeners, tcp_place};
use super::tuning::Tuning;
use crate::dial::connect_tcp;
use crate::job::{Backend, Job};
use crate::systems::Part;
use crate::tally::Tally;

/// Starts a server with one thread for each CPU of the job; `run` serves one listener for ever.
///
/// The threads end with the process: nothing they hold outlives it.
pub(crate) fn serve<F>(
    job: &Job,
    tally: &Arc<Tally>,
    backend: Backend,
    tuning: Tuning,
    run: F,
) -> Result<Box<dyn Part>>
where
    F: Fn(TcpListener) -> Result<()> + Clone + Send + 'static,
{
    let threads = job.cpus.as_ref().map_or(1, |cpus| cpus.as_slice().len());
    serve_on(threads, job, tally, backend, tuning, run)
}

/// As [`serve`], with that many threads.
pub(crate) fn serve_on<F>(
    threads: usize,
    job: &Job,
    tally: &Arc<Tally>,
    backend: Backend,
    tuning: Tuning,
    run: F,
) -> Result<Box<dyn Part>>
where
    F: Fn(TcpListener) -> Result<()> + Clone + Send + 'static,
{
    let listeners = listeners(&job.address, threads, tuning)?;
    let place = listeners.first().context("no thread")?.local_addr()?;
    for listener in listeners {
        let (run, tally) = (run.clone(), tally.clone());
        start("serve", move || {
            if let Err(error) = run(listener) {
                tally.fail(format!("{error:#}"));
            }
        })?;
    }
    Ok(Box::new(Running { address: format!("tcp://{place}"), backend, awaited: None }))
}

/// Connects and starts a client; `run` drives the connection until the round is over.
///
/// # Errors
///
/// When there is no connection.
pub(crate) fn drive<F>(
    job: &Job,
    tally: &Arc<Tally>,
    backend: Backend,
    tuning: Tuning,
    run: F,
) -> Result<Box<dyn Part>>
where
    F: FnOnce(TcpStream) -> Result<()> + Send + 'static,
{
    tcp_place(&job.address)?;
    let socket = connect_tcp(&job.address, job.token.as_deref())?;
    if tuning.socket_bytes > 0 {
        sockopt::set_socket_recv_buffer_size(&socket, tuning.socket_bytes)?;
        sockopt::set_socket_send_buffer_size(&socket, tuning.socket_bytes)?;
    }
    let tally_there = tally.clone();
    start("drive", move || match run(socket) {
        // Closed in the middle or not: what was under way shows as lost.
        _ if tally_there.is_stopping() => tally_there.finish(),
        Ok(()) => tally_there.fail(String::from("the connection ended")),
        Err(error) => tally_there.fail(format!("the connection ended: {error:#}")),
    })?;
    Ok(Box::new(Running { address: job.address.clone(), backend, awaited: Some(tally.clone()) }))
}

/// Starts a thread.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(())
}

/// A side whose threads run by themselves.
struct Running {
    address: String,
    backend: Backend,
    /// A client's, which finishes when everything has come back.
    awaited: Option<Arc<Tally>>,
}

impl Part for Running {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn backend(&self) -> Option<Backend> {
        Some(self.backend.clone())
    }

    fn stop(self: Box<Self>, patience: Duration) -> Result<()> {
        // What has not come back by then is reported as lost.
        if let Some(tally) = self.awaited {
            tally.wait_finished(patience);
        }
        Ok(())
    }
}
