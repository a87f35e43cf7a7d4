//! A whole session against the reference decoder: the same bytes, however they come, are the same messages and
//! the same end.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use qwormhole_proto::handshake::{ClientHandshake, HandshakePolicy};
use qwormhole_proto::{
    CloseReason, Config, ConnId, Context, FrameTooLarge, Framing, Handler, HandshakeRole, Message, Owner,
    PeerAddr, PeerInfo, RecvBuffer, Sender, Session, ShardLocal, TlsFilter, TlsRole,
};

use super::decoder_split::split;
use super::input::Input;
use super::reference::Reference;
use super::tls_bytes::cached_ends;

/// Input: one byte chooses the limit, one the way of the bytes, one how often the handler pauses, one the number
/// of cuts, then two bytes per cut, then the stream.
///
/// # Panics
///
/// When the messages or the reason of the end differ from the reference decoder's, or between two ways.
pub fn differential(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = input.pick(&[300, 0, 1, 5, 4096, 70_000, u32::MAX]);
    let way = input.byte();
    let pause_every = usize::from(input.byte() % 5);
    let cuts: Vec<usize> =
        (0..input.byte() % 16).map(|_| usize::from(input.byte()) * 256 + usize::from(input.byte())).collect();
    let stream = input.rest();
    let framing = if way & 1 == 0 { Framing::LengthPrefixed } else { Framing::None };
    let expected = expected(stream, framing, limit);
    for handshake in [false, true] {
        let case = Case { framing, limit, handshake, pause_every, half_open: way & 2 != 0 };
        let every: Vec<usize> = (0..stream.len() + HANDSHAKE_LEN_MAX).collect();
        for cuts in [&[][..], &cuts, &every] {
            case.check(&expected, case.plain(stream, cuts), "plain");
        }
        if way & 12 == 12 {
            case.check(&expected, case.secure(stream, &cuts, way & 16 != 0), "TLS");
        }
    }
}

/// What the session made of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    reason: Option<CloseReason>,
}

fn expected(stream: &[u8], framing: Framing, limit: u32) -> Outcome {
    if framing == Framing::None {
        let messages = if stream.is_empty() { Vec::new() } else { vec![stream.to_vec()] };
        return Outcome { messages, reason: Some(CloseReason::PeerClosed) };
    }
    let mut reference = Reference::new(limit);
    reference.feed(stream);
    let frames = (0..reference.frames()).filter_map(|number| reference.frame(number));
    let messages = frames.map(<[u8]>::to_vec).collect();
    let reason = match reference.too_large() {
        Some(len) => CloseReason::FrameTooLarge(FrameTooLarge { len, limit }),
        None if reference.partial() > 0 => CloseReason::PeerTruncated,
        None => CloseReason::PeerClosed,
    };
    Outcome { messages, reason: Some(reason) }
}

/// One way of the bytes to the handler.
struct Case {
    framing: Framing,
    limit: u32,
    /// A handshake comes first.
    handshake: bool,
    /// The handler pauses at every so many messages; 0 is never.
    pause_every: usize,
    half_open: bool,
}

impl Case {
    fn check(&self, expected: &Outcome, mut found: Outcome, way: &str) {
        if self.framing == Framing::None {
            let joined = found.messages.concat();
            found.messages = if joined.is_empty() { Vec::new() } else { vec![joined] };
        }
        if self.half_open && expected.reason == Some(CloseReason::PeerClosed) {
            // The handler was asked, and closes.
            assert_eq!(found.reason, Some(CloseReason::Local), "{way}");
            found.reason = Some(CloseReason::PeerClosed);
        }
        assert!(*expected == found, "{way}: {expected:?} was expected, not {found:?}");
    }

    fn plain(&self, stream: &[u8], cuts: &[usize]) -> Outcome {
        let mut bench = Bench::new(self, false);
        for chunk in split(&self.wire(stream), cuts) {
            bench.feed(chunk);
        }
        bench.end()
    }

    /// The stream in records of one size and chunks of another. With `at_once` the peer does not wait for its
    /// own handshake to be answered before it writes.
    fn secure(&self, stream: &[u8], cuts: &[usize], at_once: bool) -> Outcome {
        let mut bench = Bench::new(self, true);
        let mut peer = TlsFilter::client(&cached_ends().0, "worm.test").expect("a good name");
        let wire = self.wire(stream);
        let mut pieces = split(&wire, cuts);
        if at_once {
            pieces.next().into_iter().for_each(|piece| assert_eq!(peer.write(piece), piece.len()));
        }
        while peer.is_handshaking() {
            let mut records = Vec::new();
            peer.write_tls(&mut records);
            split(&records, cuts).for_each(|chunk| bench.feed(chunk));
            bench.answer(&mut peer);
        }
        let mut records = Vec::new();
        for piece in pieces {
            let mut rest = piece;
            while !rest.is_empty() {
                let taken = peer.write(rest);
                rest = &rest[taken..];
                peer.write_tls(&mut records);
            }
        }
        peer.close_notify();
        peer.write_tls(&mut records);
        split(&records, cuts).for_each(|chunk| bench.feed(chunk));
        bench.end()
    }

