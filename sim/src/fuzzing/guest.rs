//! One who comes to the fuzzed server: its session, its side of the wire and what its handler saw.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use qwormhole_proto::handshake::{ClientHandshake, Verifier};
use qwormhole_proto::{
    Admission, CloseReason, Context, FRAME_HEADER_LEN, Handler, Message, PeerAddr, Session, TlsFilter,
    Transmit, frame_header,
};

/// What stands between a guest and its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// A handshake that is judged at once.
    Judged,
    /// A handshake whose verifier answers later.
    Asked,
    /// A handshake at the front of a stream without framing.
    Unframed,
    /// TLS.
    Secure,
    /// TLS, then a verifier that answers later.
    SecureAsked,
    /// We connected, and wait for an acknowledgement.
    Dialed,
}

impl Kind {
    pub(super) const fn is_secure(self) -> bool {
        matches!(self, Self::Secure | Self::SecureAsked)
    }

    pub(super) const fn is_stranger(self) -> bool {
        !matches!(self, Self::Plain | Self::Dialed)
    }
}

/// What a verifier says when it is asked the next time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    #[default]
    NotYet,
    Yes,
    No,
    Panic,
    /// Nothing, and panics when nobody waits for it any more.
    PanicLater,
}

/// One question to the verifier.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) port: u16,
    state: Arc<Mutex<(Answer, Option<Waker>)>>,
}

impl Question {
    pub(super) fn answer(&self, answer: Answer) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = answer;
            // Sometimes it wakes and still has no answer.
            state.1.clone()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, waker: &Waker) -> Poll<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = Some(waker.clone());
        match state.0 {
            Answer::NotYet | Answer::PanicLater => Poll::Pending,
            Answer::Yes => Poll::Ready(true),
            Answer::No => Poll::Ready(false),
            Answer::Panic => {
                drop(state);
                std::panic::resume_unwind(Box::new("asked to"));
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let answer = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0;
        if answer == Answer::PanicLater && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("asked to"));
        }
    }
}

struct Asked(Question);

/// The verifier whose answers the fuzzer gives.
pub(super) fn questioner(questions: &Arc<Mutex<Vec<Question>>>) -> Verifier {
    let questions = questions.clone();
    Verifier::future(move |_, peer| {
        let port = if let PeerAddr::Ip(addr) = &peer.addr { addr.port() } else { 0 };
        let question = Question { port, state: Arc::default() };
        questions.lock().unwrap_or_else(PoisonError::into_inner).push(question.clone());
        let asked = Asked(question);
        poll_fn(move |cx| asked.0.poll(cx.waker()))
    })
}

/// A verifier that goes by the version: 1 may enter, at 3 it panics.
pub(super) fn judge() -> Verifier {
    Verifier::sync(|handshake, _| match handshake.version().and_then(|version| version.as_str()) {
        Some("1") => true,
        Some("3") => std::panic::resume_unwind(Box::new("asked to")),
        _ => false,
    })
}

/// What a guest's handler saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) opened: usize,
    pub(super) closed: usize,
    pub(super) panicked: bool,
    /// How often the dialer was told of a failure.
    pub(super) failures: Arc<AtomicUsize>,
    broken: Option<&'static str>,
}

impl Seen {
    pub(super) fn check(&self) {
        assert_eq!(self.broken, None);
        assert!(self.opened <= 1 && self.closed <= self.opened && self.failed() + self.opened <= 1);
    }

