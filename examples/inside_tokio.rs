//! Inside an existing tokio runtime: the engine has threads of its own, its handles are ordinary futures, streams
//! and sinks, and work with timers, `select!` and tasks.
//!
//! `cargo run --example inside_tokio`

use std::error::Error;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use qwormhole::{Bytes, Client, Connection, Server};
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listener = Server::builder().bind("tcp://localhost:0")?.listen()?;
    let address = listener.local_addrs()[0].clone();
    println!("listening on {address}, backend {}", listener.backend());

    let client = tokio::spawn(async move {
        let conn = timeout(Duration::from_secs(1), Client::builder().connect(address)).await??;
        ask(conn).await
    });

    // Serves until a quarter of a second passes without a new connection.
    loop {
        tokio::select! {
            Some(conn) = listener.accept() => drop(tokio::spawn(answer(conn))),
            () = sleep(Duration::from_millis(250)) => break,
        }
    }
    let heard = client.await?.map_err(|error| error.to_string())?;
    println!("{heard} answers");
    println!("{:?}", listener.shutdown(Duration::from_secs(5)).await);
    Ok(())
}

/// The two halves of a connection are a stream and a sink.
async fn answer(conn: Connection) {
    let (receive, send) = conn.into_split();
    let shouted = receive.map(|message| match message {
        Ok(message) => Ok(Bytes::from(message.to_ascii_uppercase())),
        Err(error) => Err(qwormhole::SendErrorKind::Closed(error.reason().clone())),
    });
    if let Err(error) = shouted.forward(send).await {
        println!("the connection broke: {error}");
    }
}

async fn ask(mut conn: Connection) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let mut heard = 0;
    for question in ["who", "where", "why"] {
        SinkExt::send(&mut conn, Bytes::from_static(question.as_bytes())).await?;
        let answer = conn.next().await.ok_or("the server left")??;
        assert_eq!(answer, question.to_uppercase());
        heard += 1;
    }
    conn.close().await;
    Ok(heard)
}
