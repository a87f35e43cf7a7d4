//! Connections that carry values.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use qwormhole::codec::{Cbor, CodecError, Json, Raw, Text, TypedConnection, TypedRecvError, TypedSendError};
use qwormhole::{Bytes, BytesMut, Client, CloseReason, Codec, Connection, Limits, Listener, SendErrorKind};
use serde::{Deserialize, Serialize};

use crate::support::{Bed, block_on, on_every_backend};

on_every_backend!(
    values_cross_with_every_codec,
    a_message_that_does_not_decode_is_given_back_and_the_connection_goes_on,
    a_value_that_cannot_be_sent_leaves_the_connection_usable,
    a_typed_connection_is_a_stream_and_a_sink,
    halves_work_from_different_threads,
    a_dropped_receive_has_taken_no_message,
    the_end_is_told_once,
    the_codec_can_be_taken_off,
);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Order {
    id: u64,
    item: String,
}

fn order(id: u64) -> Order {
    Order { id, item: format!("é{id}") }
}

/// Both ends of one connection, and the listener whose end would end them.
async fn pair(bed: Bed) -> (Connection, Connection, Listener) {
    let mut limits = Limits::default();
    limits.max_send_frame_len = 64 << 10;
    let mut listener = bed.server().bind("tcp://127.0.0.1:0").expect("bind").listen().expect("listen");
    let address = listener.local_addrs()[0].clone();
    let client =
        Client::builder().backend(bed.backend).limits(limits).connect(&address).await.expect("connect");
    let server = listener.accept().await.expect("a connection");
    (client, server, listener)
}

async fn crosses<C: Codec + Clone>(bed: Bed, codec: C, value: &C::Outgoing, received: C::Item)
where
    C::Item: PartialEq + std::fmt::Debug,
{
    let (client, server, _listener) = pair(bed).await;
    let (mut client, mut server) = (client.with_codec(codec.clone()), server.with_codec(codec));
    client.send(value).await.expect("accepted");
    assert_eq!(server.recv().await.expect("a message").expect("a value"), received);
    assert_eq!(client.close().await, CloseReason::Local);
}

fn values_cross_with_every_codec(bed: Bed) {
    block_on(async {
        crosses(bed, Raw, &Bytes::from_static(b"\xff\x00"), Bytes::from_static(b"\xff\x00")).await;
        crosses(bed, Text, "é", "é".to_owned()).await;
        crosses(bed, Json::<Order>::new(), &order(7), order(7)).await;
        crosses(bed, Cbor::<Order>::new(), &order(7), order(7)).await;
        crosses(bed, Json::<Vec<u8>, [u8]>::new(), &[1, 2], vec![1, 2]).await;
    });
}