    pub(super) fn failed(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The handler.
pub(super) struct Witness {
    pub(super) seen: Rc<RefCell<Seen>>,
    pub(super) panics: Rc<Cell<u64>>,
    pub(super) panics_on_open: bool,
}

impl Witness {
    fn panic(&self) -> ! {
        self.seen.borrow_mut().panicked = true;
        self.panics.set(self.panics.get() + 1);
        std::panic::resume_unwind(Box::new("asked to"));
    }
}

impl Handler for Witness {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.seen.borrow_mut().opened += 1;
        if self.panics_on_open {
            self.panic();
        }
        let _ = conn.send("welcome");
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let mut seen = self.seen.borrow_mut();
        if seen.opened != 1 || seen.closed != 0 {
            seen.broken = Some("a message outside of the connection's life");
        }
        drop(seen);
        match message.first() {
            Some(b'p') => self.panic(),
            Some(b'c') => conn.close(),
            Some(b's') => conn.pause(),
            _ => drop(conn.reply(message)),
        }
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, _reason: &CloseReason) {
        self.seen.borrow_mut().closed += 1;
    }
}

pub(super) struct Guest {
    pub(super) kind: Kind,
    pub(super) address: u8,
    /// `None` once it is finished.
    pub(super) session: Option<Session<Witness>>,
    pub(super) admission: Option<Admission>,
    pub(super) seen: Rc<RefCell<Seen>>,
    /// What the guest has sent and the session has not received.
    pub(super) stream: Vec<u8>,
    /// The guest's side of TLS.
    pub(super) tls: Option<Box<TlsFilter>>,
    pub(super) in_flight: Option<Transmit>,
    pub(super) eof: bool,
    /// Whether the guest has said anything yet.
    begun: bool,
    /// Whether there is a reason to let it in.
    pub(super) may_open: bool,
}

impl Guest {
    pub(super) fn new(kind: Kind, address: u8, session: Session<Witness>, seen: Rc<RefCell<Seen>>) -> Self {
        Self {
            kind,
            address,
            session: Some(session),
            admission: None,
            seen,
            stream: Vec::new(),
            tls: None,
            in_flight: None,
            eof: false,
            begun: false,
            may_open: matches!(kind, Kind::Plain | Kind::Secure),
        }
    }

    /// Whether it takes a place among those that are not open yet.
    pub(super) fn is_waiting(&self) -> bool {
        let is_open = self.session.as_ref().is_some_and(|session| session.connection().is_open());
        self.kind.is_stranger() && is_open && self.seen.borrow().opened == 0
    }

    /// The guest sends something.
    pub(super) fn say(&mut self, what: u8) {
        let first = !self.begun;
        let before = self.stream.len();
        self.speak(what, first);
        self.begun |= self.stream.len() > before;
    }

    fn speak(&mut self, what: u8, first: bool) {
        let handshake = |version: &str| ClientHandshake::new(version);
        let handshake = match what % 16 {
            0..=3 => Some(handshake("1")),
            4..=5 => Some(handshake("1").ask_ack()),
            6 => Some(handshake("2")),
            7 => Some(handshake("3")),
            _ => None,
        };
        if let Some(handshake) = handshake {
            // Without framing there may be space before it.
            let in_time = (first && self.kind == Kind::Judged) || self.kind == Kind::Unframed;
            self.may_open |= in_time && what % 16 < 6;
            let payload = handshake.encode(&[], 1, [what; 16]).expect("a good handshake");
            return self.send(&payload);
        }
        match what % 16 {
            8 => {
                self.may_open |= first && self.kind == Kind::Dialed;
                self.send(br#"{"type":"handshake-ack"}"#);
            }
            9 => self.send(b"panic"),
            10 => self.send(b"close"),
            11 => self.send(b"stop"),
            12 => self.stream.extend([what, 0, 255, 1]),
            13 => self.stream.push(b' '),
            14 => self.tls.iter_mut().for_each(|tls| tls.close_notify()),
            _ => self.send(&vec![b'm'; usize::from(what) * 16]),
        }
    }

    fn send(&mut self, payload: &[u8]) {
        let header: [u8; FRAME_HEADER_LEN] = frame_header(payload.len() as u32);
        let header = if self.kind == Kind::Unframed { &[][..] } else { &header };
        let wire = [header, payload].concat();
        match &mut self.tls {
            Some(tls) => {
                tls.write(&wire);
            }
            None => self.stream.extend(wire),
        }
    }

    /// The guest takes what the kernel brought.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Some(tls) = &mut self.tls else { return };
        let mut rest = bytes;
        while !rest.is_empty() && tls.read_tls(&mut rest).is_ok() {
            while let plain @ [_, ..] = tls.plaintext() {
                let len = plain.len();
                tls.consume(len);
            }
        }
    }

    /// The guest's records leave.
    pub(super) fn flush(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.write_tls(&mut self.stream);
        }
    }
}
