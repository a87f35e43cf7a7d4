//! Async handles: connections as streams and sinks, on any runtime or none.

use std::io::Write;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use qwormhole::{Bytes, Client, CloseReason, SendErrorKind};

use crate::support::peer::Peer;
use crate::support::resources::Resources;
use crate::support::{Bed, block_on, frame, on_every_backend, scratch, transports};

on_every_backend!(
    a_connection_is_a_stream_and_a_sink,
    halves_work_from_different_threads,
    a_clean_end_ends_the_stream_and_an_error_is_told_once,
    a_reader_that_stops_makes_its_peer_wait,
    close_delivers_what_was_accepted,
    a_sender_outlives_its_connection_harmlessly,
);
on_every_backend!(alone: both_ends_talk_through_handles);

fn both_ends_talk_through_handles(bed: Bed) {
    let before = Resources::now();
    let folder = scratch();
    for address in transports(&folder) {
        let mut listener = bed.server().bind(address.as_str()).expect("bind").listen().expect("listen");
        let address = listener.local_addrs()[0].to_string();
        let server = thread::spawn(move || {
            block_on(async move {
                let mut conn = listener.accept().await.expect("a connection");
                while let Some(message) = conn.recv().await {
                    conn.send(message.expect("no error")).await.expect("accepted");
                }
                conn.close().await;
            });
        });
        block_on(async {
            let mut conn =
                Client::builder().backend(bed.backend).connect(address.as_str()).await.expect("connect");
            for n in 0..1000u32 {
                conn.send(n.to_be_bytes().to_vec()).await.expect("accepted");
            }
            for n in 0..1000u32 {
                let message = conn.recv().await.expect("an echo").expect("no error");
                assert_eq!(message[..], n.to_be_bytes());
            }
            conn.close().await;
        });
        server.join().expect("the server ends");
    }
    // The engine that clients share stays; everything of the servers is gone.
    let now = Resources::now();
    assert!(now.threads <= before.threads + 2, "{now:?} after {before:?}");
}

fn a_connection_is_a_stream_and_a_sink(bed: Bed) {
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let address = listener.local_addrs()[0].to_string();
    let server = thread::spawn(move || {
        block_on(async move {
            let (sink, stream) = listener.accept().await.expect("a connection").split();
            let echo = stream.map(|message| Ok(message.expect("no error"))).forward(sink);
            echo.await.expect("everything is accepted");
        });
    });
    block_on(async {
        let mut conn =
            Client::builder().backend(bed.backend).connect(address.as_str()).await.expect("connect");
        let mut numbers = futures_util::stream::iter((0..5000u32).map(|n| Ok(Bytes::from(n.to_string()))));
        conn.send_all(&mut numbers).await.expect("accepted");
        for n in 0..5000u32 {
            let message = conn.next().await.expect("an echo").expect("no error");
            assert_eq!(message, n.to_string());
        }
        SinkExt::close(&mut conn).await.expect("closed");
    });
    server.join().expect("the server ends");
}

fn halves_work_from_different_threads(bed: Bed) {
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let address = listener.local_addrs()[0].to_string();
    let server = thread::spawn(move || {
        block_on(async move {
            let mut conn = listener.accept().await.expect("a connection");
            while let Some(message) = conn.recv().await {
                conn.send(message.expect("no error")).await.expect("accepted");
            }
        });
    });
    let conn = block_on(Client::builder().backend(bed.backend).connect(address.as_str())).expect("connect");
    let (mut receiver, mut sender) = conn.into_split();
    let sending = thread::spawn(move || {
        block_on(async move {
            for n in 0..50_000u32 {
                sender.send(&n.to_be_bytes()).await.expect("accepted");
            }
            sender.flush().await.expect("flushed");
        });
    });
    block_on(async {
        for n in 0..50_000u32 {
            let message = receiver.recv().await.expect("an echo").expect("no error");
            assert_eq!(message[..], n.to_be_bytes());
        }
    });
    sending.join().expect("sent");
    drop(receiver);
    server.join().expect("the server ends");
}

fn a_clean_end_ends_the_stream_and_an_error_is_told_once(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let mut listener = bed.server().bind(address.as_str()).expect("bind").listen().expect("listen");
        let mut clean = Peer::connect(&listener.local_addrs()[0]);
        clean.send_frame(b"bye");
        drop(clean);
        block_on(async {
            let mut conn = listener.accept().await.expect("a connection");
            assert_eq!(conn.recv().await.expect("a message").expect("no error"), "bye");
            assert!(conn.recv().await.is_none());
            assert!(conn.recv().await.is_none());
        });
        let mut truncated = Peer::connect(&listener.local_addrs()[0]);
        truncated.write_all(&[0, 0, 0, 5, 1]).expect("write");
        drop(truncated);
        block_on(async {
            let mut conn = listener.accept().await.expect("a connection");
            let error = conn.recv().await.expect("an error").expect_err("the frame is truncated");
            assert_eq!(error.reason(), &CloseReason::PeerTruncated, "{address}");
            assert!(conn.recv().await.is_none());
        });
    }
}

fn a_reader_that_stops_makes_its_peer_wait(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let mut listener = bed.server().bind(address.as_str()).expect("bind").listen().expect("listen");
        let mut peer = Peer::connect(&listener.local_addrs()[0]);
        let mut conn = block_on(listener.accept()).expect("a connection");
        let message = frame(&[5; 1000]);
        let total = 64 << 10;
        let writing = thread::spawn(move || {
            for _ in 0..total {
                peer.write_all(&message).expect("write");
            }
            peer.end();
        });
        // 64 MiB cannot fit into any queue on the way: the writer must be waiting now, and nothing may be lost.
        thread::sleep(Duration::from_millis(100));
        assert!(!writing.is_finished(), "{address}: the writer is slowed down");
        block_on(async {
            for n in 0..total {
                let message =
                    conn.recv().await.unwrap_or_else(|| panic!("{n} of {total}")).expect("no error");
                assert_eq!(message[..], [5; 1000]);
            }
            assert!(conn.recv().await.is_none());
        });
        writing.join().expect("written");
    }
}

fn close_delivers_what_was_accepted(bed: Bed) {
    let folder = scratch();
    for address in transports(&folder) {
        let mut listener = bed.server().bind(address.as_str()).expect("bind").listen().expect("listen");
        let mut peer = Peer::connect(&listener.local_addrs()[0]);
        let mut conn = block_on(listener.accept()).expect("a connection");
        let mut accepted = 0;
        while conn.try_send(&[1; 1000]).is_ok() {
            accepted += 1;
        }
        assert!(accepted > 100, "the queue holds more than one message");
        let reading = thread::spawn(move || peer.read_to_end().expect("a clean end").len());
        block_on(conn.close());
        assert_eq!(reading.join().expect("read"), accepted * 1004, "{address}");
    }
}

fn a_sender_outlives_its_connection_harmlessly(bed: Bed) {
    let mut listener = bed.server().bind("127.0.0.1:0").expect("bind").listen().expect("listen");
    let peer = Peer::connect(&listener.local_addrs()[0]);
    let conn = block_on(listener.accept()).expect("a connection");
    let sender = conn.sender();
    drop(peer);
    assert_eq!(block_on(sender.closed()), CloseReason::PeerClosed);
    let refused = sender.try_send("late").expect_err("closed");
    assert_eq!(refused.kind, SendErrorKind::Closed(CloseReason::PeerClosed));
    assert!(block_on(sender.send("late")).is_err());
    assert!(block_on(sender.flush()).is_err());
    drop(conn);
}
