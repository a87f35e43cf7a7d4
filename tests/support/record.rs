//! A handler that tells a test what happened to it.

use std::sync::mpsc::{Receiver, Sender, channel};

use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo};

use super::PATIENCE;

/// Something a handler saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Open,
    Message(Vec<u8>),
    Drain,
    Close(CloseReason),
}

/// What a recording handler does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Echo,
    /// Echo, and panic on this message.
    PanicOn(&'static [u8]),
}

/// Reports everything through a channel.
pub(crate) struct Recorder {
    seen: Sender<Seen>,
    answer: Answer,
}

impl Handler for Recorder {
    fn on_open(&mut self, _conn: &mut Context<'_>) {
        let _ = self.seen.send(Seen::Open);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let _ = self.seen.send(Seen::Message(message.to_vec()));
        if let Answer::PanicOn(bad) = self.answer {
            assert_ne!(&*message, bad, "asked to panic");
        }
        if self.answer != Answer::Nothing {
            conn.reply(message).expect("a reply is refused only if too large");
        }
    }

    fn on_drain(&mut self, _conn: &mut Context<'_>) {
        let _ = self.seen.send(Seen::Drain);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        let _ = self.seen.send(Seen::Close(reason.clone()));
    }
}

/// The test's end of the recorders of one server.
pub(crate) struct Record(Receiver<Seen>);

impl Record {
    pub(crate) fn next(&self) -> Seen {
        self.0.recv_timeout(PATIENCE).expect("the handler reports in time")
    }

    /// Everything up to and including the close of one connection.
    pub(crate) fn until_close(&self) -> (Vec<Vec<u8>>, CloseReason) {
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Seen::Message(message) => messages.push(message),
                Seen::Close(reason) => return (messages, reason),
                Seen::Open | Seen::Drain => {}
            }
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// A service of recording handlers and the test's end of it.
pub(crate) fn recorders(answer: Answer) -> (impl FnMut(&PeerInfo) -> Recorder + Clone + Send, Record) {
    let (seen, record) = channel();
    (move |_peer: &PeerInfo| Recorder { seen: seen.clone(), answer }, Record(record))
}
