//! Traffic in both directions at once through tiny socket buffers, with readers that stall: every byte counts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo, SendErrorKind, Sender};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Bed, on_every_backend, scratch};

on_every_backend!(frames_of_all_sizes_cross_in_both_directions);

/// Frames per direction: 1,000,000 with 100 of exactly 4 MiB in the full run, a tenth by default.
fn frames() -> u64 {
    let asked = std::env::var("QWORMHOLE_FLOOD_FRAMES").ok();
    asked.map_or(100_000, |text| text.parse().expect("QWORMHOLE_FLOOD_FRAMES is a number"))
}

/// The length of frame `n`: 0 to 4 KiB, every tenth up to 64 KiB, one in ten thousand exactly 4 MiB.
fn len_of(seed: u64, n: u64) -> usize {
    let roll = mix(seed ^ n);
    match n {
        _ if n % 10_000 == 9_999 => 4 << 20,
        _ if n % 10 == 9 => (roll % ((64 << 10) + 1)) as usize,
        _ => (roll % ((4 << 10) + 1)) as usize,
    }
}

/// The content of frame `n`: its number, repeated and turned.
fn fill(seed: u64, n: u64, payload: &mut Vec<u8>) {
    let len = len_of(seed, n);
    payload.clear();
    let word = mix(seed ^ (n << 20)).to_le_bytes();
    payload.extend(word.iter().cycle().take(len.min(64)));
    payload.resize(len, word[0]);
    if let Some(last) = payload.last_mut() {
        *last = word[7];
    }
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Checks that frames come in order, whole and unchanged.
struct Check {
    seed: u64,
    next: u64,
    expected: Vec<u8>,
}

impl Check {
    fn frame(&mut self, payload: &[u8]) {
        fill(self.seed, self.next, &mut self.expected);
        assert!(payload == self.expected, "frame {} differs (seed {})", self.next, self.seed);
        self.next += 1;
    }
}

const OUT: u64 = 0x5eed_0001;
const IN: u64 = 0x5eed_0002;

/// Checks what comes in, sends its own, and pauses now and then.
struct Both {
    frames: u64,
    check: Check,
    next: u64,
    pending: Option<Vec<u8>>,
    pauses: std::sync::mpsc::Sender<Sender>,
}

impl Both {
    fn pump(&mut self, conn: &mut Context<'_>) {
        while self.next < self.frames || self.pending.is_some() {
            let message = self.pending.take().unwrap_or_else(|| {
                let mut message = Vec::new();
                fill(OUT, self.next, &mut message);
                self.next += 1;
                message
            });
            if let Err(refused) = conn.send(message) {
                assert_eq!(refused.kind, SendErrorKind::Full);
                self.pending = Some(refused.payload);
                return;
            }
        }
    }
}

impl Handler for Both {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.pump(conn);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.check.frame(&message);
        if mix(self.check.next).is_multiple_of(5_000) {
            conn.pause();
            self.pauses.send(conn.sender()).expect("the test listens");
        }
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.pump(conn);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        assert_eq!(self.check.next, self.frames, "every frame arrived before {reason}");
    }
}

/// A listening socket and the address to reach it, with tiny buffers that its connections inherit.
fn listen(domain: Domain, folder: &tempfile::TempDir) -> (Socket, SockAddr) {
    let address = match domain {
        Domain::IPV4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
        Domain::IPV6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into(),
        _ => SockAddr::unix(folder.path().join("socket")).expect("a short path"),
    };
    let socket = tiny(domain);
    socket.bind(&address).expect("bind");
    socket.listen(8).expect("listen");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// A socket with 4 KiB buffers. They are set before the handshake: a larger window once announced would make
/// every 4 KiB wait for a delayed ACK.
fn tiny(domain: Domain) -> Socket {
    let socket = Socket::new(domain, Type::STREAM, None).expect("socket");
    socket.set_recv_buffer_size(4096).expect("buffer");
    socket.set_send_buffer_size(4096).expect("buffer");
    socket
}

fn frames_of_all_sizes_cross_in_both_directions(bed: Bed) {
    for domain in [Domain::IPV4, Domain::IPV6, Domain::UNIX] {
        cross(bed, domain, frames());
    }
}

fn cross(bed: Bed, domain: Domain, frames: u64) {
    let folder = scratch();
    let (listener, address) = listen(domain, &folder);
    let (pauses, paused) = std::sync::mpsc::channel::<Sender>();
    let check = |seed| Check { seed, next: 0, expected: Vec::new() };
    let service =
        move |_: &PeerInfo| Both { frames, check: check(IN), next: 0, pending: None, pauses: pauses.clone() };
    let server = bed.server().bind_fd(listener).start(service).expect("start");
    let stalls = thread::spawn(move || {
        for sender in paused {
            thread::sleep(Duration::from_millis(2));
            sender.resume();
        }
    });
    let socket = tiny(domain);
    socket.connect(&address).expect("connect");
    let writer = socket.try_clone().expect("clone");
    let writing = thread::spawn(move || write_all(&writer, frames));
    read_all(socket.try_clone().expect("clone"), check(OUT), frames);
    writing.join().expect("written");
    socket.shutdown(std::net::Shutdown::Write).expect("end");
    assert_eq!((&socket).read(&mut [0; 1]).expect("a clean end"), 0);
    let messages: u64 = server.stats().iter().map(|shard| shard.messages_in).sum();
    assert_eq!(messages, frames);
    assert_eq!(server.stats().iter().map(|shard| shard.panics).sum::<u64>(), 0);
    drop(server);
    stalls.join().expect("the last sender is gone");
}

fn write_all(mut socket: &Socket, frames: u64) {
    let (mut payload, mut wire) = (Vec::new(), Vec::new());
    for n in 0..frames {
        fill(IN, n, &mut payload);
        wire.extend_from_slice(&u32::try_from(payload.len()).expect("length").to_be_bytes());
        wire.extend_from_slice(&payload);
        if wire.len() > 256 << 10 || n + 1 == frames {
            socket.write_all(&wire).expect("write");
            wire.clear();
        }
    }
}

/// Reads frames with stalls at random places.
fn read_all(socket: Socket, mut check: Check, frames: u64) {
    let mut reader = std::io::BufReader::with_capacity(64 << 10, socket);
    let mut payload = Vec::new();
    while check.next < frames {
        let mut header = [0; 4];
        reader.read_exact(&mut header).expect("header");
        payload.resize(u32::from_be_bytes(header) as usize, 0);
        reader.read_exact(&mut payload).expect("payload");
        check.frame(&payload);
        if mix(!check.next).is_multiple_of(5_000) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
