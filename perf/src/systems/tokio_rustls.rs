//! tokio-rustls below tokio-util's `LengthDelimitedCodec`: what a service on tokio uses for TLS.
//!
//! Tuned as `tokio-framed`; TLS 1.3, ring, the cipher that qwormhole agrees on with itself; a write boundary of
//! several TLS records, which leave with one vectored write.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tokio_framed::{accept, backend, runtime};
use super::{ClientRole, Part, ServerRole, System, TlsUse, no_publishing};
use crate::job::{Backend, Job, Tls};
use crate::peer::framed::{self, frames};
use crate::peer::part;
use crate::peer::tls::{client_config, server_config};
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct TokioRustls;

impl System for TokioRustls {
    fn name(&self) -> &'static str {
        "tokio-rustls"
    }

    fn about(&self) -> &'static str {
        "tokio-framed over tokio-rustls: TLS 1.3, always"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        runtime().map(|_| backend()).map_err(|error| format!("{error:#}"))
    }

    fn serve(&self, job: &Job, role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let acceptor = TlsAcceptor::from(server_config(given(job)?)?);
        let (job_there, tally_there) = (Arc::new(job.clone()), tally.clone());
        part::serve(job, tally, backend(), tuning, move |listener| {
            let each = |socket: TcpStream| {
                let (job, tally, handshake) =
                    (job_there.clone(), tally_there.clone(), acceptor.accept(socket));
                async move {
                    // A connection that breaks ends alone; whoever drives it tells.
                    if let Ok(socket) = handshake.await {
                        let _ = framed::serve(frames(socket, tuning), role, &job, &tally).await;
                    }
                }
            };
            runtime()?.block_on(accept(listener, each))
        })
    }

    fn drive(&self, role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let connector = TlsConnector::from(client_config(given(job)?)?);
        let (job_there, tally_there) = (job.clone(), tally.clone());
        part::drive(job, tally, backend(), tuning, move |socket| {
            let name = ServerName::from(socket.peer_addr()?.ip());
            socket.set_nonblocking(true)?;
            runtime()?.block_on(async move {
                let socket = connector.connect(name, TcpStream::from_std(socket)?).await?;
                framed::drive(frames(socket, tuning), role, &job_there, &tally_there).await
            })
        })
    }

    fn tls(&self) -> TlsUse {
        TlsUse::Always
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        no_publishing(role)
    }

    fn serves_neutral(&self) -> Result<(), &'static str> {
        Err("it always speaks TLS, and the neutral load generator never does")
    }
}

fn given(job: &Job) -> Result<&Tls> {
    job.tls.as_ref().context("tokio-rustls needs the certificate that `run` makes for both processes")
}

const TUNING: Tuning = Tuning::new(64 << 10, 64 << 10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::Side;
    use crate::peer::tls::self_signed;
    use crate::systems::fallback::FALLBACK;
    use crate::tally::Phase;

    /// Round trips between a server and a client that both know `tls`.
    fn round_trips(server: &dyn System, client: &dyn System, tls: &Tls) -> u64 {
        let mut job = Job::of_test(Side::Server);
        job.tls = Some(tls.clone());
        let tally = Arc::new(Tally::new());
        let serving = server.serve(&job, ServerRole::Echo, &tally).unwrap();
        let place = serving.address();
        let place = place.split_once("://").unwrap().1;
        job.address = format!("{}://{place}", if client.tls() == TlsUse::Always { "tcp" } else { "tls" });
        let driving = client.drive(ClientRole::PingPong, &job, &tally).unwrap();
        tally.wait_received(10, Duration::from_secs(20));
        tally.enter(Phase::Stop);
        driving.stop(Duration::from_secs(5)).unwrap();
        assert_eq!(tally.outcome().corrupt, 0);
        tally.received()
    }

    #[test]
    fn both_transports_speak_the_same_tls() {
        let tls = self_signed().unwrap();
        assert!(round_trips(&FALLBACK, &TokioRustls, &tls) >= 10);
        assert!(round_trips(&TokioRustls, &FALLBACK, &tls) >= 10);
    }

    #[test]
    fn a_server_of_another_certificate_is_refused() {
        let mut job = Job::of_test(Side::Server);
        job.tls = Some(self_signed().unwrap());
        let tally = Arc::new(Tally::new());
        let serving = TokioRustls.serve(&job, ServerRole::Echo, &tally).unwrap();
        job.address = serving.address().replace("tcp:", "tls:");
        job.tls = Some(self_signed().unwrap());
        let error = FALLBACK.drive(ClientRole::PingPong, &job, &tally).err().unwrap();
        assert!(format!("{error:#}").contains("certificate"), "{error:#}");
    }
}
