//! A server that answers every message on the shard that received it, and a client that measures the round trip.
//!
//! `cargo run --example echo`

use std::error::Error;
use std::time::{Duration, Instant};

use qwormhole::{Client, Context, Handler, Message, PeerInfo, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        // An error means that the connection is ending: nobody is left to answer.
        let _ = conn.reply(message);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().bind("tcp://localhost:0")?.start(|_peer: &PeerInfo| Echo)?;
    println!("listening on {}, backend {}", server.local_addrs()[0], server.backend());

    pollster::block_on(async {
        let mut conn = Client::builder().connect(&server.local_addrs()[0]).await?;
        let begun = Instant::now();
        for round in 0..ROUNDS {
            conn.send(format!("message {round}")).await?;
            let answer = conn.recv().await.ok_or("the server closed the connection")??;
            assert_eq!(answer, format!("message {round}"));
        }
        println!("{ROUNDS} round trips, {:?} each", begun.elapsed() / ROUNDS);
        println!("closed: {}", conn.close().await);
        Ok::<_, Box<dyn Error>>(())
    })?;

    println!("{:?}", server.shutdown(Duration::from_secs(5)));
    Ok(())
}

const ROUNDS: u32 = 1_000;
