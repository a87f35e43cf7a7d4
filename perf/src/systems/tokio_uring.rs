//! tokio-uring, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; ring set up by measurement (it waits in epoll, which a deferred ring would never wake).

use std::io;
use std::net::TcpListener;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_uring::Runtime;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::TcpStream;

use crate::peer::owned::{Owned, OwnedRuntime, OwnedSocket, converse};
use crate::peer::talk::{Talk, put_frame};
use crate::peer::tuning::{Ring, Tuning};

pub(crate) const TOKIO_URING: Owned<TokioUring> = Owned::new();

pub(crate) struct TokioUring(Runtime);

impl OwnedRuntime for TokioUring {
    const NAME: &'static str = "tokio-uring";
    const ABOUT: &'static str = "tokio-uring, length-prefix loop, tuned";
    const TUNING: Tuning = Tuning { ring: Ring::Cooperative, ..Tuning::new(128 << 10, 256 << 10) };

    fn new(tuning: Tuning) -> Result<Self> {
        let mut ring = tokio_uring::uring_builder();
        match tuning.ring {
            Ring::Plain => &mut ring,
            Ring::Cooperative => ring.setup_single_issuer().setup_coop_taskrun(),
            Ring::Deferred => anyhow::bail!("tokio-uring never waits in its ring: ring=deferred would hang"),
        };
        let runtime = Runtime::new(tokio_uring::builder().uring_builder(&ring));
        Ok(Self(runtime.context("cannot start a runtime on io_uring")?))
    }

    fn serve(
        &mut self,
        listener: TcpListener,
        tuning: Tuning,
        talk: impl Fn() -> Result<Talk>,
    ) -> Result<()> {
        self.0.block_on(async move {
            let listener = tokio_uring::net::TcpListener::from_std(listener);
            loop {
                let (socket, _) = listener.accept().await.context("cannot accept")?;
                let talk = talk()?;
                // A connection that breaks ends alone; whoever drives it tells.
                tokio_uring::spawn(async move { drop(converse(socket, talk, tuning).await) });
            }
        })
    }

    fn drive(&mut self, socket: std::net::TcpStream, tuning: Tuning, talk: Talk) -> Result<()> {
        self.0.block_on(converse(TcpStream::from_std(socket), talk, tuning))
    }

    fn takes_messages() -> Result<(), &'static str> {
        Ok(())
    }

    /// All that waits leaves with one write.
    fn pass_on(
        &mut self,
        socket: std::net::TcpStream,
        tuning: Tuning,
        mut messages: mpsc::Receiver<Bytes>,
    ) -> Result<()> {
        self.0.block_on(async move {
            let (socket, mut out) = (TcpStream::from_std(socket), Vec::new());
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
        })
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
