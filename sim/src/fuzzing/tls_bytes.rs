//! TLS under tampering: whatever happens to the bytes in between, nothing forged arrives.

use std::sync::{Arc, OnceLock};

use qwormhole_proto::{
    ClientTls, NoFiles, ServerTls, TlsClock, TlsExporter, TlsFault, TlsFilter, TlsOptions, TlsVersion,
};

use super::input::Input;

/// Input: one byte chooses the configuration; then operations on a client, a server and the bytes between them,
/// or, for every eighth configuration, bytes that both get as they are.
///
/// # Panics
///
/// When one end delivers what the other did not write, when untouched bytes do not arrive, when a filter holds more
/// than its bounds, stands still or changes its mind about a fault.
pub fn tls_bytes(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (client, server) = configurations(choice);
    let mut bench = Bench {
        client: End::new(TlsFilter::client(&client, "worm.test").expect("a good name")),
        server: End::new(TlsFilter::server(&server).expect("a server")),
        tampered: false,
        cut: false,
    };
    if choice & 7 == 7 {
        let bytes = input.rest();
        bench.client.inbound.extend_from_slice(bytes);
        bench.server.inbound.extend_from_slice(bytes);
        bench.tampered = true;
        bench.client.receive(usize::MAX, true);
        bench.server.receive(usize::MAX, true);
    } else {
        while !input.is_empty() {
            bench.operate(&mut input);
        }
    }
    bench.finish();
}

struct Bench {
    client: End,
    server: End,
    /// Whether bytes on their way were changed.
    tampered: bool,
    /// Whether an end closed while the handshake was going on; the other one may already expect it to be encrypted.
    cut: bool,
}

/// One side, and the bytes on their way to it.
struct End {
    tls: TlsFilter,
    inbound: Vec<u8>,
    written: Vec<u8>,
    received: Vec<u8>,
    fault: Option<TlsFault>,
    closed: bool,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        let (end, peer) = if operation & 1 == 0 {
            (&mut self.client, &mut self.server)
        } else {
            (&mut self.server, &mut self.client)
        };
        match operation / 2 % 12 {
            0..=3 => {
                peer.send_to(end);
                end.receive(input.length(), operation < 128);
            }
            4 => end.write(input.length()),
            5 => {
                let at = input.length();
                if let Some(byte) = end.inbound.get_mut(at) {
                    *byte ^= input.byte().max(1);
                    self.tampered = true;
                }
            }
            6 => {
                let at = input.length().min(end.inbound.len());
                let len = usize::from(input.byte());
                let foreign = input.bytes(len).to_vec();
                self.tampered |= !foreign.is_empty();
                end.inbound.splice(at..at, foreign);
            }
            7 => {
                let kind = input.pick(&[20, 21, 22, 23, 24]);
                let len = usize::from(input.byte());
                let payload = input.bytes(len);
                let at = input.length().min(end.inbound.len());
                let header = [kind, 3, 3, 0, payload.len() as u8];
                end.inbound.splice(at..at, [&header[..], payload].concat());
                self.tampered = true;
            }
            8 => {
                let at = input.length().min(end.inbound.len());
                let len = input.length().min(end.inbound.len() - at);
                end.inbound.drain(at..at + len);
                self.tampered |= len > 0;
            }
            9 => {
                // Again and again it would double.
                let copy = end.inbound.get(..REPEATED_BYTES_MAX).unwrap_or(&end.inbound).to_vec();
                self.tampered |= !copy.is_empty();
                end.inbound.extend(copy);
            }
            10 => {
                self.cut |= end.tls.is_handshaking() || peer.tls.is_handshaking();
                end.tls.close_notify();
                end.closed = true;
            }
            _ => {
                if end.tls.handle_eof().is_err() {
                    self.tampered = true;
                    end.fault = end.tls.fault().cloned();
                }
            }
        }
    }

    /// Lets everything arrive and compares both ends.
    fn finish(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.client.send_to(&mut self.server);
            self.server.send_to(&mut self.client);
            if self.client.inbound.is_empty() && self.server.inbound.is_empty() {
                break;
            }
            self.client.receive(usize::MAX, true);
            self.server.receive(usize::MAX, true);
        }
        for (end, peer) in [(&self.client, &self.server), (&self.server, &self.client)] {
            assert!(peer.written.starts_with(&end.received), "something forged arrived");
            if self.tampered || self.cut {
                continue;
            }
            assert_eq!(end.fault, None, "nothing was touched");
            if !end.closed {
                assert!(end.received == peer.written, "something is missing");
                assert!(end.tls.peer_has_closed() == peer.closed);
            }
        }
        if let (Some(ours), Some(theirs)) = (self.client.tls.facts(), self.server.tls.facts()) {
            assert_eq!(ours.keying_material, theirs.keying_material);
            assert_eq!(ours.alpn, theirs.alpn);
            assert_eq!(ours.peer_fingerprint256, theirs.own_fingerprint256);
            assert_eq!(ours.own_fingerprint256, theirs.peer_fingerprint256);
        } else {
            assert!(self.tampered || self.cut, "an untouched handshake is complete");
        }
    }
}

