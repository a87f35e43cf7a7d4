//! A service and its client that exchange typed values as JSON.
//!
//! `cargo run --example typed_json`

use std::error::Error;
use std::time::Duration;

use qwormhole::codec::{Json, TypedRecvError};
use qwormhole::{Client, Connection, Server};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Add { a: i64, b: i64 },
    Divide { a: i64, b: i64 },
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Reply {
    Value(i64),
    Error(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listener = Server::builder().bind("tcp://127.0.0.1:0")?.listen()?;
    let address = listener.local_addrs()[0].clone();
    let service = tokio::spawn(async move {
        if let Some(conn) = listener.accept().await {
            serve(conn).await;
        }
        listener
    });

    let mut conn = Client::builder().connect(&address).await?.with_codec(Json::<Reply, Request>::new());
    for request in [Request::Add { a: 40, b: 2 }, Request::Divide { a: 1, b: 0 }] {
        conn.send(&request).await?;
        println!("{request:?} -> {:?}", conn.recv().await.ok_or("the service closed the connection")??);
    }
    // What is no request is answered too: a message that does not decode ends nothing.
    let mut conn = conn.into_inner();
    conn.send("{\"op\":\"guess\"}").await?;
    println!("guess -> {:?}", conn.recv().await.ok_or("the service closed the connection")??);
    conn.close().await;

    println!("{:?}", service.await?.shutdown(Duration::from_secs(5)).await);
    Ok(())
}

/// Receives requests and sends replies: the two directions have types of their own.
async fn serve(conn: Connection) {
    let mut conn = conn.with_codec(Json::<Request, Reply>::new());
    while let Some(next) = conn.recv().await {
        let reply = match next {
            Ok(request) => answer(&request),
            Err(TypedRecvError::Decode { source, .. }) => Reply::Error(source.to_string()),
            Err(_) => break,
        };
        if conn.send(&reply).await.is_err() {
            break;
        }
    }
}

fn answer(request: &Request) -> Reply {
    let result = match *request {
        Request::Add { a, b } => a.checked_add(b),
        Request::Divide { a, b } => a.checked_div(b),
    };
    result.map_or_else(|| Reply::Error("no such number".into()), Reply::Value)
}
