//! compio, with a loop over length prefixes.
//!
//! Tuned: one runtime per CPU, each with a listener of its own; large buffers that are reused, many messages per
//! read, one write per batch; ring set up by measurement.

use std::io;
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncReadExt, AsyncWriteExt};
use compio::runtime::{Runtime, RuntimeBuilder};

use crate::peer::owned::{Owned, OwnedRuntime, OwnedSocket, converse};
use crate::peer::talk::Talk;
use crate::peer::tuning::{Ring, Tuning};

pub(crate) const COMPIO: Owned<Compio> = Owned::new();

pub(crate) struct Compio(Runtime);

impl OwnedRuntime for Compio {
    const NAME: &'static str = "compio";
    const ABOUT: &'static str = "compio on io_uring, length-prefix loop, tuned";
    const TUNING: Tuning = Tuning { ring: Ring::Deferred, ..Tuning::new(128 << 10, 512 << 10) };

    fn new(tuning: Tuning) -> Result<Self> {
        let mut proactor = ProactorBuilder::new();
        match tuning.ring {
            Ring::Plain => &mut proactor,
            Ring::Cooperative => proactor.single_issuer(true).coop_taskrun(true),
            Ring::Deferred => proactor.single_issuer(true).defer_taskrun(true),
        };
        let runtime = RuntimeBuilder::new().with_proactor(proactor).build();
        Ok(Self(runtime.context("cannot start a runtime on io_uring")?))
    }

    fn serve(
        &mut self,
        listener: TcpListener,
        tuning: Tuning,
        talk: impl Fn() -> Result<Talk>,
    ) -> Result<()> {
        self.0.block_on(async move {
            let listener = compio::net::TcpListener::from_std(listener)?;
            loop {
                let (socket, _) = listener.accept().await.context("cannot accept")?;
                let talk = talk()?;
                // A connection that breaks ends alone; whoever drives it tells.
                compio::runtime::spawn(async move { drop(converse(socket, talk, tuning).await) }).detach();
            }
        })
    }

    fn drive(&mut self, socket: TcpStream, tuning: Tuning, talk: Talk) -> Result<()> {
        self.0
            .block_on(async move { converse(compio::net::TcpStream::from_std(socket)?, talk, tuning).await })
    }
}

impl OwnedSocket for compio::net::TcpStream {
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let BufResult(outcome, buffer) = AsyncReadExt::append(self, buffer).await;
        (outcome, buffer)
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let BufResult(outcome, buffer) = AsyncWriteExt::write_all(self, buffer).await;
        (outcome, buffer)
    }
}
