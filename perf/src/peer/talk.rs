//! What one connection says and hears, without any I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::hello::check_hello;
use crate::job::Job;
use crate::pattern::{Pattern, Sequence};
use crate::systems::{ClientRole, ServerRole};
use crate::tally::Tally;
use crate::think::think;

/// The part of one connection, in bytes on the wire. Whoever moves the bytes lets it hear what arrived, sends what
/// it says, and asks for more when all of that has left.
#[derive(Debug)]
pub(crate) enum Talk {
    Echo(Echo),
    Sink(Sink),
    PingPong(PingPong),
    Sender(Sender),
}

impl Talk {
    /// A server's connection.
    ///
    /// # Errors
    ///
    /// When this role has no connections that answer or count.
    pub(crate) fn serving(role: ServerRole, job: &Job, tally: &Arc<Tally>) -> Result<Self> {
        match role {
            ServerRole::Echo => Ok(Self::Echo(Echo {
                token: job.token.as_deref().map(Arc::from),
                think: job.load.think,
                over: false,
            })),
            ServerRole::Publish => bail!("a publisher has no conversations"),
            ServerRole::Sink => Ok(Self::Sink(Sink { expected: first(job), tally: tally.clone() })),
        }
    }

    /// A client's connection; a source says up to `write_bytes` at once.
    pub(crate) fn driving(
        role: ClientRole,
        job: &Job,
        tally: &Arc<Tally>,
        write_bytes: usize,
    ) -> Result<Self> {
        let source = |batch_bytes| {
            Self::Sender(Sender { source: Source::new(job, batch_bytes), over: false, tally: tally.clone() })
        };
        match role {
            ClientRole::PingPong => Ok(Self::PingPong(PingPong {
                messages: first(job),
                asked: None,
                over: false,
                tally: tally.clone(),
            })),
            ClientRole::Stream => Ok(source(write_bytes)),
            ClientRole::SendOne => Ok(source(0)),
            ClientRole::SendFromThread => bail!("this system sends from the connection's own thread only"),
        }
    }

    /// Hears the complete messages at the front of `bytes`; how many bytes they are. What it answers is appended
    /// to `out`.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub(crate) fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        match self {
            Self::Echo(echo) => echo.hear(bytes, out),
            Self::Sink(sink) => sink.hear(bytes),
            Self::PingPong(ping_pong) => ping_pong.hear(bytes, out),
            Self::Sender(_) => bail!("the peer answers what needs no answer"),
        }
    }

    /// Everything said so far has left: whoever speaks unasked says more.
    pub(crate) fn more(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Echo(_) | Self::Sink(_) => (),
            Self::PingPong(ping_pong) => ping_pong.begin(out),
            Self::Sender(sender) => sender.more(out),
        }
    }

    /// Whether the connection is to be closed when everything said has left.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Echo(echo) => echo.over,
            Self::Sink(_) => false,
            Self::PingPong(ping_pong) => ping_pong.over,
            Self::Sender(sender) => sender.over,
        }
    }

    /// Whether it says something before it has heard anything.
    pub(crate) fn speaks_first(&self) -> bool {
        matches!(self, Self::PingPong(_) | Self::Sender(_))
    }

    /// Whether it only ever speaks.
    pub(crate) fn speaks_unasked(&self) -> bool {
        matches!(self, Self::Sender(_))
    }
}

/// Sends each message back.
#[derive(Debug)]
pub(crate) struct Echo {
    /// Until the peer has shown it.
    token: Option<Arc<str>>,
    /// What it works on each message.
    think: Duration,
    over: bool,
}

impl Echo {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = bytes;
        while !self.over
            && let Some((message, after)) = next_frame(rest)?
        {
            rest = after;
            match self.token.take().map(|token| check_hello(message, &token)) {
                Some(Err(refusal)) => {
                    put_frame(out, refusal.as_bytes());
                    self.over = true;
                }
                _ => {
                    think(self.think);
                    put_frame(out, message);
                }
            }
        }
        Ok(bytes.len() - rest.len())
    }
}

