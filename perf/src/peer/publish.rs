//! What publishers have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::sync::{Notify, broadcast};
use tokio::task::yield_now;

use super::framed::{Frames, Socket, flush};
use super::talk::first;
use crate::job::Job;
use crate::pattern::Sequence;
use crate::tally::Tally;

/// The subscribers of one server that are there already, over all of its threads.
#[derive(Debug)]
pub(crate) struct Crowd {
    awaited: usize,
    arrived: AtomicUsize,
}

impl Crowd {
    pub(crate) fn new(awaited: usize) -> Self {
        Self { awaited, arrived: AtomicUsize::new(0) }
    }

    /// One more is there.
    pub(crate) fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all were there at some time.
    pub(crate) fn is_complete(&self) -> bool {
        self.arrived.load(Ordering::Acquire) >= self.awaited
    }
}

/// Publishes through tokio's broadcast channel, which each connection's task reads and feeds to its peer. The
/// channel would drop what its slowest reader has not read, so the publisher waits while it is half full.
#[derive(Debug)]
pub(crate) struct Channel {
    sender: broadcast::Sender<Bytes>,
    /// A subscriber came, or has read some.
    news: Notify,
    crowd: Crowd,
}

impl Channel {
    pub(crate) fn new(job: &Job) -> Arc<Self> {
        let (sender, _) = broadcast::channel(CHANNEL_LEN);
        Arc::new(Self { sender, news: Notify::new(), crowd: Crowd::new(job.load.connections) })
    }

    /// Sends message after message for ever, once all subscribers are there.
    pub(crate) async fn publish(&self, job: &Job, tally: &Tally) {
        let mut messages: Sequence = first(job);
        while !self.crowd.is_complete() {
            self.news.notified().await;
        }
        loop {
            if self.sender.len() > CHANNEL_LEN / 2 {
                self.news.notified().await;
                continue;
            }
            for _ in 0..CHANNEL_LEN / 4 {
                let Ok(subscribers) = self.sender.send(messages.current_shared()) else { return };
                messages.advance();
                tally.add_sent(subscribers as u64);
            }
            yield_now().await;
        }
    }

    /// Passes everything on to one subscriber until it leaves.
    pub(crate) async fn subscribe<S: Socket>(&self, mut frames: Frames<S>) -> std::io::Result<()> {
        let mut messages = self.sender.subscribe();
        self.crowd.arrive();
        self.news.notify_one();
        while let Ok(message) = messages.recv().await {
            frames.feed(&message[..]).await?;
            while let Ok(message) = messages.try_recv() {
                frames.feed(&message[..]).await?;
            }
            self.news.notify_one();
            flush(&mut frames).await?;
        }
        Ok(())
    }
}

/// Messages that the slowest subscriber may be behind.
const CHANNEL_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::job::Side;
    use crate::peer::talk::Talk;
    use crate::systems::{ALL, ServerRole};

    /// Reads and checks messages until there were `count`; each read takes at most `piece` bytes.
    fn subscribe(mut socket: &TcpStream, job: &Job, count: u64, piece: usize) {
        let tally = Arc::new(Tally::new());
        let mut talk = Talk::serving(ServerRole::Sink, job, &tally).unwrap();
        let (mut held, mut buffer) = (Vec::new(), vec![0; piece]);
        while tally.received() < count {
            let len = socket.read(&mut buffer).unwrap();
            assert!(len > 0, "the publisher closed");
            held.extend_from_slice(&buffer[..len]);
            let used = talk.hear(&held, &mut Vec::new()).unwrap();
            held.drain(..used);
        }
        assert_eq!(tally.outcome().corrupt, 0);
    }

    /// What was sent when for a while nothing more is.
    fn settled(tally: &Tally) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut before = u64::MAX;
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = tally.sent();
            if now == before && now > 0 {
                return now;
            }
            assert!(Instant::now() < deadline, "the publisher goes on without bound");
            before = now;
        }
    }

    #[test]
    fn every_subscriber_gets_every_message_and_one_that_does_not_read_stops_all() {
        let mut job = Job::of_test(Side::Server);
        job.load.connections = 3;
        let publishers = ALL.iter().filter(|it| {
            ["epoll", "tokio-framed"].contains(&it.name()) && it.serves(ServerRole::Publish).is_ok()
        });
        assert_eq!(publishers.clone().count(), 2);
        for system in publishers {
            let tally = Arc::new(Tally::new());
            let part = system.serve(&job, ServerRole::Publish, &tally).unwrap();
            let place = part.address().trim_start_matches("tcp://").to_owned();
            let connect = || TcpStream::connect(&place).unwrap();
            let sockets = [connect(), connect()];
            thread::sleep(Duration::from_millis(50));
            assert_eq!(tally.sent(), 0, "{}: one is still missing", system.name());
            let sleeper = connect();
            let before = settled(&tally);
            let count = before / 3 + 100_000;
            thread::scope(|scope| {
                for (socket, piece) in sockets.iter().zip([100, 64 << 10]) {
                    let job = &job;
                    scope.spawn(move || subscribe(socket, job, count, piece));
                }
                settled(&tally);
                subscribe(&sleeper, &job, count, 64 << 10);
            });
            assert!(tally.sent() > before, "{}", system.name());
        }
    }
}
