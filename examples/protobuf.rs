//! A codec of one's own for Protobuf, over types of prost.
//!
//! `cargo run --example protobuf`

use std::error::Error;
use std::marker::PhantomData;
use std::time::Duration;

use prost::Message;
use qwormhole::{Bytes, BytesMut, Client, Codec, CodecError, Server};

/// What a `.proto` file would say as `message Reading { string sensor = 1; sint64 at_ms = 2; repeated double
/// values = 3; }`; prost's build script would write this type.
#[derive(Clone, PartialEq, Message)]
struct Reading {
    #[prost(string, tag = "1")]
    sensor: String,
    #[prost(sint64, tag = "2")]
    at_ms: i64,
    #[prost(double, repeated, tag = "3")]
    values: Vec<f64>,
}

/// Any type of prost is an item.
struct Protobuf<M>(PhantomData<fn() -> M>);

impl<M: Message + Default> Codec for Protobuf<M> {
    type Item = M;
    type Outgoing = M;

    fn encode(&self, item: &M, out: &mut BytesMut) -> Result<(), CodecError> {
        item.encode(out).map_err(CodecError::custom)
    }

    /// Fields of type `Bytes` share the message's memory.
    fn decode(&self, message: Bytes) -> Result<M, CodecError> {
        M::decode(message).map_err(CodecError::custom)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(async {
        let mut listener = Server::builder().bind("tcp://127.0.0.1:0")?.listen()?;
        let client = Client::builder().connect(&listener.local_addrs()[0]).await?;
        let server = listener.accept().await.ok_or("the listener ended")?;
        let mut sensor = client.with_codec(Protobuf::<Reading>(PhantomData));
        let mut station = server.with_codec(Protobuf::<Reading>(PhantomData));

        let reading = Reading { sensor: "roof".into(), at_ms: -5, values: vec![21.5, 21.75] };
        sensor.send(&reading).await?;
        let received = station.recv().await.ok_or("the sensor left")??;
        println!("{} bytes on the wire: {received:?}", reading.encoded_len());
        assert_eq!(received, reading);

        // Field 1 with a length that the message does not have.
        sensor.into_inner().send(&[0x0a, 0x7f]).await?;
        let refused = station.recv().await.ok_or("the sensor left")?;
        println!("and what is no reading: {}", refused.err().ok_or("it was read")?);
        listener.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