/// Checks and counts.
#[derive(Debug)]
pub(crate) struct Sink {
    expected: Sequence,
    tally: Arc<Tally>,
}

impl Sink {
    fn hear(&mut self, bytes: &[u8]) -> Result<usize> {
        let (mut rest, mut received, mut corrupt) = (bytes, 0, 0);
        while let Some((message, after)) = next_frame(rest)? {
            corrupt += u64::from(!self.expected.accept(message));
            received += 1;
            rest = after;
        }
        self.tally.add_received(received);
        self.tally.add_corrupt(corrupt);
        Ok(bytes.len() - rest.len())
    }
}

/// Says a message, waits for it to come back, says the next.
#[derive(Debug)]
pub(crate) struct PingPong {
    messages: Sequence,
    /// When the message under way was said.
    asked: Option<Instant>,
    over: bool,
    tally: Arc<Tally>,
}

impl PingPong {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.asked.is_none() {
            self.ask(out, Instant::now());
        }
    }

    fn ask(&mut self, out: &mut Vec<u8>, now: Instant) {
        self.asked = Some(now);
        put_frame(out, self.messages.current());
        self.tally.add_sent(1);
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let Some((message, rest)) = next_frame(bytes)? else { return Ok(0) };
        let now = Instant::now();
        ensure!(rest.is_empty(), "the peer answers more than it was asked");
        answered(&self.tally, &mut self.messages, message, self.asked.map(|asked| now - asked));
        if self.tally.is_stopping() {
            self.over = true;
        } else {
            self.ask(out, now);
        }
        Ok(bytes.len())
    }
}

/// Says message after message until the round is over.
#[derive(Debug)]
pub(crate) struct Sender {
    source: Source,
    over: bool,
    tally: Arc<Tally>,
}

impl Sender {
    fn more(&mut self, out: &mut Vec<u8>) {
        if self.tally.is_stopping() {
            self.over = true;
        } else {
            self.tally.add_sent(self.source.fill(out));
        }
    }
}

/// Messages on the wire, in batches.
#[derive(Debug)]
pub(crate) struct Source {
    messages: Sequence,
    /// How many bytes a batch has at most, unless one message has more.
    batch_bytes: usize,
}

impl Source {
    pub(crate) fn new(job: &Job, batch_bytes: usize) -> Self {
        Self { messages: first(job), batch_bytes }
    }

    /// Appends a batch; how many messages it has.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>) -> u64 {
        let (begin, len, mut count) = (out.len(), FRAME_HEADER + self.messages.current().len(), 0);
        loop {
            put_frame(out, self.messages.current());
            self.messages.advance();
            count += 1;
            if out.len() - begin + len > self.batch_bytes {
                return count;
            }
        }
    }
}

/// Takes note of the answer to the one request in flight.
pub(crate) fn answered(tally: &Tally, messages: &mut Sequence, answer: &[u8], round_trip: Option<Duration>) {
    if !messages.accept(answer) {
        tally.add_corrupt(1);
    }
    tally.add_received(1);
    if let Some(round_trip) = round_trip.filter(|_| tally.is_measuring()) {
        tally.round_trips().record(round_trip);
    }
}

/// The messages of a job from their beginning.
pub(crate) fn first(job: &Job) -> Sequence {
    Pattern::new(job.load.size).sequence(0)
}

/// The first message in `bytes` and what follows it; `None` when it is not complete.
///
/// # Errors
///
/// When it announces more than any message has.
#[inline]
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes(*header) as usize;
    ensure!(len <= FRAME_MAX, "the peer announces a frame of {len} bytes, above the limit of {FRAME_MAX}");
    Ok(rest.split_at_checked(len))
}