fn a_message_that_does_not_decode_is_given_back_and_the_connection_goes_on(bed: Bed) {
    block_on(async {
        let (mut client, server, _listener) = pair(bed).await;
        let mut server = server.with_codec(Json::<Order>::new());
        client.send("{bad").await.expect("accepted");
        client.send(r#"{"id":1,"item":"é1"}"#).await.expect("accepted");
        match server.recv().await {
            Some(Err(TypedRecvError::Decode { source: CodecError::Json(_), message })) => {
                assert_eq!(message, "{bad")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(server.recv().await.expect("a message").expect("a value"), order(1));
        server.send(&order(2)).await.expect("still open");
        assert_eq!(client.recv().await.expect("a message").expect("bytes"), r#"{"id":2,"item":"é2"}"#);
    });
}

/// Refuses to encode what is empty, after it has begun.
#[derive(Clone, Copy)]
struct Full;

impl Codec for Full {
    type Item = Bytes;
    type Outgoing = str;

    fn encode(&self, item: &str, out: &mut BytesMut) -> Result<(), CodecError> {
        out.extend_from_slice(b"<");
        if item.is_empty() {
            return Err(CodecError::custom("empty"));
        }
        out.extend_from_slice(item.as_bytes());
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<Bytes, CodecError> {
        Ok(message)
    }
}

fn a_value_that_cannot_be_sent_leaves_the_connection_usable(bed: Bed) {
    block_on(async {
        let (client, mut server, _listener) = pair(bed).await;
        let mut client = client.with_codec(Full);
        let refused = client.send("").await.expect_err("no encoded form");
        assert!(matches!(refused, TypedSendError::Encode(CodecError::Custom(_))), "{refused}");
        let refused = client.try_send(&"x".repeat(64 << 10)).expect_err("too large");
        let (len, limit) = ((64 << 10) + 1, 64 << 10);
        assert!(
            matches!(&refused, TypedSendError::Refused(kind) if *kind == SendErrorKind::TooLarge { len, limit })
        );
        assert!(!refused.is_retryable());
        client.send("ok").await.expect("accepted");
        assert_eq!(server.recv().await.expect("a message").expect("bytes"), "<ok");
    });
}

fn a_typed_connection_is_a_stream_and_a_sink(bed: Bed) {
    block_on(async {
        let (client, server, _listener) = pair(bed).await;
        let mut client = client.with_codec(Cbor::<Order>::new());
        let server = server.with_codec(Cbor::<Order>::new());
        let orders = (0..1000).map(order);
        let sent = async {
            let mut values = futures_util::stream::iter(orders.clone().map(Ok));
            client.send_all(&mut values).await.expect("accepted");
            // A reference to a value can be sent as well.
            SinkExt::<&Order>::feed(&mut client, &order(1000)).await.expect("accepted");
            SinkExt::<Order>::close(&mut client).await.expect("closed");
        };
        let received = server.map(|next| next.expect("a value")).collect::<Vec<_>>();
        let ((), received) = futures_util::future::join(sent, received).await;
        assert_eq!(received, (0..=1000).map(order).collect::<Vec<_>>());
    });
}

fn halves_work_from_different_threads(bed: Bed) {
    block_on(async {
        let (client, server, _listener) = pair(bed).await;
        let (mut receive, mut send) = client.with_codec(Text).into_split();
        let echo = thread::spawn(move || {
            block_on(async move {
                let mut server = server.with_codec(Text);
                while let Some(words) = server.recv().await {
                    server.send(&words.expect("text")).await.expect("accepted");
                }
            });
        });
        let talk = thread::spawn(move || {
            block_on(async {
                for n in 0..500 {
                    send.send(&n.to_string()).await.expect("accepted");
                }
                send.flush().await.expect("handed over");
            });
            send
        });
        for n in 0..500 {
            assert_eq!(receive.recv().await.expect("a message").expect("text"), n.to_string());
        }
        let mut send = talk.join().expect("no panic");
        assert_eq!(send.id(), receive.id());
        assert_eq!(send.close().await, CloseReason::Local);
        echo.join().expect("no panic");
    });
}

fn a_dropped_receive_has_taken_no_message(bed: Bed) {
    block_on(async {
        let (mut client, server, _listener) = pair(bed).await;
        let mut server = server.with_codec(Text);
        let mut cx = Context::from_waker(Waker::noop());
        for n in 0..200 {
            // Polled once and dropped: whether the message was there already or not, it is not lost.
            let early = match pin!(server.recv()).as_mut().poll(&mut cx) {
                Poll::Ready(next) => next,
                Poll::Pending => None,
            };
            assert!(early.is_none(), "nothing was sent");
            client.send(format!("{n}")).await.expect("accepted");
            let early = match pin!(server.recv()).as_mut().poll(&mut cx) {
                Poll::Ready(next) => next,
                Poll::Pending => None,
            };
            let next = if early.is_some() { early } else { server.recv().await };
            assert_eq!(next.expect("a message").expect("text"), n.to_string());
        }
    });
}

fn the_end_is_told_once(bed: Bed) {
    block_on(async {
        let (client, server, _listener) = pair(bed).await;
        let mut server: TypedConnection<Text> = server.with_codec(Text);
        client.abort();
        match server.recv().await {
            Some(Err(TypedRecvError::Ended(ended))) => assert!(ended.reason().had_error()),
            None => {} // The system told the end before the reset.
            other => panic!("{other:?}"),
        }
        assert!(server.recv().await.is_none());
        assert!(matches!(server.send("late").await, Err(TypedSendError::Refused(SendErrorKind::Closed(_)))));
    });
}

fn the_codec_can_be_taken_off(bed: Bed) {
    block_on(async {
        let (client, server, _listener) = pair(bed).await;
        let mut client = client.with_codec(Text);
        client.send("text").await.expect("accepted");
        let mut client = client.into_inner().with_codec(Raw);
        client.send(&Bytes::from_static(b"\xff")).await.expect("accepted");
        let mut server = server.with_codec(Text);
        assert_eq!(server.recv().await.expect("a message").expect("text"), "text");
        let mut server = server.into_inner();
        assert_eq!(server.recv().await.expect("a message").expect("bytes")[..], [0xff]);
    });
}