impl End {
    const fn new(tls: TlsFilter) -> Self {
        Self {
            tls,
            inbound: Vec::new(),
            written: Vec::new(),
            received: Vec::new(),
            fault: None,
            closed: false,
        }
    }

    fn write(&mut self, len: usize) {
        let start = self.written.len();
        let plaintext: Vec<u8> = (start..start + len).map(|place| (place % 251) as u8).collect();
        let taken = self.tls.write(&plaintext);
        assert!(taken == 0 || !(self.closed || self.fault.is_some()));
        self.written.extend_from_slice(&plaintext[..taken]);
    }

    fn send_to(&mut self, peer: &mut Self) {
        let before = peer.inbound.len();
        self.tls.write_tls(&mut peer.inbound);
        assert!(!self.tls.wants_write());
        let len = peer.inbound.len() - before;
        assert!(len <= UNSENT_BYTES_MAX, "{len} bytes were kept");
    }

    /// Takes up to `len` bytes. Without `drains` the plaintext stays where it is.
    fn receive(&mut self, len: usize, drains: bool) {
        let taken: Vec<u8> = self.inbound.drain(..len.min(self.inbound.len())).collect();
        let mut rest = &taken[..];
        while !rest.is_empty() {
            let before = rest.len();
            let result = self.tls.read_tls(&mut rest);
            let waiting = self.tls.plaintext().len();
            match result {
                Err(fault) => {
                    assert!(self.fault.as_ref().is_none_or(|first| *first == fault), "another fault");
                    self.fault = Some(fault);
                    break;
                }
                Ok(()) => assert!(rest.len() < before || waiting > 0, "the filter stands still"),
            }
            if drains || !rest.is_empty() {
                self.drain();
            }
        }
        if drains {
            self.drain();
        }
    }

    fn drain(&mut self) {
        let before = self.received.len();
        loop {
            let plaintext = self.tls.plaintext();
            let len = plaintext.len();
            if len == 0 {
                break;
            }
            self.received.extend_from_slice(plaintext);
            self.tls.consume(len);
        }
        let len = self.received.len() - before;
        assert!(len <= UNREAD_BYTES_MAX, "{len} bytes were kept");
    }
}

/// Ends that trust each other, made once.
pub(super) fn cached_ends() -> (ClientTls, ServerTls) {
    static ENDS: OnceLock<(ClientTls, ServerTls)> = OnceLock::new();
    ENDS.get_or_init(|| configurations(0)).clone()
}

fn configurations(choice: u8) -> (ClientTls, ServerTls) {
    let version = if choice & 1 == 0 { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    let common = || {
        TlsOptions::new()
            .ca(include_str!("tls/ca.pem"))
            .clock(Arc::new(Clock))
            .alpn_protocols(["qw"])
            .export_keying_material(TlsExporter::default())
    };
    let mut client = common().versions([version]);
    if choice & 2 != 0 {
        client = client.cert(include_str!("tls/client.pem")).key(include_str!("tls/client-key.pem"));
    }
    let mut server = common()
        .cert(include_str!("tls/server.pem"))
        .key(include_str!("tls/server-key.pem"))
        .request_cert(choice & 2 != 0);
    if choice & 4 != 0 {
        client = client.dangerous().accept_any_certificate();
        server = server.dangerous().accept_any_certificate();
    }
    let client = ClientTls::new(&client, &NoFiles).expect("good options");
    (client, ServerTls::new(&server, &NoFiles).expect("good options"))
}

/// A moment at which the certificates are valid.
#[derive(Debug)]
struct Clock;

impl TlsClock for Clock {
    fn unix_time_s(&self) -> Option<u64> {
        Some(1_800_000_000)
    }
}

/// The documented bound of what was written, and the handshake's messages.
const UNSENT_BYTES_MAX: usize = 72 * 1024;
/// The documented bound of what was decrypted.
const UNREAD_BYTES_MAX: usize = 80 * 1024;
/// What is sent twice.
const REPEATED_BYTES_MAX: usize = 64 * 1024;
/// Untouched ends are silent after a few exchanges; others may answer each other's nonsense, not for ever.
const ROUNDS_MAX: usize = 20;