/// Appends a message with its header.
#[inline]
pub(crate) fn put_frame(out: &mut Vec<u8>, message: &[u8]) {
    out.reserve(FRAME_HEADER + message.len());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Bytes before each message.
pub(crate) const FRAME_HEADER: usize = 4;
/// Longest message, as qwormhole's default has it.
pub(crate) const FRAME_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::{check_answer, hello};
    use crate::job::Side;
    use crate::tally::Phase;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(&mut out, message);
        out
    }

    #[test]
    fn an_echo_with_a_token_lets_nobody_else_in() {
        let job = Job { token: Some(String::from("right")), ..Job::of_test(Side::Server) };
        let tally = Arc::new(Tally::new());
        let answer = |message: &[u8]| {
            let mut talk = Talk::serving(ServerRole::Echo, &job, &tally).unwrap();
            let mut out = Vec::new();
            talk.hear(&[frame(message), frame(b"next")].concat(), &mut out).unwrap();
            (out, talk.is_over())
        };
        let accepted = [frame(hello("right").as_bytes()), frame(b"next")].concat();
        assert_eq!(answer(hello("right").as_bytes()), (accepted, false));
        let (out, over) = answer(hello("wrong").as_bytes());
        assert!(over, "the connection goes on");
        assert!(check_answer(&out[FRAME_HEADER..], "right").unwrap_err().contains("token"));
    }

    #[test]
    fn a_sink_counts_what_a_source_says_and_finds_an_altered_byte() {
        let (job, tally) = (Job::of_test(Side::Client), Arc::new(Tally::new()));
        let mut source = Talk::driving(ClientRole::Stream, &job, &tally, 1000).unwrap();
        let mut out = Vec::new();
        source.more(&mut out);
        let messages = 1000 / (FRAME_HEADER + job.load.size);
        assert_eq!(out.len(), messages * (FRAME_HEADER + job.load.size));
        assert_eq!(tally.sent(), messages as u64);
        let mut sink = Talk::serving(ServerRole::Sink, &job, &tally).unwrap();
        assert_eq!(sink.hear(&out, &mut Vec::new()).unwrap(), out.len());
        assert_eq!((tally.outcome().received, tally.outcome().corrupt), (messages as u64, 0));
        out.clear();
        source.more(&mut out);
        out[FRAME_HEADER + 9] ^= 1;
        sink.hear(&out, &mut Vec::new()).unwrap();
        assert_eq!(tally.outcome().corrupt, 1);
        tally.enter(Phase::Stop);
        out.clear();
        source.more(&mut out);
        assert!(out.is_empty() && source.is_over());
    }

    #[test]
    fn one_message_is_said_at_a_time_where_each_is_awaited() {
        let (job, tally) = (Job::of_test(Side::Client), Arc::new(Tally::new()));
        let mut source = Talk::driving(ClientRole::SendOne, &job, &tally, 1000).unwrap();
        let mut out = Vec::new();
        source.more(&mut out);
        assert_eq!(out.len(), FRAME_HEADER + job.load.size);
    }

    #[test]
    fn a_ping_pong_asks_on_until_the_stop() {
        let (job, tally) = (Job::of_test(Side::Client), Arc::new(Tally::new()));
        let mut talk = Talk::driving(ClientRole::PingPong, &job, &tally, 0).unwrap();
        let mut out = Vec::new();
        talk.more(&mut out);
        let mut again = Vec::new();
        talk.more(&mut again);
        assert!(again.is_empty(), "two in flight");
        let answer = std::mem::take(&mut out);
        assert_eq!(talk.hear(&answer[..9], &mut out).unwrap(), 0, "not complete");
        assert_eq!(talk.hear(&answer, &mut out).unwrap(), answer.len());
        assert!(!out.is_empty() && !talk.is_over());
        tally.enter(Phase::Stop);
        let answer = std::mem::take(&mut out);
        talk.hear(&answer, &mut out).unwrap();
        assert!(out.is_empty() && talk.is_over());
        assert_eq!((tally.sent(), tally.received(), tally.outcome().corrupt), (2, 2, 0));
        let twice = [answer.clone(), answer].concat();
        assert!(talk.hear(&twice, &mut out).is_err());
    }
}
