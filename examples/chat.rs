//! A chat room over async handles: what one guest says, all guests hear.
//!
//! `cargo run --example chat`

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qwormhole::{Bytes, Client, Connection, Listener, Sender, Server};

/// How each guest is reached. A sender does not keep its connection open.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<Vec<Sender>>>);

impl Room {
    fn guests(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = Server::builder().bind("tcp://127.0.0.1:0")?.listen()?;
    let address = listener.local_addrs()[0].clone();
    let room = tokio::spawn(open_room(listener));

    let client = Client::builder().build()?;
    let mut guests = Vec::new();
    for name in NAMES {
        let mut conn = client.connect(&address).await?;
        // The room answers when the guest is in, so that nobody misses a word.
        conn.recv().await.ok_or("the room is closed")??;
        guests.push((name, conn));
    }
    let talks = guests.into_iter().map(|(name, conn)| tokio::spawn(talk(name, conn))).collect::<Vec<_>>();
    for talk in talks {
        talk.await??;
    }

    let mut listener = room.await?;
    println!("{:?}", listener.shutdown(Duration::from_secs(5)).await);
    Ok(())
}

/// Lets everybody in, each with a task of its own.
async fn open_room(mut listener: Listener) -> Listener {
    let room = Room::default();
    for _ in NAMES {
        let Some(mut conn) = listener.accept().await else { break };
        room.guests().push(conn.sender());
        if conn.send("welcome").await.is_ok() {
            tokio::spawn(listen_to(conn, room.clone()));
        }
    }
    listener
}

/// Passes on what one guest says until it leaves.
async fn listen_to(mut conn: Connection, room: Room) {
    while let Some(Ok(words)) = conn.recv().await {
        // A guest whose queue is full misses the message; one who left is forgotten.
        let hears = |guest: &Sender| guest.try_send(words.clone()).is_ok() || guest.close_reason().is_none();
        room.guests().retain(hears);
    }
}

/// Says something and hears everybody once.
async fn talk(name: &str, mut conn: Connection) -> Result<(), std::io::Error> {
    conn.send(format!("hello from {name}")).await?;
    let mut heard = Vec::new();
    while heard.len() < NAMES.len() {
        let words: Bytes = conn.recv().await.ok_or(std::io::ErrorKind::UnexpectedEof)??;
        heard.push(String::from_utf8_lossy(&words).into_owned());
    }
    println!("{name} heard: {}", heard.join(", "));
    conn.close().await;
    Ok(())
}

const NAMES: [&str; 3] = ["ada", "grace", "edsger"];
