//! Handles and futures dropped at any await point: nothing accepted is lost, nothing is left behind.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_util::future::{Either, select};
use qwormhole::{Client, Connection, Context as ConnContext, Handler, Message, PeerInfo, Sender};

use crate::support::peer::Peer;
use crate::support::resources::Resources;
use crate::support::{Bed, block_on, on_every_backend};

on_every_backend!(futures_dropped_at_any_await_point_lose_nothing_accepted);
on_every_backend!(
    alone: handles_dropped_at_any_moment_leave_nothing,
    dials_dropped_at_any_moment_leave_nothing,
    a_callback_that_owns_senders_ends_with_its_server,
);

/// Polls a future a few times and drops it; what it would have given is lost if it was not ready.
fn poll_and_drop<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        thread::yield_now();
    }
    None
}

/// Ends an echo server.
struct Stop(futures_channel::oneshot::Sender<()>);

impl Stop {
    fn stop(self) {
        let _ = self.0.send(());
    }
}

fn echo_server(bed: Bed) -> (String, thread::JoinHandle<()>, Stop) {
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let address = listener.local_addrs()[0].to_string();
    let (stop, mut stopped) = futures_channel::oneshot::channel();
    let server = thread::spawn(move || {
        let mut echoes = Vec::new();
        while let Some(mut conn) = block_on(async {
            match select(pin!(listener.accept()), &mut stopped).await {
                Either::Left((conn, _)) => conn,
                Either::Right(_) => None,
            }
        }) {
            echoes.push(thread::spawn(move || {
                block_on(async move {
                    while let Some(Ok(message)) = conn.recv().await {
                        if conn.send(message).await.is_err() {
                            return;
                        }
                    }
                });
            }));
        }
        drop(listener);
        echoes.into_iter().for_each(|echo| echo.join().expect("no panic"));
    });
    (address, server, Stop(stop))
}

fn connect(bed: Bed, address: &str) -> Connection {
    block_on(Client::builder().backend(bed.backend).connect(address)).expect("connect")
}

fn futures_dropped_at_any_await_point_lose_nothing_accepted(bed: Bed) {
    let (address, server, handle) = echo_server(bed);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        let mut conn = connect(bed, &address);
        let (mut accepted, mut received) = (Vec::new(), Vec::new());
        for n in 0..200u32 {
            let payload = vec![n as u8; random.usize(0..5000)];
            match poll_and_drop(conn.send(payload.clone()), random.u32(0..3)) {
                Some(Ok(())) => accepted.push(payload),
                Some(Err(error)) => panic!("refused: {error}"),
                None => {}
            }
            if random.bool()
                && let Some(message) = poll_and_drop(conn.recv(), random.u32(0..3))
            {
                received.push(message.expect("open").expect("no error").to_vec());
            }
            if random.u8(..) < 20 {
                poll_and_drop(conn.flush(), random.u32(0..3));
            }
        }
        while received.len() < accepted.len() {
            received.push(block_on(conn.recv()).expect("open").expect("no error").to_vec());
        }
        assert!(received == accepted, "what was accepted comes back, once and in order");
    }
    handle.stop();
    server.join().expect("the server ends");
}

fn handles_dropped_at_any_moment_leave_nothing(bed: Bed) {
    // The engine that clients share starts now and stays.
    let (address, server, handle) = echo_server(bed);
    drop(connect(bed, &address));
    handle.stop();
    server.join().expect("the server ends");
    let before = Resources::now();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (address, server, handle) = echo_server(bed);
    for _ in 0..100 {
        let mut conn = connect(bed, &address);
        for _ in 0..random.u32(0..20) {
            let _ = conn.try_send(vec![1; random.usize(0..100_000)]);
            if random.bool() {
                let kept = poll_and_drop(conn.recv(), 2);
                drop(kept);
            }
        }
        match random.u8(0..4) {
            0 => drop(conn),
            1 => conn.abort(),
            2 => drop(poll_and_drop(conn.close(), random.u32(0..3))),
            _ => {
                let (receiver, sender) = conn.into_split();
                if random.bool() {
                    drop(receiver);
                    drop(sender);
                } else {
                    drop(sender);
                    drop(receiver);
                }
            }
        }
    }
    handle.stop();
    server.join().expect("the server ends");
    before.assert_back();
}

fn dials_dropped_at_any_moment_leave_nothing(bed: Bed) {
    let (address, server, handle) = echo_server(bed);
    drop(connect(bed, &address));
    handle.stop();
    server.join().expect("the server ends");
    let before = Resources::now();
    let (address, server, handle) = echo_server(bed);
    for polls in (0..100).map(|n| n % 5) {
        drop(poll_and_drop(Client::builder().backend(bed.backend).connect(address.as_str()), polls));
    }
    handle.stop();
    server.join().expect("the server ends");
    before.assert_back();
}

/// Enters its connection into a list, and echoes.
struct Listed(Arc<Mutex<Vec<Sender>>>);

impl Handler for Listed {
    fn on_open(&mut self, conn: &mut ConnContext<'_>) {
        self.0.lock().expect("nobody panicked").push(conn.sender());
    }

    fn on_message(&mut self, conn: &mut ConnContext<'_>, message: Message<'_>) {
        conn.send(&*message).expect("room");
    }
}

fn a_callback_that_owns_senders_ends_with_its_server(bed: Bed) {
    let before = Resources::now();
    let list = Arc::<Mutex<Vec<Sender>>>::default();
    let (of_hook, of_service) = (list.clone(), list.clone());
    let on_reject = move |_: &PeerInfo, _: &_| of_hook.lock().expect("nobody panicked").clear();
    let server = bed.server().on_reject(on_reject).bind("127.0.0.1:0").expect("bind");
    let server = server.start(move |_: &PeerInfo| Listed(of_service.clone())).expect("start");
    let mut peer = Peer::connect(&server.local_addrs()[0]);
    peer.send_frame(b"listed");
    assert_eq!(peer.recv_frame(), b"listed");
    drop((server, peer));
    assert_eq!(list.lock().expect("nobody panicked").len(), 1);
    // What wakes a shard is a descriptor, which every sender of its connections holds.
    drop(list);
    before.assert_back();
}
