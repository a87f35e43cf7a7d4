//! monoio on io_uring, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; no timer, which would cost every turn a look; ring set up by measurement.

use std::io;
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use io_uring_0_6::IoUring;
use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use crate::peer::owned::{Owned, OwnedRuntime, OwnedSocket, converse};
use crate::peer::talk::Talk;
use crate::peer::tuning::{Ring, Tuning};

pub(crate) const MONOIO: Owned<Monoio> = Owned::new();

pub(crate) struct Monoio(Runtime<IoUringDriver>);

impl OwnedRuntime for Monoio {
    const NAME: &'static str = "monoio";
    const ABOUT: &'static str = "monoio on io_uring, length-prefix loop, tuned";
    const TUNING: Tuning = Tuning { ring: Ring::Cooperative, ..Tuning::new(1 << 20, 256 << 10) };

    fn new(tuning: Tuning) -> Result<Self> {
        let mut ring = IoUring::builder();
        match tuning.ring {
            Ring::Plain => &mut ring,
            Ring::Cooperative => ring.setup_single_issuer().setup_coop_taskrun(),
            Ring::Deferred => ring.setup_single_issuer().setup_defer_taskrun(),
        };
        let runtime = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).build();
        Ok(Self(runtime.context("cannot start a runtime on io_uring")?))
    }

    fn serve(
        &mut self,
        listener: TcpListener,
        tuning: Tuning,
        talk: impl Fn() -> Result<Talk>,
    ) -> Result<()> {
        self.0.block_on(async move {
            let listener = monoio::net::TcpListener::from_std(listener)?;
            loop {
                let (socket, _) = listener.accept().await.context("cannot accept")?;
                let talk = talk()?;
                // A connection that breaks ends alone; whoever drives it tells.
                monoio::spawn(async move { drop(converse(socket, talk, tuning).await) });
            }
        })
    }

    fn drive(&mut self, socket: TcpStream, tuning: Tuning, talk: Talk) -> Result<()> {
        self.0
            .block_on(async move { converse(monoio::net::TcpStream::from_std(socket)?, talk, tuning).await })
    }
}

impl OwnedSocket for monoio::net::TcpStream {
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let held = buffer.len();
        let (outcome, slice) = self.read(buffer.slice_mut(held..)).await;
        (outcome, slice.into_inner())
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (outcome, buffer) = AsyncWriteRentExt::write_all(self, buffer).await;
        (outcome.map(drop), buffer)
    }
}
