//! tokio-util's `Framed` with its `LengthDelimitedCodec`, as its experienced users write it: messages are fed while
//! input is ready, then flushed once.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::part::start;
use super::talk::{FRAME_MAX, answered, first};
use super::tuning::Tuning;
use crate::hello::check_hello;
use crate::job::Job;
use crate::systems::{ClientRole, ServerRole};
use crate::tally::Tally;
use crate::think::think;

/// A connection of messages.
pub(crate) type Frames<S> = Framed<S, LengthDelimitedCodec>;

/// What moves bytes for [`Frames`].
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// Puts the codec on a socket, with a large receive buffer and a large amount gathered before a write.
pub(crate) fn frames<S: Socket>(socket: S, tuning: Tuning) -> Frames<S> {
    let mut frames = Framed::with_capacity(socket, codec(), tuning.read_bytes);
    frames.set_backpressure_boundary(tuning.write_bytes);
    frames
}

pub(crate) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_MAX).new_codec()
}

/// Serves one connection until the peer closes it.
pub(crate) async fn serve<S: Socket>(
    frames: Frames<S>,
    role: ServerRole,
    job: &Job,
    tally: &Tally,
) -> io::Result<()> {
    match role {
        ServerRole::Echo => echo(frames, job).await,
        ServerRole::Sink => sink(frames, job, tally).await,
        ServerRole::Publish => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Drives one connection until the round is over.
pub(crate) async fn drive<S: Socket>(
    mut frames: Frames<S>,
    role: ClientRole,
    job: &Job,
    tally: &Arc<Tally>,
) -> Result<()> {
    match role {
        ClientRole::PingPong => ping_pong(&mut frames, job, tally).await,
        ClientRole::Stream => stream(&mut frames, job, tally).await,
        ClientRole::SendOne => send_one(&mut frames, job, tally).await,
        ClientRole::SendFromThread => send_from_thread(&mut frames, job, tally).await,
    }?;
    SinkExt::<&[u8]>::close(&mut frames).await?;
    // Below TLS something is left unread (session tickets), and closing then would reset what is under way; so the
    // peer ends first, and how it ends does not matter.
    while let Some(Ok(_)) = frames.next().await {}
    Ok(())
}

async fn echo<S: Socket>(mut frames: Frames<S>, job: &Job) -> io::Result<()> {
    if let Some(token) = job.token.as_deref()
        && !admit(&mut frames, token).await?
    {
        return Ok(());
    }
    while let Some(message) = frames.next().await {
        think(job.load.think);
        frames.feed(&message?[..]).await?;
        while let Some(Some(message)) = frames.next().now_or_never() {
            think(job.load.think);
            frames.feed(&message?[..]).await?;
        }
        flush(&mut frames).await?;
    }
    Ok(())
}

/// Whether the first message shows the token.
pub(crate) async fn admit<S: Socket>(frames: &mut Frames<S>, token: &str) -> io::Result<bool> {
    let Some(message) = frames.next().await else { return Ok(false) };
    let message = message?;
    match check_hello(&message, token) {
        Ok(()) => frames.send(&message[..]).await.map(|()| true),
        Err(refusal) => frames.send(refusal.as_bytes()).await.map(|()| false),
    }
}

async fn sink<S: Socket>(mut frames: Frames<S>, job: &Job, tally: &Tally) -> io::Result<()> {
    let mut expected = first(job);
    while let Some(message) = frames.next().await {
        let (mut received, mut corrupt) = (1, u64::from(!expected.accept(&message?)));
        while received < COUNTED_MAX
            && let Some(Some(Ok(message))) = frames.next().now_or_never()
        {
            corrupt += u64::from(!expected.accept(&message));
            received += 1;
        }
        tally.add_received(received);
        tally.add_corrupt(corrupt);
    }
    Ok(())
}

pub(crate) async fn ping_pong<S: Socket>(frames: &mut Frames<S>, job: &Job, tally: &Tally) -> Result<()> {
    let mut messages = first(job);
    let mut asked = Instant::now();
    while !tally.is_stopping() {
        frames.send(messages.current()).await?;
        tally.add_sent(1);
        let answer = frames.next().await.context("the peer closed it")??;
        let now = Instant::now();
        answered(tally, &mut messages, &answer, Some(now - asked));
        asked = now;
    }
    Ok(())
}

/// Feeds for ever: the codec writes whenever so much is gathered.
async fn stream<S: Socket>(frames: &mut Frames<S>, job: &Job, tally: &Tally) -> Result<()> {
    let mut messages = first(job);
    while !tally.is_stopping() {
        for _ in 0..BATCH {
            frames.feed(messages.current()).await?;
            messages.advance();
        }
        tally.add_sent(BATCH);
    }
    Ok(flush(frames).await?)
}

pub(crate) async fn send_one<S: Socket>(frames: &mut Frames<S>, job: &Job, tally: &Tally) -> Result<()> {
    let mut messages = first(job);
    while !tally.is_stopping() {
        frames.send(messages.current()).await?;
        messages.advance();
        tally.add_sent(1);
    }
    Ok(())
}

/// Another thread sends through a channel; the connection's task feeds what is there, then flushes.
async fn send_from_thread<S: Socket>(frames: &mut Frames<S>, job: &Job, tally: &Arc<Tally>) -> Result<()> {
    let mut messages = queue(job, tally)?;
    let mut batch = Vec::with_capacity(BATCH as usize);
    while messages.recv_many(&mut batch, BATCH as usize).await > 0 {
        for message in batch.drain(..) {
            frames.feed(message).await?;
        }
        if messages.is_empty() {
            flush(frames).await?;
        }
    }
    Ok(flush(frames).await?)
}

/// Starts a thread that sends into a channel until the round is over.
pub(crate) fn queue(job: &Job, tally: &Arc<Tally>) -> Result<mpsc::Receiver<Bytes>> {
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    let (mut messages, tally) = (first(job), tally.clone());
    start("send", move || {
        while !tally.is_stopping() && sender.blocking_send(messages.current_shared()).is_ok() {
            messages.advance();
            tally.add_sent(1);
        }
    })?;
    Ok(receiver)
}

/// Writes what was fed.
pub(crate) async fn flush<S: Socket>(frames: &mut Frames<S>) -> io::Result<()> {
    SinkExt::<&[u8]>::flush(frames).await
}

/// Messages between two looks at the stop.
const BATCH: u64 = 64;
/// Messages between two counts, however many are ready.
const COUNTED_MAX: u64 = 1024;
/// Messages that wait between two threads.
const QUEUE_LEN: usize = 1024;