    fn wire(&self, stream: &[u8]) -> Vec<u8> {
        if !self.handshake {
            return stream.to_vec();
        }
        let payload = ClientHandshake::new("1").encode(&[], 1, [1; 16]).expect("a good handshake");
        assert!(payload.len() + 4 < HANDSHAKE_LEN_MAX);
        let header = (payload.len() as u32).to_be_bytes();
        let header = if self.framing == Framing::None { &[][..] } else { &header };
        [header, &payload, stream].concat()
    }

    fn config(&self, secure: bool) -> Config {
        let mut config = Config::default();
        config.framing = self.framing;
        config.limits.max_frame_len = self.limit;
        config.allow_half_open = self.half_open;
        if self.handshake {
            config.handshake = Some(HandshakeRole::Expect(Arc::new(HandshakePolicy::new("1"))));
        }
        if secure {
            config.tls = Some(TlsRole::Server(cached_ends().1));
        }
        config
    }
}

struct Bench {
    session: Session<Listener>,
    local: ShardLocal,
    heard: Rc<RefCell<Heard>>,
}

#[derive(Default)]
struct Heard {
    messages: Vec<Vec<u8>>,
    sender: Option<Sender>,
    reason: Option<CloseReason>,
}

struct Listener {
    heard: Rc<RefCell<Heard>>,
    pause_every: usize,
}

impl Handler for Listener {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.heard.borrow_mut().sender = Some(conn.sender());
        if self.pause_every > 0 {
            conn.pause();
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let mut heard = self.heard.borrow_mut();
        heard.messages.push(message.to_vec());
        if heard.messages.len().checked_rem(self.pause_every) == Some(0) {
            conn.pause();
        }
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        conn.close();
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.heard.borrow_mut().reason = Some(reason.clone());
    }
}

impl Bench {
    fn new(case: &Case, secure: bool) -> Self {
        let (mut local, heard) = (ShardLocal::default(), Rc::<RefCell<Heard>>::default());
        let listener = Listener { heard: heard.clone(), pause_every: case.pause_every };
        let peer = PeerInfo::new(PeerAddr::Unknown);
        let config = Arc::new(case.config(secure));
        let mut session = Session::new(ConnId::new(0, 0, 0), peer, config, Owner::handler(listener));
        session.open(&mut local);
        Self { session, local, heard }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.session.handle_bytes(&mut self.local, &Chunk(bytes));
        }
        // Sometimes more arrives before the handler goes on.
        if bytes.len() % 3 != 1 {
            self.resume();
        }
    }

    fn resume(&mut self) {
        let sender = self.heard.borrow().sender.clone();
        if let Some(sender) = sender {
            sender.resume();
            self.session.handle_remote(&mut self.local);
        }
    }

    /// What the session has to say reaches the peer.
    fn answer(&mut self, peer: &mut TlsFilter) {
        while let Some(transmit) = self.session.poll_transmit(&mut self.local) {
            for segment in transmit.segments() {
                let mut rest = segment.as_slice();
                peer.read_tls(&mut rest).expect("a good answer");
            }
            let len = transmit.len();
            self.session.handle_transmitted(&mut self.local, transmit, Ok(len));
        }
    }

    fn end(mut self) -> Outcome {
        self.session.handle_eof(&mut self.local);
        loop {
            let before = self.heard.borrow().messages.len();
            self.resume();
            if self.heard.borrow().messages.len() == before {
                break;
            }
        }
        self.session.finish(&mut self.local);
        let mut heard = self.heard.borrow_mut();
        Outcome { messages: std::mem::take(&mut heard.messages), reason: heard.reason.take() }
    }
}

/// A receive buffer that is not leased.
struct Chunk<'a>(&'a [u8]);

impl RecvBuffer for Chunk<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn lease(&self, _range: Range<usize>) -> Option<Bytes> {
        None
    }
}

/// More than the handshake takes with its header.
const HANDSHAKE_LEN_MAX: usize = 100;
